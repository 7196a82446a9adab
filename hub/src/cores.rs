//! Work on every core, for what needs nothing but its own input.

use std::num::NonZero;

/// Fewer pieces than this are not worth another thread.
const WORTH_A_THREAD: usize = 8;

/// Does the same to every item on all cores; the results come in the order of the items.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(cores).max(WORTH_A_THREAD);
    let mut shares = items.chunks(share);
    let Some(own) = shares.next() else { return Vec::new() };
    let do_all = |items: &[T]| items.iter().map(&work).collect::<Vec<R>>();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| scope.spawn(|| do_all(share))).collect();
        let mut results = do_all(own);
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0u64, 1, 7, 8, 9, 100, 1_001] {
            let items: Vec<u64> = (0..count).collect();
            let wanted: Vec<u64> = items.iter().map(|item| item * 3).collect();
            assert_eq!(super::map(&items, |item| item * 3), wanted);
        }
    }
}
