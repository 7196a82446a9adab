//! Every way that coins of a stake move, judged by Bitcoin Core's interpreter, and every way that they must not.
//!
//! The stacks here are put together from the scripts' rules alone; `witness` must make the same ones.

mod building;
mod descriptors;
mod forgeries;
mod parties;
mod properties;
mod refusals;
mod slashing_checks;
mod spends;

use parties::*;

use super::{Coin, sighash, slashing, spend, unbonding};
use crate::curve::KeyPair;
use crate::curve::testing::key_pair;
use crate::keys::{CovenantKey, ProviderKey, StakerKey};
use crate::outputs::{Leaf, Output};
use crate::transactions::slashing::Split;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Witness};

impl Path {
    /// Whether Bitcoin Core's interpreter lets input 0 be spent with this stack.
    fn core_accepts(&self, stack: &[Vec<u8>]) -> bool {
        let mut tx = self.tx.clone();
        tx.input[0].witness = Witness::from_slice(stack);
        core_accepts(&tx, 0, &self.spent)
    }
}

/// Whether Bitcoin Core's interpreter lets one input of `tx` be spent, all rules in force.
fn core_accepts(tx: &Transaction, input: usize, spent: &[TxOut]) -> bool {
    let all: Vec<_> = spent
        .iter()
        .map(|output| bitcoinconsensus::Utxo {
            script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: output.script_pubkey.len() as u32,
            value: output.value.to_sat() as i64,
        })
        .collect();
    let own = &spent[input];
    let script = own.script_pubkey.as_bytes();
    bitcoinconsensus::verify(script, own.value.to_sat(), &serialize(tx), Some(&all), input).is_ok()
}

fn for_every_path(check: impl Fn(&Parties, &Path)) {
    for (quorum, members) in COMMITTEES {
        for providers in PROVIDERS {
            let parties = Parties::new(quorum, members, providers);
            for path in parties.paths() {
                println!("{quorum} of {members}, {providers} providers: {}", path.name);
                check(&parties, &path);
            }
        }
    }
}
