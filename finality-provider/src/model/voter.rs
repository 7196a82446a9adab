//! A voter: asks for the vote that the production rules call due, for the block that its source shows.

use super::hub::Hub;
use super::keys::Keys;
use super::process::Process;
use super::{Ask, Block, Check, LAST};
use crate::signer::request::LastVote;
use crate::voter::ballots::{Standing, StandingSet, Voting};
use crate::voter::source::{Ancestors, ChainBlock, ChainSource, SourceError};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A source that shows one of two blocks at each height, linked as it likes; and at another time another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    height: u8,
    shown: [Block; LAST as usize + 1],
}

impl Source {
    /// It shows these two at the height that the hub waits for and below, and what is final before that.
    pub(super) fn new(hub: &Hub, below: Block, top: Block) -> Self {
        let height = hub.awaited();
        let mut shown = [Block::A; LAST as usize + 1];
        for (at, block) in shown.iter_mut().enumerate().take(height.into()) {
            *block = hub.certified(at as u8).unwrap_or(Block::A);
        }
        shown[usize::from(height) - 1] = below;
        shown[usize::from(height)] = top;
        Self { height, shown }
    }
}

impl ChainSource for Source {
    async fn tip(&self) -> Result<ChainBlock, SourceError> {
        self.block(Height(self.height.into())).await?.ok_or(SourceError::Missing(Height(0)))
    }

    async fn block(&self, height: Height) -> Result<Option<ChainBlock>, SourceError> {
        let hash = |height: u64| {
            let at = usize::try_from(height).ok()?;
            Some(self.shown.get(at)?.hash(at as u8))
        };
        let parent = height.0.checked_sub(1).and_then(hash).unwrap_or(Hash32::ZERO);
        Ok(hash(height.0).map(|hash| ChainBlock { height, hash, parent }))
    }
}

/// What a voter asks for, if anything, before a hub, a source and the signer's own word on its last vote.
pub(super) fn ask(
    hub: &Hub,
    keys: &Keys,
    signer: &Process,
    source: Source,
    without: Option<Check>,
) -> Option<Ask> {
    let place = |(height, block): (u8, Block)| (Height(height.into()), block.hash(height));
    let (height, below) = (hub.awaited(), hub.awaited() - 1);
    let last = signer.last();
    let set = StandingSet {
        fixed_by: Height(0),
        is_final: true,
        member: Some(keys.member(keys.root(hub.root(height)?, height))),
        expiry: BtcHeight(1),
    };
    let standing = Standing {
        exposed: false,
        awaited: Some((Height(height.into()), Epoch(height.into()))),
        may_vote: true,
        certified_at_last: last.and_then(|(height, _)| Some(hub.certified(height)?.hash(height))),
        set: Some(set),
        btc_tip: BtcHeight(0),
    };
    let own = last.map(place).map(|(height, block)| LastVote { height, block });
    let due = standing.due(&Voting { key: keys.key(), last: own, btc_tip: BtcHeight(0), held: None }).ok()?;
    let certified = hub.certified(below).map(|block| place((below, block)));
    let ancestors = Ancestors { genesis: Block::A.hash(0), certified, last: last.map(place) };
    let votable = now(source.votable(due.height, &ancestors));
    if votable.is_err() && without != Some(Check::Ancestors) {
        return None;
    }
    let (block, parent) = (source.shown[usize::from(height)], source.shown[usize::from(below)]);
    Some(Ask { height, block, parent, root: hub.root(height)? })
}

/// The source never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("the source answers at once"),
    }
}
