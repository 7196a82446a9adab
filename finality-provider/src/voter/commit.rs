//! Committing nonces ahead of need. Independent of votes: a provider that cannot vote now must be in the next set.

use super::Voter;
use crate::signer::client::SignerError;
use crate::signer::request::{ChainKey, CommitRequest};
use palisade_hub::client::HubError;
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
        if self.is_refusing() {
            return None;
        }
        let Ok(identity) = self.identity().await else { return None };
        if identity.record != known.record {
            *known = Known { record: identity.record, ..Known::default() };
        }
        let mut reached = None;
        for own in &identity.chains {
            if self.own_key(&own.chain).await.is_ok() {
                reached = reached.max(self.commit_chain(own, known).await);
            }
        }
        self.count_epochs(&identity.chains);
        reached
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
        let commitments =
            wanted.filter_map(|epoch| known.commitments.get(&(own.chain.clone(), Epoch(epoch))));
        let lacking = commitments.filter(|own| !self.with_ledger(|ledger| is_committed(ledger, own)));
        let lacking: Vec<&Commitment> = lacking.collect();
        // The lowest by itself: a chain opens at the lowest epoch that is committed once the power is there, and a block that
        // held a higher one only would open it there.
        let (first, others) = lacking.split_first()?;
        let mut reached = self.send_commitment(own, first).await.ok()?;
        let sending = others.iter().map(|commitment| self.send_commitment(own, commitment)).collect();
        for sent in join_all(sending).await {
            reached = reached.max(sent.ok().flatten());
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

    /// The block that holds it, if it is new there.
    async fn send_commitment(
        &self,
        own: &ChainKey,
        commitment: &Commitment,
    ) -> Result<Option<Height>, HubError> {
        let (chain, epoch) = (&own.chain, commitment.epoch);
        let at = self.with_ledger(|ledger| ledger.next_height());
        if let Err(why) = self.journal.note_sent(chain, epoch, at) {
            tracing::warn!(%why, "the journal did not note a commitment");
        }
        match self.hub.submit(&Message::Commitment(commitment.clone())).await {
            Ok(receipt) => {
                tracing::info!(%chain, epoch = epoch.0, root = %commitment.root, hub_height = receipt.height.0, "nonces committed");
                self.meters.since_commitment.happens(chain.as_str());
                Ok(Some(receipt.height))
            }
            Err(HubError::Refused { rule, .. }) if rule == "repeated" => Ok(None),
            Err(why) => {
                tracing::warn!(%chain, epoch = epoch.0, %why, "commitment not taken");
                Err(why)
            }
        }
    }

    /// Counts what is committed ahead, and complains where nothing is.
    fn count_epochs(&self, chains: &[ChainKey]) {
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
        if bare.is_empty() {
            self.health.recover("nonces");
        } else {
            self.health.degrade("nonces", format!("none are committed ahead for {}", bare.join(", ")));
        }
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
