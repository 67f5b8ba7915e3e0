//! The table of docs/messages.md, row by row.

use serde_json::{Value, json};

use super::{EventRow, RunState};

const PAGE: &str = include_str!("../../../docs/messages.md");

/// The table's heading.
const HEAD: &str = "| events | state | chains | beside | finished | |";

/// A row of the table.
struct Row {
    events: Vec<EventRow>,
    state: String,
    chains: String,
    beside: String,
    finished: String,
}

impl Row {
    fn of(line: &str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [events, state, chains, beside, finished, _why] = cells.as_slice() else {
            panic!("{line} has other columns");
        };
        let ways = events.split('`').skip(1).step_by(2);
        let mut found: Vec<EventRow> = Vec::new();
        for event in ways.flat_map(way) {
            // Two ways that begin with the same words have these events in common.
            if found.iter().all(|other| other.id != event.id) {
                found.push(event);
            }
        }
        assert!(!found.is_empty(), "{line} has no events");
        let owned = |cell: &&str| (*cell).to_owned();
        Self {
            events: found,
            state: owned(state),
            chains: owned(chains),
            beside: owned(beside),
            finished: owned(finished),
        }
    }
}

/// The events of `commit → build amd64 → sign failed by arm/sign`. An event's id is the text up to it.
fn way(text: &str) -> Vec<EventRow> {
    let steps: Vec<_> = text.split('→').map(str::trim).collect();
    let id = |until: usize| steps[..until].join(" → ");
    let events = steps.iter().enumerate().filter(|(_, step)| **step != "?");
    events
        .map(|(number, step)| event(step, id(number + 1), (number > 0).then(|| id(number))))
        .collect()
}

fn event(step: &str, id: String, cause: Option<String>) -> EventRow {
    let (step, group) = step
        .split_once(" in ")
        .map_or((step, None), |(step, group)| (step, Some(group)));
    let (said, source) = step.split_once(" by ").unwrap_or((step, ""));
    let words: Vec<_> = said.split(' ').collect();
    let (what, rest) = words.split_first().unwrap();
    let source = if source.is_empty() {
        format!("head/{what}")
    } else {
        source.to_owned()
    };
    let has = |word: &str| rest.contains(&word);
    let failed = json!({ "stage": what, "reason": "why", "refused": has("refused") });
    let (event_type, data) = match (*what, rest) {
        (_, ["failed" | "refused"]) => ("failure", failed),
        ("commit" | "sign" | "dist", []) => (*what, json!({})),
        ("build" | "sign", [architecture]) => (*what, json!({ "architecture": architecture })),
        ("dist", [suite]) => (*what, json!({ "distribution": suite })),
        (_, []) => ("report", Value::Null),
        _ => panic!("{step} is no step"),
    };
    EventRow {
        id,
        run: "run".to_owned(),
        event_type: format!("foundry.{event_type}.v1"),
        topic: String::new(),
        source,
        subject: None,
        time: "2026-11-30T09:00:00Z".to_owned(),
        cause,
        group: group.map(ToOwned::to_owned),
        data,
    }
}

fn or_dash(list: Vec<String>) -> String {
    if list.is_empty() {
        "–".to_owned()
    } else {
        list.join(", ")
    }
}

#[test]
fn each_row_of_the_documented_table_holds() {
    let (_, table) = PAGE.split_once(HEAD).expect("the page has the table");
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for line in rows {
        let mut row = Row::of(line);
        for turn in ["as they are", "the other way round"] {
            let state = RunState::of(&row.events);
            let labels = state.labels().into_iter().zip(&state.chains);
            let chains = labels.map(|(label, chain)| format!("{label} {}", chain.status.name()));
            let beside = state
                .other_failures
                .iter()
                .map(|failure| format!("{} failed", failure.stage));
            let finished = if state.finished { "yes" } else { "no" };
            assert_eq!(
                (
                    state.status.name(),
                    or_dash(chains.collect()),
                    or_dash(beside.collect()),
                    finished
                ),
                (
                    row.state.as_str(),
                    row.chains.clone(),
                    row.beside.clone(),
                    row.finished.as_str()
                ),
                "{turn}: {line}"
            );
            row.events.reverse();
        }
    }
}
