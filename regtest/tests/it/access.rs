//! `docs/operations/access.md` beside what runs: every route and every listening socket has its row, and nothing else is open.

use palisade_regtest::demo::network::{Network, edit, text};
use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::tell::Tell;
use palisade_regtest::process::{Daemon, Failed, tool, wait_for};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../docs/operations/access.md");
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The first cells of the table below a heading, without their backquotes.
fn rows(heading: &str) -> BTreeSet<String> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).expect("a section");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(cell, _)| cell.to_owned()).collect()
}

/// The routes of the OpenAPI document, as `METHOD /path`.
fn routes() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(include_str!("../../../hub/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let routes = paths.flat_map(|(path, doors)| {
        let methods = doors.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    routes.collect()
}

#[test]
fn every_route_of_the_hub_has_its_row_and_every_row_a_route() {
    assert_eq!(rows("The hub's API"), routes());
}

/// What stands between two pieces of a source, in lines.
fn between(source: &'static str, begin: &str, end: &str) -> impl Iterator<Item = &'static str> {
    let inside = source.split_once(begin).expect("the beginning").1.split_once(end).expect("the end").0;
    inside.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The first cells of the table below a heading, one that has no backquotes.
fn plain_rows(heading: &str) -> Vec<&'static str> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.map(|(cell, _)| cell).skip(1).collect()
}

#[test]
fn every_request_that_a_signer_takes_has_its_row_and_every_row_a_request() {
    let source = include_str!("../../../finality-provider/src/signer/request.rs");
    let lines = between(source, "wire_enum!(Request {", "}");
    let requests: Vec<String> =
        lines.map(|line| line.split_once("=> ").unwrap().1.trim_end_matches(',').to_lowercase()).collect();
    assert!(requests.len() > 4);
    assert_eq!(plain_rows("The signer's socket"), requests);
}

#[test]
fn every_kind_of_message_stands_once_in_the_table_of_who_must_have_signed_it() {
    let source = include_str!("../../../protocol/src/message.rs");
    let lines = between(source, "wire_enum!(Message {", "}");
    let codes: BTreeSet<u32> = lines.map(|line| line.split_once(" =>").unwrap().0.parse().unwrap()).collect();
    let number = |piece: &str| piece.split_once(')')?.0.parse().ok();
    let rows = plain_rows("Whose word changes what");
    let mut named: Vec<u32> = rows.iter().flat_map(|row| row.split('(').skip(1).filter_map(number)).collect();
    named.sort_unstable();
    assert!(codes.len() > 12 && named.iter().copied().eq(codes), "{named:?}");
}

#[test]
fn every_default_address_has_its_row_and_every_row_an_address() {
    let defaults = [
        include_str!("../../../hub/hub.default.toml"),
        include_str!("../../../covenant/covenant.default.toml"),
        include_str!("../../../checkpointer/checkpointer.default.toml"),
        include_str!("../../../finality-provider/signer.default.toml"),
        include_str!("../../../finality-provider/voter.default.toml"),
        include_str!("../../../staker/staker.default.toml"),
    ];
    let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_suffix('"')?.to_owned());
    let lines = defaults.iter().flat_map(|text| text.lines());
    let found: BTreeSet<_> =
        lines.filter_map(|line| value(line, "address = \"").or(value(line, "socket = \""))).collect();
    assert_eq!(rows("What listens"), found);
}

/// The command before a daemon's own that writes down where it listens.
fn watched(log: &Path) -> Vec<OsString> {
    let words = ["strace", "-D", "-f", "-e", "trace=bind", "-o"].map(OsString::from);
    words.into_iter().chain([log.as_os_str().to_owned()]).collect()
}

/// What a process has bound, but the sockets by which it asks its own kernel.
fn bound(log: &Path) -> Vec<String> {
    let calls = std::fs::read_to_string(log).unwrap();
    let addresses = calls.lines().filter_map(|line| line.split_once("bind(")?.1.split_once('{'));
    addresses.map(|(_, address)| address.to_owned()).filter(|text| !text.contains("AF_NETLINK")).collect()
}

/// A network with an operator, each of whose daemons writes down where it listens.
async fn start(dir: &Path) -> (Network, Operator) {
    let mut network = Network::start(dir, &Tell::default()).await.unwrap();
    let chain = network.start_chain(95_000_000).await.unwrap();
    let (mut operator, _) = Operator::new(&network, "anna", &chain).await.unwrap();
    operator.start().await.unwrap();
    let socket = operator.socket().to_owned();
    let ours = |daemon: &&mut Daemon| !daemon.log().ends_with("devchain.log");
    for daemon in network.daemons_mut().chain(operator.daemons_mut()).filter(ours) {
        daemon.kill().await.unwrap();
        let address = Some(daemon.log().with_extension("address")).filter(|file| file.exists());
        let calls = daemon.log().with_extension("calls");
        daemon.start_again_under(&watched(&calls), address.as_deref()).unwrap();
        match address {
            Some(address) => drop(daemon.address(&address).await.unwrap()),
            None if daemon.log().ends_with("signer.log") => {
                let there = || Ok(bound(&calls).len() == 2);
                wait_for("the signer listens", there, || daemon.check()).await.unwrap();
            }
            None => {}
        }
    }
    assert!(socket.exists());
    (network, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_daemon_listens_where_its_row_says_and_does_there_what_it_says_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut network, mut operator) = start(&dir.path().join("network")).await;
    let (url, socket) = (network.hub_url.clone(), text(operator.socket()));
    let mut seen = 0;
    let all = network.daemons_mut().chain(operator.daemons_mut());
    let logs: Vec<PathBuf> = all.map(|daemon: &mut Daemon| daemon.log().to_owned()).collect();
    for log in logs.iter().filter(|log| !log.ends_with("devchain.log")) {
        let bound = bound(&log.with_extension("calls"));
        let (sockets, ports): (Vec<_>, Vec<_>) = bound.iter().partition(|text| text.contains("AF_UNIX"));
        let own = if log.ends_with("signer.log") { vec![&socket] } else { vec![] };
        assert_eq!(sockets.len(), own.len(), "{}: {bound:?}", log.display());
        assert!(own.iter().all(|path| sockets[0].contains(path.as_str())), "{bound:?}");
        assert_eq!(ports.len(), 1, "{}: {bound:?}", log.display());
        assert!(ports[0].contains("inet_addr(\"127.0.0.1\")"), "{}: {bound:?}", log.display());
        seen += 1;
    }
    assert_eq!(seen, 11, "hub, five members, report, watch, anchor, signer, voter: {logs:?}");

    only_what_is_written(&url, &routes()).await;
    let [watching, voting] = ["", "GET /status "].map(|more| format!("{more}GET /health GET /metrics"));
    let split = |text: &str| -> BTreeSet<String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.chunks(2).map(|pair| pair.join(" ")).collect()
    };
    for log in &logs {
        let Ok(address) = std::fs::read_to_string(log.with_extension("address")) else { continue };
        let own = if log.ends_with("voter.log") { &voting } else { &watching };
        if !log.ends_with("hub.log") {
            only_what_is_written(&format!("http://{}", address.trim()), &split(own)).await;
        }
    }
    nobody_else_can_read(dir.path(), operator.socket());
    no_daemon_listens_to_other_machines_unasked(&network, &operator).await;
    operator.stop().await.unwrap();
    network.stop().await.unwrap();
}

/// Asks a door for everything that the hub has, by every method: what is not its own is refused by name.
async fn only_what_is_written(url: &str, own: &BTreeSet<String>) {
    let all: BTreeSet<String> = routes().into_iter().chain(["GET /status".to_owned()]).collect();
    for path in all.iter().filter_map(|route| route.split(' ').nth(1)) {
        let is_own = |method: &Method| own.contains(&format!("{method} {path}"));
        let wanted = if METHODS.iter().any(is_own) { 405 } else { 404 };
        let place = path.replace("{chain}", "zero").replace("{digest}", &"00".repeat(32));
        let place = place.replace("{id}", &"00".repeat(32)).replace("{epoch}", "7").replace("{height}", "7");
        for method in METHODS.iter().filter(|method| !is_own(method)) {
            let answer = Client::new().request(method.clone(), format!("{url}{place}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::from_u16(wanted).unwrap(), "{method} {url}{place}");
        }
    }
}

/// Keys, passwords and the socket are their owner's alone, and so is every directory with a program's data.
fn nobody_else_can_read(dir: &Path, socket: &Path) {
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let (mut keys, mut directories) = (0, 0);
    let mut open = vec![dir.to_owned()];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
            if entry.is_dir() {
                if name.ends_with("-data") || name == "keys" {
                    assert_eq!(mode(&entry), 0o700, "{}", entry.display());
                    directories += 1;
                }
                open.push(entry);
            } else if name.ends_with(".key.json") || name == "password" || place.ends_with("keys") {
                assert_eq!(mode(&entry), 0o600, "{}", entry.display());
                keys += 1;
            }
        }
    }
    // Keys of the hub, the covenant, governance, two wallets and the operator, and the password; of each a directory.
    assert_eq!((keys, directories), (1 + 5 + 3 + 2 + 4 + 1, 1 + 5 + 3 + 3), "{}", dir.display());
}

/// Every daemon with an address of all interfaces in its configuration: it ends, and says how to mean it.
async fn no_daemon_listens_to_other_machines_unasked(network: &Network, operator: &Operator) {
    let at = |place: &str| network.dir.join(place);
    let of_operator = |place: &str| operator.dir().join(place);
    for (program, command, config) in [
        ("palisade-hub", "run", at("hub/hub.toml")),
        ("palisade-covenant", "run", at("covenant-0/covenant.toml")),
        ("palisade-checkpointer", "report", at("checkpointer/checkpointer.toml")),
        ("palisade-checkpointer", "watch", at("checkpointer/checkpointer.toml")),
        ("palisade-checkpointer", "anchor", at("checkpointer/checkpointer.toml")),
        ("palisade-finality-provider", "signer", of_operator("signer.toml")),
        ("palisade-finality-provider", "run", of_operator("voter.toml")),
    ] {
        let opened = config.with_extension("opened.toml");
        std::fs::copy(&config, &opened).unwrap();
        edit(&opened, &[("\naddress = \"127.0.0.1:", "\naddress = \"0.0.0.0:")]).unwrap();
        let refused = tool(program, &[command, "--config", &text(&opened)]).await.unwrap_err();
        let refused = refused.downcast::<Failed>().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{program} {command}: {refused}");
        assert!(refused.said.contains("allow_remote"), "{program} {command}: {refused}");
    }
}
