//! The hub's log, as anybody gets it from `GET /blocks`: kept beside the report as one file, and replayed, so that every
//! state, set and certificate in the report is a function of that file.

use super::hub::hub;
use crate::demo::network::text;
use crate::process::{other_profile, tool_of_profile};
use anyhow::{Context as _, ensure};
use palisade_hub::client::HubClient;
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::read_log;
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::codec::{Reader, Wire as _};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The log up to its end, and the state that follows from it.
pub struct Log {
    /// The state after the last block.
    pub ledger: Ledger,
    blocks: Vec<Block>,
}

impl Log {
    /// Reads the whole log from a hub and replays it.
    pub async fn read(hub: &HubClient) -> anyhow::Result<Self> {
        let genesis = Genesis::new(hub.genesis().await?)?;
        let mut blocks = Vec::new();
        let ledger = read_log(hub, Arc::new(genesis), |block| blocks.push(block)).await?;
        ensure!(!blocks.is_empty(), "the hub's log is empty");
        Ok(Self { ledger, blocks })
    }

    /// Reads the two files that stand beside a report and replays the log from the genesis document on: every root that a
    /// header claims must come out of this build too. Gives the last header.
    pub fn replay(genesis: &Path, log: &Path) -> anyhow::Result<HubHeader> {
        let document = GenesisDocument::from_bytes(&std::fs::read(genesis)?)?;
        let mut ledger = Ledger::new(Arc::new(Genesis::new(document)?));
        let (bytes, mut tip) = (std::fs::read(log)?, None);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let line = rest.iter().position(|byte| *byte == b'\n').context("a line of text")?;
            let hashes = std::str::from_utf8(&rest[..line])?.split(' ').count() - 1;
            let mut reader = Reader::new(&rest[line + 1..]);
            reader.take(32 * hashes)?;
            let block = Block::from_bytes(reader.bytes("block", usize::MAX)?)?;
            ledger.replay(&block)?;
            tip = Some(block.header);
            rest = &rest[rest.len() - reader.left()..];
        }
        tip.context("the log is empty")
    }

    /// Has a build of the other profile replay the log from genesis in a directory, and compute every root itself. Gives what it said.
    pub async fn replay_in_other_build(&self, dir: &Path) -> anyhow::Result<String> {
        let tip = self.tip()?;
        self.write_genesis(&dir.join("hub.genesis"))?;
        self.write(&dir.join("hub.log.blocks"))?;
        let told = json!({ "hub": hub(self, "hub.genesis", "hub.log.blocks")? });
        let report = dir.join("replay.json");
        std::fs::write(&report, told.to_string())?;
        let said = tool_of_profile(other_profile(), "palisade-demo", &["replay", &text(&report)]).await?;
        ensure!(
            said.contains(&tip.state_root.to_string()),
            "{said} does not name the root {}",
            tip.state_root
        );
        Ok(said.trim().to_owned())
    }

    /// Replays the log once more and shows the state after each of these blocks, in their order in the log.
    pub fn states(
        &self,
        at: &BTreeSet<Height>,
        mut see: impl FnMut(&HubHeader, &Ledger),
    ) -> anyhow::Result<()> {
        let mut ledger = Ledger::new(self.ledger.genesis().clone());
        for block in self.blocks.iter().take_while(|block| Some(&block.header.height) <= at.last()) {
            ledger.replay(block)?;
            if at.contains(&block.header.height) {
                see(&block.header, &ledger);
            }
        }
        Ok(())
    }

    /// All blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The last header.
    pub fn tip(&self) -> anyhow::Result<&HubHeader> {
        Ok(&self.blocks.last().context("a block")?.header)
    }

    /// The genesis document.
    pub fn genesis(&self) -> &GenesisDocument {
        self.ledger.genesis().document()
    }

    /// Writes the canonical genesis document, whose hash is the hub's id.
    pub fn write_genesis(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, self.genesis().to_bytes())?)
    }

    /// Writes the log in the layout of docs/report.md: every hash stands in it as text and as bytes.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut out = Vec::new();
        for block in &self.blocks {
            let (hash, bytes) = (block.header.hash(), block.to_bytes());
            let ids: Vec<_> = block.messages.iter().map(MessageBytes::id).collect();
            let words = ids.iter().map(|id| format!(" {id}")).collect::<String>();
            out.extend_from_slice(format!("{} {hash}{words}\n", block.header.height).as_bytes());
            out.extend_from_slice(&hash.0);
            ids.iter().for_each(|id| out.extend_from_slice(&id.0));
            out.extend_from_slice(&u32::try_from(bytes.len())?.to_be_bytes());
            out.extend_from_slice(&bytes);
        }
        Ok(std::fs::write(path, out)?)
    }

    /// The certificate of a chain's block.
    pub fn certificate(&self, chain: &str, height: u64) -> anyhow::Result<Certificate> {
        let chain = self.ledger.chain(&chain.parse()?).with_context(|| format!("no chain {chain}"))?;
        let of_block = |certificate: &Certificate| {
            certificate.ballot.context == chain.vote && certificate.ballot.height == Height(height)
        };
        let found = self.messages().find_map(|(_, message)| match message {
            Message::Certificate(certificate) if of_block(&certificate) => Some(*certificate),
            _ => None,
        });
        found.with_context(|| format!("no certificate for block {height} of chain {}", chain.id()))
    }

    /// All evidence, with the hub block that exposed the key by it.
    pub fn evidence(&self) -> Vec<(Height, Evidence)> {
        let evidence = self.messages().filter_map(|(header, message)| match message {
            Message::Evidence(evidence) => Some((header.height, evidence)),
            _ => None,
        });
        evidence.collect()
    }

    /// All messages in order, each with its hub block's header.
    pub fn messages(&self) -> impl Iterator<Item = (&HubHeader, Message)> {
        let all =
            self.blocks.iter().flat_map(|block| block.messages.iter().map(|bytes| (&block.header, bytes)));
        all.filter_map(|(header, bytes)| Some((header, bytes.decode().ok()?)))
    }
}
