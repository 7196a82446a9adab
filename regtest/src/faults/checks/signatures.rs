//! No signature is lost, and nothing was signed twice.

use crate::demo::operators::Operator;
use crate::demo::report::log::Log;
use crate::demo::story::Story;
use crate::faults::field::Field;
use crate::faults::witness::Seen;
use anyhow::{Context as _, ensure};
use palisade_covenant::audit::Audit;
use palisade_finality_provider::signer::client::{SignerClient, SignerError};
use palisade_finality_provider::signer::request::{CommitRequest, VoteRequest};
use palisade_hub::client::HubClient;
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
    for operator in &field.story.operators()[1..] {
        stands_in_record(operator, &honest)?;
        refuses_another_block(operator).await?;
    }
    answers_stand_in_audit_logs(&field.story, log)
}

/// All votes that the hub holds, by their bytes.
async fn votes(hub: &HubClient) -> anyhow::Result<BTreeMap<Vec<u8>, Vote>> {
    let mut all = BTreeMap::new();
    for chain in ["zero", "dev"] {
        let mut from = Height(0);
        loop {
            let page = hub.votes(chain, from).await?;
            let newest = page.iter().map(|vote| vote.ballot.height).max();
            let before = all.len();
            all.extend(page.into_iter().map(|vote| (vote.to_bytes(), vote)));
            match newest {
                // A page can end within a height.
                Some(newest) if all.len() > before => from = newest,
                _ => break,
            }
        }
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

fn stands_in_record(operator: &Operator, votes: &[&Vote]) -> anyhow::Result<()> {
    let record = recorded(&operator.dir().join("signer-data"))?;
    let own = votes.iter().filter(|vote| [&operator.zero, &operator.other].contains(&&vote.key.to_string()));
    let mut count = 0;
    for vote in own {
        let name = &operator.name;
        ensure!(record.contains(&place(vote)), "{name}'s signer has no record of {:?}", vote.ballot);
        count += 1;
    }
    ensure!(count > 0, "{} has never voted", operator.name);
    Ok(())
}

/// All votes in all records of a signer: key, height and block.
pub fn recorded(data: &Path) -> anyhow::Result<BTreeSet<(Vec<u8>, Height, Hash32)>> {
    let mut votes = BTreeSet::new();
    for path in records(data) {
        // What a kill left half done is rolled back in a copy: the signer holds its own file.
        let copy = tempfile::tempdir()?;
        for name in ["record.sqlite", "record.sqlite-journal"] {
            let _ = std::fs::copy(path.with_file_name(name), copy.path().join(name));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let record = Connection::open_with_flags(copy.path().join("record.sqlite"), flags)?;
        let mut statement = record.prepare("SELECT key, height, digest FROM vote")?;
        let rows = statement.query_map([], |row| {
            let height = Height(row.get::<_, i64>(1)?.unsigned_abs());
            Ok((row.get::<_, Vec<u8>>(0)?, height, Hash32(row.get(2)?)))
        })?;
        for row in rows {
            votes.insert(row?);
        }
    }
    Ok(votes)
}

/// A signer's record in its data directory, and those that it has put aside.
fn records(data: &Path) -> Vec<PathBuf> {
    let aside = (1..).map(|n| data.join(format!("record.aside.{n}"))).take_while(|dir| dir.exists());
    aside.chain([data.to_owned()]).map(|dir| dir.join("record.sqlite")).collect()
}

/// A vote as [`recorded`] has it.
pub fn place(vote: &Vote) -> (Vec<u8>, Height, Hash32) {
    (vote.key.to_bytes().to_vec(), vote.ballot.height, vote.ballot.block)
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
