//! The bytes of a key file: JSON around one ChaCha20-Poly1305 ciphertext (RFC 8439).

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use rand::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KdfParams, KeyLabel, LabelRefused};
use crate::daemon::password::Password;
use crate::daemon::secret::Secret;

pub(super) const FORMAT: &str = "palisade-key";
pub(super) const VERSION: u32 = 1;
pub(super) const KDF: &str = "argon2id";
pub(super) const CIPHER: &str = "chacha20-poly1305";
/// Shortest and longest secret, in bytes.
pub(super) const MIN_SECRET: usize = 32;
pub(super) const MAX_SECRET: usize = 96;
const TAG_LEN: usize = 16;

/// Why some bytes are no key file.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Truncated, altered or foreign: not the JSON of a key file, or with parameters out of bounds.
    #[error("is damaged or no key file ({0})")]
    Json(#[from] serde_json::Error),
    /// A name or version that this program does not know.
    #[error("`{field}` is `{found}`; this program knows `{known}`")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value we know.
        known: String,
    },
    /// A byte string that is not hex, or not of the right length.
    #[error("`{field}` is not hex of the right length")]
    Bytes {
        /// The field.
        field: &'static str,
    },
    /// A label that is no label.
    #[error("{0}")]
    Label(#[from] LabelRefused),
}

/// The JSON as written, in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    purpose: String,
    public_id: String,
    kdf: String,
    kdf_params: KdfParams,
    salt: String,
    cipher: String,
    nonce: String,
    ciphertext: String,
}

/// A secret under a password, with everything that opening it takes.
#[derive(Debug)]
pub(super) struct Sealed {
    label: KeyLabel,
    kdf: KdfParams,
    salt: [u8; 32],
    nonce: [u8; 12],
    /// The encrypted secret, then the tag.
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Encrypts `secret` under a fresh salt and nonce. Fails only where Argon2 or the cipher refuse their sizes.
    pub(super) fn seal(
        label: &KeyLabel,
        secret: &[u8],
        password: &Password,
        kdf: KdfParams,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, String> {
        let (mut salt, mut nonce) = ([0; 32], [0; 12]);
        random.fill_bytes(&mut salt);
        random.fill_bytes(&mut nonce);
        // The ciphertext grows out of this copy, in place; the room for the tag keeps it from being moved.
        let mut ciphertext = Zeroizing::new(Vec::with_capacity(secret.len() + TAG_LEN));
        ciphertext.extend_from_slice(secret);
        let key = kdf.derive(password.expose().as_bytes(), &salt).map_err(|e| e.to_string())?;
        let tag = ChaCha20Poly1305::new(Key::from_slice(key.as_ref()))
            .encrypt_in_place_detached(
                Nonce::from_slice(&nonce),
                &associated_data(label),
                ciphertext.as_mut_slice(),
            )
            .map_err(|e| e.to_string())?;
        ciphertext.extend_from_slice(&tag);
        Ok(Self { label: label.clone(), kdf, salt, nonce, ciphertext: std::mem::take(&mut *ciphertext) })
    }

    /// Decrypts the secret; nothing if the password is wrong, anything was altered, or it has not `N` bytes.
    pub(super) fn open<const N: usize>(&self, password: &Password) -> Option<Secret<[u8; N]>> {
        let (body, tag) = self.ciphertext.split_at_checked(N)?;
        let tag: [u8; TAG_LEN] = tag.try_into().ok()?;
        let key = self.kdf.derive(password.expose().as_bytes(), &self.salt).ok()?;
        let cipher = ChaCha20Poly1305::new(Key::from_slice(key.as_ref()));
        let opened = Secret::fill(|secret: &mut [u8; N]| {
            secret.copy_from_slice(body);
            let (nonce, tag) = (Nonce::from_slice(&self.nonce), Tag::from_slice(&tag));
            cipher.decrypt_in_place_detached(nonce, &associated_data(&self.label), secret, tag)
        });
        opened.ok()
    }

    pub(super) fn label(&self) -> &KeyLabel {
        &self.label
    }

    pub(super) fn kdf(&self) -> KdfParams {
        self.kdf
    }

    /// Bytes of the secret inside.
    pub(super) fn secret_len(&self) -> usize {
        self.ciphertext.len().saturating_sub(TAG_LEN)
    }

    /// The content of the file.
    #[allow(clippy::expect_used, reason = "a struct of strings and integers always serialises")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        let document = Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            purpose: self.label.purpose.clone(),
            public_id: self.label.public_id.clone(),
            kdf: KDF.to_owned(),
            kdf_params: self.kdf,
            salt: hex::encode(self.salt),
            cipher: CIPHER.to_owned(),
            nonce: hex::encode(self.nonce),
            ciphertext: hex::encode(&self.ciphertext),
        };
        let mut json = serde_json::to_vec_pretty(&document).expect("strings and integers");
        json.push(b'\n');
        json
    }

    /// Reads the content of a file. Everything is bounded here; nothing is decrypted yet.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, Malformed> {
        let document: Document = serde_json::from_slice(json)?;
        known("format", &document.format, FORMAT)?;
        known("version", &document.version.to_string(), &VERSION.to_string())?;
        known("kdf", &document.kdf, KDF)?;
        known("cipher", &document.cipher, CIPHER)?;
        let ciphertext =
            hex::decode(&document.ciphertext).map_err(|_| Malformed::Bytes { field: "ciphertext" })?;
        if !(MIN_SECRET + TAG_LEN..=MAX_SECRET + TAG_LEN).contains(&ciphertext.len()) {
            return Err(Malformed::Bytes { field: "ciphertext" });
        }
        Ok(Self {
            label: KeyLabel::new(&document.purpose, &document.public_id)?,
            kdf: document.kdf_params,
            salt: bytes("salt", &document.salt)?,
            nonce: bytes("nonce", &document.nonce)?,
            ciphertext,
        })
    }
}

/// What is authenticated beside the secret. Labels hold no zero byte, so the parts cannot run into each other.
fn associated_data(label: &KeyLabel) -> Vec<u8> {
    format!("{FORMAT}\0{VERSION}\0{}\0{}", label.purpose, label.public_id).into_bytes()
}

fn known(field: &'static str, found: &str, known: &str) -> Result<(), Malformed> {
    if found == known {
        return Ok(());
    }
    Err(Malformed::Unknown { field, found: found.to_owned(), known: known.to_owned() })
}

fn bytes<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| Malformed::Bytes { field })?;
    Ok(bytes)
}
