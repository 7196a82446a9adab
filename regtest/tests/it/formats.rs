//! Databases of another build, and of other programs: none is opened, and none is changed.
//!
//! The signer's record is not here: its mark sees every change of the file. Its own tests have it.

use palisade_checkpointer::anchor::flight::Flights;
use palisade_checkpointer::report::mark::MarkFile;
use palisade_checkpointer::watch::book::Book;
use palisade_covenant::audit::Audit;
use palisade_finality_provider::voter::journal::Journal;
use palisade_hub::store::{FORMAT, Store};
use rusqlite::Connection;
use std::fs;
use std::path::Path;

/// Opens, creates where nothing is, and closes again; what it said if it refused.
type Open = fn(&Path) -> Result<(), String>;

/// Every kind of database, and a part of what is said to do with one of another format.
const KINDS: [(Open, &str); 7] = [
    (|path| Store::open(path).map(drop).map_err(|why| why.to_string()), "A hub's own log is the only one"),
    (|path| Audit::open(path).map(drop).map_err(|why| why.to_string()), "keep it, and run the build"),
    (|path| Audit::read(path).map(drop).map_err(|why| why.to_string()), "keep it, and run the build"),
    (|path| Journal::open(path).map(drop).map_err(|why| why.to_string()), "Move it away: what was signed"),
    (|path| Book::open(path).map(drop).map_err(|why| why.to_string()), "stakes that are still to be slashed"),
    (|path| Flights::open(path).map(drop).map_err(|why| why.to_string()), "under way"),
    (
        |path| MarkFile::open(path).map(drop).map_err(|why| why.to_string()),
        "Move it away: everything is told",
    ),
];

fn pragma(path: &Path, name: &str) -> i32 {
    Connection::open(path).unwrap().pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

/// Has the file say something else, and gives the refusal.
fn refusal(path: &Path, open: Open, name: &str, value: i32) -> String {
    Connection::open(path).unwrap().pragma_update(None, name, value).unwrap();
    let before = fs::read(path).unwrap();
    let why = open(path).unwrap_err();
    assert!(fs::read(path).unwrap() == before, "changed: {why}");
    assert!(why.starts_with(path.to_str().unwrap()) && why.contains("it was not changed"), "{why}");
    why
}

#[test]
fn every_kind_of_database_is_refused_unchanged_when_another_build_or_program_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (open, remedy)) in KINDS.into_iter().enumerate() {
        let path = &dir.path().join(format!("{number}.sqlite"));
        // The third only reads.
        let create = if number == 2 { KINDS[1].0 } else { open };
        create(path).unwrap();
        open(path).unwrap();
        let (id, format) = (pragma(path, "application_id"), pragma(path, "user_version"));
        assert!(id != 0 && format > 0);
        let other = format + 1;
        let why = refusal(path, open, "user_version", other);
        assert!(why.contains(&format!("has format {other}, this build has format {format}")), "{why}");
        assert!(why.contains(remedy), "{why}");
        let why = refusal(path, open, "application_id", 7);
        assert!(why.contains("of another kind or program (application_id 0x00000007)"), "{why}");
        let why = refusal(path, open, "application_id", 0);
        assert!(why.contains(&format!("has format 0, this build has format {format}")), "{why}");
    }
}

#[test]
fn no_kind_of_database_is_taken_for_a_new_one_when_all_that_was_in_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (open, _)) in KINDS.into_iter().enumerate() {
        let path = &dir.path().join(format!("{number}.sqlite"));
        let create = if number == 2 { KINDS[1].0 } else { open };
        create(path).unwrap();
        fs::write(path, []).unwrap();
        let why = open(path).unwrap_err();
        assert!(why.starts_with(path.to_str().unwrap()) && why.contains("what was in it is lost"), "{why}");
    }
}

#[test]
fn no_kind_of_database_is_taken_for_another() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (create, _)) in KINDS.into_iter().enumerate().filter(|(number, _)| *number != 2) {
        let path = dir.path().join(number.to_string());
        create(&path).unwrap();
        let taken: Vec<_> = (0..KINDS.len()).filter(|kind| KINDS[*kind].0(&path).is_ok()).collect();
        // The audit log has two doors.
        assert_eq!(taken, if number == 1 { vec![1, 2] } else { vec![number] });
    }
}

#[test]
fn a_log_says_the_format_of_its_build() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.sqlite");
    Store::open(&path).unwrap();
    assert_eq!(pragma(&path, "user_version"), FORMAT);
}
