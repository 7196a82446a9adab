//! A naive ledger of stakes and power, written from the design and not from the code: after every step each stake's
//! facts are worked out anew from the whole best chain, and power is added up from the states.
//!
//! Only what the past leaves is remembered: whether a stake was ever on Bitcoin or lapsed, whether it counts, and from
//! when a stake may count again whose spend was reorganised out.

use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid};
use palisade_hub::ledger::state::StakeState::{self, *};
use palisade_protocol::keys::ProviderKey;
use std::collections::{BTreeMap, BTreeSet};

pub const K: u32 = 6;
const UNBONDING_TIME: u32 = 244;
pub(super) const QUORUM: usize = 3;
const MEMBERS: usize = 5;

/// The best chain, read from its first block on.
pub struct Chain {
    pub hashes: Vec<BlockHash>,
    pub at: BTreeMap<Txid, u32>,
    pub spenders: BTreeMap<OutPoint, Transaction>,
}

impl Chain {
    pub fn read(blocks: &[Block]) -> Self {
        let hashes = blocks.iter().map(Block::block_hash).collect();
        let (mut at, mut spenders) = (BTreeMap::new(), BTreeMap::new());
        for (height, block) in (0..).zip(blocks) {
            for tx in &block.txdata[1..] {
                at.insert(tx.compute_txid(), height);
                tx.input.iter().for_each(|input| drop(spenders.insert(input.previous_output, tx.clone())));
            }
        }
        Self { hashes, at, spenders }
    }

    pub fn tip(&self) -> u32 {
        self.hashes.len() as u32 - 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Withdrawal,
    Unbonding,
    Expansion(usize),
    Slashing,
    Breach,
}

/// A registered stake.
#[derive(Clone, Debug)]
pub struct Known {
    pub value: u64,
    pub providers: Vec<ProviderKey>,
    pub former: Vec<ProviderKey>,
    pub lock: u32,
    pub outpoint: OutPoint,
    pub unbonding: Txid,
    pub slashing: Txid,
    pub unbonding_slashing: Txid,
    pub expands: Option<usize>,
    /// `None` for a stake that was on Bitcoin when it was registered.
    pub lapses_at: Option<u32>,
    pub signed: BTreeSet<usize>,
    pub refused: BTreeSet<usize>,
    pub past: Past,
    pub now: Facts,
}

/// What the past leaves.
#[derive(Clone, Debug, Default)]
pub struct Past {
    ever_included: bool,
    lapsed: bool,
    /// Counts on its own.
    counts: bool,
    /// Counted when its expansion spent it.
    carries: bool,
    /// No power before this height.
    restored: u32,
}

impl Past {
    /// Of a stake that is on Bitcoin when it is registered: k blocks are left to say what became of it before.
    pub fn confirmed(tip: u32) -> Self {
        Self { restored: tip + K, ..Self::default() }
    }
}

/// What follows from the chain and the reports.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub(super) included: Option<u32>,
    pub(super) spend: Option<(Kind, u32)>,
    unbonding_spend: Option<Kind>,
    pub state: Option<StakeState>,
    pub power: Vec<ProviderKey>,
}

#[derive(Clone, Default)]
pub struct Model {
    pub stakes: Vec<Known>,
    pub exposed: BTreeSet<ProviderKey>,
    pub tripped: bool,
    hashes: Vec<BlockHash>,
    /// Transactions proven to the ledger, in which block, how many stakes were registered then, and the tip then.
    proven: Vec<(Txid, BlockHash, usize, u32)>,
}

impl Model {
    pub fn prove(&mut self, txid: Txid, block: BlockHash, tip: u32) {
        self.proven.push((txid, block, self.stakes.len(), tip));
    }

    /// What every key's power must be.
    pub fn power(&self) -> BTreeMap<ProviderKey, u64> {
        let mut power = BTreeMap::new();
        for stake in &self.stakes {
            stake.now.power.iter().for_each(|key| *power.entry(*key).or_insert(0) += stake.value);
        }
        power
    }

    /// Looks at everything anew.
    pub fn look(&mut self, chain: &Chain) {
        let common = self.hashes.iter().zip(&chain.hashes).take_while(|(a, b)| a == b).count();
        let fork = common as u32 - u32::from(common > 0);
        let lost = self.hashes.len() - common;
        self.tripped |= lost as u32 > K;
        self.hashes.clone_from(&chain.hashes);
        let best: BTreeSet<_> = chain.hashes.iter().collect();
        self.proven.retain(|(_, block, ..)| best.contains(block));
        let facts: Vec<_> = (0..self.stakes.len()).map(|i| self.facts(i, chain)).collect();
        for (i, facts) in facts.into_iter().enumerate() {
            self.remember(i, facts, fork, chain.tip());
        }
        let states: Vec<_> = (0..self.stakes.len()).map(|i| self.state(i, chain.tip())).collect();
        for (i, state) in states.iter().enumerate() {
            self.stakes[i].now.state = Some(*state);
        }
        for i in 0..self.stakes.len() {
            self.stakes[i].now.power = self.contribution(i, &states);
        }
    }

    /// Height of a stake's transaction, if that was proven before the stake could be withdrawn.
    fn seen(&self, i: usize, chain: &Chain) -> Option<u32> {
        let stake = &self.stakes[i];
        let height = chain.at.get(&stake.outpoint.txid).copied()?;
        let proven = self.proven.iter().any(|(known, _, stakes, tip)| {
            *known == stake.outpoint.txid && *stakes > i && tip + 1 < height + stake.lock
        });
        proven.then_some(height)
    }

    /// The later registration of what a stake is.
    fn heir(&self, i: usize) -> Option<usize> {
        (i + 1..self.stakes.len()).find(|j| self.stakes[*j].outpoint == self.stakes[i].outpoint)
    }

    /// A later registration at the same outpoint takes over what is reported of its spends.
    fn seen_spend(&self, i: usize, outpoint: OutPoint, chain: &Chain) -> Option<(Transaction, u32)> {
        let heir = self.heir(i);
        let tx = chain.spenders.get(&outpoint)?;
        let txid = tx.compute_txid();
        let proven = self.proven.iter().any(|(known, _, stakes, _)| {
            *known == txid && *stakes > i && heir.is_none_or(|heir| *stakes <= heir)
        });
        proven.then(|| (tx.clone(), chain.at[&txid]))
    }

    fn facts(&self, i: usize, chain: &Chain) -> Facts {
        let stake = &self.stakes[i];
        let spend = self.seen_spend(i, stake.outpoint, chain).map(|(tx, height)| {
            let txid = tx.compute_txid();
            let expansion =
                self.stakes.iter().position(|new| new.expands == Some(i) && new.outpoint.txid == txid);
            let kind = match expansion {
                Some(new) => Kind::Expansion(new),
                None if txid == stake.unbonding => Kind::Unbonding,
                None if txid == stake.slashing => Kind::Slashing,
                None => alone(&tx, stake.outpoint, stake.lock),
            };
            (kind, height)
        });
        let unbonded = OutPoint { txid: stake.unbonding, vout: 0 };
        let unbonding_spend = self.seen_spend(i, unbonded, chain).map(|(tx, _)| {
            let slashed = tx.compute_txid() == stake.unbonding_slashing;
            if slashed { Kind::Slashing } else { alone(&tx, unbonded, UNBONDING_TIME) }
        });
        let included = self.seen(i, chain);
        Facts { included, spend, unbonding_spend, state: None, power: Vec::new() }
    }

    fn remember(&mut self, i: usize, facts: Facts, fork: u32, tip: u32) {
        let (tripped, exposed) = (self.tripped, self.is_exposed(i));
        let stake = &mut self.stakes[i];
        let before = std::mem::replace(&mut stake.now, facts);
        let (past, now) = (&mut stake.past, &stake.now);
        past.ever_included |= now.included.is_some() || stake.lapses_at.is_none();
        past.lapsed |= !past.ever_included && stake.lapses_at.is_some_and(|height| tip >= height);
        // While nothing may gain power, a key that the expansion dropped must not get it back.
        let carried = past.carries && !before.power.is_empty();
        let unbroken = carried && (!tripped || before.power.len() == stake.providers.len());
        if before.spend.is_some() && now.spend.is_none() && !unbroken {
            past.restored = past.restored.max(fork + 1 + K);
        }
        if let Some((kind, _)) = now.spend {
            past.carries = matches!(kind, Kind::Expansion(_)) && (past.counts || past.carries);
            past.counts = false;
            return;
        }
        let living = now.included.filter(|height| {
            stake.signed.len() >= QUORUM
                && !exposed
                && !past.lapsed
                && tip < height + stake.lock - UNBONDING_TIME
        });
        let deep = living.is_some_and(|height| tip >= past.restored.max(height + K));
        past.counts = living.is_some() && (past.counts || unbroken || (deep && !tripped));
        past.carries = false;
    }

    fn is_exposed(&self, i: usize) -> bool {
        let stake = &self.stakes[i];
        stake.providers.iter().chain(&stake.former).any(|key| self.exposed.contains(key))
    }

    fn state(&self, i: usize, tip: u32) -> StakeState {
        let stake = &self.stakes[i];
        match (stake.now.spend, stake.now.unbonding_spend) {
            (Some((Kind::Withdrawal, _)), _) | (Some((Kind::Unbonding, _)), Some(Kind::Withdrawal)) => {
                return Withdrawn;
            }
            (Some((Kind::Slashing, _)), _) | (Some((Kind::Unbonding, _)), Some(Kind::Slashing)) => {
                return Slashed;
            }
            (Some((Kind::Breach, _)), _) | (Some((Kind::Unbonding, _)), Some(_)) => return Breached,
            (Some((Kind::Expansion(_), _)), _) => return Expanded,
            (Some((Kind::Unbonding, height)), None) if tip + 1 >= height + UNBONDING_TIME => {
                return Withdrawable;
            }
            (Some((Kind::Unbonding, _)), None) if self.is_exposed(i) => return Exposed,
            (Some((Kind::Unbonding, _)), None) => return Unbonding,
            (None, _) => {}
        }
        let included = stake.now.included;
        if self.heir(i).is_some() {
            Lapsed
        } else if included.is_some_and(|height| tip + 1 >= height + stake.lock) {
            Withdrawable
        } else if MEMBERS - stake.refused.len() < QUORUM {
            Rejected
        } else if stake.past.lapsed {
            Lapsed
        } else if stake.signed.len() < QUORUM {
            Pending
        } else if self.is_exposed(i) {
            Exposed
        } else if included.is_some_and(|height| tip >= height + stake.lock - UNBONDING_TIME) {
            Ending
        } else if stake.past.counts {
            Active
        } else {
            Verified
        }
    }

    /// The keys that a stake gives its value to.
    fn contribution(&self, i: usize, states: &[StakeState]) -> Vec<ProviderKey> {
        let stake = &self.stakes[i];
        match stake.now.spend {
            None if states[i] == Active => stake.providers.clone(),
            Some((Kind::Expansion(new), _))
                if stake.past.carries && !self.is_exposed(i) && states[new] == Verified =>
            {
                let kept = stake.providers.iter().filter(|key| self.stakes[new].providers.contains(key));
                kept.copied().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A spend that was not agreed on beforehand.
fn alone(tx: &Transaction, outpoint: OutPoint, lock: u32) -> Kind {
    let input = tx.input.iter().find(|input| input.previous_output == outpoint).unwrap();
    let sequence = input.sequence.0;
    let in_blocks = sequence & (1 << 31 | 1 << 22) == 0;
    if tx.version.0 >= 2 && in_blocks && sequence & 0xffff >= lock { Kind::Withdrawal } else { Kind::Breach }
}
