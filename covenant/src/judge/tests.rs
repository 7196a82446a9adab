use super::*;
use crate::fixtures::{PROVIDERS, anything, sign_slashings, wish, world};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{ScriptBuf, Sequence, Transaction, Witness};
use palisade_protocol::message::Message;
use palisade_protocol::scripts::Committee;
use palisade_protocol::stake::Presigned;
use palisade_world::{World, provider_key};

fn empty() -> Window {
    Window::of([])
}

type Change = fn(&mut Transaction);
type Mutation = Box<dyn Fn(&mut Transaction)>;

fn mutations() -> Vec<(String, Mutation)> {
    let mut all: Vec<(String, Mutation)> = Vec::new();
    for version in [-1, 0, 1, 2, 3] {
        all.push((format!("version {version}"), Box::new(move |tx| tx.version = Version(version))));
    }
    for sequence in [0, 0xffff_fffd, 0xffff_ffff] {
        let change = move |tx: &mut Transaction| tx.input[0].sequence = Sequence(sequence);
        all.push((format!("sequence {sequence:x}"), Box::new(change)));
    }
    for output in [0, 1] {
        for by in [-100_000, -1_000, -3, -2, -1, 0, 1, 2, 3, 1_000, 100_000] {
            let change = move |tx: &mut Transaction| {
                if let Some(output) = tx.output.get_mut(output) {
                    output.value = Amount::from_sat(output.value.to_sat().saturating_add_signed(by));
                }
            };
            all.push((format!("value of output {output} by {by}"), Box::new(change)));
        }
        let change = move |tx: &mut Transaction| {
            tx.output.get_mut(output).into_iter().for_each(|output| output.script_pubkey = ScriptBuf::new());
        };
        all.push((format!("script of output {output}"), Box::new(change)));
    }
    let others: [(&str, Change); 8] = [
        ("locktime", |tx| tx.lock_time = LockTime::from_consensus(1)),
        ("other coin", |tx| tx.input[0].previous_output.vout += 1),
        ("script sig", |tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0])),
        ("witness", |tx| tx.input[0].witness = Witness::from_slice(&[[1]])),
        ("outputs reversed", |tx| tx.output.reverse()),
        ("an output less", |tx| tx.output.truncate(1)),
        ("an output more", |tx| tx.output.push(tx.output[0].clone())),
        ("an input more", |tx| tx.input.push(tx.input[0].clone())),
    ];
    all.extend(others.map(|(name, change)| (name.to_owned(), Box::new(change) as Mutation)));
    all
}

/// Every change of a presigned transaction, signed by the holder as if all were well: the rules by which a hub accepts and
/// those by which a member signs say the same, and what is signed is the same.
#[test]
fn a_hub_accepts_what_a_member_signs_and_nothing_else() {
    let mut world = world();
    let transactions: [fn(&mut Presigned) -> &mut Transaction; 3] =
        [|all| &mut all.unbonding, |all| &mut all.slashing, |all| &mut all.unbonding_slashing];
    let (mut accepted, mut refused) = (0, 0);
    for (sat, providers) in [(10_000, 1), (10_005, 2), (123_456, 1), (500_000, 2)] {
        let registration = world.registration(&wish(sat, &PROVIDERS[..providers]));
        let id = world.send(&Message::Stake(Box::new(registration.clone()))).unwrap();
        let stake = world.ledger.stakes().find(&palisade_protocol::stake::StakeId(id)).unwrap().1;
        let params = &world.ledger.params()[stake.params];
        for (index, transaction) in transactions.iter().enumerate() {
            for (name, change) in mutations() {
                let (mut registration, mut stake) = (registration.clone(), stake.clone());
                change(transaction(&mut registration.presigned));
                stake.presigned = registration.presigned.clone();
                sign_slashings("alice", &stake.contract, &mut registration);
                let hub = registration.judge(params);
                let own = judge(&world.ledger, &stake, &anything(), &empty());
                assert_eq!(
                    hub.is_ok(),
                    own.is_ok(),
                    "{sat} sat, transaction {index}, {name}: {hub:?} {own:?}"
                );
                match (hub, own) {
                    (Ok(judged), Ok(sighashes)) => {
                        assert_eq!(judged.sighashes, sighashes, "{name}");
                        accepted += 1;
                    }
                    _ => refused += 1,
                }
            }
        }
    }
    assert!(accepted > 50 && refused > 200, "{accepted} accepted, {refused} refused");
}

fn registered(sat: u64, providers: &[&str]) -> (World, Stake) {
    let mut world = world();
    let (id, _) = world.register_stake(&wish(sat, providers));
    world.mine(10);
    let stake = world.stake(&id).clone();
    (world, stake)
}

#[test]
fn a_contract_that_the_parameters_do_not_give_is_refused() {
    let (world, stake) = registered(50_000, &PROVIDERS[..1]);
    let check = |change: &dyn Fn(&mut Stake), wanted: &str| {
        let mut stake = stake.clone();
        change(&mut stake);
        match judge(&world.ledger, &stake, &anything(), &empty()) {
            Err(NotSigned::Refused(why)) => assert!(format!("{why:?}").starts_with(wanted), "{why:?}"),
            judged => panic!("{judged:?}, wanted {wanted}"),
        }
    };
    check(&|stake| stake.params = 7, "Params");
    check(&|stake| stake.contract.unbonding_time = RelativeBlocks::new(10).unwrap(), "UnbondingTime");
    check(&|stake| stake.contract.coin.value = Amount::from_sat(50_001), "Presigned(Unbonding)");
    check(&|stake| stake.contract.coin.outpoint.vout += 1, "Presigned(Unbonding)");
    check(&|stake| stake.contract.coin.value = Amount::from_sat(10), "Presigned(CannotBuild");
    check(
        &|stake| {
            let keys = &stake.contract.keys;
            let committee = Committee::new(keys.committee().members()[1..].to_vec(), 3).unwrap();
            let (staker, providers) = (keys.staker(), keys.providers().to_vec());
            stake.contract.keys =
                palisade_protocol::scripts::StakeKeys::new(staker, providers, committee).unwrap();
        },
        "Committee",
    );
}

#[test]
fn limits_and_lists_of_the_policy_refuse_and_say_why() {
    let (world, stake) = registered(50_000, &PROVIDERS);
    let check = |change: &dyn Fn(&mut Policy), wanted: Option<&str>| {
        let mut policy = anything();
        change(&mut policy);
        match (judge(&world.ledger, &stake, &policy, &empty()), wanted) {
            (Ok(_), None) => {}
            (Err(NotSigned::Refused(why)), Some(wanted)) => {
                let said = why.to_string();
                assert!(said.starts_with("policy: ") && said.contains(wanted), "{said}");
            }
            (judged, wanted) => panic!("{judged:?}, wanted {wanted:?}"),
        }
    };
    let [anna, dev] = PROVIDERS.map(provider_key);
    check(&|policy| policy.max_stake_sat = 50_000, None);
    check(&|policy| policy.max_stake_sat = 49_999, Some("above this member's limit"));
    check(&|policy| policy.max_window_sat = 50_000, None);
    check(&|policy| policy.max_window_sat = 49_999, Some("more than the 0.00049999 BTC"));
    check(&|policy| policy.denied_providers = vec![dev], Some(&dev.to_string()));
    check(&|policy| policy.denied_providers = vec![provider_key("bert")], None);
    check(&|policy| policy.allowed_providers = Some(vec![dev, anna]), None);
    check(&|policy| policy.allowed_providers = Some(vec![anna]), Some(&dev.to_string()));
    check(&|policy| policy.allowed_providers = Some(Vec::new()), Some("not among those"));
}

#[test]
fn a_stake_waits_for_room_and_the_lesser_half_of_it_is_for_those_that_show_little() {
    let (world, stake) = registered(50_000, &PROVIDERS);
    let check = |shown: u64, signed: &[(u64, bool)], wanted: Option<u64>| {
        let stake = Stake { shown: Amount::from_sat(shown), ..stake.clone() };
        let weight = |&(sat, shown): &(u64, bool)| Weight { new: Amount::from_sat(sat), shown };
        let policy = Policy { max_window_sat: 120_000, ..anything() };
        let limit = match judge(&world.ledger, &stake, &policy, &Window::of(signed.iter().map(weight))) {
            Ok(_) => None,
            Err(NotSigned::Waits(wait)) => Some(wait.limit.to_sat()),
            Err(NotSigned::Refused(why)) => panic!("{why}"),
        };
        assert_eq!(limit, wanted, "{shown} shown, signed {signed:?}");
    };
    check(50_000, &[(70_000, true)], None);
    check(50_000, &[(70_001, true)], Some(120_000));
    check(50_000, &[(40_000, true), (30_001, false)], Some(120_000));
    check(50_000, &[(u64::MAX, true), (u64::MAX, false)], Some(120_000));
    check(25_000, &[(60_000, false)], None);
    check(24_999, &[(10_000, false)], None);
    check(24_999, &[(10_001, false)], Some(60_000));
    check(24_999, &[(70_000, true)], None);
    check(24_999, &[(70_001, true)], Some(120_000));
}
