//! `backup`: one private file that is enough to withdraw, with the hub and every database gone.
//!
//! It holds the encrypted seed as it is in the key file, and the whole book. So it opens with the wallet's password, and
//! it shows what is owned to whoever reads it.

use crate::book::find;
use crate::keys::{Branch, KEY_PURPOSE, Keys};
use crate::record::StakeRecord;
use crate::session::Session;
use bitcoin::secp256k1::SECP256K1;
use bitcoin::{Address, Network};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_protocol::genesis::GenesisDocument;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::path::{Path, PathBuf};

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

/// Writes a new backup file, 0600. An existing file is never touched.
pub fn write(session: &Session, file: &Path) -> Result<Written, Failure> {
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
    private_file::create(file, &text)
        .map_err(|why| Failure::failed(format_args!("cannot write {}: {why}", file.display())))?;
    Ok(Written { file: file.to_owned(), stakes: backup.stakes.len() })
}

impl Backup {
    /// Reads a backup file. Every record in it is checked.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let bad = |why: String| Failure::failed(format_args!("backup {}: {why}", file.display()));
        let bytes = private_file::read(file, MAX_BYTES).map_err(|why| bad(why.to_string()))?;
        let backup: Self = serde_json::from_slice(&bytes).map_err(|why| bad(why.to_string()))?;
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

    /// The network that its coins are on.
    pub fn network(&self) -> Network {
        self.network.bitcoin()
    }

    /// The stake that a name, or its beginning, names; without a name the only one.
    pub fn stake(&self, name: Option<&str>) -> Result<StakeRecord, Failure> {
        find(&self.stakes, name.unwrap_or_default())
    }

    /// The keys; may ask for the password.
    pub fn keys(&self, file: &Path, password_file: Option<PathBuf>) -> Result<Keys, Failure> {
        let source = PasswordSource::usual(password_file);
        let password = source.read("Password of the wallet: ").map_err(Failure::failed)?;
        let weakest = KdfCost::for_network(self.network());
        let json = self.key_file.get().as_bytes();
        let opened = keyfile::open_bytes::<32>(json, file, KEY_PURPOSE, &password, weakest);
        Ok(Keys::new(&opened.map_err(Failure::failed)?.1, self.network())?)
    }
}

/// The first address of the wallet that a seed gives.
pub fn first_address(keys: &Keys, network: Network) -> Result<Address, Failure> {
    let secret = keys.coin_key(Branch::Receive, 0)?;
    let key = secret.x_only_public_key(SECP256K1).0;
    Ok(Address::p2tr(SECP256K1, key, None, network))
}
