//! Adaptor signatures that the committee of Babylon's Go code made over real slashing transactions.

use super::*;
use crate::curve::testing::bytes;
use crate::curve::verify_bip340;
use crate::keys::{CovenantKey, ProviderKey, StakerKey};
use crate::outputs::{Leaf, Output};
use crate::scripts::{Committee, StakeKeys};
use crate::transactions::sighash;
use crate::units::RelativeBlocks;
use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use serde::Deserialize;

#[derive(Deserialize)]
struct Facts {
    committee: Vec<CovenantKey>,
    quorum: u8,
    providers: Vec<Provider>,
    delegations: Vec<Delegation>,
}

#[derive(Deserialize)]
struct Provider {
    secret: String,
    public: ProviderKey,
}

#[derive(Deserialize)]
struct Delegation {
    staker: StakerKey,
    providers: Vec<ProviderKey>,
    staking_time: u16,
    staking_tx: String,
    staking_output: usize,
    slashing_tx: String,
    covenant_slashing_signatures: Vec<Member>,
    unbonding_time: u16,
    unbonding_tx: String,
    unbonding_slashing_tx: String,
    covenant_unbonding_slashing_signatures: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    member: CovenantKey,
    /// One for each provider, in the delegation's order.
    signatures: Vec<String>,
}

/// The sighash of a slashing transaction, after a look at the output that it spends.
fn sighash_of(slashing_tx: &str, funding_tx: &str, index: usize, output: &Output) -> [u8; 32] {
    let tx = |hex: &str| deserialize_hex::<Transaction>(hex).unwrap();
    let spent = tx(funding_tx).output[index].clone();
    assert_eq!(spent.script_pubkey, output.script_pubkey(), "the keys and the lock make this output");
    sighash(&tx(slashing_tx), 0, &[spent], output, Leaf::Slashing).unwrap()
}

/// The 66 bytes that early versions of Babylon wrote: `02 || R0.x || s || 1 if R0 is odd`.
fn from_legacy(bytes: [u8; 66]) -> AdaptorSignature {
    let [2, rest @ .., odd @ (0 | 1)] = bytes else { panic!("not the old form") };
    let [x, s] = halves(&rest);
    AdaptorSignature { odd: odd == 1, x, s: Scalar::from_be_bytes(s).unwrap() }
}

/// Verifies, decrypts, and recovers the provider's secret.
fn check(signature: &str, signer: CovenantKey, provider: &KeyPair, sighash: &[u8; 32]) {
    let (signature, signer) = (from_legacy(bytes(signature)), signer.point());
    assert_eq!(verify(&signer, &provider.public(), sighash, &signature), Ok(()));
    let decrypted = decrypt(&signature, provider);
    assert_eq!(verify_bip340(&signer, sighash, &decrypted), Ok(()));
    let recovered = recover(&signature, &decrypted, &provider.public()).unwrap();
    assert_eq!(recovered.secret_bytes(), provider.secret_bytes());
}

#[test]
fn adaptor_signatures_that_babylons_go_code_made_verify_decrypt_and_give_the_key_away() {
    let facts = include_str!("../../tests/fixtures/babylon-test-utils/facts.json");
    let facts: Facts = serde_json::from_str(facts).unwrap();
    let committee = Committee::new(facts.committee, facts.quorum).unwrap();
    let secret_of = |key: &ProviderKey| {
        let provider = facts.providers.iter().find(|provider| provider.public == *key).unwrap();
        KeyPair::from_secret_bytes(&bytes(&provider.secret)).unwrap()
    };

    let mut checked = 0;
    for d in &facts.delegations {
        let keys = StakeKeys::new(d.staker, d.providers.clone(), committee.clone()).unwrap();
        let staking = Output::staking(&keys, RelativeBlocks::new(d.staking_time).unwrap());
        let unbonding = Output::unbonding(&keys, RelativeBlocks::new(d.unbonding_time).unwrap());
        let of_staking = sighash_of(&d.slashing_tx, &d.staking_tx, d.staking_output, &staking);
        let of_unbonding = sighash_of(&d.unbonding_slashing_tx, &d.unbonding_tx, 0, &unbonding);
        for (sighash, members) in [
            (of_staking, &d.covenant_slashing_signatures),
            (of_unbonding, &d.covenant_unbonding_slashing_signatures),
        ] {
            for Member { member, signatures } in members {
                assert_eq!(signatures.len(), d.providers.len());
                for (signature, provider) in signatures.iter().zip(&d.providers) {
                    check(signature, *member, &secret_of(provider), &sighash);
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 48, "three members, eight providers of seven delegations, two outputs");
}
