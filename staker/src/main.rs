//! Palisade staker.

fn main() {}
