//! Daemons whose log nobody takes any more: its disk is full, or whoever read it has ended.

use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::story::Story;
use palisade_regtest::process::Daemon;
use std::ffi::OsString;

/// All of a story's daemons but the development chain, which is no part of what we ship.
fn shipped(story: &mut Story) -> impl Iterator<Item = &mut Daemon> {
    let (network, operators) = story.processes_mut();
    let all = network.daemons_mut().chain(operators.iter_mut().flat_map(Operator::daemons_mut));
    all.filter(|daemon| !daemon.log().ends_with("devchain.log"))
}

/// Starts each daemon again with such a standard error, has the network make blocks final, and asks all of them to stop.
async fn goes_on_with(story: &mut Story, stderr: &str) {
    let script = format!("exec \"$@\" 2> {stderr}");
    let wrapper = ["bash", "-c", &script, "bash"].map(OsString::from);
    let mut started = 0;
    for daemon in shipped(story) {
        daemon.end().await.unwrap();
        daemon.start_again_under(&wrapper, None).unwrap();
        started += 1;
    }
    // The hub, five members, three daemons of a checkpointer, four signers and voters.
    assert_eq!(started, 17);
    let began = story.final_now().await.unwrap();
    story.further(&began, 4).await.unwrap();
    shipped(story).for_each(|daemon| daemon.check().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_whose_logs_nobody_takes_goes_on_and_stops_when_it_is_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&directory.path().join("network")).await.unwrap();
    for stderr in ["/dev/full", ">(exec true)"] {
        goes_on_with(&mut story, stderr).await;
    }
    for daemon in shipped(&mut story) {
        daemon.end().await.unwrap();
    }
}
