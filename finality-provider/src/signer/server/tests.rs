use super::*;
use crate::signer::client::{SignerClient, SignerError};
use crate::signer::request::{CommitRequest, VoteRequest};
use crate::signer::tests::signer;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use std::collections::BTreeSet;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// A signer behind its socket, until dropped.
struct Door {
    dir: TempDir,
    shutdown: Shutdown,
}

impl Door {
    fn open() -> Self {
        Self::for_user(own_uid().unwrap())
    }

    fn for_user(uid: u32) -> Self {
        let door = Self { dir: TempDir::new().unwrap(), shutdown: Shutdown::manual() };
        let listener = open(&door.socket()).unwrap();
        tokio::spawn(serve(Arc::new(signer(door.dir.path())), listener, uid, door.shutdown.clone()));
        door
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket/signer")
    }

    fn client(&self) -> SignerClient {
        SignerClient::new(&self.socket())
    }

    async fn raw(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    async fn root(&self) -> Hash32 {
        self.client().commit(CommitRequest { chain: ChainId::zero(), epoch: Epoch(2) }).await.unwrap().root
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn request(block: u8, root: Hash32) -> VoteRequest {
    VoteRequest { chain: ChainId::zero(), height: Height(40), block: Hash32([block; 32]), root }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let door = Door::open();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&door.socket()), 0o600);
    assert_eq!(mode(door.socket().parent().unwrap()), 0o700);
    std::fs::set_permissions(door.socket().parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(open(&door.socket()), Err(DoorError::OpenToOthers { mode: 0o755, .. })));
}

#[tokio::test]
async fn a_file_in_the_sockets_place_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    std::fs::write(&path, b"precious").unwrap();
    assert!(matches!(open(&path), Err(DoorError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_second_signer_is_refused_a_socket_behind_which_one_answers_and_the_first_goes_on() {
    let door = Door::open();
    assert!(matches!(open(&door.socket()), Err(DoorError::Taken(_))));
    door.client().identity().await.unwrap();
}

#[tokio::test]
async fn a_process_of_another_user_gets_nothing() {
    let door = Door::for_user(own_uid().unwrap().wrapping_add(1));
    assert!(matches!(door.client().identity().await, Err(SignerError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_parallel_requests_for_one_height_exactly_one_block_is_signed() {
    let door = Door::open();
    let root = door.root().await;
    let mut asked = JoinSet::new();
    for block in 0..32 {
        // Each has a connection of its own, as voters in different processes would.
        let client = door.client();
        asked.spawn(async move { client.vote(request(block, root)).await });
    }
    let outcomes = asked.join_all().await;
    let signed: BTreeSet<_> = outcomes.iter().flatten().map(|vote| vote.ballot.block).collect();
    assert_eq!((outcomes.iter().flatten().count(), signed.len()), (1, 1));
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(refused, SignerError::Refused { rule, .. } if rule == "already-voted"), "{refused}");
    }
}

#[tokio::test]
async fn of_a_batch_with_one_height_twice_one_block_is_signed_wherever_the_second_stands() {
    let door = Door::open();
    let root = door.root().await;
    let batches = [[1, 2, 3], [1, 1, 2], [1, 2, 1], [1, 2, 2]];
    for (batch, height) in batches.into_iter().zip((40..).step_by(5)) {
        let mut stream = door.raw().await;
        for block in batch {
            let request = VoteRequest { height: Height(height), ..request(block, root) };
            frame::write(&mut stream, &Request::Vote(request).to_bytes()).await.unwrap();
        }
        // Nothing was read until all was sent.
        for block in batch {
            let answer = frame::read(&mut stream).await.unwrap().unwrap();
            match Answer::from_bytes(&answer).unwrap() {
                Answer::Vote(vote) => assert_eq!((vote.ballot.block, block), (Hash32([1; 32]), 1)),
                Answer::Refused(refusal) => {
                    assert_eq!((&refusal.rule[..], block != 1), ("already-voted", true))
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn two_voters_on_one_signer_get_the_same_signature_or_a_refusal() {
    let door = Door::open();
    let root = door.root().await;
    let (first, second) = (door.client(), door.client());
    let vote = first.vote(request(1, root)).await.unwrap();
    assert_eq!(second.vote(request(1, root)).await.unwrap(), vote);
    assert!(second.vote(request(2, root)).await.is_err());
    let identity = first.identity().await.unwrap();
    let last = identity.chains[0].last.unwrap();
    assert_eq!((last.height, last.block), (Height(40), Hash32([1; 32])));
}

#[tokio::test]
async fn a_request_whose_caller_hung_up_still_spends_the_height() {
    let door = Door::open();
    let root = door.root().await;
    let mut stream = door.raw().await;
    frame::write(&mut stream, &Request::Vote(request(1, root)).to_bytes()).await.unwrap();
    // Half closed, and never read: the signer sees the request and then the end.
    stream.shutdown().await.unwrap();
    let client = door.client();
    // Whichever comes first to the record, one block has the height from then on.
    let one = client.vote(request(1, root)).await;
    let two = client.vote(request(2, root)).await;
    assert!(one.is_ok() && two.is_err(), "{one:?} {two:?}");
}

/// Answers one request on one connection with these bytes, then breaks off; and so on.
fn answering_once(path: &Path, answer: Answer) -> tokio::task::JoinHandle<()> {
    let door = open(path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = door.listener.accept().await.unwrap();
            let _ = frame::read(&mut stream).await.unwrap();
            frame::write(&mut stream, &answer.to_bytes()).await.unwrap();
        }
    })
}

#[tokio::test]
async fn a_client_connects_again_when_the_signer_broke_off() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("socket/signer");
    let identity = signer(dir.path()).identity().unwrap();
    let serving = answering_once(&path, Answer::Identity(identity.clone()));
    let client = SignerClient::new(&path);
    for _ in 0..3 {
        assert_eq!(client.identity().await.unwrap(), identity);
    }
    let asked = client.commit(CommitRequest { chain: ChainId::zero(), epoch: Epoch(2) }).await;
    assert!(matches!(asked, Err(SignerError::Confused)), "an identity is no commitment: {asked:?}");
    serving.abort();
}

#[tokio::test]
async fn hostile_frames_get_a_typed_refusal_or_the_end_and_harm_nobody() {
    let door = Door::open();
    let long = [&u32::MAX.to_be_bytes()[..], &[0; 64]].concat();
    let check = async |bytes: &[u8], rule: Option<&str>| {
        let mut stream = door.raw().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = frame::read(&mut stream).await.ok().flatten();
        match (rule, answer.map(|bytes| Answer::from_bytes(&bytes).unwrap())) {
            (None, None) => {}
            (Some(wanted), Some(Answer::Refused(found))) => assert_eq!(found.rule, wanted),
            other => panic!("{other:?}"),
        }
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "the connection has ended");
    };
    check(&[], None).await;
    check(&[0], None).await;
    check(&[0, 0, 0, 5, 1], None).await;
    check(&long, None).await;
    check(&[0, 0, 0, 0], Some("encoding")).await;
    check(&[0, 0, 0, 1, 99], Some("encoding")).await;
    check(&[0, 0, 0, 4, 1, 0, 1, 7], Some("encoding")).await;
    check(&[0, 0, 0, 3, 1, 0, 2], Some("version")).await;
    door.client().identity().await.unwrap();
}

#[test]
fn a_second_start_on_one_record_is_turned_away() {
    use palisade_hub::daemon::lock::{DirLock, LockError};
    let dir = TempDir::new().unwrap();
    let held = DirLock::acquire(dir.path()).unwrap();
    let _signer = signer(dir.path());
    assert!(matches!(DirLock::acquire(dir.path()), Err(LockError::Held { .. })));
    // Even without the lock SQLite lets no second writer in.
    let second = crate::signer::record::Record::open(dir.path());
    assert!(second.is_err(), "{second:?}");
    drop(held);
}
