//! What people hand to the hub's commands: words and files.

use crate::story::story;
use crate::{Outcome, scratch, texts};
use bitcoin::consensus::encode::serialize_hex;
use clap::Parser;
use palisade_hub::governance::{Governance, read_decision, read_params};
use palisade_hub::init::{Init, read_base_headers};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::governance::Action;
use palisade_world::{GOVERNANCE, governance_key, provider_key};

/// A decision that lacks signatures, as the command that begins it prints it.
fn decision() -> String {
    let world = &story().world;
    let rotation = Action::RotateKeys(world.ledger.governors().clone());
    hex::encode(world.decision_by(&GOVERNANCE[..1], rotation).to_bytes())
}

/// The kind, a line break, and the file.
pub(super) fn files() -> Vec<Vec<u8>> {
    let printed = texts::json(&serde_json::json!({ "decision": decision() }));
    let headers: Vec<String> = story().headers[..11].iter().map(serialize_hex).collect();
    let params = texts::json(story().world.ledger.params()[0].document());
    [
        ("decision", decision().into_bytes()),
        ("decision", printed),
        ("params", params),
        ("headers", headers.join("\n").into_bytes()),
    ]
    .map(|(kind, file)| [kind.as_bytes(), b"\n", &file].concat())
    .to_vec()
}

pub(super) fn file(bytes: &[u8]) -> Outcome {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Outcome::Refused };
    let path = scratch::file("given", &bytes[end + 1..]);
    match &bytes[..end] {
        b"decision" => read_decision(&path.display().to_string()).into(),
        b"params" => read_params(&path).into(),
        b"headers" => read_base_headers(&path).into(),
        _ => Outcome::Refused,
    }
}

/// The hub's commands that take more than the names of files.
#[derive(Debug, Parser)]
pub(crate) enum Commands {
    /// Makes a hub.
    Init(Box<Init>),
    /// Decides.
    #[command(subcommand)]
    Governance(Box<Governance>),
}

pub(super) fn lines() -> Vec<Vec<u8>> {
    let (key, member, hash) =
        (governance_key("governance 0"), provider_key("covenant 0"), story().digests[0]);
    let how = "--genesis\ngenesis.json\n--hub\nhttp://127.0.0.1:8200\n--key\nkey";
    [
        format!("init\n--covenant\n{member}\n--governance\n{key}\n--minimum-power\n1000\n--listen\n127.0.0.1:0"),
        format!(
            "governance\nregister-chain\n--id\ndev\n--genesis-block\n{hash}\n--epoch-length\n50\n--voted-every\n5\n\
             --minimum-power\n1000\n{how}"
        ),
        "governance\nkeygen\n--file\nkey\n--network\nregtest".to_owned(),
        format!("governance\nset-params\n--params\nparams.json\n{how}"),
        format!("governance\nresume\n--accept\nzero=4000000\n{how}"),
        format!("governance\nrotate-keys\n--governance\n{key}\n--governance-quorum\n1\n{how}"),
        format!("governance\nrecover\n{how}"),
        format!("governance\nsign\n--decision\n{}\n{how}", decision()),
    ]
    .map(String::into_bytes)
    .to_vec()
}

pub(super) fn line(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::Refused };
    Commands::try_parse_from(["palisade-hub"].into_iter().chain(text.split('\n'))).into()
}
