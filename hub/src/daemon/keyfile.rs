//! Secret keys at rest: one small encrypted file a key, described in `docs/operations/keys.md`.
//!
//! Promises: a file is created once, 0600 and durable, and never written again; whatever is wrong with a file or a
//! password, opening it gives a typed refusal and changes nothing. A key of the wrong length or of zeros never
//! leaves this module. Reading a hostile file costs at most [`KdfParams::MAX_MEMORY_KIB`] of memory.
//!
//! Not here: what a key is for, and whether two processes use it at once (see [`lock`](super::lock)).

mod cost;
mod format;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use rand::{CryptoRng, RngCore};

pub use cost::{KdfCost, KdfParams};
pub use format::Malformed;

use super::exit::Failure;
use super::password::{HINT, Password};
use super::private_file::{self, ReadRefused};
use super::secret::Secret;
use format::Sealed;

/// Longest key file read. A true one has less than 1.5 KiB.
const MAX_FILE_BYTES: usize = 4096;

/// What a key file says in clear: what the key is for, and which key it is. Both are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLabel {
    purpose: String,
    public_id: String,
}

/// A label that is not plain text of the right length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of a key must be 1 to {limit} printable ASCII characters")]
pub struct LabelRefused {
    /// `purpose` or `public_id`.
    pub part: &'static str,
    /// The most characters.
    pub limit: usize,
}

/// Why no key file was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateRefused {
    /// There is a file already. It is left as it is.
    #[error("{} exists, and a key file is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The secret is all zeros, which is no key of any kind.
    #[error("the secret is zero")]
    ZeroSecret,
    /// The file could not be written.
    #[error("cannot write the key file {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Why a key file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenRefused {
    /// The file could not be read, or others can read it.
    #[error("key file {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        cause: ReadRefused,
    },
    /// The file is truncated, altered or of another kind.
    #[error("key file {}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        cause: Malformed,
    },
    /// The key is for something else.
    #[error("key file {} holds a key for `{found}`, not for `{wanted}`", path.display())]
    OtherPurpose {
        /// The file.
        path: PathBuf,
        /// The purpose in the file.
        found: String,
        /// The purpose asked for.
        wanted: String,
    },
    /// The file is cheaper to guess than this network allows: a key made for regtest elsewhere.
    #[error("key file {} is encrypted at a cost meant for tests; it must not be used on this network", path.display())]
    TooCheap {
        /// The file.
        path: PathBuf,
    },
    /// The secret has another length than this kind of key.
    #[error("key file {} holds {found} bytes, not {wanted}", path.display())]
    OtherLength {
        /// The file.
        path: PathBuf,
        /// The bytes in the file.
        found: usize,
        /// The bytes of such a key.
        wanted: usize,
    },
    /// The password does not open it. Encryption cannot tell a wrong password from an altered file.
    #[error("key file {}: the password is wrong, or the file was altered", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It opened, but to zeros: no key of any kind.
    #[error("key file {} holds zero, which is no key", path.display())]
    ZeroSecret {
        /// The file.
        path: PathBuf,
    },
}

impl OpenRefused {
    /// The same as a failure of a command, in the words `message`: refused, or where another file must be named, a wrong
    /// command line or configuration.
    pub fn explain(&self, message: impl Display) -> Failure {
        match self {
            Self::Locked { .. } => Failure::failed(message).rule("wrong-password").hint(HINT),
            Self::Unreadable { .. } | Self::OtherPurpose { .. } | Self::OtherLength { .. } => {
                Failure::usage(message).rule("key-file")
            }
            Self::Malformed { .. } | Self::TooCheap { .. } | Self::ZeroSecret { .. } => {
                Failure::failed(message).rule("key-file")
            }
        }
    }
}

impl From<OpenRefused> for Failure {
    fn from(why: OpenRefused) -> Self {
        why.explain(&why)
    }
}

impl KeyLabel {
    /// Longest purpose, in characters.
    pub const MAX_PURPOSE: usize = 64;
    /// Longest public identifier, in characters.
    pub const MAX_PUBLIC_ID: usize = 512;

    /// A label: the key's purpose, for example `covenant`, and its public identifier, for example its public key.
    pub fn new(purpose: &str, public_id: &str) -> Result<Self, LabelRefused> {
        for (part, text, limit) in
            [("purpose", purpose, Self::MAX_PURPOSE), ("public_id", public_id, Self::MAX_PUBLIC_ID)]
        {
            // No control character, so no zero byte: the authenticated text separates the parts by one.
            let plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if text.is_empty() || text.len() > limit || !plain {
                return Err(LabelRefused { part, limit });
            }
        }
        Ok(Self { purpose: purpose.to_owned(), public_id: public_id.to_owned() })
    }

    /// What the key is for.
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// Which key it is.
    pub fn public_id(&self) -> &str {
        &self.public_id
    }
}

/// Encrypts a secret of `N` bytes (32 to 96) under a password into the new file `path`.
pub fn create<const N: usize>(
    path: &Path,
    label: &KeyLabel,
    secret: &Secret<[u8; N]>,
    password: &Password,
    cost: KdfCost,
    random: &mut (impl RngCore + CryptoRng),
) -> Result<(), CreateRefused> {
    const { assert!(N >= format::MIN_SECRET && N <= format::MAX_SECRET) };
    if secret.expose().iter().all(|byte| *byte == 0) {
        return Err(CreateRefused::ZeroSecret);
    }
    let unwritable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AlreadyExists => CreateRefused::Exists { path: path.to_owned() },
        _ => CreateRefused::Unwritable { path: path.to_owned(), cause },
    };
    let sealed = Sealed::seal(label, secret.expose(), password, cost.params(), random)
        .map_err(|reason| unwritable(io::Error::other(reason)))?;
    private_file::create(path, &sealed.to_json()).map_err(unwritable)
}

/// Opens the key file `path`, which must be for `purpose`, hold exactly `N` bytes (32 to 96), and cost at least
/// `weakest` to guess at. Returns the label and the secret.
pub fn open<const N: usize>(
    path: &Path,
    purpose: &str,
    password: &Password,
    weakest: KdfCost,
) -> Result<(KeyLabel, Secret<[u8; N]>), OpenRefused> {
    open_sealed(read(path)?, path, purpose, password, weakest)
}

/// Opens the content of a key file that was kept inside another file, as backups do; `path` only names that in errors.
pub fn open_bytes<const N: usize>(
    bytes: &[u8],
    path: &Path,
    purpose: &str,
    password: &Password,
    weakest: KdfCost,
) -> Result<(KeyLabel, Secret<[u8; N]>), OpenRefused> {
    open_sealed(parse(bytes, path)?, path, purpose, password, weakest)
}

fn open_sealed<const N: usize>(
    sealed: Sealed,
    path: &Path,
    purpose: &str,
    password: &Password,
    weakest: KdfCost,
) -> Result<(KeyLabel, Secret<[u8; N]>), OpenRefused> {
    const { assert!(N >= format::MIN_SECRET && N <= format::MAX_SECRET) };
    let path_buf = || path.to_owned();
    if sealed.label().purpose() != purpose {
        let found = sealed.label().purpose().to_owned();
        return Err(OpenRefused::OtherPurpose { path: path_buf(), found, wanted: purpose.to_owned() });
    }
    if !sealed.kdf().is_at_least(weakest.params()) {
        return Err(OpenRefused::TooCheap { path: path_buf() });
    }
    if sealed.secret_len() != N {
        return Err(OpenRefused::OtherLength { path: path_buf(), found: sealed.secret_len(), wanted: N });
    }
    let secret = sealed.open(password).ok_or_else(|| OpenRefused::Locked { path: path_buf() })?;
    if secret.expose().iter().all(|byte| *byte == 0) {
        return Err(OpenRefused::ZeroSecret { path: path_buf() });
    }
    Ok((sealed.label().clone(), secret))
}

/// What the key file says in clear, without its password. Until it is opened, nobody vouches for it.
pub fn read_label(path: &Path) -> Result<KeyLabel, OpenRefused> {
    read(path).map(|sealed| sealed.label().clone())
}

fn read(path: &Path) -> Result<Sealed, OpenRefused> {
    let bytes = private_file::read(path, MAX_FILE_BYTES)
        .map_err(|cause| OpenRefused::Unreadable { path: path.to_owned(), cause })?;
    parse(&bytes, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Sealed, OpenRefused> {
    Sealed::from_json(bytes).map_err(|cause| OpenRefused::Malformed { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
