//! In which order the bots of an installation start, so that nothing is missed.

use std::collections::BTreeSet;

use super::inspector::Flow;

/// Indices of the bots in the order in which they start: a bot starts after all that read what it publishes, so that
/// their groups exist when its first message comes. Among bots that lead to each other, those that read go first,
/// in the order given.
#[must_use]
pub fn starting_order(flows: &[&Flow]) -> Vec<usize> {
    let feeds = |from: &Flow, to: &Flow| from.publishes.iter().any(|topic| to.reads.contains(topic));
    let mut waiting: BTreeSet<usize> = (0..flows.len()).collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let flow = |index: &usize| flows.get(*index).copied();
        let is_free = |index: &&usize| {
            let others = waiting.iter().filter(|other| other != index);
            !others
                .filter_map(flow)
                .any(|other| flow(index).is_some_and(|own| feeds(own, other)))
        };
        // In a circle nobody is free; timers are what sets one going.
        let circle = || {
            waiting
                .iter()
                .max_by_key(|index| (flow(index).map(|f| !f.reads.is_empty()), -(**index as i64)))
        };
        let Some(next) = waiting.iter().find(is_free).or_else(circle).copied() else {
            break;
        };
        waiting.remove(&next);
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(reads: &[&str], publishes: &[&str]) -> Flow {
        let owned = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        Flow {
            reads: owned(reads),
            publishes: owned(publishes),
        }
    }

    fn order(flows: &[Flow]) -> Vec<usize> {
        starting_order(&flows.iter().collect::<Vec<_>>())
    }

    #[test]
    fn the_pipeline_starts_at_its_end() {
        let pipeline = [
            flow(&[], &["commits"]),
            flow(&["commits"], &["builds"]),
            flow(&["builds"], &["signs"]),
            flow(&["signs"], &["dists"]),
        ];
        assert_eq!(order(&pipeline), [3, 2, 1, 0]);
    }

    #[test]
    fn unconnected_bots_keep_their_order() {
        assert_eq!(
            order(&[flow(&["a"], &[]), flow(&["b"], &[]), flow(&[], &[])]),
            [0, 1, 2]
        );
        assert_eq!(order(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_circle_starts_with_those_that_read() {
        let circle = [flow(&[], &["a"]), flow(&["a"], &["b"]), flow(&["b"], &["a"])];
        assert_eq!(order(&circle), [1, 0, 2]);
        assert_eq!(order(&[flow(&["a"], &["a"])]), [0]);
    }
}
