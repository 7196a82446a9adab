//! Empty: see `provision.sh`, which only wants the source of Bitcoin Core that this manifest locks.
