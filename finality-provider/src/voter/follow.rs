//! Following the hub: every block is replayed; one that does not reproduce stops all votes until the hub has another.

use super::Voter;
use super::ballots;
use super::refusal::Refusal;
use palisade_hub::client::HubError;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::{BadBlock, Event};
use palisade_hub::replica::{AT_ONCE, ReplicaError};
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Height;
use std::sync::PoisonError;
use std::time::Duration;

/// How long the hub may wait for a block before it answers that there is none.
const WAIT: Duration = Duration::from_secs(5);
/// Whoever gets so many blocks at once was away, or has just begun.
const FAR: usize = 100;
/// Pause after an answer that could not be used.
const PAUSE: Duration = Duration::from_millis(500);

impl Voter {
    /// Follows until it is told to stop. Fails only if the own log does.
    pub(super) async fn follow(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        // Replaying a refused block again would end the same way; the hub may offer it for a long time.
        let mut refused = None;
        while !shutdown.is_requested() {
            let next = self.with_ledger(|ledger| ledger.next_height());
            let page = tokio::select! {
                page = self.hub.blocks(next, WAIT) => page,
                () = shutdown.requested() => return Ok(()),
            };
            let pause = match page {
                Ok(blocks) => !self.take_page(&blocks, &mut refused).await?,
                Err(why) => {
                    self.report_outage(&why);
                    true
                }
            };
            if pause {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Takes blocks in order; `false` if one was refused.
    async fn take_page(&self, blocks: &[Block], refused: &mut Option<Hash32>) -> anyhow::Result<bool> {
        self.health.recover("hub");
        let is_far = blocks.len() >= FAR;
        self.moment().behind |= is_far;
        self.watch_chains();
        let is_refused = |block: &Block| *refused == Some(sha256(&[&block.to_bytes()]));
        let known = refused.and_then(|_| blocks.iter().position(is_refused));
        let blocks = blocks.get(..known.unwrap_or(blocks.len())).unwrap_or_default();
        for blocks in blocks.chunks(AT_ONCE) {
            // Replaying is work for a while, and nothing may read a ledger half changed.
            let (taken, why) = tokio::task::block_in_place(|| {
                self.replica.write().unwrap_or_else(PoisonError::into_inner).take_all(blocks)
            });
            for (block, events) in blocks.iter().zip(&taken) {
                *refused = None;
                self.taken(block, events);
            }
            match (why, blocks.get(taken.len())) {
                (None, _) => {}
                (Some(ReplicaError::Invalid(why)), Some(block)) => {
                    *refused = Some(sha256(&[&block.to_bytes()]));
                    self.refuse(block, &why).await;
                    return Ok(false);
                }
                (Some(why), _) => return Err(why.into()),
            }
        }
        // The last of many pages is old news, too, until it is taken.
        self.moment().behind = is_far;
        Ok(known.is_none())
    }

    /// A chain of ours whose sets have all expired gets no votes, however well everything else is; so does one for which our
    /// key is out, or the signer's is not ours.
    fn watch_chains(&self) {
        let keys: Vec<(ChainId, ProviderKey)> =
            self.moment().keys.iter().map(|(chain, key)| (chain.clone(), *key)).collect();
        let (expired, out) = self.with_ledger(|ledger| {
            let chains = keys.iter().filter_map(|(chain, _)| ledger.chain(chain));
            let expired: Vec<String> = chains.filter_map(|chain| ballots::expired(ledger, chain)).collect();
            let out = keys.iter().filter(|(_, key)| ledger.providers().is_exposed(key));
            (expired, out.map(|(chain, key)| key_is_out(chain, key)).collect::<Vec<_>>())
        });
        let other = keys.iter().filter_map(|(chain, key)| self.is_the_voters(chain, *key).err());
        let not_ours = out.into_iter().chain(other.map(|why| why.to_string())).collect();
        for (part, reasons) in [("sets", expired), ("keys", not_ours)] {
            self.ring_while(part, &reasons);
        }
    }

    fn taken(&self, block: &Block, events: &[Event]) {
        let height = block.header.height;
        if self.moment().refusing.take().is_some() {
            tracing::info!(height = height.0, hash = %block.header.hash(), "the hub's blocks reproduce again");
        }
        self.health.recover("log");
        self.meters.height.set(height.0 as i64);
        for event in events {
            if let Event::Final { chain, height, .. } = event {
                self.count_miss(chain, *height);
            }
        }
        self.news.send_replace(Some(height));
    }

    /// A height that became final without the own vote, in a set with the own key, was missed.
    fn count_miss(&self, chain: &ChainId, height: Height) {
        let Some(key) = self.moment().keys.get(chain).copied() else { return };
        let is_member = self.with_ledger(|ledger| {
            let known = ledger.chain(chain)?;
            known.sets.get(&known.terms.epoch_of(height))?.set.find(&key).map(|_| ())
        });
        if is_member.is_some() && matches!(self.journal.vote(chain, height), Ok(None)) {
            tracing::warn!(%chain, height = height.0, "became final without our vote");
            self.meters.missed.with_label_values(&[chain.as_str()]).inc();
        }
    }

    /// Says it loudly, keeps the proof, and signs nothing until a block comes that reproduces.
    async fn refuse(&self, block: &Block, why: &BadBlock) {
        let height = block.header.height;
        self.moment().refusing = Some(why.to_string());
        self.health.degrade("log", why);
        self.meters.refused_blocks.inc();
        let key = match self.own_key(&ChainId::zero()).await {
            Ok((own, _)) => Some(own.key),
            Err(_) => None,
        };
        let hash = block.header.hash();
        match Refusal::new(key, block, why) {
            None => {
                tracing::error!(height = height.0, %hash, %why, "a block that the hub did not sign was refused")
            }
            Some(refusal) => {
                tracing::error!(height = height.0, %hash, %why, "REFUSED: the hub signed a block that does not reproduce; no votes until it has another");
                if let Err(why) = refusal.write(&self.refusals) {
                    tracing::error!(%why, "the refusal could not be written down");
                }
            }
        }
        self.news.send_replace(self.with_ledger(|ledger| ledger.tip().map(|(height, _)| height)));
    }

    fn report_outage(&self, why: &HubError) {
        self.health.degrade("hub", why);
        tracing::warn!(%why, "no blocks from the hub");
    }
}

fn key_is_out(chain: &ChainId, key: &ProviderKey) -> String {
    format!(
        "chain {chain}: the key {key} is out: it gave itself away with two votes at one height. It has no power any more, and stakes \
         that name it are slashed. Find out who has it"
    )
}
