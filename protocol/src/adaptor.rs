//! Adaptor signatures: a committee member's signature on a slashing, encrypted to a provider's key.
//!
//! Whoever learns the provider's key decrypts it; and whoever sees it decrypted on Bitcoin learns the provider's key.
//! 65 bytes `R0 || s` with `R0 = k G + T`, `s = k + e d`, challenge over R0.x. Source: docs/protocol.md, Adaptor signatures
//! (secp256k1-zkp pull request 299, with `T` the even-y point of the provider's x-only key).

use crate::codec::{DecodeError, Reader, Wire};
use crate::curve::{SecretScalar, challenge};
use crate::hash::tagged;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Parity, PublicKey, SECP256K1, XOnlyPublicKey};

/// An encrypted BIP-340 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdaptorSignature([u8; 65]);

impl Wire for AdaptorSignature {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

/// An adaptor signature that is none of the key over the message for the encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("adaptor signature does not verify")]
pub struct AdaptorInvalid;

/// The two signatures do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not what the adaptor signature decrypts to")]
pub struct NotDecrypted;

impl AdaptorSignature {
    /// Any 65 bytes; what they are shows when they are verified.
    pub fn from_bytes(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }

    /// `R0 compressed || s`.
    pub fn to_bytes(&self) -> [u8; 65] {
        self.0
    }

    /// Signs `message` so that only the owner of `encryption` can use it. `aux` is 32 fresh random bytes: they protect the
    /// nonce against side channels, not its uniqueness. `None` with negligible probability.
    pub fn sign(
        secret: &SecretScalar,
        message: &[u8; 32],
        encryption: &XOnlyPublicKey,
        aux: &[u8; 32],
    ) -> Option<Self> {
        let (d, public) = secret.even();
        let t = encryption.public_key(Parity::Even);
        let mut masked = d.to_bytes();
        let mask = tagged("SchnorrAdaptor/aux", &[aux]);
        masked.iter_mut().zip(mask.0).for_each(|(byte, mask)| *byte ^= mask);
        let nonce = tagged("SchnorrAdaptor/nonce", &[&masked, &t.serialize(), &public.serialize(), message]);
        let k = SecretScalar::from_bytes(nonce.0).ok()?;
        let r0 = k.point().combine(&t).ok()?;
        let (x, parity) = r0.x_only_public_key();
        let e = challenge(&x.serialize(), &public, message)?;
        let s = d.multiply_add(&e, &k.negated_if(parity == Parity::Odd))?;
        let mut bytes = [0; 65];
        let (head, tail) = bytes.split_at_mut(33);
        head.copy_from_slice(&r0.serialize());
        tail.copy_from_slice(&s.to_bytes());
        Some(Self(bytes))
    }

    /// Verifies: `s G - e P = +-(R0 - T)`, the sign being R0's parity.
    pub fn verify(
        &self,
        key: &XOnlyPublicKey,
        message: &[u8; 32],
        encryption: &XOnlyPublicKey,
    ) -> Result<(), AdaptorInvalid> {
        self.check(key, message, encryption).ok_or(AdaptorInvalid)
    }

    fn check(&self, key: &XOnlyPublicKey, message: &[u8; 32], encryption: &XOnlyPublicKey) -> Option<()> {
        let (r0, s) = self.parts()?;
        let (x, parity) = r0.x_only_public_key();
        let e = SecretScalar::from_bytes(challenge(&x.serialize(), key, message)?.to_be_bytes()).ok()?;
        let t = encryption.public_key(Parity::Even);
        let expected = r0.combine(&t.negate(SECP256K1)).ok()?;
        let expected = if parity == Parity::Odd { expected.negate(SECP256K1) } else { expected };
        let point = key.public_key(Parity::Even);
        let minus_e_p = point.mul_tweak(SECP256K1, &e.negated_if(true).to_scalar()).ok()?;
        let found = minus_e_p.add_exp_tweak(SECP256K1, &s.to_scalar()).ok()?;
        (found == expected).then_some(())
    }

    fn parts(&self) -> Option<(PublicKey, SecretScalar)> {
        let (head, tail) = self.0.split_at_checked(33)?;
        let r0 = PublicKey::from_slice(head).ok()?;
        Some((r0, SecretScalar::from_bytes(tail.try_into().ok()?).ok()?))
    }

    /// The BIP-340 signature, given the encryption key's secret.
    pub fn decrypt(&self, secret: &SecretScalar) -> Option<Signature> {
        let (r0, s) = self.parts()?;
        let (x, parity) = r0.x_only_public_key();
        let t = secret.even().0.negated_if(parity == Parity::Odd);
        let mut bytes = [0; 64];
        let (head, tail) = bytes.split_at_mut(32);
        head.copy_from_slice(&x.serialize());
        tail.copy_from_slice(&s.plus(&t)?.to_bytes());
        Signature::from_slice(&bytes).ok()
    }

    /// The encryption key's secret, given what this was decrypted to. Checked against the encryption key.
    pub fn recover(
        &self,
        decrypted: &Signature,
        encryption: &XOnlyPublicKey,
    ) -> Result<SecretScalar, NotDecrypted> {
        let found = || {
            let (r0, s) = self.parts()?;
            let (x, parity) = r0.x_only_public_key();
            let bytes = decrypted.serialize();
            let (r, s2) = bytes.split_at_checked(32)?;
            let s2 = SecretScalar::from_bytes(s2.try_into().ok()?).ok()?;
            let t = s2.minus(&s)?.negated_if(parity == Parity::Odd);
            (r == x.serialize() && t.x_only_public_key() == *encryption).then_some(t)
        };
        found().ok_or(NotDecrypted)
    }
}
