//! The command line of governance: decide, sign, submit. A decision that lacks signatures is a file to pass on.

use crate::client::HubClient;
use crate::daemon::amount::possible;
use crate::daemon::ask;
use crate::daemon::bounded;
use crate::daemon::endpoint::http_url;
use crate::daemon::exit::Failure;
use crate::daemon::genesis::read_genesis;
use crate::daemon::keyfile::{self, KdfCost, KeyLabel};
use crate::daemon::keygen::new_key;
use crate::daemon::network::NetworkArgs;
use crate::daemon::password::PasswordSource;
use crate::daemon::secret::Erased;
use crate::init::majority;
use crate::ledger::Ledger;
use crate::replica::{find_in_log, read_log};
use anyhow::Context as _;
use bitcoin::Amount;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1};
use clap::{Args, Subcommand};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{
    AcceptedPower, Action, GovernanceMessage, GovernanceSignature, Governors, NewChain, Recovery, Resume,
    message,
};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::GovernanceKey;
use palisade_protocol::message::Message;
use palisade_protocol::params::{Params, ParamsDocument};
use palisade_protocol::units::{Epoch, Height};
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
        /// The epoch that it is in now: its newest final height divided by the epoch's length.
        #[arg(long, default_value_t = 0)]
        first_epoch: u64,
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
    /// Hand governance over to other keys. A quorum of these must sign too.
    RotateKeys {
        /// A key that governs from then on; once for each.
        #[arg(long = "governance", required = true)]
        governance: Vec<GovernanceKey>,
        /// How many of them decide; a majority by default.
        #[arg(long)]
        governance_quorum: Option<u8>,
        /// Who signs, and where it goes.
        #[command(flatten)]
        how: How,
    },
    /// Give chain zero a new trust root, once no set of it can make a block final any more. Providers and verifiers must accept it
    /// one by one.
    Recover {
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
pub fn read_params(file: &Path) -> Result<ParamsDocument, Failure> {
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
        Governance::RegisterChain {
            id,
            genesis_block: genesis,
            epoch_length,
            voted_every,
            minimum_power,
            first_epoch,
            how,
        } => {
            let terms = Terms { epoch_length, voted_every, minimum_power_sat: minimum_power };
            terms.check().map_err(Failure::usage)?;
            let new = NewChain { id, genesis, terms, first_epoch: Epoch(first_epoch) };
            decide(&how, |_| Ok(Action::RegisterChain(new))).await
        }
        Governance::SetParams { params, how } => {
            let params = Box::new(read_params(&params)?);
            decide(&how, |_| Ok(Action::SetParams(params))).await
        }
        Governance::RotateKeys { governance, governance_quorum, how } => {
            let quorum = governance_quorum.unwrap_or_else(|| majority(governance.len()));
            let new = Governors::new(governance, quorum).map_err(Failure::usage)?;
            decide(&how, |_| Ok(Action::RotateKeys(new))).await
        }
        Governance::Recover { how } => decide(&how, recovery).await,
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
            let resume = Resume { accepted: accept };
            let decide_on = |ledger: &Ledger| check_chains(ledger, &resume).map(|()| Action::Resume(resume));
            decide(&how, decide_on).await
        }
        Governance::Sign { decision, how } => {
            let decision = read_decision(&decision)?;
            sign_and_submit(decision, &read(&how).await?, &how).await
        }
    }
}

/// A decision from its hex, or from a file of the hex or of the JSON that holds it.
pub fn read_decision(given: &str) -> Result<GovernanceMessage, Failure> {
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
        Action::RegisterChain(NewChain { id, genesis, terms, first_epoch }) => format!(
            "register chain {id}, genesis block {genesis}: epochs of {} heights, every {} voted on, opens at a power of {} in epoch {first_epoch} or later",
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
        Action::RotateKeys(new) => {
            let keys: Vec<String> = new.keys().iter().map(ToString::to_string).collect();
            format!("from now on {} of these govern: {}", new.quorum(), keys.join(", "))
        }
        Action::RecoveryRoot(Recovery { chain, incarnation, last_final }) => {
            let from = last_final.map_or_else(
                || "before its first final block".to_owned(),
                |last| format!("after its last final block, {} ({})", last.height, last.hash),
            );
            format!(
                "chain {chain} begins anew {from}, as incarnation {incarnation}: its next first set is a new trust root"
            )
        }
    }
}

fn keygen(file: &Path, network: bitcoin::Network, password: Option<PathBuf>) -> Result<Done, Failure> {
    let (secret, key) = new_key().map_err(Failure::failed)?;
    let key = GovernanceKey::from(key);
    let password = PasswordSource::usual(password).read_new("Password for the new key: ")?;
    let label = KeyLabel::new(KEY_PURPOSE, &key.to_string()).map_err(Failure::failed)?;
    keyfile::create(file, &label, &secret, &password, KdfCost::for_network(network), &mut OsRng)
        .map_err(Failure::failed)?;
    Ok(Done::Key { key, file: file.to_owned() })
}

/// The number of the decision comes from the log: a hub that named a later one would get a decision that it could carry out
/// when it likes.
async fn decide(how: &How, action: impl FnOnce(&Ledger) -> Result<Action, Failure>) -> Result<Done, Failure> {
    let ledger = read(how).await?;
    let (sequence, action) = (ledger.next_decision(), action(&ledger)?);
    sign_and_submit(GovernanceMessage { sequence, action, signatures: Vec::new() }, &ledger, how).await
}

/// The state that follows from the hub's log: who governs stands there.
async fn read(how: &How) -> Result<Ledger, Failure> {
    let genesis = read_genesis(&how.genesis).map_err(Failure::usage)?;
    let read = read_log(&HubClient::new(how.hub.clone()).telling(), genesis, drop).await;
    Ok(read.map_err(anyhow::Error::from)?)
}

/// What brings chain zero back, if it is lost.
fn recovery(ledger: &Ledger) -> Result<Action, Failure> {
    let zero = ledger.chains().first().filter(|zero| zero.is_lost(ledger.btc_height()));
    let zero = zero.ok_or_else(|| {
        Failure::not_now(
            "chain zero needs no new trust root: the set of its next voted block has not expired",
        )
        .hint("while that set lives its providers can go on; `resume` ends a trip of the breaker")
    })?;
    let recovery =
        zero.recovery().ok_or_else(|| Failure::not_now("chain zero is in its last incarnation"))?;
    Ok(Action::RecoveryRoot(recovery))
}

/// A chain that was mistyped would make a decision that the hub refuses, after everybody has signed it.
fn check_chains(ledger: &Ledger, resume: &Resume) -> Result<(), Failure> {
    let Some(unknown) = resume.accepted.iter().find(|own| ledger.chain(&own.chain).is_none()) else {
        return Ok(());
    };
    let known: Vec<&str> = ledger.chains().iter().map(|chain| chain.id().as_str()).collect();
    Err(Failure::usage(format_args!("--accept: chain {} is not registered", unknown.chain))
        .hint(format_args!("the hub's log knows {}", known.join(", "))))
}

/// Nobody signs blind: what is decided is shown before the password is asked for. Nothing is sent without a yes.
async fn sign_and_submit(
    mut decision: GovernanceMessage,
    ledger: &Ledger,
    how: &How,
) -> Result<Done, Failure> {
    let (governors, context) = (ledger.governors(), &ledger.contexts().governance);
    let (sequence, action) = (decision.sequence, in_words(&decision.action));
    ask::announce(format_args!("decision {sequence}: {action}"));
    decision.check_signatures(governors, context).map_err(|why| {
        Failure::failed(format_args!("the decision carries what is no member's signature on it: {why}"))
            .hint("it was altered after it was signed, or is for another hub: begin anew")
    })?;
    sign(&mut decision, ledger, how)?;
    decision
        .check_signatures(governors, context)
        .map_err(|_| Failure::usage("a key that was given is none of this hub's governance"))?;
    let (signatures_missing, signed) = (decision.missing(governors), decision.signatures.len());
    if signatures_missing > 0 {
        let decision = hex::encode(decision.to_bytes());
        let sign = format!(
            "palisade-hub governance sign --decision {decision} --genesis '{}' --hub {} --key FILE",
            how.genesis.display(),
            how.hub
        );
        return Ok(Done::Begun { sequence, action, signatures_missing, decision, sign });
    }
    let summary =
        format!("signed by {signed} members, which is enough: it takes effect at once at {}", how.hub);
    ask::confirm(&summary, how.yes)?;
    let (hub, message) = (HubClient::new(how.hub.clone()).telling(), Message::Governance(decision));
    hub.submit(&message).await.map_err(anyhow::Error::from)?;
    let id = message.id();
    let found = find_in_log(&hub, ledger.genesis().clone(), id).await.map_err(anyhow::Error::from)?;
    let height = found.ok_or_else(|| {
        Failure::failed(format_args!(
            "the hub says that it took the decision, and its log does not hold {id}"
        ))
    })?;
    Ok(Done::Decided { sequence, action, id, height })
}

fn sign(decision: &mut GovernanceMessage, ledger: &Ledger, how: &How) -> anyhow::Result<()> {
    let context = &ledger.contexts().governance;
    let digest = Digest::from_digest(message(context, decision.sequence, &decision.action));
    let password = PasswordSource::usual(how.password_file.clone());
    for file in &how.keys {
        let password = password.read("Password of the governance key: ")?;
        let weakest = KdfCost::for_network(ledger.network());
        let (_, secret) = keyfile::open::<32>(file, KEY_PURPOSE, &password, weakest)
            .with_context(|| format!("governance key {}", file.display()))?;
        let pair = Erased::new(Keypair::from_seckey_slice(SECP256K1, secret.expose())?);
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
mod tests;
