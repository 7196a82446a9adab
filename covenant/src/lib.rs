//! The committee member: re-derives every stake from the log, judges it, signs or refuses, and keeps an audit log.
//!
//! Promises: it signs only what it computed itself from the registration and the parameters; what it answers is on disk before it
//! leaves; a stake is answered once. Not here: keys of other members, and any way to spend coins without the holder.

pub mod audit;
pub mod backup;
pub mod config;
pub mod init;
pub mod judge;
pub mod member;
pub mod run;
pub mod sign;
pub mod window;

#[cfg(test)]
mod fixtures;
