//! The same network left running, for hands-on staking: `make up` and `make down`.
//!
//! `up` starts a process of its own that keeps everything running, mines, and gives coins away; `down` asks it to stop.

use super::family::Family;
use super::place;
use super::story::Story;
use super::tell::Waiting;
use anyhow::{Context as _, bail, ensure};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use bitcoin::{Address, Amount, Network as Bitcoin, address::NetworkUnchecked};
use palisade_hub::daemon::api::ApiError;
use palisade_hub::daemon::ask;
use palisade_hub::daemon::shutdown::Shutdown;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Time between two blocks of the network left running.
const BLOCK_EVERY: Duration = Duration::from_secs(2);
/// How long the network may take to come up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Someone asks for coins.
struct Wish {
    address: Address,
    amount: Amount,
    answer: oneshot::Sender<anyhow::Result<bitcoin::Txid>>,
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("pid")
}

fn ready_file(dir: &Path) -> PathBuf {
    dir.join("ready")
}

/// What the last `up` in a directory started, if it is known.
fn family(dir: &Path) -> Option<Family> {
    Some(Family::new(dir, std::fs::read_to_string(pid_file(dir)).ok()?.trim().parse().ok()?))
}

/// Starts the network in the background, waits until it is ready, and gives the commands to try.
pub async fn up(dir: &Path, shutdown: Shutdown) -> anyhow::Result<String> {
    if let Some(family) = family(dir) {
        if family.head().is_some() {
            return std::fs::read_to_string(ready_file(dir))
                .with_context(|| format!("another `make up` starts a network in {}", dir.display()));
        }
        // Somebody killed the process that keeps the network up.
        family.stop().await?;
    }
    place::begin_anew(dir)?;
    let log = dir.join("up.log");
    let file = File::create(&log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("keep-up")
        .env("DEMO_DIR", dir)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()?;
    std::fs::write(pid_file(dir), child.id().to_string())?;
    let began = Instant::now();
    let _waiting = Waiting::until("the network starts, and its first stakes get power");
    while !ready_file(dir).exists() {
        if let Some(status) = child.try_wait()? {
            bail!("the network ended with {status}:\n{}", std::fs::read_to_string(&log)?);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "the network is not up after {} s; see {}",
            PATIENCE.as_secs(),
            log.display()
        );
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = shutdown.requested() => {
                down(dir).await?;
                bail!("interrupted: everything that was started is stopped");
            }
        }
    }
    Ok(std::fs::read_to_string(ready_file(dir))?)
}

/// Stops what `up` started, also where the process that keeps it up is gone.
pub async fn down(dir: &Path) -> anyhow::Result<String> {
    let found = family(dir).map(|family| Ok::<_, anyhow::Error>((family.members()?.is_empty(), family)));
    let Some((false, family)) = found.transpose()? else {
        return Ok(format!("nothing is up in {}", dir.display()));
    };
    family.stop().await?;
    std::fs::remove_file(pid_file(dir))?;
    Ok(format!("stopped; data and logs stay in {}", dir.display()))
}

/// Keeps the network up until it is told to stop: a block now and then, and coins for whoever asks.
pub async fn keep_up(dir: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut story = tokio::select! {
        story = Story::begin_network(dir) => story?,
        // Dropping it stops every process that it started.
        () = shutdown.requested() => return Ok(()),
    };
    let (sender, mut wishes) = mpsc::channel(16);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let faucet = format!("http://{}", listener.local_addr()?);
    let routes = Router::new().route("/fund", post(fund)).with_state(sender);
    let served = tokio::spawn(async move { axum::serve(listener, routes).await });
    let text = story.commands(&faucet);
    let unfinished = dir.join("ready.new");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, ready_file(dir))?;
    let mut trouble = None;
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(BLOCK_EVERY) => {
                story.network_mut().check()?;
                // Whoever plays with the node can have it refuse a block: that passes, and is no reason to take all down.
                let why = story.mine_alone().await.err().map(|why| format!("no block was mined: {why:#}"));
                if let Some(why) = why.as_ref().filter(|why| trouble.as_ref() != Some(*why)) {
                    ask::progress(why);
                }
                trouble = why;
            }
            wish = wishes.recv() => {
                let Wish { address, amount, answer } = wish.context("the faucet is open")?;
                // Whoever hung up gets the coins all the same.
                let _ = answer.send(story.give(&address, amount).await);
            }
        }
    }
    served.abort();
    story.stop().await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fund {
    address: Address<NetworkUnchecked>,
    sat: u64,
}

async fn fund(
    State(wishes): State<mpsc::Sender<Wish>>,
    query: Result<Query<Fund>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let refuse = |why: &str| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "fund", why);
    let wanted = |why: QueryRejection| {
        let form = "wanted is POST /fund?sat=100000000&address=bcrt1…, an address as `palisade-staker address` prints it";
        ApiError::new(StatusCode::BAD_REQUEST, "malformed-request", format!("{}; {form}", why.body_text()))
    };
    let query = query.map_err(wanted)?;
    let address =
        query.0.address.require_network(Bitcoin::Regtest).map_err(|why| refuse(&why.to_string()))?;
    let amount = Amount::from_sat(query.0.sat);
    if amount > Amount::from_int_btc(10) {
        return Err(refuse("at most 10 BTC at a time"));
    }
    let (answer, given) = oneshot::channel();
    wishes.send(Wish { address, amount, answer }).await.map_err(|_| refuse("the network stops"))?;
    match given.await {
        Ok(Ok(txid)) => Ok(Json(json!({ "txid": txid }))),
        Ok(Err(why)) => Err(refuse(&why.to_string())),
        Err(_) => Err(refuse("the network stops")),
    }
}
