//! A liar before the hub alters one place at a time of what reporter, watcher and anchorer ask: nothing is told, learned or
//! broadcast because of it.

use crate::anchor::Scene;
use crate::party::{Party, WISH, settle};
use crate::watch::{leak, watcher};
use palisade_checkpointer::prove::Prove;
use palisade_checkpointer::watch::Watcher;
use palisade_checkpointer::{Pass, PassError};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub::serve;
use palisade_regtest::liar::{Liar, flipped, leaves, versions};
use palisade_regtest::{Node, in_time};
use palisade_world::{Wish, World};
use serde_json::{Value, json};
use std::path::Path;

/// What a daemon of this crate did that others can see, or that it would go on with.
async fn nothing_done(party: &Party, liar: &Liar, name: &str) {
    assert!(liar.told() > 0, "{name}: it was not asked");
    assert_eq!(liar.posted(), Vec::<String>::new(), "{name}");
    let mempool: Vec<String> = party.node.rpc().call("getrawmempool", json!([])).await.unwrap();
    assert_eq!(mempool, Vec::<String>::new(), "{name}");
}

fn rows(database: &Path, table: &str) -> u32 {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// The first block at or above a height whose messages satisfy a wish.
fn block_with(party: &Party, from: Height, wanted: fn(&Message) -> bool) -> Block {
    let blocks = party.hub.hub.store().blocks(from, u32::MAX).unwrap();
    let holds = |block: &Block| block.messages.iter().any(|message| wanted(&message.decode().unwrap()));
    blocks.into_iter().find(holds).expect("such a block")
}

fn genesis_fields(party: &Party) -> Vec<String> {
    let document = serde_json::to_value(party.world.ledger.genesis().document()).unwrap();
    let fields = leaves(&document);
    assert!(fields.len() > 30);
    fields
}

fn is_untruth(why: &PassError) -> bool {
    matches!(why, PassError::Hub(_) | PassError::Log(_) | PassError::OtherHub { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_gets_an_anchor_made() {
    let scene = Scene::new(&[1_000_000]).await;
    let party = &scene.party;
    let liar = Liar::start(party.hub.client.url().as_str()).await;
    let flights = scene.config.process.data_dir.join("flights.sqlite");
    let mut anchorer = scene.anchorer_at(liar.url());
    // Before the first epoch ends there is nothing to anchor. From then on its hub lies.
    assert_eq!(anchorer.pass().await.unwrap(), Pass::Idle);
    let next = party.hub.hub.ledger().next_height();
    let epoch = scene.one_more_epoch().await;
    let truth = block_with(party, next, |message| matches!(message, Message::Certificate(_)));
    for (name, bytes) in versions(&truth, &party.world.ledger.contexts().hub) {
        liar.replace_block(&truth, &bytes);
        let why = anchorer.pass().await.expect_err(&name);
        assert!(is_untruth(&why), "{name}: {why}");
        nothing_done(party, &liar, &name).await;
    }
    drop(anchorer);
    // One that is started again meets the hub first.
    for field in genesis_fields(party) {
        let mut anchorer = scene.anchorer_at(liar.url());
        liar.alter_field("/genesis", &field);
        let why = anchorer.pass().await.expect_err(&field);
        assert!(is_untruth(&why), "{field}: {why}");
        nothing_done(party, &liar, &field).await;
    }
    // The checkpoint itself, byte for byte.
    let mut anchorer = scene.anchorer_at(liar.url());
    let path = format!("/checkpoints/{epoch}");
    let view: Value = party.hub.client.get_json(&path[1..], &[]).await.unwrap();
    let payload = hex::decode(view["payload"].as_str().unwrap()).unwrap();
    for place in 0..payload.len() {
        let (asked, lie) = (path.clone(), hex::encode(flipped(&payload, place)));
        liar.tell(move |path, answer| {
            let lies = path == asked;
            if lies {
                answer["payload"] = lie.clone().into();
            }
            lies
        });
        let name = format!("byte {place} of the payload");
        let why = anchorer.pass().await.expect_err(&name);
        assert!(why.part() == "hub" && why.to_string().contains("does not verify"), "{name}: {why}");
        nothing_done(party, &liar, &name).await;
    }
    assert_eq!(rows(&flights, "version"), 0);

    // Whatever else the answer says, its payload counts, for that verifies by our own log.
    liar.tell(move |asked, answer| {
        let lies = asked == path;
        if lies {
            *answer = json!({ "payload": answer["payload"], "state": "FINAL", "header": Hash32::ZERO });
        }
        lies
    });
    anchorer.pass().await.unwrap();
    assert_eq!((scene.flying().await.1, rows(&flights, "version")), (epoch, 1));
    liar.check_doors(&["GET /blocks", "GET /checkpoints/{}", "GET /genesis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_gets_anything_reported() {
    let (mut party, mut reporter) = Party::new().await;
    party.register_provider(&mut reporter, "anna").await;
    settle(&mut reporter).await;
    drop(reporter);
    let liar = Liar::start(party.hub.client.url().as_str()).await;
    // There is a block to be told, and the log has grown by a commitment.
    party.node.mine(1).await.unwrap();
    let mut reporter = party.reporter_at(liar.url(), "new");
    for field in genesis_fields(&party) {
        liar.alter_field("/genesis", &field);
        let why = reporter.pass().await.expect_err(&field);
        assert!(is_untruth(&why), "{field}: {why}");
        nothing_done(&party, &liar, &field).await;
    }
    drop(reporter);
    let mut reporter = party.reporter_at(liar.url(), "report");
    let next = reporter.replica().ledger().next_height();
    let epoch = party.hub.hub.ledger().first_open_epoch(&ChainId::zero());
    let commitment = party.world.commitment(&ChainId::zero(), "anna", Epoch(epoch.0 + 20));
    party.hub.client.submit(&commitment).await.unwrap();
    let truth = block_with(&party, next, |message| matches!(message, Message::Commitment(_)));
    let mark = reporter.mark();
    for (name, bytes) in versions(&truth, &party.world.ledger.contexts().hub) {
        liar.replace_block(&truth, &bytes);
        let why = reporter.pass().await.expect_err(&name);
        assert!(is_untruth(&why), "{name}: {why}");
        nothing_done(&party, &liar, &name).await;
        assert_eq!(reporter.mark(), mark, "{name}");
    }

    // What the hub says of a message is not believed: the log says whether it is in.
    liar.alter_field("/messages", "/id");
    let told = party.hub.hub.ledger().btc_height();
    settle(&mut reporter).await;
    assert!(liar.told() > 0);
    assert_eq!(party.hub.hub.ledger().btc_height(), told.next());
    party.node.mine(1).await.unwrap();
    liar.tell(|path, answer| {
        let lies = path == "/messages";
        if lies {
            answer["height"] = 1_000_000.into();
        }
        lies
    });
    let why = reporter.pass().await.unwrap_err();
    assert!(why.to_string().contains("does not show that block"), "{why}");
    let posted = liar.posted().len();
    liar.be_honest();
    settle(&mut reporter).await;
    assert_eq!(liar.posted().len(), posted, "the log shows that it is told");
    liar.check_doors(&["GET /blocks", "GET /genesis", "POST /messages"]);
}

/// Passes until the watcher has heard the lie and has looked at everything twice since.
async fn look(watcher: &mut Watcher, liar: &Liar) {
    let twice = async {
        let mut after = 0;
        while after < 2 {
            if let Err(why) = watcher.pass().await {
                assert!(is_untruth(&why), "{why}");
            }
            after += usize::from(liar.told() > 0);
        }
    };
    in_time("the lie", twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_gets_anybody_slashed() {
    let (mut party, mut reporter) = Party::new().await;
    for (holder, provider) in [("alice", "anna"), ("bob", "otto")] {
        party.register_provider(&mut reporter, provider).await;
        let wish = Wish { holder, providers: &[provider], ..WISH };
        let (id, staking) = party.register(&mut reporter, &wish).await;
        party.sign_quorum(&id).await;
        party.confirm(&staking).await;
    }
    party.node.mine(6).await.unwrap();
    settle(&mut reporter).await;
    drop(reporter);
    let liar = Liar::start(party.hub.client.url().as_str()).await;
    let book = |name: &str| party.folder.path().join(name).join("watch.sqlite");

    // Two votes of otto's, the second altered byte for byte up to the path of its nonce, which gives nothing away.
    let zero = ChainId::zero();
    let votes = [1, 2].map(|block| party.world.vote(&zero, "otto", Height(5), Hash32([block; 32])));
    party.hub.hub.store().keep_votes(&votes).unwrap();
    let bytes = votes[1].to_bytes();
    let signed = Vote { path: Vec::new(), ..votes[1].clone() }.to_bytes().len();
    let mut one = watcher(&party, liar.url());
    for place in 0..signed {
        let (truth, lie) = (hex::encode(&bytes), hex::encode(flipped(&bytes, place)));
        liar.tell(move |path, answer| {
            let votes = answer.as_array_mut().filter(|_| path == "/votes");
            let found = votes.and_then(|votes| votes.iter_mut().find(|vote| **vote == *truth));
            found.map(|vote| *vote = lie.clone().into()).is_some()
        });
        let name = format!("byte {place} of a vote");
        look(&mut one, &liar).await;
        nothing_done(&party, &liar, &name).await;
        assert!(one.jobs().is_empty(), "{name}");
    }
    assert_eq!(rows(&book("watch"), "leaked"), 0);
    drop(one);

    // The block with the evidence of anna's key.
    liar.tell(|path, answer| {
        let lies = path == "/votes";
        if lies {
            *answer = json!([]);
        }
        lies
    });
    let mut replica = party.replica("before").1;
    replica.catch_up(&party.hub.client).await.unwrap();
    let next = replica.ledger().next_height();
    drop(replica);
    party.hub.client.submit(&Message::Evidence(leak())).await.unwrap();
    let truth = block_with(&party, next, |message| matches!(message, Message::Evidence(_)));
    let versions = versions(&truth, &party.world.ledger.contexts().hub);
    for (number, (name, bytes)) in versions.iter().enumerate() {
        let folder = format!("watch {number}");
        let (directory, replica) = party.replica(&folder);
        drop(replica);
        std::fs::copy(party.folder.path().join("before/log.sqlite"), directory.join("log.sqlite")).unwrap();
        liar.replace_block(&truth, bytes);
        let (_, replica) = party.replica(&folder);
        let hub = HubClient::new(liar.url().parse().unwrap());
        let mut watcher = Watcher::open(&directory, replica, hub, party.rpc(), None).unwrap();
        look(&mut watcher, &liar).await;
        nothing_done(&party, &liar, name).await;
        assert!(watcher.jobs().is_empty(), "{name}");
        assert_eq!(rows(&book(&folder), "leaked"), 0, "{name}");
    }

    // The truth, but for a receipt, to the watcher that was lied to last.
    liar.alter_answer("/messages");
    let mut watcher = watcher(&party, liar.url());
    let both = async {
        while watcher.pass().await.is_ok_and(|pass| pass == Pass::Worked) || watcher.jobs().len() < 2 {}
    };
    in_time("the slashing of both", both).await;
    assert_eq!(rows(&book("watch"), "leaked"), 2);
    assert_eq!(liar.posted(), ["/messages"], "otto's evidence");
    let mempool: Vec<String> = party.node.rpc().call("getrawmempool", json!([])).await.unwrap();
    assert_eq!(mempool.len(), 2);
    liar.check_doors(&["GET /blocks", "GET /votes", "POST /messages"]);
}

pub const DEV: &str = "dev";

/// A world in which a block of a development chain can be proven final and anchored.
pub fn provable() -> World {
    let (mut world, dev) = (World::new(400_000), DEV.parse::<ChainId>().unwrap());
    world.mine(1);
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 400_000 };
    let chain = NewChain { id: dev.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&ChainId::zero(), "anna");
    world.register_provider(&dev, "dev anna");
    let wish = Wish { holder: "alice", sat: 500_000, providers: &["anna", "dev anna"], lock: 2_000 };
    world.active_stake(&wish);
    world.commit(&ChainId::zero(), "anna", 1..12);
    world.commit(&dev, "dev anna", 4..8);
    world.finalise_until(&["anna"], 105);
    let certificate = world.certificate(&dev, &["dev anna"], Height(200), Hash32([7; 32]));
    world.send(&certificate).unwrap();
    world.finalise_until(&["anna"], 125);
    let epoch = Epoch(5);
    let anchor = world.anchor(&["anna"], epoch, world.ledger.own_header(epoch).unwrap());
    let tx = world.mine_anchor(&anchor);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
    world.mine(1);
    world.close();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_byte_of_the_hubs_files_is_written_as_a_proof() {
    let (world, dir, stop) = (provable(), tempfile::tempdir().unwrap(), Shutdown::manual());
    let liar = Liar::start(&serve(&world.hub(dir.path()), &stop).await).await;
    let node = Node::of(&world).await.unwrap();
    let (url, cookie) = (node.rpc_url(), node.cookie_path());
    let prove = Prove {
        chain: DEV.parse().unwrap(),
        height: 200,
        hub: liar.url().parse().unwrap(),
        node: NodeArgs { url, cookie: Some(cookie), user: None, user_password: None },
        out: dir.path().join("out"),
    };
    let client = HubClient::new(prove.hub.clone());
    // A prime stride comes by every field; that no byte at all can be another is tested on the files.
    for (path, stride) in [("proofs/dev/200", 101), ("root", 7)] {
        liar.be_honest();
        let truth = client.get_bytes(path).await.unwrap();
        for place in (0..truth.len()).step_by(stride) {
            let (asked, lie) = (format!("/{path}"), hex::encode(flipped(&truth, place)));
            liar.tell(move |path, answer| {
                let lies = path == asked;
                if lies {
                    *answer = lie.clone().into();
                }
                lies
            });
            let name = format!("byte {place} of {path}");
            prove.run().await.expect_err(&name);
            assert!(liar.told() == 1 && !prove.out.exists(), "{name}");
        }
    }
    liar.be_honest();
    assert_eq!(prove.run().await.unwrap().shown.height, 200);
    liar.check_doors(&["GET /proofs/{}/{}", "GET /root"]);
    stop.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_takes_an_anchor_and_keeps_quiet_about_it_is_named() {
    let scene = Scene::new(&[1_000_000]).await;
    let epoch = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    scene.party.node.mine(1).await.unwrap();
    let liar = Liar::start(scene.party.hub.client.url().as_str()).await;
    let shown = scene.party.hub.hub.ledger().tip().unwrap().0;
    liar.keep_messages(|message| matches!(message, Message::Anchor(_)), shown);
    let mut reporter = scene.party.reporter_at(liar.url(), "new");
    let why = loop {
        if let Err(why) = reporter.pass().await {
            break why;
        }
        assert!(liar.told() == 0, "it goes on as if the anchor were told");
    };
    assert!(why.part() == "hub" && why.to_string().contains("its log lacks them"), "{why}");
    assert!(scene.recorded(epoch).is_none());
    // It comes back to the anchor, also with another hub.
    liar.be_honest();
    settle(&mut reporter).await;
    assert!(scene.recorded(epoch).is_some());
}
