//! Judging a proof. In three passes: which sets chain zero had, which anchors are checkpoints under them, and whether each
//! certificate was given in time. The last needs the first two: a checkpoint may lie in a later epoch than what it dates. That
//! is no circle, because what is dated is the certificate with its signatures: when the anchor was mined, they were made.
//! Source: docs/protocol.md, section 9.4.

use super::{ChainBlock, Checkpoint, CheckpointSigner, FinalityProof, Step, TrustRoot, set_leaf};
use crate::anchor::{Anchor, BadAnchor, Signer};
use crate::chain::{BaseRefused, HeaderChain, HeaderRefused, HeaderRules, RulesRefused};
use crate::context::{ChainIdentity, Context, Purpose};
use crate::finality::certificate::BadCertificate;
use crate::finality::set::{Member, SetHeader};
use crate::finality::vote::Ballot;
use crate::genesis::{BadGenesis, Genesis};
use crate::hash::Hash32;
use crate::inclusion::InclusionRefused;
use crate::state::Section;
use crate::tree::multi_root;
use crate::units::{BtcHeight, Epoch, Height};
use bitcoin::block::Header;
use bitcoin::{Amount, BlockHash, Txid};
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Headers that a chain begins with.
const BASE_HEADERS: usize = 11;
/// Most headers that a chain takes at once.
const BATCH: usize = 2_000;

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The chain.
    pub chain: ChainIdentity,
    /// Height of the final block.
    pub height: Height,
    /// Its hash.
    pub block: Hash32,
    /// Power that voted for it.
    pub power: Amount,
    /// Power of its set.
    pub total: Amount,
    /// The transaction that carries the checkpoint.
    pub anchor: Txid,
    /// The Bitcoin block that holds it.
    pub anchor_block: BlockHash,
    /// That block's height.
    pub anchor_height: BtcHeight,
    /// How many headers of the file lie above it.
    pub depth: u32,
    /// Depth at which the hub's first parameters call an anchor final.
    pub final_depth: u32,
}

/// The rule that a proof breaks. With the same three files it always will.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The genesis document is refused.
    #[error("genesis document: {0}")]
    Genesis(#[from] BadGenesis),
    /// The proof is of another hub.
    #[error("the proof is of hub {found}, the trust root of hub {wanted}")]
    OtherHub {
        /// Hash of the proof's genesis document.
        found: Hash32,
        /// The trust root's hub.
        wanted: Hash32,
    },
    /// The network's headers cannot be judged.
    #[error("headers: {0}")]
    Rules(#[from] RulesRefused),
    /// The file has too few headers.
    #[error("the file has {0} headers, at least {BASE_HEADERS} are needed")]
    TooFewHeaders(usize),
    /// The first headers are no beginning of a chain.
    #[error("headers: {0}")]
    Base(#[from] BaseRefused),
    /// A header breaks Bitcoin's rules.
    #[error("headers: {0}")]
    Headers(#[from] HeaderRefused),
    /// The headers do not hold the trust root's block.
    #[error("the headers do not hold the trust root's Bitcoin block at height {0}")]
    RootBlock(BtcHeight),
    /// The trust root's set is no set of this hub's chain zero.
    #[error("the trust root's set does not vote on this hub's chain zero")]
    RootSet,
    /// The proof leads from another first set of chain zero.
    #[error(
        "the proof does not begin with the trust root's set: chain zero began anew under another root, before it or after it"
    )]
    OtherRoot,
    /// A step does not lead to the next set.
    #[error("epoch {epoch} of chain zero: {why}")]
    Step {
        /// The epoch whose first block the step shows.
        epoch: Epoch,
        /// What is wrong.
        why: BadStep,
    },
    /// A checkpoint is none.
    #[error("checkpoint {index}: {why}")]
    Checkpoint {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        why: BadCheckpoint,
    },
    /// The chain's block is not final.
    #[error("chain {chain}: {why}")]
    Block {
        /// The chain that the proof names.
        chain: String,
        /// What is wrong.
        why: BadBlock,
    },
    /// A certificate may have been made after its set's time.
    #[error(
        "{what} was certified by a set that expired at Bitcoin height {expiry}; no checkpoint up to there covers it"
    )]
    Expired {
        /// What was certified.
        what: String,
        /// The set's expiry.
        expiry: BtcHeight,
    },
}

/// Why a step leads to no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStep {
    /// The block is not the first of the epoch.
    #[error("block {0} is not the epoch's first")]
    NotFirst(Height),
    /// The state is not the block's.
    #[error("the sections are not those of the block's state")]
    State,
    /// The certificate is of another block or by another set.
    #[error("the certificate is not for this block by this epoch's set")]
    OtherBlock,
    /// The certificate proves nothing.
    #[error("certificate: {0}")]
    Certificate(#[from] BadCertificate),
    /// The next set is not in the state.
    #[error("the next set is not in the block's state")]
    NextSet,
    /// The certificate is not under the checkpoint that the proof names.
    #[error("the certificate is not under the checkpoint that the proof names for it")]
    Under,
}

/// Why an anchor is no checkpoint of this chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// No step gives the set of its epoch.
    #[error("no step leads to the set of epoch {0}")]
    UnknownSet(Epoch),
    /// The header is not the one that the anchor names.
    #[error("the header is not the one that the anchor names")]
    OtherHeader,
    /// The header is not at the epoch's last voted height.
    #[error("block {0} is not at the epoch's last voted height")]
    NotLast(Height),
    /// The state is not the block's.
    #[error("the sections are not those of the block's state")]
    State,
    /// The signers are not members.
    #[error("the signers are not members of the set")]
    NotMembers,
    /// The anchor is no checkpoint.
    #[error("{0}")]
    Anchor(#[from] BadAnchor),
    /// The headers do not hold its block.
    #[error("block {0} is not among the headers")]
    UnknownBlock(BlockHash),
    /// The transaction is not in its block.
    #[error("{0}")]
    Inclusion(#[from] InclusionRefused),
    /// The set's time was over.
    #[error("it is in Bitcoin's block {found}, its set expired at {expiry}")]
    Late {
        /// Height of the anchor.
        found: BtcHeight,
        /// Expiry of its set.
        expiry: BtcHeight,
    },
}

/// Why a block of another chain is not shown to be final.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// Chain zero's own blocks need no set of another chain.
    #[error("a proof is about another chain's block")]
    IsZero,
    /// The terms contradict one another.
    #[error("terms: {0}")]
    Terms(&'static str),
    /// The certificate is another chain's.
    #[error("the certificate is of another chain, genesis or incarnation")]
    OtherChain,
    /// The certificate proves nothing.
    #[error("certificate: {0}")]
    Certificate(#[from] BadCertificate),
    /// The set is not in the state that should have it.
    #[error("its set is not in the state of a certified first block of chain zero")]
    Set,
    /// The certificate is not under the checkpoint.
    #[error("the certificate is not under the checkpoint")]
    Record,
}

/// A checkpoint that holds, and where it is on Bitcoin.
struct Dated<'a> {
    checkpoint: &'a Checkpoint,
    height: BtcHeight,
}

impl FinalityProof {
    /// Judges the proof from a trust root and Bitcoin headers, the first of which has the height that the proof names. The
    /// verifier's tip is the last of them. They are taken as they are judged: of a stream that breaks a rule nothing more is taken.
    pub fn verify(
        &self,
        root: &TrustRoot,
        headers: impl IntoIterator<Item: Borrow<Header>>,
    ) -> Result<Proven, Refused> {
        let genesis = Genesis::new(self.genesis.clone())?;
        if genesis.id() != root.hub {
            return Err(Refused::OtherHub { found: genesis.id(), wanted: root.hub });
        }
        let chain = header_chain(&genesis, self.headers_from, headers)?;
        if chain.header_at(root.btc_height) != Some(&root.btc_header) {
            return Err(Refused::RootBlock(root.btc_height));
        }
        let sets = self.walk(&genesis, root)?;
        let dated = self.date(&genesis, root, &sets, &chain)?;
        self.check_in_time(&sets, &dated, chain.tip().height)?;
        let proven = self.check_block(&genesis, &dated, &chain);
        proven.map_err(|why| Refused::Block { chain: self.block.chain.to_string(), why })
    }

    /// The sets of chain zero, each shown by a block that the one before has certified.
    fn walk(&self, genesis: &Genesis, root: &TrustRoot) -> Result<BTreeMap<Epoch, SetHeader>, Refused> {
        let vote = root.identity(genesis).context(Purpose::Vote);
        if root.set.context != vote {
            return Err(Refused::RootSet);
        }
        if self.steps.first().is_some_and(|step| step.certificate.set.context != vote) {
            return Err(Refused::OtherRoot);
        }
        let mut current = root.set;
        let mut sets = BTreeMap::from([(current.epoch, current)]);
        for step in &self.steps {
            let judged = step.check(genesis, &vote, &current);
            judged.map_err(|why| Refused::Step { epoch: current.epoch, why })?;
            current = step.next;
            sets.insert(current.epoch, current);
        }
        Ok(sets)
    }

    fn date(
        &self,
        genesis: &Genesis,
        root: &TrustRoot,
        sets: &BTreeMap<Epoch, SetHeader>,
        chain: &HeaderChain,
    ) -> Result<Vec<Dated<'_>>, Refused> {
        let context = root.identity(genesis).context(Purpose::Checkpoint);
        let judge = |(index, checkpoint): (usize, &'_ Checkpoint)| {
            let height = checkpoint.check(genesis, &context, sets, chain);
            height.map_err(|why| Refused::Checkpoint { index, why })
        };
        let judged = self.checkpoints.iter().enumerate().map(judge);
        let heights = judged.collect::<Result<Vec<_>, _>>()?;
        let dated = self.checkpoints.iter().zip(heights);
        Ok(dated.map(|(checkpoint, height)| Dated { checkpoint, height }).collect())
    }

    /// Every certificate was given while its set's keys could still be slashed: either that time is not over, or the certificate
    /// itself lies under a checkpoint of that time.
    fn check_in_time(
        &self,
        sets: &BTreeMap<Epoch, SetHeader>,
        dated: &[Dated<'_>],
        tip: BtcHeight,
    ) -> Result<(), Refused> {
        for step in &self.steps {
            let set = sets.get(&step.certificate.set.epoch).unwrap_or(&step.certificate.set);
            let covered = step.covered(dated);
            let covered = covered.map_err(|why| Refused::Step { epoch: set.epoch, why })?;
            if !is_in_time(covered, tip, set.expiry) {
                let what = format!("block {} of chain zero", step.state.header.height);
                return Err(Refused::Expired { what, expiry: set.expiry });
            }
        }
        let (expiry, record) = (self.block.certificate.set.expiry, &self.block.record);
        let recorded = dated.get(usize::from(record.checkpoint)).map(|dated| dated.height);
        if !is_in_time(recorded, tip, expiry) {
            let what = format!("the block of chain {}", self.block.chain);
            return Err(Refused::Expired { what, expiry });
        }
        Ok(())
    }

    fn check_block(
        &self,
        genesis: &Genesis,
        dated: &[Dated<'_>],
        chain: &HeaderChain,
    ) -> Result<Proven, BadBlock> {
        let ChainBlock { certificate, record, .. } = &self.block;
        let identity = self.block.identity(genesis)?;
        if certificate.ballot.context != identity.context(Purpose::Vote) {
            return Err(BadBlock::OtherChain);
        }
        self.block.terms.check().map_err(BadBlock::Terms)?;
        certificate.verify(&self.block.terms)?;
        let state = self.steps.get(usize::from(self.block.step)).map(|step| &step.state);
        let leaf = set_leaf(&certificate.set, &self.block.terms);
        if !state.is_some_and(|state| state.has(Section::Sets, &leaf, &self.block.set_place)) {
            return Err(BadBlock::Set);
        }
        let Ballot { height, block, .. } = certificate.ballot;
        let dated = dated.get(usize::from(record.checkpoint)).ok_or(BadBlock::Record)?;
        if !record.leads(certificate, dated.checkpoint) {
            return Err(BadBlock::Record);
        }
        let voters = certificate.voters.iter().map(|voter| voter.member.power);
        Ok(Proven {
            chain: identity,
            height,
            block,
            power: voters.fold(Amount::ZERO, |sum, power| sum.checked_add(power).unwrap_or(Amount::MAX)),
            total: certificate.set.total,
            anchor: dated.checkpoint.inclusion.transaction.compute_txid(),
            anchor_block: dated.checkpoint.inclusion.block_hash,
            anchor_height: dated.height,
            depth: chain.tip().height.since(dated.height),
            final_depth: genesis.params().document().w,
        })
    }
}

/// Whether signatures of a set that expires at `expiry` count: before it does, always; later, only if an anchor shows
/// that they stood in Bitcoin by then.
fn is_in_time(covered: Option<BtcHeight>, tip: BtcHeight, expiry: BtcHeight) -> bool {
    tip <= expiry || covered.is_some_and(|height| height <= expiry)
}

fn header_chain(
    genesis: &Genesis,
    from: BtcHeight,
    headers: impl IntoIterator<Item: Borrow<Header>>,
) -> Result<HeaderChain, Refused> {
    let mut headers = headers.into_iter();
    let mut next = |most| headers.by_ref().take(most).map(|header| *header.borrow()).collect::<Vec<_>>();
    let base = next(BASE_HEADERS);
    if base.len() < BASE_HEADERS {
        return Err(Refused::TooFewHeaders(base.len()));
    }
    let height = from.plus(u32::try_from(BASE_HEADERS).unwrap_or(u32::MAX).saturating_sub(1));
    let rules = HeaderRules::for_network(genesis.network())?;
    let mut chain = HeaderChain::new(rules, height, &base)?;
    loop {
        let batch = next(BATCH);
        if batch.is_empty() {
            return Ok(chain);
        }
        chain.accept(&batch)?;
    }
}

impl Step {
    /// Height of the Bitcoin block that holds the checkpoint under which the certificate lies, if the proof names one.
    fn covered(&self, dated: &[Dated<'_>]) -> Result<Option<BtcHeight>, BadStep> {
        let Some(under) = &self.under else { return Ok(None) };
        let dated = dated.get(usize::from(under.checkpoint)).ok_or(BadStep::Under)?;
        let leads = under.leads(&self.certificate, dated.checkpoint);
        leads.then_some(Some(dated.height)).ok_or(BadStep::Under)
    }

    fn check(&self, genesis: &Genesis, vote: &Context, current: &SetHeader) -> Result<(), BadStep> {
        let terms = &genesis.document().zero;
        let header = &self.state.header;
        if header.height != terms.first_height(current.epoch) {
            return Err(BadStep::NotFirst(header.height));
        }
        if !self.state.holds() {
            return Err(BadStep::State);
        }
        let ballot = Ballot { context: *vote, height: header.height, block: header.hash() };
        if self.certificate.ballot != ballot || self.certificate.set != *current {
            return Err(BadStep::OtherBlock);
        }
        self.certificate.verify(terms)?;
        let follows = self.next.context == *vote && self.next.epoch == current.epoch.next();
        let leaf = set_leaf(&self.next, terms);
        if !follows || !self.state.has(Section::Sets, &leaf, &self.place) {
            return Err(BadStep::NextSet);
        }
        Ok(())
    }
}

impl Checkpoint {
    /// Height of the Bitcoin block that holds it.
    fn check(
        &self,
        genesis: &Genesis,
        context: &Context,
        sets: &BTreeMap<Epoch, SetHeader>,
        chain: &HeaderChain,
    ) -> Result<BtcHeight, BadCheckpoint> {
        let (_, anchor) = Anchor::find(&self.inclusion.transaction)?;
        let set = sets.get(&anchor.epoch).ok_or(BadCheckpoint::UnknownSet(anchor.epoch))?;
        let header = &self.state.header;
        if header.hash() != anchor.header {
            return Err(BadCheckpoint::OtherHeader);
        }
        if header.height != genesis.document().zero.last_voted(anchor.epoch) {
            return Err(BadCheckpoint::NotLast(header.height));
        }
        if !self.state.holds() {
            return Err(BadCheckpoint::State);
        }
        self.check_signers(&anchor, set, context)?;
        let block = self.inclusion.block_hash;
        let height = chain.height_of(&block).ok_or(BadCheckpoint::UnknownBlock(block))?;
        let holder = chain.header_at(height).ok_or(BadCheckpoint::UnknownBlock(block))?;
        self.inclusion.check(holder)?;
        if height > set.expiry {
            return Err(BadCheckpoint::Late { found: height, expiry: set.expiry });
        }
        Ok(height)
    }

    fn check_signers(
        &self,
        anchor: &Anchor,
        set: &SetHeader,
        context: &Context,
    ) -> Result<(), BadCheckpoint> {
        let named = anchor.signers();
        if named.len() != self.signers.len() {
            return Err(BadCheckpoint::NotMembers);
        }
        let members: Vec<Member> = self.signers.iter().map(CheckpointSigner::member).collect();
        let leaves = named.iter().zip(&members).map(|(index, member)| (u64::from(*index), member.leaf()));
        let leaves: Vec<(u64, Hash32)> = leaves.collect();
        if multi_root(&leaves, set.count.into(), &self.members_proof) != Some(set.members_root) {
            return Err(BadCheckpoint::NotMembers);
        }
        let all = named.iter().zip(&members).zip(&self.signers);
        let signers = all.map(|((index, member), signer)| Signer { index: *index, member, bls: &signer.bls });
        let signers: Vec<Signer<'_>> = signers.collect();
        Ok(anchor.verify(context, set, &signers)?)
    }
}

impl ChainBlock {
    fn identity(&self, genesis: &Genesis) -> Result<ChainIdentity, BadBlock> {
        if self.chain.is_zero() {
            return Err(BadBlock::IsZero);
        }
        let zero = genesis.zero();
        let (id, genesis, incarnation) = (self.chain.clone(), self.genesis, self.incarnation);
        Ok(ChainIdentity { id, genesis, incarnation, ..zero })
    }
}
