//! Providers, stakes, answers and expansions (docs/protocol.md, sections 5.4 to 5.7).

use super::governance::params;
use super::{Pair, Row, beside, catch_up, too_early, too_late};
use bitcoin::{OutPoint, ScriptBuf};
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::covenant::Verdict;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{ExpansionConsent, Message};
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Epoch;
use palisade_world::{COVENANT, Wish, World, keypair, schnorr, secret};

const SAT: u64 = 500_000;

fn wish<'a>(providers: &'a [&'a str]) -> Wish<'a> {
    Wish { holder: "alice", sat: SAT, providers, lock: 300 }
}

fn stake(registration: StakeRegistration) -> Message {
    Message::Stake(Box::new(registration))
}

fn registered(world: &mut World, providers: &[&str]) -> (StakeId, StakeRegistration) {
    let made = world.registration(&wish(providers));
    (StakeId(world.send(&stake(made.clone())).expect("a good registration")), made)
}

fn provider(world: &mut World) -> ProviderRegistration {
    let message = world.provider_registration(&ChainId::zero(), "eva");
    let Message::Provider(made) = message else { panic!("another message") };
    *made
}

/// A registration beside one that is changed and not signed anew.
fn spoilt(mut world: World, change: impl FnOnce(&mut StakeRegistration)) -> Pair {
    let good = world.registration(&wish(&["anna"]));
    let mut broken = good.clone();
    change(&mut broken);
    beside(world, &stake(good), &stake(broken))
}

/// Two registrations, each right for its wish.
fn wished(mut world: World, good: &Wish<'_>, broken: &Wish<'_>) -> Pair {
    let (good, broken) = (world.registration(good), world.registration(broken));
    beside(world, &stake(good), &stake(broken))
}

/// Backs a registration by a coin of alice's, and has her sign the intent that it has now.
fn back(world: &mut World, made: &mut StakeRegistration, backing: Option<Backing>) {
    let backing = backing.unwrap_or_else(|| {
        let (outpoint, _, proof) = world.fund("alice", SAT + 7);
        Backing { proof, vout: outpoint.vout, witness: bitcoin::Witness::new() }
    });
    let ledger = &world.ledger;
    let chain = |key| ledger.providers().get(key).expect("registered").chain.clone();
    let chains: Vec<ChainId> = made.providers.iter().map(chain).collect();
    let text = made.intent(ledger.network(), &ledger.genesis().id(), &chains);
    let witness = bip322::sign_p2tr_key_path(&secret("alice"), text.as_bytes(), &[7; 32]).expect("signs");
    made.proof = RegistrationProof::Funding(Backing { witness, ..backing });
}

fn backing(made: &StakeRegistration) -> Backing {
    let RegistrationProof::Funding(backing) = &made.proof else { panic!("a backing") };
    backing.clone()
}

/// An expansion of anna's active stake that the ledger takes, beside another.
fn expansions(mut world: World, broken: impl FnOnce(&mut World, StakeId) -> StakeRegistration) -> Pair {
    let old = world.active_stake(&wish(&["anna"]));
    let good = world.expansion(&old, &wish(&["bert"]), &["anna"]);
    let broken = broken(&mut world, old);
    beside(world, &stake(good), &stake(broken))
}

/// A stake of bert's that was expanded out of anna's.
fn expanded(world: &mut World) -> StakeId {
    let old = world.active_stake(&wish(&["anna"]));
    let made = world.expansion(&old, &wish(&["bert"]), &["anna"]);
    let tx = made.staking_tx.clone();
    let id = StakeId(world.send(&stake(made)).expect("a good expansion"));
    world.sign_quorum(&id);
    world.include(&id, &tx);
    id
}

/// An expansion beside one whose transaction has other inputs; they are given the right two and a third coin.
fn inputs(mut world: World, change: fn([OutPoint; 2], OutPoint) -> Vec<OutPoint>) -> Pair {
    let other = world.fund("bob", 5_000).0;
    let old = world.active_stake(&wish(&["anna"]));
    let good = world.expansion_with(&old, &wish(&["anna"]), Vec::from);
    let broken = world.expansion_with(&old, &wish(&["anna"]), |right| change(right, other));
    beside(world, &stake(good), &stake(broken))
}

/// An expansion under parameters with the same committee, beside one under parameters with another.
fn committees(mut world: World, change: fn(&mut ParamsDocument)) -> Pair {
    let old = world.active_stake(&wish(&["anna"]));
    let under = |change: fn(&mut ParamsDocument)| {
        let mut world = world.clone();
        let action = params(&world, 1, change);
        world.govern(action).expect("a good decision");
        let made = world.expansion(&old, &wish(&["anna"]), &[]);
        (world, MessageBytes::of(&stake(made)))
    };
    Pair { accepted: under(|_| ()), refused: under(change) }
}

/// An expansion whose new stake a quorum has signed, and a member's consent to it.
fn consent(world: &mut World, signers: &[&str]) -> (StakeId, ExpansionConsent) {
    let old = world.active_stake(&wish(&["anna"]));
    let made = world.expansion(&old, &wish(&["anna"]), &[]);
    let new = StakeId(world.send(&stake(made)).expect("a good expansion"));
    for member in signers {
        let answer = world.answer(member, world.stake(&new));
        world.send(&answer).expect("a good answer");
    }
    let Ok(Message::Consent(consent)) = world.consent(COVENANT[0], &new) else { panic!("a consent") };
    (new, consent)
}

pub(super) const ROWS: &[Row] = &[
    ("provider", |mut world| {
        let good = provider(&mut world);
        let broken = ProviderRegistration { signature: schnorr("eva", &[1; 32]), ..good.clone() };
        beside(world, &Message::Provider(Box::new(good)), &Message::Provider(Box::new(broken)))
    }),
    ("backing", |mut world| {
        let good = provider(&mut world);
        let mut broken = good.clone();
        broken.backing.witness =
            bip322::sign_p2tr_key_path(&secret("eva"), b"another text", &[7; 32]).expect("signs");
        beside(world, &Message::Provider(Box::new(good)), &Message::Provider(Box::new(broken)))
    }),
    ("unknown-block", |mut world| {
        let good = Message::Provider(Box::new(provider(&mut world)));
        too_late(world, &good, |world| {
            world.reorg(1, &[]).expect("more work");
        })
    }),
    ("backing-used", |mut world| {
        let first = world.registration(&wish(&["anna"]));
        let coin = backing(&first);
        world.coins.push((coin.outpoint(), coin.output().expect("an output").clone(), coin.proof));
        let second = world.registration(&Wish { lock: 301, ..wish(&["anna"]) });
        too_late(world, &stake(second), |world| {
            world.send(&stake(first)).expect("the first");
        })
    }),
    ("backing-used", |mut world| {
        let first = provider(&mut world);
        let coin = (first.backing.outpoint(), first.backing.proof.clone());
        let (second, _) = world.registration_with(&Wish { holder: "eva", ..wish(&["anna"]) }, coin);
        too_late(world, &stake(second), |world| {
            world.send(&Message::Provider(Box::new(first))).expect("the first");
        })
    }),
    ("repeated", |mut world| {
        let first = world.provider_registration(&ChainId::zero(), "eva");
        let second = world.provider_registration(&ChainId::zero(), "eva");
        too_late(world, &second, |world| {
            world.send(&first).expect("the first");
        })
    }),
    ("unknown-chain", |world| {
        let (id, mut ahead): (ChainId, _) = ("new".parse().expect("a name"), world.clone());
        let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 };
        let chain = NewChain { id: id.clone(), genesis: Hash32([6; 32]), terms, first_epoch: Epoch(0) };
        ahead.govern(Action::RegisterChain(chain.clone())).expect("a good decision");
        let message = ahead.provider_registration(&id, "eva");
        let mut behind = world;
        catch_up(&mut behind, &ahead);
        too_early(behind, &message, |world| {
            world.govern(Action::RegisterChain(chain)).expect("a good decision");
        })
    }),
    ("unknown-provider", |mut world| {
        let made = provider(&mut world);
        let message = world.commitment(&ChainId::zero(), "eva", Epoch(9));
        too_early(world, &message, |world| {
            world.send(&Message::Provider(Box::new(made))).expect("good");
        })
    }),
    ("unknown-provider", |mut world| {
        let (made, wanted) = (provider(&mut world), world.registration(&wish(&["eva"])));
        too_early(world, &stake(wanted), |world| {
            world.send(&Message::Provider(Box::new(made))).expect("good");
        })
    }),
    ("exposed", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        too_late(world, &stake(made), |world| world.leak("anna"))
    }),
    ("stake", |world| {
        wished(world, &Wish { lock: 300, ..wish(&["anna"]) }, &Wish { lock: 299, ..wish(&["anna"]) })
    }),
    ("stake", |world| spoilt(world, |made| made.slashing_signature = made.unbonding_slashing_signature)),
    ("stake", |mut world| {
        let good = world.registration(&wish(&["anna"]));
        let mut broken = good.clone();
        // Backed by a coin that the staking transaction does not spend.
        back(&mut world, &mut broken, None);
        beside(world, &stake(good), &stake(broken))
    }),
    ("backing", |mut world| {
        let good = world.registration(&wish(&["anna"]));
        let mut broken = good.clone();
        broken.payout =
            ScriptBuf::new_p2tr(bitcoin::secp256k1::SECP256K1, keypair("bob").x_only_public_key().0, None);
        beside(world, &stake(good), &stake(broken))
    }),
    ("stake-chains", |world| wished(world, &wish(&["anna", "dev anna"]), &wish(&["anna", "bert"]))),
    ("stake-chains", |world| wished(world, &wish(&["anna", "dev anna"]), &wish(&["dev anna"]))),
    ("stake-chains", |world| {
        wished(world, &wish(&["anna", "dev anna"]), &wish(&["anna", "dev anna", "dev bert"]))
    }),
    ("stake-exists", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        world.mempool.push(made.staking_tx.clone());
        world.mine(1);
        let confirmed = world.confirmed("alice", made.clone());
        too_late(world, &stake(confirmed), |world| {
            world.send(&stake(made)).expect("the first");
        })
    }),
    ("agreed-before", |mut world| {
        let (coin, _, proof) = world.fund("alice", 501_000);
        let first = world.registration_with(&wish(&["anna"]), (coin, proof.clone())).0;
        // It lapses, and comes to Bitcoin when exits cost more than before.
        let come_late = |mut world: World, registered: bool| {
            if registered {
                world.send(&stake(first.clone())).expect("the first");
            }
            let dearer = params(&world, 30, |params| params.unbonding_fee_sat += 500);
            world.govern(dearer).expect("a decision");
            world.mine(60);
            world.mempool.push(first.staking_tx.clone());
            world.mine(1);
            let anew = world.registration_with(&wish(&["anna"]), (coin, proof.clone())).0;
            let anew = MessageBytes::of(&stake(world.confirmed("alice", anew)));
            (world, anew)
        };
        Pair { accepted: come_late(world.clone(), false), refused: come_late(world, true) }
    }),
    ("coins-left", |mut world| {
        // A stake that lapsed comes to Bitcoin late, and leaves early; or only comes.
        let made = world.registration(&wish(&["anna"]));
        let id = StakeId(world.send(&stake(made.clone())).expect("a good one"));
        world.sign_quorum(&id);
        world.mine(60);
        world.include(&id, &made.staking_tx);
        world.mine(1);
        let exit = world.stake(&id).presigned.unbonding.clone();
        let anew = stake(world.confirmed("alice", made.clone()));
        too_late(world, &anew, |world| world.spend(&id, made.outpoint(), &exit).map(drop).expect("its exit"))
    }),
    ("matured", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        world.mempool.push(made.staking_tx.clone());
        // The next block but one may hold a withdrawal.
        world.mine(u32::from(made.lock.get()) - 1);
        let late = stake(world.confirmed("alice", made));
        too_late(world, &late, |world| world.mine(1))
    }),
    ("intent", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        world.mempool.push(made.staking_tx.clone());
        world.mine(1);
        let (good, broken) = (world.confirmed("alice", made.clone()), world.confirmed("bob", made));
        beside(world, &stake(good), &stake(broken))
    }),
    ("not-staking", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        world.mempool.push(made.staking_tx.clone());
        world.mine(1);
        let good = world.confirmed("alice", made);
        let mut broken = good.clone();
        let other = world.fund("bob", 5_000).2;
        if let RegistrationProof::Confirmed(confirmed) = &mut broken.proof {
            confirmed.inclusion = other;
        }
        beside(world, &stake(good), &stake(broken))
    }),
    ("unknown-stake", |mut world| {
        let made = world.registration(&wish(&["anna"]));
        let mut ahead = world.clone();
        let id = StakeId(ahead.send(&stake(made.clone())).expect("good"));
        let answer = ahead.answer(COVENANT[0], ahead.stake(&id));
        too_early(world, &answer, |world| {
            world.send(&stake(made)).expect("good");
        })
    }),
    ("answer", |mut world| {
        let (id, _) = registered(&mut world, &["anna"]);
        let good = world.answer(COVENANT[0], world.stake(&id));
        let mut broken = good.clone();
        if let Message::Answer(answer) = &mut broken
            && let Verdict::Signed(signatures) = &mut answer.verdict
        {
            signatures.unbonding = schnorr(COVENANT[1], &world.stake(&id).sighashes.unbonding);
        }
        beside(world, &good, &broken)
    }),
    ("repeated", |mut world| {
        let (id, _) = registered(&mut world, &["anna"]);
        let refused = world.refusal(COVENANT[0], &id, "no");
        let again = world.refusal(COVENANT[0], &id, "still no");
        too_late(world, &again, |world| {
            world.send(&refused).expect("the first");
        })
    }),
    // Expansions.
    ("expansion", |world| spoilt_former(world)),
    ("expansion", |world| {
        expansions(world, |world, old| {
            world.expansion(&old, &Wish { sat: SAT - 1, ..wish(&["bert"]) }, &["anna"])
        })
    }),
    ("expansion", |world| {
        expansions(world, |world, old| {
            world.expansion(&old, &Wish { holder: "bob", ..wish(&["bert"]) }, &["anna"])
        })
    }),
    ("expansion", |world| expansions(world, |world, old| world.expansion(&old, &wish(&["bert"]), &[]))),
    ("expansion", |world| {
        expansions(world, |world, old| world.expansion(&old, &wish(&["bert"]), &["anna", "carl"]))
    }),
    ("expansion", |mut world| {
        let old = expanded(&mut world);
        let good = world.expansion(&old, &wish(&["bert"]), &["anna"]);
        let broken = world.expansion(&old, &wish(&["bert"]), &[]);
        beside(world, &stake(good), &stake(broken))
    }),
    ("expansion", |mut world| {
        // A replaced provider stays named until one unbonding time after the inclusion, not a block longer.
        let old = expanded(&mut world);
        let included = world.btc_height();
        let dropped = stake(world.expansion(&old, &wish(&["bert"]), &[]));
        world.mine(included + 243 - world.btc_height());
        too_early(world, &dropped, |world| world.mine(1))
    }),
    ("expansion", |world| inputs(world, |[old, backing], other| vec![old, backing, other])),
    ("expansion", |world| inputs(world, |[_, backing], other| vec![other, backing])),
    ("expansion", |world| committees(world, |made| made.covenant.truncate(4))),
    ("expansion", |world| committees(world, |made| made.quorum = 4)),
    ("expansion", |mut world| {
        // The old stake is only signed yet.
        let (id, made) = registered(&mut world, &["anna"]);
        world.sign_quorum(&id);
        let message = stake(world.expansion(&id, &wish(&["anna"]), &[]));
        world.mempool.push(made.staking_tx.clone());
        world.mine(1);
        let included =
            palisade_protocol::message::StakeIncluded { stake: id, proof: world.proof(&made.staking_tx) };
        too_early(world, &message, |world| {
            world.send(&Message::Included(included)).expect("good");
        })
    }),
    ("expansion", |mut world| {
        let old = world.active_stake(&wish(&["anna"]));
        let message = stake(world.expansion(&old, &wish(&["anna"]), &[]));
        let unbonding = world.stake(&old).presigned.unbonding.clone();
        let outpoint = world.stake(&old).contract.coin.outpoint;
        too_late(world, &message, |world| {
            world.spend(&old, outpoint, &unbonding).expect("a spend");
        })
    }),
    ("unknown-stake", |world| {
        expansions(world, |world, old| {
            let mut made = world.expansion(&old, &wish(&["bert"]), &["anna"]);
            made.expands = Some(StakeId(Hash32([9; 32])));
            let coin = backing(&made);
            back(world, &mut made, Some(coin));
            made
        })
    }),
    ("expansion", |mut world| {
        let (_, good) = consent(&mut world, &COVENANT[..3]);
        let broken = ExpansionConsent { signature: schnorr(COVENANT[0], &[1; 32]), ..good.clone() };
        beside(world, &Message::Consent(good), &Message::Consent(broken))
    }),
    ("expansion", |mut world| {
        let (new, good) = consent(&mut world, &COVENANT[..3]);
        let Ok(broken) = world.consent("stranger", &new) else { panic!("a consent") };
        beside(world, &Message::Consent(good), &broken)
    }),
    ("expansion", |mut world| {
        let (new, made) = consent(&mut world, &COVENANT[..2]);
        let answer = world.answer(COVENANT[2], world.stake(&new));
        too_early(world, &Message::Consent(made), |world| {
            world.send(&answer).expect("the third");
        })
    }),
    ("unknown-stake", |mut world| {
        let (_, good) = consent(&mut world, &COVENANT[..3]);
        let broken = ExpansionConsent { stake: StakeId(Hash32([9; 32])), ..good.clone() };
        beside(world, &Message::Consent(good), &Message::Consent(broken))
    }),
];

/// A stake that expands nothing and names a former provider, beside the same as an expansion.
fn spoilt_former(world: World) -> Pair {
    expansions(world, |world, old| {
        let mut made = world.expansion(&old, &wish(&["bert"]), &["anna"]);
        made.expands = None;
        let coin = backing(&made);
        back(world, &mut made, Some(coin));
        made
    })
}
