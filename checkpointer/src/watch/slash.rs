//! Putting a slashing together, once a provider's key is out. Pure.
//!
//! Everything it takes was agreed on before the coins were locked: the transaction, the holder's signature, and the
//! committee's signatures, which the provider's key decrypts. The provider's own signature is made with that key.

use bitcoin::Transaction;
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::adaptor;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::Slashable;
use palisade_protocol::transactions::witness::{self, CovenantSignatures, NoWitness};

/// Why a stake cannot be slashed with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSlash {
    /// The stake's slashing leaf does not name the provider.
    #[error("the stake does not name provider {0}")]
    NotNamed(ProviderKey),
    /// The committee has not signed, or not enough of it.
    #[error(transparent)]
    Witness(#[from] NoWitness),
}

/// The slashing transaction of an output of a stake, ready to be sent. `leaked` is the provider's key.
pub fn slashing(stake: &Stake, output: Slashable, leaked: &KeyPair) -> Result<Transaction, CannotSlash> {
    let provider = ProviderKey::from(leaked.public());
    let keys = &stake.contract.keys;
    let named = keys.providers().iter().position(|key| *key == provider);
    let place = named.ok_or(CannotSlash::NotNamed(provider))?;
    let [by_holder_staking, by_holder_unbonding] = &stake.slashing_signatures;
    let (mut tx, sighash, spent, holder) = match output {
        Slashable::Staking => (
            stake.presigned.slashing.clone(),
            stake.sighashes.slashing,
            stake.contract.output(),
            by_holder_staking,
        ),
        Slashable::Unbonding => (
            stake.presigned.unbonding_slashing.clone(),
            stake.sighashes.unbonding_slashing,
            stake.contract.unbonding_output(),
            by_holder_unbonding,
        ),
    };
    let committee: CovenantSignatures = stake
        .signatures
        .iter()
        .filter_map(|(member, signatures)| {
            let encrypted = match output {
                Slashable::Staking => signatures.slashing.get(place)?,
                Slashable::Unbonding => signatures.unbonding_slashing.get(place)?,
            };
            let signature = adaptor::decrypt(encrypted, leaked);
            member.verify(&sighash, &signature).ok()?;
            Some((*member, signature))
        })
        .collect();
    // Everybody knows this key: its nonce protects nothing.
    let own = leaked.sign_bip340(&sighash, &[0; 32]);
    let witness = witness::slashing(&spent, keys, holder, (provider, &own), &committee)?;
    if let Some(input) = tx.input.first_mut() {
        input.witness = witness;
    }
    Ok(tx)
}
