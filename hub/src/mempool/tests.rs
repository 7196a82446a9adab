//! Messages that wait, without a ledger.

use super::*;
use palisade_protocol::units::Height;

const MOST: Bounds = Bounds { items: 100, bytes: 1_000 };

fn message(kind: u8, number: u8) -> MessageBytes {
    MessageBytes::unread(&[kind, number]).unwrap()
}

fn refused() -> Rejected {
    Rejected::Repeated("a test")
}

/// Puts messages in and gives the doors of their answers.
fn filled(messages: &[(u8, u8)]) -> (Mempool, Vec<oneshot::Receiver<Answer>>) {
    let pool = Mempool::new(MOST);
    let doors = messages.iter().map(|(kind, number)| pool.put(message(*kind, *number)).unwrap());
    let doors = doors.collect();
    (pool, doors)
}

fn next(pool: &Mempool) -> Option<(u8, u8)> {
    let (_, message) = pool.next_to_judge()?;
    Some((message.as_slice()[0], message.as_slice()[1]))
}

#[test]
fn kinds_take_turns_by_cost_and_a_kind_is_judged_in_its_order() {
    // Certificates cost sixty checks, commitments one.
    let all: Vec<_> = (0..3).map(|number| (9, number)).chain((0..90).map(|number| (8, number))).collect();
    let (pool, _doors) = filled(&all);
    let order: Vec<_> = std::iter::from_fn(|| next(&pool)).collect();
    assert_eq!(order.len(), all.len());
    let place = |wanted| order.iter().position(|own| *own == wanted).unwrap();
    assert!((0..89).all(|number| place((8, number)) < place((8, number + 1))), "{order:?}");
    assert!((0..2).all(|number| place((9, number)) < place((9, number + 1))), "{order:?}");
    // While the first certificate is paid off sixty commitments are judged, and no more.
    assert_eq!((place((9, 0)), place((9, 1)), place((8, 60)), place((8, 61))), (1, 62, 61, 63), "{order:?}");
}

#[test]
fn a_kind_that_did_not_come_for_long_has_saved_nothing_up() {
    let pool = Mempool::new(MOST);
    for number in 0..50 {
        pool.put(message(8, number)).unwrap();
        assert_eq!(next(&pool), Some((8, number)));
    }
    let all: Vec<_> = (50..60).flat_map(|number| [(8, number), (5, number)]).collect();
    all.iter().for_each(|(kind, number)| drop(pool.put(message(*kind, *number)).unwrap()));
    let order: Vec<_> = std::iter::from_fn(|| next(&pool)).take(6).collect();
    assert!(order.iter().filter(|(kind, _)| *kind == 8).count() >= 2, "{order:?}");
}

#[test]
fn only_what_is_found_good_is_taken_and_what_is_not_is_answered_at_once() {
    let (pool, mut doors) = filled(&[(8, 1), (8, 2), (8, 3)]);
    let ticket = |pool: &Mempool| pool.next_to_judge().unwrap().0;
    let (first, second) = (ticket(&pool), ticket(&pool));
    assert!(pool.take(MOST).is_empty());
    pool.settle(second, Ok(Proven::default()));
    pool.settle(first, Err(refused()));
    assert_eq!(doors[0].try_recv().unwrap(), Err(refused()));
    let taken = pool.take(MOST);
    assert_eq!(taken.iter().map(|own| own.message.clone()).collect::<Vec<_>>(), [message(8, 2)]);
    let answer = Ok((Hash32([1; 32]), Height(5)));
    taken.into_iter().for_each(|own| own.answer(&answer));
    assert_eq!(doors[1].try_recv().unwrap(), answer);
    assert!(doors[2].try_recv().is_err() && pool.to_judge() == 1);
}

#[test]
fn the_same_message_from_many_is_judged_once_and_answered_to_all() {
    let (pool, mut doors) = filled(&[(8, 1), (8, 1), (8, 1)]);
    let (ticket, _) = pool.next_to_judge().unwrap();
    assert_eq!(pool.next_to_judge(), None);
    pool.settle(ticket, Err(refused()));
    assert!(doors.iter_mut().all(|door| door.try_recv().unwrap() == Err(refused())));
    pool.put(message(8, 1)).unwrap();
    assert!(pool.next_to_judge().is_some(), "it may be sent again");
}

#[test]
fn a_full_pool_refuses_by_count_and_by_bytes_and_takes_again_what_fits() {
    let pool = Mempool::new(Bounds { items: 3, bytes: 5 });
    let _doors = [pool.put(message(8, 1)).unwrap(), pool.put(message(8, 2)).unwrap()];
    assert_eq!(pool.put(message(8, 3)).err(), Some(Full), "bytes");
    let _same = pool.put(message(8, 2)).unwrap();
    assert_eq!(pool.put(message(8, 2)).err(), Some(Full), "count");
    let (ticket, _) = pool.next_to_judge().unwrap();
    pool.settle(ticket, Err(refused()));
    pool.put(message(8, 3)).unwrap();
}

#[test]
fn a_block_takes_no_more_than_it_may() {
    let (pool, _doors) = filled(&[(8, 1), (8, 2), (8, 3)]);
    while let Some((ticket, _)) = pool.next_to_judge() {
        pool.settle(ticket, Ok(Proven::default()));
    }
    assert_eq!(pool.take(Bounds { items: 1, bytes: 100 }).len(), 1);
    assert_eq!(pool.take(Bounds { items: 9, bytes: 3 }).len(), 1);
    assert_eq!(pool.take(MOST).len(), 1);
}
