//! Everybody's keys: a name is a key, the same in every run.

use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1, SecretKey};
use palisade_protocol::bls::BlsSecretKey;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::hash::sha256;
use palisade_protocol::keys::{GovernanceKey, ProviderKey};

/// A secret named by a word: the same in every run.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_slice(&sha256(&[name.as_bytes()]).0).expect("a hash is a scalar")
}

/// The pair of a named secret.
pub fn keypair(name: &str) -> Keypair {
    Keypair::from_secret_key(SECP256K1, &secret(name))
}

/// The pair of a named secret, for EOTS and adaptor signatures.
pub fn pair(name: &str) -> KeyPair {
    KeyPair::from_secret_bytes(&secret(name).secret_bytes()).expect("a scalar")
}

/// The public key of a named secret.
pub(super) fn x_only(name: &str) -> bitcoin::XOnlyPublicKey {
    keypair(name).x_only_public_key().0
}

/// BIP-340 by a named key, without randomness: the same in every run, so that a corpus of one process fits in another.
pub fn schnorr(name: &str, message: &[u8; 32]) -> Signature {
    SECP256K1.sign_schnorr_no_aux_rand(&Digest::from_digest(*message), &keypair(name))
}

/// A provider's key by name: the same name gives the same key.
pub fn provider_key(name: &str) -> ProviderKey {
    x_only(name).into()
}

/// The key with which a named member of governance decides.
pub fn governance_key(name: &str) -> GovernanceKey {
    x_only(name).into()
}

/// The BLS key of a named provider.
pub fn bls_secret(name: &str) -> BlsSecretKey {
    BlsSecretKey::from_key_material(&sha256(&[b"bls", name.as_bytes()]).0).expect("key material")
}
