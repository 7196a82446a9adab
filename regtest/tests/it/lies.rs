//! A log that a liar alters: no byte of any kind of message can be another one, whoever signs the block, and a hub that
//! follows a liar shows only what it has reproduced.

use bitcoin::Network;
use clap::Parser as _;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::governance::{self, Done, Governance};
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::Replica;
use palisade_hub::run::follow_page;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::governance::GovernanceMessage;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub::{make_blocks, serve};
use palisade_regtest::liar::{Liar, flipped, stolen_byte, versions};
use palisade_world::{COVENANT, Wish, World};
use palisade_world::{keypair, secret};
use rand::rngs::OsRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ANNA: &[&str] = &["anna"];

/// A log with every kind of message.
fn world() -> World {
    let mut world = World::new(400_000);
    world.mine(1);
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 150_000 };
    let chain =
        NewChain { id: "dev".parse().unwrap(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.close();
    world.register_provider(&ChainId::zero(), "anna");
    world.close();
    let wish = |sat| Wish { holder: "alice", sat, providers: ANNA, lock: 2_000 };
    let old = world.active_stake(&wish(500_000));
    world.commit(&ChainId::zero(), "anna", 1..8);
    world.stamp(&[Hash32([6; 32])]);
    world.close();
    let expansion = world.expansion(&old, &wish(600_000), &[]);
    let new = StakeId(world.send(&Message::Stake(Box::new(expansion))).unwrap());
    let refusal = world.refusal(COVENANT[4], &new, "not today");
    world.send(&refusal).unwrap();
    world.sign_quorum(&new);
    let consent = world.consent(COVENANT[0], &new).unwrap();
    world.send(&consent).unwrap();
    world.finalise_until(ANNA, 65);
    let epoch = world.ledger.chains()[0].last_ended().unwrap();
    let anchor = world.anchor(ANNA, epoch, world.ledger.own_header(epoch).unwrap());
    let tx = world.mine_anchor(&anchor);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
    world.close();
    let stake = world.stake(&old);
    let (outpoint, unbonding) = (stake.contract.coin.outpoint, stake.presigned.unbonding.clone());
    world.spend(&old, outpoint, &unbonding).unwrap();
    let votes = [1, 2].map(|block| world.vote(&ChainId::zero(), "anna", Height(45), Hash32([block; 32])));
    world.send(&Message::Evidence(Evidence::from_votes(&votes[0], &votes[1]).unwrap())).unwrap();
    world.close();
    world
}

/// What kind of message bytes are, by their first byte.
fn kinds(block: &Block) -> Vec<u8> {
    block.messages.iter().map(|message| message.as_slice()[0]).collect()
}

fn check_refused(before: &Ledger, block: &Block, name: &str, bytes: &[u8]) {
    let replayed = Block::from_bytes(bytes).map(|block| before.clone().replay(&block).is_ok());
    assert_ne!(replayed, Ok(true), "the messages {:?} at {}: {name}", kinds(block), block.header.height);
}

#[test]
fn no_byte_of_a_block_can_be_another_nor_one_of_any_kind_of_message_that_a_thief_signs() {
    let world = world();
    let context = world.ledger.contexts().hub;
    let mut ledger = Ledger::new(world.ledger.genesis().clone());
    let mut seen = BTreeMap::new();
    for block in &world.log {
        let mut is_new = false;
        for (index, kind) in kinds(block).into_iter().enumerate() {
            // The second of a kind may be another variant.
            let seen: &mut u32 = seen.entry(kind).or_default();
            *seen += 1;
            is_new |= *seen == 1;
            for place in (0..block.messages[index].as_slice().len()).filter(|_| *seen <= 2) {
                let (name, bytes) = stolen_byte(block, &context, index, place);
                check_refused(&ledger, block, &name, &bytes);
            }
        }
        // Messages that a thief cannot alter nobody can.
        let bytes = block.to_bytes();
        let before_messages = Block { messages: Vec::new(), ..block.clone() }.to_bytes().len();
        for place in (0..before_messages).filter(|_| is_new) {
            check_refused(&ledger, block, &format!("byte {place}"), &flipped(&bytes, place));
        }
        ledger.replay(block).unwrap();
    }
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), (1..=13).collect::<Vec<_>>());
}

fn hub_of(genesis: &Arc<Genesis>, blocks: &[Block]) -> (Arc<Hub>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, store) = Replica::open(dir.path(), genesis.clone()).unwrap().into_parts();
    let hub = Hub::new(ledger, store);
    blocks.iter().for_each(|block| hub.follow_block(block).unwrap());
    (hub, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_follows_a_liar_takes_and_shows_nothing_of_an_altered_block() {
    let world = world();
    let genesis = world.ledger.genesis();
    let (truth, before) = world.log.split_last().unwrap();
    let ((leader, _leaders), (follower, _followers)) = (hub_of(genesis, &world.log), hub_of(genesis, before));
    let stop = Shutdown::manual();
    let liar = Liar::start(&serve(&leader, &stop).await).await;
    let client = HubClient::new(liar.url().parse().unwrap());
    let own = HubClient::new(serve(&follower, &stop).await.parse().unwrap());
    let tip = before.last().unwrap().header;
    for (name, bytes) in versions(truth, &world.ledger.contexts().hub) {
        liar.replace_block(truth, &bytes);
        follow_page(&client, &follower).await.expect_err(&name);
        assert_eq!(liar.told(), 1, "{name}");
        let status: Value = own.get_json("status", &[]).await.unwrap();
        assert_eq!(status["height"], json!(tip.height), "{name}");
        assert_eq!(own.blocks(truth.header.height, Duration::ZERO).await.unwrap(), [], "{name}");
    }
    liar.be_honest();
    follow_page(&client, &follower).await.unwrap();
    assert_eq!(own.blocks(truth.header.height, Duration::ZERO).await.unwrap(), vec![truth.clone()]);
    assert_eq!(follower.ledger().tip(), leader.ledger().tip());
    liar.check_doors(&["GET /blocks"]);
    stop.trigger();
}

/// The command line of governance.
#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: Governance,
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_numbers_a_decision_by_the_log_and_shows_what_that_holds() {
    let world = world();
    let (hub, dir) = hub_of(world.ledger.genesis(), &world.log);
    let stop = Shutdown::manual();
    let liar = Liar::start(&serve(&hub, &stop).await).await;
    tokio::spawn(make_blocks(hub.clone(), keypair("hub"), Duration::from_millis(20), stop.clone()));
    let file = |name: &str| dir.path().join(name).display().to_string();
    let document = serde_json::to_vec(world.ledger.genesis().document()).unwrap();
    std::fs::write(file("genesis"), document).unwrap();
    private_file::create(Path::new(&file("password")), b"we decide").unwrap();
    let password = Password::new("we decide".to_owned()).unwrap();
    for name in ["governance 0", "governance 1", "somebody else"] {
        let key = keypair(name).x_only_public_key().0.to_string();
        let (label, cost) = (KeyLabel::new("governance", &key), KdfCost::for_network(Network::Regtest));
        let secret = Secret::new(secret(name).secret_bytes());
        keyfile::create(Path::new(&file(name)), &label.unwrap(), &secret, &password, cost, &mut OsRng)
            .unwrap();
    }
    let (genesis, password, keys) =
        (file("genesis"), file("password"), ["governance 0", "governance 1"].map(file));
    let decide = async |id: &str, keys: &[String]| {
        let block = Hash32([9; 32]).to_string();
        let mut args =
            vec!["", "register-chain", "--id", id, "--genesis-block", &block, "--epoch-length", "50"];
        args.extend(["--voted-every", "5", "--minimum-power", "1000", "--genesis", &genesis]);
        args.extend(["--hub", liar.url(), "--password-file", &password, "--yes"]);
        keys.iter().for_each(|key| args.extend(["--key", key]));
        governance::run(Cli::try_parse_from(args).unwrap().command).await
    };
    // The block of the decision before: whoever alters it could have a later number signed.
    let truth = world.log.iter().find(|block| kinds(block).contains(&13)).unwrap();
    for (name, bytes) in versions(truth, &world.ledger.contexts().hub) {
        liar.replace_block(truth, &bytes);
        decide("other", &keys).await.expect_err(&name);
        assert!(liar.told() > 0 && liar.posted().is_empty(), "{name}");
    }
    // What the hub says besides its log.
    liar.tell(|path, answer| {
        let lies = path == "/status";
        if lies {
            answer["next_decision"] = 7.into();
        }
        lies
    });
    let begun = decide("other", &keys[..1]).await.unwrap();
    let Done::Begun { decision, .. } = begun else { panic!("{begun:?}") };
    let bytes = hex::decode(decision).unwrap();
    let signed = GovernanceMessage::from_bytes(&bytes).unwrap();
    assert_eq!(signed.sequence, 1);
    // Only members' signatures on this very decision are counted, and nobody adds to others.
    let why = decide("other", &[file("somebody else")]).await.unwrap_err().to_string();
    assert!(why.contains("none of this hub's governance"), "{why}");
    let altered = hex::encode(GovernanceMessage { sequence: 2, ..signed.clone() }.to_bytes());
    let args = ["", "sign", "--decision", &altered, "--genesis", &genesis, "--hub", liar.url()];
    let args = args.into_iter().chain(["--password-file", &password, "--yes", "--key", &keys[1]]);
    let why = governance::run(Cli::try_parse_from(args).unwrap().command).await.unwrap_err().to_string();
    assert!(why.contains("no member's signature on it"), "{why}");
    // A number that was used stays used: no later time makes that decision good.
    let used = hex::encode(GovernanceMessage { sequence: 0, signatures: Vec::new(), ..signed }.to_bytes());
    let args = ["", "sign", "--decision", &used, "--genesis", &genesis, "--hub", liar.url(), "--yes"];
    let args = args.into_iter().chain(["--password-file", &password, "--key", &keys[0], "--key", &keys[1]]);
    let why = governance::run(Cli::try_parse_from(args).unwrap().command).await.unwrap_err();
    assert!(why.to_string().contains("(sequence)") && why.exit() as u8 == 1, "{why}");
    liar.alter_answer("/messages");
    let shown = decide("other", &keys).await.unwrap();
    assert_eq!(liar.told(), 1);
    let Done::Decided { height, id, .. } = shown else { panic!("{shown:?}") };
    let block = hub.store().blocks(height, 1).unwrap().remove(0);
    assert_eq!(block.messages[0].id(), id);
    // A hub that says that it took a decision, and hides the block that should hold it.
    liar.hide_blocks(hub.ledger().next_height());
    let why = decide("third", &keys).await.unwrap_err().to_string();
    assert!(why.contains("its log does not hold"), "{why}");
    liar.check_doors(&["GET /blocks", "POST /messages"]);
    stop.trigger();
}
