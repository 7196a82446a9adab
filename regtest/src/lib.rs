//! Real bitcoind under test.
