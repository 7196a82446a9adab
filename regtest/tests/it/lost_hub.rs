//! The hub's machine is lost, or its log is older than it was: what followers hold is never signed a second time. The commands are
//! those of docs/operations/lost-hub.md.

mod digests;
mod false_followers;
mod unseen;

use anyhow::Context as _;
use palisade_hub::client::HubClient;
use palisade_hub::replica::Replica;
use palisade_protocol::block::Block;
use palisade_protocol::units::Height;
use palisade_regtest::demo::network::{Network, edit};
use palisade_regtest::demo::story::Story;
use palisade_regtest::in_time;
use palisade_regtest::node::free_port;
use palisade_regtest::process::{binary, reasons_at, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/operations/lost-hub.md");
const GUIDE: &str = include_str!("../../../docs/guides/hub.md");
const HUB: &str = "hub/hub";
const FOLLOWER: &str = "follower/hub";

/// Enters a line of the page, as it stands there, in the hub's directory; gives what it prints.
async fn enter(network: &Network, line: &str) -> String {
    assert!(PAGE.lines().any(|own| own == line), "the page does not say {line:?}");
    let programs = binary("palisade-hub").unwrap();
    let path = format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let line = line.replace("http://127.0.0.1:8200", &network.hub_url);
    let mut shell = Command::new("bash");
    shell.args(["-c", &line]).env("PATH", path).current_dir(network.dir.join("hub"));
    let done = shell.output().await.unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The words of a line of the page that starts a hub, behind the program.
fn start_line(line: &str) -> Vec<&str> {
    assert!(PAGE.lines().any(|own| own == line), "the page does not say {line:?}");
    line.strip_prefix("palisade-hub ").unwrap().split(' ').collect()
}

/// A follower with the configuration of the guide, which the hub asks from its next start on.
async fn follower(network: &mut Network) -> HubClient {
    let url = format!("http://127.0.0.1:{}", free_port().unwrap());
    let dir = network.dir.join("follower");
    std::fs::create_dir(&dir).unwrap();
    let config = GUIDE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let at = |name: &str| format!("\"{}\"", dir.join(name).display());
    let config = config
        .replace("\"genesis.json\"", &format!("\"{}\"", network.genesis().display()))
        .replace("\"follower-data\"", &at("data"))
        .replace("http://127.0.0.1:8200", &network.hub_url)
        .replace("\"127.0.0.1:8201\"", &format!("\"{}\"\naddress_file = {}", &url[7..], at("hub.address")));
    std::fs::write(dir.join("follower.toml"), config).unwrap();
    let address = format!("{FOLLOWER}.address");
    network.run("palisade-hub", &["run"], "follower/follower.toml", &address).await.unwrap();
    let named = "followers = [\"http://127.0.0.1:8201\"]";
    assert!(PAGE.lines().any(|own| own == named));
    let own = format!("followers = [\"{url}\"]");
    edit(&network.dir.join("hub/hub.toml"), &[(&format!("# {named}"), &own)]).unwrap();
    HubClient::new(url.parse().unwrap())
}

async fn height(hub: &HubClient) -> Option<u64> {
    hub.get_json::<Value>("status", &[]).await.unwrap()["height"].as_u64()
}

/// Kills the hub at a moment at which the follower has its whole log: what nobody has is lost. Gives the height of the newest block.
async fn kill_when_followed(network: &mut Network, follower: &HubClient) -> Height {
    let kill = async {
        loop {
            let tip = Height(height(&network.hub).await.unwrap());
            while follower.blocks(tip, Duration::from_secs(10)).await.unwrap().is_empty() {}
            network.kill(HUB).await.unwrap();
            let kept = newest(&network.dir.join("hub/hub-data"));
            if height(follower).await >= Some(kept.0) {
                return kept;
            }
            network.start_again(HUB).await.unwrap();
        }
    };
    in_time("the follower has all", kill).await
}

fn newest(data: &Path) -> Height {
    let log = Connection::open_with_flags(data.join("log.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let newest: i64 = log.query_row("SELECT max(height) FROM block", [], |row| row.get(0)).unwrap();
    Height(newest.unsigned_abs())
}

/// All blocks that a hub shows.
async fn all_blocks(hub: &HubClient) -> Vec<Block> {
    let mut all: Vec<Block> = Vec::new();
    loop {
        let page = hub.blocks(Height(all.len() as u64), Duration::ZERO).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Somebody who has looked at the hub from the beginning, and keeps what was shown.
struct Witness {
    copy: Replica,
    blocks: Vec<Block>,
    _dir: tempfile::TempDir,
}

impl Witness {
    async fn new(network: &Network) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let genesis = palisade_hub::daemon::genesis::read_genesis(&network.genesis()).unwrap();
        let mut witness =
            Self { copy: Replica::open(dir.path(), genesis).unwrap(), blocks: Vec::new(), _dir: dir };
        witness.look(&network.hub).await;
        witness
    }

    /// Looks at a hub: nothing that was seen before may be another block now, and every root above it must be right.
    async fn look(&mut self, hub: &HubClient) {
        let shown = all_blocks(hub).await;
        let seen = self.blocks.len();
        assert!(shown.len() >= seen, "{} blocks, and {seen} before", shown.len());
        for (now, before) in shown.iter().zip(&self.blocks) {
            assert_eq!(now.header.hash(), before.header.hash(), "a second header at {}", now.header.height);
        }
        shown[seen..].iter().for_each(|block| drop(self.copy.take(block).unwrap()));
        self.blocks = shown;
    }

    /// Waits until a hub has made more, and looks at it.
    async fn look_above(&mut self, hub: &HubClient, height: Height) {
        let above =
            async { while hub.blocks(height.plus(3), Duration::from_secs(5)).await.unwrap().is_empty() {} };
        in_time("the hub goes on above what it lost", above).await;
        self.look(hub).await;
    }
}

async fn reasons(hub: &HubClient) -> Vec<String> {
    reasons_at(hub.url().as_str()).await.unwrap()
}

/// Waits until `/health` of a hub says this of its followers; gives all that it says of them.
async fn until_said(hub: &HubClient, wanted: &str) -> String {
    let said = async {
        loop {
            let own = reasons(hub).await.into_iter().find(|reason| reason.starts_with("followers: "));
            if let Some(reason) = own.filter(|reason| reason.contains(wanted)) {
                return reason;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(wanted, said).await
}

/// Waits until `/health` of a hub says nothing of a part.
async fn until_well(hub: &HubClient, part: &str) {
    let well = async {
        while reasons(hub).await.iter().any(|reason| reason.starts_with(part)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(part, well).await;
}

/// Takes the place of the hub's data by that of a backup.
fn put_back(network: &Network, backup: &Path) -> Height {
    let data = network.dir.join("hub/hub-data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(backup.join("hub-data/log.sqlite"), data.join("log.sqlite")).unwrap();
    newest(&data)
}

async fn back_up(network: &Network) -> PathBuf {
    let said = enter(network, "palisade-hub backup --config hub.toml --to ../hub-backup").await;
    assert!(said.contains("blocks, the newest at height") && !said.contains("WARNING"), "{said}");
    network.dir.join("hub-backup")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_lost_its_log_or_has_an_older_one_signs_no_header_twice_and_goes_on_above() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&dir.path().join("network")).await.unwrap();
    let follower = follower(story.network_mut()).await;
    let mut witness = Witness::new(story.network()).await;

    // Everything but the key is gone.
    let network = story.network_mut();
    let tip = kill_when_followed(network, &follower).await;
    enter(network, "mv hub-data hub-data.damaged").await;
    assert_eq!(start_line("palisade-hub run --config hub.toml"), ["run", "--config", "hub.toml"]);
    network.start_again(HUB).await.unwrap();
    witness.look(&follower).await;
    witness.look_above(&network.hub, tip).await;
    assert!(witness.blocks.len() as u64 > tip.0);

    // An older copy takes the log's place.
    let backup = back_up(network).await;
    let hub = network.hub.clone();
    let old = newest(&backup.join("hub-data"));
    witness.look_above(&hub, old.plus(20)).await;
    let tip = kill_when_followed(network, &follower).await;
    assert_eq!(put_back(network, &backup), old);
    assert!(old < tip);
    network.start_again(HUB).await.unwrap();
    witness.look(&follower).await;
    witness.look_above(&network.hub, tip).await;

    // The follower is away when the hub starts: no block before it is back.
    let tip = kill_when_followed(network, &follower).await;
    network.kill(FOLLOWER).await.unwrap();
    put_back(network, &backup);
    network.start_again(HUB).await.unwrap();
    let said = until_said(&network.hub, "gives no answer").await;
    assert!(said.contains("no block is made until all have answered"), "{said}");
    assert!(enter(network, "curl -sS http://127.0.0.1:8200/health").await.contains("gives no answer"));
    // Ten intervals, and its doors for reading answer meanwhile.
    let none = network.hub.blocks(old.plus(1), Duration::from_secs(2)).await.unwrap();
    assert_eq!(none, [], "a block was made above an older log");
    assert_eq!(
        height(&network.hub).await,
        Some(old.0 - 1),
        "the newest block may be seen when a follower has it"
    );
    network.start_again(FOLLOWER).await.unwrap();
    witness.look(&follower).await;
    witness.look_above(&network.hub, tip).await;
    until_well(&network.hub, "followers: ").await;

    // The machine is gone, and the backup is what is left.
    let tip = kill_when_followed(network, &follower).await;
    std::fs::remove_dir_all(network.dir.join("hub/hub-data")).unwrap();
    assert!(PAGE.lines().any(|own| own == "cd ../hub-backup"));
    let words = start_line("palisade-hub run --config hub.toml");
    network.start_in(HUB, &backup, &words).await.unwrap();
    let again = network.hub.blocks(old, Duration::from_secs(10)).await.unwrap();
    assert_eq!(again[0].header, witness.blocks[old.0 as usize].header, "the same root at the backup's tip");
    witness.look(&follower).await;
    witness.look_above(&network.hub, tip).await;

    // Nobody was left behind: both chains go on, and the follower follows without a complaint.
    let began = story.final_now().await.unwrap();
    story.further(&began, 2).await.unwrap();
    until_well(&follower, "leader: ").await;
    witness.look(&follower).await;
    witness.look(&story.network().hub).await;
    story.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_working_hub_is_whole_and_takes_no_place_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let story = Story::begin_network(&dir.path().join("network")).await.unwrap();
    let network = story.network();
    let (config, to) = (network.dir.join("hub/hub.toml"), network.dir.join("copy"));
    let words = |to: &Path| {
        ["--json", "backup", "--config"]
            .map(str::to_owned)
            .into_iter()
            .chain([config.display().to_string(), "--to".to_owned(), to.display().to_string()])
            .collect::<Vec<_>>()
    };
    let made = palisade_regtest::process::json_tool("palisade-hub", &words(&to)).await.unwrap();
    assert_eq!(made["forgets"], true, "no followers are named");
    let top = made["height"].as_u64().unwrap();
    assert_eq!(made["blocks"].as_u64(), Some(top + 1));
    assert_eq!(newest(&to.join("hub-data")), Height(top));
    let sizes = made["files"].as_array().unwrap().iter().map(|file| {
        let path = to.join(file["name"].as_str().unwrap());
        assert_eq!(file["bytes"].as_u64(), Some(path.metadata().unwrap().len()), "{}", path.display());
        path.metadata().unwrap().len()
    });
    assert_eq!(made["bytes"].as_u64(), Some(sizes.sum()));
    let password = std::fs::read_to_string(network.password()).unwrap();
    for name in ["hub.toml", "genesis.json", "hub.key.json"] {
        let text = std::fs::read_to_string(to.join(name)).unwrap();
        assert!(!text.contains(password.trim()), "{name}");
    }
    let why =
        palisade_regtest::process::json_tool("palisade-hub", &words(&to)).await.unwrap_err().to_string();
    assert!(why.contains("is not empty") && why.contains("\"exit_code\":2"), "{why}");

    // What is in it gives the root that the hub has shown.
    let genesis = palisade_hub::daemon::genesis::read_genesis(&to.join("genesis.json")).unwrap();
    let copy = Replica::open(&to.join("hub-data"), genesis).unwrap();
    let shown = network.hub.blocks(Height(top), Duration::ZERO).await.unwrap();
    let (height, hash) = copy.ledger().tip().context("a block").unwrap();
    assert_eq!((height, hash), (Height(top), shown[0].header.hash()));
    wait_for("the hub goes on", || Ok(newest(&network.dir.join("hub/hub-data")) > Height(top)), || Ok(()))
        .await
        .unwrap();
    story.stop().await.unwrap();
}
