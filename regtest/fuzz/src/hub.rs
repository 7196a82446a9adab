//! The hub: every door of its API with the real engine and log behind it, its log on disk, and its answers as others read them.

pub(crate) mod command;
mod desk;

use crate::protocol::own_vote;
use crate::story::{dev, story};
use crate::talk::{Parrot, Recording, runtime};
use crate::{Target, process, rows, scratch};
use bitcoin::block::Header;
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::config::Config;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::store::Store;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub::{make_blocks, serve};
use palisade_world::keypair;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "hub-api",
        what: "a request at any door of the API: an answer, or a refusal in its form; never an error of the hub's own",
        corpus: desk::corpus,
        run: desk::run,
    },
    Target {
        name: "hub-log-rows",
        what: "the log on disk with a row that somebody else wrote",
        corpus: || rows::corpus(&log()),
        run: |bytes| {
            thread_local! {
                static LOG: Vec<u8> = log();
            }
            LOG.with(|log| rows::altered(log, bytes, |path| read_log(path).is_some()))
        },
    },
    Target {
        name: "hub-client",
        what: "answers of a hub, as our programs read them, recorded from a real one",
        corpus: hub_answers,
        run: |bytes| {
            thread_local! {
                static HUB: (Parrot, HubClient) = {
                    let parrot = Parrot::new();
                    let client = HubClient::new(parrot.url().parse().expect("an address"));
                    (parrot, client)
                };
            }
            HUB.with(|(parrot, client)| parrot.talk(bytes, async |call| ask(client, call).await.into()))
        },
    },
    Target {
        name: "hub-config",
        what: "the hub's configuration; with other paths it is one too",
        corpus: || vec![palisade_hub::config::DEFAULT.into()],
        run: process::configuration::<Config>,
    },
    Target {
        name: "hub-given-file",
        what: "files that governance and a new hub are given: decisions, parameters, base headers",
        corpus: command::files,
        run: command::file,
    },
    Target {
        name: "hub-command-line",
        what: "the command lines of a new hub and of governance, one word a line",
        corpus: command::lines,
        run: command::line,
    },
];

/// The story's log, with votes and shares that were taken since.
fn log() -> Vec<u8> {
    scratch::written("log.sqlite", |path| {
        std::fs::write(path, &story().log).expect("a copy");
        let store = Store::open(path).expect("a log");
        let other = story().world.vote(&dev(), "dev anna", Height(205), Hash32([8; 32]));
        store.keep_votes([&own_vote("dev anna"), &own_vote("dev bert"), &other]).expect("votes");
        store.keep_share(&crate::protocol::own_share("anna")).expect("a share");
    })
}

/// Reads everything that the hub reads.
fn read_log(path: &Path) -> Option<()> {
    let store = Store::open(path).ok()?;
    let tip = store.tip().ok()??;
    let mut from = Height(0);
    while let Some(last) = store.blocks(from, 50).ok()?.last() {
        from = last.header.height.next();
        // A row may claim any height.
        if from > tip || from == Height(0) {
            break;
        }
    }
    store.events(0, 1_000).ok()?;
    let context = story().world.ledger.chain(&dev())?.vote;
    store.votes(&context, Height(0), 100).ok()?;
    store.votes_between(&context, Height(0)..Height(u64::MAX)).ok()?;
    store.votes_by(&own_vote("dev anna")).ok()?;
    store.double_votes().ok()?;
    store.shares(Epoch(8)).ok()?;
    for digest in &story().digests {
        if let Some((height, _)) = store.find_digest(digest).ok()? {
            store.digests(height).ok()?;
        }
    }
    store.check().ok()?.is_none().then_some(())
}

/// One call of each kind that our programs make.
async fn ask(client: &HubClient, call: &str) -> Result<(), HubError> {
    let message = || story().told[&1][0].bytes.decode().expect("a message");
    match call {
        "genesis" => client.genesis().await.map(drop),
        "submit" => client.submit(&next_headers()).await.map(drop),
        "refused" => match client.submit(&message()).await {
            Err(HubError::Refused { .. }) => Ok(()),
            other => other.map(drop),
        },
        "vote" => client.vote(&own_vote("dev anna")).await,
        "votes" => client.votes(dev().as_str(), Height(0)).await.map(drop),
        "blocks" => client.blocks(Height(2), Duration::ZERO).await.map(drop),
        "digests" => client.digests(stamped()).await.map(drop),
        "status" => client.get_json::<serde_json::Value>("status", &[]).await.map(drop),
        "root" => client.get_bytes("root").await.map(drop),
        _ => Err(HubError::Malformed("no call".to_owned())),
    }
}

/// The hub's block that the story's digests are in.
fn stamped() -> Height {
    let holds = |block: &&palisade_protocol::block::Block| {
        block.messages.iter().any(|bytes| matches!(bytes.decode(), Ok(Message::Batch(_))))
    };
    story().world.log.iter().find(holds).expect("a batch").header.height
}

/// Headers that the story's hub does not know yet.
fn next_headers() -> Message {
    static NEXT: LazyLock<Header> = LazyLock::new(|| {
        let mut world = story().world.clone();
        world.mine(1);
        world.chain.last().expect("a block").header
    });
    Message::Headers(Headers { headers: vec![*NEXT] })
}

fn hub_answers() -> Vec<Vec<u8>> {
    let record = async {
        let dir = scratch::dir();
        let file = dir.path().join("log.sqlite");
        std::fs::write(&file, &story().log).expect("a copy");
        let hub = Hub::new(story().world.ledger.clone(), Store::open(&file).expect("a log"));
        let stop = Shutdown::manual();
        let recording = Recording::of(&serve(&hub, &stop).await).await;
        let maker = tokio::spawn(make_blocks(hub, keypair("hub"), Duration::from_millis(10), stop.clone()));
        let client = HubClient::new(recording.url.parse().expect("an address"));
        let mut inputs = Vec::new();
        for call in ["genesis", "submit", "refused", "vote", "votes", "blocks", "digests", "status", "root"] {
            ask(&client, call).await.expect("an answer");
            inputs.push(recording.input(call));
        }
        stop.trigger();
        maker.await.expect("an end");
        inputs
    };
    runtime().block_on(record)
}
