//! From nothing to the first final blocks of both chains, as `make demo` begins: a real bitcoind, the shipped programs.

use crate::table::{Row, Target};
use palisade_regtest::demo::story::Story;
use std::time::Instant;
use tokio::runtime::Runtime;

pub fn rows() -> Vec<Row> {
    let dir = tempfile::tempdir().expect("a directory");
    let took = Runtime::new().expect("threads").block_on(async {
        let began = Instant::now();
        let story = Story::until_final(&dir.path().join("network")).await.expect("final blocks");
        let took = began.elapsed();
        story.stop().await.expect("everything stops");
        took
    });
    let work = "demo: first final blocks of both chains, everything built".to_owned();
    let (ours, target) = (took.as_secs_f64() * 1e6, Target::Within(30.0));
    vec![Row { work, ours, floor: None, go: None, target }]
}
