//! Our rules beside what others have made: the wallet library of the field, and Babylon's Go code.
//!
//! The folders of `tests/fixtures` say where each file comes from and how it is made anew.

mod babylon_go;
mod btc_staking_ts;
mod parse;
