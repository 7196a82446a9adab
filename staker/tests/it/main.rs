//! Stories of a holder on a real bitcoind, with a hub, a reporter and a committee around them.

mod liar;
mod mishaps;
mod party;
mod program;
mod stories;
