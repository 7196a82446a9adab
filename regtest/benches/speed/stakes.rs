//! What a registration costs the ledger and a member of the committee.

use crate::crowd::{NewStake, fund, providers};
use crate::measure::{ROUNDS, each, median, time};
use crate::table::{Row, Target};
use palisade_covenant::judge::{Policy, judge};
use palisade_covenant::sign::Signer;
use palisade_covenant::window::Window;
use palisade_hub::store::Store;
use palisade_protocol::message::Message;
use palisade_protocol::registration::StakeRegistration;
use palisade_world::{World, pair};
use std::hint::black_box;

const MEMBERS: [&str; 9] = ["m 0", "m 1", "m 2", "m 3", "m 4", "m 5", "m 6", "m 7", "m 8"];
const QUORUM: u8 = 6;
const IN_BLOCK: usize = 60;

/// Rows about one stake, before a committee of nine.
pub fn rows() -> Vec<Row> {
    let mut world = World::with_committee(1, &MEMBERS, QUORUM);
    world.mine(1);
    let names = providers(&mut world, 1);
    let purses = fund(&mut world, ROUNDS * IN_BLOCK);
    let quorum = &MEMBERS[..QUORUM.into()];
    let stakes: Vec<_> = purses.iter().flat_map(|purse| purse.stakes(&world, &names, quorum)).collect();
    vec![judged(&world, &stakes[0]), stored(&mut world, &stakes), signed(&world, &stakes[0])]
}

fn registration(stake: &NewStake) -> StakeRegistration {
    match stake.messages[0].decode().expect("a message") {
        Message::Stake(registration) => *registration,
        _ => unreachable!("the first message of a stake is its registration"),
    }
}

fn judged(world: &World, stake: &NewStake) -> Row {
    let (registration, params) = (registration(stake), world.ledger.params_at(world.ledger.btc_height()).1);
    let judge = || {
        black_box(black_box(&registration).judge(params).expect("a good registration"));
    };
    let ours = median((0..ROUNDS).map(|_| each(200, judge)).collect());
    let work = "registration judged: scripts, 2 signatures".to_owned();
    Row { work, ours, floor: None, go: Some(1_085.0), target: Target::TimesGo(5.0) }
}

/// Registration and six answers through the ledger, one core; the block signed and on disk.
fn stored(world: &mut World, stakes: &[NewStake]) -> Row {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("log.sqlite")).expect("a store");
    let mut block = |stakes: &[NewStake]| {
        for message in stakes.iter().flat_map(|stake| &stake.messages) {
            world.send_bytes(message.clone()).expect("a good message");
        }
        let (_, events) = world.close();
        store.append(world.log.last().expect("a block"), &events, &[]).expect("a disk");
    };
    // The headers and the provider that wait are not part of it.
    block(&[]);
    let blocks = stakes.chunks_exact(IN_BLOCK);
    let ours = median(blocks.map(|stakes| time(|| block(stakes)) / IN_BLOCK as f64).collect());
    assert!(stakes.iter().all(|stake| world.stake(&stake.id).has_quorum()));
    let work = format!("stake registered, signed by {QUORUM} of {}, stored", MEMBERS.len());
    Row { work, ours, floor: None, go: None, target: Target::PerSecond(1_000.0) }
}

/// A member of nine: everything derived anew, three signatures made, and checked before they leave.
fn signed(world: &World, stake: &NewStake) -> Row {
    let stake = world.stake(&stake.id);
    let signer = Signer::new(pair(MEMBERS[8]));
    let policy = Policy {
        max_stake_sat: u64::MAX,
        max_window_sat: u64::MAX,
        window_blocks: 10,
        denied_providers: Vec::new(),
        allowed_providers: None,
    };
    let window = Window::of([]);
    let answer = || {
        let sighashes = judge(&world.ledger, black_box(stake), &policy, &window).expect("a good stake");
        black_box(signer.agree(&world.ledger, stake, &sighashes).expect("good signatures"));
    };
    let ours = median((0..ROUNDS).map(|_| each(200, answer)).collect());
    let work = "covenant member of 9: stake judged, 3 signatures made and checked".to_owned();
    Row { work, ours, floor: None, go: Some(2_100.0), target: Target::TimesGo(10.0) }
}
