//! Every question that our programs ask a Bitcoin node was answered by one.

use crate::wires::sources;
use palisade_fuzz::{answered_by_bitcoind, find, prove};
use std::collections::BTreeSet;

/// What stands before the name of a method in the client's source.
const MARKS: [&str; 4] = ["call(\"", "call_each(\"", ">(\"", "let method = \""];

/// The methods that the client calls.
fn methods() -> BTreeSet<String> {
    let sources = sources();
    let client = sources.iter().find(|(path, _)| path.ends_with("hub/src/bitcoind.rs")).unwrap();
    let named = |mark| client.1.split(mark).skip(1).filter_map(|rest: &str| rest.split('"').next());
    let names = MARKS.into_iter().flat_map(named).map(str::to_owned);
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase())).collect()
}

/// The methods that were answered with a result.
fn answered(corpus: &[Vec<u8>]) -> BTreeSet<String> {
    corpus.iter().flat_map(|input| answered_by_bitcoind(input)).collect()
}

#[test]
fn every_method_that_the_client_calls_was_answered_with_a_result() {
    let corpus = prove::corpus(&find("process-bitcoind").unwrap()).unwrap();
    let methods = methods();
    for known in
        ["submitpackage", "getmempoolentry", "estimatesmartfee", "getblockhash", "gettxout", "scantxoutset"]
    {
        assert!(methods.contains(known), "{known} was not found: {methods:?}");
    }
    assert_eq!(methods, answered(&corpus));
    // Whoever loses the inputs of one method is told so.
    for method in &methods {
        let rest: Vec<_> =
            corpus.iter().filter(|input| !answered_by_bitcoind(input).contains(method)).cloned().collect();
        assert!(!answered(&rest).contains(method), "{method}");
    }
}

#[test]
fn nobody_but_the_client_calls_a_method() {
    for (path, code) in sources().iter().filter(|(path, _)| !path.starts_with("hub/src/bitcoind")) {
        let calls = [".call(\"", ".call::<", ".call_each("].iter().any(|call| code.contains(call));
        assert!(
            !calls || path.ends_with("hub/src/bitcoind.rs"),
            "{} asks a node past its client",
            path.display()
        );
    }
}
