//! A hub under load: the shipped program, honest voters and holders, and a process of its own that floods it with messages of which
//! only the signature is wrong. What is measured is compared within one run. See docs/operations/load.md.

pub mod crowd;
pub mod figures;
pub mod flood;
pub mod plan;
pub mod run;
pub mod scene;
pub mod storm;
