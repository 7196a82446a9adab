//! Faults: a network of real processes is disturbed at points that a seed draws, and afterwards nothing may be missing.
//!
//! The points are system calls, counted from outside by `strace`: no program under test knows of them. See
//! docs/operations/faults.md.

pub mod at_work;
pub mod checks;
pub mod clock;
pub mod disk;
pub mod field;
pub mod link;
pub mod plan;
pub mod points;
pub mod run;
pub mod story;
pub mod strace;
pub mod torn;
pub mod witness;
