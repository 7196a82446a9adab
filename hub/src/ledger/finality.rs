//! Commitments, certificates and evidence. Source: docs/protocol.md, sections 7.1, 7.4 and 7.5.

use super::judging::Under;
use super::{Event, Ledger, Rejected};
use palisade_protocol::context::{ChainId, Context};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::commitment::Commitment;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::hash::Hash32;
use palisade_protocol::proof::certificate_leaf;
use palisade_protocol::state::Section;
use palisade_protocol::tree::leaf_hash;
use palisade_protocol::units::{Epoch, Height};

/// How often a provider can replace the root for one epoch: each time its signer is restored it has to.
const MAX_REPLACED: usize = 7;

impl Ledger {
    /// Gives the context that the commitment is signed for.
    pub(super) fn judge_commitment(
        &self,
        commitment: &Commitment,
        known: Option<&Under>,
    ) -> Result<Context, Rejected> {
        let provider =
            self.providers.get(&commitment.key).ok_or(Rejected::UnknownProvider(commitment.key))?;
        if provider.exposed_at.is_some() {
            return Err(Rejected::Exposed(commitment.key));
        }
        let chain =
            self.chain(&provider.chain).ok_or_else(|| Rejected::UnknownChain(provider.chain.clone()))?;
        let (held, replaced) =
            (provider.roots.get(&commitment.epoch), provider.replaced_at(commitment.epoch));
        if held.into_iter().chain(replaced).any(|root| *root == commitment.root) {
            return Err(Rejected::Repeated("the root is committed, or was replaced"));
        }
        if replaced.len() >= MAX_REPLACED {
            return Err(Rejected::Commitment("the epoch has had as many roots as it may"));
        }
        let ahead = self.genesis.document().nonce_roots_ahead;
        let (first, last) = (self.first_open_epoch(chain.id()), self.last_open_epoch(chain.id()));
        // One below all that are held would be dropped at once, and could be sent again and again.
        let lowest =
            provider.roots.keys().next().filter(|_| held.is_none() && provider.roots.len() >= ahead as usize);
        let first = lowest.map_or(first, |lowest| first.max(*lowest));
        if commitment.epoch < first || commitment.epoch > last {
            return Err(Rejected::Epoch { found: commitment.epoch, first, last });
        }
        let context = chain.commitment;
        if !matches!(known, Some(Under::Context(known)) if *known == context) {
            let bad = |_| Rejected::Commitment("the provider's signature does not verify");
            commitment.verify(&context).map_err(bad)?;
        }
        Ok(context)
    }

    pub(super) fn apply_commitment(
        &mut self,
        commitment: &Commitment,
        known: Option<&Under>,
    ) -> Result<(), Rejected> {
        self.judge_commitment(commitment, known)?;
        let ahead = self.genesis.document().nonce_roots_ahead;
        self.providers.commit(&commitment.key, commitment.epoch, commitment.root, ahead as usize);
        Ok(())
    }

    /// The first epoch whose set is not fixed yet.
    pub fn first_open_epoch(&self, chain: &ChainId) -> Epoch {
        let Some(chain) = self.chain(chain) else { return Epoch(0) };
        match chain.newest() {
            Some((epoch, _)) => epoch.next(),
            None if chain.id().is_zero() => chain.terms.epoch_of(self.next_height()).next(),
            None => chain.registered.0,
        }
    }

    /// The last epoch that nonces can be committed for now. Where a chain is that has not opened yet the hub does not see: an epoch
    /// of it lasts two of the hub's or more, so it is not further than that from where it was when it was registered. Without a bound
    /// whoever has the power to open it could do so at an epoch that it never comes to.
    pub fn last_open_epoch(&self, chain: &ChainId) -> Epoch {
        let ahead = self.genesis.document().nonce_roots_ahead.into();
        let first = self.first_open_epoch(chain).0;
        let passed = match self.chain(chain) {
            Some(chain) if chain.newest().is_none() && !chain.id().is_zero() => {
                self.epochs_since(chain.registered.1) / 2
            }
            _ => 0,
        };
        Epoch(first.saturating_add(passed).saturating_add(ahead))
    }

    /// Epochs of chain zero since a hub block.
    fn epochs_since(&self, height: Height) -> u64 {
        let terms = self.genesis.document().zero;
        terms.epoch_of(self.next_height()).0.saturating_sub(terms.epoch_of(height).0)
    }

    /// Gives the chain's place and name.
    pub(super) fn judge_certificate(
        &self,
        certificate: &Certificate,
        known: Option<&Under>,
    ) -> Result<(usize, ChainId), Rejected> {
        let ballot = &certificate.ballot;
        let context = ballot.context;
        let index = self.chains.iter().position(|chain| chain.vote == context);
        let Some((index, chain)) = index.and_then(|index| Some((index, self.chains.get(index)?))) else {
            return Err(Rejected::Certificate(
                palisade_protocol::finality::certificate::BadCertificate::WrongSet,
            ));
        };
        self.check_certified_block(chain.id(), ballot.height, ballot.block)?;
        let epoch = certificate.set.epoch;
        let unknown = || Rejected::UnknownSet { chain: chain.id().clone(), epoch };
        let fixed = chain.sets.get(&epoch).ok_or_else(unknown)?;
        if fixed.set.hash() != certificate.set.hash() {
            return Err(unknown());
        }
        if self.btc_height() > certificate.set.expiry {
            return Err(Rejected::Expired(certificate.set.expiry));
        }
        if known.is_none() {
            certificate.verify(&chain.terms)?;
        }
        Ok((index, chain.id().clone()))
    }

    pub(super) fn apply_certificate(
        &mut self,
        certificate: &Certificate,
        known: Option<&Under>,
    ) -> Result<(), Rejected> {
        let (index, id) = self.judge_certificate(certificate, known)?;
        let (height, block) = (certificate.ballot.height, certificate.ballot.block);
        self.record_certificate(index, height, block, certificate.set.epoch);
        self.events.push(Event::Final { chain: id, height, block });
        Ok(())
    }

    /// Whether a block may become final now: in order, one block a height, and for chain zero the hub's own block.
    fn check_certified_block(&self, id: &ChainId, height: Height, block: Hash32) -> Result<(), Rejected> {
        let chain = self.chain(id).ok_or_else(|| Rejected::UnknownChain(id.clone()))?;
        match chain.certified.get(&height) {
            Some(known) if *known == block => return Err(Rejected::Repeated("the block is final")),
            Some(_) => return Err(Rejected::Conflict(height)),
            None => {}
        }
        if let Some(previous) = chain.previous_voted(height)
            && !chain.certified.contains_key(&previous)
        {
            return Err(Rejected::NotInOrder(previous));
        }
        if !id.is_zero() {
            return match &self.breaker {
                Some(trip) => Err(Rejected::Tripped(trip.to_string())),
                None if chain.paused => Err(Rejected::Tripped(format!("chain {id} waits for governance"))),
                None => Ok(()),
            };
        }
        let leaf = self.tree.section(Section::Headers).leaf(height.0);
        if leaf == Some(leaf_hash(&block.0)) { Ok(()) } else { Err(Rejected::Conflict(height)) }
    }

    fn record_certificate(&mut self, index: usize, height: Height, block: Hash32, epoch: Epoch) {
        let recorded_at = self.next_height();
        let Some(chain) = self.chains.get_mut(index) else { return };
        chain.certified.insert(height, block);
        chain.records.insert(height, recorded_at);
        chain.changed = true;
        // The first certificate of an epoch fixes the next set of every chain but zero.
        let next = epoch.next();
        if !chain.id().is_zero() && !chain.sets.contains_key(&next) {
            chain.wanted_set = Some(next);
        }
        let leaf = certificate_leaf(chain.id(), height, &block);
        self.tree.put(Section::Certificates, self.certificates, &leaf);
        self.certificates = self.certificates.saturating_add(1);
    }

    pub(super) fn judge_evidence(&self, evidence: &Evidence, known: Option<&Under>) -> Result<(), Rejected> {
        let key = evidence.key();
        let provider = self.providers.get(&key).ok_or(Rejected::UnknownProvider(key))?;
        if provider.exposed_at.is_some() {
            return Err(Rejected::Repeated("the key is known to be out"));
        }
        if known.is_none() {
            evidence.secret()?;
        }
        Ok(())
    }

    pub(super) fn apply_evidence(
        &mut self,
        evidence: &Evidence,
        known: Option<&Under>,
        cause: &str,
    ) -> Result<(), Rejected> {
        self.judge_evidence(evidence, known)?;
        let key = evidence.key();
        let at = self.next_height();
        let now = self.now(cause);
        self.providers.expose(&key, at);
        self.stakes.expose(&key, now, &mut self.providers);
        self.events.push(Event::Exposed { key });
        Ok(())
    }
}
