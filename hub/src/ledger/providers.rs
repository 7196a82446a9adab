//! Finality providers: their keys, their power, and the nonce roots that make them eligible.
//! Source: docs/protocol.md, sections 5.4 and 7.1.

use bitcoin::{Amount, OutPoint};
use palisade_protocol::bls::BlsPublicKey;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::set::{MAX_MEMBERS, Member, Set};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{Epoch, Height};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Of how many keys roots that are of no more use are dropped in a block.
pub const DROPPED_IN_A_BLOCK: usize = 1_000;

/// A registered key.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The key.
    pub key: ProviderKey,
    /// The chain that it votes on.
    pub chain: ChainId,
    /// Who runs it.
    pub operator: String,
    /// Its BLS key; only for chain zero.
    pub bls: Option<BlsPublicKey>,
    /// The output that backed the registration.
    pub backing: OutPoint,
    /// The hub block from which the key is out.
    pub exposed_at: Option<Height>,
    /// Ledger power.
    pub power: Amount,
    /// Nonce roots by epoch; those of epochs that have a set are dropped soon.
    pub roots: BTreeMap<Epoch, Hash32>,
    /// Roots that these replaced. Their commitments are public, and whoever sends one again must not bring it back.
    pub replaced: BTreeMap<Epoch, Vec<Hash32>>,
}

impl Provider {
    fn to_leaf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.key.encode(&mut out);
        self.chain.encode(&mut out);
        self.operator.encode(&mut out);
        self.bls.as_ref().map(BlsPublicKey::hash).encode(&mut out);
        self.exposed_at.encode(&mut out);
        self.power.encode(&mut out);
        (self.roots.len() as u64).encode(&mut out);
        self.roots.iter().for_each(|(epoch, root)| {
            epoch.encode(&mut out);
            root.encode(&mut out);
            self.replaced_at(*epoch).to_vec().encode(&mut out);
        });
        out
    }

    /// Roots for an epoch that were replaced.
    pub fn replaced_at(&self, epoch: Epoch) -> &[Hash32] {
        self.replaced.get(&epoch).map_or(&[], Vec::as_slice)
    }

    fn member(&self, epoch: Epoch) -> Option<Member> {
        let nonce_root = *self.roots.get(&epoch)?;
        let bls_hash = self.bls.as_ref().map_or(Hash32::ZERO, BlsPublicKey::hash);
        Some(Member { key: self.key, power: self.power, bls_hash, nonce_root })
    }
}

/// The providers of a ledger, in order of registration.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    records: Vec<Provider>,
    by_key: BTreeMap<ProviderKey, usize>,
    backings: BTreeSet<OutPoint>,
    /// Keys with power that are not exposed, strongest first, by chain.
    ranking: BTreeMap<ChainId, BTreeSet<(Reverse<Amount>, ProviderKey)>>,
    /// Who holds a root, by chain and epoch: most providers may hold none.
    rooted: BTreeMap<ChainId, BTreeMap<Epoch, BTreeSet<usize>>>,
    /// Whose roots, up to which epoch of a chain, are still to be dropped.
    stale: VecDeque<(ChainId, Epoch, BTreeSet<usize>)>,
    changed: BTreeSet<usize>,
}

impl Providers {
    /// A provider by its key.
    pub fn get(&self, key: &ProviderKey) -> Option<&Provider> {
        self.records.get(*self.by_key.get(key)?)
    }

    /// All providers, in order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
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

    /// Whether an output backs a provider.
    pub fn is_backing(&self, outpoint: &OutPoint) -> bool {
        self.backings.contains(outpoint)
    }

    /// Whether a registered key is out.
    pub fn is_exposed(&self, key: &ProviderKey) -> bool {
        self.get(key).is_some_and(|provider| provider.exposed_at.is_some())
    }

    /// Adds a provider; the caller has checked that key and backing are new.
    pub fn insert(&mut self, provider: Provider) {
        let index = self.records.len();
        self.by_key.insert(provider.key, index);
        self.backings.insert(provider.backing);
        self.changed.insert(index);
        self.records.push(provider);
    }

    /// More power.
    pub fn gain(&mut self, key: &ProviderKey, amount: Amount) {
        self.book(key, |power| power.checked_add(amount).unwrap_or(Amount::MAX_MONEY));
    }

    /// Less power.
    pub fn lose(&mut self, key: &ProviderKey, amount: Amount) {
        self.book(key, |power| power.checked_sub(amount).unwrap_or(Amount::ZERO));
    }

    fn book(&mut self, key: &ProviderKey, change: impl FnOnce(Amount) -> Amount) {
        let Some(provider) = self.edit(key) else { return };
        let before = provider.power;
        provider.power = change(before);
        let (after, chain, exposed) = (provider.power, provider.chain.clone(), provider.exposed_at.is_some());
        let ranking = self.ranking.entry(chain).or_default();
        ranking.remove(&(Reverse(before), *key));
        if after > Amount::ZERO && !exposed {
            ranking.insert((Reverse(after), *key));
        }
    }

    /// The key is out: it never stands in a set again.
    pub fn expose(&mut self, key: &ProviderKey, at: Height) {
        let Some(provider) = self.edit(key) else { return };
        provider.exposed_at = Some(at);
        let (power, chain) = (provider.power, provider.chain.clone());
        if let Some(ranking) = self.ranking.get_mut(&chain) {
            ranking.remove(&(Reverse(power), *key));
        }
    }

    /// Holds a root for an epoch, replacing an earlier one. Of more than `most` the lowest epoch's is dropped.
    pub fn commit(&mut self, key: &ProviderKey, epoch: Epoch, root: Hash32, most: usize) {
        let Some(index) = self.by_key.get(key).copied() else { return };
        let Some(provider) = self.records.get_mut(index) else { return };
        self.changed.insert(index);
        let rooted = self.rooted.entry(provider.chain.clone()).or_default();
        rooted.entry(epoch).or_default().insert(index);
        if let Some(before) = provider.roots.insert(epoch, root) {
            provider.replaced.entry(epoch).or_default().push(before);
        }
        while provider.roots.len() > most {
            let Some((lowest, _)) = provider.roots.pop_first() else { return };
            provider.replaced.remove(&lowest);
            if let Some(holders) = rooted.get_mut(&lowest) {
                holders.remove(&index);
            }
        }
    }

    /// Roots of epochs up to this one are of no more use, for their sets are fixed: [`Self::drop_stale`] drops them.
    pub fn outdate_roots(&mut self, chain: &ChainId, epoch: Epoch) {
        let Some(rooted) = self.rooted.get_mut(chain) else { return };
        let later = rooted.split_off(&epoch.next());
        let outdated = std::mem::replace(rooted, later);
        self.stale.extend(outdated.into_iter().map(|(of, holders)| (chain.clone(), of, holders)));
    }

    /// Drops roots that are of no more use, of so many keys: anybody may have committed for an epoch, and no block takes longer for
    /// it.
    pub fn drop_stale(&mut self, most: usize) {
        for _ in 0..most {
            let Some((_, epoch, holders)) = self.stale.front_mut() else { return };
            let (epoch, next) = (*epoch, holders.pop_first());
            if holders.is_empty() {
                self.stale.pop_front();
            }
            let Some(provider) = next.and_then(|index| self.records.get_mut(index)) else { continue };
            provider.roots.remove(&epoch);
            provider.replaced.remove(&epoch);
            self.changed.extend(next);
        }
    }

    /// Roots for all epochs are of no use to a chain that has begun anew: its nonces are others.
    pub fn drop_all_roots(&mut self, chain: &ChainId) {
        let stale = std::mem::take(&mut self.stale);
        let (own, others): (VecDeque<_>, VecDeque<_>) = stale.into_iter().partition(|(of, ..)| of == chain);
        self.stale = others;
        let dropped = self.rooted.remove(chain).unwrap_or_default();
        let holders = dropped.into_values().chain(own.into_iter().map(|(.., holders)| holders));
        for index in holders.flatten() {
            let Some(provider) = self.records.get_mut(index) else { continue };
            provider.roots.clear();
            provider.replaced.clear();
            self.changed.insert(index);
        }
    }

    /// Who may vote in an epoch: not exposed, with power and a root, the strongest [`MAX_MEMBERS`], in order of key.
    pub fn eligible(&self, chain: &ChainId, epoch: Epoch) -> Vec<Member> {
        let ranking = self.ranking.get(chain).into_iter().flatten();
        let members = ranking.filter_map(|(_, key)| self.get(key)?.member(epoch));
        let mut members: Vec<Member> = members.take(MAX_MEMBERS).collect();
        members.sort_unstable_by_key(|member| member.key);
        members
    }

    /// Keys with power that are no members of a set which is being fixed, and why.
    pub fn left_out(&self, chain: &ChainId, set: &Set) -> Vec<(ProviderKey, &'static str)> {
        let absent = self.with_power(chain).filter(|provider| set.find(&provider.key).is_none());
        let epoch = set.header().epoch;
        let reason = |provider: &Provider| match provider.roots.contains_key(&epoch) {
            true => "not among the strongest 60",
            false => "no nonce root for the epoch",
        };
        absent.map(|provider| (provider.key, reason(provider))).collect()
    }

    fn with_power(&self, chain: &ChainId) -> impl Iterator<Item = &Provider> {
        let ranking = self.ranking.get(chain).into_iter().flatten();
        ranking.filter_map(|(_, key)| self.get(key))
    }

    /// What those eligible hold together, for each epoch that a key with power has a root for: in one pass, for keys can have
    /// roots for any epochs of a chain that is not open.
    pub fn eligible_power(&self, chain: &ChainId) -> BTreeMap<Epoch, Amount> {
        let mut found: BTreeMap<Epoch, (usize, Amount)> = BTreeMap::new();
        for provider in self.with_power(chain) {
            for epoch in provider.roots.keys() {
                let (members, power) = found.entry(*epoch).or_default();
                if *members < MAX_MEMBERS {
                    *members = members.saturating_add(1);
                    *power = power.checked_add(provider.power).unwrap_or(Amount::MAX);
                }
            }
        }
        found.into_iter().map(|(epoch, (_, power))| (epoch, power)).collect()
    }

    /// Leaves of the providers that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<(usize, Vec<u8>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|index| Some((index, self.records.get(index)?.to_leaf()))).collect()
    }

    fn edit(&mut self, key: &ProviderKey) -> Option<&mut Provider> {
        let index = *self.by_key.get(key)?;
        self.changed.insert(index);
        self.records.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_protocol::curve::KeyPair;

    const MOST: usize = 3;

    fn key(byte: u8) -> ProviderKey {
        KeyPair::from_secret_bytes(&[byte; 32]).unwrap().public().into()
    }

    /// Providers of chain zero without power.
    fn providers(count: u8) -> Providers {
        let mut providers = Providers::default();
        for byte in 1..=count {
            providers.insert(Provider {
                key: key(byte),
                chain: ChainId::zero(),
                operator: "somebody".to_owned(),
                bls: None,
                backing: OutPoint { vout: byte.into(), ..OutPoint::null() },
                exposed_at: None,
                power: Amount::ZERO,
                roots: BTreeMap::new(),
                replaced: BTreeMap::new(),
            });
        }
        providers.take_changed();
        providers
    }

    fn roots(providers: &Providers, byte: u8) -> Vec<u64> {
        providers.get(&key(byte)).unwrap().roots.keys().map(|epoch| epoch.0).collect()
    }

    #[test]
    fn what_a_fixed_set_drops_is_looked_for_among_those_who_hold_it() {
        let mut providers = providers(4);
        let mut commit = |byte, epoch| {
            providers.commit(&key(byte), Epoch(epoch), Hash32([epoch as u8; 32]), MOST);
        };
        for (byte, epoch) in [(1, 5), (1, 6), (2, 6), (3, 4), (3, 5), (3, 6), (3, 7)] {
            commit(byte, epoch);
        }
        let held = |providers: &Providers| providers.rooted[&ChainId::zero()].values().flatten().count();
        // The fourth of one provider has taken the place of its first.
        assert_eq!((roots(&providers, 3), held(&providers)), (vec![5, 6, 7], 6));
        providers.take_changed();
        providers.outdate_roots(&ChainId::zero(), Epoch(5));
        assert_eq!(providers.take_changed(), []);
        providers.drop_stale(10);
        let changed: Vec<usize> = providers.take_changed().into_iter().map(|(index, _)| index).collect();
        assert_eq!(changed, [0, 2], "nobody else is touched");
        assert_eq!([1, 2, 3, 4].map(|byte| roots(&providers, byte)), [vec![6], vec![6], vec![6, 7], vec![]]);
        assert_eq!(held(&providers), 4);
        providers.drop_all_roots(&ChainId::zero());
        assert!((1..=4).all(|byte| roots(&providers, byte).is_empty()));
        assert_eq!(providers.take_changed().len(), 3);
    }

    #[test]
    fn of_so_many_keys_as_a_block_has_room_for_outdated_roots_are_dropped_the_oldest_first() {
        let mut providers = providers(4);
        for (byte, epoch) in [(1, 5), (2, 5), (3, 5), (1, 6), (4, 6), (1, 7)] {
            providers.commit(&key(byte), Epoch(epoch), Hash32([epoch as u8; 32]), MOST);
        }
        providers.take_changed();
        providers.outdate_roots(&ChainId::zero(), Epoch(6));
        let mut left = Vec::new();
        for _ in 0..4 {
            providers.drop_stale(2);
            left.push([1, 2, 3, 4].map(|byte| roots(&providers, byte)));
            assert!(providers.take_changed().len() <= 2);
        }
        let after = |one: &[u64], two: &[u64], three: &[u64], four: &[u64]| {
            [one, two, three, four].map(<[u64]>::to_vec)
        };
        assert_eq!(
            left,
            [
                after(&[6, 7], &[], &[5], &[6]),
                after(&[7], &[], &[], &[6]),
                after(&[7], &[], &[], &[]),
                after(&[7], &[], &[], &[]),
            ]
        );
    }

    #[test]
    fn a_chain_that_begins_anew_leaves_nothing_behind_that_is_still_to_be_dropped() {
        let mut providers = providers(2);
        let root = Hash32([7; 32]);
        providers.commit(&key(1), Epoch(5), root, MOST);
        providers.outdate_roots(&ChainId::zero(), Epoch(5));
        providers.drop_all_roots(&ChainId::zero());
        assert!(roots(&providers, 1).is_empty());
        providers.commit(&key(1), Epoch(5), root, MOST);
        providers.drop_stale(10);
        assert_eq!(roots(&providers, 1), [5], "it is of the new beginning");
    }
}
