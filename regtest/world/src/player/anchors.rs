//! The anchors of a history, and a naive account of them: one that the ledger was told of counts while its block is on the best chain.

use super::model::Chain;
use super::seen::Case;
use super::{NAMES, Player};
use crate::provider_key;
use bitcoin::{BlockHash, Transaction};
use palisade_protocol::message::Message;
use palisade_protocol::units::{BtcHeight, Epoch};

#[derive(Clone)]
pub(super) struct Anchored {
    epoch: Epoch,
    pub(super) tx: Transaction,
    /// The block in which the ledger was last told of it.
    told: Option<BlockHash>,
}

impl Player {
    /// The newest epoch of chain zero that is over is anchored, once.
    pub(super) fn anchor(&mut self, told: bool) {
        let ledger = &self.world.ledger;
        let own = |epoch: &Epoch| Some((*epoch, ledger.own_header(*epoch)?));
        let Some((epoch, header)) = ledger.chains()[0].sets.keys().rev().find_map(own) else { return };
        if self.anchors.iter().any(|made| made.epoch == epoch) {
            return;
        }
        let set = &ledger.chains()[0].sets[&epoch].set;
        let signers = NAMES.into_iter().filter(|name| set.find(&provider_key(name)).is_some());
        let anchor = self.world.anchor(&signers.collect::<Vec<_>>(), epoch, header);
        let tx = self.world.mine_anchor(&anchor);
        self.anchors.push(Anchored { epoch, tx, told: None });
        self.check();
        if told {
            self.tell_anchors();
        }
    }

    /// Tells the ledger of all anchors on the best chain. One above the expiry of its set it refuses.
    pub(super) fn tell_anchors(&mut self) {
        for place in 0..self.anchors.len() {
            let Anchored { epoch, tx, told } = self.anchors[place].clone();
            let Some(height) = self.height_of(&tx) else { continue };
            let block = self.world.block_hash(height);
            let expiry = self.world.ledger.chains()[0].sets[&epoch].set.header().expiry;
            let counts = told != Some(block) && BtcHeight(height) <= expiry;
            let answer = self.tell(&Message::Anchor(self.world.proof(&tx)));
            assert_eq!(answer.is_ok(), counts, "{epoch:?} at {height}: {answer:?}");
            if counts {
                self.seen.note_if(told.is_some(), Case::AnchorAgain);
                self.anchors[place].told = Some(block);
            }
            self.check();
        }
    }

    /// Whether one that counted is not on the best chain.
    pub(super) fn anchors_gone(&self) -> bool {
        let chain = Chain::read(&self.world.chain);
        self.anchors.iter().filter_map(|made| made.told).any(|block| !chain.hashes.contains(&block))
    }

    pub(super) fn check_anchors(&self, chain: &Chain) {
        for made in &self.anchors {
            let counts = made.told.is_some_and(|block| chain.hashes.contains(&block));
            let found = self.world.ledger.anchors().get(made.epoch).map(|found| found.outpoint.txid);
            assert_eq!(found, counts.then(|| made.tx.compute_txid()), "{:?}", made.epoch);
        }
    }
}
