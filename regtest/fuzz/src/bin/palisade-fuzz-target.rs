//! One target under libFuzzer, whose own `main` starts this: `PALISADE_FUZZ_TARGET` names the target. Before anything is altered,
//! each file in `PALISADE_FUZZ_SEEDS` must be accepted: in this very program, whose story must be everybody's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Outcome, Target, find};
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("PALISADE_FUZZ_TARGET").expect("PALISADE_FUZZ_TARGET names a target");
    find(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fn accept_seeds() {
    let Some(dir) = std::env::var_os("PALISADE_FUZZ_SEEDS") else { return };
    for seed in std::fs::read_dir(dir).expect("a directory of seeds") {
        let path = seed.expect("a seed").path();
        let bytes = std::fs::read(&path).expect("a seed");
        assert_eq!((TARGET.run)(&bytes), Outcome::Accepted, "the seed {} is refused here", path.display());
    }
}

fuzz_target!(init: accept_seeds(), |bytes| {
    (TARGET.run)(bytes);
});
