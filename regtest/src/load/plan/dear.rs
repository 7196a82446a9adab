//! Messages that cost much to judge, and of which only the last signature is wrong.

use super::{Plan, Template};
use crate::load::scene::{self, HOLDER, VOTERS};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Purpose, Terms};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::set::MAX_MEMBERS;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::blocks;
use palisade_world::{COVENANT, Wish, World, address, bls_secret, schnorr};

/// Chains beside zero: so many providers can a stake name.
const OTHERS: usize = 7;
/// The epoch that the first of them opens with.
const OPENS: Epoch = Epoch(1);
const TERMS: Terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: scene::STAKE_SAT };
/// Registrations with a bad proof of possession. A proof cannot be altered: most bytes are no point.
const POSSESSIONS: usize = 2_000;
/// Headers of a batch.
const HEADERS: u32 = 2_000;

impl Plan {
    /// Certificates of sixty votes, registrations with a proof of possession, answers for eight providers, evidence, and long
    /// batches of headers.
    pub fn dear(world: &mut World) -> Self {
        let chains = register_chains(world);
        let members = members(world, &chains[0]);
        let (possessions, answers) = (possessions(world), answers(world, &chains));
        // The block fixes the set of the other chain too.
        world.close();
        let (certificates, evidence) = (certificates(world, &chains[0], &members), evidence(world));
        Self { kinds: vec![certificates, possessions, answers, evidence, headers(world)] }
    }
}

fn register_chains(world: &mut World) -> Vec<ChainId> {
    let names: Vec<ChainId> =
        (0..OTHERS).map(|index| format!("dev-{index}").parse().expect("a name")).collect();
    for id in &names {
        let genesis = sha256(&[id.as_str().as_bytes()]);
        let chain = NewChain { id: id.clone(), genesis, terms: TERMS, first_epoch: Epoch(0) };
        world.govern(Action::RegisterChain(chain)).expect("a new chain");
    }
    names
}

/// As many members with power as a set of a chain has.
fn members(world: &mut World, chain: &ChainId) -> Vec<String> {
    let names: Vec<String> = (0..MAX_MEMBERS).map(|index| format!("member {index}")).collect();
    for name in &names {
        world.register_provider(chain, name);
        world.commit(chain, name, OPENS.0..OPENS.0 + 1);
    }
    let coins = world.many_coins(HOLDER, scene::STAKE_SAT + 1_000, names.len());
    let stakes = names.iter().zip(coins).enumerate().map(|(index, (name, coin))| {
        let providers = [VOTERS[index % VOTERS.len()], name.as_str()];
        let wish = Wish { holder: HOLDER, sat: scene::STAKE_SAT, providers: &providers, lock: scene::LOCK };
        let registration = world.registration_with(&wish, coin).0;
        let tx = registration.staking_tx.clone();
        let id = StakeId(world.send(&Message::Stake(Box::new(registration))).expect("a good registration"));
        world.sign_quorum(&id);
        (id, tx)
    });
    let stakes: Vec<_> = stakes.collect();
    world.bring_to_power(&stakes);
    names
}

/// Votes for a block by all members, the last of which is bad: two thirds are enough, so all before it are checked.
fn certificates(world: &World, chain: &ChainId, members: &[String]) -> Vec<Template> {
    let names: Vec<&str> = members.iter().map(String::as_str).collect();
    let height = TERMS.first_height(OPENS);
    let message = world.certificate(chain, &names, height, Hash32([5; 32]));
    let Message::Certificate(own) = &message else { unreachable!("a certificate") };
    let last = own.voters.last().expect("sixty voters").signature.to_bytes();
    vec![Template::new("messages", message.to_bytes(), &last)]
}

/// Registrations of one key, good but for the proof that its owner has the secret of the BLS key.
fn possessions(world: &mut World) -> Vec<Template> {
    let name = "mallory";
    let Message::Provider(good) = world.provider_registration(&ChainId::zero(), name) else {
        unreachable!("a registration")
    };
    let context = world.identity(&ChainId::zero()).context(Purpose::Registration);
    let made = (0..POSSESSIONS).map(|index| {
        let mut own: ProviderRegistration = (*good).clone();
        own.operator = format!("mallory {index}");
        if let Some(bls) = &mut own.bls {
            bls.possession = bls_secret("somebody else").prove_possession();
        }
        let backing = own.backing.outpoint();
        let message =
            ProviderRegistration::message(&context, &own.key, &own.operator, own.bls.as_ref(), backing);
        own.signature = schnorr(name, &message);
        let bytes = Message::Provider(Box::new(own)).to_bytes();
        Template { door: "messages".to_owned(), epoch: None, at: None, bytes }
    });
    made.collect()
}

/// Answers of members to a stake with eight providers: the last of seventeen signatures is bad.
fn answers(world: &mut World, chains: &[ChainId]) -> Vec<Template> {
    let names: Vec<String> = chains.iter().map(|chain| format!("one of {chain}")).collect();
    for (chain, name) in chains.iter().zip(&names) {
        world.register_provider(chain, name);
    }
    let providers: Vec<&str> = VOTERS.into_iter().take(1).chain(names.iter().map(String::as_str)).collect();
    let wish = Wish { holder: HOLDER, sat: scene::STAKE_SAT, providers: &providers, lock: scene::LOCK };
    let (id, _): (StakeId, _) = world.register_stake(&wish);
    let made = COVENANT.iter().map(|member| {
        let bytes = world.answer(member, world.stake(&id)).to_bytes();
        let last = bytes[bytes.len() - 32..].to_vec();
        Template::new("messages", bytes, &last)
    });
    made.collect()
}

/// Two votes of one key, the second of which is bad.
fn evidence(world: &World) -> Vec<Template> {
    let made = VOTERS.map(|name| {
        let height = Height(world.ledger.genesis().document().zero.epoch_length);
        let [first, second] =
            [1, 2].map(|block| world.vote(&ChainId::zero(), name, height, Hash32([block; 32])));
        let message = Message::Evidence(Evidence::from_votes(&first, &second).expect("two ballots"));
        Template::new("messages", message.to_bytes(), &second.signature.to_bytes())
    });
    made.into()
}

/// As many headers as a batch may hold, on top of the genesis block; the last is older than those before it.
fn headers(world: &World) -> Vec<Template> {
    let mut headers = vec![world.chain[0].header];
    for height in 1..=HEADERS {
        let last = headers.len().saturating_sub(11);
        let time = blocks::earliest_time(&headers[last..]);
        let parent = headers.last().expect("a genesis block");
        headers.push(blocks::build(parent, height, time, &address("mallory"), [9; 8], &[]).header);
    }
    headers.remove(0);
    let last = headers.last_mut().expect("a header");
    last.time = 0;
    let root = last.merkle_root.to_string();
    let bytes = Message::Headers(Headers { headers }).to_bytes();
    let root: Vec<u8> = hex::decode(root).expect("hex").into_iter().rev().collect();
    vec![Template::new("messages", bytes, &root)]
}
