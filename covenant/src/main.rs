//! Palisade covenant.

fn main() {}
