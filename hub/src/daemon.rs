//! The shell that every Palisade process wears: configuration, keys at rest, logging, stopping, the HTTP door.
//!
//! One idea a file. A daemon's `main` is: parse flags, [`log::init`], [`config::load`], [`lock::DirLock::acquire`],
//! then [`shutdown::run`] around a [`serve::Server`] and its own work.
//!
//! Promises: unknown configuration keys and unasked-for mainnet are refused, secrets never print, files that hold
//! secrets are 0600 and never overwritten, memory that holds them is in no core file, a stop takes at most five seconds.
//!
//! Not here: what any process does, and anything that the rules of the protocol decide.

pub mod amount;
pub mod api;
pub mod ask;
pub mod backup;
pub mod backup_report;
pub mod bounded;
mod cause;
pub mod command_line;
pub mod config;
pub mod database;
pub mod endpoint;
pub mod exit;
pub mod genesis;
pub mod health;
pub mod interval;
pub mod keyfile;
pub mod keygen;
pub mod lock;
pub mod log;
pub mod memory;
pub mod network;
pub mod node;
pub mod node_args;
pub mod password;
pub mod private_file;
pub mod secret;
pub mod serve;
pub mod shutdown;
pub mod template;
