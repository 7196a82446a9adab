//! The finality provider: votes on chains' blocks, and never signs twice.
//!
//! Two processes. The *signer* ([`signer`]) holds the keys and the record of what they signed; it answers a handful of
//! requests over a Unix socket. The *voter* ([`voter`]) replays the hub's log, asks its own Bitcoin node, and decides
//! what deserves a vote. The voter may be wrong, lied to, or run twice: the signer still signs one block a height.

pub mod add_chain;
pub mod backup;
pub mod init;
pub mod keys;
#[cfg(test)]
mod model;
pub mod register;
pub mod signer;
pub mod status;
pub mod voter;
