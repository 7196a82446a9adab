//! The forms of what a target reads: one for each variant, and one for whether something is there. A corpus must hold every form, in
//! inputs that are taken: what no input has is decoded by nobody's mutations.
//!
//! Each match here names every variant and has no arm for the rest: whoever adds one cannot build this without a name for it,
//! and cannot pass the tests without an input that has it.

mod tables;

use crate::{checkpointer, covenant, hub, staker};
use clap::{ArgMatches, Command, CommandFactory as _};
use palisade_finality_provider::signer::request::{Answer, Request};
use palisade_protocol::block::MessageBytes;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::genesis::GenesisDocument;
use palisade_protocol::governance::{Action, GovernanceMessage};
use palisade_protocol::message::Message;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::proof::FinalityProof;
use std::collections::BTreeSet;
use tables::*;

/// A form, in words.
pub type Form = String;

/// What the corpus of a target must hold.
#[derive(Debug, Clone)]
pub struct Forms {
    /// The target.
    pub target: &'static str,
    /// All forms of what it reads.
    pub all: Vec<Form>,
    /// Those that an input has.
    pub of: fn(&[u8]) -> Vec<Form>,
}

impl Forms {
    /// Those that no input of a corpus has.
    pub fn missing(&self, corpus: &[Vec<u8>]) -> BTreeSet<Form> {
        let found: BTreeSet<Form> = corpus.iter().flat_map(|input| (self.of)(input)).collect();
        self.all.iter().filter(|form| !found.contains(*form)).cloned().collect()
    }
}

/// What the corpora must hold.
pub fn all() -> Vec<Forms> {
    let forms = |target, all: &[&[&str]], of| {
        let all = all.concat().into_iter().map(str::to_owned).collect();
        Forms { target, all, of }
    };
    let commands = |target, root: &Command, of| Forms { target, all: leaves(root, ""), of };
    vec![
        forms(
            "protocol-message",
            &[
                message::ALL,
                checkpoints::ALL,
                stake_proof::ALL,
                expands::ALL,
                former::ALL,
                presigned::ALL,
                verdict::ALL,
                evidence::ALL,
                action::ALL,
                resume::ALL,
                recovery::ALL,
                profile::ALL,
            ],
            of_message,
        ),
        forms("protocol-decision", &[action::ALL, resume::ALL, recovery::ALL, profile::ALL], |bytes| {
            GovernanceMessage::from_bytes(bytes).iter().flat_map(of_decision).collect()
        }),
        forms("protocol-proof", &[under::ALL, among_headers::ALL], of_proof),
        forms("protocol-genesis", &[profile::ALL], |bytes| {
            let document = serde_json::from_slice::<GenesisDocument>(bytes);
            document.iter().map(|document| profile::of(&document.params.profile)).collect()
        }),
        forms("protocol-params", &[profile::ALL], |bytes| {
            let document = serde_json::from_slice::<ParamsDocument>(bytes);
            document.iter().map(|document| profile::of(&document.profile)).collect()
        }),
        forms("signer-socket", &[request::ALL], |bytes| {
            let request = bytes.get(4..).and_then(|body| Request::from_bytes(body).ok());
            request.iter().map(request::of).collect()
        }),
        forms("signer-answer", &[answer::ALL, last_vote::ALL, registered::ALL], of_answer),
        forms("covenant-audit-file", &[act::ALL], |bytes| {
            covenant::acts(bytes).iter().map(act::of).collect()
        }),
        forms("checkpointer-book-file", &[end::ALL], |bytes| {
            checkpointer::ends(bytes).iter().map(end::of).collect()
        }),
        commands("hub-command-line", &hub::command::Commands::command(), |bytes| {
            called(hub::command::Commands::command(), bytes)
        }),
        commands("staker-command-line", &staker::command(), |bytes| called(staker::command(), bytes)),
    ]
}

/// The forms of a message.
pub(crate) fn of_message(bytes: &[u8]) -> Vec<Form> {
    let Ok(message) = MessageBytes::parse(bytes).and_then(|bytes| bytes.decode()) else { return Vec::new() };
    let mut found = vec![message::of(&message)];
    match &message {
        Message::Provider(provider) => found.push(checkpoints::of(&provider.bls)),
        Message::Stake(stake) => found.extend([
            stake_proof::of(&stake.proof),
            expands::of(&stake.expands),
            former::of(&stake.former),
            presigned::of(&stake.presigned),
        ]),
        Message::Answer(answer) => found.push(verdict::of(&answer.verdict)),
        Message::Evidence(evidence) => found.push(evidence::of(evidence)),
        Message::Governance(decision) => found.extend(of_decision(decision)),
        // Structures, whose lists are all there are in them.
        Message::Headers(_)
        | Message::Consent(_)
        | Message::Included(_)
        | Message::Spent(_)
        | Message::Commitment(_)
        | Message::Certificate(_)
        | Message::Anchor(_)
        | Message::Batch(_) => {}
    }
    found
}

fn of_decision(decision: &GovernanceMessage) -> Vec<Form> {
    let inner = match &decision.action {
        Action::SetParams(document) => Some(profile::of(&document.profile)),
        Action::Resume(resume) => Some(resume::of(resume)),
        Action::RecoveryRoot(recovery) => Some(recovery::of(recovery)),
        Action::RegisterChain(_) | Action::RotateKeys(_) => None,
    };
    std::iter::once(action::of(&decision.action)).chain(inner).collect()
}

fn of_proof(bytes: &[u8]) -> Vec<Form> {
    let Ok(proof) = FinalityProof::parse(bytes) else { return Vec::new() };
    let ways = proof.steps.iter().filter_map(|step| step.under.as_ref()).chain([&proof.block.record]);
    let steps = proof.steps.iter().map(|step| under::of(&step.under));
    steps.chain(ways.map(|way| among_headers::of(&way.among_headers))).collect()
}

fn of_answer(bytes: &[u8]) -> Vec<Form> {
    let Some(said) = bytes.get(4..).and_then(|body| Answer::from_bytes(body).ok()) else { return Vec::new() };
    let mut found = vec![answer::of(&said)];
    match &said {
        Answer::Identity(identity) => {
            found.extend(identity.chains.iter().map(|own| last_vote::of(&own.last)))
        }
        Answer::Registered(signed) => found.push(registered::of(&signed.bls)),
        Answer::Commitment(_) | Answer::Vote(_) | Answer::Checkpoint(_) | Answer::Refused(_) => {}
    }
    found
}

/// The commands that do something, each with those that it belongs to.
fn leaves(command: &Command, above: &str) -> Vec<Form> {
    let own = |sub: &Command| {
        let name = format!("{above} {}", sub.get_name());
        if sub.has_subcommands() { leaves(sub, &name) } else { vec![name] }
    };
    command.get_subcommands().flat_map(own).collect()
}

/// The command that a line calls.
fn called(command: Command, line: &[u8]) -> Vec<Form> {
    let words = std::str::from_utf8(line).unwrap_or_default().split('\n');
    let Ok(matches) = command.try_get_matches_from(["program"].into_iter().chain(words)) else {
        return Vec::new();
    };
    let (mut name, mut at): (Form, &ArgMatches) = (Form::new(), &matches);
    while let Some((next, below)) = at.subcommand() {
        name = format!("{name} {next}");
        at = below;
    }
    vec![name]
}
