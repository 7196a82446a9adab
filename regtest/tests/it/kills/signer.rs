//! A signer is killed while rivals ask it for votes on two blocks at each height.

use super::moments;
use palisade_finality_provider::signer::client::{SignerClient, SignerError};
use palisade_finality_provider::signer::request::{CommitRequest, VoteRequest};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::faults::checks::signatures::{place, recorded};
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, json_tool};
use palisade_world::World;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::task::JoinSet;

pub(crate) const PROGRAM: &str = "palisade-finality-provider";
/// Epochs of chain zero that are committed to and voted in, of four voted heights each.
const EPOCHS: std::ops::Range<u64> = 1..13;
const KILLS: usize = 6;

/// A shipped signer in a directory of its own.
pub(crate) struct SignerProcess {
    pub(crate) daemon: Daemon,
    pub(crate) dir: tempfile::TempDir,
}

impl SignerProcess {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let world = World::new(1_000_000);
        let genesis = serde_json::to_string(world.ledger.genesis().document()).unwrap();
        std::fs::write(at("genesis.json"), genesis).unwrap();
        palisade_hub::daemon::private_file::create(Path::new(&at("password")), b"correct horse").unwrap();
        let places = [["--dir", &at("")], ["--genesis", &at("genesis.json")], ["--cookie", &at("none")]];
        let others = [
            ["--password-file", &at("password")],
            ["--socket", &at("socket/signer")],
            ["--signer-listen", "127.0.0.1:0"],
        ];
        let args = [&["--json", "init"], places.as_flattened(), others.as_flattened()].concat();
        json_tool(PROGRAM, &args).await.unwrap();
        let args = ["signer", "--config", &at("signer.toml")];
        let daemon = Daemon::start(PROGRAM, &args, &dir.path().join("signer.log")).unwrap();
        Self { daemon, dir }
    }

    pub(crate) fn client(&self) -> SignerClient {
        SignerClient::new(&self.dir.path().join("socket/signer"))
    }

    /// Where its record lies.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("signer-data")
    }

    pub(crate) async fn answers(&self) {
        let up = async { while self.client().identity().await.is_err() {} };
        in_time("the signer's start", up).await;
    }

    pub(crate) async fn kill_and_start(&mut self) {
        self.daemon.kill().await.unwrap();
        self.daemon.start_again(None).unwrap();
    }
}

fn block(height: Height, rival: u8) -> Hash32 {
    sha256(&[&height.0.to_be_bytes(), &[rival]])
}

/// Asks for votes on its own blocks, epoch by epoch, until the signer is gone; sends on what it got.
async fn ask_on(client: SignerClient, rival: u8, votes: tokio::sync::mpsc::UnboundedSender<Vote>) {
    for epoch in EPOCHS.cycle() {
        let commit = CommitRequest { chain: ChainId::zero(), epoch: Epoch(epoch) };
        let Ok(root) = client.commit(commit).await.map(|commitment| commitment.root) else { return };
        for height in (0..4).map(|place| Height(epoch * 20 + place * 5)) {
            let request = VoteRequest { chain: ChainId::zero(), height, block: block(height, rival), root };
            match client.vote(request).await {
                Ok(vote) => votes.send(vote).unwrap(),
                Err(SignerError::Refused { rule, .. }) => assert_eq!(rule, "already-voted"),
                Err(_) => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_signer_signs_no_height_twice_and_loses_no_record() {
    let mut moments = moments();
    let mut signer = SignerProcess::start().await;
    let mut votes = Vec::new();
    for _ in 0..KILLS {
        signer.answers().await;
        let (sender, mut given) = tokio::sync::mpsc::unbounded_channel();
        let mut rivals = JoinSet::new();
        for rival in 0..4 {
            rivals.spawn(ask_on(signer.client(), rival, sender.clone()));
        }
        drop(sender);
        for _ in 0..moments.gen_range(1..40) {
            votes.push(in_time("a vote", given.recv()).await.unwrap());
        }
        signer.kill_and_start().await;
        while let Some(vote) = given.recv().await {
            votes.push(vote);
        }
        rivals.join_all().await;
    }
    signer.answers().await;
    let (recorded, mut kept) = (recorded(&signer.data()).unwrap(), BTreeMap::new());
    for vote in votes {
        assert!(recorded.votes.contains(&place(&vote)), "a vote left without a record");
        let first = *kept.entry(vote.nonce.to_bytes()).or_insert(vote.ballot);
        assert_eq!(first, vote.ballot, "two messages under one nonce give the key away");
    }
    // Who comes with another block at a height that this record has signed is refused.
    let client = signer.client();
    let root = client.commit(CommitRequest { chain: ChainId::zero(), epoch: Epoch(1) }).await.unwrap().root;
    let request = |block| VoteRequest { chain: ChainId::zero(), height: Height(20), block, root };
    let _ = client.vote(request(block(Height(20), 0))).await;
    let refused = client.vote(request(Hash32([9; 32]))).await.unwrap_err();
    assert!(matches!(&refused, SignerError::Refused { rule, .. } if rule == "already-voted"), "{refused}");
    signer.daemon.check().unwrap();
}
