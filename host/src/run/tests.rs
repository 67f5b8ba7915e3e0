//! Runs as they were told wrongly once, and what holds of all runs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::causes::in_order;
use super::*;

/// An event of a run, at a minute and a second past nine.
fn event(id: &str, what: &str, source: &str, cause: Option<&str>, time: (u8, u8)) -> EventRow {
    let (minute, second) = time;
    EventRow {
        id: id.to_owned(),
        run: "run".to_owned(),
        event_type: format!("foundry.{what}.v1"),
        topic: format!("{what}s"),
        source: source.to_owned(),
        subject: Some(format!("{what} {id}")),
        time: format!("2026-11-30T09:{minute:02}:{second:02}Z"),
        cause: cause.map(ToOwned::to_owned),
        group: None,
        data: json!({ "repository": "r", "branch": "main", "ref": "a".repeat(40) }),
    }
}

fn with(mut event: EventRow, data: &[(&str, &str)]) -> EventRow {
    for (key, value) in data {
        event.data[*key] = json!(value);
    }
    event
}

/// Published for amd64, by builder `amd`.
fn published() -> Vec<EventRow> {
    let build = event("b1", "build", "amd/build", Some("c"), (1, 0));
    vec![
        event("c", "commit", "head/watch", None, (0, 0)),
        with(build, &[("architecture", "amd64")]),
        event("s1", "sign", "head/sign", Some("b1"), (1, 10)),
        event("d1", "dist", "head/dist", Some("s1"), (1, 12)),
    ]
}

fn failure(id: &str, stage: &str, source: &str, cause: &str, time: (u8, u8)) -> EventRow {
    let event = event(id, "failure", source, Some(cause), time);
    with(event, &[("stage", stage), ("reason", "it broke")])
}

fn chains(state: &RunState) -> Vec<String> {
    let labels = state.labels().into_iter().zip(&state.chains);
    labels
        .map(|(label, chain)| format!("{label} {}", chain.status.name()))
        .collect()
}

#[test]
fn a_builder_whose_clock_is_ahead_does_not_hide_that_its_run_is_published() {
    let mut events = published();
    // Five minutes are accepted.
    events[1].time = "2026-11-30T09:03:30Z".to_owned();
    let run = Run::of(events).unwrap();
    assert_eq!((run.state.status, run.state.finished), (RunStatus::Published, true));
    let order: Vec<_> = run.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(order, ["c", "b1", "s1", "d1"]);
}

#[test]
fn a_failed_architecture_is_not_hidden_by_a_published_one() {
    let mut events = published();
    events.insert(1, failure("f", "build", "arm/build", "c", (0, 30)));
    let state = Run::of(events).unwrap().state;
    assert_eq!((state.status, state.finished), (RunStatus::PartlyFailed, true));
    assert_eq!(chains(&state), ["amd64 published", "arm/build failed"]);
    let why = state.chains[1].failure.as_ref().unwrap();
    assert_eq!(why.to_string(), "build failed: it broke");
}

#[test]
fn a_failing_third_party_bot_does_not_make_a_published_run_failed() {
    let mut events = published();
    events.push(failure("f", "lintbot", "head/lint", "b1", (1, 15)));
    let state = Run::of(events).unwrap().state;
    assert_eq!((state.status, state.finished), (RunStatus::Published, true));
    assert_eq!(state.other_failures[0].to_string(), "lintbot failed: it broke");
}

#[test]
fn a_second_architectures_build_does_not_take_published_back() {
    let mut events = published();
    let build = event("b2", "build", "arm/build", Some("c"), (5, 0));
    events.push(with(build, &[("architecture", "arm64")]));
    let state = Run::of(events).unwrap().state;
    assert_eq!(state.status, RunStatus::Published);
    assert_eq!(chains(&state), ["amd64 published", "arm64 built"]);
    assert!(!state.finished, "it is waited for");
}

#[test]
fn a_failure_that_nothing_of_the_run_led_to_takes_nothing_from_what_was_done() {
    let mut events = published();
    events.push(failure("f", "sign", "head/sign", "of-another-run", (1, 15)));
    let state = Run::of(events).unwrap().state;
    assert_eq!(state.status, RunStatus::Published);
    assert_eq!(chains(&state), ["amd64 published"]);
    // Where nothing was done it is all that is known.
    let mut events = published();
    events.truncate(1);
    events.push(failure("f", "build", "b1/build", "of-another-run", (1, 15)));
    assert_eq!(Run::of(events).unwrap().state.status, RunStatus::Failed);
}

#[test]
fn a_run_is_about_its_commit_and_its_package_whoever_spoke_first_or_last() {
    let mut events = published();
    let stray = event("x", "sign", "head/sign", Some("unseen"), (0, 0));
    events.insert(0, with(stray, &[("repository", "other")]));
    events.push(failure("f", "lintbot", "head/lint", "b1", (1, 15)));
    let run = Run::of(events).unwrap();
    assert_eq!(run.repository.as_deref(), Some("r"));
    assert_eq!(run.subject.as_deref(), Some("dist d1"));
    assert_eq!(run.updated, "2026-11-30T09:01:15Z");
    assert_eq!(Run::of(Vec::new()), None);
}

#[test]
fn the_state_of_an_older_host_is_read_with_nothing_known_of_chains() {
    let state: RunState = serde_json::from_value(json!({ "status": "published" })).unwrap();
    assert_eq!((state.status, state.chains.len()), (RunStatus::Published, 0));
    assert_eq!(
        serde_json::to_value(RunStatus::PartlyFailed).unwrap(),
        json!("partly-failed")
    );
}

/// Walked from each build, it would be 400 million steps; and recursion would end the stack.
#[test]
fn a_long_way_of_other_events_is_walked_once() {
    let length: usize = 20_000;
    let mut events = vec![event("c", "commit", "head/watch", None, (0, 0))];
    for number in 0..length {
        let cause = number
            .checked_sub(1)
            .map_or("c".to_owned(), |before| format!("o{before}"));
        events.push(event(
            &format!("o{number}"),
            "other",
            "here/other",
            Some(&cause),
            (0, 0),
        ));
    }
    let last = format!("o{}", length - 1);
    for number in 0..length {
        events.push(event(&format!("b{number}"), "build", "here/build", Some(&last), (0, 0)));
    }
    events.reverse();
    let run = Run::of(events).unwrap();
    assert_eq!((run.state.chains.len(), run.state.status), (length, RunStatus::Built));
    assert_eq!(run.events[0].id, "c");
}

/// A shuffled order of so many things, by random numbers.
fn shuffled<T: Clone>(things: &[T], order: &[u32]) -> Vec<T> {
    let mut numbered: Vec<_> = things.iter().enumerate().collect();
    numbered.sort_by_key(|(number, _)| (order.get(*number).copied().unwrap_or_default(), *number));
    numbered.into_iter().map(|(_, thing)| thing.clone()).collect()
}

/// Any events at all: causes that are not there, circles, ids that were used before.
fn anything() -> impl Strategy<Value = Vec<EventRow>> {
    let what = prop::sample::select(vec!["commit", "build", "sign", "dist", "failure", "failure", "other"]);
    let stage = prop::sample::select(vec!["build", "buildbot", "sign", "distbot", "lintbot"]);
    let one = (
        what,
        0u8..14,
        prop::option::of(0u8..16),
        0u8..3,
        stage,
        any::<bool>(),
        any::<bool>(),
    );
    let event = one.prop_map(|(what, id, cause, source, stage, refused, has_architecture)| {
        let cause = cause.map(|cause| format!("e{cause}"));
        let source = format!("host/bot{source}");
        let mut event = event(&format!("e{id}"), what, &source, cause.as_deref(), (0, 0));
        if what == "failure" {
            event = with(event, &[("stage", stage), ("reason", "why")]);
            event.data["refused"] = Value::Bool(refused);
        } else if has_architecture {
            event = with(event, &[("architecture", stage)]);
        }
        event
    });
    prop::collection::vec(event, 0..24)
}

/// What becomes of one group's part: the stages that were passed, and whether the next one failed.
fn fates() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let fate = prop_oneof![
        (1usize..=3).prop_map(|passed| (passed, false)),
        (0usize..3).prop_map(|passed| (passed, true))
    ];
    prop::collection::vec(fate, 1..6)
}

/// The events of a commit that groups of these fates handle.
fn pipeline(fates: &[(usize, bool)]) -> Vec<EventRow> {
    let stages = ["build", "sign", "dist"];
    let mut events = vec![event("c", "commit", "head/watch", None, (0, 0))];
    for (group, (passed, fails)) in fates.iter().enumerate() {
        let mut cause = "c".to_owned();
        for stage in &stages[..*passed] {
            let id = format!("{stage}{group}");
            events.push(event(&id, stage, &format!("host{group}/{stage}"), Some(&cause), (0, 0)));
            cause = id;
        }
        if *fails {
            let stage = stages[*passed];
            events.push(failure(
                &format!("f{group}"),
                stage,
                &format!("host{group}/{stage}"),
                &cause,
                (0, 0),
            ));
        }
    }
    events
}

proptest! {
    #[test]
    fn the_state_depends_neither_on_the_order_of_arrival_nor_on_times(
        events in anything(),
        order in prop::collection::vec(any::<u32>(), 24),
        times in prop::collection::vec((0u8..60, 0u8..60), 24),
    ) {
        let state = RunState::of(&events);
        prop_assert!(state.chains.len() <= events.len());
        prop_assert_eq!(state.finished && state.pending().next().is_some(), false);
        let mut others = shuffled(&events, &order);
        for (event, (minute, second)) in others.iter_mut().zip(times) {
            // Of two events with one id one counts, by what it says, which includes its time.
            let is_single = events.iter().filter(|other| other.id == event.id).count() == 1;
            if is_single {
                event.time = format!("2026-11-30T09:{minute:02}:{second:02}Z");
            }
        }
        prop_assert_eq!(&state, &RunState::of(&others));
        if let Some(run) = Run::of(others) {
            prop_assert_eq!(state, run.state);
        }
    }

    #[test]
    fn events_are_shown_after_their_causes_and_all_of_them_once(
        events in anything(),
        order in prop::collection::vec(any::<u32>(), 24),
    ) {
        // Ids are unique in the ledger.
        let mut events = events;
        events.sort_by(|a, b| a.id.cmp(&b.id));
        events.dedup_by(|a, b| a.id == b.id);
        let seen = shuffled(&events, &order);
        let shown = in_order(seen);
        let mut again = shown.clone();
        again.sort_by(|a, b| a.id.cmp(&b.id));
        prop_assert_eq!(&again, &events);
        let place = |id: &str| shown.iter().position(|event| event.id == id);
        for (number, event) in shown.iter().enumerate() {
            if let Some(cause) = event.cause.as_deref().and_then(place) {
                prop_assert!(cause < number || leads_in_a_circle(&events, event));
            }
        }
    }

    #[test]
    fn each_groups_part_is_a_chain_with_its_own_end(
        fates in fates(),
        order in prop::collection::vec(any::<u32>(), 32),
    ) {
        let events = shuffled(&pipeline(&fates), &order);
        let state = RunState::of(&events);
        let mut found: Vec<_> = state.chains.iter().map(|chain| chain.status).collect();
        let mut expected: Vec<_> = fates
            .iter()
            .map(|fate| match fate {
                (_, true) => ChainStatus::Failed,
                (1, false) => ChainStatus::Built,
                (2, false) => ChainStatus::Signed,
                _ => ChainStatus::Published,
            })
            .collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(&found, &expected);
        let has = |status| expected.contains(&status);
        let (failed, published) = (has(ChainStatus::Failed), has(ChainStatus::Published));
        prop_assert_eq!(state.status.has_failed(), failed);
        prop_assert_eq!(state.status == RunStatus::PartlyFailed, failed && published);
        prop_assert_eq!(state.status == RunStatus::Published, published && !failed);
        prop_assert_eq!(state.finished, expected.iter().all(|status| status.is_end()));
    }
}

/// Whether following causes from an event never ends.
fn leads_in_a_circle(events: &[EventRow], event: &EventRow) -> bool {
    let mut at = Some(event);
    for _ in 0..=events.len() {
        let cause = at.and_then(|event| event.cause.as_deref());
        at = cause.and_then(|cause| events.iter().find(|event| event.id == cause));
    }
    at.is_some()
}
