//! Operators of the demo register their provider keys, each with a coin of the node's behind it.

use crate::demo::network::Network;
use anyhow::Context as _;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1, SecretKey};
use bitcoin::{Address, Amount, Network as Bitcoin};
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::bls::BlsSecretKey;
use palisade_protocol::context::{ChainId, Purpose};
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::provider::{BlsRegistration, ProviderRegistration};
use rand::{Rng as _, thread_rng};

/// Registers a new key of an operator for chain zero.
pub async fn register(network: &mut Network, operator: &str) -> anyhow::Result<ProviderKey> {
    let secret = SecretKey::new(&mut thread_rng());
    let pair = Keypair::from_secret_key(SECP256K1, &secret);
    let key = ProviderKey::from(pair.x_only_public_key().0);
    let address = Address::p2tr(SECP256K1, pair.x_only_public_key().0, None, Bitcoin::Regtest);
    let txid = network.node.fund(&address, Amount::from_sat(10_000)).await?;
    network.mine(1).await?;
    let found = network.node.rpc().raw_transaction(txid).await?.context("the coin is mined")?;
    let block =
        network.node.rpc().block(found.mined_in.context("the coin is mined")?).await?.context("a block")?;
    let index = block.txdata.iter().position(|tx| tx.compute_txid() == txid).context("the coin is in it")?;
    let proof = InclusionProof::from_block(&block, u32::try_from(index)?)?;
    let genesis = palisade_hub::run::read_genesis(&network.genesis())?;
    let chain = ChainId::zero();
    let text = ProviderRegistration::text(&genesis.id(), &chain, &key);
    let witness = bip322::sign_p2tr_key_path(&secret, text.as_bytes(), &thread_rng().r#gen())?;
    let backing = Backing { proof, vout: 0, witness };
    let bls = BlsSecretKey::from_key_material(&thread_rng().r#gen())?;
    let bls = BlsRegistration { key: bls.public_key(), possession: bls.prove_possession() };
    let context = genesis.zero().context(Purpose::Registration);
    let message = ProviderRegistration::message(&context, &key, operator, Some(&bls), backing.outpoint());
    let signature = SECP256K1.sign_schnorr(&Digest::from_digest(message), &pair);
    let (operator, bls) = (operator.to_owned(), Some(bls));
    let registration = ProviderRegistration { chain, key, operator, bls, backing, signature };
    network.hub.submit(&Message::Provider(Box::new(registration))).await?;
    Ok(key)
}
