//! The story that is disturbed: a holder stakes and leaves early, another withdraws, an epoch is anchored, an operator votes
//! twice and is slashed, and blocks become final all the while.

use super::at_work;
use super::field::{Field, Waiting};
use super::points::Part;
use crate::demo::holders::Holder;
use crate::demo::network::{edit, string};
use crate::demo::story::Story;
use crate::demo::tell::Tell;
use anyhow::{Context as _, ensure};
use bitcoin::Amount;
use palisade_hub::client::HubClient;
use palisade_protocol::hash::sha256;
use palisade_protocol::params::Profile;
use serde_json::{Value, json};
use std::path::Path;

/// What the small stakes of the story hold, in sat.
const STAKE_SAT: u64 = 1_000_000;
/// Blocks from a stake's own until it counts.
const DEEP: u32 = 7;
/// Longer than the unbonding time.
const UNBONDING: u32 = 245;
/// Whose provider the small stakes are behind: never the culprit's.
const PROVIDER: usize = 3;

/// The power of the operators, in percent. A signer that is killed at the wrong moment sits epochs out; together with the culprit,
/// the first, it must stay below a third.
const SHARES: [u64; 4] = [5, 45, 25, 25];

/// Holders of the story, and who follows the hub.
pub struct Cast {
    /// Has coins, and no stake yet.
    newcomer: Holder,
    /// Can withdraw.
    leaver: (Holder, String),
    /// The hub's follower.
    pub(super) follower: HubClient,
}

impl Cast {
    /// Who stakes, leaves and withdraws while the network is disturbed.
    pub(super) fn holders(&self) -> [&Holder; 2] {
        [&self.newcomer, &self.leaver.0]
    }
}

/// The network, undisturbed, with final blocks of both chains, and the holders.
pub async fn begin(dir: &Path, profile: Profile) -> anyhow::Result<(Story, Cast)> {
    let mut story = Story::begin_operators(dir, Tell::silent(), SHARES, profile).await?;
    // From its next start on the hub asks it first.
    let follower = story.network_mut().run_follower().await?;
    let named = ("# followers = [\"http://127.0.0.1:8201\"]", format!("followers = [{follower:?}]"));
    edit(&Part::Hub.config(&story), &[(named.0, &named.1)])?;
    let coins = Amount::from_sat(2 * STAKE_SAT);
    let (newcomer, _) = Holder::new(story.network(), "nora", coins).await?;
    let (leaver, _) = Holder::new(story.network(), "liam", coins).await?;
    story.network_mut().mine(1).await?;
    let args = stake(&story);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let id = string(&leaver.run(&args).await?, "id")?;
    story.network_mut().mine(DEEP).await?;
    story.network_mut().until_state(&id, "ACTIVE").await?;
    leaver.run(&["unbond", "--yes", &id]).await?;
    // No set votes yet, so none can expire.
    story.network_mut().mine(UNBONDING).await?;
    story.network_mut().until_state(&id, "WITHDRAWABLE").await?;
    story.stakes_get_power().await?;
    let began = story.final_now().await?;
    story.further(&began, 1).await?;
    Ok((story, Cast { newcomer, leaver: (leaver, id), follower: HubClient::new(follower.parse()?) }))
}

/// The command that stakes.
fn stake(story: &Story) -> Vec<String> {
    let own = &story.operators()[PROVIDER];
    let amount = format!("{STAKE_SAT} sat");
    let words = [
        "stake",
        "--yes",
        "--amount",
        &amount,
        "--provider",
        &own.zero,
        "--provider",
        &own.other,
        "--lock",
        "2000 blocks",
    ];
    words.map(str::to_owned).to_vec()
}

/// Tells the story, whatever happens meanwhile.
pub async fn tell(field: &mut Field, cast: &Cast) -> anyhow::Result<()> {
    let id = stakes(field, &cast.newcomer).await?;
    is_anchored(field).await?;
    let unbond = ["unbond", "--yes", &id];
    until_mined(field, &cast.newcomer, &unbond, &id, "UNBONDING").await?;
    let (leaver, id) = &cast.leaver;
    let withdraw = ["withdraw", "--yes", id];
    until_mined(field, leaver, &withdraw, id, "WITHDRAWN").await?;
    culprit_is_slashed(field).await?;
    at_work::goes_on(field).await
}

/// A stake is begun, and gone on with until it has power. Gives its id.
async fn stakes(field: &mut Field, holder: &Holder) -> anyhow::Result<String> {
    let waiting = Waiting::until("the stake has power");
    let mut words = stake(&field.story);
    loop {
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        match field.attempt(holder, &args).await? {
            Ok(locked) => {
                let id = string(&locked, "id")?;
                field.mine(DEEP).await?;
                if field.is_in(&id, "ACTIVE").await {
                    return Ok(id);
                }
            }
            Err(why) => waiting.check(why)?,
        }
        field.pause().await?;
        let status = field.command(holder, &["status"]).await?;
        let begun = status["stakes"].as_array().context("a list of stakes")?;
        ensure!(begun.len() <= 1, "one stake became {}", begun.len());
        if let Some(own) = begun.first() {
            let id = string(own, "id")?;
            if field.is_in(&id, "ACTIVE").await {
                return Ok(id);
            }
            words = ["stake", "--yes", "--resume", &id].map(str::to_owned).to_vec();
        }
        waiting.check(status)?;
    }
}

/// A command that sends a transaction is repeated while that waits in no mempool, and blocks are mined, until the stake has come
/// to a state.
async fn until_mined(
    field: &mut Field,
    holder: &Holder,
    args: &[&str],
    id: &str,
    state: &str,
) -> anyhow::Result<()> {
    let waiting = Waiting::until(format!("the stake of {} is {state}", holder.name));
    let mut sent: Option<Value> = None;
    loop {
        field.pause().await?;
        if field.is_in(id, state).await {
            return Ok(());
        }
        let txid = sent.as_ref().map(|sent| string(sent, "txid")).transpose()?;
        let pool = field.mempool().await.unwrap_or_default();
        let known = pool.iter().any(|own| Some(own.to_string()) == txid);
        if known {
            field.mine(1).await?;
        } else if sent.is_none() || !is_in_block(field, txid.as_deref()).await {
            sent = Some(field.command(holder, args).await?);
        }
        waiting.check(&sent)?;
    }
}

async fn is_in_block(field: &Field, txid: Option<&str>) -> bool {
    let Some(Ok(txid)) = txid.map(str::parse) else { return false };
    // Whoever cannot tell is asked again; meanwhile nothing is sent anew.
    field
        .rpc()
        .raw_transaction(txid)
        .await
        .map_or(true, |found| found.is_some_and(|tx| tx.mined_in.is_some()))
}

/// A digest comes under an anchor that is deep enough.
async fn is_anchored(field: &mut Field) -> anyhow::Result<()> {
    let digest = sha256(&[b"what a witness should know"]);
    let url = format!("{}/timestamps", field.story.network().hub_url);
    let path = format!("timestamps/{digest}");
    let waiting = Waiting::until("an anchor is deep enough");
    loop {
        field.pause().await?;
        let Ok(view) = field.story.network().view(&path).await else {
            // Nobody there, or the digest is not in the log: its sender had no answer then.
            let _ = reqwest::Client::new().post(&url).json(&json!({ "digest": digest })).send().await;
            waiting.check("no answer")?;
            continue;
        };
        let pool = field.mempool().await.unwrap_or_default();
        match view["state"].as_str() {
            Some("CONFIRMED" | "FINAL") => return Ok(()),
            Some("RECORDED") if pool.is_empty() => {}
            _ => field.mine(1).await?,
        }
        waiting.check(&view)?;
    }
}

/// The first operator votes twice; its stake is slashed.
async fn culprit_is_slashed(field: &mut Field) -> anyhow::Result<()> {
    let id = field.story.stake_id(0).to_owned();
    let waiting = Waiting::until("the culprit's stake is slashed");
    let mut told = false;
    loop {
        field.pause().await?;
        if field.is_in(&id, "SLASHED").await {
            return Ok(());
        }
        if !told {
            let tried = field.story.equivocate().await;
            told = tried.is_ok() || field.is_in(&id, "EXPOSED").await;
            waiting.check(tried)?;
        } else if !field.mempool().await.unwrap_or_default().is_empty() {
            field.mine(1).await?;
        }
        waiting.check("")?;
    }
}

/// Everything stands as the story has to end.
pub async fn ended(field: &mut Field, cast: &Cast) -> anyhow::Result<()> {
    at_work::all(field, cast).await?;
    let slashed = field.story.stake_id(0).to_owned();
    for (id, state) in [(&cast.leaver.1, "WITHDRAWN"), (&slashed, "SLASHED")] {
        field.until(&format!("stakes/{id}"), state, |stake| stake["state"] == state).await?;
    }
    let status = field.command(&cast.newcomer, &["status"]).await?;
    let own = &status["stakes"][0];
    ensure!(own["state"] == "UNBONDING" && !own["spent_by"].is_null(), "the newcomer's wallet says {own}");
    Ok(())
}
