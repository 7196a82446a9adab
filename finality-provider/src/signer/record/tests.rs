use super::*;
use palisade_protocol::hash::sha256;
use std::fs;
use tempfile::TempDir;

const CONTEXT: Context = Hash32([3; 32]);
const KEY: [u8; 32] = [4; 32];
const A: Hash32 = Hash32([10; 32]);
const B: Hash32 = Hash32([11; 32]);

fn with_votes(dir: &TempDir, heights: impl IntoIterator<Item = u64>) -> Hash32 {
    let (mut record, _) = Record::open(dir.path()).unwrap();
    for height in heights {
        assert_eq!(record.claim_vote(&KEY, &CONTEXT, Height(height), A).unwrap(), Claim::Fresh);
    }
    record.id()
}

/// Opens after something was done to the files, and expects a new seed for this reason.
fn put_aside_because(dir: &TempDir, before: Hash32, reason: &str) {
    let (record, origin) = Record::open(dir.path()).unwrap();
    let Origin::PutAside { why, to } = origin else { panic!("{origin:?}") };
    assert!(why.contains(reason), "{why}");
    assert!(to.is_dir());
    assert_ne!(record.id(), before);
    assert_eq!(record.last_vote(&KEY, &CONTEXT).unwrap(), None);
    drop(record);
    assert_eq!(Record::open(dir.path()).unwrap().1, Origin::Existing);
}

#[test]
fn a_claim_outlives_the_process_and_is_never_given_twice() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [5]);
    let (mut record, origin) = Record::open(dir.path()).unwrap();
    assert_eq!((record.id(), origin), (id, Origin::Existing));
    assert_eq!(record.claim_vote(&KEY, &CONTEXT, Height(5), A).unwrap(), Claim::Repeat);
    assert_eq!(record.claim_vote(&KEY, &CONTEXT, Height(5), B).unwrap(), Claim::Taken(A));
    assert_eq!(record.last_vote(&KEY, &CONTEXT).unwrap(), Some((Height(5), A)));
}

/// Keys of both kinds, contexts and numbers that differ in one bit, in one byte, or in where one ends and the next begins.
fn tuples() -> Vec<(Table, Vec<u8>, Context, u64)> {
    let changed = |bytes: [u8; 32], place: usize| {
        let mut other = bytes;
        other[place] ^= 1;
        other
    };
    let longer = |next: u8| [&KEY[..], &[next; 16]].concat();
    let keys = [KEY.to_vec(), changed(KEY, 0).to_vec(), changed(KEY, 31).to_vec(), longer(0), longer(KEY[0])];
    let other = [changed(CONTEXT.0, 0), changed(CONTEXT.0, 31), [0; 32], KEY];
    let contexts = [&[CONTEXT][..], &other.map(Hash32)].concat();
    let numbers = [0, 1, 255, 256, 1 << 32, (1 << 63) - 1];
    let mut all = Vec::new();
    for table in [Table::NonceRoot, Table::Vote, Table::Checkpoint] {
        for (key, context) in keys.iter().flat_map(|key| contexts.iter().map(move |context| (key, context))) {
            all.extend(numbers.map(|number| (table, key.clone(), *context, number)));
        }
    }
    all
}

#[test]
fn claims_of_different_keys_contexts_and_heights_never_meet_and_of_the_same_always_do() {
    let dir = TempDir::new().unwrap();
    let (mut record, _) = Record::open(dir.path()).unwrap();
    let all = tuples();
    let digest = |place: usize| sha256(&[&(place as u64).to_be_bytes()]);
    for (place, (table, key, context, number)) in all.iter().enumerate() {
        let claim = record.claim(*table, key, context, *number, digest(place)).unwrap();
        assert_eq!(claim, Claim::Fresh, "{table:?} {key:x?} {context} {number}");
    }
    for (place, (table, key, context, number)) in all.iter().enumerate() {
        let mut again = |digest| record.claim(*table, key, context, *number, digest).unwrap();
        let next = digest((place + 1) % all.len());
        assert_eq!(again(digest(place)), Claim::Repeat);
        assert_eq!(again(next), Claim::Taken(digest(place)));
    }
}

#[test]
fn a_number_that_no_row_can_hold_is_refused_and_is_not_that_of_another() {
    let dir = TempDir::new().unwrap();
    let (mut record, _) = Record::open(dir.path()).unwrap();
    for number in [1 << 63, u64::MAX - 1, u64::MAX] {
        let votes = record.claim_vote(&KEY, &CONTEXT, Height(number), A);
        let roots = record.claim_root(&KEY, &CONTEXT, Epoch(number), A);
        let headers = record.claim_checkpoint(&KEY, &CONTEXT, Epoch(number), A);
        for refused in [votes, roots, headers] {
            assert!(matches!(refused, Err(RecordError::Range(found)) if found == number), "{refused:?}");
        }
    }
    assert_eq!(record.last_vote(&KEY, &CONTEXT).unwrap(), None);
    for number in [0, 1, (1 << 63) - 2, (1 << 63) - 1] {
        assert_eq!(record.claim_vote(&KEY, &CONTEXT, Height(number), B).unwrap(), Claim::Fresh);
    }
}

#[test]
fn a_deleted_record_is_followed_by_one_with_another_seed() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    fs::remove_file(dir.path().join("record.sqlite")).unwrap();
    put_aside_because(&dir, id, "missing");
}

const FILES: [&str; 2] = ["record.sqlite", "record.mark"];

#[test]
fn a_record_restored_from_a_backup_is_not_trusted() {
    type Restore = fn(&TempDir, &[(&str, Vec<u8>)]);
    let replace: Restore = |dir, backup| {
        // As most tools do: another file takes the name.
        for (name, bytes) in backup {
            let path = dir.path().join(name);
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    };
    let overwrite: Restore = |dir, backup| {
        for (name, bytes) in backup {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
    };
    for restore in [replace, overwrite] {
        for files in [&FILES[..], &FILES[..1]] {
            let dir = TempDir::new().unwrap();
            let id = with_votes(&dir, [1]);
            let read = |name: &&'static str| (*name, fs::read(dir.path().join(name)).unwrap());
            let backup: Vec<_> = files.iter().map(read).collect();
            with_votes(&dir, [2]);
            restore(&dir, &backup);
            put_aside_because(&dir, id, "restored, copied or changed");
        }
    }
}

#[test]
fn a_record_that_took_the_place_of_a_running_one_is_not_trusted_though_it_has_as_many_rows() {
    for in_place in [false, true] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("record.sqlite");
        // It lacks a vote that has left since, and lies aside when the next one is born.
        let id = with_votes(&dir, [1]);
        let old = fs::read(&path).unwrap();
        with_votes(&dir, [2]);
        fs::write(&path, &old).unwrap();
        let (mut record, _) = Record::open(dir.path()).unwrap();
        assert_ne!(record.id(), id);
        // Somebody takes it for the true one and puts it back while the signer runs.
        if in_place {
            fs::write(&path, &old).unwrap();
        } else {
            fs::rename(dir.path().join("record.aside.1/record.sqlite"), &path).unwrap();
        }
        assert_eq!(record.claim_vote(&KEY, &CONTEXT, Height(9), A).unwrap(), Claim::Fresh);
        drop(record);
        let (record, origin) = Record::open(dir.path()).unwrap();
        assert!(matches!(origin, Origin::PutAside { .. }), "{origin:?}");
        assert_ne!(record.id(), id);
    }
}

#[test]
fn an_older_state_that_took_the_place_of_a_running_record_is_not_trusted() {
    for in_place in [false, true] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("record.sqlite");
        let (mut record, _) = Record::open(dir.path()).unwrap();
        let id = record.id();
        // More rows than one page holds: what is put back differs in pages that the next claim does not write.
        let mut claim = |height| record.claim_vote(&KEY, &CONTEXT, Height(height), A).unwrap();
        (0..100).for_each(|height| assert_eq!(claim(height), Claim::Fresh));
        let old = fs::read(&path).unwrap();
        (100..300).for_each(|height| assert_eq!(claim(height), Claim::Fresh));
        if in_place {
            fs::write(&path, &old).unwrap();
        } else {
            fs::write(dir.path().join("copy"), &old).unwrap();
            fs::rename(dir.path().join("copy"), &path).unwrap();
        }
        assert_eq!(claim(300), Claim::Fresh);
        drop(record);
        put_aside_because(&dir, id, "");
    }
}

#[test]
fn a_record_copied_to_another_place_is_not_trusted_there() {
    let (home, away) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let id = with_votes(&home, [1]);
    for name in FILES {
        fs::copy(home.path().join(name), away.path().join(name)).unwrap();
    }
    put_aside_because(&away, id, "restored, copied or changed");
    assert_eq!(Record::open(home.path()).unwrap().1, Origin::Existing);
}

#[test]
fn a_record_without_its_mark_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    fs::remove_file(dir.path().join("record.mark")).unwrap();
    put_aside_because(&dir, id, "mark");
}

/// Alters the record's file and has the mark say that this is how it should be: what is left is SQLite's own judgement.
fn alter(dir: &TempDir, altered: &[u8]) {
    let path = dir.path().join("record.sqlite");
    let contents = Mark::read(&dir.path().join("record.mark")).unwrap().unwrap().contents;
    fs::write(&path, altered).unwrap();
    MarkFile::open(&path, &dir.path().join("record.mark")).unwrap().write(contents).unwrap();
}

#[test]
fn a_damaged_record_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, 0..200);
    let whole = fs::read(dir.path().join("record.sqlite")).unwrap();
    alter(&dir, &whole[..whole.len() / 2]);
    put_aside_because(&dir, id, "");
    for (bytes, reason) in
        [(&b"not a database, and longer than its header would be"[..], ""), (b"", "no such table")]
    {
        let id = with_votes(&dir, [1]);
        alter(&dir, bytes);
        put_aside_because(&dir, id, reason);
    }
}

#[test]
fn a_record_of_another_build_is_refused_and_stays_where_it_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("record.sqlite");
    with_votes(&dir, [1]);
    for (name, value, says) in [
        ("user_version", 2, "this signer's record has format 2, this build has format 1"),
        ("application_id", 7, "it is no signer's record"),
        ("application_id", 0, "has format 0, "),
    ] {
        Connection::open(&path).unwrap().pragma_update(None, name, value).unwrap();
        alter(&dir, &fs::read(&path).unwrap());
        let before = FILES.map(|name| fs::read(dir.path().join(name)).unwrap());
        let why = Record::open(dir.path()).unwrap_err();
        assert!(why.to_string().contains(says), "{why}");
        let never = matches!(why, RecordError::Database(DatabaseError::NotOurs { .. }));
        assert!(never || why.to_string().contains("Never delete or replace it"), "{why}");
        assert!(FILES.map(|name| fs::read(dir.path().join(name)).unwrap()) == before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), FILES.len(), "nothing was put aside");
    }
}

#[test]
fn a_record_with_a_row_less_than_was_written_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    let one = fs::read(dir.path().join("record.sqlite")).unwrap();
    with_votes(&dir, [2]);
    alter(&dir, &one);
    put_aside_because(&dir, id, "older state");
}

#[test]
fn a_record_with_as_many_rows_and_another_one_among_them_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    let one = fs::read(dir.path().join("record.sqlite")).unwrap();
    with_votes(&dir, [2]);
    alter(&dir, &one);
    // The row that came next in this state of it is another one.
    let record = Connection::open(dir.path().join("record.sqlite")).unwrap();
    record.execute("INSERT INTO vote VALUES (?1, ?2, 3, ?3)", params![KEY, CONTEXT.0, A.0]).unwrap();
    drop(record);
    alter(&dir, &fs::read(dir.path().join("record.sqlite")).unwrap());
    put_aside_because(&dir, id, "older state");
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    with_votes(&dir, [1]);
    for name in FILES {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
