//! The formats of the protocol, and the judges behind them: what any program of ours may be handed by anybody.

pub(crate) mod bitcoin;
pub(crate) mod documents;
pub(crate) mod log;

pub(crate) use log::{own_share, own_vote};

use crate::story::{Told, story};
use palisade_protocol::codec::Wire;

fn all_told() -> impl Iterator<Item = &'static Told> {
    story().told.values().flatten()
}

/// Decodes a value, which has no other bytes than these.
pub(crate) fn canonical<T: Wire>(bytes: &[u8]) -> Option<T> {
    T::from_bytes(bytes).ok().filter(|value| is_same(value, bytes))
}

fn is_same(value: &impl Wire, bytes: &[u8]) -> bool {
    assert!(value.to_bytes() == bytes, "what was decoded has other bytes");
    true
}
