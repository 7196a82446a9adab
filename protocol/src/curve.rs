//! The curve: the one module behind which libsecp256k1 stands.
//!
//! Secret scalars meet only libsecp256k1's constant-time operations (tweaks of secret keys, multiplication of the
//! generator), are wiped when dropped, and print as `[redacted]`. Verification works on public data and may take
//! variable time. Source: BIP-340; docs/protocol.md, EOTS.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::secp256k1::{Keypair, Parity, PublicKey, SECP256K1, Scalar, SecretKey, XOnlyPublicKey};
use std::fmt;

/// Bytes that are no scalar of the wanted kind: zero, or not below the order of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scalar between 1 and the order of the curve")]
pub struct NotAScalar;

/// A scalar that nobody else may know. Never zero.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretScalar(SecretKey);

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl SecretScalar {
    /// Refuses zero and everything from the order of the curve on.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, NotAScalar> {
        SecretKey::from_slice(&bytes).map(Self).map_err(|_| NotAScalar)
    }

    /// The scalar, big-endian. Whoever takes the bytes wipes them.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.secret_bytes()
    }

    /// x coordinate of the scalar's point.
    pub fn x_only_public_key(&self) -> XOnlyPublicKey {
        self.even().1
    }

    /// The pair that signs by BIP-340.
    pub fn keypair(&self) -> Keypair {
        Keypair::from_secret_key(SECP256K1, &self.0)
    }

    /// This scalar or its negation, whichever has a point with even y; and that point's x coordinate.
    pub(crate) fn even(&self) -> (Self, XOnlyPublicKey) {
        let (x, parity) = self.0.public_key(SECP256K1).x_only_public_key();
        (self.negated_if(parity == Parity::Odd), x)
    }

    /// The point.
    pub(crate) fn point(&self) -> PublicKey {
        self.0.public_key(SECP256K1)
    }

    /// The negation if asked for. The parity of a public point is no secret.
    pub(crate) fn negated_if(&self, negate: bool) -> Self {
        Self(if negate { self.0.negate() } else { self.0 })
    }

    /// `self * factor + term`; `None` in the one case in 2^256 that gives zero.
    pub(crate) fn multiply_add(&self, factor: &Scalar, term: &Self) -> Option<Self> {
        let mut product = self.0.mul_tweak(factor).ok()?;
        let sum = product.add_tweak(&Scalar::from(term.0)).ok().map(Self);
        product.non_secure_erase();
        sum
    }

    /// `self + other`; `None` if that is zero.
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        self.0.add_tweak(&Scalar::from(other.0)).ok().map(Self)
    }

    /// `self - other`; `None` if that is zero.
    pub(crate) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.negated_if(true))
    }

    /// `1 / self`, by Fermat: `self ^ (n - 2)`. libsecp256k1 has no inverse of its own in its interface.
    pub(crate) fn inverse(&self) -> Option<Self> {
        let mut result: Option<SecretKey> = None;
        for bit in ORDER_LESS_TWO.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)) {
            let squared = match result {
                Some(value) => Some(value.mul_tweak(&Scalar::from(value)).ok()?),
                None => None,
            };
            result = match (bit, squared) {
                (1, Some(value)) => Some(value.mul_tweak(&Scalar::from(self.0)).ok()?),
                (1, None) => Some(self.0),
                (_, squared) => squared,
            };
        }
        result.map(Self)
    }

    /// `self * other`.
    pub(crate) fn times(&self, other: &Self) -> Option<Self> {
        self.0.mul_tweak(&Scalar::from(other.0)).ok().map(Self)
    }

    /// The same number for the interfaces that take public scalars.
    pub(crate) fn to_scalar(&self) -> Scalar {
        Scalar::from(self.0)
    }
}

const ORDER_LESS_TWO: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x3f,
];

/// BIP-340's challenge `e = H(R.x || P.x || m)`, reduced; `None` if it is zero.
pub(crate) fn challenge(nonce: &[u8; 32], key: &XOnlyPublicKey, message: &[u8; 32]) -> Option<Scalar> {
    let tag = sha256::Hash::hash(b"BIP0340/challenge").to_byte_array();
    let mut engine = sha256::Hash::engine();
    [&tag[..], &tag, nonce, &key.serialize(), message].iter().for_each(|part| engine.input(part));
    reduce(sha256::Hash::from_engine(engine).to_byte_array())
}

/// A number modulo the order of the curve; `None` for zero.
pub(crate) fn reduce(bytes: [u8; 32]) -> Option<Scalar> {
    if let Ok(scalar) = Scalar::from_be_bytes(bytes) {
        return (scalar != Scalar::ZERO).then_some(scalar);
    }
    // Not below the order n, so below 2n: subtract n, which is adding 2^256 - n.
    let mut out = [0u8; 32];
    let mut carry = 0u16;
    for ((slot, byte), less) in out.iter_mut().zip(bytes).zip(ORDER_COMPLEMENT).rev() {
        let sum = u16::from(byte).saturating_add(u16::from(less)).saturating_add(carry);
        let [high, low] = sum.to_be_bytes();
        *slot = low;
        carry = high.into();
    }
    Scalar::from_be_bytes(out).ok().filter(|scalar| *scalar != Scalar::ZERO)
}

const ORDER_COMPLEMENT: [u8; 32] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x45, 0x51, 0x23, 0x19, 0x50, 0xb7, 0x5f, 0xc4, 0x40,
    0x2d, 0xa1, 0x73, 0x2f, 0xc9, 0xbe, 0xbf,
];
