//! Wallet signatures over a readable text, made by the script of an output: BIP-322 in its *simple* form.
//!
//! The signer shows that they can spend an output, by a virtual transaction `to_sign` that spends a virtual output of
//! the same script; the text is hashed into the transaction before it. Only the witness of `to_sign` is handed over.
//!
//! Two kinds of script are understood: p2wpkh, and p2tr spent by its key path. Every other kind is refused, never
//! "inconclusive". So is a signature that leaves a part of `to_sign` open: the sighash type must be ALL, or DEFAULT for
//! taproot. A witness that is accepted has one form only: strict DER, low S, no item more than the script needs.
//!
//! Not here: the *full* and *proof of funds* forms, time locks, text encodings (base64, the `smp` prefix). Whether the
//! output exists, and what the text must say, is for the caller to judge. Source: docs/protocol.md, section 3.6.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::deserialize;
use bitcoin::key::TapTweak as _;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::Builder;
use bitcoin::secp256k1::{Keypair, Message, PublicKey, SECP256K1, SecretKey, XOnlyPublicKey, ecdsa, schnorr};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Amount, CompressedPublicKey, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
};
use bitcoin::{hashes::Hash as _, transaction::Version};

use crate::hash::{Hash32, tagged};

/// Longest text, in bytes. A wallet shows it to a person, so a longer one is a mistake or an attack.
pub const MESSAGE_MAX: usize = 16_384;

/// Longest consensus encoding of a witness that can be valid: a count, a DER signature with its sighash byte, a key.
pub const WITNESS_MAX: usize = 1 + 1 + SIGNATURE_MAX + 1 + KEY_LEN;

/// A DER signature of two 33-byte integers (so that a high S is named as such), and the sighash byte.
const SIGNATURE_MAX: usize = 73;
const KEY_LEN: usize = 33;
const SCHNORR_LEN: usize = 64;

/// Why a wallet signature does not count. A retry with the same bytes never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bip322Invalid {
    /// The text is longer than [`MESSAGE_MAX`].
    #[error("text of {found} bytes, at most {MESSAGE_MAX} are signed")]
    MessageTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The script is neither p2wpkh nor p2tr.
    #[error("a {kind} script cannot sign: use an output that is p2wpkh, or p2tr with a key path")]
    ScriptUnsupported {
        /// What the script is.
        kind: &'static str,
    },
    /// The bytes are not a witness in consensus encoding, or longer than any that can be valid.
    #[error("{found} bytes are not the encoding of a BIP-322 simple witness")]
    WitnessMalformed {
        /// Number of bytes found.
        found: usize,
    },
    /// The witness has an item too many or too few: a script path, an annex, or nothing at all.
    #[error("witness has {found} items, the script takes exactly {wanted}")]
    WitnessItems {
        /// Items found.
        found: usize,
        /// Items that the script takes.
        wanted: usize,
    },
    /// The signature's length is none that a signature can have.
    #[error("signature item has {found} bytes")]
    SignatureLength {
        /// Bytes found, sighash byte included.
        found: usize,
    },
    /// The sighash type leaves a part of the transaction unsigned, or is no type at all.
    #[error("sighash type {found:#04x}: only ALL counts, or DEFAULT for taproot")]
    Sighash {
        /// The byte found.
        found: u8,
    },
    /// The ECDSA signature is not in the one DER form that it has.
    #[error("ECDSA signature is not strict DER")]
    SignatureEncoding,
    /// The ECDSA signature has the higher of its two S values.
    #[error("ECDSA signature has a high S")]
    HighS,
    /// The witness key is not a compressed public key.
    #[error("witness key is not a compressed public key of 33 bytes")]
    Key,
    /// The witness key is a key, but not the one whose hash the script names.
    #[error("witness key is not the key of the script")]
    OtherKey,
    /// The program of the p2tr script is not the x coordinate of a point: nobody can spend it.
    #[error("taproot output key is not a point")]
    OutputKey,
    /// The signature is well formed and was not made by this key over this text.
    #[error("signature does not verify for this script and text")]
    Signature,
}

/// Reads the consensus encoding of a witness, refusing what cannot be valid before anything is allocated.
pub fn witness_from_bytes(bytes: &[u8]) -> Result<Witness, Bip322Invalid> {
    let malformed = Bip322Invalid::WitnessMalformed { found: bytes.len() };
    // A witness of more than two items cannot be valid, and its stated count would size an allocation.
    if bytes.len() > WITNESS_MAX || bytes.first().is_none_or(|count| *count > 2) {
        return Err(malformed);
    }
    deserialize(bytes).map_err(|_| malformed)
}

/// Verifies that the owner of `script_pubkey` signed `message`, a text in UTF-8 (BIP-322 simple).
pub fn verify(script_pubkey: &Script, message: &[u8], witness: &Witness) -> Result<(), Bip322Invalid> {
    check_length(message)?;
    match Kind::of(script_pubkey)? {
        Kind::P2wpkh => verify_p2wpkh(script_pubkey, message, witness),
        Kind::P2trKeyPath => verify_p2tr(script_pubkey, message, witness),
    }
}

/// Signs `message` with the key of a p2wpkh output, deterministically (RFC 6979, ground to a low R as wallets do).
pub fn sign_p2wpkh(secret: &SecretKey, message: &[u8]) -> Result<Witness, Bip322Invalid> {
    check_length(message)?;
    let key = CompressedPublicKey(secret.public_key(SECP256K1));
    let script_pubkey = ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
    let signature = SECP256K1.sign_ecdsa_low_r(&p2wpkh_sighash(&script_pubkey, message), secret);
    let sighash_type = EcdsaSighashType::All;
    Ok(Witness::p2wpkh(&bitcoin::ecdsa::Signature { signature, sighash_type }, &key.0))
}

/// Signs `message` with the internal key of a p2tr output without scripts (BIP-86). `aux` is fresh randomness, which
/// BIP-340 mixes into the nonce.
pub fn sign_p2tr_key_path(
    secret: &SecretKey,
    message: &[u8],
    aux: &[u8; 32],
) -> Result<Witness, Bip322Invalid> {
    check_length(message)?;
    let mut output_key = Keypair::from_secret_key(SECP256K1, secret).tap_tweak(SECP256K1, None).to_keypair();
    let (x_only, _) = output_key.x_only_public_key();
    let script_pubkey = ScriptBuf::new_p2tr_tweaked(x_only.dangerous_assume_tweaked());
    let digest = p2tr_sighash(&script_pubkey, message, TapSighashType::Default);
    let signature = SECP256K1.sign_schnorr_with_aux_rand(&digest, &output_key, aux);
    output_key.non_secure_erase();
    Ok(Witness::p2tr_key_spend(&bitcoin::taproot::Signature {
        signature,
        sighash_type: TapSighashType::Default,
    }))
}

/// The kinds of script that can sign.
enum Kind {
    P2wpkh,
    P2trKeyPath,
}

impl Kind {
    fn of(script: &Script) -> Result<Self, Bip322Invalid> {
        let kind = match script {
            s if s.is_p2wpkh() => return Ok(Self::P2wpkh),
            s if s.is_p2tr() => return Ok(Self::P2trKeyPath),
            s if s.is_p2pkh() => "p2pkh",
            s if s.is_p2sh() => "p2sh",
            s if s.is_p2wsh() => "p2wsh",
            _ => "non-standard",
        };
        Err(Bip322Invalid::ScriptUnsupported { kind })
    }
}

fn check_length(message: &[u8]) -> Result<(), Bip322Invalid> {
    match message.len() {
        0..=MESSAGE_MAX => Ok(()),
        found => Err(Bip322Invalid::MessageTooLong { found }),
    }
}

/// The items of a witness that must have exactly `N`.
fn items<const N: usize>(witness: &Witness) -> Result<[&[u8]; N], Bip322Invalid> {
    let wrong = Bip322Invalid::WitnessItems { found: witness.len(), wanted: N };
    if witness.len() != N {
        return Err(wrong);
    }
    witness.iter().collect::<Vec<_>>().try_into().map_err(|_| wrong)
}

fn verify_p2wpkh(script_pubkey: &Script, message: &[u8], witness: &Witness) -> Result<(), Bip322Invalid> {
    let [signature, key] = items(witness)?;
    if key.len() != KEY_LEN {
        return Err(Bip322Invalid::Key);
    }
    let key = PublicKey::from_slice(key).map_err(|_| Bip322Invalid::Key)?;
    if ScriptBuf::new_p2wpkh(&CompressedPublicKey(key).wpubkey_hash()).as_script() != script_pubkey {
        return Err(Bip322Invalid::OtherKey);
    }
    let signature = strict_ecdsa(signature)?;
    SECP256K1
        .verify_ecdsa(&p2wpkh_sighash(script_pubkey, message), &signature, &key)
        .map_err(|_| Bip322Invalid::Signature)
}

/// The signature in `item`, whose last byte must be SIGHASH_ALL.
fn strict_ecdsa(item: &[u8]) -> Result<ecdsa::Signature, Bip322Invalid> {
    let length = Bip322Invalid::SignatureLength { found: item.len() };
    if item.len() > SIGNATURE_MAX {
        return Err(length);
    }
    let (sighash, der) = item.split_last().ok_or(length)?;
    if u32::from(*sighash) != EcdsaSighashType::All.to_u32() {
        return Err(Bip322Invalid::Sighash { found: *sighash });
    }
    let signature = ecdsa::Signature::from_der(der).map_err(|_| Bip322Invalid::SignatureEncoding)?;
    if signature.serialize_der().as_ref() != der {
        return Err(Bip322Invalid::SignatureEncoding);
    }
    let mut low = signature;
    low.normalize_s();
    if low == signature { Ok(signature) } else { Err(Bip322Invalid::HighS) }
}

fn verify_p2tr(script_pubkey: &Script, message: &[u8], witness: &Witness) -> Result<(), Bip322Invalid> {
    let [item] = items(witness)?;
    let length = Bip322Invalid::SignatureLength { found: item.len() };
    let (signature, sighash_type) = match item.split_at_checked(SCHNORR_LEN) {
        Some((signature, [])) => (signature, TapSighashType::Default),
        Some((signature, [1])) => (signature, TapSighashType::All),
        // A stated DEFAULT (0x00) is invalid in BIP-341 too: the type must then be left out.
        Some((_, [found])) => return Err(Bip322Invalid::Sighash { found: *found }),
        _ => return Err(length),
    };
    let signature = schnorr::Signature::from_slice(signature).map_err(|_| length)?;
    let program = script_pubkey.as_bytes().get(2..).unwrap_or_default();
    let key = XOnlyPublicKey::from_slice(program).map_err(|_| Bip322Invalid::OutputKey)?;
    SECP256K1
        .verify_schnorr(&signature, &p2tr_sighash(script_pubkey, message, sighash_type), &key)
        .map_err(|_| Bip322Invalid::Signature)
}

/// The virtual transaction whose only output has the script, and whose input commits to the text.
fn to_spend(script_pubkey: &Script, message: &[u8]) -> Transaction {
    let Hash32(text) = tagged("BIP0322-signed-message", &[message]);
    Transaction {
        version: Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(0).push_slice(text).into_script(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: script_pubkey.into() }],
    }
}

/// The virtual transaction whose witness is the signature.
fn to_sign(to_spend: &Transaction) -> Transaction {
    Transaction {
        version: Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(to_spend.compute_txid(), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script(),
        }],
    }
}

#[allow(clippy::expect_used, reason = "input 0 exists, and both callers pass a p2wpkh script")]
fn p2wpkh_sighash(script_pubkey: &Script, message: &[u8]) -> Message {
    let transaction = to_sign(&to_spend(script_pubkey, message));
    let digest = SighashCache::new(transaction)
        .p2wpkh_signature_hash(0, script_pubkey, Amount::ZERO, EcdsaSighashType::All)
        .expect("a sighash of the only input");
    Message::from_digest(digest.to_byte_array())
}

#[allow(clippy::expect_used, reason = "input 0 and its previous output exist, and neither type is SINGLE")]
fn p2tr_sighash(script_pubkey: &Script, message: &[u8], sighash_type: TapSighashType) -> Message {
    let to_spend = to_spend(script_pubkey, message);
    let digest = SighashCache::new(to_sign(&to_spend))
        .taproot_key_spend_signature_hash(0, &Prevouts::All(&to_spend.output), sighash_type)
        .expect("a sighash of the only input");
    Message::from_digest(digest.to_byte_array())
}

#[cfg(test)]
mod tests;
