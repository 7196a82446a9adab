//! The hub: the ledger of Palisade, the engine that makes its blocks, and what every process around it shares.
//!
//! * [`ledger`]: the deterministic state machine over messages. Pure.
//! * [`store`], [`mempool`], [`engine`]: the log on disk, what waits to come into it, and the process that writes it.
//! * [`votes`], [`checkpoints`], [`timestamps`], [`digests`], [`proofs`]: what rests on the log without being a message, or is made from it.
//! * [`client`], [`replica`]: how others read the log and check every root of it.
//! * [`learning`], [`backup`]: what keeps a log, and a key from signing twice, when a machine is lost.
//! * [`bitcoind`], [`daemon`]: a Bitcoin node's RPC, and the shell that every process wears.

pub mod api;
pub mod backup;
pub mod bitcoind;
pub mod checkpoints;
pub mod client;
pub mod config;
pub mod daemon;
pub mod digests;
pub mod engine;
pub mod governance;
pub mod handing;
pub mod init;
pub mod learning;
pub mod ledger;
pub mod mempool;
pub mod proofs;
pub mod queue;
pub mod replica;
pub mod run;
pub mod store;
pub mod timestamps;
pub mod view;
pub mod votes;
