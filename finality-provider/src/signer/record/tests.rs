use super::*;
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

#[test]
fn claims_of_different_keys_contexts_and_heights_never_meet() {
    let dir = TempDir::new().unwrap();
    let (mut record, _) = Record::open(dir.path()).unwrap();
    let other_key = [5; 32];
    let other_context = Hash32([6; 32]);
    for (key, context, height) in
        [(KEY, CONTEXT, 1), (other_key, CONTEXT, 1), (KEY, other_context, 1), (KEY, CONTEXT, 2)]
    {
        assert_eq!(record.claim_vote(&key, &context, Height(height), A).unwrap(), Claim::Fresh);
    }
    assert_eq!(record.claim_root(&KEY, &CONTEXT, Epoch(1), B).unwrap(), Claim::Fresh);
    assert_eq!(record.claim_checkpoint(&KEY, &CONTEXT, Epoch(1), B).unwrap(), Claim::Fresh);
}

#[test]
fn a_deleted_record_is_followed_by_one_with_another_seed() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    fs::remove_file(dir.path().join("record.sqlite")).unwrap();
    put_aside_because(&dir, id, "missing");
}

#[test]
fn a_record_restored_from_a_backup_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    let backup = dir.path().join("backup");
    fs::copy(dir.path().join("record.sqlite"), &backup).unwrap();
    with_votes(&dir, [2]);
    // As a file of its own: not the file that it was born in.
    fs::rename(&backup, dir.path().join("record.sqlite")).unwrap();
    put_aside_because(&dir, id, "copy");
}

#[test]
fn a_backup_written_over_the_record_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    let backup = fs::read(dir.path().join("record.sqlite")).unwrap();
    with_votes(&dir, [2]);
    fs::write(dir.path().join("record.sqlite"), backup).unwrap();
    put_aside_because(&dir, id, "rolled back: 1 rows where 2");
}

#[test]
fn a_record_without_its_mark_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, [1]);
    fs::remove_file(dir.path().join("record.mark")).unwrap();
    put_aside_because(&dir, id, "mark");
}

#[test]
fn half_a_record_is_not_trusted() {
    let dir = TempDir::new().unwrap();
    let id = with_votes(&dir, 0..200);
    let path = dir.path().join("record.sqlite");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    put_aside_because(&dir, id, "");
    let id = with_votes(&dir, [1]);
    fs::write(&path, b"not a database, and long enough to be taken for one by its size alone").unwrap();
    put_aside_because(&dir, id, "not a database");
    let id = with_votes(&dir, [1]);
    fs::write(&path, b"").unwrap();
    put_aside_because(&dir, id, "");
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    with_votes(&dir, [1]);
    for name in ["record.sqlite", "record.mark"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn heights_that_the_record_cannot_hold_are_refused() {
    let dir = TempDir::new().unwrap();
    let (mut record, _) = Record::open(dir.path()).unwrap();
    let refused = record.claim_vote(&KEY, &CONTEXT, Height(u64::MAX), A);
    assert!(matches!(refused, Err(RecordError::Range(u64::MAX))));
}
