//! Step 5: the smallest operator votes twice with its key for the development chain. The key is out, an active and an
//! unbonding stake are slashed on Bitcoin, the holders withdraw the rest, and finality goes on.

use super::Story;
use crate::demo::network::text;
use crate::demo::tell::{Waiting, btc};
use crate::devchain::rival;
use crate::process::tool;
use anyhow::{Context as _, bail, ensure};
use bitcoin::Txid;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::units::Height;
use serde_json::Value;

/// The smallest operator.
const GUILTY: usize = 0;

impl Story {
    pub(super) async fn one_votes_twice(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("5. The smallest operator votes twice");
        let mut step = self.begin("5.1").await?;
        let leaving = self.small_stake("gwen", GUILTY, "2000 blocks").await?;
        let stake = self.stakes[leaving].clone();
        step.txs.push(self.unbond(&stake).await?);
        let said = self.equivocate().await?;
        self.tell.line(said.trim());
        let key = self.operators[GUILTY].other.clone();
        let out = |providers: &Value| {
            let all = providers["providers"].as_array().into_iter().flatten();
            all.into_iter().any(|own| own["key"] == *key && own["exposed_at"].is_u64())
        };
        self.network.until_view("providers", "the key is out", out).await?;
        self.tell.line(format!("the key {key} is out: no power from that hub block on"));
        step.refs.push("equivocations/0".to_owned());
        let named = self.stakes.iter().enumerate().filter(|(index, _)| *index == GUILTY || *index == leaving);
        let named: Vec<_> = named.map(|(index, stake)| (index, stake.clone())).collect();
        for (index, stake) in &named {
            self.network.until_state(&stake.id, "EXPOSED").await?;
            step.refs.push(format!("stakes/{index}"));
        }
        for (index, stake) in &named {
            let slashing = self.slashing_in_mempool(&stake.id, *index == leaving).await?;
            step.txs.push(slashing);
        }
        self.mine(1, "the slashings confirm").await?;
        for (_, stake) in &named {
            self.network.until_state(&stake.id, "SLASHED").await?;
            self.tell.line(format!("{}'s stake of {} is slashed", stake.holder.name, btc(stake.sat)));
        }
        self.done(step, "Evidence, key out, slashing confirmed for an active and for an unbonding stake")
            .await?;

        let mut step = self.begin("5.2").await?;
        let began = self.final_now().await?;
        for (chain, height) in self.further(&began, 3).await? {
            step.refs.push(self.report.finality(&chain, height));
        }
        self.mine(244, "the unbonding time").await?;
        for (_, stake) in &named {
            step.txs.push(self.withdraw(stake).await?);
        }
        self.done(step, "Finality goes on; the holders withdraw what the slashing left").await
    }

    /// Who holds a stake.
    fn holder_of(&self, id: &str) -> anyhow::Result<&str> {
        let stake = self.stakes.iter().find(|stake| stake.id == id).context("a stake of the story")?;
        Ok(&stake.holder.name)
    }

    /// The smallest operator stops, and runs the misbehaving program at the newest height of the development chain that its
    /// signer has voted at.
    pub async fn equivocate(&mut self) -> anyhow::Result<String> {
        self.operators[GUILTY].stop().await?;
        let voted = self.last_vote_of(GUILTY).await?;
        let height = voted.ballot.height.0;
        self.tell.line(format!(
            "operator {} has voted for block {} at height {height} of chain {}, and votes for another one there",
            self.operators[GUILTY].name, voted.ballot.block, self.chain.id
        ));
        let rival = rival(&self.chain.id, height).to_string();
        let dir = self.operators[GUILTY].dir();
        let key = text(&dir.join(format!("keys/chain-{}.json", self.chain.id)));
        let record = text(&dir.join("signer-data/record.sqlite"));
        let (genesis, password) = (text(&self.network.genesis()), text(&self.network.password()));
        let (length, every) = (self.chain.epoch_length.to_string(), self.chain.voted_every.to_string());
        let height = height.to_string();
        let args = [
            ["--key-file", &key],
            ["--password-file", &password],
            ["--record", &record],
            ["--genesis", &genesis],
            ["--hub", &self.network.hub_url],
            ["--chain", &self.chain.id],
            ["--genesis-block", &self.chain.genesis],
            ["--epoch-length", &length],
            ["--voted-every", &every],
            ["--height", &height],
            ["--block", &rival],
        ];
        tool("palisade-equivocate", &args.concat()).await
    }

    /// The newest vote for the development chain that the hub holds of an operator's. One that stopped has none in later epochs.
    async fn last_vote_of(&self, operator: usize) -> anyhow::Result<Vote> {
        let chains = self.network.view("chains").await?;
        let all = chains.as_array().context("a list of chains")?;
        let own = all.iter().find(|own| own["id"] == *self.chain.id).context("the chain")?;
        let newest = own["newest_set"].as_u64().context("a set")?;
        let key = &self.operators[operator].other;
        for epoch in (0..=newest).rev() {
            let from = Height(epoch * self.chain.epoch_length);
            let votes = self.network.hub.votes(&self.chain.id, from).await?;
            if let Some(own) = votes.into_iter().rfind(|vote| vote.key.to_string() == *key) {
                return Ok(own);
            }
        }
        bail!("the hub holds no vote of {}", self.operators[operator].name)
    }

    /// Waits until the watcher's slashing transaction of a stake is in the node's mempool.
    async fn slashing_in_mempool(&mut self, id: &str, unbonding: bool) -> anyhow::Result<Txid> {
        let view = self.network.stake(id).await?;
        let txids = view["slashing_txids"].as_array().context("slashing transactions")?;
        let txid =
            txids.get(usize::from(unbonding)).and_then(Value::as_str).context("a slashing transaction")?;
        let txid: Txid = txid.parse()?;
        let _waiting = Waiting::until("the watcher broadcasts the slashing");
        let began = std::time::Instant::now();
        while self.network.node.rpc().mempool_entry(txid).await?.is_none() {
            self.network.check()?;
            ensure!(began.elapsed().as_secs() < 60, "the slashing {txid} of stake {id} does not come");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.report.tx(txid, "slash", Some(id), Some("slashing"));
        let found = self.network.node.rpc().raw_transaction(txid).await?.context("it is in the mempool")?;
        let taken = found.transaction.output.first().context("an output")?.value;
        let of = if unbonding { "unbonding output" } else { "stake" };
        self.tell.line(format!(
            "the watcher broadcasts {txid}: it takes {taken} of the {of} of {}",
            self.holder_of(id)?
        ));
        Ok(txid)
    }
}
