//! Key files, opened as they should be and in every way that they should not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rand::rngs::OsRng;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

fn label() -> KeyLabel {
    KeyLabel::new("covenant", "02ab").unwrap()
}

fn secret<const N: usize>() -> Secret<[u8; N]> {
    Secret::new(std::array::from_fn(|i| i as u8 + 1))
}

/// A key file of 32 bytes for `covenant` under the password `hunter2`, and the directory it lives in.
fn key_file() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a key.json");
    create(&path, &label(), &secret::<32>(), &password("hunter2"), KdfCost::Regtest, &mut OsRng).unwrap();
    (dir, path)
}

fn open_32(path: &Path, text: &str) -> Result<(KeyLabel, Secret<[u8; 32]>), OpenRefused> {
    open(path, "covenant", &password(text), KdfCost::Regtest)
}

/// Changes the JSON of a key file, which only a test may do.
fn alter(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

fn round_trip<const N: usize>() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key.json");
    create(&path, &label(), &secret::<N>(), &password("hunter2"), KdfCost::Regtest, &mut OsRng).unwrap();
    let (found, opened) = open::<N>(&path, "covenant", &password("hunter2"), KdfCost::Regtest).unwrap();
    assert_eq!(found, label());
    assert_eq!(opened.expose(), secret::<N>().expose());
    assert_eq!(read_label(&path).unwrap(), label());
}

#[test]
fn a_secret_comes_back_whole() {
    round_trip::<32>();
    round_trip::<64>();
    round_trip::<96>();
}

/// The example in the manual was made by other software; who changes the format breaks every key file in use.
#[test]
fn the_file_in_the_manual_opens_and_is_what_we_write() {
    let manual = include_str!("../../../../docs/operations/keys.md");
    let json = manual.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key.json");
    private_file::create(&path, json.as_bytes()).unwrap();
    let password = password("correct horse battery staple");
    let (label, opened) = open::<64>(&path, "covenant", &password, KdfCost::Interactive).unwrap();
    assert_eq!(label.public_id(), "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
    assert_eq!(opened.expose(), secret::<64>().expose());
    assert_eq!(Sealed::from_json(json.as_bytes()).unwrap().to_json(), json.as_bytes());
}

#[test]
fn the_file_is_private_and_shows_no_secret() {
    let (_dir, path) = key_file();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&hex::encode(secret::<32>().expose())));
    assert!(!text.contains(&hex::encode(&secret::<32>().expose()[..4])));
}

#[test]
fn two_files_of_one_secret_share_neither_salt_nor_ciphertext() {
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let ((_a, a), (_b, b)) = (key_file(), key_file());
    for field in ["salt", "nonce", "ciphertext"] {
        assert_ne!(read(&a)[field], read(&b)[field], "{field}");
    }
}

#[test]
fn an_existing_file_is_never_overwritten_whatever_it_holds() {
    let (_dir, path) = key_file();
    for content in [fs::read(&path).unwrap(), b"not a key".to_vec(), Vec::new()] {
        fs::write(&path, &content).unwrap();
        let again = create(&path, &label(), &secret::<32>(), &password("x"), KdfCost::Regtest, &mut OsRng);
        assert!(matches!(again, Err(CreateRefused::Exists { path: found }) if found == path));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_wrong_password_is_an_error_and_changes_nothing() {
    let (dir, path) = key_file();
    let before = fs::read(&path).unwrap();
    for wrong in ["hunter", "hunter22", "Hunter2", " hunter2"] {
        assert!(matches!(open_32(&path, wrong), Err(OpenRefused::Locked { .. })), "{wrong}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(open_32(&path, "hunter2").is_ok());
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_dir, path) = key_file();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let open_to_others = ReadRefused::OpenToOthers { mode: 0o640 }.to_string();
    assert!(open_32(&path, "hunter2").unwrap_err().to_string().ends_with(&open_to_others));
    assert!(matches!(read_label(&path), Err(OpenRefused::Unreadable { .. })));
}

#[test]
fn a_missing_file_is_an_error_and_stays_missing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("none");
    assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Unreadable { .. })));
    assert!(!path.exists());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (_dir, path) = key_file();
    let whole = fs::read(&path).unwrap();
    // The last byte is the line end, which JSON does not need.
    for len in 0..whole.len() - 1 {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Malformed { .. })), "{len}");
    }
    fs::write(&path, [whole.as_slice(), &[b' '; MAX_FILE_BYTES]].concat()).unwrap();
    assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Unreadable { .. })));
}

#[test]
fn every_altered_field_is_noticed() {
    let flip = |value: &Value| {
        let text = value.as_str().unwrap();
        let first = if text.starts_with('0') { "1" } else { "0" };
        json!(format!("{first}{}", &text[1..]))
    };
    for field in ["salt", "nonce", "ciphertext", "public_id"] {
        let (_dir, path) = key_file();
        alter(&path, |json| json[field] = flip(&json[field]));
        assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Locked { .. })), "{field}");
    }
    for parameters in [
        json!({"memory_kib": 65, "passes": 1, "lanes": 1}),
        json!({"memory_kib": 64, "passes": 2, "lanes": 1}),
        json!({"memory_kib": 64, "passes": 1, "lanes": 2}),
    ] {
        let (_dir, path) = key_file();
        alter(&path, |json| json["kdf_params"] = parameters);
        assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Locked { .. })));
    }
}

#[test]
fn a_relabelled_key_does_not_open_for_its_new_purpose() {
    let (_dir, path) = key_file();
    let other = |path| open::<32>(path, "eots", &password("hunter2"), KdfCost::Regtest);
    assert!(matches!(other(&path), Err(OpenRefused::OtherPurpose { found, .. }) if found == "covenant"));
    alter(&path, |json| json["purpose"] = json!("eots"));
    assert!(matches!(other(&path), Err(OpenRefused::Locked { .. })));
}

#[test]
fn a_file_of_another_kind_or_version_or_with_wild_parameters_is_refused() {
    for (field, value) in [
        ("format", json!("other-key")),
        ("version", json!(2)),
        ("version", json!(-1)),
        ("kdf", json!("scrypt")),
        ("cipher", json!("none")),
        ("kdf_params", json!({"memory_kib": 104_857_600, "passes": 1, "lanes": 1})),
        ("kdf_params", json!({"memory_kib": 64, "passes": 4_000_000_000u32, "lanes": 1})),
        ("kdf_params", json!({"memory_kib": 64, "passes": 1, "lanes": 1, "more": 1})),
        ("salt", json!("")),
        ("salt", json!("zz".repeat(32))),
        ("nonce", json!("00".repeat(13))),
        ("ciphertext", json!("00".repeat(47))),
        ("ciphertext", json!("00".repeat(113))),
        ("ciphertext", json!("0")),
        ("purpose", json!("")),
        ("purpose", json!("a\u{0}b")),
        ("public_id", json!("é")),
        ("more", json!(1)),
    ] {
        let (_dir, path) = key_file();
        alter(&path, |json| json[field] = value.clone());
        assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::Malformed { .. })), "{field} {value}");
    }
}

#[test]
fn a_key_of_another_length_is_refused_before_its_password_is_tried() {
    let (_dir, path) = key_file();
    let wrong = open::<64>(&path, "covenant", &password("wrong"), KdfCost::Regtest);
    assert!(matches!(wrong, Err(OpenRefused::OtherLength { found: 32, wanted: 64, .. })));
}

#[test]
fn zero_is_no_key_going_in_or_coming_out() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key.json");
    let zero = Secret::new([0; 32]);
    let refused = create(&path, &label(), &zero, &password("hunter2"), KdfCost::Regtest, &mut OsRng);
    assert!(matches!(refused, Err(CreateRefused::ZeroSecret)));
    assert!(!path.exists());
    let params = KdfCost::Regtest.params();
    let sealed = Sealed::seal(&label(), zero.expose(), &password("hunter2"), params, &mut OsRng).unwrap();
    private_file::create(&path, &sealed.to_json()).unwrap();
    assert!(matches!(open_32(&path, "hunter2"), Err(OpenRefused::ZeroSecret { .. })));
}

#[test]
fn a_key_made_for_regtest_is_refused_elsewhere_and_a_real_one_is_taken_everywhere() {
    let (dir, path) = key_file();
    let cheap = open::<32>(&path, "covenant", &password("hunter2"), KdfCost::Interactive);
    assert!(matches!(cheap, Err(OpenRefused::TooCheap { .. })));
    let path = dir.path().join("real.json");
    create(&path, &label(), &secret::<32>(), &password("hunter2"), KdfCost::Interactive, &mut OsRng).unwrap();
    for weakest in [KdfCost::Interactive, KdfCost::Regtest] {
        assert!(open::<32>(&path, "covenant", &password("hunter2"), weakest).is_ok(), "{weakest:?}");
    }
}

#[test]
fn labels_are_short_plain_text() {
    for (purpose, public_id, accepted) in [
        ("eots", "02ab", true),
        ("a b", "~", true),
        ("", "02ab", false),
        ("eots", "", false),
        ("e\nots", "02ab", false),
        ("eots", "\u{7f}", false),
        (&"a".repeat(64), &"b".repeat(512), true),
        (&"a".repeat(65), "02ab", false),
        ("eots", &"b".repeat(513), false),
    ] {
        assert_eq!(KeyLabel::new(purpose, public_id).is_ok(), accepted, "{purpose:?} {public_id:?}");
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("long.json");
    let longest = KeyLabel::new(&"a".repeat(64), &"\\".repeat(512)).unwrap();
    create(&path, &longest, &secret::<96>(), &password("hunter2"), KdfCost::Regtest, &mut OsRng).unwrap();
    assert_eq!(read_label(&path).unwrap(), longest);
}

#[test]
fn nothing_secret_is_printed() {
    let (_dir, path) = key_file();
    assert!(format!("{:?}", open_32(&path, "hunter2").unwrap()).ends_with("[redacted])"));
    assert!(!format!("{:?}", open_32(&path, "wrong-one").unwrap_err()).contains("wrong-one"));
}
