//! The rules of Palisade: what is valid.
//!
//! Pure: no I/O, no clock, no randomness, no threads, no floats, no panics. Every function takes all that it needs
//! and returns what follows from it. A chain team can take this crate alone and verify everything that a hub claims.
//! The specification is `docs/protocol.md`; comments cite its sections.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::expect_used,
        clippy::float_arithmetic,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::panic_in_result_fn,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

// So that tests which another crate shares name this crate as it does.
#[cfg(test)]
extern crate self as palisade_protocol;

pub mod adaptor;
pub mod anchor;
pub mod backing;
pub mod bip322;
pub mod block;
pub mod bls;
pub mod chain;
pub mod checkpoint;
pub mod codec;
pub mod context;
pub mod covenant;
pub mod curve;
pub mod eots;
pub mod finality;
pub mod genesis;
pub mod governance;
pub mod hash;
pub mod inclusion;
pub mod keys;
pub mod message;
pub mod nonce;
pub mod outputs;
pub mod params;
pub mod proof;
pub mod provider;
pub mod registration;
pub mod scripts;
pub mod stake;
pub mod state;
pub mod timestamp;
pub mod transactions;
pub mod tree;
pub mod units;
