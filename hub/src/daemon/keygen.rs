//! New signing keys, from the system's randomness.

use bitcoin::secp256k1::XOnlyPublicKey;
use palisade_protocol::curve::KeyPair;
use rand::rngs::OsRng;

use super::secret::Secret;

/// A secret key, in the bytes that a key file holds, and its public key.
pub fn new_key() -> Result<(Secret<[u8; 32]>, XOnlyPublicKey), rand::Error> {
    loop {
        let secret = Secret::random(&mut OsRng)?;
        // All but one in 2^128 candidates are keys.
        if let Ok(pair) = KeyPair::from_secret_bytes(secret.expose()) {
            return Ok((secret, pair.public()));
        }
    }
}
