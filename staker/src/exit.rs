//! The proof that a stake can be left, made before it is locked.
//!
//! The spend is signed for real, then judged as a node would judge it: from the bytes of the witness, against the script
//! of the output that it spends. Nothing is taken from the code that built the output.

use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::{OP_CHECKSIGVERIFY, OP_CSV};
use bitcoin::script::Builder;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, Message, SECP256K1, XOnlyPublicKey, rand};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{ControlBlock, LeafVersion, TapLeafHash};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Script, ScriptBuf, Transaction, TxOut, Weight, Witness};
use palisade_protocol::outputs::{Leaf, Output};
use palisade_protocol::stake::{Contract, Presigned, unbonding_coin};
use palisade_protocol::transactions::witness::{self, CovenantSignatures, NoWitness};
use palisade_protocol::transactions::{CannotBuild, Coin, NoSighash, sighash, spend};
use palisade_protocol::units::RelativeBlocks;

/// Why an output could not be left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoExit {
    /// The spend cannot be built.
    #[error(transparent)]
    CannotBuild(#[from] CannotBuild),
    /// It cannot be signed.
    #[error(transparent)]
    Sighash(#[from] NoSighash),
    /// Its witness cannot be put together.
    #[error(transparent)]
    Witness(#[from] NoWitness),
    /// A node would refuse it.
    #[error("a node would refuse the exit: {0}")]
    Refused(&'static str),
}

/// What made an output of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The staking transaction.
    Stake,
    /// The early exit.
    Unbonding,
    /// A slashing: what it left.
    Slashing,
}

/// An output of ours with a timelock leaf, and what it takes to spend it.
#[derive(Debug, Clone)]
pub struct Exit {
    /// What made it.
    pub place: Place,
    /// Where it is.
    pub coin: Coin,
    /// What it is.
    pub output: Output,
    /// How long it must age.
    pub lock: RelativeBlocks,
}

impl Exit {
    /// From the stake itself.
    pub fn of_stake(contract: &Contract) -> Self {
        Self { place: Place::Stake, coin: contract.coin, output: contract.output(), lock: contract.lock }
    }

    /// From what the unbonding transaction leaves.
    pub fn of_unbonding(contract: &Contract, presigned: &Presigned) -> Self {
        let coin = unbonding_coin(&presigned.unbonding);
        Self {
            place: Place::Unbonding,
            coin,
            output: contract.unbonding_output(),
            lock: contract.unbonding_time,
        }
    }

    /// From what a slashing leaves: output 1 of its transaction.
    pub fn of_slashing(contract: &Contract, slashing: &Transaction) -> Self {
        let outpoint = bitcoin::OutPoint { txid: slashing.compute_txid(), vout: 1 };
        let value = slashing.output.get(1).map_or(Amount::ZERO, |output| output.value);
        let output = Output::slashing_change(contract.keys.staker(), contract.unbonding_time);
        let (coin, lock) = (Coin { outpoint, value }, contract.unbonding_time);
        Self { place: Place::Slashing, coin, output, lock }
    }

    /// All the places where the holder's coins can come to lie.
    pub fn all(contract: &Contract, presigned: Option<&Presigned>) -> Vec<Self> {
        let mut exits = vec![Self::of_stake(contract)];
        if let Some(presigned) = presigned {
            exits.push(Self::of_unbonding(contract, presigned));
            exits.push(Self::of_slashing(contract, &presigned.slashing));
            exits.push(Self::of_slashing(contract, &presigned.unbonding_slashing));
        }
        exits
    }

    /// The output that it spends.
    pub fn txout(&self) -> TxOut {
        TxOut { value: self.coin.value, script_pubkey: self.output.script_pubkey() }
    }

    /// A signed withdrawal to `destination` at a fee rate. Judged before it is given.
    pub fn withdraw(
        &self,
        key: &Keypair,
        destination: &Script,
        rate: FeeRate,
    ) -> Result<(Transaction, Amount), NoExit> {
        let fee = rate.fee_wu(self.weight(destination)?).ok_or(NoExit::CannotBuild(CannotBuild::Overflow))?;
        let mut tx = spend::withdrawal(self.coin, self.lock, destination.to_owned(), fee)?;
        let hash = sighash(&tx, 0, &[self.txout()], &self.output, Leaf::Timelock)?;
        let witness = witness::timelock(&self.output, &sign(key, &hash))?;
        set_witness(&mut tx, witness);
        self.judge(&tx, &key.x_only_public_key().0)?;
        Ok((tx, fee))
    }

    /// What the withdrawal weighs: known before it is signed, because a signature always has 64 bytes.
    fn weight(&self, destination: &Script) -> Result<Weight, NoExit> {
        let mut tx = spend::withdrawal(self.coin, self.lock, destination.to_owned(), Amount::ZERO)?;
        set_witness(&mut tx, witness::timelock(&self.output, &placeholder())?);
        Ok(tx.weight())
    }

    /// Judges a withdrawal as a node would: the leaf belongs to the output, it is the one that the holder alone can use, the
    /// sequence waits long enough, and the signature is the holder's.
    fn judge(&self, tx: &Transaction, owner: &XOnlyPublicKey) -> Result<(), NoExit> {
        let spent = [self.txout()];
        let [input] = tx.input.as_slice() else { return Err(NoExit::Refused("it has other inputs")) };
        let items: Vec<&[u8]> = input.witness.iter().collect();
        let [signature, script, control] = items.as_slice() else {
            return Err(NoExit::Refused("its witness has not three items"));
        };
        let script = Script::from_bytes(script);
        check_commitment(&spent[0].script_pubkey, script, control)?;
        let wanted = Builder::new()
            .push_x_only_key(owner)
            .push_opcode(OP_CHECKSIGVERIFY)
            .push_int(self.lock.get().into())
            .push_opcode(OP_CSV)
            .into_script();
        if script != wanted.as_script() {
            return Err(NoExit::Refused("its script is not the timelock of the holder"));
        }
        let waits = input.sequence.to_consensus_u32() == u32::from(self.lock.get());
        if tx.version < Version::TWO || !waits {
            return Err(NoExit::Refused("its sequence does not wait for the timelock"));
        }
        check_signature(tx, 0, &spent, script, signature, owner)
    }
}

/// The early exit: the unbonding transaction with its witness. Judged before it is given, every signature in it.
pub fn unbond(
    contract: &Contract,
    presigned: &Presigned,
    key: &Keypair,
    covenant: &CovenantSignatures,
) -> Result<Transaction, NoExit> {
    let mut tx = presigned.unbonding.clone();
    let hash = contract.sighashes(presigned)?.unbonding;
    let (output, keys) = (contract.output(), &contract.keys);
    set_witness(&mut tx, witness::unbonding(&output, keys, &sign(key, &hash), covenant)?);
    judge_unbonding_leaf(&tx, &[contract.txout()], contract)?;
    Ok(tx)
}

/// Judges input 0 of a transaction, which spends a stake by its unbonding leaf: exactly a quorum of the committee has signed
/// exactly this, and so has the holder.
pub fn judge_unbonding_leaf(tx: &Transaction, spent: &[TxOut], contract: &Contract) -> Result<(), NoExit> {
    let input = tx.input.first().ok_or(NoExit::Refused("it has no input"))?;
    let items: Vec<&[u8]> = input.witness.iter().collect();
    let [signatures @ .., owner, script, control] = items.as_slice() else {
        return Err(NoExit::Refused("its witness is too short"));
    };
    let script = Script::from_bytes(script);
    check_commitment(&contract.txout().script_pubkey, script, control)?;
    if script != contract.keys.unbonding_leaf().as_script() {
        return Err(NoExit::Refused("its script is not the unbonding leaf"));
    }
    check_signature(tx, 0, spent, script, owner, &contract.keys.staker().point())?;
    let committee = contract.keys.committee();
    if signatures.len() != committee.members().len() {
        return Err(NoExit::Refused("it has not one item for each member of the committee"));
    }
    let mut count = 0;
    // The last item is the first that the script reads.
    for (member, signature) in committee.members().iter().zip(signatures.iter().rev()) {
        if !signature.is_empty() {
            check_signature(tx, 0, spent, script, signature, &member.point())?;
            count += 1;
        }
    }
    if count == usize::from(committee.quorum()) {
        Ok(())
    } else {
        Err(NoExit::Refused("not exactly a quorum of the committee has signed"))
    }
}

/// Proves that the holder of `key` can leave the stake, and what is left of it after an early exit or a slashing, when the
/// timelocks are over.
pub fn prove(
    contract: &Contract,
    presigned: Option<&Presigned>,
    key: &Keypair,
    destination: &ScriptBuf,
) -> Result<(), NoExit> {
    // The proof is about signatures and scripts, so the smallest fee that nodes relay will do.
    let rate = FeeRate::from_sat_per_kwu(25);
    for exit in Exit::all(contract, presigned) {
        exit.withdraw(key, destination, rate)?;
    }
    Ok(())
}

/// A BIP-340 signature with fresh randomness.
pub fn sign(key: &Keypair, message: &[u8; 32]) -> Signature {
    SECP256K1.sign_schnorr_with_rng(&Message::from_digest(*message), key, &mut rand::thread_rng())
}

fn placeholder() -> Signature {
    #[allow(clippy::expect_used, reason = "any 64 bytes are the encoding of a signature, good or not")]
    Signature::from_slice(&[0; 64]).expect("64 bytes")
}

fn set_witness(tx: &mut Transaction, witness: Witness) {
    if let Some(input) = tx.input.first_mut() {
        input.witness = witness;
    }
}

fn check_commitment(script_pubkey: &Script, script: &Script, control: &[u8]) -> Result<(), NoExit> {
    let program = script_pubkey.as_bytes().get(2..).filter(|_| script_pubkey.is_p2tr());
    let key = program.and_then(|program| XOnlyPublicKey::from_slice(program).ok());
    let control = ControlBlock::decode(control).ok();
    match (key, control) {
        (Some(key), Some(control)) if control.verify_taproot_commitment(SECP256K1, key, script) => Ok(()),
        _ => Err(NoExit::Refused("its script does not belong to the output")),
    }
}

fn check_signature(
    tx: &Transaction,
    input: usize,
    spent: &[TxOut],
    script: &Script,
    signature: &[u8],
    key: &XOnlyPublicKey,
) -> Result<(), NoExit> {
    let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
    let digest = SighashCache::new(tx)
        .taproot_script_spend_signature_hash(input, &Prevouts::All(spent), leaf, TapSighashType::Default)
        .map_err(|_| NoSighash)?;
    let bad = NoExit::Refused("a signature does not verify");
    let signature = Signature::from_slice(signature).map_err(|_| bad.clone())?;
    let message = Message::from_digest(digest.to_byte_array());
    SECP256K1.verify_schnorr(&signature, &message, key).map_err(|_| bad)
}

#[cfg(test)]
mod tests;
