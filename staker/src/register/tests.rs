use super::*;
use crate::keys::Branch;
use crate::testing::{coin, contract, key, keys, registration, script, terms, world};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::context::Terms as ChainTerms;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Epoch;
use palisade_world::{World, keypair, provider_key};

#[test]
fn the_ledger_takes_our_registration_and_names_it_as_we_do() {
    let mut world = world();
    let (registration, record) = registration(&mut world).unwrap();
    let id = world.send(&Message::Stake(Box::new(registration))).unwrap();
    assert_eq!(Some(StakeId(id)), record.id);
    assert_eq!(world.stake(&StakeId(id)).contract, record.contract().unwrap());
}

#[test]
fn a_stake_that_is_confirmed_first_is_taken_too() {
    let mut world = world();
    let (funding, _) = coin(&mut world, 501_000);
    let (contract, staking_tx) = contract(&world, funding);
    let params = world.ledger.params_at(world.ledger.btc_height()).1;
    let presigned = contract.presign(params).unwrap();
    world.mempool.push(staking_tx.clone());
    world.mine(1);
    let chosen = choose(&world.ledger, &[provider_key("anna")]).unwrap();
    let payout = script();
    let terms = terms((&contract, &staking_tx), &presigned, &chosen, &payout);
    let (registration, id) = after(&terms, &key(), world.proof(&staking_tx), &world.ledger).unwrap();
    world.send(&Message::Stake(Box::new(registration))).unwrap();
    assert_eq!(world.stake(&id).state, StakeState::Pending);
    let other = keys().staking(1).unwrap();
    let refused = after(&terms, &other, world.proof(&staking_tx), &world.ledger).unwrap_err();
    assert!(matches!(refused, CannotRegister::Refused(_)), "{refused}");
}

#[test]
fn what_the_hub_would_refuse_is_refused_here_by_the_same_rule() {
    let mut world = world();
    let (funding, proof) = coin(&mut world, 501_000);
    let (contract, staking_tx) = contract(&world, funding);
    let params = world.ledger.params_at(world.ledger.btc_height()).1.clone();
    let presigned = contract.presign(&params).unwrap();
    let chosen = choose(&world.ledger, &[provider_key("anna")]).unwrap();
    let payout = script();
    let good = terms((&contract, &staking_tx), &presigned, &chosen, &payout);
    let secret = keys().coin_key(Branch::Receive, 0).unwrap();
    let rule = |terms: &Terms<'_>, secret: &SecretKey, vout| {
        let backing = BackingCoin { proof: proof.clone(), vout, secret };
        match before(terms, &key(), backing, &world.ledger) {
            Ok(_) => "taken",
            Err(CannotRegister::Refused(why)) => why.rule(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(rule(&good, &secret, 0), "taken");
    assert_eq!(rule(&good, &keypair("stranger").secret_key(), 0), "backing");
    assert_eq!(rule(&good, &secret, 1), "stake");
    let nowhere = ScriptBuf::new_op_return(b"nowhere");
    assert_eq!(rule(&Terms { payout: &nowhere, ..good.clone() }, &secret, 0), "stake");
    let mut longer = contract.clone();
    longer.lock = longer.unbonding_time;
    assert_eq!(rule(&Terms { contract: &longer, ..good.clone() }, &secret, 0), "stake");
    let unknown = StakeId(Hash32([1; 32]));
    assert_eq!(rule(&Terms { expands: Some(unknown), ..good }, &secret, 0), "unknown-stake");
}

fn world_of_two_chains() -> (World, ChainId) {
    let mut world = world();
    let id: ChainId = "other".parse().unwrap();
    let terms = ChainTerms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 };
    let chain = NewChain { id: id.clone(), genesis: Hash32([3; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    for (chain, name) in [(&ChainId::zero(), "bert"), (&id, "carl"), (&id, "dora")] {
        world.register_provider(chain, name);
    }
    (world, id)
}

#[test]
fn exactly_one_provider_of_the_hubs_chain_and_at_most_one_of_each_other() {
    let (world, other) = world_of_two_chains();
    let choice = |names: &[&str]| {
        let keys: Vec<_> = names.iter().map(|name| provider_key(name)).collect();
        choose(&world.ledger, &keys)
    };
    for names in [["anna"].as_slice(), &["anna", "carl"], &["dora", "bert"]] {
        let chosen = choice(names).unwrap();
        assert!(chosen.keys.is_sorted() && chosen.keys.len() == names.len());
    }
    for (names, refused) in [
        ([].as_slice(), BadChoice::NoZero),
        (&["carl"], BadChoice::NoZero),
        (&["anna", "anna"], BadChoice::SameChain(ChainId::zero())),
        (&["anna", "bert"], BadChoice::SameChain(ChainId::zero())),
        (&["anna", "carl", "dora"], BadChoice::SameChain(other)),
        (&["anna", "nobody"], BadChoice::Unknown(provider_key("nobody"))),
    ] {
        assert_eq!(choice(names), Err(refused), "{names:?}");
    }
}
