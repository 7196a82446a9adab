//! Daemons that were away for thousands of blocks, while a block a second goes on coming.

use crate::party::settle;
use crate::processes::{PROGRAM, init};
use crate::watch::party_with_stakes;
use palisade_checkpointer::watch::slash::slashing;
use palisade_hub::ledger::state::StakeState::{Slashed, Unbonding};
use palisade_protocol::message::Message;
use palisade_protocol::stake::Slashable;
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, metric};
use palisade_world::pair;
use std::path::Path;
use std::time::Duration;

/// How many blocks come while they are away.
const AWAY: u32 = 2_500;
/// How many blocks more they have to keep up with.
const MORE: u32 = 5;

/// A daemon and the height of Bitcoin that it has come to.
struct Reader {
    daemon: Daemon,
    address: String,
    metric: &'static str,
}

impl Reader {
    async fn start(dir: &Path, config: &str, name: &str, metric: &'static str) -> Self {
        let (log, file) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.address")));
        // An earlier run's is no address any more.
        let _ = std::fs::remove_file(&file);
        let mut daemon = Daemon::start(PROGRAM, &[name, "--config", config], &log).unwrap();
        let address = daemon.address(&file).await.unwrap();
        Self { daemon, address, metric }
    }

    async fn height(&mut self) -> u64 {
        self.daemon.check().unwrap();
        metric(&self.address, self.metric).await.unwrap().unwrap_or(0)
    }

    /// It comes as far as this, and never stands still on the way.
    async fn reaches(&mut self, height: u64) {
        while self.height().await < height {
            let (metric, step) = (self.metric, height.min(self.height().await + 100));
            let goes_on = async {
                while self.height().await < step {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            in_time(&format!("{metric} of {step}"), goes_on).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reporter_and_watcher_thousands_of_blocks_behind_reach_a_tip_that_moves_and_every_fact_is_told_once()
{
    let (party, mut reporter, [left, stayed]) = party_with_stakes().await;
    let dir = party.folder.path().join("behind");
    let (config, _) = init(&party, &dir, &party.node).await;
    // A book that has begun: what it did not see since then it has to read.
    let watch = Reader::start(&dir, &config, "watch", "palisade_watch_btc_height").await;
    let mut readers = [watch];
    let tip = party.node.rpc().tip().await.unwrap().height;
    readers[0].reaches(u64::from(tip)).await;
    let [watch] = readers;
    watch.daemon.stop().await.unwrap();
    settle(&mut reporter).await;
    drop(reporter);

    // Somebody leaves, and anna slashes the other: early in what nobody reads.
    party.confirm(&party.unbonding(&left, "alice")).await;
    party.confirm(&slashing(&party.stake(&stayed), Slashable::Staking, &pair("anna")).unwrap()).await;
    party.node.mine(AWAY).await.unwrap();
    let (hub, node) = (&party.hub, &party.node);
    let tip = node.rpc().tip().await.unwrap().height;
    assert!(hub.hub.ledger().btc_height().0 + AWAY <= tip);

    let mut readers = Vec::new();
    for (name, metric) in [("report", "palisade_report_told_height"), ("watch", "palisade_watch_btc_height")]
    {
        readers.push(Reader::start(&dir, &config, name, metric).await);
    }
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let reach = async {
        let mut tip = node.rpc().tip().await.unwrap().height;
        for _ in 0..MORE {
            for reader in &mut readers {
                reader.reaches(u64::from(tip)).await;
            }
            let newest = node.rpc().tip().await.unwrap().height;
            assert!(newest >= tip);
            tip = newest + 1;
        }
        readers
    };
    let mine = async {
        loop {
            seconds.tick().await;
            node.mine(1).await.unwrap();
        }
    };
    let readers = tokio::select! {
        readers = reach => readers,
        () = mine => unreachable!("it mines on"),
    };

    // The watcher read that the key is out, told the hub, and slashed what had left; the reporter told that.
    let is_slashed = |id| party.stake(&id).state == Slashed;
    let all_is_told = async {
        while !(is_slashed(left) && is_slashed(stayed)) {
            node.mine(1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    in_time("the second slashing", all_is_told).await;
    for reader in readers {
        reader.daemon.stop().await.unwrap();
    }
    assert_eq!(hub.logged(|message| matches!(message, Message::Included(_))), 2);
    assert_eq!(hub.logged(|message| matches!(message, Message::Spent(_))), 3, "an exit and two slashings");
    assert_eq!(hub.logged(|message| matches!(message, Message::Evidence(_))), 1);
    assert_ne!(party.stake(&left).state, Unbonding);
}
