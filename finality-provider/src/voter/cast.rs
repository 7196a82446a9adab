//! Casting votes: on chain zero what the judge passes, on other chains what their sources call irreversible.

use super::ballots::{self, Due, NotDue, Voting};
use super::judge::{self, Facts, NotJudged};
use super::scan;
use super::source::{Ancestors, ChainSource, SourceError};
use super::{NoKey, Voter};
use crate::signer::client::SignerError;
use crate::signer::request::{ChainKey, VoteRequest};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{BtcHeight, Height};
use std::time::{Duration, Instant};

/// Pause between two passes when nothing happens.
const PAUSE: Duration = Duration::from_millis(500);
/// A vote without a certificate is sent again after this: the hub may have lost it.
const RESEND: Duration = Duration::from_secs(2);

/// Why no vote was cast in a pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVote {
    /// A block that does not reproduce stands in the way.
    #[error("refusing: {0}")]
    Refusing(String),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] NoKey),
    /// The newest hub header does not deserve a vote.
    #[error(transparent)]
    Judge(#[from] NotJudged),
    /// Nothing is due.
    #[error(transparent)]
    NotDue(#[from] NotDue),
    /// The height is not there yet.
    #[error("block {0} is not there yet")]
    NoBlock(Height),
    /// The chain's source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signer's vote does not verify under the set.
    #[error("the signer's vote does not verify: {0}")]
    Bad(#[from] palisade_protocol::finality::vote::BadVote),
    /// The own Bitcoin node or the own files.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Voter {
    /// Votes on chain zero until it is told to stop.
    pub(super) async fn vote_zero(&self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let zero = ChainId::zero();
        let mut news = self.news.subscribe();
        while !shutdown.is_requested() {
            let outcome = tokio::select! {
                outcome = self.pass_zero() => outcome,
                () = shutdown.requested() => return Ok(()),
            };
            self.note(&zero, outcome).await;
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        Ok(())
    }

    /// Votes on another chain until it is told to stop.
    pub(super) async fn vote_chain(
        &self,
        chain: &ChainId,
        source: &impl ChainSource,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut news = self.news.subscribe();
        while !shutdown.is_requested() {
            let outcome = tokio::select! {
                outcome = self.pass_chain(chain, source) => outcome,
                () = shutdown.requested() => return Ok(()),
            };
            self.note(chain, outcome).await;
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
        Ok(())
    }

    pub(super) async fn pass_zero(&self) -> Result<(), NoVote> {
        self.check_refusing()?;
        let zero = ChainId::zero();
        let (own, _) = self.own_key(&zero).await?;
        let btc_tip = self.btc_tip().await?;
        let judged = self.judge(&own).await;
        self.note_verdict(&judged);
        let newest = judged?;
        let due = self.due(&own, btc_tip)?;
        if due.height > newest {
            return Err(NoVote::NoBlock(due.height));
        }
        let block = self.own_block(due.height)?.ok_or(NoVote::NoBlock(due.height))?;
        self.check_own_last(&own)?;
        self.cast(&own, &due, block).await
    }

    /// The own log never forks, so what it holds at the last vote's height tells whether everything since descends from it.
    fn check_own_last(&self, own: &ChainKey) -> Result<(), NoVote> {
        let Some(last) = own.last else { return Ok(()) };
        match self.own_block(last.height)? {
            Some(block) if block == last.block => Ok(()),
            Some(certified) => Err(NotDue::OtherBranch { height: last.height, certified }.into()),
            None => Err(NoVote::NoBlock(last.height)),
        }
    }

    /// Judges the newest header against the own node, and gives its height.
    async fn judge(&self, own: &ChainKey) -> Result<Height, NoVote> {
        let (deep, base) =
            self.with_ledger(|ledger| (judge::deep_height(ledger), ledger.genesis().document().base_height));
        let searched = scan::search(&self.bitcoin, &self.journal, base, deep).await;
        let searched = searched.map_err(anyhow::Error::from)?;
        let deep_block = self.bitcoin.block_hash(deep.0).await.map_err(anyhow::Error::from)?;
        let spends = self.journal.spends(deep).map_err(anyhow::Error::from)?;
        let zero = ChainId::zero();
        let newest = self.with_ledger(|ledger| Some(ledger.chain(&zero)?.newest()?.0));
        let commitment_sent = match newest {
            Some(epoch) => self.journal.sent_at(&zero, epoch).map_err(anyhow::Error::from)?,
            None => None,
        };
        let facts = Facts { deep_block, searched, spends: &spends, key: own.key, commitment_sent };
        self.with_ledger(|ledger| {
            if judge::deep_height(ledger) != deep {
                return Err(NotJudged::Moved);
            }
            judge::judge(ledger, &facts)?;
            let (height, _) = ledger.tip().ok_or(NotJudged::NoHeader)?;
            Ok(height)
        })
        .map_err(NoVote::from)
    }

    async fn pass_chain(&self, chain: &ChainId, source: &impl ChainSource) -> Result<(), NoVote> {
        let tip = source.tip().await?;
        self.moment().tips.insert(chain.clone(), tip.height);
        self.check_refusing()?;
        let (own, _) = self.own_key(chain).await?;
        let due = self.due(&own, self.btc_tip().await?)?;
        if tip.height < due.height {
            return Err(NoVote::NoBlock(due.height));
        }
        let ancestors = self.with_ledger(|ledger| {
            let known = ledger.chain(chain)?;
            let below = known.certified.range(..due.height).next_back();
            let certified = below.map(|(height, block)| (*height, *block));
            let last = own.last.map(|last| (last.height, last.block));
            Some(Ancestors { genesis: known.identity.genesis, certified, last })
        });
        let block = source.votable(due.height, &ancestors.ok_or(NoKey::NoChain)?).await?;
        self.cast(&own, &due, block).await
    }

    fn check_refusing(&self) -> Result<(), NoVote> {
        match &self.moment().refusing {
            Some(why) => Err(NoVote::Refusing(why.clone())),
            None => Ok(()),
        }
    }

    async fn btc_tip(&self) -> Result<BtcHeight, NoVote> {
        let progress = self.bitcoin.progress().await;
        let known = self.with_ledger(|ledger| ledger.btc_height().0);
        match progress.as_ref().map(|progress| progress.behind(Some(known))) {
            Ok(None) => self.health.recover("bitcoin"),
            Ok(Some(lag)) => self.health.degrade("bitcoin", lag),
            Err(why) => self.health.degrade("bitcoin", why),
        }
        Ok(BtcHeight(progress.map_err(anyhow::Error::from)?.tip.height))
    }

    fn due(&self, own: &ChainKey, btc_tip: BtcHeight) -> Result<Due, NoVote> {
        let voting = Voting { key: own.key, last: own.last, btc_tip };
        self.with_ledger(|ledger| {
            let chain = ledger.chain(&own.chain).ok_or(NoKey::NoChain)?;
            Ok(ballots::due(ledger, chain, &voting)?)
        })
    }

    /// Has the vote signed, checks it as the hub will, keeps it and sends it.
    async fn cast(&self, own: &ChainKey, due: &Due, block: Hash32) -> Result<(), NoVote> {
        let request =
            VoteRequest { chain: own.chain.clone(), height: due.height, block, root: due.member.nonce_root };
        let vote = self.signer.vote(request).await?;
        let terms = self.with_ledger(|ledger| ledger.chain(&own.chain).map(|chain| chain.terms));
        vote.verify(&due.member, &terms.ok_or(NoKey::NoChain)?)?;
        self.journal.keep_vote(&own.chain, &vote).map_err(anyhow::Error::from)?;
        tracing::info!(chain = %own.chain, height = due.height.0, %block, "voted");
        self.meters.votes.with_label_values(&[own.chain.as_str()]).inc();
        self.meters.since_vote.happens(own.chain.as_str());
        self.send(&own.chain, &vote).await;
        Ok(())
    }

    async fn send(&self, chain: &ChainId, vote: &Vote) {
        self.moment().sent.insert(chain.clone(), Instant::now());
        if let Err(why) = self.hub.vote(vote).await {
            tracing::warn!(%chain, height = vote.ballot.height.0, %why, "vote not taken");
        }
    }

    /// Remembers why nothing was cast, and sends a vote again whose certificate does not come.
    pub(super) async fn note(&self, chain: &ChainId, outcome: Result<(), NoVote>) {
        let Err(why) = outcome else {
            self.moment().waiting.remove(chain);
            return;
        };
        let text = why.to_string();
        let before = self.moment().waiting.insert(chain.clone(), text.clone());
        if let NoVote::NotDue(NotDue::Voted(height)) = why {
            self.resend(chain, height).await;
        } else if before.as_ref() != Some(&text) {
            match why {
                NoVote::NotDue(NotDue::OtherBranch { .. }) | NoVote::Refusing(_) | NoVote::Bad(_) => {
                    tracing::error!(%chain, why = text, "no vote");
                }
                // That the signer is away is said once for all chains.
                NoVote::NoBlock(_)
                | NoVote::NotDue(_)
                | NoVote::Judge(NotJudged::Moved | NotJudged::NoHeader)
                | NoVote::Key(NoKey::Signer(_)) => {
                    tracing::debug!(%chain, why = text, "no vote")
                }
                _ => tracing::warn!(%chain, why = text, "no vote"),
            }
        }
    }

    async fn resend(&self, chain: &ChainId, height: Height) {
        if self.moment().sent.get(chain).is_some_and(|at| at.elapsed() < RESEND) || self.is_refusing() {
            return;
        }
        match self.journal.vote(chain, height) {
            Ok(Some(vote)) => self.send(chain, &vote).await,
            // The journal is younger than the signer's record: the signer repeats its own votes.
            Ok(None) => self.recast(chain, height).await,
            Err(why) => tracing::warn!(%chain, %why, "the journal cannot be read"),
        }
    }

    /// Asks the signer for a vote that it gave before, which costs nothing and cannot be another one.
    async fn recast(&self, chain: &ChainId, height: Height) {
        let Ok((own, _)) = self.own_key(chain).await else { return };
        let Some(last) = own.last.filter(|last| last.height == height) else { return };
        let member = self.with_ledger(|ledger| {
            let known = ledger.chain(chain)?;
            let fixed = known.sets.get(&known.terms.epoch_of(height))?;
            Some(*fixed.set.find(&own.key)?.1)
        });
        let Some(member) = member else { return };
        if let Err(why) = self.cast(&own, &Due { height, member }, last.block).await {
            tracing::warn!(%chain, height = height.0, %why, "a vote was not repeated");
        }
    }

    pub(super) fn note_verdict(&self, judged: &Result<Height, NoVote>) {
        if matches!(judged, Err(NoVote::Judge(NotJudged::Moved))) {
            return;
        }
        let verdict = judged.as_ref().map(|_| ()).map_err(ToString::to_string);
        self.meters.judged.set(verdict.is_ok().into());
        let before = self.moment().verdict.replace(verdict.clone());
        match &verdict {
            Ok(()) => self.health.recover("judge"),
            Err(why) => {
                self.health.degrade("judge", why);
                if before == Some(verdict.clone()) {
                    return;
                }
                match judged {
                    Err(NoVote::Judge(NotJudged::NoHeader)) => tracing::info!(why, "nothing to vote on yet"),
                    _ => tracing::warn!(why, "the newest hub header deserves no vote"),
                }
            }
        }
    }
}
