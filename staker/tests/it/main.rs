//! Stories of a holder on a real bitcoind, with a hub, a reporter and a committee around them.

mod fees;
mod late;
mod leaving;
mod liar;
mod mishaps;
mod orders;
mod party;
mod program;
mod rates;
mod stories;
