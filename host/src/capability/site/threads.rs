//! Work on many things at the same time.

use std::panic::resume_unwind;

/// As many threads as there are cores to compute on.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Do the same with every item, on so many threads; the results are in the items' order. Fails with the first item's failure.
pub(super) fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    let work = |share: &[T]| share.iter().map(&work).collect::<Result<Vec<R>, E>>();
    std::thread::scope(|scope| {
        let mut shares = items.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        let mut results = vec![work(own)];
        for other in others {
            // A panic goes on where the work was asked for.
            results.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let mut all = Vec::with_capacity(items.len());
        for result in results {
            all.extend(result?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::site::SiteError;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 2, 7, 100] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = map(&items, 4, |item| Ok::<_, SiteError>(item * 2)).unwrap();
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_failure_is_told() {
        let items: Vec<usize> = (0..100).collect();
        let failed = map(&items, 4, |item| {
            if item % 40 == 39 {
                Err(SiteError::BadPath(item.to_string()))
            } else {
                Ok(())
            }
        });
        assert!(matches!(failed, Err(SiteError::BadPath(item)) if item == "39"));
    }
}
