//! Shipped voters whose hub takes nothing that they send, one for each rule by which it can refuse: each does what the table of
//! `docs/operations/refusals.md` says, stays up, and goes on when the hub takes it again.

mod operator;

use crate::views::until_reasons;
use axum::http::StatusCode;
use operator::{NO_HUB, PROGRAM, install, text};
use palisade_finality_provider::signer::client::SignerClient;
use palisade_finality_provider::signer::request::{CommitRequest, VoteRequest};
use palisade_finality_provider::voter::verdict::{Door, Next, RULES, next};
use palisade_hub::client::HubError;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::demo::network::edit;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_regtest::liar::{Instead, Liar};
use palisade_regtest::process::{Daemon, reasons};
use palisade_regtest::{Node, in_time};
use palisade_world::{Wish, World, keypair};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// From the fifth time on what is sent again rings.
const TIMES: usize = 5;

/// A log whose last block is the first that deserves a vote, the hub that shows it, and the only operator's shipped signer.
struct Scene {
    dir: TempDir,
    hub: Arc<Hub>,
    url: String,
    _node: Node,
    signer: Daemon,
    stop: Shutdown,
}

/// A voter behind a hub that answers everything with one refusal.
struct Refused {
    name: String,
    answer: HubError,
    liar: Liar,
    voter: Daemon,
    address: PathBuf,
}

impl Scene {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut world = World::new(400_000);
        world.mine(1);
        world.register_provider(&ChainId::zero(), "anna");
        let wish = Wish { holder: "holder", sat: 500_000, providers: &["anna"], lock: 2_000 };
        world.active_stake(&wish);
        world.close();
        let node = Node::of(&world).await.unwrap();
        let (signer, client) = install(dir.path(), &world, &node, "anna").await;
        finish_an_epoch(&mut world, &client).await;
        node.follow(&world).await.unwrap();
        let hub = world.hub(&dir.path().join("hub"));
        let stop = Shutdown::manual();
        let url = serve(&hub, &stop).await;
        Self { dir, hub, url, _node: node, signer, stop }
    }

    async fn refused(&self, name: &str, answer: HubError, instead: Instead) -> Refused {
        let liar = Liar::start(&self.url).await;
        liar.answer_instead(instead);
        let own = self.dir.path().join(format!("voter {name}"));
        std::fs::create_dir(&own).unwrap();
        let config = own.join("voter.toml");
        std::fs::copy(self.dir.path().join("voter.toml"), &config).unwrap();
        let (data, address) = (text(&self.dir.path().join("voter-data")), own.join("voter.address"));
        let address_file = format!("address_file = {:?}", self.dir.path().join("voter.address"));
        let changes = [
            (NO_HUB, liar.url()),
            (&data, &text(&own.join("data"))),
            (&address_file, &format!("address_file = {address:?}")),
            ("epochs_ahead = 336", "epochs_ahead = 12"),
        ];
        edit(&config, &changes).unwrap();
        let args = ["run".to_owned(), "--config".to_owned(), text(&config)];
        let mut voter = Daemon::start(PROGRAM, &args, &own.join("voter.log")).unwrap();
        voter.address(&address).await.unwrap();
        Refused { name: name.to_owned(), answer, liar, voter, address }
    }
}

/// The only operator commits to some epochs, votes for every block of one, and the next block that deserves a vote is made.
async fn finish_an_epoch(world: &mut World, signer: &SignerClient) {
    let zero = ChainId::zero();
    for epoch in (0..8).map(Epoch) {
        let commitment = signer.commit(CommitRequest { chain: zero.clone(), epoch }).await.unwrap();
        // The first epochs may be closed to commitments.
        let _ = world.send(&Message::Commitment(commitment));
    }
    let chain = |world: &World| world.ledger.chains()[0].clone();
    while chain(world).opened_at.is_none() {
        world.close();
    }
    let terms = chain(world).terms;
    let first = terms.first_height(chain(world).opened_at.unwrap());
    for height in (0..terms.voted_heights()).map(|number| first.plus(number * terms.voted_every)) {
        world.close_until(height.0);
        let block = world.close().0.hash();
        let chain = chain(world);
        let set = &chain.sets[&terms.epoch_of(height)].set;
        let root = set.members()[0].nonce_root;
        let vote = signer.vote(VoteRequest { chain: zero.clone(), height, block, root }).await.unwrap();
        let ballot = Ballot { context: chain.vote, height, block };
        let certificate = Certificate::assemble(ballot, set, &[vote]);
        world.send(&Message::Certificate(Box::new(certificate))).unwrap();
        world.close();
    }
    world.close_until(world.ledger.next_height().0.next_multiple_of(terms.voted_every) + 1);
}

fn status(rule: &str) -> StatusCode {
    match rule {
        "busy" | "storage" | "starting" => StatusCode::SERVICE_UNAVAILABLE,
        "request-timeout" => StatusCode::REQUEST_TIMEOUT,
        "follower" => StatusCode::FORBIDDEN,
        "malformed-request" => StatusCode::BAD_REQUEST,
        "body-too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "not-found" => StatusCode::NOT_FOUND,
        "method-not-allowed" => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Every way not to be taken: each rule of the table, rules of a later hub, answers that are no hub's, and none.
fn ways() -> Vec<(String, HubError, Instead)> {
    let known = RULES.iter().map(|(rule, _)| (*rule, false));
    let by_rule = known.chain([("later", true), ("never", false)]).map(|(rule, retry)| {
        let body = json!({ "error": { "rule": rule, "message": "not now", "retry": retry } }).to_string();
        let answer = HubError::Refused { rule: rule.to_owned(), message: "not now".to_owned(), retry };
        (rule.to_owned(), answer, Instead::Answer(status(rule), body))
    });
    let garbage = |status: StatusCode| {
        let answer = HubError::Malformed(format!("status {status} without a reason"));
        (status.as_str().to_owned(), answer, Instead::Answer(status, "<html>".to_owned()))
    };
    let statuses = [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY].map(garbage);
    let gone = HubError::Unreachable { url: String::new(), why: String::new() };
    by_rule.chain(statuses).chain([("cut".to_owned(), gone, Instead::Cut)]).collect()
}

impl Refused {
    fn next(&self, door: Door) -> Next {
        next(door, &self.answer)
    }

    /// How often each of the things was sent that went to a door.
    fn times(&self, door: Door) -> Vec<usize> {
        let path = match door {
            Door::Votes => "/votes",
            Door::Commitments => "/messages",
            Door::Checkpoints => "/checkpoints",
        };
        let mut times: BTreeMap<_, usize> = BTreeMap::new();
        self.liar.sent(path).into_iter().for_each(|body| *times.entry(body).or_default() += 1);
        times.into_values().collect()
    }

    /// Whether everything has been sent so often that nothing new is to be expected.
    fn is_settled(&self) -> bool {
        Door::ALL.into_iter().all(|door| {
            let times = self.times(door);
            match self.next(door) {
                Next::Again | Next::Alarm => times.first().is_some_and(|times| *times > TIMES),
                Next::Over | Next::Stop => !times.is_empty(),
            }
        })
    }

    /// What the table says of each door is what happened there, and what `/health` says.
    async fn check(&mut self) {
        self.voter.check().unwrap();
        let reasons = reasons(&self.address).await.unwrap();
        let told = reasons.iter().find(|reason| reason.starts_with("refused: ")).cloned().unwrap_or_default();
        for door in Door::ALL {
            let (times, next) = (self.times(door), self.next(door));
            let said = format!("{}: {door:?} {next:?}: {times:?}, {reasons:?}", self.name);
            match next {
                // One thing, and nothing behind it.
                Next::Again | Next::Alarm => assert!(times.len() == 1 && times[0] > TIMES, "{said}"),
                // Once, and all that is behind it as well.
                Next::Over | Next::Stop => {
                    let all = if door == Door::Commitments { 5 } else { 1 };
                    assert!(times.len() >= all && times.iter().all(|times| *times == 1), "{said}");
                }
            }
            assert_eq!(told.contains(&door.to_string()), next != Next::Over, "{said}");
        }
        if let Some(rule) = self.answer.rule().filter(|_| !told.is_empty()) {
            assert!(told.contains(&format!("({rule})")), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_goes_on_as_the_table_says_whatever_the_hub_answers_and_stays_up() {
    let mut scene = Scene::start().await;
    let mut voters = Vec::new();
    for (name, answer, instead) in ways() {
        voters.push(scene.refused(&name, answer, instead).await);
    }
    assert!(voters.len() > 25);
    for voter in &voters {
        let settled = async {
            while !voter.is_settled() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), settled).await;
        let log = || std::fs::read_to_string(voter.voter.log()).unwrap_or_default();
        let times = Door::ALL.map(|door| voter.times(door));
        assert!(waited.is_ok(), "{}: sent {times:?} times\n{}", voter.name, log());
    }
    for voter in &mut voters {
        voter.check().await;
    }
    let zero = |hub: &Hub| hub.ledger().chains()[0].last_final().map(|(height, _)| height);
    let before = zero(&scene.hub);
    assert!(before.is_some());

    // The hub takes it all again: nothing was lost, and nobody had to do anything.
    voters.iter().for_each(|voter| voter.liar.be_honest());
    let (hub, stop) = (scene.hub.clone(), scene.stop.clone());
    tokio::spawn(make_blocks(hub, keypair("hub"), Duration::from_millis(200), stop));
    for voter in &mut voters {
        let has_voted = |voter: &Refused| voter.times(Door::Votes).len() >= 3;
        let goes_on = async {
            while !has_voted(voter) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time(&voter.name, goes_on).await;
        let is_well = |reasons: &[String]| !reasons.iter().any(|reason| reason.starts_with("refused: "));
        until_reasons(&voter.address, &voter.name, is_well).await;
        voter.voter.check().unwrap();
    }
    assert!(zero(&scene.hub) >= before.map(|height: Height| height.plus(10)));
    assert_eq!(scene.hub.store().double_votes().unwrap(), []);
    scene.signer.check().unwrap();
    for voter in voters {
        voter.voter.stop().await.unwrap();
    }
    scene.stop.trigger();
}
