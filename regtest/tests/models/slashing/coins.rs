//! Where the coins are, how they move, and what slashes them.

use super::start::{CULPRIT, K, LIFETIME, MARGIN, START, W, begin, register, stake, staking_tx, start};
use super::{Act, Check, Slashing, State, Untold};
use bitcoin::{OutPoint, Transaction, TxOut};
use palisade_checkpointer::watch::slash::slashing;
use palisade_finality_provider::voter::judge::{self, Facts};
use palisade_hub::ledger::chains::FixedSet;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::message::{Message, OutputSpent, StakeIncluded};
use palisade_protocol::stake::{Slashable, StakeId};
use palisade_protocol::units::{BtcHeight, Epoch};
use palisade_world::{World, pair, provider_key};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

/// Where the coins are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coin {
    Staked(StakeId),
    Unbonding(StakeId),
    /// Where the key does not reach them.
    Free,
}

impl Coin {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Staked(id) => u8::from(id != stake()),
            Self::Unbonding(id) => 2 + u8::from(id != stake()),
            Self::Free => 4,
        }
    }
}

impl State {
    pub(super) fn coin(&self) -> Coin {
        self.coins.last().expect("they are somewhere").1
    }

    pub(super) fn is_liable(&self) -> bool {
        self.liable.is_some_and(|last| self.world.btc_height() <= last)
    }

    /// Whether the key moves the coins where they are.
    pub(super) fn is_slashed(&self) -> bool {
        let (id, output) = match self.coin() {
            Coin::Staked(id) => (id, Slashable::Staking),
            Coin::Unbonding(id) => (id, Slashable::Unbonding),
            Coin::Free => return false,
        };
        let stake = self.world.stake(&id);
        let key = (id, output, stake.signatures.len());
        type Known = Mutex<BTreeMap<(StakeId, Slashable, usize), bool>>;
        static KNOWN: LazyLock<Known> = LazyLock::new(Mutex::default);
        if let Some(known) = KNOWN.lock().unwrap().get(&key) {
            return *known;
        }
        let spent = match output {
            Slashable::Staking => stake.contract.txout(),
            Slashable::Unbonding => stake.presigned.unbonding.output[0].clone(),
        };
        let made = slashing(stake, output, &pair(CULPRIT));
        let is_slashed = made.is_ok_and(|tx| core_takes(&tx, &spent));
        KNOWN.lock().unwrap().insert(key, is_slashed);
        is_slashed
    }
}

fn core_takes(tx: &Transaction, spent: &TxOut) -> bool {
    let script = spent.script_pubkey.as_bytes();
    let utxo = bitcoinconsensus::Utxo {
        script_pubkey: script.as_ptr(),
        script_pubkey_len: script.len() as u32,
        value: spent.value.to_sat() as i64,
    };
    let all = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT;
    let bytes = bitcoin::consensus::serialize(tx);
    bitcoinconsensus::verify_with_flags(script, spent.value.to_sat(), &bytes, Some(&[utxo]), 0, all).is_ok()
}

impl Slashing {
    pub(super) fn begin(&self) -> State {
        let (world, id) = match self.without {
            Some(Check::Quorum) => begin(false),
            _ => START.clone(),
        };
        let coins = vec![(world.btc_height(), Coin::Staked(id))];
        let voted = world.ledger.next_height().0 - 1;
        State {
            world: Arc::new(world),
            coins,
            untold: None,
            liable: None,
            voted,
            rollbacks: self.rollbacks,
            trips: self.trips,
        }
    }

    /// The first height at which the holder alone can move the coins.
    fn free_from(&self, state: &State) -> Option<u32> {
        let (height, coin) = state.coins.last().expect("they are somewhere");
        let lock = match coin {
            Coin::Staked(id) => state.world.stake(id).contract.lock.get(),
            // As though the parameters asked for a block less.
            Coin::Unbonding(id) => {
                state.world.stake(id).contract.unbonding_time.get()
                    - u16::from(self.without == Some(Check::UnbondingTime))
            }
            Coin::Free => return None,
        };
        Some(height + u32::from(lock))
    }

    pub(super) fn stays(&self, state: &State) -> bool {
        let (Some(free), Some(last)) = (self.free_from(state), state.liable) else { return false };
        free > last + W + MARGIN
    }

    pub(super) fn can(&self, state: &State, act: Act) -> bool {
        let next = state.world.btc_height() + 1;
        let staked = match state.coin() {
            Coin::Staked(id) => Some(state.world.stake(&id)),
            _ => None,
        };
        match act {
            Act::Wait => true,
            Act::Tell => state.untold.is_some(),
            Act::Leave { .. } => state.untold.is_none() && staked.is_some_and(Stake::has_quorum),
            Act::Move { .. } => {
                let own = staked.filter(|stake| stake.id == self.first(state) && stake.has_quorum());
                state.untold.is_none() && own.is_some_and(|stake| stake.check_expandable().is_ok())
            }
            Act::Forget => {
                state.untold.is_none()
                    && staked.is_some_and(|stake| {
                        stake.id != self.first(state) && stake.check_expandable().is_ok()
                    })
            }
            Act::Withdraw => self.free_from(state).is_some_and(|height| next >= height),
            // What is older than the beginning stays.
            Act::Rollback => state.rollbacks > 0 && next > start().btc_height() + K + 1,
            Act::DeepRollback => state.trips > 0 && next > start().btc_height() + K + 2,
        }
    }

    fn first(&self, state: &State) -> StakeId {
        match state.coins.first() {
            Some((_, Coin::Staked(id))) => *id,
            _ => stake(),
        }
    }

    /// One block of Bitcoin, and one of the hub.
    pub(super) fn step(&self, state: &State, act: Act) -> Option<State> {
        let mut next = state.clone();
        let mut world = (*state.world).clone();
        let staked = match state.coin() {
            Coin::Staked(id) => Some(id),
            _ => None,
        };
        match act {
            Act::Wait => world.mine(1),
            Act::Tell => {
                // Nobody takes what comes to light only when its lock is over.
                if !tell(&mut world, &next.untold.take()?.1) {
                    return None;
                }
            }
            Act::Leave { told } => {
                let id = staked?;
                let tx = world.stake(&id).presigned.unbonding.clone();
                mine(&mut world, &mut next, Coin::Unbonding(id), Untold::Left(id, tx), told);
            }
            Act::Move { told } => {
                let id = register(&mut world, &staked?, &[CULPRIT])?;
                let tx = staking_tx(&world, &id);
                mine(&mut world, &mut next, Coin::Staked(id), Untold::Moved(id, tx), told);
            }
            Act::Forget => match register(&mut world, &staked?, &[]) {
                Some(id) => {
                    let tx = staking_tx(&world, &id);
                    mine(&mut world, &mut next, Coin::Free, Untold::Moved(id, tx), true);
                }
                None if self.without == Some(Check::Former) => {
                    world.mine(1);
                    next.coins.push((world.btc_height(), Coin::Free));
                }
                None => return None,
            },
            Act::Withdraw => {
                world.mine(1);
                next.coins.push((world.btc_height(), Coin::Free));
            }
            Act::Rollback => {
                next.rollbacks -= 1;
                roll_back(&mut world, &mut next, K);
            }
            Act::DeepRollback => {
                next.trips -= 1;
                roll_back(&mut world, &mut next, K + 1);
            }
        }
        world.close();
        next.liable = next.liable.max(self.make_final(&mut next, &world));
        next.world = Arc::new(world);
        Some(next)
    }

    /// Honest voters vote in order up to the newest block, if they believe that, unless the set that they have to begin with has
    /// expired. Until when the key can sign for any of the sets that vote then.
    fn make_final(&self, state: &mut State, world: &World) -> Option<u32> {
        let zero = &world.ledger.chains()[0];
        if self.without != Some(Check::Judge) && !is_believed(world) {
            return None;
        }
        // Epochs have one height: the set of an epoch votes on the block of that number.
        let mut sets = zero.sets.range(Epoch(state.voted + 1)..).map(|(_, fixed)| fixed).peekable();
        if sets.peek().is_none_or(|first| world.btc_height() > self.expiry(world, first)) {
            return None;
        }
        state.voted = world.ledger.next_height().0 - 1;
        let is_given = self.is_given_power(world);
        let naming = sets.filter(|fixed| is_given || fixed.set.find(&provider_key(CULPRIT)).is_some());
        naming.map(|fixed| self.expiry(world, fixed)).max()
    }

    fn expiry(&self, world: &World, fixed: &FixedSet) -> u32 {
        match self.without {
            Some(Check::Expiry) => u32::MAX - W - MARGIN,
            // As though it lived as long as one that is chosen now.
            Some(Check::CarriedExpiry) if fixed.carried_over => world.btc_height() + LIFETIME,
            _ => fixed.set.header().expiry.0,
        }
    }

    /// Whether the stake counts, although by the rules it does not.
    fn is_given_power(&self, world: &World) -> bool {
        let states = match self.without {
            Some(Check::Ending) => &[StakeState::Active, StakeState::Ending][..],
            Some(Check::Quorum) => &[StakeState::Pending],
            _ => &[],
        };
        let own = |stake: &Stake| stake.providers == [provider_key(CULPRIT)];
        world.ledger.stakes().iter().any(|stake| own(stake) && states.contains(&stake.state))
    }
}

/// What a voter with its own node says of the newest block.
fn is_believed(world: &World) -> bool {
    let deep = judge::deep_height(&world.ledger);
    let blocks = &world.chain[..=deep.0 as usize];
    let spends = blocks.iter().flat_map(|block| block.txdata.iter().skip(1)).flat_map(|tx| &tx.input);
    let spends: Vec<OutPoint> = spends.map(|input| input.previous_output).collect();
    let facts = Facts {
        deep_block: Some(world.block_hash(deep.0)),
        searched: BtcHeight(world.btc_height()),
        spends: &spends,
        key: provider_key("anna"),
        commitment_sent: None,
    };
    judge::judge(&world.ledger, &facts).is_ok()
}

fn roll_back(world: &mut World, next: &mut State, depth: u32) {
    let fork = world.btc_height() - depth;
    world.reorg(depth, &[]).expect("more work");
    next.coins.retain(|(height, _)| *height <= fork);
    next.untold = next.untold.take().filter(|(height, _)| *height <= fork);
}

fn mine(world: &mut World, next: &mut State, to: Coin, spend: Untold, told: bool) {
    let (Untold::Left(_, tx) | Untold::Moved(_, tx)) = &spend;
    world.mempool.push(tx.clone());
    world.mine(1);
    next.coins.push((world.btc_height(), to));
    if told {
        assert!(tell(world, &spend), "it is new");
    } else {
        next.untold = Some((world.btc_height(), spend));
    }
}

/// Tells the ledger, unless that refuses it as matured.
fn tell(world: &mut World, spend: &Untold) -> bool {
    let message = match spend {
        Untold::Left(id, tx) => Message::Spent(OutputSpent {
            stake: *id,
            outpoint: world.stake(id).contract.coin.outpoint,
            proof: world.proof(tx),
        }),
        Untold::Moved(id, tx) => Message::Included(StakeIncluded { stake: *id, proof: world.proof(tx) }),
    };
    match world.send(&message) {
        Ok(_) => true,
        Err(why) if why.rule() == "matured" => false,
        Err(why) => panic!("a good proof: {why}"),
    }
}

/// What the ledger knows of a stake: state, places of inclusion and spend, when it is restored, whether it counts.
pub(super) type StakeView = (u8, Option<u32>, Option<u32>, u32, bool);

pub(super) fn stake_view(stake: &Stake) -> StakeView {
    let included = stake.included.map(|place| place.height.0);
    let spend = stake.spend.map(|spend| spend.place.height.0);
    (stake.state as u8, included, spend, stake.restored_at.0, stake.activated)
}
