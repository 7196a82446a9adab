//! `register` before a hub that lies: it says that a key is registered only when the log, replayed, holds that.

use super::network;
use super::*;
use crate::keys::create_funding;
use crate::register::{Register, Registered};
use bitcoin::{Amount, TxOut};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::context::ChainIdentity;
use palisade_protocol::message::Message;
use palisade_regtest::Node;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_regtest::liar::{Liar, alter, versions};
use palisade_world::{bls_secret, pair, provider_key};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NETWORK: bitcoin::Network = bitcoin::Network::Regtest;

fn register(config: &Path, chain: ChainId) -> Register {
    Register { chain, operator: "otto".to_owned(), config: config.to_owned(), wait_s: 5 }
}

async fn check_lie(register: &Register, wanted: &str) {
    let why = register.run().await.expect_err(wanted).to_string();
    assert!(why.contains(wanted), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn register_shows_a_key_as_registered_only_when_the_log_holds_that() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let mut world = network::world();
    private_file::create(&file("password"), b"otto's coins").unwrap();
    let password = Password::new("otto's coins".to_owned()).unwrap();
    let address = create_funding(&file("funding.json"), &password, NETWORK).unwrap();
    for _ in 0..2 {
        world.pay(TxOut { value: Amount::from_sat(10_000), script_pubkey: address.script_pubkey() });
    }
    world.mine(1);
    world.close();
    let genesis = world.ledger.genesis().clone();
    std::fs::write(file("genesis.json"), serde_json::to_vec(genesis.document()).unwrap()).unwrap();

    let hub = world.hub(file("hub").as_ref());
    let stop = Shutdown::manual();
    let liar = Liar::start(&serve(&hub, &stop).await).await;
    tokio::spawn(make_blocks(hub.clone(), keypair("hub"), Duration::from_millis(20), stop.clone()));
    let identity =
        ChainIdentity { id: network::dev(), ..world.ledger.chain(&network::dev()).unwrap().identity.clone() };
    let chains = vec![
        ChainSigner::new(genesis.zero(), genesis.document().zero, pair("otto")),
        ChainSigner::new(identity, world.ledger.chain(&network::dev()).unwrap().terms, pair("dev otto")),
    ];
    std::fs::create_dir_all(file("signer")).unwrap();
    let record = Record::open(&file("signer")).unwrap().0;
    let signer = Arc::new(Signer::new(&genesis, chains, bls_secret("otto"), record).unwrap());
    let listener = server::open(&file("socket/signer")).unwrap();
    tokio::spawn(server::serve(signer, listener, server::own_uid().unwrap(), stop.clone()));
    let node = Node::of(&world).await.unwrap();
    let text = network::config_text(dir.path(), "voter", liar.url(), &node);
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    let text = text
        .replace("\"genesis.json\"", &quoted(file("genesis.json")))
        .replace("\"keys/funding.json\"", &quoted(file("funding.json")))
        .replace("# password_file = \"password\"", &format!("password_file = {}", quoted(file("password"))));
    std::fs::write(file("voter.toml"), text).unwrap();

    // The hub says that it took the registration, then that it has it, and its log does not hold it.
    let zero = register(&file("voter.toml"), ChainId::zero());
    let next = world.ledger.next_height();
    liar.hide_blocks(next);
    check_lie(&zero, "its log does not hold it").await;
    check_lie(&zero, "its log does not hold that").await;
    let blocks = hub.store().blocks(next, u32::MAX).unwrap();
    let is_registration = |block: &&Block| {
        block.messages.iter().any(|own| matches!(own.decode().unwrap(), Message::Provider(_)))
    };
    let truth = blocks.iter().find(is_registration).unwrap();
    for (name, bytes) in versions(truth, &world.ledger.contexts().hub) {
        liar.replace_block(truth, &bytes);
        zero.run().await.expect_err(&name);
        assert!(liar.told() > 0, "{name}");
    }
    liar.be_honest();
    assert_eq!(zero.run().await.unwrap().backing, None);

    // A false receipt: what is shown is what the log says.
    liar.tell(|path, answer| {
        let is_receipt = path == "/messages" && answer["height"].is_u64();
        for field in ["height", "id"].iter().filter(|_| is_receipt) {
            alter(&mut answer[field]);
        }
        is_receipt
    });
    let shown: Result<Registered, Failure> = register(&file("voter.toml"), network::dev()).run().await;
    let shown = shown.unwrap();
    assert_eq!((shown.key, liar.told()), (provider_key("dev otto"), 1));
    let block = hub.store().blocks(shown.hub_height.unwrap(), 1).unwrap().remove(0);
    assert!(block.messages.iter().any(|own| Some(own.id()) == shown.message));
    liar.check_doors(&["GET /blocks", "POST /messages"]);
    stop.trigger();
}
