//! Selective slashing: whoever slashes one stake shows the key that slashes all others.
//!
//! The committee's signatures in a slashing's witness are decrypted adaptor signatures. Each, with its encrypted form from
//! the log, gives the provider's key away. Pure.

use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Transaction, Witness};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::stakes::Watched;
use palisade_protocol::adaptor::{self, AdaptorSignature};
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::outputs::Leaf;
use palisade_protocol::stake::Slashable;

/// The keys that a transaction gives away by slashing registered stakes, each once.
pub fn leaked_by(ledger: &Ledger, tx: &Transaction) -> Vec<Evidence> {
    let stakes = ledger.stakes();
    let mut found: Vec<Evidence> = Vec::new();
    for input in &tx.input {
        let (index, output) = match stakes.watched(&input.previous_output) {
            Some(Watched::Staking(index)) => (index, Slashable::Staking),
            Some(Watched::Unbonding(index)) => (index, Slashable::Unbonding),
            None => continue,
        };
        let evidence = stakes.get(index).and_then(|stake| leaked_key(stake, output, &input.witness));
        found.extend(evidence.filter(|evidence| !found.contains(evidence)));
    }
    found
}

/// Every signature of a member is held against that member's adaptor signature for every named provider.
fn leaked_key(stake: &Stake, output: Slashable, witness: &Witness) -> Option<Evidence> {
    let spent = match output {
        Slashable::Staking => stake.contract.output(),
        Slashable::Unbonding => stake.contract.unbonding_output(),
    };
    if spent.leaf_of_script(witness.taproot_leaf_script()?.script.as_bytes()) != Some(Leaf::Slashing) {
        return None;
    }
    // A multisig reads its signatures from the top of the stack: they stand in reverse order of the keys.
    let members = stake.contract.keys.committee().members();
    members.iter().rev().zip(witness.iter()).find_map(|(member, signature)| {
        let signature = Signature::from_slice(signature).ok()?;
        let own = stake.signatures.get(member)?;
        let encrypted: &[AdaptorSignature] = match output {
            Slashable::Staking => &own.slashing,
            Slashable::Unbonding => &own.unbonding_slashing,
        };
        stake.named().zip(encrypted).find_map(|(key, encrypted)| {
            let pair = adaptor::recover(encrypted, &signature, &key.point()).ok()?;
            Some(Evidence::Key(LeakedKey { key: *key, secret: *pair.secret_bytes() }))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::slash::{CannotSlash, slashing};
    use palisade_protocol::context::ChainId;
    use palisade_protocol::governance::{Action, NewChain};
    use palisade_protocol::hash::Hash32;
    use palisade_protocol::stake::StakeId;
    use palisade_protocol::transactions::witness::NoWitness;
    use palisade_protocol::units::Epoch;
    use palisade_world::{COVENANT, Wish, World, pair, provider_key};

    /// A world with one stake that names two providers.
    fn world() -> (World, StakeId) {
        let mut world = World::new(1_000_000);
        world.mine(1);
        let other: ChainId = "other".parse().unwrap();
        let terms =
            palisade_protocol::context::Terms { epoch_length: 100, voted_every: 5, minimum_power_sat: 1 };
        world
            .govern(Action::RegisterChain(NewChain {
                id: other.clone(),
                genesis: Hash32([1; 32]),
                terms,
                first_epoch: Epoch(0),
            }))
            .unwrap();
        world.register_provider(&ChainId::zero(), "anna");
        world.register_provider(&other, "otto");
        let wish = Wish { holder: "alice", sat: 500_000, providers: &["anna", "otto"], lock: 300 };
        let (id, _) = world.register_stake(&wish);
        (world, id)
    }

    #[test]
    fn slashing_either_output_with_either_key_gives_that_key_away() {
        let (mut world, id) = world();
        world.sign_quorum(&id);
        for output in [Slashable::Staking, Slashable::Unbonding] {
            for name in ["anna", "otto"] {
                let key = provider_key(name);
                let tx = slashing(world.stake(&id), output, &pair(name)).unwrap();
                let found = leaked_by(&world.ledger, &tx);
                assert_eq!(found.iter().map(Evidence::key).collect::<Vec<_>>(), [key]);
                assert!(found[0].secret().is_ok());
            }
        }
    }

    #[test]
    fn other_spends_and_altered_witnesses_give_nothing_away() {
        let (mut world, id) = world();
        world.sign_quorum(&id);
        let stake = world.stake(&id);
        let good = slashing(stake, Slashable::Staking, &pair("anna")).unwrap();
        let mut without = good.clone();
        without.input[0].witness = Witness::new();
        let mut unsigned: Vec<Vec<u8>> = good.input[0].witness.to_vec();
        unsigned.iter_mut().take(COVENANT.len()).for_each(Vec::clear);
        let mut nobody = good.clone();
        nobody.input[0].witness = Witness::from_slice(&unsigned);
        let mut stranger = good.clone();
        stranger.input[0].previous_output.vout = 9;
        for tx in [without, nobody, stranger, stake.presigned.unbonding.clone()] {
            assert_eq!(leaked_by(&world.ledger, &tx), []);
        }
    }

    #[test]
    fn without_a_quorum_or_a_named_key_nothing_can_be_slashed() {
        let (mut world, id) = world();
        for member in &COVENANT[..2] {
            let answer = world.answer(member, world.stake(&id));
            world.send(&answer).unwrap();
        }
        let slash =
            |world: &World, name| slashing(world.stake(&id), Slashable::Staking, &pair(name)).unwrap_err();
        let few = NoWitness::BelowQuorum { found: 2, quorum: 3 };
        assert_eq!(slash(&world, "anna"), CannotSlash::Witness(few));
        let answer = world.answer(COVENANT[2], world.stake(&id));
        world.send(&answer).unwrap();
        assert_eq!(slash(&world, "zoe"), CannotSlash::NotNamed(provider_key("zoe")));
    }
}
