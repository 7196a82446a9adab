//! Adaptor signatures: BIP-340 signatures of a covenant member, encrypted to a finality provider's key.
//!
//! Whoever learns the provider's secret key decrypts them into signatures that slash; whoever sees a decrypted
//! signature next to its adaptor signature [`recover`]s the provider's secret key. An adaptor signature is
//! `R0 || s` with `R0 = kG + T`, where `T = lift_x(encryption key)`; it is valid if `sG - eP = R0 - T` for an even
//! R0 and `sG - eP = T - R0` for an odd one, e being BIP-340's challenge over R0.x, the signer's key and the message.
//!
//! Not here: the transactions that are signed. The scheme is that of secp256k1-zkp's pull request 299, with T even.
//! Source: docs/protocol.md, section 3.4.

use crate::curve::{
    self, KeyPair, Point, Scalar, SecretScalar, Signature, Verifier, XOnlyPublicKey, byte_value, halves,
};
use crate::hash::tagged;
use zeroize::Zeroizing;

/// Why 65 bytes are no adaptor signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAdaptorSignature {
    /// R0 is a compressed point, and begins with 2 (even y) or 3 (odd y).
    #[error("an adaptor signature begins with 2 or 3, not with {0}")]
    Parity(u8),
    /// Reducing s would give one signature two encodings.
    #[error("s of an adaptor signature is not below the group order n")]
    SOutOfRange,
}

/// An adaptor signature: 65 bytes, `R0 compressed(33) || s(32)`.
///
/// R0.x is any 32 bytes, because verification compares R0 with a computed point and never lifts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdaptorSignature {
    odd: bool,
    x: [u8; 32],
    s: Scalar,
}

impl AdaptorSignature {
    /// Refuses a first byte other than 2 and 3, and an s that is not below n.
    pub fn from_bytes(bytes: [u8; 65]) -> Result<Self, NotAnAdaptorSignature> {
        let [parity, rest @ ..] = bytes;
        let odd = match parity {
            2 => false,
            3 => true,
            other => return Err(NotAnAdaptorSignature::Parity(other)),
        };
        let [x, s] = halves(&rest);
        let s = Scalar::from_be_bytes(s).map_err(|_| NotAnAdaptorSignature::SOutOfRange)?;
        Ok(Self { odd, x, s })
    }

    /// The 65 bytes.
    pub fn to_bytes(&self) -> [u8; 65] {
        let mut bytes = [0; 65];
        let all = self.point_bytes().into_iter().chain(self.s.to_be_bytes());
        bytes.iter_mut().zip(all).for_each(|(byte, value)| *byte = value);
        bytes
    }

    /// R0 as a compressed point.
    fn point_bytes(&self) -> [u8; 33] {
        let mut bytes = [if self.odd { 3 } else { 2 }; 33];
        bytes.iter_mut().skip(1).zip(self.x).for_each(|(byte, value)| *byte = value);
        bytes
    }
}

byte_value!(AdaptorSignature, 65, "adaptor signature", |bytes| AdaptorSignature::from_bytes(bytes).ok());

/// Signs a 32-byte sighash, encrypted to a key. `aux_rand` is 32 fresh random bytes.
///
/// The result is not verified here: that would double the cost, and a fault gives no key away as long as `aux_rand` is
/// fresh, because a repetition then has another nonce. Whoever receives the signature verifies it before it counts.
pub fn sign(
    key: &KeyPair,
    encryption_key: &XOnlyPublicKey,
    sighash: &[u8; 32],
    aux_rand: &[u8; 32],
) -> AdaptorSignature {
    sign_to_point(key, &curve::lift_x(encryption_key), sighash, aux_rand)
}

fn sign_to_point(key: &KeyPair, t: &Point, sighash: &[u8; 32], aux_rand: &[u8; 32]) -> AdaptorSignature {
    let (k, r0) = nonce(key, t, sighash, aux_rand);
    let (odd, x) = curve::parity_and_x(&r0);
    let k = if odd { k.negated() } else { k };
    let e = curve::challenge(&x, &key.public(), sighash);
    AdaptorSignature { odd, x, s: key.secret().sign(&e, &k) }
}

/// The nonce k of the specification, and `R0 = kG + T`.
///
/// The hash binds secret key, randomness, encryption key, public key and message, so a change of any of them changes
/// k. A hash that is no secret scalar, or that would make R0 infinite, is hashed again in place of the masked key; the
/// specification reduces or fails there, which is the same except once in 2^128 signatures.
fn nonce(key: &KeyPair, t: &Point, sighash: &[u8; 32], aux_rand: &[u8; 32]) -> (SecretScalar, Point) {
    let mut hidden = key.secret_bytes();
    let mask = tagged("SchnorrAdaptor/aux", &[aux_rand]);
    hidden.iter_mut().zip(mask.0).for_each(|(byte, mask)| *byte ^= mask);
    loop {
        let public = key.public().serialize();
        let parts: [&[u8]; 4] = [&*hidden, &t.serialize(), &public, sighash];
        hidden = Zeroizing::new(tagged("SchnorrAdaptor/nonce", &parts).0);
        let Ok(k) = SecretScalar::from_bytes(&hidden) else { continue };
        if let Some(r0) = curve::add_points(&k.point(), t) {
            return (k, r0);
        }
    }
}

/// An adaptor signature that the key did not make over the sighash, encrypted to the encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("adaptor signature does not verify for this key, encryption key and sighash")]
pub struct AdaptorInvalid;

/// Verifies that decryption with the secret of `encryption_key` will give a BIP-340 signature of `key` on `sighash`.
pub fn verify(
    key: &impl Verifier,
    encryption_key: &XOnlyPublicKey,
    sighash: &[u8; 32],
    signature: &AdaptorSignature,
) -> Result<(), AdaptorInvalid> {
    verify_to_point(key, &curve::lift_x(encryption_key), sighash, signature)
}

fn verify_to_point(
    key: &impl Verifier,
    t: &Point,
    sighash: &[u8; 32],
    signature: &AdaptorSignature,
) -> Result<(), AdaptorInvalid> {
    let e = curve::challenge(&signature.x, &key.public(), sighash);
    let r = key.nonce_point(&signature.s, &e).ok_or(AdaptorInvalid)?;
    let r = if signature.odd { curve::negate_point(&r) } else { r };
    let r0 = curve::add_points(&r, t).ok_or(AdaptorInvalid)?;
    if r0.serialize() == signature.point_bytes() { Ok(()) } else { Err(AdaptorInvalid) }
}

/// Decrypts: the BIP-340 signature that a valid adaptor signature hides, made with the secret of its encryption key.
/// Of an invalid one, or with another key, it makes a signature that does not verify.
pub fn decrypt(signature: &AdaptorSignature, decryption_key: &KeyPair) -> Signature {
    decrypt_with(signature, decryption_key.secret())
}

fn decrypt_with(signature: &AdaptorSignature, t: &SecretScalar) -> Signature {
    let s = if signature.odd { t.negated().plus(&signature.s) } else { t.plus(&signature.s) };
    curve::signature(&signature.x, &s.to_be_bytes())
}

/// Why a signature and an adaptor signature do not give the secret of the encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The two have different nonces, so one is not the other decrypted.
    #[error("the signature has another nonce than the adaptor signature")]
    OtherNonce,
    /// The signature is malformed.
    #[error("s of the signature is not below the group order n")]
    SOutOfRange,
    /// The difference of the two is not this key's secret: one is not the other decrypted with it.
    #[error("the two signatures do not give the secret key of {0}")]
    NotThisKey(XOnlyPublicKey),
}

/// The secret of the encryption key, from an adaptor signature and the BIP-340 signature that was decrypted from it.
///
/// The result owns the encryption key given; this is checked.
pub fn recover(
    signature: &AdaptorSignature,
    decrypted: &Signature,
    encryption_key: &XOnlyPublicKey,
) -> Result<KeyPair, RecoverError> {
    let t = recover_scalar(signature, decrypted)?;
    KeyPair::from_secret_bytes(&t.to_be_bytes())
        .ok()
        .filter(|pair| pair.public() == *encryption_key)
        .ok_or(RecoverError::NotThisKey(*encryption_key))
}

fn recover_scalar(signature: &AdaptorSignature, decrypted: &Signature) -> Result<Scalar, RecoverError> {
    let [x, s] = halves(&decrypted.serialize());
    if x != signature.x {
        return Err(RecoverError::OtherNonce);
    }
    let s = Scalar::from_be_bytes(s).map_err(|_| RecoverError::SOutOfRange)?;
    Ok(if signature.odd { curve::subtract(&signature.s, &s) } else { curve::subtract(&s, &signature.s) })
}

#[cfg(test)]
mod babylon;
#[cfg(test)]
mod tests;
