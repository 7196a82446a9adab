//! A slash is never escaped (design, sections 4 and 6): while a key can still sign for a set that it got power in, its coins lie where
//! its key slashes them, and stay there long enough for that.
//!
//! One stake of a provider who may sign twice at any moment, and a holder who is with it: the coins stay, leave early, move to
//! another provider (twice), are withdrawn as soon as a lock is over, in every order, each told to the hub at once or as late as
//! anybody likes; one Bitcoin block may be lost, or so many that the breaker trips and sets are carried over. After each block of Bitcoin the hub makes one, and fixes a set (its epochs have one
//! height). What the ledger takes is real messages; what an honest voter takes is `judge`; what slashes is the watcher's own
//! `slashing`, and Bitcoin Core's rules judge its transactions.
//!
//! Not here: fees, and how a slashing gets into a block.

mod coins;
mod start;
mod tests;

use bitcoin::Transaction;
use coins::Coin;
use palisade_protocol::stake::StakeId;
use palisade_world::World;
use stateright::{Model, Property};
use std::sync::Arc;

/// A check that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Nobody signs under a set, and nobody believes what was signed, after its expiry.
    Expiry,
    /// A stake has no power in its last unbonding time.
    Ending,
    /// Nobody votes for a hub that hides a spend which is k deep.
    Judge,
    /// A replaced key stays named for one unbonding time: the coins move although the ledger refuses it.
    Former,
    /// The unbonding time covers k + 2D + w + margin. It is one block less.
    UnbondingTime,
    /// A carried-over set expires when the one before it does. It lives as long as a new one.
    CarriedExpiry,
    /// A stake has power only when a quorum has signed its slashing.
    Quorum,
}

struct Slashing {
    without: Option<Check>,
    blocks: u32,
    rollbacks: u8,
    /// Rollbacks that trip the breaker.
    trips: u8,
}

#[derive(Clone)]
struct State {
    world: Arc<World>,
    /// Where the coins were, from which height on.
    coins: Vec<(u32, Coin)>,
    /// A spend that the ledger has not been told of, and its height.
    untold: Option<(u32, Untold)>,
    /// The last height at which the key can sign for a set that counts it.
    liable: Option<u32>,
    /// The last height that honest voters have voted on.
    voted: u64,
    rollbacks: u8,
    trips: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Untold {
    /// By its unbonding transaction.
    Left(StakeId, Transaction),
    /// Into this one.
    Moved(StakeId, Transaction),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Wait,
    Tell,
    Leave {
        told: bool,
    },
    /// To another provider; the old one stays named without power.
    Move {
        told: bool,
    },
    /// Again, without the old one.
    Forget,
    Withdraw,
    /// Bitcoin loses as many blocks as it may.
    Rollback,
    /// One more: the breaker trips, and nobody resumes.
    DeepRollback,
}

type View = (u32, Vec<(u32, u8)>, Option<u32>, [Option<u32>; 2], [u8; 2], Vec<coins::StakeView>, bool);

impl State {
    fn view(&self) -> View {
        let coins = self.coins.iter().map(|(height, coin)| (*height, coin.number())).collect();
        let ledger = &self.world.ledger;
        let stakes = ledger.stakes().iter().map(coins::stake_view).collect();
        let untold = self.untold.as_ref().map(|(height, _)| *height);
        let voted = Some((ledger.next_height().0 - self.voted) as u32);
        let tripped = ledger.breaker().is_some();
        (
            self.world.btc_height(),
            coins,
            untold,
            [self.liable, voted],
            [self.rollbacks, self.trips],
            stakes,
            tripped,
        )
    }
}

seen_by_view!(State);

impl Model for Slashing {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.world.btc_height() >= start::start().btc_height() + self.blocks {
            return;
        }
        let all = [
            Act::Wait,
            Act::Tell,
            Act::Leave { told: true },
            Act::Leave { told: false },
            Act::Move { told: true },
            Act::Move { told: false },
            Act::Forget,
            Act::Withdraw,
            Act::Rollback,
            Act::DeepRollback,
        ];
        acts.extend(all.into_iter().filter(|act| self.can(state, *act)));
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        self.step(state, act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STAYS, |model: &Self, state: &State| !state.is_liable() || model.stays(state)),
            Property::always(SLASHED, |_, state: &State| !state.is_liable() || state.is_slashed()),
            Property::sometimes(LIABLE, |_, state: &State| state.is_liable()),
            Property::sometimes(LATE, |_, state: &State| state.is_liable() && state.untold.is_some()),
            Property::sometimes(MOVED, |_, state: &State| {
                state.is_liable()
                    && state
                        .coins
                        .iter()
                        .any(|(_, coin)| matches!(coin, Coin::Staked(stake) if *stake != start::stake()))
            }),
            Property::sometimes(CARRIED, |_, state: &State| {
                let newest = state.world.ledger.chains()[0].newest();
                let left = matches!(state.coin(), Coin::Unbonding(_)) && state.is_liable();
                left && newest.is_some_and(|(_, fixed)| fixed.carried_over)
            }),
            Property::sometimes(FREE, |_, state: &State| state.coin() == Coin::Free),
        ]
    }
}

const STAYS: &str = "while a key can sign, its coins are locked for longer than a slashing takes";
const SLASHED: &str = "while a key can sign, what was signed beforehand slashes its coins";
const LIABLE: &str = "the key can sign";
const LATE: &str = "the key can sign while a spend is kept from the hub";
const MOVED: &str = "the key can sign after its coins moved to another provider";
const CARRIED: &str = "the key can sign for a carried-over set while the stake unbonds";
const FREE: &str = "the coins get free";
