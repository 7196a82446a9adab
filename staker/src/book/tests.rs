use super::*;
use crate::testing::{registration, world};
use bitcoin::Amount;
use std::os::unix::fs::PermissionsExt as _;

fn record() -> StakeRecord {
    registration(&mut world()).unwrap().1
}

#[test]
fn what_is_written_is_there_again_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    let mut book = Book::create(&path).unwrap();
    let mut record = record();
    assert_eq!((book.take_key().unwrap(), book.take_key().unwrap()), (0, 1));
    book.put(record.clone()).unwrap();
    record.broadcast = true;
    book.put(record.clone()).unwrap();
    let book = Book::open(&path).unwrap();
    assert_eq!(book.stakes(), std::slice::from_ref(&record));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_number_of_a_key_is_given_once_whatever_happens_after() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    Book::create(&path).unwrap();
    for expected in 0..3 {
        assert_eq!(Book::open(&path).unwrap().take_key().unwrap(), expected);
    }
}

#[test]
fn a_book_that_is_missing_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    assert!(matches!(Book::open(&path), Err(BookError::Missing { .. })));
    assert!(Book::open_or_blank(&path).unwrap().stakes().is_empty() && !path.exists());
    let mut book = Book::create(&path).unwrap();
    book.put(record()).unwrap();
    assert_eq!(Book::create(&path).unwrap().stakes().len(), 1);
}

#[test]
fn a_link_to_nothing_in_the_books_place_is_no_missing_book() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = (dir.path().join("stakes.json"), dir.path().join("unmounted.json"));
    std::os::unix::fs::symlink(&target, &path).unwrap();
    for opened in [Book::open(&path), Book::open_or_blank(&path), Book::create(&path)] {
        assert!(matches!(opened, Err(BookError::Unreadable { .. })), "{opened:?}");
    }
    assert!(!target.exists() && fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn what_the_last_backup_has_is_noted_until_more_is_needed_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    let mut book = Book::create(&path).unwrap();
    let whole = record();
    let early = StakeRecord { presigned: None, ..whole.clone() };
    book.put(early.clone()).unwrap();
    assert!(!book.is_backed_up(&early));
    book.note_backup().unwrap();
    book.put(StakeRecord { broadcast: true, ..early.clone() }).unwrap();
    assert!(Book::open(&path).unwrap().is_backed_up(&early));
    // The early exit came after the backup.
    book.put(whole.clone()).unwrap();
    assert!(!book.is_backed_up(&whole));
    book.note_backup().unwrap();
    let other = OutPoint { vout: 7, ..whole.outpoint };
    assert!(book.is_backed_up(&whole) && !book.is_backed_up(&StakeRecord { outpoint: other, ..whole }));
}

#[test]
fn a_stake_that_a_backup_has_which_was_read_is_backed_up_if_leaving_needs_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    let mut book = Book::create(&path).unwrap();
    let whole = record();
    book.put(whole.clone()).unwrap();
    let early = StakeRecord { presigned: None, ..whole.clone() };
    let other = StakeRecord { outpoint: OutPoint { vout: 7, ..whole.outpoint }, ..whole.clone() };
    for (backup, backed_up) in
        [(vec![early], false), (vec![other], false), (vec![whole.clone()], true), (vec![], true)]
    {
        book.note_read(&backup).unwrap();
        assert_eq!(Book::open(&path).unwrap().is_backed_up(&whole), backed_up);
    }
}

#[test]
fn a_key_number_that_no_wallet_comes_to_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stakes.json");
    let mut book = Book::create(&path).unwrap();
    book.put(StakeRecord { key_index: 1_048_575, ..record() }).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(Book::open(&path).is_ok());
    for wild in ["1048576", "4294967295", "99999999999", "-1", "\"1\""] {
        fs::write(&path, text.replace("\"key_index\": 1048575", &format!("\"key_index\": {wild}"))).unwrap();
        let said = Book::open(&path).unwrap_err().to_string();
        assert!(said.contains("key_index"), "{wild}: {said}");
    }
}

#[test]
fn stakes_found_elsewhere_are_added_once_and_their_keys_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
    let mine = StakeRecord { broadcast: true, ..record() };
    book.put(mine.clone()).unwrap();
    let other = OutPoint { vout: 7, ..mine.outpoint };
    let found = [record(), StakeRecord { key_index: 4, outpoint: other, ..record() }];
    assert_eq!(book.adopt(found.to_vec(), 3).unwrap(), found[1..]);
    assert_eq!((book.next_key(), &book.stakes()[0]), (5, &mine));
    // A record from before the registration learns from the log, and does not forget that it was sent.
    let early = StakeRecord { id: None, ..mine.clone() };
    let mut late = Book::create(&dir.path().join("late.json")).unwrap();
    late.put(early).unwrap();
    let logged = StakeRecord { broadcast: false, ..mine.clone() };
    assert_eq!(late.adopt(vec![logged], 0).unwrap(), []);
    assert_eq!(late.stakes(), std::slice::from_ref(&mine));
    assert_eq!(book.adopt(found.to_vec(), 9).unwrap(), []);
    assert_eq!(book.next_key(), 9);
}

#[test]
fn a_stake_is_found_by_the_beginning_of_its_id_or_place() {
    let record = record();
    let stakes = [record.clone(), StakeRecord { id: None, ..record.clone() }];
    let id = record.id.unwrap().to_string();
    assert_eq!(find(&stakes, &id[..6], "").unwrap(), record);
    let empty = find(&stakes, "", "").unwrap_err();
    assert!(empty.to_string().contains("is empty") && empty.exit() as u8 == 2, "{empty}");
    assert!(find(&stakes, "nobody", "").unwrap_err().to_string().contains("there is no stake `nobody`"));
    let both = find(&stakes, &record.outpoint.to_string(), "").unwrap_err().to_string();
    assert!(both.contains("names 2 stakes"), "{both}");
}

#[test]
fn a_stake_that_was_broadcast_is_never_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
    let mut record = record();
    for (broadcast, left) in [(false, 0), (true, 1)] {
        record.broadcast = broadcast;
        book.put(record.clone()).unwrap();
        book.forget(&record.outpoint).unwrap();
        assert_eq!(book.stakes().len(), left);
    }
}

#[test]
fn coins_of_stakes_under_way_are_reserved_until_they_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
    let record = record();
    book.put(record.clone()).unwrap();
    let coin = record.staking_tx.input[0].previous_output;
    assert_eq!(book.reserved(|_| false), BTreeSet::from([coin]));
    assert_eq!(book.reserved(|_| true), BTreeSet::new());
}

/// A way to damage a record.
type Damage = fn(&mut StakeRecord);

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let damages: [(&str, Damage); 8] = [
        ("amount", |record| record.amount_sat += 1),
        ("lock", |record| record.lock = record.unbonding_time),
        ("provider", |record| record.providers.clear()),
        ("committee", |record| record.committee.truncate(4)),
        ("quorum", |record| record.quorum = 4),
        ("place", |record| record.outpoint.vout = 1),
        ("staking transaction", |record| record.staking_tx.output[0].value = Amount::from_sat(1)),
        ("presigned", |record| {
            let presigned = record.presigned.as_mut().unwrap();
            presigned.unbonding = presigned.slashing.clone();
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (what, damage) in damages {
        let mut record = record();
        assert!(record.contract().is_ok());
        damage(&mut record);
        let path = dir.path().join(what);
        Book::create(&path).unwrap().put(record).unwrap();
        assert!(matches!(Book::open(&path), Err(BookError::Record(_))), "{what}");
    }
}
