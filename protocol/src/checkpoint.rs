//! Checkpoints: the members of an epoch's set sign its last voted header by BLS, so that one short signature can stand
//! for all of them in Bitcoin. Source: docs/protocol.md, section 9.1.

use crate::bls::{BlsInvalid, BlsPublicKey, BlsSignature};
use crate::codec::Wire as _;
use crate::context::Context;
use crate::hash::{Hash32, tagged};
use crate::keys::ProviderKey;
use crate::units::Epoch;

/// One member's signature on an epoch's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointShare {
    /// The epoch of chain zero.
    pub epoch: Epoch,
    /// Hash of the header at its last voted height.
    pub header: Hash32,
    /// The member, by its key for votes.
    pub key: ProviderKey,
    /// By the member's BLS key, over [`message`].
    pub signature: BlsSignature,
}

crate::wire!(CheckpointShare { epoch, header, key, signature });

/// What is signed; `context` is chain zero's checkpoint context.
pub fn message(context: &Context, epoch: Epoch, header: &Hash32) -> [u8; 32] {
    tagged("palisade/1/checkpoint", &[&context.0, &epoch.to_bytes(), &header.0]).0
}

impl CheckpointShare {
    /// Whether the owner of the BLS key signed it.
    pub fn verify(&self, context: &Context, bls: &BlsPublicKey) -> Result<(), BlsInvalid> {
        bls.verify(&message(context, self.epoch, &self.header), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::BlsSecretKey;
    use crate::curve::KeyPair;

    #[test]
    fn a_share_is_for_one_header_of_one_epoch_in_one_context() {
        let bls = BlsSecretKey::from_key_material(&[1; 32]).unwrap();
        let key = KeyPair::from_secret_bytes(&[1; 32]).unwrap().public().into();
        let (context, header) = (Hash32([2; 32]), Hash32([3; 32]));
        let signature = bls.sign(&message(&context, Epoch(4), &header));
        let share = CheckpointShare { epoch: Epoch(4), header, key, signature };
        assert_eq!(CheckpointShare::from_bytes(&share.to_bytes()), Ok(share.clone()));
        assert_eq!(share.verify(&context, &bls.public_key()), Ok(()));
        let other_epoch = CheckpointShare { epoch: Epoch(5), ..share.clone() };
        let other_header = CheckpointShare { header: Hash32([9; 32]), ..share.clone() };
        assert!(other_epoch.verify(&context, &bls.public_key()).is_err());
        assert!(other_header.verify(&context, &bls.public_key()).is_err());
        assert!(share.verify(&Hash32([9; 32]), &bls.public_key()).is_err());
    }
}
