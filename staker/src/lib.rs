//! The holder's wallet: stake bitcoin, keep the keys, leave when one likes.
//!
//! * What is known: [`keys`], [`purse`] (coins), [`book`] and [`record`] (stakes), [`session`] (all of it, open).
//! * What the own node says: [`behind`] (whether it may be asked), [`coins`] (where a stake's are, and what took them).
//! * What is decided, without talking to anybody: [`register`], [`exit`], [`verify`], [`plan`], [`standing`] (what
//!   the log says of a stake), [`rival`], and [`words`], which say all that to people.
//! * What is done: one module a command; [`finish`] is the way from a stake written down to one locked.
//!
//! Promises: nothing is locked before the exits that the holder alone can take are signed and judged, and (unless asked
//! otherwise) before a quorum of the committee's signatures is verified here; a step is on disk before it is on the wire;
//! withdrawing needs a Bitcoin node and the book or a backup of it, and nothing else.

pub mod amount;
pub mod backup;
pub mod behind;
pub mod book;
pub mod bump;
pub mod cli;
pub mod coins;
pub mod config;
pub mod exit;
pub mod extend;
pub mod failures;
pub mod finish;
pub mod funds;
pub mod init;
pub mod journal;
pub mod keys;
pub mod plan;
pub mod providers;
pub mod purse;
pub mod raise;
pub mod rates;
pub mod record;
pub mod recover;
pub mod register;
pub mod rival;
pub mod session;
pub mod spare;
pub mod stake;
pub mod standing;
pub mod status;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod unbond;
pub mod verify;
pub mod when;
pub mod withdraw;
pub mod words;
