//! Two thousand commits in a year, and bounds that are as much smaller: files take longer to make than all that is tested with them.

use std::collections::BTreeMap;

use serde_json::json;

use super::checker::{check, measure};
use super::sweep_at;
use super::world::{World, day, event};
use crate::ledger::{DeadLetter, Settlement};
use crate::retention::{Kind, Limits, Report};
use crate::run::EventRow;
use crate::runtime::StateWrite;

const COMMITS: u32 = 2_000;
const DAYS: u32 = 365;

/// Days between two sweeps.
const STEP: u32 = 7;

/// A tenth of what the commits bring, or so.
fn limits() -> Limits {
    Limits {
        runs_size: 600_000,
        logs_size: 800,
        artifacts_size: 40_000,
        ..Limits::default()
    }
}

/// What a commit leaves: a package before and after it was signed, for some a log, and what is on record of it. Some end otherwise.
async fn commit(world: &World, number: u32, today: u32) -> Vec<EventRow> {
    let at = day(today);
    let run = format!("{number:08x}");
    let [built, signed] =
        ["built", "signed"].map(|what| world.artifact(&format!("{what} {number} {}", "x".repeat(200)), at));
    // A log is a directory and a file, which take longer to make than all the rest.
    if number.is_multiple_of(4) {
        world.log(&run, at);
    }
    let id = |what: &str| format!("{what}{number}");
    let build = event(&id("build"), &run, &[&built]);
    let sign = event(&id("sign"), &run, &[&built, &signed]);
    match number {
        // signbot gave it up.
        _ if number % 80 == 7 => {
            let payload = sign.data.to_string();
            let dead = DeadLetter::now(
                "sign",
                "foundry/builds",
                Some(id("build")),
                "no".into(),
                3,
                payload.as_bytes(),
            );
            world.ledger().bury(dead).await.unwrap();
            vec![event(&id("commit"), &run, &[]), build]
        }
        // The broker takes none of this topic.
        _ if number % 100 == 9 => {
            publish(world, &sign).await;
            vec![event(&id("commit"), &run, &[]), build, sign]
        }
        // Some bot compares it with the next one.
        _ if number % 200 == 11 => {
            remember(world, number, &built).await;
            vec![event(&id("commit"), &run, &[]), build, sign]
        }
        _ => vec![
            event(&id("commit"), &run, &[]),
            build,
            sign,
            event(&id("dist"), &run, &[]),
        ],
    }
}

async fn publish(world: &World, event: &EventRow) {
    let settlement = Settlement {
        publish: vec![("foundry/signs".to_owned(), event.data.to_string().into_bytes())],
        ..Settlement::default()
    };
    world.ledger().settle(settlement).await.unwrap();
}

async fn remember(world: &World, number: u32, sha256: &str) {
    let settlement = Settlement {
        bot: "compare".to_owned(),
        writes: vec![StateWrite {
            key: number.to_string(),
            value: Some(json!({ "sha256": sha256 }).to_string().into_bytes()),
        }],
        ..Settlement::default()
    };
    world.ledger().settle(settlement).await.unwrap();
}

#[tokio::test]
async fn over_a_year_all_stays_within_the_bounds_and_nothing_goes_that_is_needed() {
    let world = World::with(limits());
    let loaded = ["compare".to_owned()];
    let mut number = 0;
    for today in 0..DAYS {
        let mut events = Vec::new();
        while number < COMMITS * (today + 1) / DAYS {
            events.extend(commit(&world, number, today).await);
            number += 1;
        }
        world.record(&events, day(today)).await;
        if today % STEP == 0 {
            let swept = world
                .housekeeping()
                .sweep(loaded.clone().into(), &sweep_at(day(today)))
                .await;
            assert_bounds(&world, &swept, today);
        }
    }
    assert_eq!(number, COMMITS);
    let kept = check(world.state(), day(DAYS).unix_timestamp());
    assert_eq!(kept.needed.len(), 25 * 2 + 20 * 2 + 10, "of the whole year");
}

fn assert_bounds(world: &World, swept: &[Report], today: u32) {
    let yesterday = day(today).unix_timestamp() - 86_400;
    let checked = check(world.state(), yesterday);
    for digest in checked.needed.iter().chain(&checked.young) {
        assert!(world.has(digest), "day {today}: {digest} is needed");
    }
    let reports: BTreeMap<_, _> = swept.iter().map(|report| (report.kind.name(), report)).collect();
    for report in swept {
        assert_eq!(report.trouble, None, "day {today}: {report:?}");
        assert!(!report.is_over(), "day {today}: {report:?}");
    }
    // What is told is what there is.
    for (kind, directory) in [(Kind::Artifacts, "artifacts"), (Kind::RunLogs, "logs/runs")] {
        let kept = reports[kind.name()].kept;
        assert_eq!(
            (kept.count, kept.bytes),
            measure(&world.state().join(directory)),
            "day {today}: {kind:?}"
        );
    }
    let runs = reports[Kind::Runs.name()];
    let oldest = day(today).unix_timestamp() - 90 * 86_400;
    assert!(
        checked.oldest.is_none_or(|seen| seen >= oldest),
        "day {today}: {runs:?}"
    );
    // Two weeks of messages, twice, whatever the bound is; pages that were in use once are used again.
    let ledger = std::fs::metadata(world.state().join("ledger.sqlite")).unwrap().len();
    assert!(
        ledger < 3 * limits().runs_size.max(runs.needed.bytes),
        "day {today}: {ledger} bytes"
    );
}
