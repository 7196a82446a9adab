//! What shipped programs say in `/health` when something is wrong, and that `docs/operations/alarms.md` has a section for each.

mod network;
mod page;

use bitcoin::{ScriptBuf, TxOut};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Epoch;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::in_time;
use palisade_regtest::process::reasons_at;
use palisade_world::anchored::{self, ZERO, end_of};
use palisade_world::{Wish, World, transaction};
use serde_json::Value;
use std::collections::BTreeSet;

/// Blocks of Bitcoin after which the lack of an anchor is an alarm: half of a set's lifetime.
const HALF_A_LIFETIME: u32 = 50;

fn anchor(world: &mut World, header: Hash32) {
    let anchor = world.anchor(&ZERO, Epoch(3), header);
    let tx = world.mine_anchor(&anchor);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_says_which_of_its_alarms_ring_and_nothing_when_all_is_well() {
    type Change = fn(&mut World);
    let stories: [(&str, Change); 6] = [
        ("", |_| {}),
        ("breaker: ", |world| {
            world.reorg(7, &[]).unwrap();
        }),
        ("finality: chain zero has no final block for ", |world| world.close_until(86 + 3 * 20)),
        ("anchors: no anchor for ", |world| world.mine(HALF_A_LIFETIME + 1)),
        ("anchors: a set has signed two headers of one epoch", |world| {
            let header = end_of(world, 3);
            anchor(world, header);
            anchor(world, Hash32([9; 32]));
        }),
        ("covenant: ALARM: stake ", |world| {
            let wish = Wish { holder: "alice", sat: 50_000, providers: &["anna"], lock: 300 };
            let id = world.active_stake(&wish);
            let outpoint = world.stake(&id).contract.coin.outpoint;
            let output = TxOut::minimal_non_dust(ScriptBuf::new());
            world.spend(&id, outpoint, &transaction(vec![outpoint], vec![output])).unwrap();
        }),
    ];
    for (wanted, change) in stories {
        let mut world = anchored::world(86);
        change(&mut world);
        world.close();
        let mut hub = HubProcess::start(&world).await;
        let rings = async {
            loop {
                let told = reasons_at(hub.client.url().as_str()).await.unwrap();
                let reasons: Vec<&str> = told.iter().map(String::as_str).collect();
                let status: Value = hub.client.get_json("status", &[]).await.unwrap();
                let is_new = status["height"].as_u64() > world.ledger.tip().map(|(height, _)| height.0);
                match (wanted, reasons.as_slice()) {
                    ("", []) if is_new => return,
                    ("", _) => assert_eq!(reasons, Vec::<&str>::new()),
                    (_, [reason]) if reason.starts_with(wanted) => return,
                    _ => {}
                }
            }
        };
        in_time(wanted, rings).await;
        hub.daemon.check().unwrap();
    }
    let parts = stories.iter().filter_map(|(wanted, _)| Some(wanted.split_once(':')?.0));
    assert_eq!(parts.collect::<BTreeSet<_>>(), BTreeSet::from(page::OF_THE_RECORD));
}
