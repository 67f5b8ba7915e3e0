//! What led to what among a run's events.
//!
//! Each event names one cause at most, and whatever it likes: an event that this host never saw, one of another run, or,
//! forged, one of its own consequences. Everything here takes time that grows with the number of events (times its
//! logarithm) whatever they name, and recurses nowhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::EventRow;
use super::stage::Stage;

/// A run's events by id, and the step of the pipeline that each one goes on from.
pub(super) struct Causes<'a> {
    events: BTreeMap<&'a str, &'a EventRow>,
    /// By the id of an event of the pipeline. A parent's stage is before its child's, so that there is no cycle.
    parents: BTreeMap<&'a str, &'a EventRow>,
}

impl<'a> Causes<'a> {
    /// Of a run's events, in any order.
    pub(super) fn of(events: &'a [EventRow]) -> Self {
        let events = by_id(events);
        let parents = parents(&events);
        Self { events, parents }
    }

    /// All events, by id: an order that no clock and no network has a part in.
    pub(super) fn events(&self) -> impl Iterator<Item = &'a EventRow> {
        self.events.values().copied()
    }

    /// What an event names as its cause, if that belongs to the run and was seen.
    pub(super) fn cause(&self, event: &EventRow) -> Option<&'a EventRow> {
        self.events.get(event.cause.as_deref()?).copied()
    }

    /// The event of the pipeline that one goes on from, past what other bots made of it in between. `None` if there is
    /// none, if it was not seen, or if it is of no earlier stage.
    pub(super) fn parent(&self, event: &EventRow) -> Option<&'a EventRow> {
        self.parents.get(event.id.as_str()).copied()
    }

    /// An event of the pipeline, and all that it goes on from, back to the commit: one of each stage at most.
    pub(super) fn back_from(&self, event: &'a EventRow) -> impl Iterator<Item = &'a EventRow> {
        std::iter::successors(Some(event), |event| self.parent(event))
    }
}

/// Ids are unique in the ledger. Should two events have one, the same one counts whichever came first.
fn by_id(events: &[EventRow]) -> BTreeMap<&str, &EventRow> {
    let content = |event: &EventRow| serde_json::to_string(event).unwrap_or_default();
    let mut by_id: BTreeMap<&str, &EventRow> = BTreeMap::new();
    for event in events {
        let kept = by_id.entry(&event.id).or_insert(event);
        if *kept != event && content(event) < content(kept) {
            *kept = event;
        }
    }
    by_id
}

fn parents<'a>(events: &BTreeMap<&'a str, &'a EventRow>) -> BTreeMap<&'a str, &'a EventRow> {
    let mut nearest = Nearest {
        events,
        known: BTreeMap::new(),
    };
    let mut parents = BTreeMap::new();
    for (id, event) in events {
        let stage = Stage::done_by(&event.event_type);
        let found = nearest.to(event.cause.as_deref());
        if let Some(parent) = found.filter(|parent| Stage::done_by(&parent.event_type) < stage) {
            parents.insert(*id, parent);
        }
    }
    parents
}

/// Finds the nearest event of the pipeline. What was found is kept for all that was passed on the way, so that a long
/// chain of other events is walked once.
struct Nearest<'e, 'a> {
    events: &'e BTreeMap<&'a str, &'a EventRow>,
    known: BTreeMap<&'a str, Option<&'a EventRow>>,
}

impl<'a> Nearest<'_, 'a> {
    /// From an id: its event, or else what led to that.
    fn to(&mut self, id: Option<&'a str>) -> Option<&'a EventRow> {
        let mut at = id;
        let mut passed = Vec::new();
        let found = loop {
            let Some(id) = at else { break None };
            if let Some(known) = self.known.get(id) {
                break *known;
            }
            let Some(event) = self.events.get(id).copied() else {
                break None;
            };
            if Stage::done_by(&event.event_type).is_some() {
                break Some(event);
            }
            // Whoever comes here again on the same way has gone in a circle.
            self.known.insert(id, None);
            passed.push(id);
            at = event.cause.as_deref();
        };
        for id in passed {
            self.known.insert(id, found);
        }
        found
    }
}

/// Events that are given in the order in which they were seen: each after its cause, else in that order. Those that are their
/// own cause, in a circle, come last.
pub(super) fn in_order(seen: Vec<EventRow>) -> Vec<EventRow> {
    let order = order(&seen);
    let mut left: Vec<_> = seen.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for number in order {
        ordered.extend(left.get_mut(number).and_then(Option::take));
    }
    ordered.extend(left.into_iter().flatten());
    ordered
}

/// The numbers of the events that a beginning leads to, in order (Kahn's algorithm; of those that are ready the one that
/// was seen first).
fn order(seen: &[EventRow]) -> Vec<usize> {
    let mut numbers = BTreeMap::new();
    for (number, event) in seen.iter().enumerate() {
        numbers.entry(event.id.as_str()).or_insert(number);
    }
    let mut ready = BinaryHeap::new();
    let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, event) in seen.iter().enumerate() {
        let cause = event.cause.as_deref().and_then(|cause| numbers.get(cause));
        match cause {
            Some(cause) => after.entry(*cause).or_default().push(number),
            None => ready.push(Reverse(number)),
        }
    }
    let mut order = Vec::with_capacity(seen.len());
    while let Some(Reverse(number)) = ready.pop() {
        order.push(number);
        ready.extend(after.remove(&number).into_iter().flatten().map(Reverse));
    }
    order
}
