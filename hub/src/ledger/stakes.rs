//! All stakes: their facts, the heights at which they change by themselves, and the power that they give.
//!
//! Power is never added or taken by hand: after every change of a stake's facts its contribution is computed anew and the
//! difference is booked. So power always equals what the states say. Source: docs/protocol.md, sections 6.1 and 6.2.

use super::providers::Providers;
use super::stake::{Place, Spend, SpendKind, Stake, Transition};
use super::state::StakeState;
use bitcoin::{Amount, OutPoint, Txid};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, Height};
use std::collections::{BTreeMap, BTreeSet};

/// Where the ledger stands while a change is booked.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Bitcoin's tip.
    pub tip: BtcHeight,
    /// The hub block being made.
    pub hub: Height,
    /// Whether stakes may gain power.
    pub may_gain: bool,
    /// The message, or the transaction it proves, that makes the change.
    pub cause: &'a str,
}

/// An output that spends are reported of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// A stake.
    Staking(usize),
    /// The unbonding output of a stake.
    Unbonding(usize),
}

/// The stakes of a ledger, in order of registration.
#[derive(Debug, Clone, Default)]
pub struct Stakes {
    records: Vec<Stake>,
    by_id: BTreeMap<StakeId, usize>,
    watched: BTreeMap<OutPoint, usize>,
    unbonding: BTreeMap<OutPoint, usize>,
    by_txid: BTreeMap<Txid, BTreeSet<usize>>,
    by_provider: BTreeMap<ProviderKey, BTreeSet<usize>>,
    backings: BTreeMap<OutPoint, usize>,
    due: BTreeMap<BtcHeight, BTreeSet<usize>>,
    facts: BTreeMap<BtcHeight, BTreeSet<usize>>,
    held: BTreeSet<usize>,
    breached: BTreeSet<usize>,
    contributions: BTreeMap<usize, Vec<(ProviderKey, Amount)>>,
    changed: BTreeSet<usize>,
    transitions: Vec<(StakeId, Transition)>,
}

impl Stakes {
    /// A stake by its place.
    pub fn get(&self, index: usize) -> Option<&Stake> {
        self.records.get(index)
    }

    /// A stake and its place by its name.
    pub fn find(&self, id: &StakeId) -> Option<(usize, &Stake)> {
        let index = *self.by_id.get(id)?;
        Some((index, self.records.get(index)?))
    }

    /// The newest stake at an outpoint.
    pub fn at_outpoint(&self, outpoint: &OutPoint) -> Option<(usize, &Stake)> {
        let index = *self.watched.get(outpoint)?;
        Some((index, self.records.get(index)?))
    }

    /// Stakes whose staking transaction this is.
    pub fn of_transaction(&self, txid: &Txid) -> impl Iterator<Item = &Stake> {
        self.by_txid.get(txid).into_iter().flatten().filter_map(|index| self.records.get(*index))
    }

    /// Places of the stakes that a transaction makes, of which [it can be told](Stake::takes_inclusion) that the block of a height
    /// holds them.
    pub fn awaiting(&self, txid: &Txid, height: BtcHeight, tip: BtcHeight) -> Vec<usize> {
        let made = self.by_txid.get(txid).into_iter().flatten().copied();
        made.filter(|index| self.get(*index).is_some_and(|stake| stake.takes_inclusion(height, tip)))
            .collect()
    }

    /// Which output of ours an outpoint is.
    pub fn watched(&self, outpoint: &OutPoint) -> Option<Watched> {
        let staking = self.watched.get(outpoint).map(|index| Watched::Staking(*index));
        staking.or_else(|| self.unbonding.get(outpoint).map(|index| Watched::Unbonding(*index)))
    }

    /// The stake that an outpoint backs.
    pub fn backed_by(&self, outpoint: &OutPoint) -> Option<&Stake> {
        self.records.get(*self.backings.get(outpoint)?)
    }

    /// All stakes in order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Stake> {
        self.records.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Stakes that name a provider.
    pub fn naming(&self, key: &ProviderKey) -> impl Iterator<Item = &Stake> {
        self.by_provider.get(key).into_iter().flatten().filter_map(|index| self.records.get(*index))
    }

    /// Stakes that the covenant let go against its rules.
    pub fn breached(&self) -> impl Iterator<Item = &Stake> {
        self.breached.iter().filter_map(|index| self.records.get(*index))
    }

    /// Adds a registered stake. Its outpoint must be free or its holder lapsed; the caller has checked that.
    pub fn insert(&mut self, stake: Stake, now: Now<'_>, providers: &mut Providers) -> usize {
        let index = self.records.len();
        let outpoint = stake.contract.coin.outpoint;
        self.by_id.insert(stake.id, index);
        if let Some(lapsed) = self.watched.insert(outpoint, index) {
            self.change(lapsed, now, providers, |stake| stake.anew = true);
        }
        let unbonding = stake.presigned.unbonding.compute_txid();
        self.unbonding.insert(OutPoint { txid: unbonding, vout: 0 }, index);
        self.by_txid.entry(outpoint.txid).or_default().insert(index);
        for key in stake.named() {
            self.by_provider.entry(*key).or_default().insert(index);
        }
        let expands = stake.expands;
        self.records.push(stake);
        if let Some(old) = expands.and_then(|old| self.records.get_mut(old)) {
            old.expansions.insert(outpoint.txid, index);
        }
        self.evaluate(index, now, providers);
        index
    }

    /// Changes the facts of a stake, and whatever follows from them.
    pub fn change(
        &mut self,
        index: usize,
        now: Now<'_>,
        providers: &mut Providers,
        fact: impl FnOnce(&mut Stake),
    ) {
        if let Some(stake) = self.records.get_mut(index) {
            fact(stake);
            self.evaluate(index, now, providers);
        }
    }

    /// Books the inclusion of a staking transaction.
    pub fn include(&mut self, index: usize, place: Place, now: Now<'_>, providers: &mut Providers) {
        self.facts.entry(place.height).or_default().insert(index);
        self.change(index, now, providers, |stake| {
            stake.included = Some(place);
            stake.ever_included = true;
        });
    }

    /// Books a spend.
    pub fn spend(&mut self, output: Watched, spend: Spend, now: Now<'_>, providers: &mut Providers) {
        let (Watched::Staking(index) | Watched::Unbonding(index)) = output;
        self.facts.entry(spend.place.height).or_default().insert(index);
        self.change(index, now, providers, |stake| match output {
            Watched::Staking(_) => {
                // An expansion ends no power, and gives none to a stake whose power had ended.
                if matches!(spend.kind, SpendKind::Expansion(_)) {
                    stake.activated &= stake.state == StakeState::Active;
                }
                stake.spend = Some(spend);
            }
            Watched::Unbonding(_) => stake.unbonding_spend = Some(spend),
        });
    }

    /// A key is out: every stake that names it is exposed.
    pub fn expose(&mut self, key: &ProviderKey, now: Now<'_>, providers: &mut Providers) {
        for index in self.by_provider.get(key).cloned().unwrap_or_default() {
            self.change(index, now, providers, |stake| stake.exposed = true);
        }
    }

    /// Bitcoin's tip moved without losing blocks.
    pub fn advance(&mut self, now: Now<'_>, providers: &mut Providers) {
        let later = self.due.split_off(&now.tip.plus(1));
        let due = std::mem::replace(&mut self.due, later);
        for index in due.into_values().flatten().collect::<BTreeSet<_>>() {
            self.evaluate(index, now, providers);
        }
    }

    /// Blocks above `fork` are no longer on the best chain: what they showed is withdrawn.
    pub fn roll_back(&mut self, fork: BtcHeight, now: Now<'_>, providers: &mut Providers) {
        let lost = self.facts.split_off(&fork.plus(1));
        for index in lost.into_values().flatten().collect::<BTreeSet<_>>() {
            let counts_on = self.counts_on(index, now);
            self.change(index, now, providers, |stake| withdraw_facts(stake, fork, counts_on));
        }
    }

    /// The new tip is lower than the old one: a heavier branch can be shorter. Every state is looked at anew.
    pub fn recede(&mut self, now: Now<'_>, providers: &mut Providers) {
        self.due = BTreeMap::new();
        (0..self.records.len()).for_each(|index| self.evaluate(index, now, providers));
    }

    /// The breaker's trip is over: stakes that it held back may gain power.
    pub fn release(&mut self, now: Now<'_>, providers: &mut Providers) {
        for index in std::mem::take(&mut self.held) {
            self.evaluate(index, now, providers);
        }
    }

    /// Places of the stakes that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.changed)
    }

    /// The steps that stakes took since the last call, in order.
    pub fn take_transitions(&mut self) -> Vec<(StakeId, Transition)> {
        std::mem::take(&mut self.transitions)
    }

    fn evaluate(&mut self, index: usize, now: Now<'_>, providers: &mut Providers) {
        let Some(stake) = self.records.get_mut(index) else { return };
        self.changed.insert(index);
        stake.lapsed |= !stake.ever_included && now.tip >= stake.lapses_at;
        if stake.can_activate(now.tip) {
            stake.activated = now.may_gain;
            if !now.may_gain {
                self.held.insert(index);
            }
        }
        let state = stake.evaluate(now.tip);
        if state != stake.state || stake.history.is_empty() {
            stake.state = state;
            let cause = now.cause.to_owned();
            let step = Transition { state, btc_height: now.tip, hub_height: now.hub, cause };
            self.transitions.push((stake.id, step.clone()));
            stake.history.push(step);
            if state == StakeState::Breached {
                self.breached.insert(index);
            } else {
                self.breached.remove(&index);
            }
        }
        let predecessor = stake.expands;
        self.schedule(index, now.tip);
        self.hold_or_free_backing(index);
        self.book(index, providers);
        // A new stake at depth k ends what its predecessor still counted for, and the other way round in a rollback.
        if let Some(old) = predecessor {
            self.book(old, providers);
        }
    }

    /// An output backs a stake until that is on Bitcoin or lapsed, and again when a reorganisation takes it off Bitcoin.
    fn hold_or_free_backing(&mut self, index: usize) {
        let Some(stake) = self.records.get(index) else { return };
        let Some(backing) = stake.backing else { return };
        if stake.included.is_none() && !stake.lapsed {
            self.backings.entry(backing).or_insert(index);
        } else if self.backings.get(&backing) == Some(&index) {
            self.backings.remove(&backing);
        }
    }

    fn schedule(&mut self, index: usize, tip: BtcHeight) {
        if let Some(height) = self.records.get(index).and_then(|stake| stake.next_change(tip)) {
            self.due.entry(height).or_default().insert(index);
        }
    }

    /// Books the difference between what a stake contributes and what was booked for it.
    fn book(&mut self, index: usize, providers: &mut Providers) {
        let new = self.contribution(index);
        let old = self.contributions.get(&index).cloned().unwrap_or_default();
        if new == old {
            return;
        }
        old.iter().for_each(|(key, amount)| providers.lose(key, *amount));
        new.iter().for_each(|(key, amount)| providers.gain(key, *amount));
        if new.is_empty() {
            self.contributions.remove(&index);
        } else {
            self.contributions.insert(index, new);
        }
    }

    /// The power that a stake gives, by key. This is the whole rule.
    pub fn contribution(&self, index: usize) -> Vec<(ProviderKey, Amount)> {
        let Some(stake) = self.records.get(index) else { return Vec::new() };
        let amount = stake.contract.coin.value;
        match stake.state {
            StakeState::Active => stake.providers.iter().map(|key| (*key, amount)).collect(),
            StakeState::Expanded if stake.activated => self
                .successor_in_waiting(stake)
                .map(|new| {
                    let kept = stake.providers.iter().filter(|key| new.providers.contains(key));
                    kept.map(|key| (*key, amount)).collect()
                })
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Whether a stake that its expansion has spent still counts, so that no power has to be restored if that spend is
    /// reorganised out. While nothing may gain power, none of its keys may have lost it.
    fn counts_on(&self, index: usize, now: Now<'_>) -> bool {
        let Some(stake) = self.records.get(index).filter(|stake| stake.successor().is_some()) else {
            return false;
        };
        let counted = self.contributions.get(&index).map_or(0, Vec::len);
        counted > 0 && (now.may_gain || counted == stake.providers.len())
    }

    fn successor_in_waiting(&self, stake: &Stake) -> Option<&Stake> {
        let new = self.records.get(stake.successor()?)?;
        (new.state == StakeState::Verified && !stake.exposed).then_some(new)
    }
}

fn withdraw_facts(stake: &mut Stake, fork: BtcHeight, counts_on: bool) {
    let lost = |place: &Place| place.height > fork;
    if stake.spend.is_some_and(|spend| lost(&spend.place)) {
        stake.spend = None;
        if !counts_on {
            stake.activated = false;
            stake.restored_at = stake.restored_at.max(fork.plus(1).plus(stake.k));
        }
    }
    if stake.unbonding_spend.is_some_and(|spend| lost(&spend.place)) {
        stake.unbonding_spend = None;
    }
    if stake.included.is_some_and(|place| lost(&place)) {
        stake.included = None;
        stake.activated = false;
    }
}
