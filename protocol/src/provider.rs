//! Finality providers: how a key for one chain is registered. Source: docs/protocol.md, section 5.4.

use crate::backing::Backing;
use crate::bls::{BlsPossession, BlsPublicKey};
use crate::codec::Wire as _;
use crate::context::{ChainId, Context};
use crate::hash::{Hash32, tagged};
use crate::keys::{BadSignature, ProviderKey};
use bitcoin::secp256k1::schnorr::Signature;

/// A provider's registration of one key for one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRegistration {
    /// The chain that the key votes on, and no other.
    pub chain: ChainId,
    /// The key.
    pub key: ProviderKey,
    /// Who runs it, in words: groups the keys of one operator. 1 to [`MAX_OPERATOR`] bytes of printable ASCII.
    pub operator: String,
    /// For chain zero, the key that signs checkpoints.
    pub bls: Option<BlsRegistration>,
    /// A Bitcoin output whose owner wants this.
    pub backing: Backing,
    /// BIP-340 by the key over [`ProviderRegistration::message`].
    pub signature: Signature,
}

crate::wire!(ProviderRegistration { chain, key, operator, bls, backing, signature });

/// A BLS key and the proof that its owner knows the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlsRegistration {
    /// The key, 96 bytes.
    pub key: BlsPublicKey,
    /// Proof of possession.
    pub possession: BlsPossession,
}

crate::wire!(BlsRegistration { key, possession });

/// Longest operator name, in bytes.
pub const MAX_OPERATOR: usize = 64;

/// Why a registration is bad in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    /// The name.
    #[error("the operator's name must be 1 to {MAX_OPERATOR} printable ASCII characters")]
    Operator,
    /// Chain zero wants a BLS key, other chains none.
    #[error("a key of chain zero comes with a BLS key, a key of another chain without")]
    Bls,
    /// The proof of possession does not verify.
    #[error("the proof of possession of the BLS key does not verify")]
    Possession,
    /// The key did not sign.
    #[error("the provider key's signature does not verify")]
    Signature,
}

impl From<BadSignature> for BadProvider {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

impl ProviderRegistration {
    /// What the key signs; `context` is the chain's registration context.
    pub fn message(
        context: &Context,
        key: &ProviderKey,
        operator: &str,
        bls: Option<&BlsRegistration>,
        backing: bitcoin::OutPoint,
    ) -> [u8; 32] {
        let bls_hash = bls.map_or(Hash32::ZERO, |bls| bls.key.hash());
        let parts: [&[u8]; 5] =
            [&context.0, &key.to_bytes(), &operator.to_owned().to_bytes(), &bls_hash.0, &backing.to_bytes()];
        tagged("palisade/1/provider", &parts).0
    }

    /// The text that the owner of the backing output signs.
    pub fn text(hub: &Hash32, chain: &ChainId, key: &ProviderKey) -> String {
        format!("Palisade finality provider\nhub: {hub}\nchain: {chain}\nkey: {key}\n")
    }

    /// Judges all but the backing.
    pub fn verify(&self, context: &Context) -> Result<(), BadProvider> {
        let printable = self.operator.bytes().all(|c| (0x20..0x7f).contains(&c));
        if self.operator.is_empty() || self.operator.len() > MAX_OPERATOR || !printable {
            return Err(BadProvider::Operator);
        }
        if self.bls.is_some() != self.chain.is_zero() {
            return Err(BadProvider::Bls);
        }
        let outpoint = self.backing.outpoint();
        let message = Self::message(context, &self.key, &self.operator, self.bls.as_ref(), outpoint);
        self.key.verify(&message, &self.signature)?;
        match &self.bls {
            Some(bls) => bls.key.verify_possession(&bls.possession).map_err(|_| BadProvider::Possession),
            None => Ok(()),
        }
    }
}
