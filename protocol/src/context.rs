//! Chains, their terms, and the signing contexts that keep a signature from meaning anything elsewhere.
//! Source: docs/protocol.md, sections 1.6 and 3.1.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::{Hash32, tagged};
use crate::units::{Epoch, Height};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Name of a chain, never reused: 1 to 32 of `a-z`, `0-9` and `-`. The hub's own chain is `zero`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainId(String);

/// A name that no chain can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a chain id is 1 to 32 of a-z, 0-9 and '-'")]
pub struct BadChainId;

impl ChainId {
    /// The hub's own chain.
    pub fn zero() -> Self {
        Self("zero".to_owned())
    }

    /// Whether it is the hub's own chain.
    pub fn is_zero(&self) -> bool {
        self.0 == "zero"
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainId {
    type Err = BadChainId;

    fn from_str(text: &str) -> Result<Self, BadChainId> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let good = (1..=32).contains(&text.len()) && text.bytes().all(allowed);
        if good { Ok(Self(text.to_owned())) } else { Err(BadChainId) }
    }
}

impl TryFrom<String> for ChainId {
    type Error = BadChainId;

    fn try_from(text: String) -> Result<Self, BadChainId> {
        text.parse()
    }
}

impl From<ChainId> for String {
    fn from(id: ChainId) -> Self {
        id.0
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Wire for ChainId {
    fn encode(&self, out: &mut Vec<u8>) {
        // The constructor bounds the length by 32.
        u8::try_from(self.0.len()).unwrap_or(u8::MAX).encode(out);
        out.extend_from_slice(self.0.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = u8::decode(reader)?;
        let text =
            std::str::from_utf8(reader.take(len.into())?).map_err(|_| DecodeError::Invalid("chain id"))?;
        text.parse().map_err(|_| DecodeError::Invalid("chain id"))
    }
}

/// On what terms a chain gets finality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Heights in an epoch.
    pub epoch_length: u64,
    /// Heights divisible by this are voted on.
    pub voted_every: u64,
    /// Eligible power at which the chain opens, in sat.
    pub minimum_power_sat: u64,
}

crate::wire!(Terms { epoch_length, voted_every, minimum_power_sat });

impl Terms {
    /// Says which rule the terms break, if one.
    pub fn check(&self) -> Result<(), &'static str> {
        match self.epoch_length.checked_rem(self.voted_every) {
            None => Err("voted_every must not be 0"),
            Some(1..) => Err("epoch_length must be a multiple of voted_every"),
            Some(0) if self.epoch_length == 0 || self.epoch_length > 1_000_000 => {
                Err("epoch_length must be 1 to 1,000,000")
            }
            Some(0) if self.voted_heights() > MAX_VOTED_HEIGHTS => Err("an epoch has too many voted heights"),
            Some(0) if self.minimum_power_sat == 0 => Err("minimum_power_sat must not be 0"),
            Some(0) => Ok(()),
        }
    }

    /// The epoch of a height.
    pub fn epoch_of(&self, height: Height) -> Epoch {
        Epoch(height.0.checked_div(self.epoch_length).unwrap_or(0))
    }

    /// First height of an epoch.
    pub fn first_height(&self, epoch: Epoch) -> Height {
        Height(epoch.0.saturating_mul(self.epoch_length))
    }

    /// Whether votes are given at a height.
    pub fn is_voted(&self, height: Height) -> bool {
        height.0.checked_rem(self.voted_every) == Some(0)
    }

    /// Place of a voted height in its epoch, which is the index of its nonce in the epoch's nonce tree.
    pub fn nonce_index(&self, height: Height) -> Option<u64> {
        let offset = height.0.checked_rem(self.epoch_length)?;
        if self.is_voted(height) { offset.checked_div(self.voted_every) } else { None }
    }

    /// Voted heights in an epoch: leaves of its nonce tree.
    pub fn voted_heights(&self) -> u64 {
        self.epoch_length.checked_div(self.voted_every).unwrap_or(0)
    }

    /// Last voted height of an epoch: the one that its anchor names.
    pub fn last_voted(&self, epoch: Epoch) -> Height {
        self.first_height(epoch).plus(self.epoch_length).minus(self.voted_every)
    }
}

/// Bound of a nonce tree.
pub const MAX_VOTED_HEIGHTS: u64 = 100_000;

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// A vote, an EOTS signature.
    Vote = 1,
    /// A commitment to nonces.
    Commitment = 2,
    /// A BLS signature on a checkpoint.
    Checkpoint = 3,
    /// A provider's registration.
    Registration = 4,
    /// A holder's intent.
    Intent = 5,
    /// A governance message.
    Governance = 6,
    /// A hub header or batch root.
    Hub = 7,
    /// A covenant member's answer.
    Covenant = 8,
}

/// A chain as signatures see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainIdentity {
    /// Which hub.
    pub hub: Hash32,
    /// Which Bitcoin network, magic in wire order.
    pub magic: [u8; 4],
    /// Which chain.
    pub id: ChainId,
    /// Its genesis block; chain zero has the hub's id.
    pub genesis: Hash32,
    /// Counts restarts under a new trust root.
    pub incarnation: u32,
}

/// Thirty-two bytes that stand in every message that is signed for one purpose on one chain.
pub type Context = Hash32;

impl ChainIdentity {
    /// Chain zero of a hub.
    pub fn zero(hub: Hash32, magic: [u8; 4]) -> Self {
        Self { hub, magic, id: ChainId::zero(), genesis: hub, incarnation: 0 }
    }

    /// The context of a purpose.
    pub fn context(&self, purpose: Purpose) -> Context {
        let id = self.id.to_bytes();
        let incarnation = self.incarnation.to_be_bytes();
        tagged(
            "palisade/1/context",
            &[&self.hub.0, &self.magic, &id, &self.genesis.0, &incarnation, &[purpose as u8]],
        )
    }
}
