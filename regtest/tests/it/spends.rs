//! Every path by which coins of a stake move, and every forgery of `palisade-protocol`'s own tests, judged by a node.
//!
//! The tables are those tests' files, which judge by Core's interpreter. A node asks more of a transaction than its
//! scripts do, and asks it first: BIP 68 makes a spend wait for the age that its sequence claims, in blocks or by the
//! clock, where the interpreter only compares numbers. Such refusals say `non-BIP68-final`.

#[path = "../../../protocol/src/transactions/tests/forgeries.rs"]
mod forgeries;
#[path = "../../../protocol/src/transactions/tests/parties.rs"]
mod parties;
mod smallest;

use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{OutPoint, Transaction, TxOut, Witness};
use forgeries::*;
use palisade_hub::bitcoind::Acceptance;
use palisade_protocol::outputs::Leaf;
use palisade_regtest::Node;
use palisade_world::pair as key_pair;
use parties::*;

const TOO_YOUNG: &str = "non-BIP68-final";

/// One spend of coins that the node has.
struct Case {
    name: String,
    parties: Parties,
    path: Path,
    /// What takes the place of an input that an alteration adds.
    more: OutPoint,
}

/// Every path of every committee and number of providers, each with coins of its own in the newest block.
async fn cases(node: &Node) -> Vec<Case> {
    node.mine(110).await.unwrap();
    let mut cases = Vec::new();
    for (quorum, members) in COMMITTEES {
        for providers in PROVIDERS {
            for path in Parties::new(quorum, members, providers).paths() {
                let name = format!("{quorum} of {members}, {providers} providers: {}", path.name);
                let parties = Parties::new(quorum, members, providers);
                cases.push(Case { name, parties, path, more: OutPoint::null() });
            }
        }
    }
    // Two alike for input 0, so that a signature for one can be tried on the other.
    let outputs_of = |case: &Case| {
        let own = case.path.spent[0].clone();
        [own.clone(), own, wallet(funding().value.to_sat()), wallet(extra().value.to_sat())]
    };
    let outputs: Vec<TxOut> = cases.iter().flat_map(outputs_of).collect();
    let funded = node.fund_many(&outputs).await.unwrap().compute_txid();
    for (first, case) in (0..).step_by(4).zip(&mut cases) {
        let coins = [first, first + 2].map(|vout| OutPoint::new(funded, vout));
        for (input, coin) in case.path.tx.input.iter_mut().zip(coins) {
            input.previous_output = coin;
        }
        case.more = OutPoint::new(funded, first + 3);
    }
    node.mine(1).await.unwrap();
    cases
}

/// The transaction of a path with this stack; inputs of the holder's wallet are signed as they stand.
fn with_stack(path: &Path, stack: &[Vec<u8>]) -> Transaction {
    let mut tx = path.tx.clone();
    tx.input[0].witness = Witness::from_slice(stack);
    for input in 1..tx.input.len() {
        let kind = TapSighashType::Default;
        let digest = SighashCache::new(&path.tx)
            .taproot_key_spend_signature_hash(input, &Prevouts::All(&path.spent), kind)
            .unwrap();
        tx.input[input].witness = Witness::from_slice(&[sign(&wallet_key(), &digest.to_byte_array())]);
    }
    tx
}

/// Why the node refuses; `None` where it accepts.
async fn refusal(node: &Node, path: &Path, stack: &[Vec<u8>]) -> Option<String> {
    let verdicts = node.rpc().test_mempool_accept(&[with_stack(path, stack)]).await.unwrap();
    let [verdict] = verdicts.try_into().unwrap();
    match verdict {
        Acceptance::Allowed { .. } => None,
        Acceptance::Refused { reason } => Some(reason),
    }
}

/// Fails unless the node refuses the stack, and because of its scripts.
async fn check_forged(node: &Node, name: &str, what: &str, path: &Path, stack: &[Vec<u8>]) {
    let reason = refusal(node, path, stack).await;
    let script = reason.as_deref().is_some_and(|reason| reason.contains("script-verify-flag-failed"));
    assert!(script, "{name}: {what}: {reason:?}");
}

#[tokio::test]
async fn a_node_accepts_every_path_at_its_block_and_refuses_every_forgery() {
    let node = Node::temporary().await.unwrap();
    let cases = cases(&node).await;
    let made = node.rpc().tip().await.unwrap().height;
    for case in cases.iter().filter(|case| case.path.leaf != Leaf::Timelock) {
        check_honest(&node, case, None).await;
    }
    for lock in [UNBONDING_TIME, LOCK] {
        // A spend that waits `lock` blocks can stand in block `made + lock`, so the node takes it one block before.
        let last_too_early = made + u32::from(lock) - 2;
        let tip = node.rpc().tip().await.unwrap().height;
        node.mine(last_too_early - tip).await.unwrap();
        let own = || cases.iter().filter(|case| case.path.tx.input[0].sequence.0 == u32::from(lock));
        assert!(own().count() > 0, "no path waits {lock} blocks");
        for case in own() {
            check_honest(&node, case, Some(TOO_YOUNG)).await;
        }
        node.mine(1).await.unwrap();
        for case in own() {
            check_honest(&node, case, None).await;
        }
    }
    for case in &cases {
        check_forgeries(&node, case).await;
        check_alterations(&node, case).await;
        if case.path.leaf == Leaf::Timelock {
            check_timelock(&node, case).await;
        }
    }
}

async fn check_honest(node: &Node, case: &Case, refused: Option<&str>) {
    let stack = case.parties.stack(&case.path, &case.parties.honest(&case.path));
    assert_eq!(refusal(node, &case.path, &stack).await.as_deref(), refused, "{}: honest", case.name);
}

async fn check_forgeries(node: &Node, Case { name, parties, path, .. }: &Case) {
    for (what, forge) in FORGERIES {
        let Some(stack) = forge(parties, path) else { continue };
        check_forged(node, name, what, path, &stack).await;
    }
    for stack in key_spends(parties, path) {
        check_forged(node, name, "a spend by key", path, &stack).await;
    }
}

async fn check_alterations(node: &Node, Case { name, parties, path, more }: &Case) {
    let stack = parties.stack(path, &parties.honest(path));
    for (what, alter) in ALTERATIONS {
        let mut altered = path.clone();
        alter(&mut altered);
        for input in altered.tx.input.iter_mut().filter(|input| input.previous_output == extra().outpoint) {
            input.previous_output = *more;
        }
        if altered.tx == path.tx {
            // The node knows what its coins hold, so here the signatures are for another amount.
            let stack = parties.stack(&altered, &parties.honest(&altered));
            check_forged(node, name, what, path, &stack).await;
        } else {
            check_forged(node, name, what, &altered, &stack).await;
        }
    }
}

async fn check_timelock(node: &Node, Case { name, parties, path, .. }: &Case) {
    for (tried, opens) in timelock_tries(path) {
        let sequence = tried.tx.input[0].sequence;
        let reason = refusal(node, &tried, &parties.stack(&tried, &parties.honest(&tried))).await;
        let what = format!("{name}: version {}, sequence {sequence}: {reason:?}", tried.tx.version);
        // The newest of these coins is as old as the longest lock, so a sequence that claims more has to wait.
        let wait =
            sequence.0 > u32::from(LOCK) && opens || sequence.is_time_locked() && tried.tx.version.0 > 1;
        match reason.as_deref() {
            None => assert!(opens && !wait, "{what}"),
            Some(TOO_YOUNG) => assert!(wait, "{what}"),
            Some(reason) => assert!(!opens && reason.contains("script-verify-flag-failed"), "{what}"),
        }
    }
}
