//! Invariants 1 and 2 of the design (section 10): coins in a stake move by its leaves alone, the holder alone gets out after the
//! timelock, and whoever holds a named provider's key slashes with what the log holds. Bitcoin Core's interpreter judges.

use super::*;
use crate::adaptor;
use crate::context::Context;
use crate::covenant::{CovenantAnswer, StakeSignatures, Verdict};
use crate::eots;
use crate::finality::evidence::{Equivocation, Evidence, SignedBallot};
use crate::finality::vote::Ballot;
use crate::hash::Hash32;
use crate::nonce::{self, NonceSeed};
use crate::params::tests::document;
use crate::params::{Params, ParamsDocument, Profile};
use crate::stake::{Contract, Presigned, Sighashes, Slashable, StakeId, unbonding_coin};
use crate::transactions::witness::{self, CovenantSignatures};
use crate::units::{BasisPoints, Height};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::transaction::Version;
use bitcoin::{Sequence, absolute};
use proptest::prelude::*;
use proptest::sample::Index;

const LEAVES: [Leaf; 3] = [Leaf::Timelock, Leaf::Unbonding, Leaf::Slashing];

/// A quorum, members and providers.
type Shape = (u8, usize, usize);

fn shapes() -> impl Strategy<Value = Shape> {
    let committee = prop::sample::select(vec![(1, 1), (2, 2), (2, 3), (3, 5), (4, 6)]);
    (committee, 1..5usize).prop_map(|((quorum, members), named)| (quorum, members, named))
}

fn parties((quorum, members, providers): Shape) -> Parties {
    Parties::new(quorum, members, providers)
}

/// Any lock, and often one at a limit.
fn locks() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 1..=u16::MAX, 1 => prop::sample::select(vec![1, 16, 17, 127, 128, 32_767, 32_768, u16::MAX])]
}

/// Each output that coins of a stake pass through.
fn outputs(parties: &Parties, lock: u16) -> [Output; 3] {
    let (keys, lock) = (&parties.keys, blocks(lock));
    [Output::staking(keys, lock), Output::unbonding(keys, lock), Output::slashing_change(keys.staker(), lock)]
}

/// Whose signature stands in the holder's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Signs,
    IsAway,
    IsAnother,
}

/// What somebody tries.
#[derive(Debug, Clone)]
struct Try {
    output: usize,
    leaf: usize,
    holder: Holder,
    members: u8,
    providers: u8,
    version: i32,
    sequence: u32,
}

/// Often nearly right, so that both answers are common.
fn tries(quorum: u8, lock: u16) -> impl Strategy<Value = Try> {
    let holder =
        prop_oneof![8 => Just(Holder::Signs), 1 => Just(Holder::IsAway), 1 => Just(Holder::IsAnother)];
    let members = prop_oneof![
        3 => Just(u8::try_from((1u32 << quorum) - 1).unwrap()),
        1 => any::<u8>(),
    ];
    let providers = prop_oneof![3 => prop::sample::select(vec![1u8, 2, 4, 8]), 1 => any::<u8>()];
    let lock = u32::from(lock);
    let sequence = prop_oneof![
        3 => Just(lock),
        2 => Just(Sequence::MAX.0),
        1 => lock..=65_535,
        1 => Just(lock - 1),
        1 => any::<u32>(),
    ];
    (0..3usize, 0..3usize, holder, members, providers, 1..4i32, sequence).prop_map(
        |(output, leaf, holder, members, providers, version, sequence)| Try {
            output,
            leaf,
            holder,
            members,
            providers,
            version,
            sequence,
        },
    )
}

fn chosen(mask: u8, of: usize) -> Vec<usize> {
    (0..of).filter(|place| mask >> place & 1 == 1).collect()
}

impl Try {
    /// What the leaves say, in words of the specification and not of the scripts.
    fn is_allowed(&self, parties: &Parties, output: &Output, lock: u16) -> bool {
        let signers = |mask, of| chosen(mask, of).len();
        let committee = signers(self.members, parties.members.len()) == parties.quorum();
        let relative_blocks = self.version >= 2 && self.sequence & (1 << 31 | 1 << 22) == 0;
        let leaf = LEAVES[self.leaf];
        output.leaf(leaf).is_some()
            && self.holder == Holder::Signs
            && match leaf {
                Leaf::Timelock => relative_blocks && self.sequence & 0xffff >= u32::from(lock),
                Leaf::Unbonding => committee,
                Leaf::Slashing => committee && signers(self.providers, parties.providers.len()) == 1,
            }
    }

    fn succeeds(&self, parties: &Parties, outputs: &[Output; 3]) -> bool {
        let (output, leaf) = (&outputs[self.output], LEAVES[self.leaf]);
        let coin = coin(1, VALUE);
        let mut tx =
            spend::withdrawal(coin, blocks(1), anyone(), Amount::from_sat(1_000)).expect("enough value");
        (tx.version, tx.input[0].sequence) = (Version(self.version), Sequence(self.sequence));
        let mut path = Path::new("", output.clone(), leaf, tx);
        // A leaf that the output has not is shown as if the output were the stake.
        let missing = output.leaf(leaf).is_none();
        if missing {
            path.output = outputs[0].clone();
        }
        let signers = Signers {
            members: chosen(self.members, parties.members.len()),
            providers: chosen(self.providers, parties.providers.len()),
        };
        let mut stack = parties.stack(&path, &signers);
        let place = stack.len() - 3;
        match self.holder {
            Holder::Signs => {}
            Holder::IsAway => stack[place].clear(),
            Holder::IsAnother => stack[place] = sign(&key_pair("stranger"), &path.digest()),
        }
        if missing {
            *stack.last_mut().expect("a control block") =
                output.control_block(Leaf::Timelock).expect("every output has one").serialize();
        }
        path.core_accepts(&stack)
    }
}

/// What the log holds of a registered stake.
struct Registered {
    contract: Contract,
    presigned: Presigned,
    sighashes: Sighashes,
    holder: [Signature; 2],
    answers: Vec<CovenantAnswer>,
}

const CONTEXT: Context = Hash32([4; 32]);

/// A stake whose holder and these members have signed all that they must; every part is judged as the ledger judges it.
fn registered(parties: &Parties, profile: Profile, (sat, rate): (u64, u16), members: &[usize]) -> Registered {
    let params = Params::new(ParamsDocument {
        covenant: parties.keys.committee().members().to_vec(),
        quorum: parties.keys.committee().quorum(),
        slash_rate_bp: BasisPoints::new(rate).unwrap(),
        profile,
        ..document()
    });
    let params = params.unwrap();
    let contract = Contract {
        coin: coin(1, Amount::from_sat(sat)),
        keys: parties.keys.clone(),
        lock: blocks(LOCK),
        unbonding_time: params.unbonding_time(),
    };
    let presigned = contract.presign(&params).unwrap();
    let sighashes = contract.check(&contract.outputs(), &presigned, &params).unwrap();
    let answer = |place: &usize| {
        let member = &parties.members[*place];
        let adaptors = |sighash| {
            let named = contract.keys.providers().iter();
            named.map(|key| adaptor::sign(member, &key.point(), sighash, &[0; 32])).collect()
        };
        let signatures = StakeSignatures {
            unbonding: member.sign_bip340(&sighashes.unbonding, &[0; 32]),
            slashing: adaptors(&sighashes.slashing),
            unbonding_slashing: adaptors(&sighashes.unbonding_slashing),
        };
        let verdict = Verdict::Signed(Box::new(signatures));
        let answer =
            CovenantAnswer { stake: StakeId(Hash32([5; 32])), member: member.public().into(), verdict };
        answer.verify(&contract, &sighashes, &CONTEXT).expect("a good answer");
        answer
    };
    let answers = members.iter().map(answer).collect();
    let holder = [sighashes.slashing, sighashes.unbonding_slashing]
        .map(|sighash| parties.staker.sign_bip340(&sighash, &[0; 32]));
    Registered { contract, presigned, sighashes, holder, answers }
}

impl Registered {
    /// Slashes an output with a provider's key and what the log holds; gives whether Bitcoin takes it.
    fn slash(&self, which: Slashable, key: &KeyPair, place: usize) -> bool {
        let Self { contract, presigned, sighashes, holder, answers } = self;
        let (tx, sighash, holder, output, coin) = match which {
            Slashable::Staking => {
                (&presigned.slashing, &sighashes.slashing, &holder[0], contract.output(), contract.coin)
            }
            Slashable::Unbonding => (
                &presigned.unbonding_slashing,
                &sighashes.unbonding_slashing,
                &holder[1],
                contract.unbonding_output(),
                unbonding_coin(&presigned.unbonding),
            ),
        };
        let covenant: CovenantSignatures = answers
            .iter()
            .filter_map(|answer| {
                let Verdict::Signed(signatures) = &answer.verdict else { return None };
                let list = match which {
                    Slashable::Staking => &signatures.slashing,
                    Slashable::Unbonding => &signatures.unbonding_slashing,
                };
                Some((answer.member, adaptor::decrypt(list.get(place)?, key)))
            })
            .collect();
        let provider = (contract.keys.providers()[place], &key.sign_bip340(sighash, &[0; 32]));
        let mut tx = tx.clone();
        // No lock delays it: Bitcoin takes it in the next block, at any height.
        assert_eq!((tx.lock_time, tx.input[0].sequence), (absolute::LockTime::ZERO, Sequence::MAX));
        let Ok(made) = witness::slashing(&output, &contract.keys, holder, provider, &covenant) else {
            return false;
        };
        tx.input[0].witness = made;
        core_accepts(&tx, 0, &[TxOut { value: coin.value, script_pubkey: output.script_pubkey() }])
    }
}

/// The key that comes out when its owner votes for two blocks at one height.
fn leaked(owner: &KeyPair, height: u64) -> KeyPair {
    let seed = NonceSeed::from_bytes([7; 32]);
    let vote = |block: u8| {
        let ballot = Ballot { context: CONTEXT, height: Height(height), block: Hash32([block; 32]) };
        let nonce = nonce::derive(owner, &seed, &CONTEXT, Height(height));
        let public = nonce.public();
        (public, SignedBallot { ballot, signature: eots::sign(owner, nonce, &ballot.message()) })
    };
    let ((nonce, first), (_, second)) = (vote(1), vote(2));
    let key = owner.public().into();
    Evidence::Equivocation(Box::new(Equivocation { key, nonce, first, second })).secret().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coins_move_by_the_leaves_and_in_no_other_way(
        (shape, lock, tried) in (shapes(), locks()).prop_flat_map(|(shape, lock)| {
            (Just(shape), Just(lock), prop::collection::vec(tries(shape.0, lock), 16))
        }),
    ) {
        let parties = parties(shape);
        let outputs = outputs(&parties, lock);
        for tried in tried {
            let allowed = tried.is_allowed(&parties, &outputs[tried.output], lock);
            prop_assert_eq!(tried.succeeds(&parties, &outputs), allowed, "{:?} under {} blocks", tried, lock);
        }
    }

    #[test]
    fn the_holder_alone_gets_out_after_any_timelock_and_not_a_block_before(
        shape in shapes(),
        lock in locks(),
        sat in 2_000..=Amount::MAX_MONEY.to_sat(),
    ) {
        let parties = parties(shape);
        let coin = coin(1, Amount::from_sat(sat));
        let mut tx = spend::withdrawal(coin, blocks(lock), anyone(), Amount::from_sat(1_000)).unwrap();
        for output in outputs(&parties, lock) {
            let spent = [TxOut { value: coin.value, script_pubkey: output.script_pubkey() }];
            for (sequence, opens) in [(u32::from(lock) - 1, false), (u32::from(lock), true)] {
                tx.input[0].sequence = Sequence(sequence);
                let digest = sighash(&tx, 0, &spent, &output, Leaf::Timelock).unwrap();
                let alone = parties.staker.sign_bip340(&digest, &[0; 32]);
                tx.input[0].witness = witness::timelock(&output, &alone).unwrap();
                prop_assert_eq!(core_accepts(&tx, 0, &spent), opens);
            }
        }
    }

    #[test]
    fn whoever_holds_a_named_key_slashes_with_what_the_log_holds(
        shape in shapes(),
        answered in any::<u8>(),
        burned in (10_000..=100_000_000u64, 100..=8_000u16),
        profile in prop::sample::select(vec![Profile::Compatible, Profile::Bumpable]),
        (named, height) in (any::<Index>(), any::<u64>()),
    ) {
        let parties = parties(shape);
        let quorum = parties.quorum();
        let answered = chosen(answered, parties.members.len());
        let stake = registered(&parties, profile, burned, &answered);
        let place = named.index(parties.providers.len());
        let key = leaked(&parties.providers[place], height);
        for which in [Slashable::Staking, Slashable::Unbonding] {
            prop_assert_eq!(stake.slash(which, &key, place), answered.len() >= quorum);
            // Neither a stranger's key nor another named one opens what was encrypted to this one.
            prop_assert!(!stake.slash(which, &key_pair("stranger"), place));
            let other = (place + 1) % parties.providers.len();
            prop_assert!(other == place || !stake.slash(which, &key, other));
        }
    }
}
