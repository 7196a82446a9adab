//! Registrations: what a holder sends to have a stake judged and counted, and the rules that it must keep.
//!
//! The same function judges in the staker, the hub and every covenant member. What depends on the ledger (which keys are
//! whose, what is on Bitcoin) the ledger checks on top. Source: docs/protocol.md, sections 3.7 and 5.5.

use crate::backing::Backing;
use crate::context::ChainId;
use crate::hash::Hash32;
use crate::inclusion::InclusionProof;
use crate::keys::{ProviderKey, StakerKey};
use crate::params::Params;
use crate::scripts::{BadKeys, StakeKeys};
use crate::stake::{BadPresigned, Contract, Presigned, Sighashes, Slashable, StakeId};
use crate::transactions::Coin;
use crate::units::RelativeBlocks;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, Network, OutPoint, Script, ScriptBuf, Transaction};

/// A holder's registration of a stake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StakeRegistration {
    /// The transaction that locks the coins; its witnesses may be missing.
    pub staking_tx: Transaction,
    /// Which of its outputs is the stake.
    pub vout: u32,
    /// The owner.
    pub staker: StakerKey,
    /// Providers that get power, ascending.
    pub providers: Vec<ProviderKey>,
    /// Providers of the expanded stake that get none, ascending: they can still be slashed.
    pub former: Vec<ProviderKey>,
    /// The timelock.
    pub lock: RelativeBlocks,
    /// The transactions agreed on beforehand.
    pub presigned: Presigned,
    /// The owner's signature on the stake's slashing.
    pub slashing_signature: Signature,
    /// The owner's signature on the unbonding output's slashing.
    pub unbonding_slashing_signature: Signature,
    /// Where rewards go.
    pub payout: ScriptBuf,
    /// The stake that this one expands.
    pub expands: Option<StakeId>,
    /// What shows that the registration is meant.
    pub proof: RegistrationProof,
}

crate::wire!(StakeRegistration {
    staking_tx,
    vout,
    staker,
    providers,
    former,
    lock,
    presigned,
    slashing_signature,
    unbonding_slashing_signature,
    payout,
    expands,
    proof,
});

/// What stands behind a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationProof {
    /// Before broadcasting: an output on Bitcoin that the staking transaction spends.
    Funding(Backing),
    /// After: the staking transaction is on Bitcoin, and the staking key signs the intent.
    Confirmed(ConfirmedStake),
}

crate::wire_enum!(RegistrationProof { 0 => Funding, 1 => Confirmed });

/// A stake that is already locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmedStake {
    /// The staking transaction in its block.
    pub inclusion: InclusionProof,
    /// BIP-340 by the staking key over SHA-256 of the tagged intent.
    pub signature: Signature,
}

crate::wire!(ConfirmedStake { inclusion, signature });

/// A registration that keeps all rules which need no ledger.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The stake.
    pub contract: Contract,
    /// What its presigned transactions' signatures sign.
    pub sighashes: Sighashes,
}

/// The rule that a registration breaks. None can be healed by sending the same again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StakeRefused {
    /// The keys cannot stand together.
    #[error(transparent)]
    Keys(#[from] BadKeys),
    /// Lists out of order.
    #[error("providers must be in ascending order of their keys, without repetition")]
    Order,
    /// The stake is too small or too large.
    #[error("the stake is {found}, allowed are {min} to {max}")]
    Amount {
        /// Its value.
        found: Amount,
        /// Smallest.
        min: Amount,
        /// Largest.
        max: Amount,
    },
    /// The timelock is too short or too long.
    #[error("the timelock is {found} blocks, allowed are {min} to {max}")]
    Lock {
        /// Its length.
        found: RelativeBlocks,
        /// Shortest.
        min: RelativeBlocks,
        /// Longest.
        max: RelativeBlocks,
    },
    /// The transaction has no such output, or its script is another.
    #[error("output {0} of the staking transaction is not the stake that the keys and times describe")]
    Output(u32),
    /// Two outputs look like the stake.
    #[error("the staking transaction has more than one such output")]
    Ambiguous,
    /// Inputs that are not segwit make the txid changeable.
    #[error("every input of the staking transaction must be native segwit (empty scriptSig)")]
    Malleable,
    /// A coinbase cannot be spent, so not slashed, for 100 blocks.
    #[error("a coinbase cannot stake")]
    Coinbase,
    /// The presigned transactions are not what they must be.
    #[error(transparent)]
    Presigned(#[from] BadPresigned),
    /// The owner's signature does not verify.
    #[error("the holder's signature on the slashing of the {0:?} output does not verify")]
    Signature(Slashable),
    /// The payout is not a standard address.
    #[error("the payout script is not a standard address")]
    Payout,
    /// The backing output is not spent by the staking transaction.
    #[error("the staking transaction does not spend the output that backs the registration")]
    NotSpent,
}

/// Whether a stake may be locked for so long: [`StakeRefused::Lock`] if not.
pub fn check_lock(found: RelativeBlocks, params: &Params) -> Result<(), StakeRefused> {
    let document = params.document();
    let (min, max) = (document.min_lock_blocks, document.max_lock_blocks);
    if found < min || found > max { Err(StakeRefused::Lock { found, min, max }) } else { Ok(()) }
}

/// Whether a stake may be so large: [`StakeRefused::Amount`] if not.
pub fn check_amount(found: Amount, params: &Params) -> Result<(), StakeRefused> {
    let document = params.document();
    let [min, max] = [document.min_stake_sat, document.max_stake_sat].map(Amount::from_sat);
    if found < min || found > max { Err(StakeRefused::Amount { found, min, max }) } else { Ok(()) }
}

impl StakeRegistration {
    /// Where the stake is.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint { txid: self.staking_tx.compute_txid(), vout: self.vout }
    }

    /// Judges everything that follows from the registration and the parameters alone: cheap things first.
    pub fn judge(&self, params: &Params) -> Result<Judged, StakeRefused> {
        let contract = self.contract(params)?;
        let outputs = contract.outputs();
        self.check_staking_tx(&outputs.staking.script_pubkey())?;
        let sighashes = contract.check(&outputs, &self.presigned, params)?;
        self.check_signatures(&sighashes)?;
        Ok(Judged { contract, sighashes })
    }

    fn contract(&self, params: &Params) -> Result<Contract, StakeRefused> {
        let ascending = |keys: &[ProviderKey]| keys.is_sorted_by(|a, b| a < b);
        if !ascending(&self.providers) || !ascending(&self.former) {
            return Err(StakeRefused::Order);
        }
        if self.providers.is_empty() {
            return Err(BadKeys::ProviderCount(0).into());
        }
        check_lock(self.lock, params)?;
        let named = self.providers.iter().chain(&self.former).copied().collect();
        let keys = StakeKeys::new(self.staker, named, params.committee().clone())?;
        let index = usize::try_from(self.vout).map_err(|_| StakeRefused::Output(self.vout))?;
        let value = self.staking_tx.output.get(index).ok_or(StakeRefused::Output(self.vout))?.value;
        check_amount(value, params)?;
        let coin = Coin { outpoint: self.outpoint(), value };
        Ok(Contract { coin, keys, lock: self.lock, unbonding_time: params.unbonding_time() })
    }

    fn check_staking_tx(&self, script: &Script) -> Result<(), StakeRefused> {
        if self.staking_tx.is_coinbase() {
            return Err(StakeRefused::Coinbase);
        }
        let confirmed = matches!(self.proof, RegistrationProof::Confirmed(_));
        if !confirmed && self.staking_tx.input.iter().any(|input| !input.script_sig.is_empty()) {
            return Err(StakeRefused::Malleable);
        }
        let standard = self.payout.is_witness_program() || self.payout.is_p2pkh() || self.payout.is_p2sh();
        if !standard {
            return Err(StakeRefused::Payout);
        }
        let found = self.staking_tx.output.iter().filter(|output| output.script_pubkey == *script).count();
        let index = usize::try_from(self.vout).map_err(|_| StakeRefused::Output(self.vout))?;
        match self.staking_tx.output.get(index).filter(|output| output.script_pubkey == *script) {
            None => Err(StakeRefused::Output(self.vout)),
            Some(_) if found > 1 => Err(StakeRefused::Ambiguous),
            Some(_) => Ok(()),
        }
    }

    fn check_signatures(&self, sighashes: &Sighashes) -> Result<(), StakeRefused> {
        let pairs = [
            (Slashable::Staking, &sighashes.slashing, &self.slashing_signature),
            (Slashable::Unbonding, &sighashes.unbonding_slashing, &self.unbonding_slashing_signature),
        ];
        pairs.into_iter().try_for_each(|(output, sighash, signature)| {
            self.staker.verify(sighash, signature).map_err(|_| StakeRefused::Signature(output))
        })
    }

    /// The readable intent that the holder signs, given the chain of each provider in [`Self::providers`].
    pub fn intent(&self, network: Network, hub: &Hash32, chains: &[ChainId]) -> String {
        let mut text = format!(
            "Palisade stake\nnetwork: {network}\nhub: {hub}\nstake: {}\nlocked for: {} blocks\n",
            self.outpoint(),
            self.lock
        );
        if let Some(old) = &self.expands {
            text.push_str(&format!("expands: {old}\n"));
        }
        for (chain, provider) in chains.iter().zip(&self.providers) {
            text.push_str(&format!("power: {chain} {provider}\n"));
        }
        text.push_str(&format!("payout: {}\n", self.payout.to_hex_string()));
        text
    }
}

/// What the staking key signs (BIP-340) for a stake that is already locked; `context` is chain zero's intent context.
pub fn intent_message(context: &crate::context::Context, text: &str) -> [u8; 32] {
    crate::hash::tagged("palisade/1/intent", &[&context.0, text.as_bytes()]).0
}
