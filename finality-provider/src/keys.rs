//! The operator's key files: one EOTS key a chain, the BLS key, and the key of the coin that backs a registration.
//!
//! A file says in clear which key it holds; after opening it the public key is derived anew and compared, so no file
//! can pass for another one's key.

use anyhow::{Context as _, ensure};
use bitcoin::secp256k1::{SECP256K1, SecretKey, XOnlyPublicKey};
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::keygen::new_key;
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::secret::{Erased, Secret};
use palisade_protocol::bls::{BlsPublicKey, BlsSecretKey};
use palisade_protocol::context::ChainId;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::keys::ProviderKey;
use rand::rngs::OsRng;
use rand::{CryptoRng, Error, RngCore};
use std::path::Path;
use zeroize::Zeroizing;

const BLS: &str = "finality-provider-bls";
const FUNDING: &str = "finality-provider-funding";

/// The purpose names the chain: a key for one chain is refused where another chain's is wanted.
fn purpose_of(chain: &ChainId) -> String {
    format!("finality-provider {chain}")
}

/// Thirty-two bytes of the system's randomness. A short or failed read is an error, never a weak key.
pub fn random_bytes(random: &mut (impl RngCore + CryptoRng)) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    random.try_fill_bytes(&mut *bytes)?;
    Ok(bytes)
}

fn create(
    path: &Path,
    purpose: &str,
    id: &str,
    secret: &Secret<[u8; 32]>,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<()> {
    let label = KeyLabel::new(purpose, id)?;
    let cost = KdfCost::for_network(network);
    Ok(keyfile::create(path, &label, secret, password, cost, &mut OsRng)?)
}

fn open(
    path: &Path,
    purpose: &str,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<(String, Secret<[u8; 32]>)> {
    let weakest = KdfCost::for_network(network);
    let (label, secret) = keyfile::open::<32>(path, purpose, password, weakest)?;
    Ok((label.public_id().to_owned(), secret))
}

fn same(path: &Path, claimed: &str, derived: &str) -> anyhow::Result<()> {
    let path = path.display();
    ensure!(claimed == derived, "key file {path} says that it holds {claimed}, and holds {derived}");
    Ok(())
}

/// Makes the key for a chain.
pub fn create_provider(
    path: &Path,
    chain: &ChainId,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<ProviderKey> {
    let (secret, key) = new_key()?;
    let key = ProviderKey::from(key);
    create(path, &purpose_of(chain), &key.to_string(), &secret, password, network)?;
    Ok(key)
}

/// Opens the key for a chain.
pub fn open_provider(
    path: &Path,
    chain: &ChainId,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<KeyPair> {
    let (id, secret) = open(path, &purpose_of(chain), password, network)?;
    let pair = KeyPair::from_secret_bytes(secret.expose()).with_context(|| path.display().to_string())?;
    same(path, &id, &ProviderKey::from(pair.public()).to_string())?;
    Ok(pair)
}

/// Makes the BLS key.
pub fn create_bls(
    path: &Path,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<BlsPublicKey> {
    let secret = Secret::random(&mut OsRng)?;
    let key = BlsSecretKey::from_key_material(secret.expose())?.public_key();
    create(path, BLS, &hex::encode(key.to_bytes()), &secret, password, network)?;
    Ok(key)
}

/// Opens the BLS key.
pub fn open_bls(path: &Path, password: &Password, network: bitcoin::Network) -> anyhow::Result<BlsSecretKey> {
    let (id, secret) = open(path, BLS, password, network)?;
    let key = BlsSecretKey::from_key_material(secret.expose())?;
    same(path, &id, &hex::encode(key.public_key().to_bytes()))?;
    Ok(key)
}

/// Makes the key that owns the coins behind registrations; its public id is the address to fund.
pub fn create_funding(
    path: &Path,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<bitcoin::Address> {
    let (secret, key) = new_key()?;
    let address = funding_address(key, network);
    create(path, FUNDING, &address.to_string(), &secret, password, network)?;
    Ok(address)
}

/// Opens the key that owns the coins behind registrations.
pub fn open_funding(
    path: &Path,
    password: &Password,
    network: bitcoin::Network,
) -> anyhow::Result<(Erased<SecretKey>, bitcoin::Address)> {
    let (id, secret) = open(path, FUNDING, password, network)?;
    let key = Erased::new(SecretKey::from_slice(secret.expose())?);
    let address = funding_address(key.x_only_public_key(SECP256K1).0, network);
    same(path, &id, &address.to_string())?;
    Ok((key, address))
}

/// The BIP-86 address of a key.
fn funding_address(key: XOnlyPublicKey, network: bitcoin::Network) -> bitcoin::Address {
    bitcoin::Address::p2tr(SECP256K1, key, None, network)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: bitcoin::Network = bitcoin::Network::Regtest;

    #[test]
    fn a_key_opens_for_its_own_chain_only() {
        let dir = tempfile::tempdir().unwrap();
        let password = Password::new("correct horse".to_owned()).unwrap();
        let path = dir.path().join("zero.json");
        let key = create_provider(&path, &ChainId::zero(), &password, NETWORK).unwrap();
        let opened = open_provider(&path, &ChainId::zero(), &password, NETWORK).unwrap();
        assert_eq!(ProviderKey::from(opened.public()), key);
        let dev = "dev".parse().unwrap();
        let refused = open_provider(&path, &dev, &password, NETWORK).unwrap_err().to_string();
        assert!(refused.contains("not for `finality-provider dev`"), "{refused}");
        assert!(create_provider(&path, &dev, &password, NETWORK).is_err(), "the file exists");
    }

    #[test]
    fn a_file_that_claims_another_key_than_it_holds_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let password = Password::new("correct horse".to_owned()).unwrap();
        let path = dir.path().join("alias.json");
        let other = KeyPair::from_secret_bytes(&[2; 32]).unwrap().public().to_string();
        create(&path, &purpose_of(&ChainId::zero()), &other, &Secret::new([1; 32]), &password, NETWORK)
            .unwrap();
        let refused = open_provider(&path, &ChainId::zero(), &password, NETWORK).unwrap_err().to_string();
        assert!(refused.contains("says that it holds"), "{refused}");
    }
}
