//! What somebody knows who hears the events and nothing else.

use palisade_hub::ledger::chains::{Chain, FixedSet};
use palisade_hub::ledger::state::StakeState;
use palisade_hub::ledger::{Event, Ledger};
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::World;
use std::collections::{BTreeMap, BTreeSet};

/// The last word about everything.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    bitcoin: BtcHeight,
    stakes: BTreeMap<StakeId, StakeState>,
    /// Whether each key is out.
    providers: BTreeMap<ProviderKey, bool>,
    tripped: bool,
    paused: BTreeSet<ChainId>,
    sets: BTreeMap<ChainId, (Epoch, Hash32)>,
    finals: BTreeMap<ChainId, BTreeMap<Height, Hash32>>,
}

impl Known {
    /// As the ledger shows it.
    fn of(ledger: &Ledger) -> Self {
        let chains = || ledger.chains().iter();
        let newest = |chain: &Chain| {
            let hash = |(epoch, fixed): (Epoch, &FixedSet)| (epoch, fixed.set.hash());
            Some((chain.id().clone(), hash(chain.newest()?)))
        };
        let finals = |chain: &Chain| (chain.id().clone(), chain.certified.clone());
        let providers = ledger.providers().iter();
        Self {
            bitcoin: ledger.btc_height(),
            stakes: ledger.stakes().iter().map(|stake| (stake.id, stake.state)).collect(),
            providers: providers.map(|own| (own.key, own.exposed_at.is_some())).collect(),
            tripped: ledger.breaker().is_some(),
            paused: chains().filter(|chain| chain.paused).map(|chain| chain.id().clone()).collect(),
            sets: chains().filter_map(newest).collect(),
            finals: chains().filter(|chain| !chain.certified.is_empty()).map(finals).collect(),
        }
    }

    /// Hears of a change, which must be one.
    fn hear(&mut self, event: &Event) {
        let is_news = match event.clone() {
            Event::Stake { id, state, .. } => self.stakes.insert(id, state) != Some(state),
            Event::Provider { key, .. } => self.providers.insert(key, false).is_none(),
            Event::Exposed { key } => self.providers.insert(key, true) == Some(false),
            Event::Set { chain, epoch, hash } => self.sets.insert(chain, (epoch, hash)) < Some((epoch, hash)),
            Event::Final { chain, height, block } => {
                self.finals.entry(chain).or_default().insert(height, block).is_none()
            }
            Event::Tripped { chain: Some(chain), .. } => self.paused.insert(chain),
            // A reorganisation that is deep again is news, too.
            Event::Tripped { chain: None, .. } => {
                self.tripped = true;
                true
            }
            Event::Resumed => {
                let waited = self.tripped || !self.paused.is_empty();
                (self.tripped, self.paused) = (false, BTreeSet::new());
                waited
            }
            Event::Bitcoin { height, fork } => {
                let before = std::mem::replace(&mut self.bitcoin, height);
                fork.map_or(height > before, |fork| fork < before)
            }
            Event::Anchored { .. }
            | Event::VoidAnchor { .. }
            | Event::ForeignAnchor { .. }
            | Event::Recovered { .. }
            | Event::Chain { .. } => true,
        };
        assert!(is_news, "told twice: {event:?}");
    }
}

/// After every message of a world's log, whoever heard of it knows what the ledger shows; and each step of each stake's history was told
/// once, in its order.
pub fn check_events(world: &World) {
    let mut ledger = Ledger::new(world.ledger.genesis().clone());
    let (mut known, mut told) = (Known::of(&ledger), Vec::new());
    for block in &world.log {
        for message in &block.messages {
            ledger.apply(message).unwrap();
            let (mut shown, mut heard) = (ledger.clone(), known.clone());
            shown.finish_block().1.iter().for_each(|event| heard.hear(event));
            assert_eq!(heard, Known::of(&shown), "{:?}", message.decode());
        }
        let (header, events) = ledger.finish_block();
        assert_eq!(header, block.header);
        events.iter().for_each(|event| known.hear(event));
        assert_eq!(known, Known::of(&ledger), "block {}", header.height);
        told.extend(events);
    }
    assert_eq!(told, world.events, "what was refused is told to nobody");
    for stake in ledger.stakes().iter() {
        let own = told.iter().filter_map(|event| match event {
            Event::Stake { id, state, btc_height, cause } if *id == stake.id => {
                Some((state, btc_height, cause))
            }
            _ => None,
        });
        let steps = stake.history.iter().map(|step| (&step.state, &step.btc_height, &step.cause));
        assert!(own.eq(steps), "{:#?}", stake.history);
    }
}
