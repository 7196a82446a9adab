//! Proofs of finality for verifiers that have nothing but files: put together from the ledger and its log.
//! Source: docs/protocol.md, section 9.4.

use crate::ledger::Ledger;
use crate::ledger::anchors::{Anchored, Milestone};
use crate::ledger::chains::{Chain, FixedSet, Sets};
use crate::store::{Store, StoreError};
use crate::timestamps::{NoFile, anchor_proof, covering};
use palisade_protocol::anchor::Anchor;
use palisade_protocol::block::{HubHeader, MessageBytes, message_tree};
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Terms};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::set::{Member, Set, SetHeader};
use palisade_protocol::genesis::GenesisDocument;
use palisade_protocol::message::Message;
use palisade_protocol::proof::{
    ChainBlock, Checkpoint, CheckpointSigner, FinalityProof, LeafPath, ProvenState, Step, TrustRoot, Under,
};
use palisade_protocol::state::Section;
use palisade_protocol::tree::Tree;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use std::collections::BTreeMap;

/// Headers before the first that a verifier's chain of headers grows on.
const BASE_HEADERS: u32 = 10;
/// Blocks after which the networks that do so change their target.
const RETARGET: u32 = 2_016;

/// Most epochs that a proof leads through: with 60 members each takes about 28 kB of its 64 MiB.
const MAX_STEPS: u64 = 2_000;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// Chain zero has no set yet.
    #[error("chain zero has no set yet")]
    NotOpen,
    /// No such chain.
    #[error("there is no chain with that name")]
    UnknownChain,
    /// Chain zero has no proofs of its own.
    #[error("chain zero's blocks are proven inside the proofs of other chains: name one of those")]
    ChainZero,
    /// Nobody votes at that height.
    #[error(
        "height {height} is not voted on: chain {chain} votes at every multiple of {every}, next below {below}, next above {above}"
    )]
    NotVoted {
        /// The chain.
        chain: ChainId,
        /// The height.
        height: Height,
        /// Heights divisible by this are voted on.
        every: u64,
        /// The next lower one of them.
        below: Height,
        /// The next higher one.
        above: Height,
    },
    /// The height is below the chain's first votes, or in a gap before it started again.
    #[error("height {height} is below the first that the sets of chain {chain} vote on, {first}")]
    BeforeOpening {
        /// The chain.
        chain: ChainId,
        /// The height.
        height: Height,
        /// The first voted height since the chain opened.
        first: Height,
    },
    /// The block is not final.
    #[error("no block of chain {chain} is final at height {height} yet; {}", newest(.last))]
    NotFinal {
        /// The chain.
        chain: ChainId,
        /// The height.
        height: Height,
        /// The newest final height.
        last: Option<Height>,
    },
    /// The hub's record of it is not on Bitcoin.
    #[error("no anchor on Bitcoin covers that block's certificate yet")]
    NotAnchored,
    /// A file holds a bounded number of epochs.
    #[error("the way from the first set has {0} epochs, a proof holds at most {MAX_STEPS}")]
    TooLong(u64),
    /// The log does not hold what it should.
    #[error("the log holds no {0}")]
    Missing(&'static str),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn newest(last: &Option<Height>) -> String {
    last.map_or("none of its blocks is".to_owned(), |last| format!("the newest final height is {last}"))
}

impl From<NoFile> for NoProof {
    fn from(why: NoFile) -> Self {
        match why {
            NoFile::Store(why) => Self::Store(why),
            _ => Self::Missing("anchor"),
        }
    }
}

/// Where verifiers of this hub start: with the first set of an incarnation of chain zero, the newest if none is named.
pub fn root(ledger: &Ledger, incarnation: Option<u32>) -> Result<TrustRoot, NoProof> {
    let zero = ledger.chains().first().ok_or(NoProof::NotOpen)?;
    let incarnation = incarnation.unwrap_or(zero.identity.incarnation);
    let sets = zero.eras().nth(incarnation as usize).ok_or(NoProof::NotOpen)?;
    let (_, first) = sets.first_key_value().ok_or(NoProof::NotOpen)?;
    let header = ledger.bitcoin().header_at(first.btc_height);
    // A reorg may have replaced the block since; then the one at its height does as well, for it is as old.
    let btc_header = *header.ok_or(NoProof::Missing("Bitcoin header"))?;
    let (hub, set) = (ledger.genesis().id(), *first.set.header());
    Ok(TrustRoot { hub, incarnation, set, btc_header, btc_height: first.btc_height })
}

/// All of a proof that the ledger knows; the rest stands in the log. Made and filled in two steps, so that nobody waits for
/// the ledger while the log is read.
#[derive(Debug)]
pub struct Plan {
    genesis: GenesisDocument,
    headers_from: BtcHeight,
    steps: Vec<PlannedStep>,
    checkpoints: Vec<PlannedCheckpoint>,
    block: PlannedBlock,
}

/// A certificate in the log.
#[derive(Debug)]
struct Place {
    recorded_at: Height,
    context: Context,
    height: Height,
}

#[derive(Debug)]
struct PlannedStep {
    state: ProvenState,
    certificate: Place,
    next: SetHeader,
    place: LeafPath,
    under: Option<PlannedUnder>,
}

/// A checkpoint under which a certificate lies, and the way there from the block that holds the certificate.
#[derive(Debug)]
struct PlannedUnder {
    checkpoint: u16,
    among_headers: Option<LeafPath>,
}

#[derive(Debug)]
struct PlannedCheckpoint {
    anchored: Anchored,
    set: Set,
    state: ProvenState,
    signers: Vec<CheckpointSigner>,
}

#[derive(Debug)]
struct PlannedBlock {
    identity: ChainIdentity,
    terms: Terms,
    step: u16,
    set_place: LeafPath,
    certificate: Place,
    record: PlannedUnder,
}

/// Plans the proof that the chain's block at `height` is final and under a checkpoint.
pub fn plan(ledger: &Ledger, chain: &ChainId, height: Height) -> Result<Plan, NoProof> {
    let chain = ledger.chain(chain).ok_or(NoProof::UnknownChain)?;
    if chain.id().is_zero() {
        return Err(NoProof::ChainZero);
    }
    let recorded_at = *chain.records.get(&height).ok_or_else(|| not_final(chain, height))?;
    let zero = ledger.chains().first().ok_or(NoProof::NotOpen)?;
    let fixed = chain.sets.get(&chain.terms.epoch_of(height)).ok_or(NoProof::Missing("set"))?;
    let (anchored_in, _, _) = covering(ledger, recorded_at).ok_or(NoProof::NotAnchored)?;
    // Before chain zero began anew, another root leads there.
    let era = (0..).zip(zero.eras()).find(|(_, sets)| sets.contains_key(&anchored_in));
    let (incarnation, sets) = era.ok_or(NoProof::NotAnchored)?;
    let (first, _) = sets.first_key_value().ok_or(NoProof::NotOpen)?;
    let shown_in = first_epoch_from(zero, fixed.hub_height).max(*first);
    let mut maker = Maker { ledger, zero, sets, checkpoints: BTreeMap::new() };
    let steps = maker.steps(*first, anchored_in.max(shown_in.next()))?;
    let record = maker.under(recorded_at)?.ok_or(NoProof::NotAnchored)?;
    let shown = milestone_at(ledger, zero.terms.first_height(shown_in))?;
    let block = PlannedBlock {
        identity: chain.identity.clone(),
        terms: chain.terms,
        step: u16::try_from(shown_in.since(*first))
            .map_err(|_| NoProof::Missing("room for so many epochs"))?,
        set_place: maker.place(Section::Sets, fixed.index, shown.sets)?,
        certificate: certificate_place(chain, fixed, height)?,
        record,
    };
    let genesis = ledger.genesis().document().clone();
    let headers_from = headers_from(ledger, root(ledger, Some(incarnation))?.btc_height);
    Ok(Plan { genesis, headers_from, steps, checkpoints: maker.finish()?, block })
}

/// Why a chain has no certificate at a height: never, or not yet.
fn not_final(chain: &Chain, height: Height) -> NoProof {
    let (id, every) = (chain.id().clone(), chain.terms.voted_every);
    if !chain.terms.is_voted(height) {
        let below = Height(height.0 / every * every);
        return NoProof::NotVoted { chain: id, height, every, below, above: below.plus(every) };
    }
    let first = chain.opened_at.map(|epoch| chain.terms.first_height(epoch));
    match first.filter(|first| height < *first) {
        Some(first) => NoProof::BeforeOpening { chain: id, height, first },
        None => NoProof::NotFinal { chain: id, height, last: chain.last_final().map(|(height, _)| height) },
    }
}

impl Plan {
    /// Reads the rest from the log.
    pub fn fill(self, store: &Store) -> Result<FinalityProof, NoProof> {
        let step = |step: PlannedStep| {
            let PlannedStep { state, certificate, next, place, under } = step;
            let found = certificate.read(store)?;
            let under = under.map(|under| found.under(under));
            Ok(Step { state, certificate: found.certificate, next, place, under })
        };
        let steps = self.steps.into_iter().map(step).collect::<Result<_, NoProof>>()?;
        let checkpoints = self.checkpoints.into_iter().map(|planned| planned.fill(store));
        let PlannedBlock { identity, terms, step, set_place, certificate, record } = self.block;
        let found = certificate.read(store)?;
        let block = ChainBlock {
            chain: identity.id,
            genesis: identity.genesis,
            incarnation: identity.incarnation,
            terms,
            step,
            set_place,
            record: found.under(record),
            certificate: found.certificate,
        };
        Ok(FinalityProof {
            genesis: self.genesis,
            headers_from: self.headers_from,
            steps,
            checkpoints: checkpoints.collect::<Result<_, _>>()?,
            block,
        })
    }
}

impl PlannedCheckpoint {
    fn fill(self, store: &Store) -> Result<Checkpoint, NoProof> {
        let inclusion = anchor_proof(store, &self.anchored)?;
        let (_, anchor) = Anchor::find(&inclusion.transaction).map_err(|_| NoProof::Missing("anchor"))?;
        let places: Vec<usize> = anchor.signers().into_iter().map(usize::from).collect();
        let members = Tree::from_leaves(self.set.members().iter().map(Member::leaf));
        let members_proof = members.multi_path(&places);
        Ok(Checkpoint { inclusion, state: self.state, signers: self.signers, members_proof })
    }
}

/// A certificate, and its place among the messages of its block.
struct Found {
    certificate: Certificate,
    header: HubHeader,
    message: LeafPath,
}

impl Found {
    fn under(&self, planned: PlannedUnder) -> Under {
        let PlannedUnder { checkpoint, among_headers } = planned;
        Under { checkpoint, header: self.header, message: self.message.clone(), among_headers }
    }
}

impl Place {
    fn read(&self, store: &Store) -> Result<Found, NoProof> {
        let missing = || NoProof::Missing("certificate");
        let block = store.blocks(self.recorded_at, 1)?.pop().ok_or_else(missing)?;
        let of_message = |bytes: &MessageBytes| match bytes.decode() {
            Ok(Message::Certificate(own)) => {
                let ballot = own.ballot;
                (ballot.context == self.context && ballot.height == self.height).then_some(*own)
            }
            _ => None,
        };
        let mut certificates = block.messages.iter().map(of_message).enumerate();
        let found = certificates.find_map(|(index, own)| Some((index, own?)));
        let (index, certificate) = found.ok_or_else(missing)?;
        let ids = message_tree(block.messages.iter().map(MessageBytes::id));
        let siblings = ids.path(index).ok_or_else(missing)?;
        let message = LeafPath::new(index as u64, ids.len() as u64, &siblings).ok_or_else(missing)?;
        Ok(Found { certificate, header: block.header, message })
    }
}

/// The first header that a verifier needs: ten before one that its chain of headers can grow on.
fn headers_from(ledger: &Ledger, root: BtcHeight) -> BtcHeight {
    let retargets = ledger.network() != bitcoin::Network::Regtest;
    let base = if retargets { root.0 / RETARGET * RETARGET } else { root.0 };
    BtcHeight(base.saturating_sub(BASE_HEADERS))
}

/// The first epoch of chain zero whose first block is at or above a height.
fn first_epoch_from(zero: &Chain, height: Height) -> Epoch {
    let epoch = zero.terms.epoch_of(height);
    if zero.terms.first_height(epoch) == height { epoch } else { epoch.next() }
}

fn milestone_at(ledger: &Ledger, height: Height) -> Result<&Milestone, NoProof> {
    ledger.anchors().milestone(height).ok_or(NoProof::NotAnchored)
}

fn proven(milestone: &Milestone) -> ProvenState {
    ProvenState { header: milestone.header, sections: milestone.sections }
}

/// Where the log holds the certificate of a chain's height.
fn certificate_place(chain: &Chain, fixed: &FixedSet, height: Height) -> Result<Place, NoProof> {
    let recorded_at = *chain.records.get(&height).ok_or(NoProof::NotAnchored)?;
    Ok(Place { recorded_at, context: fixed.set.header().context, height })
}

/// A proof under construction.
struct Maker<'a> {
    ledger: &'a Ledger,
    zero: &'a Chain,
    /// Chain zero's sets in the incarnation that the root is of.
    sets: &'a Sets,
    /// Numbers of the checkpoints that are used, by epoch.
    checkpoints: BTreeMap<Epoch, u16>,
}

impl<'a> Maker<'a> {
    /// Steps from the first set up to the set of `last`, and on as far as the checkpoints that cover them need.
    fn steps(&mut self, first: Epoch, last: Epoch) -> Result<Vec<PlannedStep>, NoProof> {
        let (mut steps, mut epoch, mut last) = (Vec::new(), first, last);
        while epoch < last {
            if last.since(first) > MAX_STEPS {
                return Err(NoProof::TooLong(last.since(first)));
            }
            let step = self.step(epoch)?;
            let needed = self.checkpoints.last_key_value().map(|(epoch, _)| *epoch);
            last = last.max(needed.unwrap_or(last));
            steps.push(step);
            epoch = epoch.next();
        }
        Ok(steps)
    }

    fn step(&mut self, epoch: Epoch) -> Result<PlannedStep, NoProof> {
        let (ledger, height) = (self.ledger, self.zero.terms.first_height(epoch));
        let milestone = milestone_at(ledger, height)?;
        let next = self.set(epoch.next())?;
        let certificate = certificate_place(self.zero, self.set(epoch)?, height)?;
        let under = self.under(certificate.recorded_at)?;
        Ok(PlannedStep {
            state: proven(milestone),
            certificate,
            next: *next.set.header(),
            place: self.place(Section::Sets, next.index, milestone.sets)?,
            under,
        })
    }

    /// The checkpoint that covers what is recorded in the hub block at a height, if one is on Bitcoin.
    fn under(&mut self, recorded_at: Height) -> Result<Option<PlannedUnder>, NoProof> {
        let Some((covered_in, _, anchor)) = covering(self.ledger, recorded_at) else { return Ok(None) };
        let (index, size) = (recorded_at.0 as usize, anchor.header.height.0 as usize);
        let is_that_block = index == size;
        let way = || self.place(Section::Headers, index, size);
        let among_headers = if is_that_block { None } else { Some(way()?) };
        Ok(Some(PlannedUnder { checkpoint: self.checkpoint(covered_in), among_headers }))
    }

    fn set(&self, epoch: Epoch) -> Result<&'a FixedSet, NoProof> {
        self.sets.get(&epoch).ok_or(NoProof::NotAnchored)
    }

    /// A leaf's way up among the first `size` of its section.
    fn place(&self, section: Section, index: usize, size: usize) -> Result<LeafPath, NoProof> {
        let siblings = self.ledger.tree().section(section).path_among_first(index, size);
        let path = siblings.and_then(|siblings| LeafPath::new(index as u64, size as u64, &siblings));
        path.ok_or(NoProof::Missing("leaf"))
    }

    /// The number that an epoch's checkpoint has in the proof.
    fn checkpoint(&mut self, epoch: Epoch) -> u16 {
        let next = self.checkpoints.len() as u16;
        *self.checkpoints.entry(epoch).or_insert(next)
    }

    fn finish(self) -> Result<Vec<PlannedCheckpoint>, NoProof> {
        let mut numbered: Vec<(u16, Epoch)> =
            self.checkpoints.iter().map(|(epoch, at)| (*at, *epoch)).collect();
        numbered.sort_unstable();
        numbered.into_iter().map(|(_, epoch)| self.plan_checkpoint(epoch)).collect()
    }

    fn plan_checkpoint(&self, epoch: Epoch) -> Result<PlannedCheckpoint, NoProof> {
        let anchored = self.ledger.anchors().get(epoch).ok_or(NoProof::NotAnchored)?.clone();
        let milestone = milestone_at(self.ledger, self.zero.terms.last_voted(epoch))?;
        let set = self.set(epoch)?.set.clone();
        let signers = anchored.signers.iter().map(|key| {
            let (_, member) = set.find(key)?;
            let bls = self.ledger.providers().get(key)?.bls?;
            Some(CheckpointSigner { key: *key, power: member.power, bls })
        });
        let signers = signers.collect::<Option<_>>().ok_or(NoProof::Missing("signer"))?;
        Ok(PlannedCheckpoint { anchored, set, state: proven(milestone), signers })
    }
}
