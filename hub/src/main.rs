//! Palisade hub.

fn main() {}
