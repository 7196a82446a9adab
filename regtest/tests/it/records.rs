//! A shipped signer whose record is lost, damaged, put back or opened twice, in every way that files can be: it signs no height
//! again, and goes on with new nonces.

use crate::kills::signer::{PROGRAM, SignerProcess};
use palisade_finality_provider::signer::client::{SignerClient, SignerError};
use palisade_finality_provider::signer::request::{CommitRequest, VoteRequest};
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::process::tool;
use std::fs;
use std::path::Path;
use tokio::task::JoinSet;

/// The first height of an epoch of chain zero.
fn height(epoch: u64) -> Height {
    Height(20 * epoch)
}

async fn commit(client: &SignerClient, epoch: u64) -> Hash32 {
    let request = CommitRequest { chain: ChainId::zero(), epoch: Epoch(epoch) };
    client.commit(request).await.unwrap().root
}

async fn vote(client: &SignerClient, epoch: u64, block: u8, root: Hash32) -> Result<(), SignerError> {
    let (height, block) = (height(epoch), Hash32([block; 32]));
    client.vote(VoteRequest { chain: ChainId::zero(), height, block, root }).await.map(drop)
}

fn rule(outcome: Result<(), SignerError>) -> String {
    match outcome {
        Err(SignerError::Refused { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

/// Both files of a record.
type Files = [Vec<u8>; 2];
const NAMES: [&str; 2] = ["record.sqlite", "record.mark"];

fn read(data: &Path) -> Files {
    NAMES.map(|name| fs::read(data.join(name)).unwrap())
}

fn overwrite(data: &Path, files: &Files) {
    NAMES.iter().zip(files).for_each(|(name, bytes)| fs::write(data.join(name), bytes).unwrap());
}

/// As most tools put a file back: another one takes its name.
fn replace(data: &Path, files: &Files) {
    for (name, bytes) in NAMES.iter().zip(files) {
        fs::write(data.join("copy"), bytes).unwrap();
        fs::rename(data.join("copy"), data.join(name)).unwrap();
    }
}

/// Bytes in the middle of every page but the first.
fn corrupt(data: &Path, _: &Files) {
    let path = data.join(NAMES[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.chunks_mut(4096).skip(1).for_each(|page| page[2000..].fill(0xa5));
    fs::write(path, bytes).unwrap();
}

/// What befalls the files, given a copy from before the vote.
type Misfortune = fn(&Path, &Files);
const MISFORTUNES: [(&str, Misfortune); 8] = [
    ("both files put back by a tool", replace),
    ("both files put back in place", overwrite),
    ("the record put back, its mark kept", |data, copy| fs::write(data.join(NAMES[0]), &copy[0]).unwrap()),
    ("the mark put back, the record kept", |data, copy| fs::write(data.join(NAMES[1]), &copy[1]).unwrap()),
    ("bytes of the record lost", corrupt),
    ("half of the record lost", |data, copy| {
        fs::write(data.join(NAMES[0]), &copy[0][..copy[0].len() / 2]).unwrap();
    }),
    ("the record lost", |data, _| fs::remove_file(data.join(NAMES[0])).unwrap()),
    ("everything lost", |data, _| fs::remove_dir_all(data).unwrap()),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_the_record_while_the_signer_is_down_or_runs_no_height_is_signed_again() {
    let mut signer = SignerProcess::start().await;
    let (data, mut epoch) = (signer.data(), 0);
    for (name, misfortune) in MISFORTUNES {
        for runs in [false, true] {
            epoch += 1;
            signer.answers().await;
            let root = commit(&signer.client(), epoch).await;
            let copy = read(&data);
            vote(&signer.client(), epoch, 1, root).await.unwrap();
            if !runs {
                signer.daemon.kill().await.unwrap();
            }
            misfortune(&data, &copy);
            if runs {
                // What it goes on to write may put the file's new time into the mark.
                let request = CommitRequest { chain: ChainId::zero(), epoch: Epoch(1_000 + epoch) };
                let _ = signer.client().commit(request).await;
                signer.daemon.kill().await.unwrap();
            }
            signer.daemon.start_again(None).unwrap();
            signer.answers().await;
            let client = signer.client();
            let refused = rule(vote(&client, epoch, 2, root).await);
            // Its own file may be as it left it, where another one lost its name: then it remembers the vote.
            let remembers = refused == "already-voted";
            assert!(remembers || refused == "not-committed", "{name}, running {runs}: {refused}");
            // The set names the old root; a new record's own is another one.
            let own = commit(&client, epoch).await;
            assert_eq!(own == root, remembers, "{name}, running {runs}");
            assert!(vote(&client, epoch, 2, root).await.is_err(), "{name}, running {runs}");
            let later = commit(&client, 2_000 + epoch).await;
            vote(&client, 2_000 + epoch, 2, later).await.unwrap();
        }
    }
    signer.daemon.check().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_on_a_running_record_ends_with_an_error_and_the_first_signer_goes_on() {
    let mut signer = SignerProcess::start().await;
    signer.answers().await;
    let root = commit(&signer.client(), 1).await;
    vote(&signer.client(), 1, 1, root).await.unwrap();
    let config = signer.dir.path().join("signer.toml").display().to_string();
    let data = signer.data();
    let free_the_lock: [fn(&Path); 2] = [|_| {}, |data| fs::remove_file(data.join("lock")).unwrap()];
    for (prepare, says) in free_the_lock.into_iter().zip(["is held by", "database is locked"]) {
        prepare(&data);
        let mut starts = JoinSet::new();
        for _ in 0..3 {
            let config = config.clone();
            starts.spawn(async move { tool(PROGRAM, &["signer", "--config", &config]).await });
        }
        for ended in starts.join_all().await {
            let why = format!("{:#}", ended.unwrap_err());
            assert!(why.contains(says) || why.contains("is held by"), "{why}");
        }
        assert_eq!(rule(vote(&signer.client(), 1, 2, root).await), "already-voted");
        vote(&signer.client(), 1, 1, root).await.unwrap();
    }
    signer.daemon.check().unwrap();
}
