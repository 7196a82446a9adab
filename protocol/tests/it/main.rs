//! Our rules beside what others have made: the wallet library of the field, Babylon's Go code, and a second implementation of
//! the specification.
//!
//! The folders of `tests/fixtures` say where each file comes from and how it is made anew; `docs/vectors` does for the last.

mod babylon_go;
mod btc_staking_ts;
mod decoding;
mod edits;
mod exposure;
mod parse;
mod specification;
mod vectors;
mod ways;
