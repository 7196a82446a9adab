//! An operator with the keys of one of a world's names, as files for shipped programs.

use palisade_finality_provider::signer::client::SignerClient;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_protocol::hash::sha256;
use palisade_regtest::process::{Daemon, json_tool};
use palisade_regtest::{Node, in_time};
use palisade_world::{World, bls_secret, keypair, secret};
use std::path::Path;

/// The program.
pub const PROGRAM: &str = "palisade-finality-provider";
const PASSWORD: &str = "correct horse";
/// Where the hub of its configuration is: nowhere, until somebody changes it.
pub const NO_HUB: &str = "http://127.0.0.1:1/";

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Makes what `init` makes, with the keys of a name in the world, and starts the signer.
pub async fn install(dir: &Path, world: &World, node: &Node, name: &str) -> (Daemon, SignerClient) {
    let at = |name: &str| text(&dir.join(name));
    let genesis = serde_json::to_string(world.ledger.genesis().document()).expect("JSON");
    std::fs::write(at("genesis.json"), genesis).expect("a disk");
    private_file::create(&dir.join("password"), PASSWORD.as_bytes()).expect("a disk");
    let args = [
        ["--dir", &at("")],
        ["--genesis", &at("genesis.json")],
        ["--hub", NO_HUB],
        ["--bitcoin", &node.rpc_url()],
        ["--cookie", &text(&node.cookie_path())],
        ["--socket", &at("socket/signer")],
        ["--listen", "127.0.0.1:0"],
        ["--signer-listen", "127.0.0.1:0"],
        ["--password-file", &at("password")],
    ];
    let made = json_tool(PROGRAM, &[&["--json", "init"], args.as_flattened()].concat()).await;
    made.expect("an operator's files");
    let zero = keypair(name).x_only_public_key().0.to_string();
    let bls = hex::encode(bls_secret(name).public_key().to_bytes());
    let material = sha256(&[b"bls", name.as_bytes()]).0;
    replace_key(&dir.join("keys/zero.json"), "finality-provider zero", &zero, secret(name).secret_bytes());
    replace_key(&dir.join("keys/bls.json"), "finality-provider-bls", &bls, material);
    let args = ["signer".to_owned(), "--config".to_owned(), at("signer.toml")];
    let signer = Daemon::start(PROGRAM, &args, &dir.join("signer.log")).expect("a signer");
    let client = SignerClient::new(&dir.join("socket/signer"));
    let up = async { while client.identity().await.is_err() {} };
    in_time("the signer's start", up).await;
    (signer, client)
}

fn replace_key(file: &Path, purpose: &str, id: &str, own: [u8; 32]) {
    std::fs::remove_file(file).expect("a key that init made");
    let label = KeyLabel::new(purpose, id).expect("a label");
    let password = Password::new(PASSWORD.to_owned()).expect("a password");
    let cost = KdfCost::for_network(bitcoin::Network::Regtest);
    keyfile::create(file, &label, &Secret::new(own), &password, cost, &mut rand::rngs::OsRng)
        .expect("a disk");
}
