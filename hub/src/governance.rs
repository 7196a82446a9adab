//! The command line of governance: decide, sign, submit. A decision that lacks signatures is a file to pass on.

use crate::client::HubClient;
use crate::daemon::amount::possible;
use crate::daemon::ask;
use crate::daemon::bounded;
use crate::daemon::endpoint::http_url;
use crate::daemon::exit::Failure;
use crate::daemon::genesis::read_genesis;
use crate::daemon::keyfile::{self, KdfCost, KeyLabel};
use crate::daemon::network::NetworkArgs;
use crate::daemon::password::PasswordSource;
use crate::daemon::secret::Secret;
use crate::ledger::Ledger;
use crate::replica::{find_in_log, read_log};
use anyhow::Context as _;
use bitcoin::Amount;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1, SecretKey};
use clap::{Args, Subcommand};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Purpose, Terms};
use palisade_protocol::genesis::Genesis;
use palisade_protocol::governance::{
    AcceptedPower, Action, BadGovernance, GovernanceMessage, GovernanceSignature, NewChain, Resume, message,
};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::GovernanceKey;
use palisade_protocol::message::Message;
use palisade_protocol::params::{Params, ParamsDocument};
use palisade_protocol::units::Height;
use rand::rngs::OsRng;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};

const KEY_PURPOSE: &str = "governance";

/// What governance can do.
#[derive(Debug, Subcommand)]
pub enum Governance {
    /// Make a governance key.
    Keygen {
        /// The new key file.
        #[arg(long)]
        file: PathBuf,
        /// Network that the key is for.
        #[command(flatten)]
        network: NetworkArgs,
        /// File with the password for the new key.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Give a chain finality from now on.
    RegisterChain {
        /// Its name, never used before.
        #[arg(long)]
        id: ChainId,
        /// Hash of its genesis block.
        #[arg(long)]
        genesis_block: Hash32,
        /// Heights in an epoch.
        #[arg(long)]
        epoch_length: u64,
        /// Every so many heights are voted on.
        #[arg(long)]
        voted_every: u64,
        /// Power at which it opens, in sat.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=Amount::MAX_MONEY.to_sat()))]
        minimum_power: u64,
        /// Who signs, and where it goes.
        #[command(flatten)]
        how: How,
    },
    /// Set parameters for later Bitcoin heights.
    SetParams {
        /// A file of `ParamsDocument` JSON.
        #[arg(long)]
        params: PathBuf,
        /// Who signs, and where it goes.
        #[command(flatten)]
        how: How,
    },
    /// End the breaker's trip.
    Resume {
        /// Power in sat that a chain's next set must have at least, as CHAIN=SAT; once for each chain.
        #[arg(long = "accept", value_parser = accepted)]
        accept: Vec<AcceptedPower>,
        /// Who signs, and where it goes.
        #[command(flatten)]
        how: How,
    },
    /// Add signatures to a decision that somebody else began, and submit it once there are enough.
    Sign {
        /// The decision as the other command printed it: its hex, or a file that holds the hex or the whole JSON.
        #[arg(long)]
        decision: String,
        /// Who signs, and where it goes.
        #[command(flatten)]
        how: How,
    },
}

/// Who signs, and where the decision goes.
#[derive(Debug, Args)]
pub struct How {
    /// The genesis document.
    #[arg(long)]
    genesis: PathBuf,
    /// The hub.
    #[arg(long, value_parser = http_url)]
    hub: Url,
    /// A governance key file; once for each member that is here.
    #[arg(long = "key")]
    keys: Vec<PathBuf>,
    /// File with the password of the key files.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Submit without asking.
    #[arg(long)]
    yes: bool,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Done {
    /// A key was made.
    Key {
        /// The public key, for the genesis document.
        key: GovernanceKey,
        /// Where the secret is, encrypted.
        file: PathBuf,
    },
    /// The decision lacks signatures.
    Begun {
        /// Its number.
        sequence: u64,
        /// What it does, in words.
        action: String,
        /// How many members must still sign.
        signatures_missing: usize,
        /// Its bytes, hex: for the next member.
        decision: String,
        /// The command for the next member.
        sign: String,
    },
    /// The decision is in the hub's log.
    Decided {
        /// Its number.
        sequence: u64,
        /// What it does, in words.
        action: String,
        /// Id of its message.
        id: Hash32,
        /// The hub block that holds it.
        height: Height,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key, file } => {
                writeln!(f, "governance key {key}")?;
                writeln!(f, "its secret is in {}, encrypted; keep file and password", file.display())?;
                write!(f, "for the genesis document: palisade-hub init --governance {key} …")
            }
            // What it does was shown before it was signed.
            Self::Begun { sequence, signatures_missing, sign, .. } => {
                writeln!(
                    f,
                    "decision {sequence} was not sent: {} missing. The next member enters, with an own key file:",
                    signatures(*signatures_missing)
                )?;
                write!(f, "  {sign}")
            }
            Self::Decided { sequence, id, height, .. } => {
                write!(f, "decision {sequence} is in hub block {height}, message {id}")
            }
        }
    }
}

impl Done {
    /// Fails where nothing was decided yet, so that no script takes what was printed for a decision.
    pub fn check(&self) -> Result<(), Failure> {
        let Self::Begun { sequence, signatures_missing: missing, .. } = self else { return Ok(()) };
        Err(Failure::not_now(format_args!(
            "decision {sequence} is begun, not made: {} missing, and nothing was sent",
            signatures(*missing)
        ))
        .hint("pass what was printed on: the next member enters the command in it")
        .fact("signatures_missing", *missing))
    }
}

fn signatures(count: usize) -> String {
    if count == 1 { "1 signature is".to_owned() } else { format!("{count} signatures are") }
}

fn accepted(text: &str) -> Result<AcceptedPower, String> {
    let (chain, sat) = text.split_once('=').ok_or("CHAIN=SAT is wanted")?;
    let chain = chain.parse::<ChainId>().map_err(|why| why.to_string())?;
    let power = sat.parse().map(Amount::from_sat).map_err(|why: ParseIntError| why.to_string())?;
    Ok(AcceptedPower { chain, power: possible(power)? })
}

/// Parameters from a file, which obey their own rules.
fn read_params(file: &Path) -> Result<ParamsDocument, Failure> {
    let read = || -> anyhow::Result<ParamsDocument> {
        let document: ParamsDocument = serde_json::from_str(&bounded::read_text(file)?)?;
        Params::new(document.clone())?;
        Ok(document)
    };
    read().map_err(|why| Failure::usage(format_args!("--params {}: {why:#}", file.display())))
}

/// Carries a command out and says what came of it.
pub async fn run(command: Governance) -> Result<Done, Failure> {
    match command {
        Governance::Keygen { file, network, password_file } => {
            keygen(&file, network.permitted()?, password_file)
        }
        Governance::RegisterChain { id, genesis_block, epoch_length, voted_every, minimum_power, how } => {
            let terms = Terms { epoch_length, voted_every, minimum_power_sat: minimum_power };
            terms.check().map_err(Failure::usage)?;
            decide(Action::RegisterChain(NewChain { id, genesis: genesis_block, terms }), &how).await
        }
        Governance::SetParams { params, how } => {
            decide(Action::SetParams(Box::new(read_params(&params)?)), &how).await
        }
        Governance::Resume { accept, how } => {
            let twice = accept
                .iter()
                .enumerate()
                .find(|(at, own)| accept[..*at].iter().any(|other| other.chain == own.chain));
            if let Some((_, own)) = twice {
                return Err(Failure::usage(format_args!(
                    "--accept names chain {} twice: give each chain once",
                    own.chain
                )));
            }
            decide(Action::Resume(Resume { accepted: accept }), &how).await
        }
        Governance::Sign { decision, how } => sign_and_submit(read_decision(&decision)?, &how).await,
    }
}

/// A decision from its hex, or from a file of the hex or of the JSON that holds it.
fn read_decision(given: &str) -> Result<GovernanceMessage, Failure> {
    #[derive(Deserialize)]
    struct Printed {
        decision: String,
    }
    let unreadable = |why: &dyn fmt::Display| Failure::usage(format_args!("--decision: {why}"));
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut hex = given.to_owned();
    if !is_hex(&hex) {
        let text = bounded::read_text(given.as_ref())
            .map_err(|why| unreadable(&format_args!("neither hex nor a file that can be read: {why}")))?;
        hex = text.trim().to_owned();
    }
    if !is_hex(&hex) {
        let printed: Printed = serde_json::from_str(&hex)
            .map_err(|_| unreadable(&"the file holds neither hex nor what the other command printed"))?;
        hex = printed.decision;
    }
    let bytes = hex::decode(hex).map_err(|why| unreadable(&why))?;
    GovernanceMessage::from_bytes(&bytes).map_err(|why| unreadable(&why))
}

/// What an action does.
fn in_words(action: &Action) -> String {
    match action {
        Action::RegisterChain(NewChain { id, genesis, terms }) => format!(
            "register chain {id}, genesis block {genesis}: epochs of {} heights, every {} voted on, opens at a power of {}",
            terms.epoch_length,
            terms.voted_every,
            Amount::from_sat(terms.minimum_power_sat)
        ),
        Action::SetParams(document) => {
            let from = document.from_height;
            let document = serde_json::to_string_pretty(document).unwrap_or_default();
            format!("set these parameters for stakes from Bitcoin height {from} on: {document}")
        }
        Action::Resume(Resume { accepted }) => {
            let accepted = accepted.iter().map(|own| {
                format!("; accept for chain {} a next set with a power of {} or more", own.chain, own.power)
            });
            format!("end the breaker's trip{}", accepted.collect::<String>())
        }
        Action::RotateKeys(_) | Action::RecoveryRoot(_) => "a reserved action, which is refused".to_owned(),
    }
}

fn keygen(file: &Path, network: bitcoin::Network, password: Option<PathBuf>) -> Result<Done, Failure> {
    let secret = SecretKey::new(&mut OsRng);
    let key = GovernanceKey::from(Keypair::from_secret_key(SECP256K1, &secret).x_only_public_key().0);
    let password = PasswordSource::usual(password).read_new("Password for the new key: ")?;
    let label = KeyLabel::new(KEY_PURPOSE, &key.to_string()).map_err(Failure::failed)?;
    let secret = Secret::new(secret.secret_bytes());
    keyfile::create(file, &label, &secret, &password, KdfCost::for_network(network), &mut OsRng)
        .map_err(Failure::failed)?;
    Ok(Done::Key { key, file: file.to_owned() })
}

/// The number of the decision comes from the log: a hub that named a later one would get a decision that it could carry out
/// when it likes.
async fn decide(action: Action, how: &How) -> Result<Done, Failure> {
    let genesis = read_genesis(&how.genesis).map_err(Failure::usage)?;
    let read = read_log(&HubClient::new(how.hub.clone()).telling(), genesis, drop).await;
    let ledger = read.map_err(anyhow::Error::from)?;
    check_chains(&ledger, &action)?;
    let sequence = ledger.next_decision();
    sign_and_submit(GovernanceMessage { sequence, action, signatures: Vec::new() }, how).await
}

/// A chain that was mistyped would make a decision that the hub refuses, after everybody has signed it.
fn check_chains(ledger: &Ledger, action: &Action) -> Result<(), Failure> {
    let Action::Resume(Resume { accepted }) = action else { return Ok(()) };
    let Some(unknown) = accepted.iter().find(|own| ledger.chain(&own.chain).is_none()) else { return Ok(()) };
    let known: Vec<&str> = ledger.chains().iter().map(|chain| chain.id().as_str()).collect();
    Err(Failure::usage(format_args!("--accept: chain {} is not registered", unknown.chain))
        .hint(format_args!("the hub's log knows {}", known.join(", "))))
}

/// Nobody signs blind: what is decided is shown before the password is asked for. Nothing is sent without a yes.
async fn sign_and_submit(mut decision: GovernanceMessage, how: &How) -> Result<Done, Failure> {
    let genesis = read_genesis(&how.genesis).map_err(Failure::usage)?;
    let (sequence, action) = (decision.sequence, in_words(&decision.action));
    ask::announce(format_args!("decision {sequence}: {action}"));
    check_signatures(&decision, &genesis).map_err(|why| {
        Failure::failed(format_args!("the decision carries what is no member's signature on it: {why}"))
            .hint("it was altered after it was signed, or is for another hub: begin anew")
    })?;
    sign(&mut decision, &genesis, how)?;
    check_signatures(&decision, &genesis)
        .map_err(|_| Failure::usage("a key that was given is none of this hub's governance"))?;
    let quorum = usize::from(genesis.document().governance_quorum);
    let (signed, members) = (decision.signatures.len(), genesis.document().governance.len());
    if signed < quorum {
        let decision = hex::encode(decision.to_bytes());
        let sign = format!(
            "palisade-hub governance sign --decision {decision} --genesis '{}' --hub {} --key FILE",
            how.genesis.display(),
            how.hub
        );
        return Ok(Done::Begun { sequence, action, signatures_missing: quorum - signed, decision, sign });
    }
    let summary = format!(
        "signed by {signed} of {members} members, {quorum} are needed: it takes effect at once at {}",
        how.hub
    );
    ask::confirm(&summary, how.yes)?;
    let (hub, message) = (HubClient::new(how.hub.clone()).telling(), Message::Governance(decision));
    hub.submit(&message).await.map_err(anyhow::Error::from)?;
    let id = message.id();
    let found = find_in_log(&hub, genesis, id).await.map_err(anyhow::Error::from)?;
    let height = found.ok_or_else(|| {
        Failure::failed(format_args!(
            "the hub says that it took the decision, and its log does not hold {id}"
        ))
    })?;
    Ok(Done::Decided { sequence, action, id, height })
}

/// Whether each signature there is counts. How many there must be is another question.
fn check_signatures(decision: &GovernanceMessage, genesis: &Genesis) -> Result<(), BadGovernance> {
    let context = genesis.zero().context(Purpose::Governance);
    decision.verify(&genesis.document().governance, 0, &context)
}

fn sign(decision: &mut GovernanceMessage, genesis: &Genesis, how: &How) -> anyhow::Result<()> {
    let context = genesis.zero().context(Purpose::Governance);
    let digest = Digest::from_digest(message(&context, decision.sequence, &decision.action));
    let password = PasswordSource::usual(how.password_file.clone());
    for file in &how.keys {
        let password = password.read("Password of the governance key: ")?;
        let weakest = KdfCost::for_network(genesis.network());
        let (_, secret) = keyfile::open::<32>(file, KEY_PURPOSE, &password, weakest)
            .with_context(|| format!("governance key {}", file.display()))?;
        let pair = Keypair::from_seckey_slice(SECP256K1, secret.expose())?;
        let key = GovernanceKey::from(pair.x_only_public_key().0);
        decision.signatures.retain(|signature| signature.key != key);
        decision
            .signatures
            .push(GovernanceSignature { key, signature: SECP256K1.sign_schnorr(&digest, &pair) });
    }
    decision.signatures.sort_unstable_by_key(|signature| signature.key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::network::MainnetConsent;

    #[test]
    fn a_decision_is_read_from_its_hex_and_from_files_of_hex_or_json() {
        let chain = AcceptedPower { chain: ChainId::zero(), power: Amount::from_sat(7) };
        let action = Action::Resume(Resume { accepted: vec![chain] });
        assert_eq!(
            in_words(&action),
            "end the breaker's trip; accept for chain zero a next set with a power of 0.00000007 BTC or more"
        );
        let decision = GovernanceMessage { sequence: 3, action, signatures: Vec::new() };
        let hex = hex::encode(decision.to_bytes());
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let json = serde_json::json!({ "signatures_missing": 1, "decision": hex }).to_string();
        for given in [hex.clone(), file("hex", &format!("{hex}\n")), file("json", &json)] {
            assert_eq!(read_decision(&given).unwrap(), decision, "{given}");
        }
        for given in ["", "00", "/nowhere", &file("text", "yes"), &format!("{hex}00")] {
            let why = read_decision(given).unwrap_err().to_string();
            assert!(why.contains("--decision: "), "{given}: {why}");
        }
    }

    #[test]
    fn parameters_that_cannot_be_used_are_refused_with_the_name_of_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new params.json");
        let mut refused = vec![read_params(&file).unwrap_err()];
        for text in ["", "{}", "[1]"] {
            std::fs::write(&file, text).unwrap();
            refused.push(read_params(&file).unwrap_err());
        }
        for why in refused {
            assert!(why.message().starts_with(&format!("--params {}: ", file.display())), "{why}");
            assert_eq!(why.exit() as u8, 2);
        }
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Governance,
    }

    /// A hub that nobody runs, the flags of a command, and how it ends.
    async fn refused(args: &[&str]) -> Failure {
        let place = ["--genesis", "/nowhere/genesis.json", "--hub", "http://127.0.0.1:9"];
        let args = ["governance"].iter().chain(args).chain(&place);
        run(<Cli as clap::Parser>::try_parse_from(args).unwrap().command).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_chain_that_is_accepted_twice_and_a_missing_genesis_document_are_wrong_command_lines() {
        let twice =
            refused(&["resume", "--accept", "zero=5", "--accept", "dev=6", "--accept", "zero=7"]).await;
        assert!(twice.to_string().contains("--accept names chain zero twice"), "{twice}");
        let missing = refused(&["resume", "--accept", "zero=5"]).await;
        assert!(missing.to_string().contains("genesis document /nowhere/genesis.json"), "{missing}");
        assert_eq!((twice.exit() as u8, missing.exit() as u8), (2, 2));
    }

    #[tokio::test]
    async fn a_key_for_mainnet_needs_the_sentence_before_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.json").display().to_string();
        let args = ["", "keygen", "--file", &file, "--network", "bitcoin", "--password-file", "/nowhere"];
        let keygen = |more: &[&str]| {
            let args = [&args[..], more].concat();
            run(<Cli as clap::Parser>::try_parse_from(args).unwrap().command)
        };
        let why = keygen(&[]).await.unwrap_err();
        assert!(why.to_string().contains("mainnet needs a second key"), "{why}");
        let why = keygen(&["--mainnet", MainnetConsent::SENTENCE]).await.unwrap_err();
        assert!(why.to_string().contains("password file /nowhere"), "{why}");
    }

    #[test]
    fn a_chain_that_is_not_registered_is_refused_before_anybody_signs() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(crate::init::tests::genesis(dir.path()));
        let resume = |chain: &str| {
            let own = AcceptedPower { chain: chain.parse().unwrap(), power: Amount::ZERO };
            check_chains(&ledger, &Action::Resume(Resume { accepted: vec![own] }))
        };
        resume("zero").unwrap();
        let why = resume("zer").unwrap_err();
        let said = "error: --accept: chain zer is not registered\nhint: the hub's log knows zero";
        assert_eq!((why.to_string().as_str(), why.exit() as u8), (said, 2));
    }

    #[test]
    fn more_than_all_bitcoin_is_refused_before_anybody_signs() {
        for (power, good) in [
            ("zero=0", true),
            ("zero=2100000000000000", true),
            ("zero=2100000000000001", false),
            ("zero=18446744073709551615", false),
            ("zero=18446744073709551616", false),
            ("zero", false),
        ] {
            let place = ["--genesis", "genesis.json", "--hub", "http://127.0.0.1:9"];
            let args = [&["", "resume", "--accept", power], &place[..]].concat();
            assert_eq!(<Cli as clap::Parser>::try_parse_from(args).is_ok(), good, "{power}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_a_wrong_command_line() {
        for (hub, good) in [("http://127.0.0.1:9", true), ("ftp://127.0.0.1:9", false), ("foo", false)] {
            let args = ["", "resume", "--genesis", "genesis.json", "--hub", hub];
            assert_eq!(<Cli as clap::Parser>::try_parse_from(args).is_ok(), good, "{hub}");
        }
    }

    #[test]
    fn what_came_of_a_command_says_in_words_what_comes_next() {
        let (action, sign) =
            ("end the breaker's trip".to_owned(), "palisade-hub governance sign …".to_owned());
        let begun = |signatures_missing| Done::Begun {
            sequence: 4,
            action: action.clone(),
            signatures_missing,
            decision: "00".to_owned(),
            sign: sign.clone(),
        };
        for (missing, words) in [(1, "1 signature is missing"), (2, "2 signatures are missing")] {
            let said = begun(missing).to_string();
            assert!(said.starts_with(&format!("decision 4 was not sent: {words}")), "{said}");
            assert!(!said.contains(&action), "it was shown before it was signed: {said}");
            assert!(said.ends_with(&format!("  {sign}")), "{said}");
            let why = begun(missing).check().unwrap_err();
            assert!(why.to_string().contains(&format!("decision 4 is begun, not made: {words}")), "{why}");
            assert_eq!((why.exit() as u8, &why.to_json()["signatures_missing"]), (3, &missing.into()));
        }
        let (id, height) = (Hash32([7; 32]), Height(9));
        let decided = Done::Decided { sequence: 4, action: action.clone(), id, height };
        decided.check().unwrap();
        assert_eq!(decided.to_string(), format!("decision 4 is in hub block 9, message {id}"));
        let shown = serde_json::to_value(begun(1)).unwrap();
        assert_eq!((&shown["signatures_missing"], &shown["sign"]), (&1.into(), &sign.into()));
    }
}
