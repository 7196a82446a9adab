//! Step 2.4: the hub lies to one operator, who refuses the block, keeps the proof and does not vote; the others go on.

use super::Story;
use crate::demo::network::{string, text};
use crate::demo::tell::Waiting;
use crate::process::Daemon;
use anyhow::{Context as _, ensure};
use palisade_protocol::block::HubHeader;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::units::Height;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Who is lied to.
const DECEIVED: usize = 2;

impl Story {
    /// A block with a false state root, signed by the hub's key, reaches one operator.
    pub(super) async fn one_operator_refuses_a_lie(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("2.4").await?;
        let name = self.operators[DECEIVED].name.clone();
        self.operators[DECEIVED].stop().await?;
        let (liar, url) = self.liar().await?;
        let honest = self.network.hub_url.clone();
        self.operators[DECEIVED].follow(&honest, &url)?;
        self.operators[DECEIVED].start().await?;
        let refusing = self.until_status("it refuses on both chains", is_refusing).await?;
        let height = self.check_refusal(&refusing).await?;
        self.tell.line(format!(
            "{name} is told a false block {height}, signed by the hub's key, refuses it and keeps the proof"
        ));

        let began = self.beyond_votes_of(DECEIVED).await?;
        for (chain, height) in self.further(&began, 3).await? {
            self.tell.line(format!("chain {chain} goes on without {name}: final up to height {height}"));
            let key = self.operators[DECEIVED].key(&chain);
            step.refs.push(self.report.finality_without(&chain, height, key));
        }
        let still = self.operators[DECEIVED].status().await?;
        ensure!(is_refusing(&still), "{name} goes on after a false block: {still}");
        ensure!(votes(&still) == votes(&refusing), "{name} voted after a false block: {still}");
        ensure!(still["height"].as_u64() < Some(height), "{name} keeps a false block: {still}");

        self.operators[DECEIVED].stop().await?;
        liar.stop().await?;
        self.operators[DECEIVED].follow(&url, &honest)?;
        self.operators[DECEIVED].start().await?;
        self.back_in_sets(DECEIVED).await?;
        let again = |status: &Value| votes(status).iter().zip(votes(&still)).all(|(now, then)| *now > then);
        self.until_status("it votes on both chains again", again).await?;
        self.tell
            .line(format!("{name} follows the honest hub again, votes, and is in both chains' sets in use"));
        step.refs.push("refusals/0".to_owned());
        self.done(step, "An operator refuses a hub block whose root its replica does not reproduce").await
    }

    /// Starts the liar before the real hub; gives its address too.
    pub async fn liar(&self) -> anyhow::Result<(Daemon, String)> {
        let network = &self.network;
        let (genesis, password) = (text(&network.genesis()), text(&network.password()));
        let key = text(&network.dir.join("hub/hub.key.json"));
        let file = network.dir.join("liar.address");
        let address = text(&file);
        let args = [
            ["--genesis", &genesis],
            ["--key-file", &key],
            ["--password-file", &password],
            ["--hub", &network.hub_url],
            ["--address-file", &address],
        ];
        let mut liar = Daemon::start("palisade-liar", &args.concat(), &network.dir.join("liar.log"))?;
        let url = format!("http://{}", liar.address(&file).await?);
        Ok((liar, url))
    }

    /// What the refusal holds against what everybody else has in that place: the same messages give the root that the
    /// replica computed. Gives the block's height.
    async fn check_refusal(&self, status: &Value) -> anyhow::Result<u64> {
        let refusals = status["refusals"].as_array().context("a list of refusals")?;
        ensure!(refusals.len() == 1, "{} refusals", refusals.len());
        let refusal = &refusals[0];
        let height = refusal["height"].as_u64().context("a height")?;
        let blocks = self.network.hub.blocks(Height(height), Duration::ZERO).await?;
        let honest = blocks.first().context("the honest hub's block")?;
        let root = honest.header.state_root.to_string();
        ensure!(refusal["expected_root"] == root, "{refusal} does not expect the honest root {root}");
        let told = HubHeader::from_bytes(&hex::decode(string(refusal, "header")?)?)?;
        let lie = HubHeader { state_root: told.state_root, ..honest.header };
        ensure!(told == lie && lie != honest.header, "more or less than the root is false: {told:?}");
        let ids: Vec<String> = honest.messages.iter().map(|message| message.id().to_string()).collect();
        ensure!(refusal["message"] == *ids.last().context("a message")?, "{refusal} names another message");
        ensure!(refusal["fp"] == self.operators[DECEIVED].zero, "{refusal} names another provider");
        self.tell.line(format!("block {height} claims state root {}", told.state_root));
        self.tell.line(format!("the replica, and the honest hub, have {root}"));
        Ok(height)
    }

    /// Waits until the deceived voter's own status is as wanted.
    async fn until_status(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let _waiting = Waiting::until(what);
        let began = Instant::now();
        loop {
            let status = self.operators[DECEIVED].status().await?;
            if holds(&status) {
                return Ok(status);
            }
            self.network.check()?;
            self.operators[DECEIVED].check()?;
            ensure!(began.elapsed() < Duration::from_secs(60), "waited 60 s in vain until {what}: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether no key of the voter votes because of a false block.
fn is_refusing(status: &Value) -> bool {
    let mut chains = status["chains"].as_array().into_iter().flatten();
    chains.all(|own| own["waiting"].as_str().is_some_and(|why| why.starts_with("refusing")))
}

/// Votes cast so far, chain by chain.
fn votes(status: &Value) -> Vec<Option<u64>> {
    let chains = status["chains"].as_array().into_iter().flatten();
    chains.map(|own| own["votes"].as_u64()).collect()
}
