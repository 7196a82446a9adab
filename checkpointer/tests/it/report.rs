//! Stories of the reporter.

use crate::party::{Party, WISH, settle};
use bitcoin::secp256k1::{Message as Digest, SECP256K1};
use palisade_hub::ledger::state::StakeState::{self, *};
use palisade_protocol::context::ChainId;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::Message;
use palisade_protocol::registration::{ConfirmedStake, RegistrationProof, intent_message};
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, keypair};

fn is_inclusion(message: &Message) -> bool {
    matches!(message, Message::Included(_))
}

fn is_spend(message: &Message) -> bool {
    matches!(message, Message::Spent(_))
}

/// What the hub's log holds so far: inclusions and spends.
fn told(party: &Party) -> (usize, usize) {
    (party.hub.logged(is_inclusion), party.hub.logged(is_spend))
}

async fn tips_agree(party: &Party) -> bool {
    let node = party.node.rpc().tip().await.unwrap();
    let hub = party.hub.hub.ledger().bitcoin().tip();
    (hub.height.0, hub.hash) == (node.height, node.hash)
}

fn state(party: &Party, id: &StakeId) -> StakeState {
    party.stake(id).state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_is_told_from_its_first_block_to_its_withdrawal_through_restarts_and_reorgs() {
    let (mut party, mut reporter) = Party::new().await;
    assert!(tips_agree(&party).await);
    party.register_provider(&mut reporter, "anna").await;
    let (id, staking) = party.register(&mut reporter, &WISH).await;
    party.sign_quorum(&id).await;
    party.confirm(&staking).await;
    party.node.mine(6).await.unwrap();
    settle(&mut reporter).await;
    assert_eq!((state(&party, &id), told(&party)), (Active, (1, 0)));

    // A shallow reorg that loses the staking transaction, while nobody looks.
    drop(reporter);
    party.node.reorg(7, 8, &[]).await.unwrap();
    let mut reporter = party.reporter();
    settle(&mut reporter).await;
    assert!(tips_agree(&party).await);
    assert_eq!((state(&party, &id), told(&party)), (Verified, (1, 0)));
    party.confirm(&staking).await;
    settle(&mut reporter).await;
    assert_eq!(told(&party), (2, 0), "what the rollback withdrew is told again, once");

    // A reorg that moves it into another block.
    party.node.reorg(1, 2, std::slice::from_ref(&staking)).await.unwrap();
    settle(&mut reporter).await;
    assert_eq!((party.stake(&id).included.is_some(), told(&party)), (true, (3, 0)));
    drop(reporter);

    // Both spends, and the whole time between, while the reporter is down.
    party.confirm(&party.unbonding(&id, "alice")).await;
    party.node.mine(244).await.unwrap();
    party.confirm(&party.withdrawal(&id, "alice")).await;
    let mut reporter = party.reporter();
    settle(&mut reporter).await;
    assert_eq!((state(&party, &id), told(&party)), (Withdrawn, (3, 2)));

    let mark = reporter.mark();
    drop(reporter);
    let mut reporter = party.reporter();
    assert_eq!(reporter.mark(), mark);
    settle(&mut reporter).await;
    assert_eq!(told(&party), (3, 2), "a restart tells nothing again");
}

#[tokio::test(flavor = "multi_thread")]
async fn stakes_registered_after_their_blocks_were_read_are_found() {
    let (mut party, mut reporter) = Party::new().await;
    party.register_provider(&mut reporter, "anna").await;
    // One is registered as if it were not broadcast yet, the other as confirmed; both are on Bitcoin.
    party.make_coins(&mut reporter, &[("alice", 501_000), ("bob", 501_000)]).await;
    let early = party.world.registration(&WISH);
    let mut late = party.world.registration(&Wish { holder: "bob", ..WISH });
    let block = {
        for (registration, holder) in [(&early, "alice"), (&late, "bob")] {
            let tx = party.signed(registration, holder);
            party.node.rpc().send_raw_transaction(&tx).await.unwrap();
        }
        let hash = party.node.mine(1).await.unwrap()[0];
        party.node.rpc().block(hash).await.unwrap().unwrap()
    };
    party.node.mine(3).await.unwrap();
    settle(&mut reporter).await;
    assert_eq!(reporter.mark().height, reporter.replica().ledger().btc_height().next());

    let early = party.hub.client.submit(&Message::Stake(Box::new(early))).await.unwrap();
    let txid = late.outpoint().txid;
    let index = block.txdata.iter().position(|tx| tx.compute_txid() == txid).unwrap();
    let inclusion = InclusionProof::from_block(&block, index as u32).unwrap();
    let ledger = &party.world.ledger;
    let text = late.intent(ledger.network(), &ledger.genesis().id(), &[ChainId::zero()]);
    let message = Digest::from_digest(intent_message(&ledger.contexts().intent, &text));
    let signature = SECP256K1.sign_schnorr(&message, &keypair("bob"));
    late.proof = RegistrationProof::Confirmed(ConfirmedStake { inclusion, signature });
    let late = party.hub.client.submit(&Message::Stake(Box::new(late))).await.unwrap();
    settle(&mut reporter).await;
    for id in [early.id, late.id].map(StakeId) {
        party.sign_quorum(&id).await;
        assert!(party.stake(&id).included.is_some());
    }
    assert_eq!(told(&party), (1, 0), "the confirmed one said so itself");
    party.node.mine(3).await.unwrap();
    settle(&mut reporter).await;
    assert_eq!(state(&party, &StakeId(early.id)), Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_hub_or_node_is_an_error_that_passes() {
    let (mut party, mut reporter) = Party::new().await;
    party.node.mine(2).await.unwrap();
    party.node.stop().await.unwrap();
    let why = reporter.pass().await.unwrap_err();
    assert_eq!(why.part(), "bitcoind");
    party.node.restart().await.unwrap();
    settle(&mut reporter).await;
    assert!(tips_agree(&party).await);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut lost = party.reporter_at(&format!("http://{nobody}/"), "lost");
    assert_eq!(lost.pass().await.unwrap_err().part(), "hub");
}
