//! What the npm package `@babylonlabs-io/btc-staking-ts` builds, we build byte for byte.

mod stake;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use palisade_protocol::outputs::{Leaf, NUMS, Output};
use palisade_protocol::params::{Params, Profile};
use palisade_protocol::scripts::{StakeKeys, timelock_leaf};
use palisade_protocol::transactions::slashing::{self, Split};
use palisade_protocol::transactions::witness::{self, CovenantSignatures};
use palisade_protocol::transactions::{Coin, spend, unbonding};
use palisade_protocol::units::{BasisPoints, RelativeBlocks};
use stake::{Case, Slashing, Spend, Stake, fixtures, text};

/// The package gives no change below this.
const CHANGE_FROM: Amount = Amount::from_sat(547);

/// A case, and what we make of its keys and times.
struct Ours<'a> {
    case: &'a Case,
    keys: StakeKeys,
    unbonding_time: RelativeBlocks,
    staking: Output,
    unbonding: Output,
    change: Output,
    stake: Coin,
}

impl<'a> Ours<'a> {
    fn new(case: &'a Case) -> Self {
        println!("the case of staker {}", case.stake.staker);
        let keys = case.stake.keys().unwrap();
        let lock = blocks(case.stake.lock);
        let unbonding_time = blocks(case.stake.unbonding_lock);
        Self {
            staking: Output::staking(&keys, lock),
            unbonding: Output::unbonding(&keys, unbonding_time),
            change: Output::slashing_change(keys.staker(), unbonding_time),
            stake: coin(&case.staking_tx, case.vout),
            case,
            keys,
            unbonding_time,
        }
    }

    /// The slashing of `coin`; the amount burned is the package's where it rounds otherwise than integers do.
    fn slashing(&self, coin: Coin, theirs: &Transaction) -> Transaction {
        let stake = &self.case.stake;
        let ours = at_rate(stake.rate_bp).slashing_amount(coin.value);
        let slashed = theirs.output[0].value;
        if slashed != ours {
            assert!(self.case.tie, "{slashed} is burned, not {ours}");
            assert_eq!(slashed.to_sat().abs_diff(ours.to_sat()), 1);
        }
        let split = Split {
            slashed,
            slash_script: &stake.slash_script,
            fee: stake.slash_fee,
            change_script: self.change.script_pubkey(),
            profile: Profile::Compatible,
        };
        slashing::build(coin, &split).unwrap()
    }

    fn withdrawal(&self, coin: Coin, lock: RelativeBlocks, fee: Amount) -> Transaction {
        spend::withdrawal(coin, lock, self.case.stake.destination.clone(), fee).unwrap()
    }
}

fn blocks(number: u64) -> RelativeBlocks {
    RelativeBlocks::try_from(number).unwrap()
}

fn coin(tx: &Transaction, vout: u32) -> Coin {
    let outpoint = OutPoint { txid: tx.compute_txid(), vout };
    Coin { outpoint, value: tx.output[vout as usize].value }
}

/// Parameters of which only the rate matters.
fn at_rate(rate_bp: u64) -> Params {
    let everything = Amount::MAX_MONEY;
    let nobody = bitcoin::hex::DisplayHex::to_lower_hex_string(&NUMS[..]);
    let fees = Amount::from_sat(1_000);
    Stake {
        network: bitcoin::Network::Regtest,
        staker: nobody.clone(),
        providers: Vec::new(),
        covenant: vec![nobody],
        quorum: 1,
        lock: 65_535,
        unbonding_lock: 4,
        amount: everything,
        unbonding_fee: fees,
        rate_bp,
        slash_script: bitcoin::ScriptBuf::new_op_return([]),
        slash_fee: fees,
        destination: bitcoin::ScriptBuf::new(),
    }
    .params()
    .unwrap()
}

fn same(ours: &Transaction, output: &Output, leaf: Leaf, theirs: &Spend) {
    assert_eq!(ours, &theirs.tx, "{leaf:?}");
    let control = hex::encode(output.control_block(leaf).unwrap().serialize());
    assert_eq!(control, theirs.control, "control block, {leaf:?}");
}

fn for_every_case(check: impl Fn(&Ours<'_>)) {
    let fixtures = fixtures();
    assert!(fixtures.cases.len() >= 250, "{} cases", fixtures.cases.len());
    fixtures.cases.iter().map(Ours::new).for_each(|ours| check(&ours));
}

#[test]
fn scripts_and_addresses_are_those_of_wallets() {
    for_every_case(|ours| {
        let Ours { case, staking, unbonding, change, .. } = ours;
        assert_eq!(staking.leaf(Leaf::Timelock), Some(&case.timelock_leaf));
        assert_eq!(staking.leaf(Leaf::Unbonding), Some(&case.unbonding_leaf));
        assert_eq!(staking.leaf(Leaf::Slashing), Some(&case.slashing_leaf));
        assert_eq!(unbonding.leaf(Leaf::Timelock), Some(&case.change_leaf));
        assert_eq!(unbonding.leaf(Leaf::Slashing), Some(&case.slashing_leaf));
        assert_eq!(change.leaf(Leaf::Timelock), Some(&case.change_leaf));
        assert_eq!(staking.address(case.stake.network).to_string(), case.address);
        let stake = TxOut { value: case.stake.amount, script_pubkey: staking.script_pubkey() };
        assert_eq!(case.staking_tx.output[case.vout as usize], stake);
    });
}

#[test]
fn unbondings_and_slashings_are_those_of_wallets() {
    for_every_case(|ours| {
        let Ours { case, keys, stake, .. } = ours;
        let tx = unbonding::build(
            *stake,
            keys,
            ours.unbonding_time,
            case.stake.unbonding_fee,
            Profile::Compatible,
        )
        .unwrap();
        same(&tx, &ours.staking, Leaf::Unbonding, &case.unbonding);
        let slashing = ours.slashing(*stake, &case.slashing.tx);
        same(&slashing, &ours.staking, Leaf::Slashing, &case.slashing);
        let slashing = ours.slashing(coin(&tx, 0), &case.unbonding_slashing.tx);
        same(&slashing, &ours.unbonding, Leaf::Slashing, &case.unbonding_slashing);
    });
}

#[test]
fn slashings_of_wallets_are_accepted_wherever_the_parameters_are() {
    let fixtures = fixtures();
    let mut judged = 0;
    for ours in fixtures.cases.iter().map(Ours::new) {
        let Ok(params) = ours.case.stake.params() else { continue };
        let change = ours.change.script_pubkey();
        slashing::check(&ours.case.slashing.tx, ours.stake, &change, &params).unwrap();
        let unbonded = coin(&ours.case.unbonding.tx, 0);
        slashing::check(&ours.case.unbonding_slashing.tx, unbonded, &change, &params).unwrap();
        judged += 1;
    }
    assert!(judged > 100, "the parameters of only {judged} cases are admissible");
}

#[test]
fn withdrawals_are_those_of_wallets() {
    for_every_case(|ours| {
        let Ours { case, staking, unbonding, change, .. } = ours;
        let theirs = &case.withdrawal;
        let tx = ours.withdrawal(ours.stake, blocks(case.stake.lock), theirs.fee);
        same(&tx, staking, Leaf::Timelock, &theirs.spend);
        let theirs = &case.unbonding_withdrawal;
        let tx = ours.withdrawal(coin(&case.unbonding.tx, 0), ours.unbonding_time, theirs.fee);
        same(&tx, unbonding, Leaf::Timelock, &theirs.spend);
        let theirs = &case.slashing_withdrawal;
        let tx = ours.withdrawal(coin(&case.slashing.tx, 1), ours.unbonding_time, theirs.fee);
        same(&tx, change, Leaf::Timelock, &theirs.spend);
    });
}

#[test]
fn expansions_are_those_of_wallets() {
    let fixtures = fixtures();
    let mut seen = 0;
    for ours in fixtures.cases.iter().map(Ours::new) {
        let Ours { case, .. } = &ours;
        let Some(next) = &case.expansion else { continue };
        let keys = stake::keys(&case.stake.staker, &next.providers, &next.covenant, next.quorum).unwrap();
        let script_pubkey = Output::staking(&keys, blocks(next.lock)).script_pubkey();
        let stake = TxOut { value: case.stake.amount, script_pubkey };
        let left = next.funding.value - next.fee;
        let change = TxOut { value: left, script_pubkey: case.stake.destination.clone() };
        let change = Some(change).filter(|_| left >= CHANGE_FROM);
        let tx = spend::expansion(ours.stake.outpoint, next.funding.outpoint, stake, change);
        assert_eq!(tx, next.tx);
        seen += 1;
    }
    assert!(seen >= 30, "{seen} expansions");
}

/// The made-up signature of the fixtures' script.
fn signature(of: &str) -> Signature {
    let half = |part| sha256::Hash::hash(format!("{of} {part}").as_bytes()).to_byte_array();
    Signature::from_slice(&[half("R"), half("s")].concat()).unwrap()
}

#[test]
fn witnesses_of_unbondings_are_those_of_wallets() {
    let fixtures = fixtures();
    let mut seen = 0;
    for ours in fixtures.cases.iter().map(Ours::new) {
        let Some(theirs) = &ours.case.witness else { continue };
        // The script of the fixtures signs in the name of a key as it is written.
        let covenant: CovenantSignatures =
            theirs.signers.iter().map(|key| (key.parse().unwrap(), signature(key))).collect();
        let staker = signature(&ours.case.stake.staker);
        let witness = witness::unbonding(&ours.staking, &ours.keys, &staker, &covenant).unwrap();
        let prefixed: Vec<u8> =
            witness.iter().flat_map(|item| [&(item.len() as u16).to_be_bytes(), item].concat()).collect();
        assert_eq!(sha256::Hash::hash(&prefixed).to_string(), theirs.sha256);
        seen += 1;
    }
    assert!(seen >= 35, "{seen} witnesses");
}

#[test]
fn timelocks_of_all_times_are_those_of_wallets() {
    let mut next = 1;
    for range in fixtures().all_times {
        assert_eq!(range.from, next);
        let staker = range.staker.parse().unwrap();
        let leaves: Vec<u8> = (range.from..=range.to)
            .flat_map(|time| timelock_leaf(staker, blocks(time)).into_bytes())
            .collect();
        let digest = sha256::Hash::hash(&leaves).to_string();
        assert_eq!(digest, range.sha256, "{} to {}", range.from, range.to);
        next = range.to + 1;
    }
    assert_eq!(next, 65_536);
}

#[test]
fn slashed_amounts_part_from_those_of_wallets_only_at_ties() {
    let mut ties = 0;
    for row in fixtures().slashings {
        let (amount, rate, theirs, tie) = match row {
            Slashing::Tie(amount, rate, theirs, tie) => (amount, rate, theirs, tie),
            Slashing::Plain(amount, rate, theirs) => (amount, rate, theirs, false),
        };
        let params = at_rate(rate);
        let ours = params.slashing_amount(Amount::from_sat(amount)).to_sat();
        assert_eq!(ours.abs_diff(theirs), u64::from(tie), "{amount} sat at {rate} basis points");
        assert!(params.slashing_floor(Amount::from_sat(amount)).to_sat() <= theirs);
        ties += usize::from(tie);
    }
    assert!(ties >= 20, "{ties} ties");
}

/// How far the package goes with a stake.
#[derive(Debug, PartialEq, Eq)]
enum Package {
    BuildsAll,
    CannotSlash,
    Refuses,
}
use Package::{BuildsAll, CannotSlash, Refuses};

/// Each probe, the package's answer, and what is in ours if we refuse. We are stricter with keys, quorums and rates; it
/// is stricter with dust.
const PROBES: [(&str, Package, Option<&str>); 30] = [
    ("nothing is wrong", BuildsAll, None),
    ("no provider", Refuses, Some("1 to 8 finality providers, not 0")),
    ("nine providers", BuildsAll, Some("1 to 8 finality providers, not 9")),
    ("a provider twice", Refuses, Some("two places")),
    ("a provider is the holder", BuildsAll, Some("two places")),
    ("a provider is a committee member", BuildsAll, Some("two places")),
    ("the holder is a committee member", BuildsAll, Some("two places")),
    ("a provider's key is no point", Refuses, Some("not an x-only public key")),
    ("a provider's key has 33 bytes", Refuses, Some("not an x-only public key")),
    ("no committee", Refuses, Some("1 to 20 members, not 0")),
    ("a committee of 21", BuildsAll, Some("1 to 20 members, not 21")),
    ("a committee member twice", Refuses, Some("two places")),
    ("a quorum of none", Refuses, Some("a quorum of 0 is not a majority of 3")),
    ("a quorum above the committee", Refuses, Some("a quorum of 4 is not a majority of 3")),
    ("a quorum that is no majority", BuildsAll, Some("a quorum of 1 is not a majority of 3")),
    ("a quorum of half", BuildsAll, Some("a quorum of 2 is not a majority of 4")),
    ("staking time 0", Refuses, Some("blocks is 0,")),
    ("staking time 65536", Refuses, Some("blocks is 65536,")),
    ("unbonding time 0", Refuses, Some("blocks is 0,")),
    ("unbonding time 65536", Refuses, Some("blocks is 65536,")),
    ("rate 0", Refuses, Some("basis points is 0,")),
    ("rate 1", CannotSlash, Some("basis points is 10000,")),
    ("rate above 1", Refuses, Some("basis points is 10001,")),
    ("the fees leave nothing", CannotSlash, Some("the change of the slashing")),
    ("less than 1000 sat above the unbonding fee", Refuses, Some("the change of the slashing")),
    ("a slashing leaves 546 sat", CannotSlash, None),
    ("a slashing leaves 330 sat", CannotSlash, None),
    ("a slashing leaves 328 sat", CannotSlash, Some("the change of the slashing")),
    ("546 sat go to a p2wpkh", CannotSlash, None),
    ("293 sat go to a p2wpkh", CannotSlash, Some("the slashing output")),
];

/// Takes a stake through our constructors and builders, up to the first refusal.
fn build_all(stake: &Stake) -> Result<(), String> {
    let keys = stake.keys()?;
    RelativeBlocks::try_from(stake.lock).map_err(text)?;
    let unbonding_time = RelativeBlocks::try_from(stake.unbonding_lock).map_err(text)?;
    BasisPoints::try_from(stake.rate_bp).map_err(text)?;
    let rate = at_rate(stake.rate_bp);
    let slash = |coin: Coin| {
        let slashed = rate.slashing_amount(coin.value);
        let (slash_script, fee) = (stake.slash_script.as_script(), stake.slash_fee);
        let profile = Profile::Compatible;
        let change_script = Output::slashing_change(keys.staker(), unbonding_time).script_pubkey();
        slashing::build(coin, &Split { slashed, slash_script, fee, change_script, profile }).map_err(text)
    };
    let coin = Coin { outpoint: OutPoint::null(), value: stake.amount };
    slash(coin)?;
    let tx = unbonding::build(coin, &keys, unbonding_time, stake.unbonding_fee, Profile::Compatible)
        .map_err(text)?;
    slash(self::coin(&tx, 0)).map(|_| ())
}

#[test]
fn where_the_package_and_we_refuse_is_written_down() {
    let probes = fixtures().probes;
    assert_eq!(probes.len(), PROBES.len());
    for (probe, (name, package, ours)) in probes.iter().zip(PROBES) {
        assert_eq!(probe.name, name);
        let answer = if probe.refused.contains_key("everything") {
            Refuses
        } else if probe.refused.is_empty() {
            BuildsAll
        } else {
            CannotSlash
        };
        assert_eq!(answer, package, "{name}");
        match (build_all(&probe.stake), ours) {
            (Ok(()), None) => {}
            (Err(message), Some(part)) => assert!(message.contains(part), "{name}: {message}"),
            (answer, expected) => panic!("{name}: {answer:?}, not {expected:?}"),
        }
    }
}
