//! What the voter says of itself: per chain votes, misses, sets, epochs committed; and what it refused.

use super::refusal::{self, Refusal};
use super::{NoKey, Voter, in_words};
use bitcoin::Amount;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::Chain;
use palisade_hub::ledger::providers::Provider;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::set::Set;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{Epoch, Height};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The voter's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The hub.
    pub hub: Hash32,
    /// The newest block of the own log.
    pub height: Option<Height>,
    /// Why the newest header deserves no vote; absent if it does or was not judged yet.
    pub not_judged: Option<String>,
    /// Why the signer does not answer, if it does not.
    pub signer: Option<String>,
    /// Chain zero, the chains that the voter has sources for, and others that the signer has keys for.
    pub chains: Vec<ChainStatus>,
    /// Blocks of the hub that did not reproduce.
    pub refusals: Vec<Refusal>,
}

/// One key on its chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChainStatus {
    /// The chain.
    pub chain: ChainId,
    /// The key; absent if the signer has named none.
    pub key: Option<ProviderKey>,
    /// Whether the hub has it.
    pub registered: bool,
    /// The command that registers it, with the operator's name to fill in, if it is not registered: from the command `status`.
    #[serde(default)]
    pub register: Option<String>,
    /// Whether it is out.
    pub exposed: bool,
    /// Its power in the ledger.
    pub power_sat: u64,
    /// Votes cast.
    pub votes: u64,
    /// Heights that became final without its vote, in sets with it.
    pub missed: u64,
    /// The newest vote.
    pub last_vote: Option<Height>,
    /// The newest final height.
    pub last_final: Option<Height>,
    /// The newest set with the key.
    pub member_of: Option<Epoch>,
    /// Whether that is the chain's newest set.
    pub in_newest_set: bool,
    /// Epochs without a set for which nonces are committed: how many, and the last.
    pub epochs_committed: u64,
    /// The last of them.
    pub committed_to: Option<Epoch>,
    /// Why no vote is cast now.
    pub waiting: Option<String>,
}

impl Voter {
    /// The status now.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let (keys, signer) = match self.identity().await {
            Ok(identity) => (identity.chains, None),
            Err(why) => (Vec::new(), Some(in_words(&why))),
        };
        let known = self.moment().keys.clone();
        let others: BTreeSet<_> =
            self.others.iter().chain(known.keys()).filter(|own| !own.is_zero()).collect();
        let zero = ChainId::zero();
        let mut chains = Vec::new();
        for chain in std::iter::once(&zero).chain(others) {
            let voted = self.journal.voted(chain)?;
            let signed = keys.iter().find(|own| own.chain == *chain).and_then(|own| own.last);
            let own = Own { chain, key: known.get(chain).copied(), signed: signed.map(|last| last.height) };
            let waiting = match (own.key, &signer) {
                (Some(_), _) => self.moment().waiting.get(chain).cloned(),
                (None, None) => Some(NoKey::None.to_string()),
                (None, Some(_)) => Some("unknown until the signer answers".to_owned()),
            };
            chains.push(self.with_ledger(|ledger| chain_status(ledger, &own, &voted, waiting)));
        }
        let not_judged = self.moment().verdict.clone().and_then(Result::err);
        Ok(Status {
            hub: self.genesis.id(),
            height: self.with_ledger(|ledger| ledger.tip().map(|(height, _)| height)),
            not_judged: self.moment().refusing.clone().or(not_judged),
            signer,
            chains,
            refusals: refusal::all(&self.refusals)?,
        })
    }
}

/// What the signer says of a chain.
struct Own<'a> {
    chain: &'a ChainId,
    key: Option<ProviderKey>,
    /// The newest height that it signed: it counts what the journal lost.
    signed: Option<Height>,
}

/// The status of one chain. A vote is missed once its height is final without it.
fn chain_status(
    ledger: &Ledger,
    own: &Own<'_>,
    voted: &BTreeMap<Height, Hash32>,
    waiting: Option<String>,
) -> ChainStatus {
    let provider = own.key.and_then(|key| ledger.providers().get(&key));
    let chain = ledger.chain(own.chain);
    let is_member = |set: &Set| own.key.is_some_and(|key| set.find(&key).is_some());
    let sets_with_key = |chain: &Chain| {
        chain.sets.iter().rev().find(|(_, fixed)| is_member(&fixed.set)).map(|(epoch, _)| *epoch)
    };
    let member_of = chain.and_then(sets_with_key);
    // Roots of epochs before the first open one can be left where a chain has not opened yet; they are of no use.
    let open = ledger.first_open_epoch(own.chain);
    let ahead = |provider: &Provider| provider.roots.range(open..).map(|(epoch, _)| *epoch).collect();
    let roots: Vec<Epoch> = provider.map(ahead).unwrap_or_default();
    ChainStatus {
        chain: own.chain.clone(),
        key: own.key,
        registered: provider.is_some(),
        register: None,
        exposed: provider.is_some_and(|provider| provider.exposed_at.is_some()),
        power_sat: provider.map_or(0, |provider| provider.power.to_sat()),
        votes: voted.len() as u64,
        missed: chain.zip(own.key).map_or(0, |(chain, key)| missed(chain, &key, voted)),
        last_vote: own.signed.max(voted.keys().next_back().copied()),
        last_final: chain.and_then(Chain::last_final).map(|(height, _)| height),
        member_of,
        in_newest_set: member_of.is_some() && member_of == chain.and_then(|chain| Some(chain.newest()?.0)),
        epochs_committed: roots.len() as u64,
        committed_to: roots.last().copied(),
        waiting,
    }
}

fn missed(chain: &Chain, key: &ProviderKey, voted: &BTreeMap<Height, Hash32>) -> u64 {
    let absent = chain.certified.keys().filter(|height| !voted.contains_key(height));
    let counted = absent.filter(|height| {
        let set = chain.sets.get(&chain.terms.epoch_of(**height));
        set.is_some_and(|fixed| fixed.set.find(key).is_some())
    });
    counted.count() as u64
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        match self.height {
            Some(height) => writeln!(f, "log up to hub block {height}")?,
            None => writeln!(f, "log is empty")?,
        }
        for (what, why) in [("no votes", &self.not_judged), ("signer", &self.signer)] {
            if let Some(why) = why {
                writeln!(f, "{what}: {why}")?;
            }
        }
        for chain in &self.chains {
            write!(f, "\n{chain}")?;
        }
        for refused in &self.refusals {
            writeln!(f, "\nrefused hub block {}: {}", refused.height, refused.reason)?;
        }
        Ok(())
    }
}

impl fmt::Display for ChainStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known =
            |height: Option<Height>| height.map_or_else(|| "none".to_owned(), |height| height.to_string());
        writeln!(f, "chain {}", self.chain)?;
        let Some(key) = self.key else {
            return writeln!(f, "  no key   {}", self.waiting.as_deref().unwrap_or_default());
        };
        let standing = match (self.exposed, self.registered) {
            (true, _) => "exposed: it never votes again",
            (_, true) => "registered",
            _ => "not registered",
        };
        writeln!(f, "  key      {key} ({standing})")?;
        if let Some(command) = &self.register {
            writeln!(f, "  next     {command}")?;
        }
        writeln!(f, "  power    {}", Amount::from_sat(self.power_sat))?;
        writeln!(
            f,
            "  votes    {} cast, {} missed, newest at {}",
            self.votes,
            self.missed,
            known(self.last_vote)
        )?;
        writeln!(f, "  final    up to height {}", known(self.last_final))?;
        let set = match (self.member_of, self.in_newest_set) {
            (None, _) => "in no set yet".to_owned(),
            (Some(epoch), true) => format!("in the newest set, of epoch {epoch}"),
            (Some(epoch), false) => format!("not in the newest set; last in that of epoch {epoch}"),
        };
        writeln!(f, "  set      {set}")?;
        let to = self.committed_to.map_or_else(String::new, |epoch| format!(", up to epoch {epoch}"));
        writeln!(f, "  nonces   {} epochs committed ahead{to}", self.epochs_committed)?;
        match &self.waiting {
            Some(why) => writeln!(f, "  now      {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voter::ballots::tests::world;
    use palisade_world::provider_key;

    #[test]
    fn a_height_that_is_final_without_a_members_vote_is_missed() {
        let mut world = world(0);
        world.finalise_until(&["anna"], 41);
        let zero = &world.ledger.chains()[0];
        let heights: Vec<Height> = zero.certified.keys().copied().collect();
        assert!(heights.len() >= 4, "{heights:?}");
        let of = |name: &str, voted: &[Height]| {
            let voted = voted.iter().map(|height| (*height, Hash32::ZERO)).collect();
            missed(zero, &provider_key(name), &voted)
        };
        assert_eq!(of("bert", &[]), heights.len() as u64);
        assert_eq!(of("bert", &heights[1..3]), heights.len() as u64 - 2);
        assert_eq!((of("anna", &heights), of("nobody", &[])), (0, 0));
    }
}
