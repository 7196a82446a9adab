//! The hub: every door of its API with the real engine and log behind it, its log on disk, and its answers as others read them.

pub(crate) mod command;
mod desk;
mod disk;

use crate::protocol::own_vote;
use crate::story::{dev, story};
use crate::talk::{Parrot, Recording, runtime};
use crate::{Target, process, rows, scratch, whole};
use bitcoin::block::Header;
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::config::Config;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::store::Store;
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::units::Height;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_world::keypair;
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
        corpus: || rows::corpus(&disk::log()),
        run: |bytes| {
            thread_local! {
                static LOG: Vec<u8> = disk::log();
            }
            LOG.with(|log| rows::altered(log, bytes, |path| disk::read(path).is_ok()))
        },
    },
    Target {
        name: "hub-log-file",
        what: "the log as a damaged file: what is read of it is what was written, or is refused when it is replayed",
        corpus: || whole::corpus(&disk::beginning()),
        run: |bytes| whole::read(bytes, disk::read_beginning),
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
