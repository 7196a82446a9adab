//! A timestamp in the eyes of an outsider: the standard OpenTimestamps client, on the same bitcoind.

use anyhow::Context as _;
use palisade_regtest::demo::story::Story;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The client that `make test` has installed beside the programs of the build.
fn client() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("a build tree")?;
    let ots = target.join("ots/bin/ots");
    anyhow::ensure!(ots.exists(), "{} is missing: run regtest/ots/provision.sh", ots.display());
    Ok(ots)
}

/// What the client says of a file, and whether it succeeds.
pub async fn verify(node: &str, proof: &Path) -> anyhow::Result<(bool, String)> {
    let mut ots = Command::new(client()?);
    ots.args(["--no-cache", "--btc-regtest", "--bitcoin-node", node, "verify"]).arg(proof);
    let done = ots.output().await?;
    Ok((done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned()))
}

#[tokio::test]
async fn the_standard_client_verifies_our_file_against_the_node_and_nothing_altered() {
    let dir = tempfile::tempdir().unwrap();
    let story = Story::until_timestamped(&dir.path().join("network")).await.unwrap();
    let network = story.network();
    let cookie = std::fs::read_to_string(network.node.cookie_path()).unwrap();
    let node = network.node.rpc_url().replace("http://", &format!("http://{}@", cookie.trim()));
    let (document, proof) = (network.dir.join("document.txt"), network.dir.join("document.txt.ots"));

    let (verified, said) = verify(&node, &proof).await.unwrap();
    assert!(verified && said.contains("Success! Bitcoin block"), "{said}");

    let honest = std::fs::read(&proof).unwrap();
    // Half way, and in the height of the block: the last byte.
    for place in [honest.len() / 2, honest.len() - 1] {
        let mut altered = honest.clone();
        altered[place] ^= 1;
        std::fs::write(&proof, &altered).unwrap();
        let (verified, said) = verify(&node, &proof).await.unwrap();
        assert!(!verified, "byte {place} of {}: {said}", honest.len());
    }
    std::fs::write(&proof, &honest).unwrap();
    std::fs::write(&document, "Another document.\n").unwrap();
    let (verified, said) = verify(&node, &proof).await.unwrap();
    assert!(!verified, "{said}");
    story.stop().await.unwrap();
}
