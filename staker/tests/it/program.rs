//! Stories of the program itself: its output, its exit codes, and how it ends.

use crate::party::{Party, open};
use palisade_hub::ledger::state::StakeState::Active;
use palisade_regtest::demo::network::edit;
use palisade_regtest::gate::{Gate, Hold};
use palisade_regtest::in_time;
use palisade_world::provider_key;
use serde_json::Value;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

pub fn program(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-staker"));
    command.arg("--config").arg(config).args(args).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub async fn run(config: &Path, args: &[&str]) -> Output {
    program(config, args).output().await.unwrap()
}

pub fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    // Programs read nothing but failures there: no summary, no progress.
    assert!(output.status.success() && said.is_empty(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Starts the program and waits until it says that it waits for the committee.
async fn start_waiting(config: &Path, args: &[&str]) -> Child {
    let mut child = program(config, args).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("of the committee 0 signed, 3 are needed") {
                return;
            }
        }
        panic!("the program has ended");
    };
    in_time("the wait for signatures", waits).await;
    child
}

pub async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_stopped_or_killed_while_it_waits_has_lost_nothing() {
    let party = Party::new(&["anna"]).await;
    party.signing.send_replace(0);
    let config = party.funded("alice", &[600_000]).await;
    let anna = provider_key("anna").to_string();
    let flags = ["stake", "--amount", "0.005 BTC", "--provider", &anna, "--yes"];
    let mut child = start_waiting(&config, &flags).await;

    let asked = Instant::now();
    signal(&child, "-TERM").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert!(asked.elapsed() < Duration::from_secs(5));
    let status = json(&run(&config, &["--json", "status"]).await);
    let id = status["stakes"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&status["stakes"][0]["state"], &status["stakes"][0]["broadcast"]),
        (&"PENDING".into(), &false.into())
    );

    let mut child = start_waiting(&config, &["stake", "--yes", "--resume", &id]).await;
    signal(&child, "-KILL").await;
    assert_eq!(child.wait().await.unwrap().code(), None);
    party.signing.send_replace(3);
    // Nobody can be asked here, and money would move.
    let unasked = run(&config, &["stake", "--resume", &id]).await;
    let said = String::from_utf8_lossy(&unasked.stderr);
    assert_eq!(unasked.status.code(), Some(2), "{said}");
    assert!(
        said.contains("Lock 0.00500000 BTC") && said.contains("fee:") && said.contains("--yes"),
        "{said}"
    );
    let unasked = run(&config, &["stake", "--resume", &id, "--json"]).await;
    let said: Value = serde_json::from_slice(&unasked.stderr).unwrap();
    assert!(said["rule"] == "not-asked" && said["exit_code"] == 2 && unasked.stdout.is_empty(), "{said}");
    let status = json(&run(&config, &["--json", "status"]).await);
    assert_eq!(status["stakes"][0]["broadcast"], false);
    let locked = json(&run(&config, &["--json", "stake", "--yes", "--resume", &id]).await);
    assert_eq!((&locked["id"], &locked["broadcast"]), (&id.as_str().into(), &true.into()));
    for (field, expected) in [
        ("/amount_sat", 500_000),
        ("/unbonding_fee_sat", 2_000),
        ("/unbonding_blocks", 244),
        ("/slashed_sat", 50_000),
        ("/k", 6),
    ] {
        assert_eq!(locked.pointer(field), Some(&expected.into()), "{field} in {locked}");
    }
    assert_eq!(locked["providers"][0]["operator"], "anna");
    assert_eq!(locked["fee_sat"].as_u64().unwrap() + locked["change_sat"].as_u64().unwrap(), 100_000);
    party.mine(7).await;
    party.until_state(&id, Active).await;
    // As the next block held it, the heights that were told are those that came.
    let status = json(&run(&config, &["--json", "status"]).await);
    for field in ["active_at", "ends_at", "withdraw_at", "lock_blocks"] {
        assert_eq!(status["stakes"][0][field], locked[field], "{field}");
    }
    assert_eq!(
        (&locked["included"], &status["stakes"][0]["included_at"]),
        (&false.into(), &locked["counted_from"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_while_it_sends_a_stake_knows_that_it_may_be_sent() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let gate = Gate::start(&party.node.rpc_url()).await;
    edit(&config, &[(&party.node.rpc_url(), gate.url())]).unwrap();
    let anna = provider_key("anna").to_string();
    let flags = ["stake", "--amount", "0.005 BTC", "--provider", &anna, "--yes"].map(str::to_owned);
    let mut order = flags.to_vec();
    for when in [Hold::Before, Hold::After] {
        gate.hold(when);
        let flags: Vec<&str> = order.iter().map(String::as_str).collect();
        let mut child = program(&config, &flags).spawn().unwrap();
        let held = gate.held().await;
        signal(&child, "-KILL").await;
        child.wait().await.unwrap();
        let session = open(&config);
        let [record] = session.book.stakes() else { panic!("one stake") };
        assert!(record.broadcast && record.staking_tx == held, "{when:?}");
        order = ["stake", "--yes", "--resume", &record.name()].map(str::to_owned).to_vec();
    }
    gate.open();
    let flags: Vec<&str> = order.iter().map(String::as_str).chain(["--no-wait", "--json"]).collect();
    assert_eq!(json(&run(&config, &flags).await)["broadcast"], true);
    let sent = gate.sent();
    assert!(sent.iter().all(|tx| *tx == sent[0]) && sent.len() > 2, "no other transaction is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_json_and_failures_have_codes_that_scripts_branch_on() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let address = json(&run(&config, &["address", "--json"]).await);
    assert!(address["address"].as_str().unwrap().starts_with("bcrt1p"));
    assert_eq!(json(&run(&config, &["balance", "--json"]).await)["free_sat"], 600_000);
    let listing = json(&run(&config, &["providers", "--json"]).await);
    assert_eq!(listing["chains"][0]["providers"][0]["key"], provider_key("anna").to_string());
    assert_eq!(json(&run(&config, &["status", "--json"]).await)["stakes"], Value::Array(Vec::new()));

    let anna = provider_key("anna").to_string();
    let order = |amount| ["stake", "--amount", amount, "--provider", &anna];
    for (args, code) in [
        (order("0.005 BTC").to_vec(), 2),
        (order("5").to_vec(), 2),
        (order("0,5 BTC").to_vec(), 2),
        ([order("1 BTC").as_slice(), &["--yes"]].concat(), 3),
        (vec!["status", "nobody"], 2),
        (vec!["withdraw", "nobody", "--yes"], 2),
        (vec!["withdraw", "--backup", "/missing", "--cookie", "/c"], 1),
        (vec!["withdraw", "--backup", "/missing", "--cookie", "/c", "--yes"], 2),
        (vec!["withdraw", "--backup", "/missing", "--cookie", "/c", "--to", "X"], 2),
        ([order("0.005 BTC").as_slice(), &["--confirmed", "--payout", "X"]].concat(), 2),
        (vec!["withdraw"], 2),
        (vec!["frobnicate"], 2),
    ] {
        let output = run(&config, &args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains("error:") && output.stdout.is_empty(), "{args:?}: {said}");
    }
    for args in
        [["--json", "frobnicate"].as_slice(), &["stake", "--amount", "1", "--json"], &["unbond", "--json"]]
    {
        let output = run(&config, args).await;
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(said["error"].is_string() && said["hint"].is_string() && said["exit_code"] == 2, "{said}");
        assert!(output.status.code() == Some(2) && output.stdout.is_empty());
    }
    check_passwords(&party, &config).await;
    let missing = run(Path::new("/nowhere/staker.toml"), &["balance"]).await;
    assert_eq!(missing.status.code(), Some(2));
}

/// Whoever has no password, or a wrong one, is told so by the exit code, the rule and a hint.
async fn check_passwords(party: &Party, config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    let named = party.password().to_str().unwrap().to_owned();
    let wrong = party.folder.path().join("wrong password");
    palisade_hub::daemon::private_file::create(&wrong, b"incorrect horse").unwrap();
    assert!(text.contains(&named), "{text}");
    let line = |line: &&str| line.starts_with("password_file");
    let without = text.lines().filter(|text| !line(text)).collect::<Vec<_>>().join("\n");
    let anna = provider_key("anna").to_string();
    for (config_text, variable, code, rule) in [
        (text.replace(&named, wrong.to_str().unwrap()), None, 1, "wrong-password"),
        (text.replace(&named, "/nowhere/password"), None, 2, "password-file"),
        (without.clone(), Some("incorrect horse"), 1, "wrong-password"),
        (without.clone(), Some(""), 2, "bad-password"),
        (without, None, 2, "no-password"),
    ] {
        std::fs::write(config, config_text).unwrap();
        // In a session of its own there is no terminal to ask at.
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(env!("CARGO_BIN_EXE_palisade-staker")).arg("--config").arg(config);
        alone.args(["--json", "stake", "--amount", "0.005 BTC", "--provider", &anna, "--yes"]);
        alone.env_remove("PALISADE_PASSWORD");
        alone.envs(variable.map(|text| ("PALISADE_PASSWORD", text))).stdin(Stdio::null());
        let output = alone.output().await.unwrap();
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((&said["rule"], output.status.code()), (&rule.into(), Some(code)), "{said}");
        let hint = said["hint"].as_str().unwrap();
        assert!(hint.contains("--password-file") && hint.contains("PALISADE_PASSWORD"), "{said}");
    }
    std::fs::write(config, text).unwrap();
}
