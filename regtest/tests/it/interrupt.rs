//! Whoever interrupts the demo is left with nothing that runs.

use anyhow::Context as _;
use palisade_regtest::process::{binary, wait_for};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

/// Command lines of all processes that name a text.
pub fn processes(naming: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // A process can end while it is looked at.
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(naming) {
            found.push(line);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn an_interrupted_demo_stops_everything_that_it_started_in_any_directory() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a long path with spaces and 'quotes'").join("x".repeat(120));
    let mut demo = Command::new(binary("palisade-demo").unwrap())
        .env("DEMO_DIR", &dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = BufReader::new(demo.stdout.take().unwrap()).lines();
    loop {
        let line = told.next_line().await.unwrap().context("the demo goes on").unwrap();
        assert!(!line.contains('\x1b'), "without a terminal there are no escape codes: {line}");
        if line.contains("done 1.1") {
            break;
        }
    }
    // bitcoind, hub, five members, two daemons of the checkpointer, the chain, four operators with two processes each.
    let name = folder.path().display().to_string();
    let running = processes(&name).unwrap();
    assert!(running.len() >= 18, "{}: {running:#?}", running.len());

    let id = demo.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let ended = demo.wait().await.unwrap();
    let mut said = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("interrupted: everything that was started is stopped"), "{said}");
    let gone = || Ok(processes(&name)?.is_empty());
    wait_for("everything has stopped", gone, || Ok(())).await.unwrap();
}
