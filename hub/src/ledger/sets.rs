//! How sets come to be: at the end of a block, from the state that the block's root commits to.
//! Source: docs/protocol.md, section 7.2.

use super::chains::{Chain, FixedSet};
use super::{Event, Ledger, Trip};
use bitcoin::Amount;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::set::{Member, Set, exceeds_two_thirds};
use palisade_protocol::hash::Hash32;
use palisade_protocol::proof::set_leaf;
use palisade_protocol::state::Section;
use palisade_protocol::units::{BtcHeight, Epoch, Height};

impl Ledger {
    /// Fixes the sets that are due at the end of the block at `height`.
    pub(super) fn fix_sets(&mut self, height: Height) {
        for index in 0..self.chains.len() {
            let Some(chain) = self.chains.get(index) else { continue };
            match (chain.id().is_zero(), chain.newest().is_some()) {
                (true, _) => self.fix_zero(height),
                (false, false) => self.open_chain(index, self.minimum_to_open(index)),
                (false, true) => self.fix_next(index),
            }
        }
    }

    fn eligible_power(members: &[Member]) -> Amount {
        members.iter().fold(Amount::ZERO, |sum, member| sum.checked_add(member.power).unwrap_or(Amount::MAX))
    }

    /// Chain zero fixes S(e + 1) at the first block of each epoch e.
    fn fix_zero(&mut self, height: Height) {
        let Some(zero) = self.chains.first() else { return };
        let epoch = zero.terms.epoch_of(height);
        if zero.terms.first_height(epoch) != height {
            return;
        }
        let next = epoch.next();
        let members = self.providers.eligible(zero.id(), next);
        let power = Self::eligible_power(&members);
        match zero.newest().map(|(_, fixed)| fixed.clone()) {
            None if self.breaker.is_none() && power.to_sat() >= zero.terms.minimum_power_sat => {
                self.fix(0, next, members, true);
            }
            None => {}
            Some(before) => self.continue_zero(next, members, power, &before),
        }
    }

    fn continue_zero(&mut self, next: Epoch, members: Vec<Member>, power: Amount, before: &FixedSet) {
        let total = before.set.header().total;
        if self.breaker.is_none() && self.shrinks_too_much(0, power, total) {
            let (power, before) = (power.to_sat(), total.to_sat());
            self.trip(Trip::ShrinkingSet { chain: ChainId::zero(), epoch: next, power, before });
        }
        if self.breaker.is_some() {
            self.carry_over(next, before);
        } else {
            self.fix(0, next, members, false);
        }
    }

    /// A set with at most two thirds of its predecessor's power, unless governance accepted that much.
    fn shrinks_too_much(&self, index: usize, power: Amount, before: Amount) -> bool {
        let accepted = self.chains.get(index).and_then(|chain| chain.accepted);
        !exceeds_two_thirds(power, before)
            && !accepted.is_some_and(|least| power >= least && power > Amount::ZERO)
    }

    /// While the breaker is tripped chain zero votes on with the same keys, powers and expiry, and with the roots of now.
    fn carry_over(&mut self, next: Epoch, before: &FixedSet) {
        let root =
            |key| self.providers.get(key).and_then(|p| p.roots.get(&next).copied()).unwrap_or(Hash32::ZERO);
        let members = before.set.members().iter();
        let members = members.map(|member| Member { nonce_root: root(&member.key), ..*member }).collect();
        let header = before.set.header();
        let Ok(set) = Set::new(header.context, next, header.expiry, members) else { return };
        self.record_set(0, FixedSet { set, carried_over: true, ..before.clone() });
    }

    /// What a chain needs to open; after an expiry more than two thirds of what its last members hold now.
    fn minimum_to_open(&self, index: usize) -> Amount {
        let minimum = self.chains.get(index).map_or(0, |chain| chain.terms.minimum_power_sat);
        Amount::from_sat(minimum)
    }

    /// Fixes the lowest epoch whose eligible power reaches the minimum.
    fn open_chain(&mut self, index: usize, minimum: Amount) {
        let Some(chain) = self.chains.get(index) else { return };
        if self.breaker.is_some() || chain.paused {
            return;
        }
        let after = chain.newest().map(|(epoch, _)| epoch);
        let mut epochs = self.providers.eligible_power(chain.id()).into_iter();
        let open =
            |(epoch, power): &(Epoch, Amount)| after.is_none_or(|after| *epoch > after) && *power >= minimum;
        if let Some((epoch, _)) = epochs.find(open) {
            let members = self.providers.eligible(chain.id(), epoch);
            self.fix(index, epoch, members, true);
        }
    }

    /// The next set of a chain that is open: wanted since the first certificate of an epoch, or begun anew after expiry.
    fn fix_next(&mut self, index: usize) {
        let Some(chain) = self.chains.get(index) else { return };
        if self.breaker.is_some() || chain.paused {
            return;
        }
        let Some((_, newest)) = chain.newest().map(|(epoch, fixed)| (epoch, fixed.clone())) else { return };
        // Nobody can certify the rest of an epoch whose set has expired, so the set after it would have nothing to follow.
        let expired = self.btc_height() > newest.set.header().expiry;
        let Some(epoch) = chain.wanted_set.filter(|_| !expired) else {
            if expired {
                let minimum = self.power_to_start_again(&newest);
                self.open_chain(index, minimum);
            }
            return;
        };
        let members = self.providers.eligible(chain.id(), epoch);
        let power = Self::eligible_power(&members);
        let before = newest.set.header().total;
        if self.shrinks_too_much(index, power, before) {
            self.pause(index, epoch, power, before);
        } else {
            self.fix(index, epoch, members, false);
        }
    }

    /// More than two thirds of what the members of an expired set hold now.
    fn power_to_start_again(&self, last: &FixedSet) -> Amount {
        let held = last.set.members().iter().filter_map(|member| self.providers.get(&member.key));
        let held = held.filter(|provider| provider.exposed_at.is_none());
        let held = held.fold(0u64, |sum, provider| sum.saturating_add(provider.power.to_sat()));
        let two_thirds = u128::from(held).saturating_mul(2) / 3;
        Amount::from_sat(u64::try_from(two_thirds).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Another chain's shrinking set pauses that chain only.
    fn pause(&mut self, index: usize, epoch: Epoch, power: Amount, before: Amount) {
        let Some(chain) = self.chains.get_mut(index) else { return };
        chain.paused = true;
        chain.changed = true;
        let id = chain.id().clone();
        let (power, before) = (power.to_sat(), before.to_sat());
        let reason = Trip::ShrinkingSet { chain: id.clone(), epoch, power, before }.to_string();
        self.events.push(Event::Tripped { chain: Some(id), reason });
    }

    fn fix(&mut self, index: usize, epoch: Epoch, members: Vec<Member>, opens: bool) {
        let expiry = self.expiry();
        let Some(chain) = self.chains.get_mut(index) else { return };
        let Ok(set) = Set::new(chain.vote, epoch, expiry, members) else { return };
        let id = chain.id().clone();
        chain.accepted = None;
        if opens {
            chain.opened_at = Some(epoch);
        }
        let tip = self.bitcoin.tip();
        let left_out = self.providers.left_out(&id, &set);
        let (hub_height, btc_height, btc_tip) = (self.next_height(), tip.height, tip.hash);
        self.record_set(
            index,
            FixedSet { set, hub_height, btc_height, btc_tip, carried_over: false, left_out, index: 0 },
        );
    }

    fn record_set(&mut self, index: usize, mut fixed: FixedSet) {
        let Some(chain) = self.chains.get_mut(index) else { return };
        let (epoch, hash, id) = (fixed.set.header().epoch, fixed.set.hash(), chain.id().clone());
        fixed.index = self.sets_fixed;
        let leaf = set_leaf(fixed.set.header(), &chain.terms);
        chain.sets.insert(epoch, fixed);
        chain.wanted_set = None;
        chain.changed = true;
        self.tree.put(Section::Sets, self.sets_fixed, &leaf);
        self.sets_fixed = self.sets_fixed.saturating_add(1);
        self.providers.outdate_roots(&id, epoch);
        self.events.push(Event::Set { chain: id, epoch, hash });
    }

    /// Last Bitcoin height at which a set that is fixed now signs.
    fn expiry(&self) -> BtcHeight {
        let now = self.btc_height();
        now.plus(self.params_at(now).1.document().set_lifetime_blocks)
    }

    /// The chain that a set belongs to may vote: it is not paused and the breaker is not tripped, or it is chain zero.
    pub fn may_vote(&self, chain: &Chain) -> bool {
        chain.id().is_zero() || (self.breaker.is_none() && !chain.paused)
    }
}
