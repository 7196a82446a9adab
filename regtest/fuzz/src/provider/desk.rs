//! A real signer behind its socket, whose record always has the same seed: so that a corpus fits in every process.

use crate::story::{dev, story};
use crate::talk::runtime;
use crate::{Outcome, rows, scratch};
use anyhow::bail;
use bitcoin::OutPoint;
use palisade_finality_provider::signer::client::{SignerClient, SignerError};
use palisade_finality_provider::signer::record::{Origin, Record};
use palisade_finality_provider::signer::request::{
    Answer, CheckpointRequest, CommitRequest, RegisterRequest, Request, VERSION, VoteRequest,
};
use palisade_finality_provider::signer::{ChainSigner, Signer, server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Terms};
use palisade_protocol::hash::{Hash32, tagged};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{bls_secret, pair};
use rusqlite::Connection;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// The seed of every record here.
const SEED: [u8; 32] = [7; 32];
/// Longest frame that the signer reads.
const MAX_FRAME: usize = 64 << 10;

/// A signer that runs, and what it has signed.
pub(super) struct Desk {
    runtime: Runtime,
    socket: PathBuf,
    root: Hash32,
    voted: BTreeMap<(Context, Height), Hash32>,
    _dir: TempDir,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk::open());
}

/// Marks the record as its own signer's last write, which holds `contents`.
fn mark(dir: &Path, contents: &[u8]) {
    let metadata = std::fs::metadata(dir.join("record.sqlite")).expect("a record");
    let times = [metadata.ctime().to_be_bytes(), metadata.ctime_nsec().to_be_bytes()].concat();
    std::fs::write(dir.join("record.mark"), [contents, &times].concat()).expect("a mark");
}

/// A new record with the seed that all have here.
fn born(dir: &Path) -> Record {
    drop(Record::open(dir).expect("a record"));
    let path = dir.join("record.sqlite");
    let connection = Connection::open(&path).expect("a record");
    connection.execute("UPDATE birth SET seed = ?1", [SEED]).expect("a seed");
    drop(connection);
    mark(dir, &tagged("palisade/1/record", &[&SEED]).0);
    let (record, origin) = Record::open(dir).expect("a record");
    assert_eq!(origin, Origin::Existing);
    record
}

impl Desk {
    /// Where it runs, and only while something is waited for there.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn open() -> Self {
        let (dir, runtime) = (scratch::dir(), runtime());
        let genesis = story().world.ledger.genesis();
        let zero = genesis.zero();
        let other = ChainIdentity { id: dev(), genesis: Hash32([5; 32]), ..zero.clone() };
        let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 };
        let chains = vec![
            ChainSigner::new(zero, genesis.document().zero, pair("anna")),
            ChainSigner::new(other, terms, pair("dev anna")),
        ];
        let signer = Signer::new(genesis, chains, bls_secret("anna"), born(dir.path())).expect("a signer");
        let commit = CommitRequest { chain: ChainId::zero(), epoch: Epoch(2) };
        let root = signer.commit(&commit).expect("a commitment").root;
        let socket = dir.path().join("door/socket");
        let serve = async {
            let listener = server::open(&socket).expect("a socket");
            let uid = server::own_uid().expect("a user");
            tokio::spawn(server::serve(Arc::new(signer), listener, uid, Shutdown::manual()));
        };
        runtime.block_on(serve);
        Self { runtime, socket, root, voted: BTreeMap::new(), _dir: dir }
    }

    /// All that is answered to these bytes on one connection.
    fn talk(&self, bytes: &[u8]) -> Vec<u8> {
        let talk = async {
            let mut stream = UnixStream::connect(&self.socket).await.expect("a signer");
            let (mut receiver, mut sender) = stream.split();
            let mut answers = Vec::new();
            let send = async {
                // Whoever is refused early is not listened to any more.
                let _ = sender.write_all(bytes).await;
                let _ = sender.shutdown().await;
            };
            // What was sent and not read resets the connection, behind the answers.
            let (_, _) = tokio::join!(send, receiver.read_to_end(&mut answers));
            answers
        };
        self.runtime.block_on(talk)
    }

    /// One block a height and context, whoever asks and however often.
    fn note(&mut self, answer: &Answer) {
        if let Answer::Vote(vote) = answer {
            let at = (vote.ballot.context, vote.ballot.height);
            assert_eq!(*self.voted.entry(at).or_insert(vote.ballot.block), vote.ballot.block, "voted twice");
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("a short body").to_be_bytes()[..], body].concat()
}

/// The bodies of whole frames, up to the first that is too long.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((body, rest)) = rest.split_at_checked(length).filter(|_| length <= MAX_FRAME) else { break };
        bodies.push(body);
        bytes = rest;
    }
    bodies
}

/// Each kind of request, to the signer with this root.
fn kinds(root: Hash32) -> Vec<Request> {
    let (chain, block) = (ChainId::zero(), Hash32([1; 32]));
    let register = |chain| {
        let (operator, backing) = ("anna".to_owned(), OutPoint::null());
        Request::Register(RegisterRequest { chain, operator, backing })
    };
    vec![
        Request::Identity(VERSION),
        register(dev()),
        register(chain.clone()),
        Request::Commit(CommitRequest { chain: chain.clone(), epoch: Epoch(2) }),
        Request::Vote(VoteRequest { chain, height: Height(45), block, root }),
        Request::Checkpoint(CheckpointRequest { epoch: Epoch(2), header: block }),
    ]
}

/// Each request alone, and all on one connection.
pub(super) fn requests() -> Vec<Vec<u8>> {
    let root = DESK.with_borrow(|desk| desk.root);
    let all: Vec<_> = kinds(root).iter().map(|request| framed(&request.to_bytes())).collect();
    all.iter().cloned().chain([all.concat()]).collect()
}

pub(super) fn socket(bytes: &[u8]) -> Outcome {
    DESK.with_borrow_mut(|desk| {
        let answers = desk.talk(bytes);
        let requests = frames(bytes);
        // After the first that is no request the connection ends.
        let whole = requests.iter().take_while(|body| Request::from_bytes(body).is_ok()).count();
        let expected = requests.len().min(whole + 1);
        let answers = frames(&answers).into_iter().map(|body| Answer::from_bytes(body).expect("an answer"));
        let answers: Vec<Answer> = answers.collect();
        assert_eq!(answers.len(), expected, "one answer to each request");
        answers.iter().for_each(|answer| desk.note(answer));
        let good = answers.iter().all(|answer| !matches!(answer, Answer::Refused(_)));
        (good && !answers.is_empty()).into()
    })
}

/// What a new signer answers to each request; who it is when it has voted; and that it does not sign for an unknown chain.
pub(super) fn answers() -> Vec<Vec<u8>> {
    let desk = Desk::open();
    let unknown = CommitRequest { chain: "nobody".parse().expect("a name"), epoch: Epoch(2) };
    let later = [Request::Identity(VERSION), Request::Commit(unknown)];
    let requests = kinds(desk.root).into_iter().chain(later);
    requests.map(|request| desk.talk(&framed(&request.to_bytes()))).collect()
}

pub(super) fn answer(bytes: &[u8]) -> Outcome {
    thread_local! {
        static LIAR: (Runtime, TempDir) = (runtime(), scratch::dir());
    }
    LIAR.with(|(runtime, dir)| runtime.block_on(told(&dir.path().join("socket"), bytes)))
}

/// What a client makes of these bytes as the answer to the request that they would answer.
async fn told(path: &Path, bytes: &[u8]) -> Outcome {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("a socket");
    let say = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        // The request has been sent when its length has come.
        let _ = stream.read_exact(&mut [0; 4]).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let ask = async {
        let client = SignerClient::new(path);
        let (chain, epoch, header) = (ChainId::zero(), Epoch(2), Hash32([1; 32]));
        let outcome: Outcome = match bytes.get(4) {
            Some(1) => client.identity().await.into(),
            Some(2) => {
                let (operator, backing) = ("anna".to_owned(), OutPoint::null());
                client.register(RegisterRequest { chain, operator, backing }).await.into()
            }
            Some(3) => client.commit(CommitRequest { chain, epoch }).await.into(),
            Some(4) => {
                let (height, block, root) = (Height(45), header, header);
                client.vote(VoteRequest { chain, height, block, root }).await.into()
            }
            Some(6) => {
                let refused = client.commit(CommitRequest { chain, epoch }).await;
                matches!(refused, Err(SignerError::Refused { .. })).into()
            }
            _ => client.checkpoint(CheckpointRequest { epoch, header }).await.into(),
        };
        drop(client);
        outcome
    };
    tokio::join!(say, ask).1
}

/// The record of a signer that has signed one thing of each kind.
pub(super) fn record() -> Vec<u8> {
    let dir = scratch::dir();
    sign(&mut born(dir.path()));
    std::fs::read(dir.path().join("record.sqlite")).expect("a record")
}

fn own() -> (ProviderKey, Context) {
    (palisade_world::provider_key("anna"), story().world.ledger.chains()[0].vote)
}

fn sign(record: &mut Record) {
    let (key, context) = own();
    let (key, digest) = (key.to_bytes(), Hash32([1; 32]));
    record.claim_root(&key, &context, Epoch(2), digest).expect("a place in memory");
    record.claim_vote(&key, &context, Height(45), digest).expect("a place in memory");
    record.claim_checkpoint(&key, &context, Epoch(2), digest).expect("a place in memory");
}

/// What its mark says of [`record`].
fn contents() -> Vec<u8> {
    let dir = scratch::dir();
    sign(&mut born(dir.path()));
    std::fs::read(dir.path().join("record.mark")).expect("a mark")[..32].to_vec()
}

pub(super) fn record_rows(bytes: &[u8]) -> Outcome {
    thread_local! {
        static RECORD: Vec<u8> = record();
    }
    RECORD.with(|record| rows::altered(record, bytes, |path| read_record(path).is_ok()))
}

/// Opens a record, whose mark says what it said. One that is trusted remembers what was signed.
pub(super) fn read_record(path: &Path) -> anyhow::Result<()> {
    thread_local! {
        static CONTENTS: Vec<u8> = contents();
    }
    let dir = scratch::dir();
    std::fs::copy(path, dir.path().join("record.sqlite"))?;
    CONTENTS.with(|contents| mark(dir.path(), contents));
    let (record, origin) = Record::open(dir.path())?;
    let (key, context) = own();
    let voted = record.last_vote(&key.to_bytes(), &context)?;
    match origin {
        Origin::Existing => assert_eq!(voted, Some((Height(45), Hash32([1; 32])))),
        Origin::PutAside { why, .. } => bail!("record: {why}"),
        Origin::New => bail!("record: there was none"),
    }
    Ok(())
}
