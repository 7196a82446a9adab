//! The question before money moves.

pub use palisade_hub::daemon::ask::{confirm, progress};
