//! Work on every core, for what needs nothing but its own input.

use std::num::NonZero;

/// Fewer pieces than this are not worth another thread.
const WORTH_A_THREAD: usize = 8;

/// Does the same to every item on all cores; the results come in the order of the items.
pub fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(cores).max(WORTH_A_THREAD);
    let mut items = items.into_iter();
    let own: Vec<T> = items.by_ref().take(share).collect();
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        while items.len() > 0 {
            let more: Vec<T> = items.by_ref().take(share).collect();
            others.push(scope.spawn(|| more.into_iter().map(&work).collect::<Vec<R>>()));
        }
        let mut results: Vec<R> = own.into_iter().map(&work).collect();
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
            assert_eq!(super::map(items, |item| item * 3), wanted);
        }
    }
}
