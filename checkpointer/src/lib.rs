//! The checkpointer: what happens on Bitcoin reaches the hub, and misbehaviour is punished on Bitcoin.
//!
//! * [`report`]: sends headers, inclusions and spends to the hub. What the ledger lacks is sent, whatever was sent before.
//! * [`watch`]: finds keys that are out, and slashes every stake that names one, with the hub or without it.
//! * [`anchor`]: puts the hub's state on Bitcoin, signed by the set of each epoch.
//! * [`prove`], [`headers`], [`verify`]: files that show a block final and anchored, fresh Bitcoin headers for them, and their judge,
//!   which needs nothing else.
//!
//! Each of the first three is a process of its own, with its own copy of the log and its own Bitcoin node. What the hub's API shows is never
//! believed: only what follows from the log, and from Bitcoin.

pub mod anchor;
pub mod backup;
pub mod config;
mod files;
pub mod headers;
pub mod init;
pub mod prove;
pub mod report;
mod shell;
pub mod verify;
pub mod wallet;
pub mod watch;

pub use shell::{FileError, Pass, PassError};
