//! No signature is lost, and nothing was signed twice.

use crate::demo::operators::Operator;
use crate::demo::report::log::Log;
use crate::demo::story::Story;
use crate::faults::field::Field;
use crate::faults::witness::Seen;
use anyhow::{Context as _, ensure};
use palisade_covenant::audit::Audit;
use palisade_finality_provider::signer::client::{SignerClient, SignerError};
use palisade_finality_provider::signer::request::{CheckpointRequest, CommitRequest, VoteRequest};
use palisade_hub::client::HubClient;
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(super) async fn check(field: &mut Field, log: &Log, seen: &Seen) -> anyhow::Result<()> {
    let votes = votes(&field.story.network().hub).await?;
    for (bytes, vote) in &seen.votes {
        ensure!(votes.contains_key(bytes), "the hub has lost a vote for {:?}", vote.ballot);
    }
    // The story's own culprit signs twice with one of its keys.
    let culprit = field.story.operators()[0].other.clone();
    let honest: Vec<&Vote> = votes.values().filter(|vote| vote.key.to_string() != culprit).collect();
    ensure!(honest.len() < votes.len(), "the culprit has not voted");
    nothing_twice(&honest)?;
    for (header, message) in log.messages() {
        if let Message::Evidence(evidence) = message {
            let key = evidence.key().to_string();
            ensure!(key == culprit, "hub block {} holds evidence against {key}", header.height);
        }
    }
    let shares = shares(&field.story.network().dir.join("hub/hub-data"))?;
    ensure!(!shares.is_empty(), "the hub has no share of a checkpoint");
    for operator in &field.story.operators()[1..] {
        let record = recorded(&operator.dir().join("signer-data"))?;
        votes_stand_in_record(operator, &honest, &record)?;
        roots_stand_in_record(operator, log, &record)?;
        headers_stand_in_record(operator, &shares, &record)?;
        refuses_another_block(operator).await?;
        refuses_another_header(operator, &record).await?;
    }
    answers_stand_in_audit_logs(&field.story, log)
}

/// All votes that the hub holds, by their bytes.
async fn votes(hub: &HubClient) -> anyhow::Result<BTreeMap<Vec<u8>, Vote>> {
    let mut all = BTreeMap::new();
    for chain in ["zero", "dev"] {
        let votes = hub.all_votes(chain, Height(0)).await?;
        all.extend(votes.into_iter().map(|vote| (vote.to_bytes(), vote)));
    }
    Ok(all)
}

/// No two ballots at one height of a context, and no nonce for two ballots.
fn nothing_twice(votes: &[&Vote]) -> anyhow::Result<()> {
    let (mut ballots, mut nonces) = (BTreeMap::new(), BTreeMap::new());
    for vote in votes {
        let at = (vote.key, vote.ballot.context, vote.ballot.height);
        let first = *ballots.entry(at).or_insert(vote.ballot);
        ensure!(first == vote.ballot, "{} signed {first:?} and {:?}", vote.key, vote.ballot);
        let first = *nonces.entry(vote.nonce.to_bytes()).or_insert(vote.ballot);
        ensure!(first == vote.ballot, "{} used a nonce for {first:?} and {:?}", vote.key, vote.ballot);
    }
    Ok(())
}

fn votes_stand_in_record(operator: &Operator, votes: &[&Vote], record: &Recorded) -> anyhow::Result<()> {
    let own = votes.iter().filter(|vote| [&operator.zero, &operator.other].contains(&&vote.key.to_string()));
    let mut count = 0;
    for vote in own {
        let name = &operator.name;
        ensure!(record.votes.contains(&place(vote)), "{name}'s signer has no record of {:?}", vote.ballot);
        count += 1;
    }
    ensure!(count > 0, "{} has never voted", operator.name);
    Ok(())
}

/// Every root that an operator's keys have committed to.
fn roots_stand_in_record(operator: &Operator, log: &Log, record: &Recorded) -> anyhow::Result<()> {
    let mut count = 0;
    for (header, message) in log.messages() {
        let Message::Commitment(own) = message else { continue };
        if ![&operator.zero, &operator.other].contains(&&own.key.to_string()) {
            continue;
        }
        let known = record.roots.contains(&(own.key.to_bytes().to_vec(), own.epoch.0, own.root));
        let name = &operator.name;
        ensure!(known, "hub block {} holds a root that {name}'s signer has no record of", header.height);
        count += 1;
    }
    ensure!(count > 0, "{} has committed to nothing", operator.name);
    Ok(())
}

/// Every header that an operator has signed as an epoch's checkpoint, and none of them beside another.
fn headers_stand_in_record(
    operator: &Operator,
    shares: &[CheckpointShare],
    record: &Recorded,
) -> anyhow::Result<()> {
    let (name, mut headers) = (&operator.name, BTreeMap::new());
    for (key, epoch, header) in &record.headers {
        let first = *headers.entry((key, epoch)).or_insert(*header);
        ensure!(first == *header, "{name}'s signer signed {first} and {header} as the end of epoch {epoch}");
    }
    for share in shares.iter().filter(|share| share.key.to_string() == operator.zero) {
        let known =
            headers.iter().any(|((_, epoch), header)| **epoch == share.epoch.0 && *header == share.header);
        ensure!(known, "{name}'s signer has no record of its share of epoch {}", share.epoch);
    }
    Ok(())
}

/// All shares of checkpoints that the hub holds.
fn shares(hub: &Path) -> anyhow::Result<Vec<CheckpointShare>> {
    let (_dir, log) = copied(hub, palisade_hub::store::FILE)?;
    let mut statement = log.prepare("SELECT bytes FROM share")?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|bytes| Ok(CheckpointShare::from_bytes(&bytes?)?)).collect()
}

/// What a signer has signed: the key, the height or epoch, and the block, root or header.
type Signed = BTreeSet<(Vec<u8>, u64, Hash32)>;

/// Everything in all records of a signer.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Blocks voted for.
    pub votes: Signed,
    /// Roots committed to.
    pub roots: Signed,
    /// Headers signed as checkpoints.
    pub headers: Signed,
    /// The newest epoch of these in the record that is in use.
    last_epoch: Option<u64>,
}

/// Reads all records of a signer.
pub fn recorded(data: &Path) -> anyhow::Result<Recorded> {
    let mut all = Recorded::default();
    for path in records(data) {
        let (_dir, record) = copied(path.parent().context("a directory")?, "record.sqlite")?;
        // One whose making was killed has signed nothing, and no table.
        let tables: i64 = record.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            continue;
        }
        let headers = read(&record, "SELECT key, epoch, digest FROM checkpoint")?;
        all.last_epoch = headers.iter().map(|(_, epoch, _)| *epoch).max();
        all.headers.extend(headers);
        all.votes.extend(read(&record, "SELECT key, height, digest FROM vote")?);
        all.roots.extend(read(&record, "SELECT key, epoch, digest FROM nonce_root")?);
    }
    Ok(all)
}

fn read(record: &Connection, sql: &str) -> anyhow::Result<Signed> {
    let mut statement = record.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?.unsigned_abs(), Hash32(row.get(2)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A copy of a database: what a kill left half done is rolled back in it, for the daemon holds its own file.
fn copied(dir: &Path, name: &str) -> anyhow::Result<(tempfile::TempDir, Connection)> {
    let copy = tempfile::tempdir()?;
    for ending in ["", "-journal", "-wal"] {
        let file = format!("{name}{ending}");
        let _ = std::fs::copy(dir.join(&file), copy.path().join(&file));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = Connection::open_with_flags(copy.path().join(name), flags)?;
    Ok((copy, connection))
}

/// A signer's record in its data directory, and those that it has put aside.
fn records(data: &Path) -> Vec<PathBuf> {
    let aside = (1..).map(|n| data.join(format!("record.aside.{n}"))).take_while(|dir| dir.exists());
    aside.chain([data.to_owned()]).map(|dir| dir.join("record.sqlite")).collect()
}

/// A vote as [`recorded`] has it.
pub fn place(vote: &Vote) -> (Vec<u8>, u64, Hash32) {
    (vote.key.to_bytes().to_vec(), vote.ballot.height.0, vote.ballot.block)
}

/// Whoever asks a signer for another block at the height of its last votes gets none.
pub async fn refuses_another_block(operator: &Operator) -> anyhow::Result<()> {
    let signer = SignerClient::new(operator.socket());
    for own in signer.identity().await?.chains {
        // A new record may have signed nothing yet.
        let Some(last) = own.last else { continue };
        let epoch = Epoch(last.height.0 / own.epoch_length);
        let root = signer.commit(CommitRequest { chain: own.chain.clone(), epoch }).await?.root;
        let request = VoteRequest { chain: own.chain, height: last.height, block: Hash32([9; 32]), root };
        let refused =
            signer.vote(request).await.err().context("a signer signed another block at its last height")?;
        let by_record = matches!(&refused, SignerError::Refused { rule, .. } if rule == "already-voted");
        ensure!(by_record, "{}'s signer refuses for another reason: {refused}", operator.name);
    }
    Ok(())
}

/// Whoever asks a signer for another header as the end of the last epoch that it has signed gets none.
async fn refuses_another_header(operator: &Operator, record: &Recorded) -> anyhow::Result<()> {
    // A new record may have signed nothing yet.
    let Some(epoch) = record.last_epoch.map(Epoch) else { return Ok(()) };
    let request = CheckpointRequest { epoch, header: Hash32([9; 32]) };
    let asked = SignerClient::new(operator.socket()).checkpoint(request).await;
    let refused = asked.err().context("a signer signed another header as the end of an epoch")?;
    let by_record = matches!(&refused, SignerError::Refused { rule, .. } if rule == "already-checkpointed");
    ensure!(by_record, "{}'s signer refuses for another reason: {refused}", operator.name);
    Ok(())
}

/// Every answer in the hub's log stands in the audit log of the member that gave it.
fn answers_stand_in_audit_logs(story: &Story, log: &Log) -> anyhow::Result<()> {
    let mut recorded = BTreeSet::new();
    for member in 0..crate::demo::network::COVENANT.0 {
        let path = story.network().dir.join(format!("covenant-{member}/covenant-data/audit.sqlite"));
        let entries = Audit::read(&path)?.entries()?;
        recorded.extend(entries.into_iter().map(|entry| entry.message));
    }
    let mut answers = 0;
    for (header, message) in log.messages() {
        if matches!(message, Message::Answer(_)) {
            let known = recorded.contains(&message.to_bytes());
            ensure!(known, "hub block {} holds an answer that no audit log has", header.height);
            answers += 1;
        }
    }
    ensure!(answers > 0, "the covenant has answered nothing");
    Ok(())
}
