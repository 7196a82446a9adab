//! Palisade checkpointer.

fn main() {}
