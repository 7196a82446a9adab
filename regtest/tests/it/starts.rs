//! Every daemon answers as soon as it runs, also while it replays a long log.

use palisade_regtest::demo::network::{edit, text};
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::process::{Daemon, json_tool};
use palisade_world::World;
use reqwest::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Blocks of the log: a second or more of replaying.
const BLOCKS: u64 = 5_000;

/// What a process said of its start, from the first moment on.
struct Start {
    reasons: Vec<String>,
    refused: bool,
}

/// Looks at `/health` and another door of a process that was just started, until it speaks of its start no more.
async fn look(address: &Path, daemon: &mut Daemon) -> Start {
    let (http, began) = (Client::new(), Instant::now());
    let mut start = Start { reasons: Vec::new(), refused: false };
    let address = daemon.listens(address).await.unwrap();
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came to an end");
        daemon.check().unwrap();
        let answer = http.get(format!("http://{address}/health")).send().await.unwrap();
        let health: Value = answer.json().await.unwrap();
        let reasons = health["reasons"].as_array().unwrap().iter().filter_map(Value::as_str);
        let Some(now) = reasons.into_iter().find(|reason| reason.starts_with("start: ")) else {
            return start;
        };
        start.reasons.push(now.to_owned());
        let metrics = http.get(format!("http://{address}/metrics")).send().await.unwrap();
        assert_eq!(metrics.status().as_u16(), 200);
        let other = http.get(format!("http://{address}/status")).send().await.unwrap();
        if other.status().as_u16() == 503 {
            let said: Value = other.json().await.unwrap();
            start.refused |= said["error"]["rule"] == "starting" && said["error"]["retry"] == true;
        }
    }
}

impl Start {
    fn check(&self, name: &str) {
        assert!(self.refused, "{name}: another door did not say that it starts: {:?}", self.reasons);
        let told =
            self.reasons.iter().filter_map(|reason| reason.strip_prefix("start: replaying the own log, "));
        let told: Vec<(u64, u64)> = told
            .filter_map(|rest| {
                let (done, rest) = rest.split_once(" of ")?;
                Some((done.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
            })
            .collect();
        assert!(told.is_sorted() && told.iter().any(|(done, _)| *done > 0), "{name}: {:?}", self.reasons);
        assert!(told.iter().all(|(_, all)| *all >= BLOCKS), "{name}: {told:?}");
    }
}

/// A daemon beside the hub: its program, what it is told, its configuration, its data, its address.
struct Beside {
    program: &'static str,
    command: &'static str,
    config: PathBuf,
    data: PathBuf,
    address: PathBuf,
}

/// All of them, made by `init` as anybody makes them. There is no Bitcoin node, which is no reason to be silent.
async fn daemons(hub: &HubProcess) -> Vec<Beside> {
    let (genesis, url) = (text(&hub.at("genesis.json")), hub.client.url().to_string());
    let password = text(&hub.at("password"));
    std::fs::write(hub.at("cookie"), "__cookie__:00").unwrap();
    let cookie = text(&hub.at("cookie"));
    let dirs = ["covenant", "provider", "checkpointer"].map(|name| hub.at(name));
    let own: Vec<String> = dirs.iter().map(|dir| text(dir)).collect();
    let common = |dir: &str| -> Vec<String> {
        ["--json", "init", "--dir", dir, "--genesis", &genesis, "--hub", &url, "--password-file", &password]
            .map(str::to_owned)
            .to_vec()
    };
    let node = ["--bitcoin", "http://127.0.0.1:1", "--cookie", &cookie].map(str::to_owned);
    let any = ["--listen", "127.0.0.1:0"].map(str::to_owned);
    json_tool("palisade-covenant", &[&common(&own[0])[..], &any].concat()).await.unwrap();
    let signer = ["--signer-listen", "127.0.0.1:0"].map(str::to_owned);
    json_tool("palisade-finality-provider", &[&common(&own[1])[..], &node, &any, &signer].concat())
        .await
        .unwrap();
    json_tool("palisade-checkpointer", &[&common(&own[2])[..], &node].concat()).await.unwrap();
    let ports = ["127.0.0.1:8210", "127.0.0.1:8211", "127.0.0.1:8212"].map(|port| (port, "127.0.0.1:0"));
    edit(&dirs[2].join("checkpointer.toml"), &ports).unwrap();
    let beside = |program, command, dir: &PathBuf, config: &str, name: &str| Beside {
        program,
        command,
        config: dir.join(config),
        data: dir.join(format!("{name}-data")),
        address: dir.join(format!("{name}.address")),
    };
    let mut all = vec![
        beside("palisade-covenant", "run", &dirs[0], "covenant.toml", "covenant"),
        beside("palisade-finality-provider", "run", &dirs[1], "voter.toml", "voter"),
    ];
    for command in ["report", "watch", "anchor"] {
        all.push(beside("palisade-checkpointer", command, &dirs[2], "checkpointer.toml", command));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_daemon_with_a_long_log_tells_while_it_replays_it_how_far_it_is() {
    let mut world = World::new(1_000_000);
    world.close_until(BLOCKS);
    let mut hub = HubProcess::start(&world).await;
    hub.daemon.end().await.unwrap();
    std::fs::copy(hub.at("hub-data/log.sqlite"), hub.at("copy.sqlite")).unwrap();
    let address = hub.at("hub.address");
    hub.daemon.start_again(Some(&address)).unwrap();
    look(&address, &mut hub.daemon).await.check("palisade-hub");
    for daemon in daemons(&hub).await {
        let name = format!("{} {}", daemon.program, daemon.command);
        std::fs::create_dir_all(&daemon.data).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&daemon.data, private).unwrap();
        std::fs::copy(hub.at("copy.sqlite"), daemon.data.join("log.sqlite")).unwrap();
        let words = [daemon.command.to_owned(), "--config".to_owned(), text(&daemon.config)];
        let log = daemon.config.with_extension(format!("{}.log", daemon.command));
        let mut running = Daemon::start(daemon.program, &words, &log).unwrap();
        look(&daemon.address, &mut running).await.check(&name);
        running.stop().await.unwrap();
    }
}
