//! Casting votes: on chain zero what the judge passes, on other chains what their sources call irreversible.

use super::ballots::{self, Due, NotDue, Voting};
use super::judge::{self, Facts, NotJudged};
use super::scan;
use super::source::{Ancestors, ChainSource, DevChain, SourceError};
use super::verdict::Door;
use super::{NoKey, Voter};
use crate::signer::client::SignerError;
use crate::signer::request::{ChainKey, LastVote, VoteRequest};
use palisade_hub::client::HubError;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{BtcHeight, Height};
use std::time::Duration;

/// Pause between two passes when nothing happens.
const PAUSE: Duration = Duration::from_millis(500);

/// Most votes of one pass: what Bitcoin and the source say is asked again after them.
pub(super) const MOST_VOTES: u32 = 50;
/// How often a pass looks for the others' votes after its own.
const LOOKS: u32 = 8;

/// Where blocks are read.
enum Blocks<'a, S> {
    /// Chain zero's.
    OwnLog,
    /// Another chain's.
    Source(&'a S),
}

/// Why no vote was cast in a pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVote {
    /// A block that does not reproduce stands in the way.
    #[error("refusing: {0}")]
    Refusing(String),
    /// What is due is not known yet.
    #[error("the own log is far behind the hub's")]
    Behind,
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
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signer's record is older than what was signed with its seed.
    #[error(
        "ALARM: the hub holds a vote of this signer at height {height} of chain {chain} that its record lacks: the disk was rolled \
         back. Nothing is voted on. Stop the signer, delete its `signer-data`, and start it: it begins a new record with new nonces"
    )]
    RolledBack {
        /// The chain.
        chain: ChainId,
        /// Where the vote is.
        height: Height,
    },
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
        self.check_log()?;
        let zero = ChainId::zero();
        let (own, _) = self.own_key(&zero).await?;
        let btc_tip = self.btc_tip().await?;
        let judged = self.judge(&own).await;
        self.note_verdict(&judged);
        let newest = judged?;
        self.vote_up_to(own, newest, btc_tip, &Blocks::<DevChain>::OwnLog).await
    }

    /// Votes in order for what is due up to a height. What remains of a long way is for the next pass.
    async fn vote_up_to<S: ChainSource>(
        &self,
        mut own: ChainKey,
        tip: Height,
        btc_tip: BtcHeight,
        blocks: &Blocks<'_, S>,
    ) -> Result<(), NoVote> {
        if let Some(first) = self.with_ledger(|ledger| ledger.chain(&own.chain)?.awaited()) {
            self.keep_untaken(Door::Votes, &own.chain, |height| height >= first.0);
        }
        self.recall(&own).await?;
        let mut cast = 0;
        while cast < MOST_VOTES {
            self.check_log()?;
            let due = match self.due(&own, btc_tip) {
                Err(NoVote::NotDue(NotDue::Voted(height))) => {
                    self.repeat_lost(&own, height, blocks).await?;
                    let is_behind = height.plus(own.voted_every) <= tip;
                    // Others vote at the same time: after an own vote theirs are soon there.
                    let looks = if cast > 0 { LOOKS } else { 1 };
                    if is_behind && self.hold(&own.chain, height, looks).await {
                        continue;
                    }
                    Err(NotDue::Voted(height).into())
                }
                Ok(due) if due.height > tip => Err(NoVote::NoBlock(due.height)),
                due => due,
            };
            let due = match due {
                Err(_) if cast > 0 => return Ok(()),
                due => due?,
            };
            let block = self.block_at(&own, due.height, blocks).await?;
            self.cast(&own, &due, block).await?;
            own.last = Some(LastVote { height: due.height, block });
            cast += 1;
        }
        Ok(())
    }

    /// The block to vote for at a height.
    async fn block_at<S: ChainSource>(
        &self,
        own: &ChainKey,
        height: Height,
        blocks: &Blocks<'_, S>,
    ) -> Result<Hash32, NoVote> {
        let Blocks::Source(source) = blocks else {
            let block = self.own_block(height)?.ok_or(NoVote::NoBlock(height))?;
            self.check_own_last(own)?;
            return Ok(block);
        };
        let held = self.moment().held.get(&own.chain).copied();
        let ancestors = self.with_ledger(|ledger| {
            let known = ledger.chain(&own.chain)?;
            let below = known.certified.range(..height).next_back();
            let logged = below.map(|(height, block)| (*height, *block));
            let held = held.filter(|held| held.context == known.vote && held.height < height);
            let certified = logged.max(held.map(|held| (held.height, held.block)));
            let last = own.last.map(|last| (last.height, last.block));
            Some(Ancestors { genesis: known.identity.genesis, certified, last })
        });
        let ancestors = ancestors.ok_or(NoKey::NoChain)?;
        let block = source.votable(height, &ancestors).await?;
        // A vote that was lost, below the newest one: that has to descend from it.
        if let Some((above, newest)) = ancestors.last.filter(|(above, _)| *above > height) {
            source.descendant(above, &[(height, block), (above, newest)]).await?;
        }
        Ok(block)
    }

    /// A journal that is younger than the signer's record may lack votes that the chain still waits for, below the newest one: the
    /// signer repeats them.
    async fn repeat_lost<S: ChainSource>(
        &self,
        own: &ChainKey,
        height: Height,
        blocks: &Blocks<'_, S>,
    ) -> Result<(), NoVote> {
        let is_below = own.last.is_some_and(|last| last.height > height);
        if !is_below || self.journal.vote(&own.chain, height).map_err(anyhow::Error::from)?.is_some() {
            return Ok(());
        }
        let Some(member) = self.member(own, height) else { return Ok(()) };
        let block = self.block_at(own, height, blocks).await?;
        self.cast(own, &Due { height, member }, block).await
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
        self.check_log()?;
        let (own, _) = self.own_key(chain).await?;
        let btc_tip = self.btc_tip().await?;
        self.vote_up_to(own, tip.height, btc_tip, &Blocks::Source(source)).await
    }

    /// Votes follow from a log that reproduces and is whole.
    fn check_log(&self) -> Result<(), NoVote> {
        let moment = self.moment();
        match &moment.refusing {
            Some(why) => Err(NoVote::Refusing(why.clone())),
            None if moment.behind => Err(NoVote::Behind),
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
        let held = self.moment().held.get(&own.chain).copied();
        let voting = Voting { key: own.key, last: own.last, btc_tip, held };
        self.with_ledger(|ledger| {
            let chain = ledger.chain(&own.chain).ok_or(NoKey::NoChain)?;
            Ok(ballots::due(ledger, chain, &voting)?)
        })
    }

    /// Has the vote signed, checks it as the hub will, keeps it and sends it.
    pub(super) async fn cast(&self, own: &ChainKey, due: &Due, block: Hash32) -> Result<(), NoVote> {
        let request =
            VoteRequest { chain: own.chain.clone(), height: due.height, block, root: due.member.nonce_root };
        let terms = self.with_ledger(|ledger| ledger.chain(&own.chain).map(|chain| chain.terms));
        let terms = terms.ok_or(NoKey::NoChain)?;
        let signed = self.signer.vote(request).await;
        match &signed {
            Ok(_) => drop(self.moment().foreign.remove(&own.chain)),
            Err(why) if why.is_of_another_record() => {
                self.moment().foreign.insert(own.chain.clone(), terms.epoch_of(due.height));
            }
            Err(_) => {}
        }
        let vote = signed?;
        vote.verify(&due.member, &terms)?;
        self.journal.keep_vote(&own.chain, &vote).map_err(anyhow::Error::from)?;
        tracing::info!(chain = %own.chain, height = due.height.0, %block, "voted");
        self.meters.votes.with_label_values(&[own.chain.as_str()]).inc();
        self.meters.since_vote.happens(own.chain.as_str());
        self.send(&own.chain, &vote).await;
        Ok(())
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
