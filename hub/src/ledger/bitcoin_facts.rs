//! Facts from Bitcoin: headers, inclusions, spends. A rollback withdraws the facts of the lost blocks, going forward.

use super::stake::{Place, Spend};
use super::stakes::Watched;
use super::{Event, Ledger, Rejected, Trip};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
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

    pub(super) fn apply_included(&mut self, included: &StakeIncluded, cause: &str) -> Result<(), Rejected> {
        let (index, stake) =
            self.stakes.find(&included.stake).ok_or(Rejected::UnknownStake(included.stake))?;
        if stake.contract.coin.outpoint.txid != included.proof.transaction.compute_txid() {
            return Err(Rejected::NotStaking);
        }
        if stake.included.is_some() {
            return Err(Rejected::Repeated("the stake is known to be on Bitcoin"));
        }
        let place = self.prove(&included.proof)?;
        let now = self.now(cause);
        self.stakes.include(index, place, now, &mut self.providers);
        Ok(())
    }

    pub(super) fn apply_spent(&mut self, spent: &OutputSpent) -> Result<(), Rejected> {
        let watched =
            self.stakes.watched(&spent.outpoint).ok_or(Rejected::Spend("no stake has that output"))?;
        let (Watched::Staking(index) | Watched::Unbonding(index)) = watched;
        let stake = self.stakes.get(index).filter(|stake| stake.id == spent.stake);
        let stake = stake.ok_or(Rejected::UnknownStake(spent.stake))?;
        let input =
            spent.proof.transaction.input.iter().find(|input| input.previous_output == spent.outpoint);
        let input = input.ok_or(Rejected::Spend("the transaction does not spend that output"))?;
        let (known, exists, kind) = match watched {
            Watched::Staking(_) => {
                (stake.spend, stake.included.is_some(), stake.classify_spend(&spent.proof.transaction, input))
            }
            Watched::Unbonding(_) => {
                let kind = stake.classify_unbonding_spend(&spent.proof.transaction, input);
                (stake.unbonding_spend, stake.unbonded_at().is_some(), kind)
            }
        };
        if known.is_some() {
            return Err(Rejected::Repeated("the spend is known"));
        }
        if !exists {
            return Err(Rejected::NotReported);
        }
        let place = self.prove(&spent.proof)?;
        let txid = spent.proof.transaction.compute_txid();
        let cause = txid.to_string();
        let now = self.now(&cause);
        self.stakes.spend(watched, Spend { txid, kind, place }, now, &mut self.providers);
        Ok(())
    }
}
