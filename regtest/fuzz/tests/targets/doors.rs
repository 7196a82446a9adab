//! Every file of the product that reads bytes from outside names the target that feeds it, or says why it needs none; every
//! door of every API is asked by a corpus.

use crate::wires::sources;
use palisade_fuzz::{all, find};
use std::collections::{BTreeMap, BTreeSet};

/// How bytes become values in our sources.
const MARKS: [&str; 18] = [
    "serde_json::from_",
    "toml::from",
    "toml::Deserializer",
    "DeTable::parse",
    "from_bytes(&",
    "deserialize(&",
    "deserialize_hex(",
    "impl FromStr for",
    "row.get",
    ".parse()",
    ".parse::<",
    "read_text(",
    "bounded::read(",
    "private_file::read(",
    "fs::read(",
    "read_to_end(",
    "read_line(",
    "value_parser",
];

/// The targets that feed each such file.
const FED: &[(&str, &str)] = &[
    ("checkpointer/src/anchor/anchorer.rs", "hub-client protocol-anchor"),
    ("checkpointer/src/anchor/flight.rs", "checkpointer-flight-rows"),
    ("checkpointer/src/backup.rs", "checkpointer-config"),
    ("checkpointer/src/files.rs", "checkpointer-verify"),
    ("checkpointer/src/prove.rs", "protocol-proof protocol-root hub-client"),
    ("checkpointer/src/report/mark.rs", "checkpointer-mark-rows"),
    ("checkpointer/src/report/reporter.rs", "hub-log-rows"),
    ("checkpointer/src/verify.rs", "checkpointer-verify"),
    ("checkpointer/src/watch.rs", "checkpointer-evidence"),
    ("checkpointer/src/watch/book.rs", "checkpointer-book-rows"),
    ("covenant/src/audit.rs", "covenant-audit-rows"),
    ("covenant/src/backup.rs", "covenant-config"),
    ("covenant/src/member.rs", "covenant-audit-rows protocol-message"),
    ("finality-provider/src/add_chain.rs", "signer-config voter-config"),
    ("finality-provider/src/backup.rs", "signer-config voter-config"),
    ("finality-provider/src/signer/record.rs", "signer-record-rows"),
    ("finality-provider/src/signer/record/mark.rs", "signer-record-rows"),
    ("finality-provider/src/signer/server.rs", "signer-socket"),
    ("finality-provider/src/status.rs", "voter-config voter-status"),
    ("finality-provider/src/voter/journal.rs", "voter-journal-rows"),
    ("finality-provider/src/voter/refusal.rs", "voter-refusal"),
    ("finality-provider/src/voter/source.rs", "voter-source"),
    ("hub/src/api.rs", "hub-api"),
    ("hub/src/api/anchoring.rs", "hub-api"),
    ("hub/src/backup.rs", "hub-config"),
    ("hub/src/bitcoind.rs", "process-bitcoind"),
    ("hub/src/bitcoind/transport.rs", "process-bitcoind"),
    ("hub/src/client.rs", "hub-client"),
    ("hub/src/daemon/backup.rs", "hub-config"),
    ("hub/src/daemon/config.rs", "hub-config"),
    ("hub/src/daemon/database.rs", "hub-log-rows"),
    ("hub/src/daemon/endpoint.rs", "hub-config voter-config"),
    ("hub/src/daemon/genesis.rs", "process-genesis-file"),
    ("hub/src/daemon/keyfile.rs", "process-key-file"),
    ("hub/src/daemon/keyfile/format.rs", "process-key-file"),
    ("hub/src/daemon/network.rs", "protocol-text hub-config"),
    ("hub/src/daemon/password.rs", "process-password-file"),
    ("hub/src/governance.rs", "hub-given-file hub-command-line"),
    ("hub/src/init.rs", "hub-given-file"),
    ("hub/src/store.rs", "hub-log-rows"),
    ("protocol/src/adaptor.rs", "protocol-message"),
    ("protocol/src/block.rs", "protocol-message"),
    ("protocol/src/bls.rs", "protocol-message"),
    ("protocol/src/context.rs", "protocol-text"),
    ("protocol/src/curve/bytes.rs", "protocol-text"),
    ("protocol/src/genesis.rs", "protocol-genesis"),
    ("protocol/src/hash.rs", "protocol-text"),
    ("protocol/src/keys.rs", "protocol-text"),
    ("protocol/src/bip322.rs", "protocol-bip322"),
    ("protocol/src/timestamp.rs", "protocol-ots"),
    ("staker/src/amount.rs", "staker-words"),
    ("staker/src/backup.rs", "staker-backup"),
    ("staker/src/book.rs", "staker-book"),
    ("staker/src/extend.rs", "staker-command-line"),
    ("staker/src/finish.rs", "staker-book staker-backup"),
    ("staker/src/journal.rs", "staker-journal"),
    ("staker/src/record.rs", "staker-book staker-backup"),
    ("staker/src/stake.rs", "staker-words staker-command-line"),
    ("staker/src/unbond.rs", "staker-command-line"),
    ("staker/src/when.rs", "staker-words"),
    ("staker/src/withdraw.rs", "staker-command-line"),
];

/// Files with such a mark that take nothing from outside, and why.
const NOT_FED: &[(&str, &str)] = &[
    ("checkpointer/src/init.rs", "flags of a new configuration, which is then read as one"),
    ("covenant/src/init.rs", "flags of a new configuration, which is then read as one"),
    ("finality-provider/src/init.rs", "flags of a new configuration, which is then read as one"),
    ("hub/src/daemon/ask.rs", "a line that a person types at the terminal: yes or no"),
    ("hub/src/daemon/bounded.rs", "gives bytes to those who read them"),
    ("hub/src/daemon/lock.rs", "the number of a process, which is only shown"),
    ("hub/src/daemon/private_file.rs", "gives bytes to those who read them"),
    ("protocol/src/nonce.rs", "secrets that it derives itself"),
    ("protocol/src/transactions/bump.rs", "a script that is a constant"),
];

#[test]
fn every_file_that_reads_bytes_names_its_target_or_says_why_it_has_none() {
    let reads = |code: &str| {
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.into_iter().any(|line| MARKS.iter().any(|mark| line.contains(mark)))
    };
    let sources = sources();
    let reading: BTreeSet<String> =
        sources.iter().filter(|(_, code)| reads(code)).map(|(path, _)| path.display().to_string()).collect();
    assert!(reading.len() > 50, "{reading:?}");
    let fed: BTreeMap<&str, &str> = FED.iter().chain(NOT_FED).copied().collect();
    assert_eq!(fed.len(), FED.len() + NOT_FED.len(), "a file stands twice");
    let missing: Vec<_> = reading.iter().filter(|path| !fed.contains_key(path.as_str())).collect();
    assert!(missing.is_empty(), "these read bytes, and no target is named: {missing:#?}");
    for path in fed.keys() {
        assert!(sources.iter().any(|(own, _)| own.display().to_string() == *path), "there is no {path}");
    }
    for target in FED.iter().flat_map(|(_, targets)| targets.split(' ')) {
        assert!(find(target).is_some(), "there is no target {target}");
    }
}

/// Whether a path is one of a template of the OpenAPI document.
fn fits(template: &str, path: &str) -> bool {
    let (wanted, found) = (template.split('/'), path.split('/'));
    wanted.clone().count() == found.clone().count()
        && wanted.zip(found).all(|(wanted, found)| wanted == found || wanted.starts_with('{'))
}

#[test]
fn every_door_of_the_hub_is_asked_by_the_corpus() {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../../../hub/openapi.json")).unwrap();
    let corpus = (find("hub-api").unwrap().corpus)();
    let asked: Vec<(String, String)> = corpus
        .iter()
        .map(|input| {
            let line = input.split(|byte| *byte == b'\n').next().unwrap();
            let (method, path) = std::str::from_utf8(line).unwrap().split_once(' ').unwrap();
            (method.to_lowercase(), path.split('?').next().unwrap().to_owned())
        })
        .collect();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 18);
    for (template, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let is_asked = asked.iter().any(|(own, path)| own == method && fits(template, path));
            assert!(is_asked, "no input asks {method} {template}");
        }
    }
}

/// The routes that a source opens.
fn routes(code: &str) -> impl Iterator<Item = &str> {
    code.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_door_of_every_program_is_asked_by_a_corpus() {
    let mut doors = 0;
    for (path, code) in sources().iter().filter(|(_, code)| routes(code).next().is_some()) {
        let target = match path.to_str().unwrap() {
            path if path.starts_with("hub/src/api") => "hub-api",
            "hub/src/daemon/serve.rs" => "process-door",
            "finality-provider/src/voter/run.rs" => "voter-door",
            other => panic!("{other} opens doors, and no target is named"),
        };
        let corpus = (find(target).unwrap().corpus)();
        let lines = corpus.iter().filter_map(|input| input.split(|byte| *byte == b'\n').next());
        let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
        let asked: Vec<&str> = lines.filter_map(|line| line.split([' ', '?']).nth(1)).collect();
        for route in routes(code) {
            doors += 1;
            assert!(
                asked.iter().any(|path| fits(route, path)),
                "no input of {target} asks {route}: {asked:?}"
            );
        }
    }
    assert!(doors > 20, "{doors} doors");
}

#[test]
fn every_database_and_configuration_has_a_target() {
    let kinds = sources().iter().filter(|(_, code)| code.contains(": Kind = Kind {")).count();
    let rows = all().iter().filter(|target| target.name.ends_with("-rows")).count();
    assert_eq!(rows, kinds, "one target for each kind of database");
    for rows in all().iter().filter_map(|target| target.name.strip_suffix("-rows")) {
        assert!(find(&format!("{rows}-file")).is_some(), "no target reads {rows} as a damaged file");
    }
    let configurations = sources().iter().filter(|(_, code)| code.contains("impl Validate for ")).count();
    let targets = all().iter().filter(|target| target.name.ends_with("-config")).count();
    assert_eq!(targets, configurations, "one target for each configuration");
}
