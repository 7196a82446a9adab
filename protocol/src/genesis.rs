//! The genesis document: what a hub is born with and can never change. Its hash is the hub's id.
//! Source: docs/protocol.md, section 1.7.

use crate::chain::{BaseRefused, HeaderChain, HeaderRules, RulesRefused};
use crate::codec::Wire;
use crate::context::{ChainIdentity, Terms};
use crate::governance::{BadGovernors, Governors};
use crate::hash::{Hash32, tagged};
use crate::keys::{GovernanceKey, HubKey};
use crate::params::{BadParams, Params, ParamsDocument};
use crate::units::BtcHeight;
use bitcoin::Network;
use bitcoin::block::Header;
use serde::{Deserialize, Serialize};

/// A genesis document as it is written down; [`Genesis`] is the checked form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisDocument {
    /// Bitcoin network, by the four magic bytes of its messages, hex in wire order.
    pub network_magic: Magic,
    /// The Bitcoin headers that the hub trusts from birth, hex, oldest first: eleven, or all from Bitcoin's genesis on.
    pub base_headers: Vec<HeaderHex>,
    /// Height of the last of them; a multiple of the retarget interval.
    pub base_height: BtcHeight,
    /// Key of the solo engine.
    pub hub_key: HubKey,
    /// Keys of the governance.
    pub governance: Vec<GovernanceKey>,
    /// How many of them must sign.
    pub governance_quorum: u8,
    /// Terms of chain zero.
    pub zero: Terms,
    /// Epochs for which a provider may hold nonce roots in advance.
    pub nonce_roots_ahead: u32,
    /// Milliseconds between hub blocks.
    pub block_interval_ms: u32,
    /// First version of the parameters.
    pub params: ParamsDocument,
}

/// Four bytes, as hex in wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Magic(pub [u8; 4]);

/// A header, as 160 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderHex(pub Header);

/// Why a genesis document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGenesis {
    /// No Bitcoin network has these magic bytes.
    #[error("no Bitcoin network has magic {0:02x?}")]
    Network([u8; 4]),
    /// The governance cannot decide.
    #[error(transparent)]
    Governance(#[from] BadGovernors),
    /// Chain zero's terms contradict one another.
    #[error("terms of chain zero: {0}")]
    Terms(&'static str),
    /// A number is zero or out of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// The network's headers cannot be judged.
    #[error(transparent)]
    Rules(#[from] RulesRefused),
    /// The base headers are no beginning of a chain.
    #[error("base headers: {0}")]
    Base(#[from] BaseRefused),
    /// The first parameters are refused.
    #[error("parameters: {0}")]
    Params(#[from] BadParams),
}

/// A hub's genesis, checked.
#[derive(Debug, Clone)]
pub struct Genesis {
    document: GenesisDocument,
    governors: Governors,
    id: Hash32,
    network: Network,
    params: Params,
    bitcoin: HeaderChain,
}

impl Genesis {
    /// Checks the document and computes the hub's id.
    pub fn new(mut document: GenesisDocument) -> Result<Self, BadGenesis> {
        let network = Network::from_magic(bitcoin::p2p::Magic::from_bytes(document.network_magic.0))
            .ok_or(BadGenesis::Network(document.network_magic.0))?;
        let governors = Governors::new(document.governance, document.governance_quorum)?;
        document.governance = governors.keys().to_vec();
        document.zero.check().map_err(BadGenesis::Terms)?;
        if !(1..=10_000).contains(&document.nonce_roots_ahead) {
            return Err(BadGenesis::Range("nonce_roots_ahead"));
        }
        if !(10..=600_000).contains(&document.block_interval_ms) {
            return Err(BadGenesis::Range("block_interval_ms"));
        }
        if document.params.from_height > document.base_height {
            return Err(BadGenesis::Range("params.from_height"));
        }
        let params = Params::new(document.params.clone())?;
        let base: Vec<Header> = document.base_headers.iter().map(|header| header.0).collect();
        let bitcoin = HeaderChain::new(HeaderRules::for_network(network)?, document.base_height, &base)?;
        let id = tagged("palisade/1/hub", &[&document.to_bytes()]);
        Ok(Self { document, governors, id, network, params, bitcoin })
    }

    /// The document.
    pub fn document(&self) -> &GenesisDocument {
        &self.document
    }

    /// Who governs, until they hand over.
    pub fn governors(&self) -> &Governors {
        &self.governors
    }

    /// The hub's id: the hash of the document's canonical bytes.
    pub fn id(&self) -> Hash32 {
        self.id
    }

    /// The Bitcoin network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// First version of the parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Bitcoin as the hub knows it at birth.
    pub fn bitcoin(&self) -> &HeaderChain {
        &self.bitcoin
    }

    /// Chain zero, as signatures see it.
    pub fn zero(&self) -> ChainIdentity {
        ChainIdentity::zero(self.id, self.document.network_magic.0)
    }
}

crate::wire!(GenesisDocument {
    network_magic,
    base_headers,
    base_height,
    hub_key,
    governance,
    governance_quorum,
    zero,
    nonce_roots_ahead,
    block_interval_ms,
    params,
});

mod text {
    //! The two fields that people read as hex.
    use super::{HeaderHex, Magic};
    use crate::codec::{DecodeError, Reader, Wire};
    use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
    use bitcoin::hex::{DisplayHex, FromHex};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Magic {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(&self.0.to_lower_hex_string())
        }
    }

    impl<'de> Deserialize<'de> for Magic {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            <[u8; 4]>::from_hex(&String::deserialize(d)?).map(Self).map_err(D::Error::custom)
        }
    }

    impl Serialize for HeaderHex {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(&serialize_hex(&self.0))
        }
    }

    impl<'de> Deserialize<'de> for HeaderHex {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            deserialize_hex(&String::deserialize(d)?).map(Self).map_err(D::Error::custom)
        }
    }

    impl Wire for Magic {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }

        fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
            reader.array().map(Self)
        }
    }

    impl Wire for HeaderHex {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }

        fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
            Wire::decode(reader).map(Self)
        }
    }
}
