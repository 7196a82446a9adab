//! What the hub is sent and keeps: messages, votes and shares, and the blocks of its log, each before the ledger that judges it.

use super::{all_told, canonical, is_same};
use crate::story::{Closed, Told, dev, story};
use crate::{Outcome, Target};
use palisade_hub::votes;
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::governance::GovernanceMessage;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{bls_secret, provider_key};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "protocol-message",
        what: "a message has one encoding; one that the ledger refuses changes no state",
        corpus: || all_told().map(|told| told.bytes.as_slice().to_vec()).collect(),
        run: message,
    },
    Target {
        name: "protocol-block",
        what: "a block of a log has one encoding, and replays to the root that it claims or is refused",
        corpus: || story().closed.iter().map(|closed| closed.block.to_bytes()).collect(),
        run: block,
    },
    Target {
        name: "protocol-vote",
        what: "a vote has one encoding; judged as the hub's tally does",
        corpus: || ["dev anna", "dev bert"].map(|name| own_vote(name).to_bytes()).to_vec(),
        run: |bytes| {
            let judged = canonical::<Vote>(bytes).map(|vote| votes::judge(vec![vote], &story().world.ledger));
            judged.is_some_and(|judged| judged.iter().all(Result::is_ok)).into()
        },
    },
    Target {
        name: "protocol-share",
        what: "a share of a checkpoint has one encoding; its BLS signature is judged",
        corpus: || ["anna", "bert"].map(|name| own_share(name).to_bytes()).to_vec(),
        run: share,
    },
    Target {
        name: "protocol-decision",
        what: "a decision of governance has one encoding; judged as the ledger does",
        corpus: || {
            let decision = |told: &Told| match told.bytes.decode() {
                Ok(Message::Governance(decision)) => Some(decision.to_bytes()),
                _ => None,
            };
            all_told().filter_map(decision).collect()
        },
        run: |bytes| {
            let message = canonical::<GovernanceMessage>(bytes).map(Message::Governance);
            message.is_some_and(|message| is_told(&MessageBytes::of(&message))).into()
        },
    },
];

fn message(bytes: &[u8]) -> Outcome {
    let Ok(parsed) = MessageBytes::parse(bytes) else { return Outcome::Refused };
    is_same(&parsed.decode().expect("it was parsed"), bytes);
    is_told(&parsed).into()
}

/// Whether a ledger takes the message of those that took one of its kind.
fn is_told(bytes: &MessageBytes) -> bool {
    let ledgers = bytes.as_slice().first().and_then(|kind| story().told.get(kind));
    ledgers.into_iter().flatten().any(|told| is_taken(bytes, told))
}

/// Whether a ledger takes the message. If it does not, nothing has changed.
fn is_taken(bytes: &MessageBytes, told: &Told) -> bool {
    let mut ledger = told.before.clone();
    if ledger.apply(bytes).is_ok() {
        return true;
    }
    assert_eq!(ledger.finish_block().0, told.before.clone().finish_block().0, "a refused message");
    false
}

fn block(bytes: &[u8]) -> Outcome {
    let Some(block) = canonical::<Block>(bytes) else { return Outcome::Refused };
    let fits = |closed: &&Closed| closed.block.header.height == block.header.height;
    let Some(closed) = story().closed.iter().find(fits) else { return Outcome::Refused };
    let mut ledger = closed.before.clone();
    let replayed = ledger.replay(&block);
    if replayed.is_ok() {
        assert_eq!(ledger.tip().map(|(_, hash)| hash), Some(HubHeader::hash(&block.header)));
    }
    replayed.into()
}

/// A vote that is still to come, of a provider of the other chain.
pub(crate) fn own_vote(name: &str) -> Vote {
    story().world.vote(&dev(), name, Height(205), Hash32([9; 32]))
}

/// A provider's share of the newest checkpoint.
pub(crate) fn own_share(name: &str) -> CheckpointShare {
    let world = &story().world;
    world.share(name, Epoch(8), world.ledger.own_header(Epoch(8)).expect("the epoch is over"))
}

fn share(bytes: &[u8]) -> Outcome {
    let Some(share) = canonical::<CheckpointShare>(bytes) else { return Outcome::Refused };
    let names = ["anna", "bert"].into_iter().filter(|name| provider_key(name) == share.key);
    let context = &story().world.ledger.chains()[0].checkpoint;
    names
        .map(|name| share.verify(context, &bls_secret(name).public_key()))
        .any(|judged| judged.is_ok())
        .into()
}
