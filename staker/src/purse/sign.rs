//! How the wallet signs for its own coins.

use super::{Funded, PurseError};
use crate::keys::Keys;
use bitcoin::key::TapTweak as _;
use bitcoin::secp256k1::{Keypair, Message, SECP256K1, SecretKey, rand};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Transaction, TxOut, Witness, taproot};

/// The witness of input `index`, which spends a coin of the wallet by its key. `spent` are the outputs of all inputs.
pub fn sign_coin(
    tx: &Transaction,
    index: usize,
    spent: &[TxOut],
    secret: &SecretKey,
) -> Result<Witness, bitcoin::sighash::TaprootError> {
    let sighash_type = TapSighashType::Default;
    let digest =
        SighashCache::new(tx).taproot_key_spend_signature_hash(index, &Prevouts::All(spent), sighash_type)?;
    let mut key = Keypair::from_secret_key(SECP256K1, secret).tap_tweak(SECP256K1, None).to_keypair();
    let signature = SECP256K1.sign_schnorr_with_rng(&Message::from(digest), &key, &mut rand::thread_rng());
    key.non_secure_erase();
    Ok(Witness::p2tr_key_spend(&taproot::Signature { signature, sighash_type }))
}

/// Signs every input of a transaction that spends coins of the wallet only.
pub fn sign_all(funded: &Funded, keys: &Keys) -> Result<Transaction, PurseError> {
    let spent: Vec<TxOut> = funded.coins.iter().map(|coin| coin.output.clone()).collect();
    let mut signed = funded.transaction.clone();
    for (index, (input, coin)) in signed.input.iter_mut().zip(&funded.coins).enumerate() {
        let secret = keys.coin_key(coin.branch, coin.index)?;
        let witness = sign_coin(&funded.transaction, index, &spent, &secret);
        input.witness = witness.map_err(|why| PurseError::Build(why.to_string()))?;
    }
    Ok(signed)
}
