//! Hub blocks: messages in order, and a header that commits to them and to the state after them.
//! Source: docs/protocol.md, section 8.1.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::{Hash32, tagged};
use crate::message::{MAX_MESSAGE, Message, id_of_bytes};
use crate::tree::{Tree, leaf_hash};
use crate::units::{BtcHeight, Height};
use bitcoin::BlockHash;
use bitcoin::secp256k1::schnorr::Signature;

/// A hub header. No clock: time is the median time of the Bitcoin tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubHeader {
    /// Height in chain zero.
    pub height: Height,
    /// Hash of the header before; zero in the first block.
    pub previous: Hash32,
    /// Root over the ids of the block's messages.
    pub message_root: Hash32,
    /// Root of the state after the block.
    pub state_root: Hash32,
    /// Bitcoin's tip as the ledger knows it after the block.
    pub btc_tip: BlockHash,
    /// Its height.
    pub btc_height: BtcHeight,
}

crate::wire!(HubHeader { height, previous, message_root, state_root, btc_tip, btc_height });

impl HubHeader {
    /// The header's hash: chain zero's block hash.
    pub fn hash(&self) -> Hash32 {
        tagged("palisade/1/header", &[&self.to_bytes()])
    }

    /// What the solo engine signs; `context` is chain zero's hub context.
    pub fn signing_message(context: &crate::context::Context, hash: &Hash32) -> [u8; 32] {
        tagged("palisade/1/signed-header", &[&context.0, &hash.0]).0
    }
}

/// A block of the log, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: HubHeader,
    /// BIP-340 by the hub's key over [`HubHeader::signing_message`].
    pub signature: Signature,
    /// The messages, in the order in which they were applied.
    pub messages: Vec<MessageBytes>,
}

crate::wire!(Block { header, signature, messages });

/// Canonical bytes of a message, not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBytes(Vec<u8>);

impl MessageBytes {
    /// The bytes of a message.
    pub fn of(message: &Message) -> Self {
        Self(message.to_bytes())
    }

    /// Bytes from outside: refused if they are too long or no message.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = Self::unread(bytes)?;
        bytes.decode()?;
        Ok(bytes)
    }

    /// Bytes from outside of which only the length is looked at: to decode them costs a square root for each key.
    pub fn unread(bytes: &[u8]) -> Result<Self, DecodeError> {
        let found = bytes.len();
        if found > MAX_MESSAGE {
            return Err(DecodeError::TooLong { what: "message", found, max: MAX_MESSAGE });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The message.
    pub fn decode(&self) -> Result<Message, DecodeError> {
        Message::from_bytes(&self.0)
    }

    /// Its id.
    pub fn id(&self) -> Hash32 {
        id_of_bytes(&self.0)
    }
}

impl Wire for MessageBytes {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).encode(out);
        out.extend_from_slice(&self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes("message", MAX_MESSAGE).map(|bytes| Self(bytes.to_vec()))
    }
}

/// The tree over the ids of a block's messages.
pub fn message_tree(ids: impl IntoIterator<Item = Hash32>) -> Tree {
    Tree::from_leaves(ids.into_iter().map(|id| leaf_hash(&id.0)))
}
