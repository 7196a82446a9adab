//! A proxy before the hub that alters one field at a time of what the hub answers: nothing is locked because of it.

use crate::party::{Party, args, open};
use palisade_hub::ledger::state::StakeState::{self, Active, Verified};
use palisade_protocol::block::Block;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_regtest::liar::{Liar, leaves, versions};
use palisade_regtest::world::provider_key;
use palisade_staker::providers::providers;
use palisade_staker::stake::Stake;
use palisade_staker::status::status;
use serde_json::json;
use std::path::Path;

/// The block with the committee's first signatures.
fn first_answered(party: &Party) -> Block {
    let blocks = party.hub.store().blocks(Height(0), u32::MAX).unwrap();
    let is_answer = |message: &Message| matches!(message, Message::Answer(_));
    let has_answer = |block: &Block| block.messages.iter().any(|own| is_answer(&own.decode().unwrap()));
    blocks.into_iter().find(has_answer).unwrap()
}

async fn mempool(party: &Party) -> Vec<String> {
    party.node.rpc().call("getrawmempool", json!([])).await.unwrap()
}

async fn resume(config: &Path, id: &str) -> Result<bool, String> {
    let order: Stake = args(&["--resume", id, "--no-wait", "--yes"]);
    order.run(&mut open(config)).await.map(|locked| locked.broadcast).map_err(|why| why.to_string())
}

/// What is shown: whether the providers that one can choose are, up to which block of the log stakes are, and as what.
async fn shown(config: &Path) -> (bool, Option<u64>, Vec<Option<StakeState>>) {
    let listed = providers(&mut open(config)).await.is_ok();
    let status = status(&mut open(config), None).await.unwrap();
    (listed, status.hub_height, status.stakes.iter().map(|stake| stake.state).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_locks_coins_or_is_shown() {
    let party = Party::new(&["anna"]).await;
    party.signing.send_replace(0);
    let config = party.funded("alice", &[600_000]).await;
    let liar = Liar::start(&party.url).await;
    let text = std::fs::read_to_string(&config).unwrap().replace(&party.url, liar.url());
    std::fs::write(&config, text).unwrap();

    // What the hub says of a message is not believed: the id is computed, the log says whether it is in.
    liar.alter_answer("/messages");
    let anna = provider_key("anna").to_string();
    let order: Stake =
        args(&["--amount", "0.005 BTC", "--provider", &anna, "--lock", "300 blocks", "--yes", "--no-wait"]);
    let begun = order.run(&mut open(&config)).await.unwrap();
    let id = begun.id.unwrap();
    liar.be_honest();
    assert_eq!(resume(&config, &id).await, Ok(false));
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;

    // No provider is listed, and stakes are shown as of what was replayed before.
    liar.alter_field("/genesis", "/hub_key");
    let before = shown(&config).await;
    assert!(!before.0 && liar.told() == 2);
    let genesis = serde_json::to_value(open(&config).genesis.document()).unwrap();
    let fields = leaves(&genesis);
    assert!(fields.len() > 30);
    for field in fields {
        liar.alter_field("/genesis", &field);
        resume(&config, &id).await.expect_err(&field);
        assert_eq!(shown(&config).await, before, "{field}");
        assert!(liar.told() > 2, "{field}");
    }

    let block = first_answered(&party);
    let context = party.hub.ledger().contexts().hub;
    for (name, bytes) in versions(&block, &context) {
        liar.replace_block(&block, &bytes);
        resume(&config, &id).await.expect_err(&name);
        let (listed, height, states) = shown(&config).await;
        assert!(!listed && height < Some(block.header.height.0) && states == before.2, "{name}");
        assert!(liar.told() > 2, "{name}");
    }
    assert_eq!(mempool(&party).await, Vec::<String>::new());
    liar.be_honest();
    let after = shown(&config).await;
    assert!(after.0 && after.1 > before.1 && after.2 == [Some(Verified)]);
    assert_eq!(resume(&config, &id).await, Ok(true));
    assert_eq!(mempool(&party).await.len(), 1);
    party.mine(7).await;
    party.until_state(&id, Active).await;
    liar.check_doors(&["GET /blocks", "GET /genesis", "POST /messages"]);
}
