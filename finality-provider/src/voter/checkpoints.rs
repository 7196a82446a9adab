//! Checkpoints: once an epoch's last voted block is final, its members sign it by BLS, so that it can be anchored.

use super::verdict::{Door, Next};
use super::{NoKey, Voter};
use crate::signer::request::CheckpointRequest;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::Ledger;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Epoch;
use std::time::Duration;

/// Pause between two passes.
const PAUSE: Duration = Duration::from_secs(1);

impl Voter {
    /// Signs checkpoints until it is told to stop.
    pub(super) async fn checkpoint(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut told: Option<String> = None;
        while !shutdown.is_requested() {
            tokio::select! {
                () = self.try_checkpoint(&mut told) => {}
                () = shutdown.requested() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        Ok(())
    }

    /// One pass. What keeps it from signing is told once; what keeps the voter from voting too is told there.
    pub(super) async fn try_checkpoint(&self, told: &mut Option<String>) {
        let why = self.pass_checkpoint().await.err().filter(|why| !why.is::<NoKey>());
        let why = why.map(|why| why.to_string());
        if let Some(why) = why.as_ref().filter(|why| told.as_ref() != Some(*why)) {
            tracing::warn!(why, "no checkpoint");
        }
        *told = why;
    }

    async fn pass_checkpoint(&self) -> anyhow::Result<()> {
        if self.is_refusing() || self.is_behind() {
            return Ok(());
        }
        let (own, _) = self.own_key(&ChainId::zero()).await?;
        let Some((epoch, header)) = self.with_ledger(|ledger| newest_checkpoint(ledger, &own.key)) else {
            return Ok(());
        };
        if self.journal.has_checkpoint(epoch)? {
            return Ok(());
        }
        let share = self.signer.checkpoint(CheckpointRequest { epoch, header }).await?;
        let answer = self.hub.post("checkpoints", share.to_bytes()).await;
        let zero = ChainId::zero();
        self.keep_untaken(Door::Checkpoints, &zero, |own| own >= epoch.0);
        match self.heard(Door::Checkpoints, &zero, epoch.0, answer.as_ref().map(drop)) {
            None => tracing::info!(epoch = epoch.0, %header, "checkpoint signed"),
            // The hub has the share already.
            Some(Next::Over) => {}
            Some(_) => return Ok(()),
        }
        Ok(self.journal.note_checkpoint(epoch)?)
    }
}

/// The newest epoch whose last voted block is final, if the key is in its set.
fn newest_checkpoint(ledger: &Ledger, key: &ProviderKey) -> Option<(Epoch, Hash32)> {
    let zero = ledger.chain(&ChainId::zero())?;
    let epoch = zero.last_ended()?;
    let header = *zero.certified.get(&zero.terms.last_voted(epoch))?;
    zero.sets.get(&epoch)?.set.find(key)?;
    Some((epoch, header))
}
