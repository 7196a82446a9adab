//! Several nodes of one chain: what all of them show is voted for, and nothing else.
//!
//! A node that lies, that was wiped, or that stands behind a balancer which hands out another one each time then costs votes and no
//! more. One that does not answer costs them too: whoever wants two nodes asked does not want one believed.

use super::{ChainBlock, ChainSource, SourceError};
use palisade_protocol::units::Height;

/// Nodes of one chain, each with the name that it has in refusals.
#[derive(Debug)]
pub struct Agreeing<S> {
    first: (String, S),
    others: Vec<(String, S)>,
}

impl<S> Agreeing<S> {
    /// One node.
    pub fn new(name: String, node: S) -> Self {
        Self { first: (name, node), others: Vec::new() }
    }

    /// One more, which must show the same.
    pub fn push(&mut self, name: String, node: S) {
        self.others.push((name, node));
    }

    /// Refuses a block where another node shows a different one. What the blocks name as their parents is held against the
    /// blocks below.
    fn check_same(&self, own: &ChainBlock, name: &str, their: &ChainBlock) -> Result<(), SourceError> {
        if (own.height, own.hash) == (their.height, their.hash) {
            return Ok(());
        }
        let show = |name: &str, block: &ChainBlock| format!("{name} has {}", block.hash);
        let height = own.height;
        Err(SourceError::Disagree { height, one: show(&self.first.0, own), other: show(name, their) })
    }
}

impl<S: ChainSource> ChainSource for Agreeing<S> {
    /// The lowest: those above it some node does not have yet.
    async fn tip(&self) -> Result<ChainBlock, SourceError> {
        let mut lowest = self.first.1.tip().await?;
        for (_, node) in &self.others {
            let tip = node.tip().await?;
            lowest = if tip.height < lowest.height { tip } else { lowest };
        }
        Ok(lowest)
    }

    async fn block(&self, height: Height) -> Result<Option<ChainBlock>, SourceError> {
        let Some(block) = self.first.1.block(height).await? else { return Ok(None) };
        for (name, node) in &self.others {
            let Some(their) = node.block(height).await? else { return Ok(None) };
            self.check_same(&block, name, &their)?;
        }
        Ok(Some(block))
    }

    async fn blocks(&self, first: Height, last: Height) -> Result<Vec<ChainBlock>, SourceError> {
        let mut blocks = self.first.1.blocks(first, last).await?;
        for (name, node) in &self.others {
            let theirs = node.blocks(first, last).await?;
            blocks.iter().zip(&theirs).try_for_each(|(own, their)| self.check_same(own, name, their))?;
            blocks.truncate(theirs.len());
        }
        Ok(blocks)
    }
}
