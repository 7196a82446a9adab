//! The part of a history that makes sets: hub blocks, certificates, and what governance decides of them.

use super::seen::Case;
use super::sets::{Around, Fixed, shrinks};
use super::{DEV, DEV_EPOCHS, DEV_TERMS, EPOCHS, MINIMUM, NAMES, Player};
use crate::provider_key;
use bitcoin::Amount;
use palisade_hub::ledger::chains::FixedSet;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::governance::{AcceptedPower, Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use std::collections::{BTreeMap, BTreeSet};

impl Player {
    /// Governance accepts nothing, one satoshi, or for each chain what its keys have now, or one satoshi more or less.
    pub(super) fn resume(&mut self, accept: usize) {
        let zero = self.held(&NAMES[..3]).values().sum::<u64>();
        let dev = self.held(&NAMES[3..]).values().sum::<u64>();
        let power =
            |held: u64| [None, Some(1), Some(held), Some(held + 1), Some(held.saturating_sub(1))][accept];
        let named = [(ChainId::zero(), power(zero)), (DEV.parse().unwrap(), power(dev))];
        let named = named.into_iter().filter_map(|(chain, power)| Some((chain, Amount::from_sat(power?))));
        let accepted = named.map(|(chain, power)| AcceptedPower { chain, power }).collect();
        let answer = self.world.govern(Action::Resume(Resume { accepted }));
        assert_eq!(answer.is_ok(), self.model.tripped || self.dev.paused, "{answer:?}");
        if answer.is_ok() {
            self.seen.note(Case::Resumed);
            (self.model.tripped, self.dev.paused) = (false, false);
            (self.accepted, self.dev.accepted) = (power(zero), power(dev));
        }
        self.check();
    }

    /// What these keys have, those that are out and those without power left out.
    pub(super) fn held(&self, names: &[&str]) -> BTreeMap<ProviderKey, u64> {
        let mut power = self.model.power();
        let keys: BTreeSet<_> = names.iter().map(|name| provider_key(name)).collect();
        power.retain(|key, sat| *sat > 0 && keys.contains(key) && !self.model.exposed.contains(key));
        power
    }

    /// Closes a block; where it fixes a set, the set is the power of the moment.
    pub(super) fn close(&mut self) {
        let height = self.world.ledger.next_height();
        let epoch = height.0 / 20 + 1;
        let all = self.held(&NAMES);
        let eligible = if epoch < EPOCHS { self.held(&NAMES[..3]) } else { BTreeMap::new() };
        self.world.close();
        let trips = height.0.is_multiple_of(20) && self.shrinks_too_much(eligible.values().sum());
        let of_dev = |epoch| {
            let ready = DEV_EPOCHS.into_iter().filter(|(_, epochs)| epochs.contains(&epoch));
            let keys = ready.map(|(name, _)| provider_key(name));
            keys.filter_map(|key| Some((key, *all.get(&key)?))).collect()
        };
        let held = |key: &ProviderKey| all.get(key).copied().unwrap_or(0);
        let (tip, tripped) = (self.world.btc_height(), self.model.tripped || trips);
        let before = (self.dev.paused, self.dev.fixed.len(), self.dev.opened);
        self.dev.close(&Around { tip, tripped, eligible: &of_dev, held: &held, end: 40 });
        if height.0.is_multiple_of(20) {
            self.check_set(height, Epoch(epoch), &eligible);
        }
        self.check_dev();
        self.note_dev(before);
        self.check();
        self.seen.moved = false;
    }

    /// What the other chain's rules came to at the end of a block; before it, whether it was paused, how many sets it had, and
    /// which epoch opened it.
    fn note_dev(&mut self, (paused, sets, opened): (bool, usize, u64)) {
        let fixed: Vec<_> = self.dev.fixed.values().collect();
        self.seen.note_if(self.dev.paused && !paused, Case::Paused);
        self.seen.note_if(sets > 0 && self.dev.opened != opened, Case::BeganAgain);
        let [.., last, new] = fixed[..] else { return };
        let is_weaker =
            fixed.len() > sets && self.dev.opened == opened && shrinks(last.total(), new.total(), None);
        self.seen.note_if(is_weaker, Case::WeakerAccepted);
    }

    /// Certifies the other chain's next height, by all members of its set.
    pub(super) fn certify(&mut self) {
        let dev: ChainId = DEV.parse().unwrap();
        let Some((height, epoch)) = self.dev.next() else { return };
        let Some(set) = self.dev.fixed.get(&epoch) else { return };
        let names: Vec<_> =
            NAMES.into_iter().filter(|name| set.members.contains_key(&provider_key(name))).collect();
        let certificate = self.world.certificate(&dev, &names, Height(height), Hash32([height as u8; 32]));
        let counts = self.dev.takes(epoch, self.world.btc_height(), self.model.tripped);
        assert_eq!(self.tell(&certificate).is_ok(), counts, "height {height}");
        if counts {
            self.dev.finalise(height);
        }
        self.check();
    }

    /// The other chain's strongest member loses its key or its stakes while a set is wanted, the chain goes on if it may, and
    /// governance resumes.
    pub(super) fn wane(&mut self, leak: bool, accept: usize) {
        let Some((epoch, set)) = self.dev.fixed.last_key_value() else { return };
        let strongest = set.members.iter().max_by_key(|(_, power)| **power).map(|(key, _)| *key);
        let first = epoch * DEV_TERMS.epoch_length;
        while self.dev.next().is_some_and(|(height, _)| height <= first) {
            let before = self.dev.next();
            self.certify();
            if self.dev.next() == before {
                return;
            }
        }
        let strongest = strongest.expect("a member");
        if leak {
            let name = NAMES.into_iter().find(|name| provider_key(name) == strongest).expect("a name");
            self.leak(name);
        } else {
            let named = |i: &usize| self.stakes[*i].registration.providers.contains(&strongest);
            let named: Vec<_> = (0..self.stakes.len()).filter(named).collect();
            named.into_iter().for_each(|i| self.spend(i, 0, true));
        }
        self.close();
        self.certify();
        if self.dev.paused {
            self.resume(accept);
            self.close();
            self.certify();
        }
    }

    /// Who is new in chain zero's set of an epoch and who is not in it any more, where a stake changed in the block that fixed it.
    fn note_members(&mut self, epoch: Epoch) {
        let zero = &self.world.ledger.chains()[0];
        let members = |fixed: &FixedSet| -> BTreeSet<ProviderKey> {
            fixed.set.members().iter().map(|member| member.key).collect()
        };
        let Some(new) = zero.sets.get(&epoch) else { return };
        self.seen.note_if(new.carried_over, Case::CarriedOver);
        let Some((_, last)) = zero.sets.range(..epoch).next_back() else { return };
        let (last, new, moved) = (members(last), members(new), self.seen.moved);
        self.seen.note_if(moved && !new.is_subset(&last), Case::Entered);
        self.seen.note_if(moved && !last.is_subset(&new), Case::Left);
    }

    /// A key signs two blocks of one height.
    pub(super) fn equivocate(&mut self, name: &str) {
        let (zero, dev) = (ChainId::zero(), DEV.parse().unwrap());
        let chain = if name.starts_with("dev") { &dev } else { &zero };
        let [a, b] = [1, 2].map(|block| self.world.vote(chain, name, Height(20), Hash32([block; 32])));
        let evidence = Evidence::from_votes(&a, &b).expect("one nonce");
        let news = self.model.exposed.insert(provider_key(name));
        assert_eq!(self.tell(&Message::Evidence(evidence)).is_ok(), news);
        self.seen.note_if(news, Case::Equivocated);
        self.check();
    }

    /// The other chain's sets are what its rules make of the power at each of their snapshots.
    fn check_dev(&self) {
        let chain = &self.world.ledger.chains()[1];
        let fixed = chain.sets.iter().map(|(epoch, fixed)| {
            let members = fixed.set.members().iter();
            let members = members.map(|member| (member.key, member.power.to_sat())).collect();
            (epoch.0, Fixed { members, expiry: fixed.set.header().expiry.0 })
        });
        assert_eq!(fixed.collect::<BTreeMap<_, _>>(), self.dev.fixed);
        assert_eq!(chain.paused, self.dev.paused);
    }

    fn shrinks_too_much(&self, total: u64) -> bool {
        self.set_total.is_some_and(|before| shrinks(before, total, self.accepted))
    }

    fn check_set(&mut self, height: Height, epoch: Epoch, eligible: &BTreeMap<ProviderKey, u64>) {
        let total: u64 = eligible.values().sum();
        let shrinks = self.shrinks_too_much(total) && !self.model.tripped;
        self.seen.note_if(shrinks, Case::ZeroShrank);
        self.model.tripped |= shrinks;
        self.note_members(epoch);
        let fixed = self.world.ledger.chains()[0].sets.get(&epoch);
        if self.model.tripped {
            assert_eq!(fixed.is_some(), self.set_total.is_some(), "at {height}");
            assert!(fixed.is_none_or(|fixed| fixed.carried_over));
            assert_eq!(fixed.map(|fixed| fixed.set.header().total.to_sat()), self.set_total);
        } else if self.set_total.is_some() || total >= MINIMUM {
            let members = fixed.expect("a set").set.members().iter();
            let members: BTreeMap<_, _> = members.map(|member| (member.key, member.power.to_sat())).collect();
            assert_eq!(&members, eligible);
            (self.set_total, self.accepted) = (Some(total), None);
        } else {
            assert!(fixed.is_none());
        }
    }
}
