//! How a stake is registered: what the holder signs, judged by the same rules that the hub and the committee judge by.
//!
//! Nothing here talks to anybody.

use crate::exit;
use bitcoin::secp256k1::{Keypair, SecretKey};
use bitcoin::{ScriptBuf, Transaction, Witness};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::providers::Provider;
use palisade_hub::ledger::{Ledger, Rejected};
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322::{self, Bip322Invalid};
use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::ChainId;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::registration::{ConfirmedStake, RegistrationProof, StakeRegistration, intent_message};
use palisade_protocol::stake::{Contract, Presigned, StakeId};
use palisade_protocol::transactions::NoSighash;

/// Providers that a stake gives power to, ascending, and the chain of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Their keys.
    pub keys: Vec<ProviderKey>,
    /// Their chains, in the same order.
    pub chains: Vec<ChainId>,
}

/// Why providers cannot be chosen together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChoice {
    /// Not registered.
    #[error("no finality provider has the key {0}")]
    Unknown(ProviderKey),
    /// Its key is out.
    #[error("the key of provider {0} is out: a stake that names it would be slashed")]
    Exposed(ProviderKey),
    /// Named twice, or two of one chain.
    #[error("two of the providers vote on {0}: name one for each chain")]
    SameChain(ChainId),
    /// None of chain zero.
    #[error("none of the providers votes on the hub's own chain: every stake names exactly one that does")]
    NoZero,
}

/// Checks a choice of providers against the ledger.
pub fn choose(ledger: &Ledger, wanted: &[ProviderKey]) -> Result<Chosen, BadChoice> {
    let mut found: Vec<&Provider> = Vec::new();
    for key in wanted {
        let provider = ledger.providers().get(key).ok_or(BadChoice::Unknown(*key))?;
        if provider.exposed_at.is_some() {
            return Err(BadChoice::Exposed(*key));
        }
        if found.iter().any(|other| other.chain == provider.chain) {
            return Err(BadChoice::SameChain(provider.chain.clone()));
        }
        found.push(provider);
    }
    if !found.iter().any(|provider| provider.chain.is_zero()) {
        return Err(BadChoice::NoZero);
    }
    found.sort_unstable_by_key(|provider| provider.key);
    Ok(Chosen {
        keys: found.iter().map(|provider| provider.key).collect(),
        chains: found.iter().map(|provider| provider.chain.clone()).collect(),
    })
}

impl From<BadChoice> for Failure {
    fn from(why: BadChoice) -> Self {
        Self::usage(why).hint("`palisade-staker providers` lists whom you can choose")
    }
}

/// What is to be registered.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// The transaction that makes the stake.
    pub staking_tx: &'a Transaction,
    /// The stake.
    pub contract: &'a Contract,
    /// The transactions agreed on.
    pub presigned: &'a Presigned,
    /// Who gets power.
    pub chosen: &'a Chosen,
    /// Who is named without.
    pub former: &'a [ProviderKey],
    /// Where rewards go.
    pub payout: &'a ScriptBuf,
    /// The stake that this one expands.
    pub expands: Option<StakeId>,
}

/// The coin that backs a registration.
#[derive(Debug)]
pub struct BackingCoin<'a> {
    /// Its transaction in its block.
    pub proof: InclusionProof,
    /// Which output.
    pub vout: u32,
    /// Its internal key.
    pub secret: &'a SecretKey,
}

/// Why a registration cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRegister {
    /// The transactions do not fit together.
    #[error(transparent)]
    Sighash(#[from] NoSighash),
    /// The intent cannot be signed.
    #[error("the intent: {0}")]
    Intent(#[from] Bip322Invalid),
    /// The hub would refuse it.
    #[error("the hub would refuse this stake: {0}")]
    Refused(Box<Rejected>),
}

impl From<CannotRegister> for Failure {
    fn from(why: CannotRegister) -> Self {
        match why {
            CannotRegister::Refused(ref rejected) if rejected.can_be_retried() => Self::not_now(why),
            why => Self::failed(why),
        }
    }
}

/// The registration of a stake that is not on Bitcoin yet, and its id.
pub fn before(
    terms: &Terms<'_>,
    key: &Keypair,
    coin: BackingCoin<'_>,
    ledger: &Ledger,
) -> Result<(StakeRegistration, StakeId), CannotRegister> {
    let BackingCoin { proof, vout, secret } = coin;
    let unsigned = Backing { proof, vout, witness: Witness::new() };
    let mut registration = registration(terms, key, RegistrationProof::Funding(unsigned.clone()))?;
    let text = intent(&registration, terms, ledger);
    let witness = bip322::sign_p2tr_key_path(secret, text.as_bytes(), &rand::random())?;
    registration.proof = RegistrationProof::Funding(Backing { witness, ..unsigned });
    dry_run(ledger, &registration).map(|id| (registration, id))
}

/// The registration of a stake that is on Bitcoin, and its id.
pub fn after(
    terms: &Terms<'_>,
    key: &Keypair,
    inclusion: InclusionProof,
    ledger: &Ledger,
) -> Result<(StakeRegistration, StakeId), CannotRegister> {
    // The text does not depend on the signature over it.
    let signature = exit::sign(key, &[0; 32]);
    let unsigned = ConfirmedStake { inclusion, signature };
    let mut registration = registration(terms, key, RegistrationProof::Confirmed(unsigned.clone()))?;
    let message = intent_message(&ledger.contexts().intent, &intent(&registration, terms, ledger));
    let signature = exit::sign(key, &message);
    registration.proof = RegistrationProof::Confirmed(ConfirmedStake { signature, ..unsigned });
    dry_run(ledger, &registration).map(|id| (registration, id))
}

fn registration(
    terms: &Terms<'_>,
    key: &Keypair,
    proof: RegistrationProof,
) -> Result<StakeRegistration, NoSighash> {
    let sighashes = terms.contract.sighashes(terms.presigned)?;
    Ok(StakeRegistration {
        staking_tx: without_witnesses(terms.staking_tx),
        vout: terms.contract.coin.outpoint.vout,
        staker: terms.contract.keys.staker(),
        providers: terms.chosen.keys.clone(),
        former: terms.former.to_vec(),
        lock: terms.contract.lock,
        presigned: terms.presigned.clone(),
        slashing_signature: exit::sign(key, &sighashes.slashing),
        unbonding_slashing_signature: exit::sign(key, &sighashes.unbonding_slashing),
        payout: terms.payout.clone(),
        expands: terms.expands,
        proof,
    })
}

/// Nobody but us broadcasts: whoever reads the log cannot.
fn without_witnesses(tx: &Transaction) -> Transaction {
    let mut bare = tx.clone();
    bare.input.iter_mut().for_each(|input| input.witness.clear());
    bare
}

fn intent(registration: &StakeRegistration, terms: &Terms<'_>, ledger: &Ledger) -> String {
    registration.intent(ledger.network(), &ledger.genesis().id(), &terms.chosen.chains)
}

/// What the hub will say, by its own rules, on a copy of the state. Nothing is sent.
fn dry_run(ledger: &Ledger, registration: &StakeRegistration) -> Result<StakeId, CannotRegister> {
    let bytes = MessageBytes::of(&Message::Stake(Box::new(registration.clone())));
    let applied = ledger.clone().apply(&bytes);
    applied.map(StakeId).map_err(|why| CannotRegister::Refused(Box::new(why)))
}

#[cfg(test)]
mod tests;
