//! `backup`: one private file that is enough to withdraw, with the hub and every database gone.
//!
//! It holds the encrypted seed as it is in the key file, and the whole book. So it opens with the wallet's password, and
//! it shows what is owned to whoever reads it.

use crate::book::find;
use crate::keys::{KEY_PURPOSE, Keys};
use crate::record::StakeRecord;
use crate::session::Session;
use bitcoin::Network;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_protocol::genesis::GenesisDocument;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub mod contents;

const FORMAT: &str = "palisade-backup";
const VERSION: u32 = 1;
/// Longest backup: thousands of stakes.
const MAX_BYTES: usize = 64 << 20;

/// The content of a backup file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    format: String,
    version: u32,
    /// The hub's genesis document: needed for staking on, not for leaving.
    genesis: GenesisDocument,
    network: palisade_hub::daemon::network::Network,
    /// The key file, as it is.
    key_file: Box<RawValue>,
    stakes: Vec<StakeRecord>,
}

/// What `backup` wrote.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The file.
    pub file: PathBuf,
    /// How many stakes are in it.
    pub stakes: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: the seed and {} stake(s)", self.file.display(), self.stakes)?;
        write!(f, "keep it with the password; a stake made later is not in it")
    }
}

/// Writes a new backup file, 0600, and notes in the book what is in it. An existing file is never touched.
pub fn write(session: &mut Session, file: &Path) -> Result<Written, Failure> {
    let unusable =
        |why: String| Failure::failed(format_args!("key file {}: {why}", session.config.key_file.display()));
    let key = private_file::read(&session.config.key_file, 4_096).map_err(|why| unusable(why.to_string()))?;
    let key_file = serde_json::from_slice(&key).map_err(|why| unusable(why.to_string()))?;
    let stakes = session.book.stakes().to_vec();
    let backup = Backup {
        format: FORMAT.to_owned(),
        version: VERSION,
        genesis: session.genesis.document().clone(),
        network: session.config.network,
        key_file,
        stakes,
    };
    let text = serde_json::to_vec_pretty(&backup).map_err(Failure::failed)?;
    private_file::create(file, &text).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::failed(format_args!("{} exists: a backup never replaces a file", file.display()))
                .hint("name a new file; delete the old one when the new one is where it should be")
        }
        _ => Failure::failed(format_args!("cannot write {}: {why}", file.display())),
    })?;
    session.book.note_backup()?;
    Ok(Written { file: file.to_owned(), stakes: backup.stakes.len() })
}

impl Backup {
    /// Reads a backup file. Every record in it is checked.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let bad = |why: String| Failure::failed(format_args!("backup {}: {why}", file.display()));
        let bytes = private_file::read(file, MAX_BYTES).map_err(|why| bad(why.to_string()))?;
        let backup: Self = serde_json::from_slice(&bytes).map_err(|why| {
            bad(format!("is no backup of a wallet, or a damaged one ({why})"))
                .hint("a backup is what `palisade-staker backup FILE` has written")
        })?;
        if backup.format != FORMAT || backup.version != VERSION {
            return Err(bad(format!(
                "is {} {}, this program knows {FORMAT} {VERSION}",
                backup.format, backup.version
            )));
        }
        for record in &backup.stakes {
            record.contract()?;
        }
        Ok(backup)
    }

    /// The stakes in it.
    pub fn stakes(&self) -> &[StakeRecord] {
        &self.stakes
    }

    /// The network that its coins are on.
    pub fn network(&self) -> Network {
        self.network.bitcoin()
    }

    /// The stake that a name, or its beginning, names.
    pub fn stake(&self, name: &str) -> Result<StakeRecord, Failure> {
        find(&self.stakes, name, "`palisade-staker withdraw --backup FILE` without a stake lists them")
    }

    /// The keys; may ask for the password.
    pub fn keys(&self, file: &Path, password_file: Option<PathBuf>) -> Result<Keys, Failure> {
        let source = PasswordSource::usual(password_file);
        let password = source.read("Password of the wallet: ")?;
        let weakest = KdfCost::for_network(self.network());
        let json = self.key_file.get().as_bytes();
        let opened = keyfile::open_bytes::<32>(json, file, KEY_PURPOSE, &password, weakest);
        Ok(Keys::new(&opened?.1, self.network())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, registration, world};
    use palisade_hub::daemon::keyfile::KeyLabel;
    use palisade_hub::daemon::network::Network as Named;
    use palisade_hub::daemon::password::Password;
    use palisade_hub::daemon::secret::Secret;
    use rand::rngs::OsRng;
    use tempfile::TempDir;

    /// A backup of the holder of `testing`, and the file with its password.
    fn backup(dir: &TempDir) -> (PathBuf, PathBuf) {
        let mut world = world();
        let record = registration(&mut world).unwrap().1;
        let at = |name: &str| dir.path().join(name);
        let (label, seed) = (KeyLabel::new(KEY_PURPOSE, "x").unwrap(), Secret::new([7; 32]));
        let password = Password::new("correct horse".into()).unwrap();
        keyfile::create(&at("key"), &label, &seed, &password, KdfCost::Regtest, &mut OsRng).unwrap();
        private_file::create(&at("password"), b"correct horse").unwrap();
        private_file::create(&at("wrong"), b"battery staple").unwrap();
        let content = Backup {
            format: FORMAT.into(),
            version: VERSION,
            genesis: world.ledger.genesis().document().clone(),
            network: Named::from(Network::Regtest),
            key_file: serde_json::from_slice(&std::fs::read(at("key")).unwrap()).unwrap(),
            stakes: vec![record],
        };
        private_file::create(&at("backup"), &serde_json::to_vec_pretty(&content).unwrap()).unwrap();
        (at("backup"), at("password"))
    }

    #[test]
    fn a_backup_gives_back_the_stakes_and_with_the_password_the_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (file, password) = backup(&dir);
        let read = Backup::read(&file).unwrap();
        let record = read.stake(&read.stakes()[0].name()).unwrap();
        let keys = read.keys(&file, Some(password)).unwrap();
        assert_eq!(*keys.staking(record.key_index).unwrap(), key());
        let contract = record.contract().unwrap();
        let to = crate::testing::script();
        crate::exit::prove(&contract, record.presigned().as_ref(), &key(), &to).unwrap();
        assert!(read.keys(&file, Some(dir.path().join("wrong"))).is_err());
        assert!(read.stake("nobody").is_err());
    }

    #[test]
    fn a_backup_that_was_altered_or_is_no_backup_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = backup(&dir);
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, (from, to)) in [
            ("palisade-backup", "palisade-other"),
            ("\"version\": 1", "\"version\": 2"),
            ("\"stakes\"", "\"more\": 1, \"stakes\""),
            ("\"amount_sat\": 500000", "\"amount_sat\": 500001"),
            ("\"quorum\": 3", "\"quorum\": 1"),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(text.contains(from), "{from}");
            let altered = dir.path().join(number.to_string());
            private_file::create(&altered, text.replace(from, to).as_bytes()).unwrap();
            assert!(Backup::read(&altered).is_err(), "{to}");
        }
        assert!(Backup::read(&dir.path().join("password")).is_err());
        assert!(Backup::read(&dir.path().join("missing")).is_err());
    }
}
