//! What to tell the ledger: a function of what it says and of what Bitcoin's blocks hold. Pure.

use bitcoin::block::Header;
use bitcoin::{Block, OutPoint, Txid, Work};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::stakes::Watched;
use palisade_protocol::inclusion::{InclusionProof, InclusionRefused};
use palisade_protocol::message::{Message, OutputSpent, StakeIncluded};
use palisade_protocol::units::BtcHeight;

/// A fact that no inclusion proof can show: its transaction could be two hashes (64 bytes). Nodes do not relay such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transaction {txid} cannot be proven: {why}")]
pub struct Unprovable {
    /// The transaction.
    pub txid: Txid,
    /// Why.
    pub why: InclusionRefused,
}

/// What a block shows that the ledger lacks and would take now. What depends on a message of this plan follows from the
/// next plan, when the ledger has taken that: a spend after its stake's inclusion, an unbonding output's after that.
///
/// A block off the ledger's best chain shows nothing.
pub fn facts(ledger: &Ledger, block: &Block) -> Vec<Result<Message, Unprovable>> {
    let Some(height) = ledger.bitcoin().height_of(&block.block_hash()) else { return Vec::new() };
    let mut messages = Vec::new();
    for (index, tx) in (0..).zip(&block.txdata) {
        let txid = tx.compute_txid();
        let proof = || InclusionProof::from_block(block, index).map_err(|why| Unprovable { txid, why });
        // One that lapsed is told too: should it be registered anew, the ledger must know whether its coins have left.
        let made = ledger.stakes().of_transaction(&txid);
        for stake in made.filter(|stake| stake.takes_inclusion(height, ledger.btc_height())) {
            let stake = stake.id;
            messages.push(proof().map(|proof| Message::Included(StakeIncluded { stake, proof })));
        }
        for outpoint in tx.input.iter().map(|input| input.previous_output) {
            let Some(stake) = wants_spend(ledger, &outpoint) else { continue };
            let stake = stake.id;
            messages.push(proof().map(|proof| Message::Spent(OutputSpent { stake, outpoint, proof })));
        }
        if ledger.wants_anchor(tx, block.block_hash(), index) {
            messages.push(proof().map(Message::Anchor));
        }
    }
    messages
}

fn wants_spend<'a>(ledger: &'a Ledger, outpoint: &OutPoint) -> Option<&'a Stake> {
    let stakes = ledger.stakes();
    match stakes.watched(outpoint)? {
        Watched::Staking(index) => {
            stakes.get(index).filter(|stake| stake.spend.is_none() && stake.included.is_some())
        }
        Watched::Unbonding(index) => {
            stakes.get(index).filter(|stake| stake.unbonding_spend.is_none() && stake.unbonded_at().is_some())
        }
    }
}

/// The last height whose header may be told before the blocks up to it are read: one more, and a stake would lapse whose
/// inclusion may stand below. `None` if no stake waits for its inclusion.
pub fn header_limit(ledger: &Ledger) -> Option<BtcHeight> {
    let tip = ledger.btc_height();
    let waiting = ledger.stakes().iter().filter(|stake| !stake.ever_included && !stake.lapsed);
    waiting.map(|stake| stake.lapses_at.minus(1)).filter(|height| *height > tip).min()
}

/// Which of the headers above `fork` the ledger would take: all that extend its chain, up to [`header_limit`]; a branch
/// only whole, and only when it has more work.
pub fn headers(ledger: &Ledger, fork: BtcHeight, mut above: Vec<Header>) -> Option<Vec<Header>> {
    let chain = ledger.bitcoin();
    let tip = chain.tip().height;
    if fork == tip {
        if let Some(limit) = header_limit(ledger) {
            above.truncate(limit.since(tip) as usize);
        }
    } else {
        let own = (fork.next().0..=tip.0).filter_map(|height| chain.header_at(BtcHeight(height)));
        if work(above.iter()) <= work(own) {
            return None;
        }
    }
    (!above.is_empty()).then_some(above)
}

fn work<'a>(headers: impl Iterator<Item = &'a Header>) -> Option<Work> {
    headers.map(Header::work).reduce(|sum, work| sum + work)
}

#[cfg(test)]
mod tests;
