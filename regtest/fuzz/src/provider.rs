//! A provider's signer and voter: the socket between them from both sides, their files, and the chain that is voted on.

mod desk;
mod door;

use crate::story::{dev, story};
use crate::talk::{Parrot, Recording, runtime};
use crate::{Target, process, protocol, rows, scratch, whole};
use anyhow::Context as _;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint};
use palisade_finality_provider::signer::config::SignerConfig;
use palisade_finality_provider::voter::config::VoterConfig;
use palisade_finality_provider::voter::journal::Journal;
use palisade_finality_provider::voter::refusal::{self, Refusal};
use palisade_finality_provider::voter::source::{Ancestors, ChainSource as _, DevChain, SourceError};
use palisade_finality_provider::{signer, voter};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::BadBlock;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_regtest::devchain;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "signer-socket",
        what: "bytes on the signer's socket: each whole request has one answer, and every signature is for what was asked",
        corpus: desk::requests,
        run: desk::socket,
    },
    Target {
        name: "signer-answer",
        what: "what a voter takes from its signer's socket",
        corpus: desk::answers,
        run: desk::answer,
    },
    Target {
        name: "signer-record-rows",
        what: "the signer's record with a row that somebody else wrote: it is put aside unless it says what it said",
        corpus: || rows::corpus(&desk::record()),
        run: desk::record_rows,
    },
    Target {
        name: "signer-record-file",
        what: "the signer's record as a damaged file: it is put aside unless it says what it said",
        corpus: || whole::corpus(&desk::record()),
        run: |bytes| whole::read(bytes, desk::read_record),
    },
    Target {
        name: "signer-config",
        what: "the signer's configuration; with other paths it is one too",
        corpus: || vec![signer::config::DEFAULT.into()],
        run: process::configuration::<SignerConfig>,
    },
    Target {
        name: "voter-config",
        what: "the voter's configuration; with other paths it is one too",
        corpus: || vec![voter::config::DEFAULT.into()],
        run: process::configuration::<VoterConfig>,
    },
    Target {
        name: "voter-door",
        what: "a request at the voter's door: its status, or a refusal in its form; never an error of its own",
        corpus: door::corpus,
        run: door::run,
    },
    Target {
        name: "voter-status",
        what: "what a voter says of itself, as the command that shows it reads it",
        corpus: door::statuses,
        run: door::status,
    },
    Target {
        name: "voter-journal-rows",
        what: "the voter's journal with a row that somebody else wrote",
        corpus: || rows::corpus(&journal()),
        run: |bytes| {
            thread_local! {
                static JOURNAL: Vec<u8> = journal();
            }
            JOURNAL.with(|journal| rows::altered(journal, bytes, |path| read_journal(path).is_ok()))
        },
    },
    Target {
        name: "voter-journal-file",
        what: "the voter's journal as a damaged file",
        corpus: || whole::corpus(&journal()),
        run: |bytes| whole::read(bytes, read_journal),
    },
    Target {
        name: "voter-refusal",
        what: "the file of a refusal, which others may have put there",
        corpus: || vec![refused_block()],
        run: |bytes| {
            let path = scratch::file("refusal.json", bytes);
            let dir = path.parent().expect("a directory");
            refusal::all(dir).is_ok_and(|found| found.len() == 1).into()
        },
    },
    Target {
        name: "voter-source",
        what: "answers of the chain that is voted on, recorded from a real one",
        corpus: chain_answers,
        run: |bytes| {
            thread_local! {
                static CHAIN: (Parrot, DevChain) = {
                    let parrot = Parrot::new();
                    let chain = DevChain::new(parrot.url().parse().expect("an address"));
                    (parrot, chain)
                };
            }
            CHAIN.with(|(parrot, chain)| parrot.talk(bytes, async |call| ask(chain, call).await.into()))
        },
    },
];

/// The journal of a voter that has done a bit of everything.
fn journal() -> Vec<u8> {
    scratch::written("voter.sqlite", |path| {
        let journal = Journal::open(path).expect("a journal");
        journal.keep_vote(&dev(), &protocol::own_vote("dev anna")).expect("a vote");
        journal.note_sent(&dev(), Epoch(4), Height(7)).expect("a place");
        journal.note_checkpoint(Epoch(8)).expect("a place");
        let spend = OutPoint { txid: story().world.chain[110].txdata[0].compute_txid(), vout: 1 };
        let block = story().world.chain[110].block_hash();
        journal.note_searched(BtcHeight(110), block, &BTreeSet::from([spend])).expect("a place");
    })
}

/// Reads everything that the voter reads.
fn read_journal(path: &Path) -> anyhow::Result<()> {
    let journal = Journal::open(path)?;
    journal.vote(&dev(), Height(205))?;
    whole::fits(journal.voted(&dev())?.len(), path);
    whole::fits(journal.votes_from(&dev(), Height(0), 1_000)?.len(), path);
    journal.sent_at(&dev(), Epoch(4))?;
    journal.has_checkpoint(Epoch(8))?;
    let (height, hash) = journal.searched()?.context("journal: nothing was searched")?;
    assert!(hash != BlockHash::all_zeros() || height > BtcHeight(0));
    whole::fits(journal.spends(BtcHeight(u32::MAX))?.len(), path);
    Ok(())
}

/// The file of a refusal, as a voter writes it.
fn refused_block() -> Vec<u8> {
    let dir = scratch::dir();
    let block = &story().closed[0].block;
    let why = BadBlock::NotNext(block.header.height);
    let refusal = Refusal::new(None, block, &why).expect("the hub signed it");
    refusal.write(dir.path()).expect("a place");
    let files = refusal::files(dir.path()).expect("a directory");
    std::fs::read(&files[0]).expect("it was written")
}

/// The calls that a voter makes.
async fn ask(chain: &DevChain, call: &str) -> Result<(), SourceError> {
    let genesis = devchain::genesis(CHAIN);
    match call {
        "tip" => chain.tip().await.map(drop),
        "genesis" => chain.check_genesis(genesis).await,
        "votable" => {
            let ancestors = Ancestors { genesis, certified: Some((Height(0), genesis)), last: None };
            chain.votable(Height(3), &ancestors).await.map(drop)
        }
        _ => Err(SourceError::Malformed("no call".to_owned())),
    }
}

const CHAIN: &str = "dev";

fn chain_answers() -> Vec<Vec<u8>> {
    let record = async {
        let dir = scratch::dir();
        let (chain, disk) = devchain::DevChain::open(&dir.path().join("blocks"), CHAIN).expect("a chain");
        let stop = Shutdown::manual();
        let making = async {
            chain.run(CHAIN, disk, Duration::from_millis(1), &stop).await.expect("a place in memory");
        };
        let asking = async {
            let recording = Recording::of(&crate::talk::serve(devchain::router(chain.clone())).await).await;
            let client = DevChain::new(recording.url.parse().expect("an address"));
            while chain.tip().is_none_or(|tip| tip.height < 3) {
                tokio::task::yield_now().await;
            }
            let mut inputs = Vec::new();
            for call in ["tip", "genesis", "votable"] {
                ask(&client, call).await.expect("an answer");
                inputs.push(recording.input(call));
            }
            stop.trigger();
            inputs
        };
        tokio::join!(making, asking).1
    };
    runtime().block_on(record)
}
