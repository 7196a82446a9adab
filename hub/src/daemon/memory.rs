//! What a process has in memory stays there: no core file when it crashes, and no look into it for other programs of its user.
//!
//! Promise: after [`keep_private`] the system writes no core of the process, neither into a file nor into a collector's pipe, and
//! only root may trace it or read its memory and its environment (`/proc/PID/mem`, `/proc/PID/environ`).
//!
//! Not here: swap (encrypt it, or have none), root, and the moment between the process's start and this call.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Keeps the process's memory to itself, for good. Programs that it starts have no core files either.
pub fn keep_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit does not hold for cores that the system pipes to a collector; this does.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
