//! Many voters with one signer, each before a hub that lies to it in one place: nobody has anything signed, and nobody
//! sends anything.

use super::network::{self, listen};
use super::*;
use crate::signer::request::{CommitRequest, VoteRequest};
use crate::voter::config::VoterConfig;
use crate::voter::journal::Journal;
use palisade_hub::api::{self, Door};
use palisade_hub::daemon::config::parse;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::message::Message;
use palisade_protocol::units::BtcHeight;
use palisade_regtest::hub::make_blocks;
use palisade_regtest::liar::{Liar, alter, leaves, versions};
use palisade_regtest::{Node, in_time};
use palisade_world::{World, bls_secret, pair, provider_key};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A log whose last block is the first that deserves a vote, the hub that shows it, and the only operator's signer.
struct Scene {
    dir: TempDir,
    world: World,
    hub: Arc<palisade_hub::engine::Hub>,
    liar: Liar,
    node: Node,
    shutdown: Shutdown,
}

/// A lie with the name of the place that it alters.
type Told<'a> = (String, Box<dyn FnOnce(&Liar) + 'a>);

/// Voters that are open at a time: a signer takes no more than 32 connections.
const AT_A_TIME: usize = 20;
/// The number of the voter that lacks commitments and a checkpoint's share.
const LAST: usize = usize::MAX;

/// A voter behind its own liar.
struct Lied {
    name: String,
    liar: Liar,
    voter: Arc<Voter>,
    shutdown: Shutdown,
    work: JoinHandle<anyhow::Result<()>>,
}

impl Scene {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut world = network::world();
        let shutdown = Shutdown::manual();
        let signer = signer(&dir.path().join("signer"), &world);
        // All that a voter wants to commit to is in the log, so that it has nothing to send but votes.
        for epoch in 0..40 {
            let request = CommitRequest { chain: ChainId::zero(), epoch: Epoch(epoch) };
            let commitment = signer.commit(&request).unwrap();
            // The first epochs may be closed to commitments.
            let _ = world.send(&Message::Commitment(commitment));
            // The development chain's key is not this signer's.
            let other = world.commitment(&network::dev(), "dev anna", Epoch(epoch));
            let _ = world.send(&other);
        }
        let socket = dir.path().join("socket/signer");
        let listener = server::open(&socket).unwrap();
        tokio::spawn(server::serve(signer.clone(), listener, server::own_uid().unwrap(), shutdown.clone()));
        let epoch = finish_an_epoch(&mut world, &signer);
        close_the_block_of_everything(&mut world, epoch);

        let node = Node::of(&world).await.unwrap();
        let hub = world.hub(&dir.path().join("hub"));
        tokio::spawn(hub.clone().judge());
        let (hub_url, _) = listen(api::router(Door { hub: hub.clone(), follower: false })).await;
        // Every voter begins with a copy of the log that lacks the last block.
        let log = dir.path().join("log");
        std::fs::create_dir_all(&log).unwrap();
        let mut replica = Replica::open(&log, world.ledger.genesis().clone()).unwrap();
        for block in &world.log[..world.log.len() - 1] {
            replica.take(block).unwrap();
        }
        // They have sent their share of the checkpoint, and searched their node's blocks, too.
        let journal = Journal::open(&log.join("journal.sqlite")).unwrap();
        journal.note_checkpoint(epoch).unwrap();
        let (base, deep) = (BtcHeight(0), judge::deep_height(&world.ledger));
        assert_eq!(scan::search(node.rpc(), &journal, base, deep).await.unwrap(), deep);
        let liar = Liar::start(&hub_url).await;
        Self { dir, world, hub, liar, node, shutdown }
    }

    fn last_block(&self) -> &Block {
        self.world.log.last().unwrap()
    }

    fn config(&self, number: usize, hub: &str) -> VoterConfig {
        let text = network::config_text(self.dir.path(), &format!("voter {number}"), hub, &self.node);
        // Fewer than the log holds commitments for, but for the last one's.
        let text = text.replace(
            "epochs_ahead = 336",
            if number == LAST { "epochs_ahead = 60" } else { "epochs_ahead = 8" },
        );
        parse(Path::new("voter.toml"), &text).unwrap()
    }

    /// A voter that goes on from the log without the last block, and is told a lie from the start.
    async fn lied(&self, number: usize, name: String, lie: impl FnOnce(&Liar)) -> Lied {
        let liar = self.liar.another().await;
        lie(&liar);
        let config = self.config(number, liar.url());
        std::fs::create_dir_all(&config.data_dir).unwrap();
        if !config.data_dir.join("log.sqlite").exists() {
            for file in ["log.sqlite", "journal.sqlite"] {
                std::fs::copy(self.dir.path().join("log").join(file), config.data_dir.join(file)).unwrap();
            }
        }
        let health = Health::new("test", "0", config.network).unwrap();
        let replica = Replica::open(&config.data_dir, self.world.ledger.genesis().clone()).unwrap();
        let voter = Arc::new(Voter::open(&config, replica, health).unwrap());
        let shutdown = Shutdown::manual();
        let (worker, stop) = (voter.clone(), shutdown.clone());
        let work = tokio::spawn(async move { worker.work(BTreeMap::new(), &stop).await });
        Lied { name, liar, voter, shutdown, work }
    }

    /// The bytes of the signer's record.
    fn record(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("signer/record.sqlite")).unwrap()
    }

    /// A voter that lacks commitments and a share goes on while every answer to what it sends is altered: the log says
    /// what was taken.
    async fn go_on_with_false_receipts(&self) {
        std::fs::remove_file(self.dir.path().join("log/journal.sqlite")).unwrap();
        drop(Journal::open(&self.dir.path().join("log/journal.sqlite")).unwrap());
        // There is more than one height to vote on, so it asks for the votes of others.
        for _ in 0..12 {
            self.hub.make_block(&keypair("hub")).unwrap();
        }
        let (hub, stop) = (self.hub.clone(), self.shutdown.clone());
        tokio::spawn(make_blocks(hub, keypair("hub"), Duration::from_millis(20), stop));
        let false_receipts = |liar: &Liar| {
            liar.tell(|path, answer| {
                let fields = leaves(answer);
                let lies = ["/votes", "/messages", "/checkpoints"].contains(&path);
                for field in fields.iter().filter(|_| lies) {
                    answer.pointer_mut(field).into_iter().for_each(alter);
                }
                lies
            });
        };
        let last = self.lied(LAST, "false receipts".to_owned(), false_receipts).await;
        let roots = || self.hub.ledger().providers().get(&provider_key("anna")).unwrap().roots.len();
        let (before, tip) = (roots(), self.hub.ledger().chains()[0].last_final().unwrap().0);
        let final_height = || self.hub.ledger().chains()[0].last_final().unwrap().0;
        until("votes and commitments go on", || final_height() >= tip.plus(15) && roots() > before + 10)
            .await;
        let doors = ["GET /votes", "POST /checkpoints", "POST /messages", "POST /votes"];
        until("false receipts", || doors.iter().all(|door| self.liar.lied_at(door) > 0)).await;
        last.stop().await.unwrap();
    }

    fn votes(&self) -> Vec<Vote> {
        let context = self.hub.ledger().chains()[0].vote;
        self.hub.store().votes(&context, Height(0), 10).unwrap()
    }
}

impl Lied {
    /// Ends its work; an error if that had ended by itself.
    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.work.await.unwrap()
    }

    /// Whether the voter heard the lie and either says what is wrong and why it casts no vote, or has ended.
    fn is_refused(&self) -> bool {
        // Before it has met its hub (the lie is a field of the genesis document) it does nothing but ask again.
        let unmet = self.name.starts_with('/') && self.liar.told() > 1;
        let silent = unmet || self.voter.moment().waiting.contains_key(&ChainId::zero());
        let degraded = !self.voter.health.report().reasons.is_empty();
        self.liar.told() > 0 && (self.work.is_finished() || silent && degraded)
    }

    /// What of its doings shows outside.
    fn check_idle(&self) {
        let name = &self.name;
        assert_eq!(self.liar.posted(), Vec::<String>::new(), "{name}");
        assert!(self.voter.journal.voted(&ChainId::zero()).unwrap().is_empty(), "{name}");
    }
}

fn signer(dir: &Path, world: &World) -> Arc<Signer> {
    std::fs::create_dir_all(dir).unwrap();
    let genesis = world.ledger.genesis();
    let chains = vec![ChainSigner::new(genesis.zero(), genesis.document().zero, pair("anna"))];
    Arc::new(Signer::new(genesis, chains, bls_secret("anna"), Record::open(dir).unwrap().0).unwrap())
}

/// The only operator votes for every block of an epoch, and for the first of the next one.
fn finish_an_epoch(world: &mut World, signer: &Signer) -> Epoch {
    let first = first_height(world);
    let terms = world.ledger.chains()[0].terms;
    let (epoch, zero) = (terms.epoch_of(first), ChainId::zero());
    for height in (0..=terms.voted_heights()).map(|number| first.plus(number * terms.voted_every)) {
        world.close_until(height.0);
        let block = world.close().0.hash();
        let chain = &world.ledger.chains()[0];
        let set = chain.sets[&terms.epoch_of(height)].set.clone();
        let (vote, root) = (chain.vote, set.members()[0].nonce_root);
        let vote_of = VoteRequest { chain: zero.clone(), height, block, root };
        let votes = [signer.vote(&vote_of).unwrap()];
        let ballot = Ballot { context: vote, height, block };
        let certificate = Certificate::assemble(ballot, &set, &votes);
        world.send(&Message::Certificate(Box::new(certificate))).unwrap();
        world.close();
    }
    assert_eq!(world.ledger.chains()[0].last_ended(), Some(epoch));
    epoch
}

/// The next block to be voted on: headers, the epoch's anchor with its BLS signatures, a provider and its commitment, and
/// the development chain's commitments or, if it has a set, its certificate.
fn close_the_block_of_everything(world: &mut World, epoch: Epoch) {
    let zero = ChainId::zero();
    let next = world.ledger.next_height().0.next_multiple_of(5);
    world.close_until(next);
    let header = world.ledger.own_header(epoch).unwrap();
    let tx = world.mine_anchor(&world.anchor(&["anna"], epoch, header));
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
    world.register_provider(&zero, "otto");
    let open = world.ledger.first_open_epoch(&zero);
    let commitment = world.commitment(&zero, "otto", open);
    world.send(&commitment).unwrap();
    let dev = world.ledger.chain(&network::dev()).unwrap();
    let (height, block) = (dev.terms.first_height(*dev.sets.keys().next().unwrap()), Hash32([8; 32]));
    let certificate = world.certificate(&network::dev(), &["dev anna"], height, block);
    world.send(&certificate).unwrap();
    world.close();
}

/// Closes blocks until chain zero has opened, and gives the first height to be voted on.
fn first_height(world: &mut World) -> Height {
    loop {
        world.close();
        let zero = &world.ledger.chains()[0];
        if let Some(epoch) = zero.opened_at {
            return zero.terms.first_height(epoch);
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !holds() {
            ticks.tick().await;
        }
    };
    in_time(what, wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_gets_anything_signed_or_sent() {
    let scene = Scene::start().await;
    let context = scene.world.ledger.contexts().hub;
    let truth = scene.last_block();
    let record = scene.record();
    let mut lies: Vec<Told> = Vec::new();
    for (name, bytes) in versions(truth, &context) {
        lies.push((name, Box::new(move |liar| liar.replace_block(truth, &bytes))));
    }
    let blocks = lies.len();
    assert!(blocks > 40, "{blocks}");
    let genesis = serde_json::to_value(scene.world.ledger.genesis().document()).unwrap();
    for field in leaves(&genesis) {
        lies.push((field.clone(), Box::new(move |liar| liar.alter_field("/genesis", &field))));
    }
    assert!(lies.len() - blocks > 30, "{}", lies.len());

    let names: Vec<(usize, String)> =
        lies.iter().enumerate().map(|(number, (name, _))| (number, name.clone())).collect();
    let mut lies = names.clone().into_iter().zip(lies.into_iter().map(|(_, lie)| lie));
    for _ in names.chunks(AT_A_TIME) {
        let mut voters = Vec::new();
        for ((number, name), lie) in lies.by_ref().take(AT_A_TIME) {
            voters.push(scene.lied(number, name, lie).await);
        }
        for voter in &voters {
            until(&voter.name, || voter.is_refused()).await;
        }
        for voter in voters {
            voter.check_idle();
            // One that was shown another genesis has ended with an error by itself.
            let _ = voter.stop().await;
        }
    }
    assert!(scene.record() == record, "the signer's record was written");
    assert_eq!(scene.votes(), []);

    // The truth, to some of them: each sends the vote that it kept back.
    let mut voters = Vec::new();
    for (number, name) in names.iter().take(AT_A_TIME) {
        voters.push(scene.lied(*number, name.clone(), |_| ()).await);
    }
    for voter in voters {
        until(&voter.name, || voter.liar.posted().iter().any(|path| path == "/votes")).await;
        let voted = voter.voter.journal.voted(&ChainId::zero()).unwrap();
        assert_eq!(voted, BTreeMap::from([(truth.header.height, truth.header.hash())]), "{}", voter.name);
        voter.stop().await.unwrap();
    }
    assert!(scene.record() != record);
    let [vote] = &scene.votes()[..] else { panic!("one vote") };
    assert_eq!(vote.ballot.block, truth.header.hash());
    scene.go_on_with_false_receipts().await;
    scene.liar.check_doors(&[
        "GET /blocks",
        "GET /genesis",
        "GET /votes",
        "POST /checkpoints",
        "POST /messages",
        "POST /votes",
    ]);
    scene.shutdown.trigger();
}
