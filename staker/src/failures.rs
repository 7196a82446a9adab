//! How errors of the parts below become what a command says: whether to try again, and what to do.

use crate::book::BookError;
use crate::bump::NoChild;
use crate::exit::NoExit;
use crate::keys::NoKey;
use crate::purse::PurseError;
use crate::record::BadRecord;
use palisade_hub::bitcoind::RpcError;
use palisade_hub::client::HubError;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::private_file::ReadRefused;
use palisade_hub::replica::ReplicaError;

/// What the Bitcoin node said.
pub fn node(why: RpcError) -> Failure {
    if why.can_be_retried() {
        return Failure::not_now(format_args!("Bitcoin node: {why}")).hint("is your bitcoind running?");
    }
    Failure::failed(format_args!("Bitcoin node: {why}"))
}

/// What the hub said.
pub fn hub(why: HubError) -> Failure {
    if why.can_be_retried() {
        return Failure::not_now(why);
    }
    Failure::failed(why)
}

/// What the copy of the hub's log says.
pub fn replica(why: ReplicaError) -> Failure {
    match why {
        ReplicaError::Hub(why) => hub(why),
        why @ ReplicaError::Invalid(_) => Failure::failed(why).hint(
            "the hub lies, or runs other rules: nothing was taken from it; your coins do not depend on it",
        ),
        why if why.is_of_the_disk() => Failure::not_now(why).hint(
            "the disk is full, or fails: make room on it, then run the command again; it goes on where it was",
        ),
        why @ (ReplicaError::Store(_) | ReplicaError::Unusable { .. }) => Failure::failed(why).hint(
            "it is a copy of the hub's log and holds nothing of yours: move it away, and the next command fetches it again",
        ),
    }
}

impl From<PurseError> for Failure {
    fn from(why: PurseError) -> Self {
        match why {
            PurseError::Rpc(why) => node(why),
            why @ PurseError::NotEnough { .. } => {
                Self::not_now(why).hint("send coins to `palisade-staker address` and wait for a confirmation")
            }
            why @ PurseError::NoSingleCoin { .. } => Self::not_now(why).hint(
                "send that much to `palisade-staker address` in one payment and wait for a confirmation",
            ),
            why => Self::failed(why),
        }
    }
}

impl From<NoChild> for Failure {
    fn from(why: NoChild) -> Self {
        match why {
            NoChild::Rpc(why) => node(why),
            NoChild::Purse(why) => why.into(),
            why @ NoChild::Ceiling { .. } => Self::not_now(why).hint("--max-fee AMOUNT allows more"),
            why @ NoChild::TooLong => {
                Self::not_now(why).hint("join the wallet's coins: send them to `palisade-staker address`")
            }
            why @ NoChild::NoChange => Self::failed(why)
                .hint("it confirms when blocks have room for what it pays; `palisade-staker status` says until when it counts"),
            why @ NoChild::Compatible => Self::failed(why)
                .hint("it confirms when blocks have room for what it pays; the timelock always works"),
        }
    }
}

impl From<BookError> for Failure {
    fn from(why: BookError) -> Self {
        let hint = match why {
            BookError::Missing { .. } => {
                "your coins are where they were: `palisade-staker recover` finds the stakes of this wallet's keys in the hub's log, \
                 and with --backup FILE those of a backup; until then nothing is done"
            }
            BookError::Unwritable { .. } => return Self::failed(why),
            BookError::Unreadable { cause: ReadRefused::OpenToOthers { .. }, .. } => {
                "look whether it is as you left it, then `chmod 600` it: others could have changed it"
            }
            _ => {
                "move the file away; `palisade-staker recover` then makes it again from the hub's log, and with --backup FILE from \
                 a backup"
            }
        };
        Self::failed(why).hint(hint)
    }
}

macro_rules! fails {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(why: $error) -> Self {
                Self::failed(why)
            }
        }
    )*};
}

// Ours only: errors of other crates are turned into failures where it is known what they mean.
fails!(NoKey, BadRecord, NoExit);
