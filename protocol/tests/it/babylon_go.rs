//! What Babylon's Go code made holds under our rules: outputs, transactions, signatures, commitments.
//!
//! Its votes and adaptor signatures one by one are in the unit tests of `eots` and `adaptor`.

mod facts;

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, Transaction, TxOut, Witness};
use facts::{Adaptors, Delegation, Facts, facts};
use palisade_protocol::adaptor::{self, AdaptorSignature};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::outputs::{Leaf, Output};
use palisade_protocol::params::Profile;
use palisade_protocol::scripts::{Committee, StakeKeys};
use palisade_protocol::transactions::slashing::{self, Split};
use palisade_protocol::transactions::witness::{self, CovenantSignatures};
use palisade_protocol::transactions::{Coin, sighash, unbonding};
use palisade_protocol::tree::{leaf_hash, path_root};

/// A delegation, and what we make of its keys and times.
struct Ours<'a> {
    facts: &'a Facts,
    theirs: &'a Delegation,
    keys: StakeKeys,
    staking: Output,
    unbonding: Output,
}

impl<'a> Ours<'a> {
    fn new(facts: &'a Facts, theirs: &'a Delegation) -> Self {
        let committee = Committee::new(facts.committee.clone(), facts.quorum).unwrap();
        let keys = StakeKeys::new(theirs.staker, theirs.providers.clone(), committee).unwrap();
        let staking = Output::staking(&keys, theirs.staking_time);
        let unbonding = Output::unbonding(&keys, theirs.unbonding_time);
        Self { facts, theirs, keys, staking, unbonding }
    }

    /// Both slashings: of the stake and of what it unbonds to.
    fn slashings(&self) -> [Slashing<'_>; 2] {
        let theirs = self.theirs;
        [
            Slashing {
                tx: &theirs.slashing_tx,
                coin: coin(&theirs.staking_tx, theirs.staking_output),
                output: &self.staking,
                staker_signature: &theirs.staker_slashing_signature,
                adaptors: &theirs.covenant_slashing_signatures,
            },
            Slashing {
                tx: &theirs.unbonding_slashing_tx,
                coin: coin(&theirs.unbonding_tx, 0),
                output: &self.unbonding,
                staker_signature: &theirs.staker_unbonding_slashing_signature,
                adaptors: &theirs.covenant_unbonding_slashing_signatures,
            },
        ]
    }
}

struct Slashing<'a> {
    tx: &'a Transaction,
    coin: Coin,
    output: &'a Output,
    staker_signature: &'a Signature,
    adaptors: &'a [Adaptors],
}

impl Slashing<'_> {
    fn sighash(&self) -> [u8; 32] {
        digest(self.tx, self.coin, self.output, Leaf::Slashing)
    }
}

fn coin(tx: &Transaction, vout: u32) -> Coin {
    let outpoint = OutPoint { txid: tx.compute_txid(), vout };
    Coin { outpoint, value: tx.output[vout as usize].value }
}

fn digest(tx: &Transaction, coin: Coin, output: &Output, leaf: Leaf) -> [u8; 32] {
    let spent = TxOut { value: coin.value, script_pubkey: output.script_pubkey() };
    sighash(tx, 0, &[spent], output, leaf).unwrap()
}

/// The 65-byte form of a signature in the old one of 66: `02 || R0.x || s || 01 if R0 is odd`.
fn modern(old: &[u8; 66]) -> AdaptorSignature {
    assert_eq!(old[0], 2);
    let mut bytes = [0; 65];
    bytes.copy_from_slice(&old[..65]);
    bytes[0] = 2 + old[65];
    AdaptorSignature::from_bytes(bytes).unwrap()
}

fn pair(facts: &Facts, provider: &ProviderKey) -> KeyPair {
    let found = facts.providers.iter().find(|known| known.public == *provider).unwrap();
    KeyPair::from_secret_bytes(&found.secret.0).unwrap()
}

/// Whether Bitcoin Core's interpreter lets `witness` spend `coin`.
fn core_accepts(tx: &Transaction, coin: Coin, output: &Output, witness: Witness) -> bool {
    let mut tx = tx.clone();
    tx.input[0].witness = witness;
    let script = output.script_pubkey();
    let value = coin.value.to_sat();
    let spent = [bitcoinconsensus::Utxo {
        script_pubkey: script.as_bytes().as_ptr(),
        script_pubkey_len: script.len() as u32,
        value: value as i64,
    }];
    bitcoinconsensus::verify(script.as_bytes(), value, &serialize(&tx), Some(&spent), 0).is_ok()
}

fn for_every_delegation(check: impl Fn(&Ours<'_>)) {
    let facts = facts();
    assert_eq!(facts.delegations.len(), 7);
    facts.delegations.iter().for_each(|theirs| {
        println!("delegation {}", theirs.name);
        check(&Ours::new(&facts, theirs));
    });
}

#[test]
fn outputs_and_transactions_of_go_are_rebuilt() {
    for_every_delegation(|ours| {
        let Ours { facts, theirs, keys, staking, .. } = ours;
        let stake = TxOut { value: theirs.total_sat, script_pubkey: staking.script_pubkey() };
        assert_eq!(theirs.staking_tx.output[theirs.staking_output as usize], stake);
        let coin = coin(&theirs.staking_tx, theirs.staking_output);
        let fee = theirs.total_sat - theirs.unbonding_tx.output[0].value;
        let tx = unbonding::build(coin, keys, theirs.unbonding_time, fee, Profile::Compatible).unwrap();
        assert_eq!(tx, theirs.unbonding_tx);
        for slashing in ours.slashings() {
            let [burned, change] = slashing.tx.output.as_slice() else { panic!("two outputs") };
            let fee = slashing.coin.value - burned.value - change.value;
            assert!(fee >= facts.min_slash_fee);
            let split = Split {
                slashed: burned.value,
                slash_script: &facts.slash_script,
                fee,
                change_script: Output::slashing_change(theirs.staker, theirs.unbonding_time).script_pubkey(),
                profile: Profile::Compatible,
            };
            let mut tx = slashing::build(slashing.coin, &split).unwrap();
            // Go's test data is older than version 2 of the slashing transactions; both versions are accepted.
            tx.version = Version::ONE;
            assert_eq!(&tx, slashing.tx);
        }
    });
}

#[test]
fn signatures_of_holders_and_committee_verify() {
    for_every_delegation(|ours| {
        let theirs = ours.theirs;
        for slashing in ours.slashings() {
            theirs.staker.verify(&slashing.sighash(), slashing.staker_signature).unwrap();
        }
        let coin = coin(&theirs.staking_tx, theirs.staking_output);
        let digest = digest(&theirs.unbonding_tx, coin, &ours.staking, Leaf::Unbonding);
        theirs.staker.verify(&digest, &theirs.staker_unbonding_signature).unwrap();
        let covenant: CovenantSignatures =
            theirs.covenant_unbonding_signatures.iter().map(|s| (s.member, s.signature)).collect();
        assert_eq!(covenant.len(), 3);
        for (member, signature) in &covenant {
            member.verify(&digest, signature).unwrap();
        }
        let own = &theirs.staker_unbonding_signature;
        let witness = witness::unbonding(&ours.staking, &ours.keys, own, &covenant).unwrap();
        assert!(core_accepts(&theirs.unbonding_tx, coin, &ours.staking, witness));
    });
}

#[test]
fn any_provider_whose_key_is_out_can_be_slashed_on_bitcoin() {
    for_every_delegation(|ours| {
        for slashing in ours.slashings() {
            let message = slashing.sighash();
            for (place, provider) in ours.theirs.providers.iter().enumerate() {
                let pair = pair(ours.facts, provider);
                let decrypted = |a: &Adaptors| adaptor::decrypt(&modern(&a.signatures[place].0), &pair);
                let covenant: CovenantSignatures =
                    slashing.adaptors.iter().map(|a| (a.member, decrypted(a))).collect();
                let own = pair.sign_bip340(&message, &[0; 32]);
                let signed = (*provider, &own);
                let Slashing { tx, coin, output, staker_signature, .. } = slashing;
                let witness =
                    witness::slashing(output, &ours.keys, staker_signature, signed, &covenant).unwrap();
                assert!(core_accepts(tx, coin, output, witness.clone()));
                let mut cheaper = tx.clone();
                cheaper.output[0].value -= bitcoin::Amount::ONE_SAT;
                assert!(!core_accepts(&cheaper, coin, output, witness));
            }
        }
    });
}

#[test]
fn merkle_proofs_of_randomness_lead_to_the_commitment() {
    let Facts { commitment, votes, .. } = facts();
    for vote in votes {
        let leaf = leaf_hash(&vote.randomness.0);
        let path: Vec<_> = vote.aunts.iter().map(|aunt| Hash32(aunt.0)).collect();
        assert_eq!(leaf, Hash32(vote.leaf_hash.0));
        assert_eq!(path_root(leaf, vote.index, vote.total, &path), Some(Hash32(commitment.root.0)));
        assert_ne!(path_root(leaf, vote.index + 1, vote.total, &path), Some(Hash32(commitment.root.0)));
        assert_eq!((vote.total, vote.index), (commitment.count, vote.height - commitment.start_height));
    }
    let counts = [commitment.start_height, commitment.count].map(u64::to_be_bytes).concat();
    let digest = sha256::Hash::hash(&[&counts[..], &commitment.root.0].concat()).to_byte_array();
    commitment.provider.verify(&digest, &commitment.signature).unwrap();
}
