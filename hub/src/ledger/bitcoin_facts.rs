//! Facts from Bitcoin: headers, inclusions, spends. A rollback withdraws the facts of the lost blocks, going forward.
//! Source: docs/protocol.md, sections 5.3 and 5.8.

use super::registration::check_not_matured;
use super::stake::{Place, Spend, SpendKind};
use super::stakes::Watched;
use super::{Event, Ledger, Rejected, Trip};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Transaction, TxIn};
use palisade_protocol::chain::Accepted;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Headers, OutputSpent, StakeIncluded};
use palisade_protocol::state::Section;
use palisade_protocol::tree::leaf_hash;
use palisade_protocol::units::BtcHeight;

impl Ledger {
    pub(super) fn apply_headers(&mut self, headers: &Headers, cause: &str) -> Result<(), Rejected> {
        match self.bitcoin.accept(&headers.headers)? {
            Accepted::Extended { from, to } => {
                self.record_blocks(from.height.plus(1));
                self.events.push(Event::Bitcoin { height: to.height, fork: None });
            }
            Accepted::Reorganised { fork, old_tip, new_tip, .. } => {
                let depth = old_tip.height.since(fork);
                let k = self.params_at(old_tip.height).1.k();
                if depth > k {
                    self.trip(Trip::DeepRollback { fork, depth, k });
                }
                self.record_blocks(fork.plus(1));
                self.events.push(Event::Bitcoin { height: new_tip.height, fork: Some(fork) });
                self.roll_back_anchors(fork);
                let now = self.now(cause);
                self.stakes.roll_back(fork, now, &mut self.providers);
                if new_tip.height < old_tip.height {
                    self.stakes.recede(now, &mut self.providers);
                }
            }
        }
        let now = self.now(cause);
        self.stakes.advance(now, &mut self.providers);
        Ok(())
    }

    /// Writes the best chain's blocks from a height on into the state.
    fn record_blocks(&mut self, from: BtcHeight) {
        let start = self.genesis.document().base_height;
        let tree = self.tree.section_mut(Section::Bitcoin);
        tree.truncate(from.since(start.plus(1)) as usize);
        let mut height = from;
        while let Some(hash) = self.bitcoin.hash_at(height) {
            tree.push(leaf_hash(&hash.to_byte_array()));
            height = height.plus(1);
        }
    }

    /// The place of a block on the best chain.
    pub(super) fn place_of(&self, block: BlockHash) -> Result<Place, Rejected> {
        let height = self.bitcoin.height_of(&block).ok_or(Rejected::UnknownBlock(block))?;
        Ok(Place { height, block })
    }

    /// Checks a proof against the best chain.
    pub(super) fn prove(&self, proof: &InclusionProof) -> Result<Place, Rejected> {
        let place = self.place_of(proof.block_hash)?;
        let header = self.bitcoin.header_at(place.height).ok_or(Rejected::UnknownBlock(place.block))?;
        proof.check(header)?;
        Ok(place)
    }

    /// Gives the place of the staking transaction.
    pub(super) fn judge_included(&self, included: &StakeIncluded) -> Result<Place, Rejected> {
        let (_, stake) = self.stakes.find(&included.stake).ok_or(Rejected::UnknownStake(included.stake))?;
        if stake.contract.coin.outpoint.txid != included.proof.transaction.compute_txid() {
            return Err(Rejected::NotStaking);
        }
        if stake.included.is_some() {
            return Err(Rejected::Repeated("the stake is known to be on Bitcoin"));
        }
        let lock = stake.contract.lock;
        let place = self.prove(&included.proof)?;
        check_not_matured(place.height, lock, self.btc_height())?;
        Ok(place)
    }

    pub(super) fn apply_included(&mut self, included: &StakeIncluded, cause: &str) -> Result<(), Rejected> {
        let place = self.judge_included(included)?;
        self.book_transaction(&included.proof.transaction, place, cause);
        Ok(())
    }

    /// Gives the place of the spend.
    pub(super) fn judge_spent(&self, spent: &OutputSpent) -> Result<Place, Rejected> {
        let watched =
            self.stakes.watched(&spent.outpoint).ok_or(Rejected::Spend("no stake has that output"))?;
        let (Watched::Staking(index) | Watched::Unbonding(index)) = watched;
        let stake = self.stakes.get(index).filter(|stake| stake.id == spent.stake);
        let stake = stake.ok_or(Rejected::UnknownStake(spent.stake))?;
        let transaction = &spent.proof.transaction;
        if !transaction.input.iter().any(|input| input.previous_output == spent.outpoint) {
            return Err(Rejected::Spend("the transaction does not spend that output"));
        }
        let (known, exists) = match watched {
            Watched::Staking(_) => (stake.spend, stake.included.is_some()),
            Watched::Unbonding(_) => (stake.unbonding_spend, stake.unbonded_at().is_some()),
        };
        if known.is_some() {
            return Err(Rejected::Repeated("the spend is known"));
        }
        if !exists {
            return Err(Rejected::NotReported);
        }
        self.prove(&spent.proof)
    }

    pub(super) fn apply_spent(&mut self, spent: &OutputSpent, cause: &str) -> Result<(), Rejected> {
        let place = self.judge_spent(spent)?;
        self.book_transaction(&spent.proof.transaction, place, cause);
        Ok(())
    }

    /// Books all that a proven transaction does: the outputs of stakes that it spends and the stakes that it makes. So
    /// nobody can show one side of it and hide the other, and have the same coins counted twice.
    pub(super) fn book_transaction(&mut self, tx: &Transaction, place: Place, cause: &str) {
        let txid = tx.compute_txid();
        for input in &tx.input {
            let Some((watched, kind)) = self.unknown_spend(tx, input) else { continue };
            let spender = txid.to_string();
            let now = self.now(&spender);
            self.stakes.spend(watched, Spend { txid, kind, place }, now, &mut self.providers);
        }
        for index in self.stakes.awaiting(&txid, place.height, self.btc_height()) {
            let now = self.now(cause);
            self.stakes.include(index, place, now, &mut self.providers);
        }
    }

    /// What an input does to an output of ours whose spend is not known yet.
    fn unknown_spend(&self, tx: &Transaction, input: &TxIn) -> Option<(Watched, SpendKind)> {
        let watched = self.stakes.watched(&input.previous_output)?;
        let (Watched::Staking(index) | Watched::Unbonding(index)) = watched;
        let stake = self.stakes.get(index)?;
        let (known, kind) = match watched {
            Watched::Staking(_) => (stake.spend, stake.classify_spend(tx, input)),
            Watched::Unbonding(_) => (stake.unbonding_spend, stake.classify_unbonding_spend(tx, input)),
        };
        known.is_none().then_some((watched, kind))
    }
}
