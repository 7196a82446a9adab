//! Committing nonces ahead of need. Independent of votes: a provider that cannot vote now must be in the next set.

use super::Voter;
use super::verdict::Door;
use crate::signer::client::SignerError;
use crate::signer::request::{ChainKey, CommitRequest};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::Ledger;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::commitment::Commitment;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Pause between two passes when nothing happens.
const PAUSE: Duration = Duration::from_secs(1);

/// Commitments of one record of the signer's. Another record has other nonces.
#[derive(Debug, Default)]
pub(super) struct Known {
    record: Hash32,
    commitments: BTreeMap<(ChainId, Epoch), Commitment>,
}

/// What became of a commitment.
enum Sent {
    /// It is in this block.
    In(Height),
    /// The hub has it, or will never take it: those for later epochs do not wait for it.
    Over,
    /// It is to be sent again.
    Waits,
}

impl Voter {
    /// Commits until it is told to stop.
    pub(super) async fn commit(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut known = Known::default();
        let mut news = self.news.subscribe();
        while !shutdown.is_requested() {
            let reached = tokio::select! {
                reached = self.commit_all(&mut known) => reached,
                () = shutdown.requested() => return Ok(()),
            };
            let seen = async {
                match reached {
                    // What was committed is in a block: look again when the own log has it.
                    Some(height) => drop(news.wait_for(|tip| *tip >= Some(height)).await),
                    None => drop(news.changed().await),
                }
            };
            tokio::select! {
                () = seen => {}
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        Ok(())
    }

    /// One pass over all chains. Gives the highest hub block that took a commitment.
    pub(super) async fn commit_all(&self, known: &mut Known) -> Option<Height> {
        // Roots computed against a log that does not reproduce could go to the wrong epochs.
        if self.is_refusing() || self.is_behind() {
            return None;
        }
        let Ok(identity) = self.identity().await else { return None };
        if identity.record != known.record {
            *known = Known { record: identity.record, ..Known::default() };
            // Other roots: what was said of the ones before is not said of these.
            for own in &identity.chains {
                self.keep_untaken(Door::Commitments, &own.chain, |_| false);
            }
        }
        let (mut reached, mut foreign) = (None, Vec::new());
        for own in &identity.chains {
            if self.own_key(&own.chain).await.is_ok() {
                reached = reached.max(self.commit_chain(own, known).await);
                foreign.extend(self.foreign_epochs(own, known));
            }
        }
        let bare = self.count_epochs(&identity.chains);
        self.ring_while("nonces", &bare.into_iter().chain(foreign).collect::<Vec<_>>());
        reached
    }

    /// Says for which epochs of a chain the log has nonces that the signer's record does not know, so that it signs nothing there.
    /// Of epochs that have a set the signer is not asked for its nonces: that it refuses to vote there is what shows it. Naming
    /// them to it would have it vote where a record that was lost may have voted.
    fn foreign_epochs(&self, own: &ChainKey, known: &Known) -> Option<String> {
        let refused = self.moment().foreign.get(&own.chain).copied();
        let (awaited, in_log) = self.with_ledger(|ledger| {
            let chain = ledger.chain(&own.chain)?;
            let roots = ledger.providers().get(&own.key)?.roots.clone();
            Some((chain.awaited().map(|height| chain.terms.epoch_of(height)), roots))
        })?;
        let is_foreign = |(epoch, root): (&Epoch, &Hash32)| {
            let signers = known.commitments.get(&(own.chain.clone(), *epoch));
            signers.is_some_and(|signers| signers.root != *root).then_some(*epoch)
        };
        let refused = refused.filter(|epoch| awaited.is_some_and(|awaited| awaited <= *epoch));
        let foreign: Vec<Epoch> = refused.into_iter().chain(in_log.iter().filter_map(is_foreign)).collect();
        let (first, last) = (foreign.first()?, foreign.last()?);
        Some(format!(
            "chain {}: those in the log for epochs {first} to {last} are of another record than the signer's, so it signs nothing \
             there. After its record was lost that ends within two epochs; if it stays, another signer has this key",
            own.chain
        ))
    }

    async fn commit_chain(&self, own: &ChainKey, known: &mut Known) -> Option<Height> {
        let source_tip = self.moment().tips.get(&own.chain).copied();
        let wanted = self.with_ledger(|ledger| {
            let ahead = self.epochs_ahead.min(ledger.genesis().document().nonce_roots_ahead.into());
            wanted_epochs(ledger, own, source_tip, ahead)
        })?;
        known.commitments.retain(|(chain, epoch), _| *chain != own.chain || epoch.0 >= wanted.start);
        for epoch in wanted.clone().map(Epoch) {
            // A signer that is gone is gone for all epochs.
            if let Err(SignerError::Unreachable { .. }) = self.sign_commitment(&own.chain, epoch, known).await
            {
                break;
            }
        }
        let own_ones = wanted.filter_map(|epoch| known.commitments.get(&(own.chain.clone(), Epoch(epoch))));
        let lacking = own_ones.filter(|own| !self.with_ledger(|ledger| is_committed(ledger, own)));
        self.send_commitments(own, lacking.collect()).await
    }

    /// Sends what the log lacks, in order of epochs.
    async fn send_commitments(&self, own: &ChainKey, mut lacking: Vec<&Commitment>) -> Option<Height> {
        let waits = |epoch| lacking.iter().any(|commitment| commitment.epoch.0 == epoch);
        self.keep_untaken(Door::Commitments, &own.chain, waits);
        lacking.retain(|commitment| {
            !self.moment().untaken.is_passed_over(Door::Commitments, &own.chain, commitment.epoch.0)
        });
        let mut lacking = lacking.into_iter();
        // The lowest that is taken by itself: a chain opens at the lowest epoch that is committed once the power is there, and a
        // block that held a higher one only would open it there.
        let mut reached = loop {
            match self.send_commitment(own, lacking.next()?).await {
                Sent::Over => {}
                Sent::Waits => return None,
                Sent::In(height) => break Some(height),
            }
        };
        let sending = lacking.map(|commitment| self.send_commitment(own, commitment)).collect();
        for sent in join_all(sending).await {
            if let Sent::In(height) = sent {
                reached = reached.max(Some(height));
            }
        }
        reached
    }

    async fn sign_commitment(
        &self,
        chain: &ChainId,
        epoch: Epoch,
        known: &mut Known,
    ) -> Result<(), SignerError> {
        let place = (chain.clone(), epoch);
        if known.commitments.contains_key(&place) {
            return Ok(());
        }
        let signed = self.signer.commit(CommitRequest { chain: chain.clone(), epoch }).await;
        let commitment = signed.inspect_err(
            |why| tracing::warn!(%chain, epoch = epoch.0, %why, "no commitment from the signer"),
        )?;
        known.commitments.insert(place, commitment);
        Ok(())
    }

    async fn send_commitment(&self, own: &ChainKey, commitment: &Commitment) -> Sent {
        let (chain, epoch) = (&own.chain, commitment.epoch);
        let at = self.with_ledger(|ledger| ledger.next_height());
        if let Err(why) = self.journal.note_sent(chain, epoch, at) {
            tracing::warn!(%why, "the journal did not note a commitment");
        }
        let answer = self.hub.submit(&Message::Commitment(commitment.clone())).await;
        let next = self.heard(Door::Commitments, chain, epoch.0, answer.as_ref().map(drop));
        match (answer, next) {
            (Ok(receipt), _) => {
                tracing::info!(%chain, epoch = epoch.0, root = %commitment.root, hub_height = receipt.height.0, "nonces committed");
                self.meters.since_commitment.happens(chain.as_str());
                Sent::In(receipt.height)
            }
            (Err(_), Some(next)) if next.passes_over() => Sent::Over,
            (Err(_), _) => Sent::Waits,
        }
    }

    /// Counts what is committed ahead, and says where nothing is.
    fn count_epochs(&self, chains: &[ChainKey]) -> Option<String> {
        let mut bare = Vec::new();
        for own in chains {
            // A counter that begins with its first miss shows none to whoever watches for an increase.
            self.meters.missed.with_label_values(&[own.chain.as_str()]);
            self.meters.since_vote.begin(own.chain.as_str());
            self.meters.since_commitment.begin(own.chain.as_str());
            let committed = self.with_ledger(|ledger| Some(ledger.providers().get(&own.key)?.roots.len()));
            let Some(committed) = committed else { continue };
            self.meters.epochs_ahead.with_label_values(&[own.chain.as_str()]).set(committed as i64);
            if committed == 0 {
                bare.push(own.chain.as_str());
            }
        }
        (!bare.is_empty()).then(|| format!("none are committed ahead for {}", bare.join(", ")))
    }
}

/// Waits for all of them, one after the other in order, while all go on.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *output = Some(done),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

/// Epochs for which nonces should be committed: those without a set, from the first one that can still be used. A chain
/// that has not opened can be anywhere: its own tip says where.
fn wanted_epochs(
    ledger: &Ledger,
    own: &ChainKey,
    source_tip: Option<Height>,
    ahead: u64,
) -> Option<Range<u64>> {
    let provider = ledger.providers().get(&own.key)?;
    if provider.exposed_at.is_some() {
        return None;
    }
    let chain = ledger.chain(&own.chain)?;
    let (mut first, last) = (ledger.first_open_epoch(chain.id()).0, ledger.last_open_epoch(chain.id()).0);
    if chain.newest().is_none() && !chain.id().is_zero() {
        first = first.max(chain.terms.epoch_of(source_tip?).0.saturating_add(1));
    }
    Some(first..first.saturating_add(ahead).min(last.saturating_add(1)))
}

fn is_committed(ledger: &Ledger, commitment: &Commitment) -> bool {
    let provider = ledger.providers().get(&commitment.key);
    provider.is_some_and(|provider| provider.roots.get(&commitment.epoch) == Some(&commitment.root))
}

#[cfg(test)]
mod tests;
