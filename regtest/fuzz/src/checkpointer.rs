//! The checkpointer's files: what it remembers, and the files that prove a block.

use crate::story::story;
use crate::{Outcome, Target, process, rows, scratch, whole};
use bitcoin::consensus::serialize;
use palisade_checkpointer::anchor::flight::{Flights, Version};
use palisade_checkpointer::config::{Config, DEFAULT};
use palisade_checkpointer::report::mark::{self, MarkFile};
use palisade_checkpointer::verify::Verify;
use palisade_checkpointer::watch::book::{Book, Job, Mark};
use palisade_checkpointer::watch::job::Outcome as Ended;
use palisade_checkpointer::watch::read_evidence;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::units::{BtcHeight, Epoch};
use palisade_world::{pair, provider_key};
use std::path::Path;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "checkpointer-config",
        what: "the checkpointer's configuration; with other paths it is one too",
        corpus: || vec![DEFAULT.into()],
        run: process::configuration::<Config>,
    },
    Target {
        name: "checkpointer-verify",
        what: "the three files that prove a block, one of them altered",
        corpus: || {
            let files = files();
            NAMES.iter().zip(files).map(|(name, file)| [name.as_bytes(), b"\n", &file[..]].concat()).collect()
        },
        run: verify,
    },
    Target {
        name: "checkpointer-evidence",
        what: "the file with a key that is out: hex of the message",
        corpus: || {
            let evidence =
                story().told[&10].iter().map(|told| hex::encode(told.bytes.as_slice()).into_bytes());
            evidence.collect()
        },
        run: |bytes| read_evidence(&scratch::file("evidence", bytes)).into(),
    },
    Target {
        name: "checkpointer-book-rows",
        what: "the watcher's book with a row that somebody else wrote",
        corpus: || rows::corpus(&book()),
        run: |bytes| {
            thread_local! {
                static BOOK: Vec<u8> = book();
            }
            BOOK.with(|book| rows::altered(book, bytes, |path| read_book(path).is_ok()))
        },
    },
    Target {
        name: "checkpointer-book-file",
        what: "the watcher's book as a damaged file",
        corpus: || whole::corpus(&book()),
        run: |bytes| whole::read(bytes, read_book),
    },
    Target {
        name: "checkpointer-flight-rows",
        what: "the record of anchor transactions with a row that somebody else wrote",
        corpus: || rows::corpus(&flights()),
        run: |bytes| {
            thread_local! {
                static FLIGHTS: Vec<u8> = flights();
            }
            FLIGHTS.with(|flights| rows::altered(flights, bytes, |path| read_flights(path).is_ok()))
        },
    },
    Target {
        name: "checkpointer-flight-file",
        what: "the record of anchor transactions as a damaged file",
        corpus: || whole::corpus(&flights()),
        run: |bytes| whole::read(bytes, read_flights),
    },
    Target {
        name: "checkpointer-mark-rows",
        what: "the reporter's mark with a row that somebody else wrote",
        corpus: || rows::corpus(&reported()),
        run: |bytes| {
            thread_local! {
                static MARK: Vec<u8> = reported();
            }
            MARK.with(|mark| rows::altered(mark, bytes, |path| read_mark(path).is_ok()))
        },
    },
    Target {
        name: "checkpointer-mark-file",
        what: "the reporter's mark as a damaged file",
        corpus: || whole::corpus(&reported()),
        run: |bytes| whole::read(bytes, read_mark),
    },
];

const NAMES: [&str; 3] = ["block.proof", "bitcoin.headers", "hub.root"];

fn files() -> [Vec<u8>; 3] {
    let story = story();
    [story.proof.to_bytes(), story.headers.iter().flat_map(serialize).collect(), story.root.to_bytes()]
}

fn verify(bytes: &[u8]) -> Outcome {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Outcome::Refused };
    let (name, altered) = (&bytes[..end], &bytes[end + 1..]);
    let paths: Vec<_> = NAMES
        .iter()
        .zip(files())
        .map(|(own, file)| scratch::file(own, if own.as_bytes() == name { altered } else { &file }))
        .collect();
    let [proof, headers, root] = paths.try_into().expect("three files");
    let verified = Verify { proof, headers, root, min_depth: Some(1), accept_incarnation: 0 }.run();
    if let Ok(shown) = &verified {
        assert!(shown.valid && shown.signed_sat <= shown.total_sat && !shown.to_string().is_empty());
    }
    (verified.is_ok() && NAMES.iter().any(|own| own.as_bytes() == name)).into()
}

fn book() -> Vec<u8> {
    let world = &story().whole;
    let height = BtcHeight(9);
    let ends = [Some((Ended::Elsewhere, height)), Some((Ended::Slashed, height)), None];
    scratch::written("watch.sqlite", |path| {
        let book = Book::open(path).expect("a book");
        book.keep_leaked(&pair("dora")).expect("a place");
        for (stake, ended) in world.ledger.stakes().iter().zip(ends) {
            let job = Job { provider: provider_key("dora"), gone_at: Some(BtcHeight(7)), ended };
            book.keep_job(&stake.id, &job).expect("a place");
        }
        book.set_mark(&Mark { stakes: 3, height: BtcHeight(9), block: world.block_hash(9) })
            .expect("a place");
    })
}

fn read_book(path: &Path) -> anyhow::Result<()> {
    let book = Book::open(path)?;
    book.mark()?;
    whole::fits(book.leaked()?.len(), path);
    whole::fits(book.jobs()?.len(), path);
    Ok(())
}

/// How the jobs of a book that can be read ended.
pub(crate) fn ends(database: &[u8]) -> Vec<Option<Ended>> {
    let book = Book::open(&scratch::file("ends.sqlite", database));
    let jobs = book.and_then(|book| book.jobs()).unwrap_or_default();
    jobs.values().map(|job| job.ended.map(|(outcome, _)| outcome)).collect()
}

fn read_flights(path: &Path) -> anyhow::Result<()> {
    let open = Flights::open(path)?.open_ones()?;
    assert!(open.iter().all(|flight| !flight.versions.is_empty()));
    whole::fits(open.iter().map(|flight| flight.versions.len()).sum(), path);
    Ok(())
}

fn read_mark(path: &Path) -> anyhow::Result<()> {
    MarkFile::open(path)?.read()?;
    Ok(())
}

fn flights() -> Vec<u8> {
    let transaction = story().world.chain[110].txdata[0].clone();
    let version = Version { epoch: Epoch(8), fee: bitcoin::Amount::from_sat(500), height: 110, transaction };
    scratch::written("flights.sqlite", |path| {
        let mut flights = Flights::open(path).expect("a file");
        flights.record(None, &version).expect("a place");
        flights.record(Some(1), &Version { epoch: Epoch(9), ..version }).expect("a place");
    })
}

fn reported() -> Vec<u8> {
    scratch::written("mark.sqlite", |path| {
        let file = MarkFile::open(path).expect("a file");
        file.write(&mark::Mark { event: 5, stakes: 3, height: BtcHeight(9) }).expect("a place");
    })
}
