//! One target under libFuzzer, whose own `main` starts this: `PALISADE_FUZZ_TARGET` names the target.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{Target, find};
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("PALISADE_FUZZ_TARGET").expect("PALISADE_FUZZ_TARGET names a target");
    find(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(init: LazyLock::force(&TARGET), |bytes| {
    (TARGET.run)(bytes);
});
