//! `make up` and `make down`: a network stays, what it prints can be entered as it is, and all of it goes.

use crate::interrupt::processes;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::client::HubClient;
use palisade_regtest::in_time;
use palisade_regtest::process::{binary, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::process::Command;

/// A shell in the directory that the printed commands are entered in.
struct Shell {
    home: PathBuf,
    path: String,
}

impl Shell {
    async fn run(&self, line: &str) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(&self.home).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PATH", &self.path).env("PALISADE_PASSWORD", "hello").output().await.unwrap()
    }

    /// Enters a line until it does what it says: what it needs may still be on its way.
    async fn until_done(&self, line: &str) -> String {
        let done = async {
            loop {
                let ended = self.run(line).await;
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                match ended.status.code() {
                    Some(0) => return String::from_utf8(ended.stdout).unwrap(),
                    Some(3) => {}
                    code => panic!("{line}\nended with {code:?}: {said}"),
                }
            }
        };
        in_time(line, done).await
    }
}

async fn demo(word: &str, dir: &Path) -> String {
    let mut command = Command::new(binary("palisade-demo").unwrap());
    let ended = command.arg(word).env("DEMO_DIR", dir).output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// Stops the network when the test ends, however it ends.
struct Down(PathBuf);

impl Drop for Down {
    fn drop(&mut self) {
        let program = binary("palisade-demo").unwrap();
        let mut down = std::process::Command::new(program);
        // A test that has failed has said why already.
        let _ = down.arg("down").env("DEMO_DIR", &self.0).stdout(Stdio::null()).status();
    }
}

/// Has the node give its newest block up, as anybody can by hand, and waits until the network is past it. The line names node and
/// hub.
async fn take_a_block_away(line: &str) {
    let after = |flag: &str| line.split(flag).nth(1).unwrap().trim_start().split(' ').next().unwrap();
    let cookie = line.split("--cookie '").nth(1).unwrap().split('\'').next().unwrap();
    let node = BitcoinRpc::new(after("--bitcoin"), Auth::Cookie(cookie.into())).unwrap();
    let hub = HubClient::new(after("--hub").parse().unwrap());
    let gone = node.tip().await.unwrap();
    let _: Value = node.call("invalidateblock", json!([gone.hash])).await.unwrap();
    let goes_on = async {
        loop {
            let status: Value = hub.get_json("status", &[]).await.unwrap();
            let known = status["btc_height"].as_u64().unwrap();
            let other = node.block_hash(gone.height).await.unwrap().is_some_and(|hash| hash != gone.hash);
            if other && known > u64::from(gone.height) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("the hub follows the node past the block that was taken away", goes_on).await;
}

#[tokio::test]
async fn a_network_stays_up_its_printed_commands_do_what_they_say_and_all_of_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("left running");
    std::fs::create_dir(&dir).unwrap();
    let _down = Down(dir.clone());
    let printed = demo("up", &dir).await;
    assert_eq!(demo("up", &dir).await.trim(), printed.trim(), "it is up already");
    let lines = |program: &str| -> Vec<&str> {
        let starts = printed.lines().filter(|line| line.starts_with(program));
        starts.map(|line| line.split(" #").next().unwrap().trim().trim_end_matches(';')).collect()
    };
    let [init, providers, stake, status, extend, backup, unbond, withdraw, from_file] =
        lines("palisade-staker")[..]
    else {
        panic!("{printed}")
    };
    let programs = binary("palisade-staker").unwrap().parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut shell = Shell { home: dir.clone(), path };
    shell.until_done(init).await;
    shell.home = dir.join("you");

    let address = shell.until_done("palisade-staker address").await;
    let fund = printed.lines().find_map(|line| line.strip_prefix("curl -X POST \"")?.split("$(").next());
    let url = format!("{}{}", fund.unwrap(), address.trim());
    let given = reqwest::Client::new().post(url).send().await.unwrap();
    assert!(given.status().is_success(), "{given:?}");
    assert!(!shell.until_done(providers).await.is_empty());
    shell.until_done(&format!("{stake} --yes")).await;
    let shown: Value = serde_json::from_str(&shell.until_done(&format!("{status} --json")).await).unwrap();
    let id = shown["stakes"][0]["id"].as_str().unwrap();
    let named = |line: &str| line.replace("ID", &id[..8]);
    shell.until_done(backup).await;
    // Others need time: too early is no wrong command line.
    for line in [extend, withdraw, from_file] {
        let ended = shell.run(&format!("{} --yes", named(line))).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(matches!(ended.status.code(), Some(0 | 3)), "{line}: {said}");
    }
    shell.until_done(&format!("{} --yes", named(unbond))).await;
    for line in lines("palisade-checkpointer") {
        let ended = shell.run(&line.replace("HEIGHT", "5")).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!said.contains("Usage"), "{line}: {said}");
    }

    let govern = printed.split("palisade-hub governance").nth(1).and_then(|rest| rest.split("--yes").next());
    let registered = shell.until_done(&format!("palisade-hub governance{}--yes", govern.unwrap())).await;
    assert!(registered.contains("is in hub block"), "{registered}");

    take_a_block_away(init).await;

    let name = folder.path().display().to_string();
    assert!(processes(&name).unwrap().len() >= 18);
    assert!(demo("down", &dir).await.contains("stopped"));
    let gone = || Ok(processes(&name)?.is_empty());
    wait_for("everything has stopped", gone, || Ok(())).await.unwrap();
    assert!(demo("down", &dir).await.contains("nothing is up"));
}
