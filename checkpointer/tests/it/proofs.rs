//! What somebody who proves and verifies is told: what holds, what does not, and what only needs time.

use crate::lies::{DEV, provable};
use bitcoin::Block;
use bitcoin::consensus::encode::serialize;
use palisade_checkpointer::headers::Headers;
use palisade_checkpointer::prove::{Made, Prove};
use palisade_checkpointer::verify::{Shown, Verify};
use palisade_checkpointer::watch::read_evidence;
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::Hash32;
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use palisade_protocol::units::BtcHeight;
use palisade_regtest::Node;
use palisade_regtest::hub::serve;
use palisade_world::World;
use std::path::{Path, PathBuf};

/// A hub with a block that can be proven, until the stop.
struct Scene {
    world: World,
    node: Node,
    dir: tempfile::TempDir,
    hub: HubClient,
    stop: Shutdown,
}

impl Scene {
    async fn new() -> Self {
        let (world, dir, stop) = (provable(), tempfile::tempdir().unwrap(), Shutdown::manual());
        let hub = serve(&world.hub(dir.path()), &stop).await;
        let hub = HubClient::new(hub.parse().unwrap());
        let node = Node::of(&world).await.unwrap();
        Self { world, node, dir, hub, stop }
    }

    /// The flags of the node, which takes what blocks the world has.
    async fn node_args(&self) -> NodeArgs {
        self.node.follow(&self.world).await.unwrap();
        let (url, cookie) = (self.node.rpc_url(), self.node.cookie_path());
        NodeArgs { url, cookie: Some(cookie), user: None, user_password: None }
    }

    async fn prove(&self) -> Made {
        self.try_to_prove().await.unwrap()
    }

    async fn try_to_prove(&self) -> Result<Made, Failure> {
        let node = self.node_args().await;
        let (chain, hub) = (DEV.parse().unwrap(), self.hub.url().clone());
        let out = self.dir.path().join("the proof");
        Prove { chain, height: 200, hub, node, out }.run().await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

fn verify(made: &Made, min_depth: Option<u32>) -> Result<Shown, Failure> {
    Verify { min_depth, ..files(made) }.run()
}

fn files(made: &Made) -> Verify {
    let Made { proof, headers, root, .. } = made;
    let (proof, headers, root) = (proof.clone(), headers.clone(), root.clone());
    Verify { proof, headers, root, min_depth: None, accept_incarnation: 0 }
}

fn write_headers(path: &Path, blocks: &[Block]) {
    let headers: Vec<u8> = blocks.iter().flat_map(|block| serialize(&block.header)).collect();
    std::fs::write(path, headers).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_is_too_young_is_not_final_yet_and_newer_headers_show_it_without_the_hub() {
    let mut scene = Scene::new().await;
    let made = scene.prove().await;
    let Shown { depth, final_depth, final_at_height, anchor_height, .. } = made.shown;
    assert!(depth < final_depth && final_at_height == anchor_height + final_depth);
    assert!(!made.shown.is_final && made.shown.to_string().contains("anchored, and not final yet"));
    let said = made.to_string();
    assert!(said.contains(&format!("from Bitcoin height {final_at_height} on")), "{said}");
    assert!(
        said.contains(&made.refresh) && said.contains(&format!("{} --min-depth {depth}", made.verify)),
        "{said}"
    );
    let why = verify(&made, None).unwrap_err();
    assert_eq!(why.exit() as u8, 1, "{why}");
    let said = why.to_json();
    assert_eq!((&said["rule"], &said["exit_code"]), (&"depth".into(), &1.into()), "{said}");
    assert_eq!(said["missing_blocks"], final_depth - depth, "{said}");
    assert_eq!(said["final_at_height"], final_at_height, "{said}");
    let missing = format!("{} blocks missing", final_depth - depth);
    assert!(why.to_string().contains(&missing), "{why}");
    assert!(why.to_string().contains(&format!("once Bitcoin is at height {final_at_height}")), "{why}");
    // What `prove` says to enter now is good now.
    let shown = verify(&made, Some(depth)).unwrap();
    assert_eq!((shown.depth, shown.is_final), (depth, false));

    scene.stop.trigger();
    for (more, code) in [(final_depth - depth - 1, 1), (1, 0)] {
        scene.world.mine(more);
        let node = scene.node_args().await;
        let headers = Headers { proof: made.proof.clone(), out: made.headers.clone(), node };
        assert_eq!(headers.run().await.unwrap().tip_height, scene.world.btc_height());
        let verified = verify(&made, None);
        assert_eq!(verified.as_ref().map_or_else(|why| why.exit() as u8, |_| 0), code, "{verified:?}");
    }
    // A slip costs neither proof nor root.
    for kept in [&made.proof, &made.root] {
        let before = std::fs::read(kept).unwrap();
        let node = scene.node_args().await;
        let headers = Headers { proof: made.proof.clone(), out: kept.clone(), node };
        let why = headers.run().await.unwrap_err();
        assert!(why.exit() as u8 == 2 && why.to_string().contains("holds no headers"), "{why}");
        assert_eq!(std::fs::read(kept).unwrap(), before);
    }
    let asked = verify(&made, Some(final_depth + 1)).unwrap_err();
    assert!(asked.exit() as u8 == 1 && asked.to_string().contains("1 block missing"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_verifies_is_told_by_which_depth_and_where_that_comes_from() {
    let mut scene = Scene::new().await;
    let young = scene.prove().await.shown;
    let w = young.final_depth;
    let by_genesis = format!("deep enough by w = {w} of the genesis document that the root file names");
    assert!(young.to_string().contains(&format!("not {by_genesis}; if governance")), "{young}");
    scene.world.mine(w - young.depth);
    let made = scene.prove().await;
    // What is asked for, by whom, and how deep that is under all that there is.
    for (asked, from, wanted, enough) in [
        (None, "genesis", w, true),
        (Some(w), "flag", w, true),
        (Some(1), "flag", 1, true),
        (Some(w + 1), "flag", w + 1, false),
    ] {
        let verified = verify(&made, asked);
        let said =
            verified.as_ref().map_or_else(Failure::to_json, |shown| serde_json::to_value(shown).unwrap());
        assert_eq!((&said["depth_from"], &said["wanted_depth"]), (&from.into(), &wanted.into()), "{said}");
        assert_eq!(verified.is_ok(), enough, "{said}");
        let words = verified.map_or_else(|why| why.to_string(), |shown| shown.to_string());
        match asked {
            None => {
                assert!(words.contains(&format!("{by_genesis}; if governance has set another")), "{words}")
            }
            Some(depth) => assert!(words.contains(&format!(" by --min-depth {depth}")), "{words}"),
        }
    }
    write_headers(
        &made.headers,
        &scene.world.chain[headers_from(&scene, &made)..scene.world.chain.len() - 1],
    );
    let why = verify(&made, None).unwrap_err();
    assert_eq!((why.to_json()["depth_from"].as_str(), why.exit() as u8), (Some("genesis"), 1), "{why}");
    assert!(why.to_string().contains(&format!("{w} are wanted by w = {w} of the genesis")), "{why}");
    assert!(why.to_string().contains("if governance has set another"), "{why}");
}

/// Height of the first header in the file.
fn headers_from(scene: &Scene, made: &Made) -> usize {
    scene.world.chain.len() - std::fs::read(&made.headers).unwrap().len() / 80
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_that_is_there_stays_and_nothing_is_written_beside_it() {
    let scene = Scene::new().await;
    let made = scene.prove().await;
    let files = [&made.root, &made.headers, &made.proof];
    let good = std::fs::read(&made.root).unwrap();
    let root = TrustRoot::from_bytes(&good).unwrap();
    let of_another = TrustRoot { hub: Hash32([7; 32]), ..root.clone() };
    let recovered = TrustRoot { incarnation: 1, ..root.clone() };
    let another = TrustRoot { btc_height: BtcHeight(root.btc_height.0 + 1), ..root };
    for (there, part) in [
        (of_another.to_bytes(), "holds the root of another hub, 0707"),
        (another.to_bytes(), "holds another root of the same hub"),
        (
            recovered.to_bytes(),
            "holds the root of incarnation 1 of the same hub's chain zero, and this one is of incarnation 0",
        ),
        (b"text".to_vec(), "holds something that is no trust root"),
        (vec![0; 2_000], "holds something that is no trust root"),
    ] {
        let old = [there.as_slice(), b"old headers", b"old proof"];
        for (file, bytes) in files.iter().zip(old) {
            std::fs::write(file, bytes).unwrap();
        }
        let why = scene.try_to_prove().await.unwrap_err();
        assert!(why.to_string().contains(part) && why.to_string().contains("--out"), "{why}");
        assert_eq!((why.to_json()["rule"].as_str(), why.exit() as u8), (Some("other-root"), 1));
        assert_eq!(files.map(|file| std::fs::read(file).unwrap()), old.map(<[u8]>::to_vec));
    }
    // The same root is left alone, even where it could not be written.
    std::fs::write(&made.root, &good).unwrap();
    std::fs::remove_file(&made.proof).unwrap();
    std::fs::set_permissions(&made.root, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let dated = made.root.metadata().unwrap().modified().unwrap();
    scene.prove().await;
    assert_eq!(made.root.metadata().unwrap().modified().unwrap(), dated);
    verify(&made, Some(0)).unwrap();
    // Something in the way of one file keeps all from being written.
    for in_the_way in files {
        files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        std::fs::create_dir(in_the_way).unwrap();
        let why = scene.try_to_prove().await.unwrap_err();
        assert!(why.to_string().contains(&format!("{}: it is not a file", in_the_way.display())), "{why}");
        std::fs::remove_dir(in_the_way).unwrap();
        assert_eq!(std::fs::read_dir(in_the_way.parent().unwrap()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_names_the_file_the_rule_and_what_was_wanted() {
    let scene = Scene::new().await;
    let made = scene.prove().await;
    let from = headers_from(&scene, &made);
    let chain = &scene.world.chain;
    let (proof, root) = (std::fs::read(&made.proof).unwrap(), std::fs::read(&made.root).unwrap());
    type Break<'a> = &'a dyn Fn();
    let breaks: [(Break<'_>, &str, &str, &str); 9] = [
        (
            &|| std::fs::write(&made.root, [root.as_slice(), &[0; 1_024]].concat()).unwrap(),
            "encoding",
            "hub.root is no trust root: it has more than 1024 bytes",
            "`hub.root`",
        ),
        (
            &|| std::fs::write(&made.headers, &std::fs::read(&made.headers).unwrap()[1..]).unwrap(),
            "encoding",
            "bytes are no multiple of 80",
            "80 bytes",
        ),
        (
            &|| std::fs::write(&made.proof, &root).unwrap(),
            "encoding",
            "block.proof is no proof: ",
            "`block.proof`",
        ),
        (
            &|| std::fs::write(&made.root, &proof[..900]).unwrap(),
            "encoding",
            "hub.root is no trust root: ",
            "`hub.root`",
        ),
        (
            &|| std::fs::write(&made.headers, "text").unwrap(),
            "encoding",
            "bitcoin.headers is no file of headers: ",
            "80 bytes",
        ),
        (&|| std::fs::write(&made.headers, []).unwrap(), "headers", "at least 11 are needed", "80 bytes"),
        (
            &|| std::fs::write(&made.headers, [7; 80 * 20]).unwrap(),
            "headers",
            "bitcoin.headers is no file of headers: ",
            "80 bytes",
        ),
        // From a wrong height on, and an end before the anchor.
        (
            &|| write_headers(&made.headers, &chain[from + 1..]),
            "root-block",
            "bitcoin.headers: the headers do not hold",
            "fresh",
        ),
        (
            &|| write_headers(&made.headers, &chain[from..made.shown.anchor_height as usize]),
            "unknown-block",
            "is not among the headers",
            "headers that end before the anchor",
        ),
    ];
    let good = std::fs::read(&made.headers).unwrap();
    for (change, name, rule, hint) in breaks {
        change();
        let why = verify(&made, Some(0)).unwrap_err();
        let (said, hinted) =
            why.to_string().split_once("\nhint: ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(said.starts_with("error: the proof does not hold: ") && said.contains(rule), "{why}");
        assert!(hinted.contains(hint) && why.exit() as u8 == 1, "{why}");
        assert_eq!(why.to_json()["rule"], name, "{why}");
        for (path, bytes) in [(&made.proof, &proof), (&made.root, &root), (&made.headers, &good)] {
            std::fs::write(path, bytes).unwrap();
        }
        verify(&made, Some(0)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named_and_so_is_the_rule() {
    let scene = Scene::new().await;
    let made = scene.prove().await;
    for (file, name) in
        [(&made.proof, "proof"), (&made.headers, "file of headers"), (&made.root, "trust root")]
    {
        let bytes = std::fs::read(file).unwrap();
        std::fs::remove_file(file).unwrap();
        let why = verify(&made, Some(0)).unwrap_err();
        assert!(why.to_string().contains(&format!("cannot read the {name} {}", file.display())), "{why}");
        assert_eq!((why.to_json()["rule"].as_str(), why.exit() as u8), (Some("unreadable"), 1), "{why}");
        std::fs::write(file, bytes).unwrap();
    }
    verify(&made, Some(0)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_another_block_that_is_there_stays() {
    let scene = Scene::new().await;
    let made = scene.prove().await;
    let files = [&made.root, &made.headers, &made.proof];
    let good = std::fs::read(&made.proof).unwrap();
    let mut other = FinalityProof::parse(&good).unwrap();
    other.block.certificate.ballot.height.0 += 5;
    for (there, holds) in [
        (other.to_bytes(), "holds a proof of block 205 of chain dev"),
        (b"my own notes".to_vec(), "holds something that is no proof"),
    ] {
        std::fs::write(&made.proof, there).unwrap();
        let before = files.map(|file| std::fs::read(file).unwrap());
        let why = scene.try_to_prove().await.unwrap_err();
        assert!(why.to_string().contains(holds) && why.to_string().contains("--out"), "{why}");
        assert_eq!((why.to_json()["rule"].as_str(), why.exit() as u8), (Some("other-proof"), 1), "{why}");
        assert_eq!(files.map(|file| std::fs::read(file).unwrap()), before);
    }
    // A proof of the same block is renewed, whatever it rests on.
    other.block.certificate.ballot.height.0 -= 5;
    other.steps.clear();
    std::fs::write(&made.proof, other.to_bytes()).unwrap();
    scene.prove().await;
    assert_eq!(std::fs::read(&made.proof).unwrap(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_other_end_of_a_pipe() {
    let scene = Scene::new().await;
    let mut made = scene.prove().await;
    let pipe = scene.dir.path().join("the proof").join("hub.root");
    std::fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let why = scene.try_to_prove().await.unwrap_err();
    assert!(why.to_string().contains("hub.root: it is not a file"), "{why}");
    let node = scene.node_args().await;
    let why = Headers { proof: made.proof.clone(), out: pipe.clone(), node }.run().await.unwrap_err();
    assert!(why.to_string().contains("holds no headers"), "{why}");
    let into: [fn(&mut Made, PathBuf); 3] =
        [|made, pipe| made.root = pipe, |made, pipe| made.headers = pipe, |made, pipe| made.proof = pipe];
    for change in into {
        change(&mut made, pipe.clone());
        let why = verify(&made, None).unwrap_err();
        assert!(why.to_string().contains("it is not a file"), "{why}");
    }
    let why = read_evidence(&pipe).unwrap_err();
    assert!(format!("{why:#}").contains("it is not a file"), "{why:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_height_that_can_never_be_final_is_no_reason_to_ask_again() {
    let scene = Scene::new().await;
    for (height, rule, retry, said) in [
        (203, "not-voted", false, "every multiple of 5, next below 200, next above 205"),
        (195, "before-opening", false, "below the first that the sets of chain dev vote on, 200"),
        (205, "not-final", true, "the newest final height is 200"),
    ] {
        let asked = scene.hub.get_bytes(&format!("proofs/{DEV}/{height}")).await;
        let Err(HubError::Refused { rule: found, message, retry: again }) = asked else {
            panic!("{asked:?}")
        };
        assert_eq!((found.as_str(), again), (rule, retry), "{height}: {message}");
        assert!(message.contains(said), "{height}: {message}");
        let node = scene.node_args().await;
        let (chain, hub) = (DEV.parse().unwrap(), scene.hub.url().clone());
        let why =
            Prove { chain, height, hub, node, out: scene.dir.path().join("none") }.run().await.unwrap_err();
        assert_eq!(why.exit() as u8, if retry { 3 } else { 1 }, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_another_incarnation_is_taken_only_when_it_is_accepted_by_number() {
    let scene = Scene::new().await;
    let made = scene.prove().await;
    let check =
        |accept_incarnation: u32| Verify { min_depth: Some(0), accept_incarnation, ..files(&made) }.run();
    check(0).unwrap();
    let said = |why: Failure| (why.to_json()["rule"].clone(), why.exit() as u8);
    assert_eq!(said(check(1).unwrap_err()), ("incarnation".into(), 1));
    let root = TrustRoot::from_bytes(&std::fs::read(&made.root).unwrap()).unwrap();
    std::fs::write(&made.root, TrustRoot { incarnation: 1, ..root }.to_bytes()).unwrap();
    let why = check(0).unwrap_err();
    assert!(why.to_string().contains("accept it with --accept-incarnation 1"), "{why}");
    assert_eq!(said(why), ("incarnation".into(), 1));
    // Accepted, and still no root of this chain: its set signs for another incarnation.
    assert_eq!(said(check(1).unwrap_err()), ("root-set".into(), 1));
}
