//! Steps 2.2 and 2.3: the first sets form, blocks of both chains become final, and go on with each operator stopped in turn.

use super::Story;
use crate::demo::network::EPOCH;
use anyhow::{Context as _, bail, ensure};
use palisade_protocol::units::Height;
use serde_json::Value;

impl Story {
    /// Waits until both chains have final blocks in this many epochs' worth of heights.
    pub(super) async fn blocks_become_final(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("2.2").await?;
        let began = self.final_now().await?;
        let after = self.further(&began, 3).await?;
        for (chain, height) in &after {
            self.tell.line(format!("chain {chain} is final up to height {height}"));
            step.refs.push(self.report.finality(chain, *height));
        }
        self.done(step, "The first sets form; blocks of chain zero and of the development chain become final")
            .await
    }

    /// Each operator is stopped in turn; the other three go on, and it comes back into both chains' sets.
    pub(super) async fn finality_survives_each_operator(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("2.3").await?;
        for index in 0..self.operators.len() {
            self.operators[index].stop().await?;
            let began = self.beyond_votes_of(index).await?;
            for (chain, height) in self.further(&began, 2).await? {
                let key = self.operators[index].key(&chain);
                step.refs.push(self.report.finality_without(&chain, height, key));
            }
            let name = self.operators[index].name.clone();
            self.operators[index].start().await?;
            self.back_in_sets(index).await?;
            self.tell.line(format!("both chains went on without {name}, who is back in the sets in use"));
        }
        self.done(step, "Finality goes on with each operator stopped in turn").await
    }

    /// Both chains' newest final heights, or an operator's newest votes where these are higher: if it votes no more, blocks
    /// above them become final without it.
    pub(super) async fn beyond_votes_of(&self, index: usize) -> anyhow::Result<Vec<(String, u64)>> {
        let mut heights = self.final_now().await?;
        for (chain, height) in &mut heights {
            let key = self.operators[index].key(chain);
            let votes = self.network.hub.votes(chain, Height(*height)).await?;
            let cast = votes.iter().filter(|vote| vote.key.to_string() == key);
            *height = cast.map(|vote| vote.ballot.height.0).fold(*height, u64::max);
        }
        Ok(heights)
    }

    /// Both chains' newest final heights; 0 where there is none.
    pub async fn final_now(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let chains = self.network.view("chains").await?;
        let chains = chains.as_array().context("a list of chains")?.clone();
        Ok(chains.iter().map(|chain| (name(chain), chain["final_height"].as_u64().unwrap_or(0))).collect())
    }

    /// Waits until both chains are final for `heights` more voted heights.
    pub async fn further(
        &mut self,
        began: &[(String, u64)],
        heights: u64,
    ) -> anyhow::Result<Vec<(String, u64)>> {
        let wanted: Vec<(String, u64)> =
            began.iter().map(|(chain, height)| (chain.clone(), height + 5 * heights)).collect();
        let reached = |chains: &Value| {
            wanted.iter().all(|(id, height)| {
                let all = chains.as_array().into_iter().flatten();
                all.into_iter()
                    .any(|chain| chain["id"] == **id && chain["final_height"].as_u64() >= Some(*height))
            })
        };
        let what = "both chains have more final blocks";
        if let Err(why) = self.network.until_view("chains", what, reached).await {
            bail!("{why}\n{}", self.what_voters_say().await);
        }
        self.final_now().await
    }

    /// Why each voter casts no vote now, as it says itself.
    async fn what_voters_say(&self) -> String {
        let mut said = String::new();
        for operator in &self.operators {
            let address = std::fs::read_to_string(operator.dir().join("voter.address")).unwrap_or_default();
            for page in ["status", "health"] {
                let asked = reqwest::get(format!("http://{}/{page}", address.trim())).await;
                let answer = match asked {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(why) => why.to_string(),
                };
                said.push_str(&format!("{}, {page}: {answer}\n", operator.name));
            }
        }
        said
    }

    /// Waits until an operator stands in the sets of both chains' current epochs.
    pub(super) async fn back_in_sets(&mut self, index: usize) -> anyhow::Result<()> {
        let keys = [self.operators[index].zero.clone(), self.operators[index].other.clone()];
        for (chain, key) in ["zero".to_owned(), self.chain.id.clone()].into_iter().zip(keys) {
            let began = self.final_now().await?;
            let length = if chain == "zero" { EPOCH } else { self.chain.epoch_length };
            let height = began.iter().find(|(id, _)| *id == chain).map_or(0, |(_, height)| *height);
            let mut epoch = height / length;
            loop {
                let path = format!("sets/{chain}/{epoch}");
                let set = self.network.until_view(&path, "the set is fixed", |_| true).await?;
                let members = set["members"].as_array().context("members")?;
                if members.iter().any(|member| member["key"] == *key) {
                    break;
                }
                epoch += 1;
                let wanted = epoch;
                let there = |chains: &Value| {
                    let all = chains.as_array().into_iter().flatten();
                    all.into_iter()
                        .any(|own| own["id"] == *chain && own["newest_set"].as_u64() >= Some(wanted))
                };
                self.network.until_view("chains", "the next set is fixed", there).await?;
            }
            let reached = |chains: &Value| {
                let all = chains.as_array().into_iter().flatten();
                let first = epoch * length;
                all.into_iter().any(|own| own["id"] == *chain && own["final_height"].as_u64() >= Some(first))
            };
            self.network.until_view("chains", "the set with the operator is in use", reached).await?;
            ensure!(!key.is_empty(), "an operator without key");
        }
        Ok(())
    }
}

fn name(chain: &Value) -> String {
    chain["id"].as_str().unwrap_or_default().to_owned()
}
