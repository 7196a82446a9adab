//! Registrations of stakes.

use super::super::stakes::sample;
use super::super::{json, pair};
use super::signed;
use bitcoin::{Amount, OutPoint, ScriptBuf};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::outputs::Output;
use palisade_protocol::params::{Params, ParamsDocument, Profile};
use palisade_protocol::registration::{ConfirmedStake, RegistrationProof, StakeRefused, StakeRegistration};
use palisade_protocol::scripts::{BadKeys, StakeKeys};
use palisade_protocol::stake::{BadPresigned, Contract, Presigned, Slashable};
use palisade_protocol::transactions::slashing::BadSlashing;
use palisade_protocol::transactions::{CannotBuild, Coin};
use palisade_protocol::units::RelativeBlocks;

fn document() -> ParamsDocument {
    json(&super::super::vectors("stake")["params"])
}

fn params() -> Params {
    Params::new(document()).unwrap()
}

fn blocks(n: u16) -> RelativeBlocks {
    RelativeBlocks::new(n).unwrap()
}

fn keys(made: &StakeRegistration) -> Result<StakeKeys, BadKeys> {
    let named = made.providers.iter().chain(&made.former).copied().collect();
    StakeKeys::new(made.staker, named, params().committee().clone())
}

/// Writes the stake's script into its output, for the keys and the lock as they are now.
fn place(made: &mut StakeRegistration) {
    let script = Output::staking(&keys(made).unwrap(), made.lock).script_pubkey();
    made.staking_tx.output[made.vout as usize].script_pubkey = script;
}

/// Presigns by these parameters, alters what was presigned, and signs all that.
fn sign(made: &mut StakeRegistration, by: &Params, alter: impl FnOnce(&mut Presigned)) {
    let value = made.staking_tx.output[made.vout as usize].value;
    let coin = Coin { outpoint: made.outpoint(), value };
    let (lock, unbonding_time) = (made.lock, by.unbonding_time());
    let contract = Contract { coin, keys: keys(made).unwrap(), lock, unbonding_time };
    made.presigned = contract.presign(by).unwrap();
    alter(&mut made.presigned);
    let sighashes = contract.sighashes(&made.presigned).unwrap();
    made.slashing_signature = signed("holder", &sighashes.slashing);
    made.unbonding_slashing_signature = signed("holder", &sighashes.unbonding_slashing);
}

/// What is said of the sample's stake after a change that everything else is made and signed anew around.
fn after(change: impl FnOnce(&mut StakeRegistration)) -> Result<(), StakeRefused> {
    let mut made = sample().1;
    change(&mut made);
    sign(&mut made, &params(), |_| ());
    made.judge(&params()).map(|_| ())
}

/// The same for a change of what is signed already.
fn spoilt(change: impl FnOnce(&mut StakeRegistration)) -> Result<(), StakeRefused> {
    let mut made = sample().1;
    change(&mut made);
    made.judge(&params()).map(|_| ())
}

fn provider(name: &str) -> ProviderKey {
    pair(name).public().into()
}

#[test]
fn the_keys_of_a_stake_break_each_rule_alone() {
    assert_eq!(after(|_| ()), Ok(()));
    assert_eq!(after(|made| made.providers.swap(0, 1)), Err(StakeRefused::Order));
    assert_eq!(spoilt(|made| made.providers[1] = made.providers[0]), Err(StakeRefused::Order));
    let former = |names: [&str; 2], reversed: bool| {
        after(|made| {
            made.former = names.map(provider).to_vec();
            made.former.sort_unstable();
            if reversed {
                made.former.reverse();
            }
            place(made);
        })
    };
    assert_eq!(former(["fp 8", "fp 9"], false), Ok(()));
    assert_eq!(former(["fp 8", "fp 9"], true), Err(StakeRefused::Order));
    let refused = |why: BadKeys| Err(StakeRefused::Keys(why));
    let all_former = after(|made| made.former = std::mem::take(&mut made.providers));
    assert_eq!(all_former, refused(BadKeys::ProviderCount(0)));
    let many = |count: usize| {
        let mut keys: Vec<_> = (0..count).map(|i| provider(&format!("one of many {i}"))).collect();
        keys.sort_unstable();
        keys
    };
    let crowd = |count: usize| {
        let made = |made: &mut StakeRegistration| {
            made.providers = many(count);
            place(made);
        };
        after(made)
    };
    assert_eq!(crowd(8), Ok(()));
    let nine = spoilt(|made| made.providers = many(9));
    assert_eq!(nine, refused(BadKeys::ProviderCount(9)));
    let twice = |key: ProviderKey| refused(BadKeys::Duplicate(key.to_string()));
    let own = sample().1.providers[0];
    assert_eq!(spoilt(|made| made.former = vec![own]), twice(own));
    for name in ["holder", "covenant 1"] {
        assert_eq!(spoilt(|made| made.former = vec![provider(name)]), twice(provider(name)), "{name}");
    }
}

#[test]
fn the_lock_and_the_amount_of_a_stake_have_their_bounds() {
    let lock = |lock: u16| {
        after(|made| {
            made.lock = blocks(lock);
            place(made);
        })
    };
    let (min, max) = (blocks(300), blocks(65_535));
    assert_eq!((lock(300), lock(65_535)), (Ok(()), Ok(())));
    assert_eq!(lock(299), Err(StakeRefused::Lock { found: blocks(299), min, max }));
    let shorter = Params::new(ParamsDocument { max_lock_blocks: blocks(999), ..document() }).unwrap();
    let refused = sample().1.judge(&shorter).map(|_| ());
    assert_eq!(refused, Err(StakeRefused::Lock { found: blocks(1_000), min, max: blocks(999) }));

    let amount = |sat| after(|made| made.staking_tx.output[1].value = Amount::from_sat(sat));
    let (min, max) = (Amount::from_sat(10_000), Amount::from_sat(500_000_000_000));
    assert_eq!((amount(10_000), amount(500_000_000_000)), (Ok(()), Ok(())));
    for sat in [9_999, 500_000_000_001] {
        let found = Amount::from_sat(sat);
        assert_eq!(amount(sat), Err(StakeRefused::Amount { found, min, max }));
    }
}

#[test]
fn a_staking_transaction_breaks_each_rule_alone() {
    assert_eq!(after(|made| made.vout = 0), Err(StakeRefused::Output(0)));
    assert_eq!(spoilt(|made| made.vout = 2), Err(StakeRefused::Output(2)));
    let twice = after(|made| made.staking_tx.output[0] = made.staking_tx.output[1].clone());
    assert_eq!(twice, Err(StakeRefused::Ambiguous));
    let coinbase = after(|made| made.staking_tx.input[0].previous_output = OutPoint::null());
    assert_eq!(coinbase, Err(StakeRefused::Coinbase));
    let malleable = |made: &mut StakeRegistration| {
        made.staking_tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
    };
    assert_eq!(after(malleable), Err(StakeRefused::Malleable));
    // A txid that is on Bitcoin changes no more.
    let confirmed = after(|made| {
        let RegistrationProof::Funding(backing) = &made.proof else { panic!("a backing") };
        let (inclusion, signature) = (backing.proof.clone(), made.slashing_signature);
        made.proof = RegistrationProof::Confirmed(ConfirmedStake { inclusion, signature });
        malleable(made);
    });
    assert_eq!(confirmed, Ok(()));
}

#[test]
fn a_payout_is_a_script_that_has_an_address() {
    let own = sample().1.payout;
    let hash = bitcoin::hashes::Hash::all_zeros();
    let key = bitcoin::PublicKey::from_slice(&[&[2][..], &pair("holder").public().serialize()].concat());
    let good = [
        ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_raw_hash(hash)),
        ScriptBuf::new_p2sh(&own.script_hash()),
        ScriptBuf::new_p2wsh(&own.wscript_hash()),
        own,
    ];
    for payout in good {
        assert_eq!(after(|made| made.payout = payout.clone()), Ok(()), "{payout}");
    }
    let bad = [ScriptBuf::new(), ScriptBuf::new_op_return([7; 20]), ScriptBuf::new_p2pk(&key.unwrap())];
    for payout in bad {
        assert_eq!(after(|made| made.payout = payout.clone()), Err(StakeRefused::Payout), "{payout}");
    }
}

#[test]
fn what_is_presigned_breaks_each_rule_alone() {
    let by = |document: ParamsDocument| {
        let mut made = sample().1;
        sign(&mut made, &Params::new(document).unwrap(), |_| ());
        made.judge(&params()).map(|_| ())
    };
    let presigned = |why| Err(StakeRefused::Presigned(why));
    // The unbonding output pays a satoshi more, and everything after it agrees.
    let dearer = by(ParamsDocument { unbonding_fee_sat: 2_001, ..document() });
    assert_eq!(dearer, presigned(BadPresigned::Unbonding));
    let longer = by(ParamsDocument { unbonding_blocks: blocks(245), ..document() });
    assert_eq!(longer, presigned(BadPresigned::Unbonding));
    let altered = |alter: fn(&mut Presigned)| {
        let mut made = sample().1;
        sign(&mut made, &params(), alter);
        made.judge(&params()).map(|_| ())
    };
    let slashing = |output, why| presigned(BadPresigned::Slashing { output, why });
    let version = bitcoin::transaction::Version(3);
    assert_eq!(
        altered(|made| made.slashing.version = bitcoin::transaction::Version(3)),
        slashing(Slashable::Staking, BadSlashing::Version(version.0, Profile::Compatible))
    );
    assert_eq!(
        altered(|made| drop(made.unbonding_slashing.output.pop())),
        slashing(Slashable::Unbonding, BadSlashing::OutputCount { found: 1, wanted: 2 })
    );
    // More fee than the least is the holder's to give.
    assert_eq!(altered(|made| made.slashing.output[1].value -= Amount::ONE_SAT), Ok(()));
}

#[test]
fn a_coin_too_small_for_the_fees_is_told_before_anything_is_compared() {
    let (_, made, judged) = sample();
    let mut contract = judged.contract;
    contract.coin.value = Amount::from_sat(2_000);
    let refused = contract.check(&contract.outputs(), &made.presigned, &params());
    assert!(matches!(refused, Err(BadPresigned::CannotBuild(CannotBuild::TooSmall { .. }))), "{refused:?}");
}

#[test]
fn a_holders_signatures_stand_each_for_one_output() {
    let missing = |output| Err(StakeRefused::Signature(output));
    let (first, second) = {
        let made = sample().1;
        (made.slashing_signature, made.unbonding_slashing_signature)
    };
    assert_eq!(spoilt(|made| made.slashing_signature = second), missing(Slashable::Staking));
    assert_eq!(spoilt(|made| made.unbonding_slashing_signature = first), missing(Slashable::Unbonding));
    let by_another = signed("stranger", &sample().2.sighashes.slashing);
    assert_eq!(spoilt(|made| made.slashing_signature = by_another), missing(Slashable::Staking));
}
