//! The log on disk.

use crate::World;
use palisade_hub::engine::Hub;
use palisade_hub::replica::{AT_ONCE, Replica};
use std::path::Path;
use std::sync::Arc;

impl World {
    /// The log in a directory (made if it is missing), with the state after it.
    pub fn replica(&self, dir: &Path) -> Replica {
        std::fs::create_dir_all(dir).expect("a directory");
        let mut replica = Replica::open(dir, self.ledger.genesis().clone()).expect("a log");
        for blocks in self.log.chunks(AT_ONCE) {
            let (_, refused) = replica.take_all(blocks);
            assert!(refused.is_none(), "{refused:?}");
        }
        replica
    }

    /// A hub that goes on from the log, with its own in a directory (made if it is missing).
    pub fn hub(&self, dir: &Path) -> Arc<Hub> {
        let (ledger, store) = self.replica(dir).into_parts();
        Hub::new(ledger, store)
    }
}
