//! Witnesses of what spends a stake, for nodes.

use bitcoin::Transaction;
use palisade_checkpointer::watch::slash;
use palisade_protocol::stake::Slashable;
use palisade_protocol::transactions::witness;
use palisade_world::player::Spend;
use palisade_world::{World, pair, schnorr, unbonding};

/// The spend with its witness; the holder's own spends are left as they are.
pub(super) fn complete(world: &World, spend: &Spend<'_>) -> Transaction {
    let Spend { id, holder, leaked, new, tx } = *spend;
    let (stake, txid) = (world.stake(id), tx.compute_txid());
    let slashing = |output| slash::slashing(stake, output, &pair(leaked.expect("a key"))).expect("a quorum");
    if let Some(new) = new {
        let sighash = world.ledger.expansion_sighash(&new).expect("an expansion");
        let consents = world.stake(&new).consents.clone();
        let (output, keys) = (stake.contract.output(), &stake.contract.keys);
        let mut tx = tx.clone();
        let own = schnorr(holder, &sighash);
        tx.input[0].witness = witness::unbonding(&output, keys, &own, &consents).expect("a quorum");
        return tx;
    }
    match txid {
        _ if txid == stake.presigned.unbonding.compute_txid() => unbonding(stake, holder),
        _ if txid == stake.presigned.slashing.compute_txid() => slashing(Slashable::Staking),
        _ if txid == stake.presigned.unbonding_slashing.compute_txid() => slashing(Slashable::Unbonding),
        _ => tx.clone(),
    }
}
