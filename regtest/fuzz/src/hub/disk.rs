//! The hub's log on disk: all of the story's, and its beginning.

use crate::protocol::{own_share, own_vote};
use crate::scratch;
use crate::story::{dev, story};
use crate::whole::fits;
use anyhow::{Context as _, bail, ensure};
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::Replica;
use palisade_hub::store::{FILE, Store};
use palisade_protocol::block::Block;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use std::path::Path;

/// Blocks in the beginning: the first stakes are among them.
const FIRST: usize = 6;

/// The story's log, with votes and shares that were taken since.
pub(super) fn log() -> Vec<u8> {
    scratch::written(FILE, |path| {
        std::fs::write(path, &story().log).expect("a copy");
        keep_votes(&Store::open(path).expect("a log"));
    })
}

/// The first blocks of it, with the same.
pub(super) fn beginning() -> Vec<u8> {
    scratch::written(FILE, |path| {
        let store = Store::open(path).expect("a log");
        let mut ledger = Ledger::new(story().world.ledger.genesis().clone());
        for block in first() {
            let events = ledger.replay(block).expect("a sound block");
            store.append(block, &events, &[]).expect("a place");
        }
        store.keep_digests(Height(1), &story().digests).expect("a place");
        keep_votes(&store);
    })
}

fn first() -> &'static [Block] {
    &story().world.log[..FIRST]
}

fn keep_votes(store: &Store) {
    let other = story().world.vote(&dev(), "dev anna", Height(205), Hash32([8; 32]));
    store.keep_votes([&own_vote("dev anna"), &own_vote("dev bert"), &other]).expect("votes");
    store.keep_share(&own_share("anna")).expect("a share");
}

/// Reads everything that the hub reads.
pub(super) fn read(path: &Path) -> anyhow::Result<()> {
    blocks(path).map(drop)
}

/// The same of the beginning. Blocks that are not those that were written do not replay.
pub(super) fn read_beginning(path: &Path) -> anyhow::Result<()> {
    let blocks = blocks(path)?;
    if !first().starts_with(&blocks) {
        let dir = scratch::dir();
        std::fs::copy(path, dir.path().join(FILE))?;
        let replayed = Replica::open(dir.path(), story().world.ledger.genesis().clone());
        ensure!(replayed.is_err(), "whole.sqlite: other blocks than were written replay");
        bail!("message log: {}", replayed.err().context("a refusal")?);
    }
    Ok(())
}

fn blocks(path: &Path) -> anyhow::Result<Vec<Block>> {
    let store = Store::open(path)?;
    let tip = store.tip()?.context("message log: no blocks")?;
    let (mut from, mut all) = (Height(0), Vec::new());
    loop {
        let page = store.blocks(from, 50)?;
        let Some(last) = page.last() else { break };
        from = last.header.height.next();
        all.extend(page);
        fits(all.len(), path);
        // A row may claim any height.
        if from > tip || from == Height(0) {
            break;
        }
    }
    rest(&store, path)?;
    Ok(all)
}

fn rest(store: &Store, path: &Path) -> anyhow::Result<()> {
    fits(store.events(0, 1_000)?.len(), path);
    let context = story().world.ledger.chain(&dev()).context("the other chain")?.vote;
    fits(store.votes(&context, Height(0), 100)?.len(), path);
    store.votes_between(&context, Height(0)..Height(u64::MAX))?;
    store.votes_by(&own_vote("dev anna"))?;
    store.double_votes()?;
    store.shares(Epoch(8))?;
    for digest in &story().digests {
        if let Some((height, _)) = store.find_digest(digest)? {
            store.digests(height)?;
        }
    }
    match store.check()? {
        None => Ok(()),
        Some(verdict) => bail!("message log: {verdict}"),
    }
}
