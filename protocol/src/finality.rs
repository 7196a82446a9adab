//! Finality: who may vote, how votes are counted, and what makes a block final. Source: docs/protocol.md, section 7.

pub mod certificate;
pub mod commitment;
pub mod evidence;
pub mod set;
pub mod tally;
pub mod vote;

#[cfg(test)]
mod tests;
