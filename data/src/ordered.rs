//! Work on several threads whose results come back in order. The number of results ahead is
//! bounded, so memory does not grow with the work; the number of threads affects only the speed.

use std::sync::mpsc;

/// Items that a worker may be ahead of the results taken from it.
const AHEAD: usize = 2;

/// Gives every item to one of `workers` and every result, in the order of the items, to `each`.
/// Stops at the first error of `each`.
///
/// Items are drawn on the calling thread, as results are taken.
pub fn ordered<T: Send, R: Send, E>(
    items: impl IntoIterator<Item = T>,
    workers: Vec<impl FnMut(T) -> R + Send>,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        for mut work in workers {
            let (give, given) = mpsc::sync_channel::<T>(AHEAD);
            let (send, receive) = mpsc::sync_channel::<R>(AHEAD);
            // A send fails only after the caller has stopped; then there is nothing left to do.
            scope.spawn(move || given.into_iter().all(|item| send.send(work(item)).is_ok()));
            lanes.push((give, receive));
        }
        let mut items = items.into_iter().fuse();
        let (mut given, mut taken) = (0, 0);
        loop {
            while given < taken + AHEAD * lanes.len() {
                let Some(item) = items.next() else { break };
                lanes[given % lanes.len()].0.send(item).expect("a worker takes all of its items");
                given += 1;
            }
            if taken == given {
                return Ok(());
            }
            each(lanes[taken % lanes.len()].1.recv().expect("a worker answers every item"))?;
            taken += 1;
        }
    })
}

/// The number of threads that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::ordered;
    use std::time::Duration;

    #[test]
    fn results_keep_the_order_of_items_whatever_the_threads_and_stop_at_an_error() {
        for threads in [1, 2, 5] {
            let slow = |item: u64| {
                std::thread::sleep(Duration::from_micros(item * 7919 % 500));
                item * 2
            };
            let mut seen = Vec::new();
            let until = |limit: u64| move |result: u64| if result < limit { Ok(result) } else { Err(result) };
            let all =
                ordered(0..100, vec![slow; threads], |result| until(1000)(result).map(|result| seen.push(result)));
            assert_eq!((all, seen), (Ok(()), (0..100).map(|item| item * 2).collect()));
            assert_eq!(ordered(0.., vec![slow; threads], |result| until(60)(result).map(drop)), Err(60));
        }
    }
}
