//! Public keys by role. A key of one role never stands where another belongs.
//!
//! All are x-only keys of secp256k1 (BIP-340), checked to be points when they are made, and ordered by their bytes.
//! Source: docs/protocol.md, section 1.2.

use crate::codec::{DecodeError, Reader, Wire};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Message, SECP256K1, XOnlyPublicKey};
use std::fmt;
use std::str::FromStr;

/// Thirty-two bytes that are not the x coordinate of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an x-only public key: 64 hex digits of a point's x coordinate are wanted")]
pub struct NotAKey;

/// A signature that the key did not make over the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BIP-340 signature does not verify")]
pub struct BadSignature;

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Refuses bytes that are no point.
            pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, NotAKey> {
                XOnlyPublicKey::from_slice(&bytes).map(|_| Self(bytes)).map_err(|_| NotAKey)
            }

            /// The x coordinate, big-endian.
            pub fn to_bytes(self) -> [u8; 32] {
                self.0
            }

            /// The point.
            #[allow(clippy::expect_used, reason = "every constructor has parsed these bytes")]
            pub fn point(&self) -> XOnlyPublicKey {
                XOnlyPublicKey::from_slice(&self.0).expect("checked when it was made")
            }

            /// Verifies a BIP-340 signature over a 32-byte message.
            pub fn verify(&self, message: &[u8; 32], signature: &Signature) -> Result<(), BadSignature> {
                SECP256K1
                    .verify_schnorr(signature, &Message::from_digest(*message), &self.point())
                    .map_err(|_| BadSignature)
            }
        }

        impl From<XOnlyPublicKey> for $name {
            fn from(key: XOnlyPublicKey) -> Self {
                Self(key.serialize())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAKey;

            fn from_str(text: &str) -> Result<Self, NotAKey> {
                let bytes = <[u8; 32] as bitcoin::hex::FromHex>::from_hex(text).map_err(|_| NotAKey)?;
                Self::from_bytes(bytes)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::from_bytes(reader.array()?).map_err(|_| DecodeError::Invalid("x-only public key"))
            }
        }
    };
}

role! {
    /// Who owns a stake.
    StakerKey
}
role! {
    /// A finality provider's key for one chain: it signs votes (EOTS), commitments and its own registration.
    ProviderKey
}
role! {
    /// A member of the covenant committee.
    CovenantKey
}
role! {
    /// A member of the governance that the genesis document names.
    GovernanceKey
}
role! {
    /// The key by which a solo hub signs its headers and batch roots.
    HubKey
}
