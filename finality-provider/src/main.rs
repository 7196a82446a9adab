//! Palisade finality-provider.

fn main() {}
