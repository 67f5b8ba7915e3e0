//! The housekeeping as a whole: what it keeps over a year, whatever the clock does, and whenever it is killed.

mod checker;
mod killed;
mod world;
mod year;

use std::collections::BTreeSet;
use std::time::Duration;

use time::OffsetDateTime;
use world::{World, day, event};

use crate::ledger::{DeadLetter, Settlement};
use crate::retention::{Kind, Limits, Sweep};

fn sweep_at(now: OffsetDateTime) -> Sweep {
    Sweep {
        now,
        newest: now,
        dry_run: false,
    }
}

/// With room for no artifact that is not needed.
fn no_room() -> Limits {
    Limits {
        artifacts_size: 0,
        ..Limits::default()
    }
}

#[tokio::test]
async fn the_artifact_of_a_queued_message_stays() {
    let world = World::with(no_room());
    let broker = world.broker().await;
    let queued = world.artifact("queued", day(0));
    let lost = world.artifact("lost", day(0));
    let operator = broker.operator();
    assert!(operator.create_group("$share/signbot/foundry/builds").await);
    world
        .publish(&broker, "foundry/builds", &event("b1", "r1", &[&queued]))
        .await;
    for (at, is_there) in [(day(1), true), (day(400), true)] {
        world.sweep(&sweep_at(at)).await;
        assert_eq!(world.has(&queued), is_there);
        assert!(!world.has(&lost));
    }
    assert!(operator.remove_group("$share/signbot/foundry/builds").await);
    // What the broker removes from the disk a moment later is there until then.
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while world.has(&queued) && std::time::Instant::now() < deadline {
        world.sweep(&sweep_at(day(401))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!world.has(&queued), "nobody will handle it");
    broker.stop().await;
}

#[tokio::test]
async fn the_artifact_of_a_dead_letter_stays_until_the_dead_letter_is_dropped() {
    let world = World::with(no_room());
    let needed = world.artifact("needed", day(0));
    let payload = event("b1", "r1", &[&needed]).data.to_string();
    let dead = DeadLetter::now(
        "sign",
        "foundry/builds",
        Some("b1".to_owned()),
        "no".to_owned(),
        3,
        payload.as_bytes(),
    );
    world.ledger().bury(dead).await.unwrap();
    world.sweep(&sweep_at(day(400))).await;
    assert!(world.has(&needed));
    let number = world.ledger().dead_letters().await.unwrap()[0].seq;
    world.ledger().take_dead_letter(number).await.unwrap();
    world.sweep(&sweep_at(day(401))).await;
    assert!(!world.has(&needed));
}

#[tokio::test]
async fn the_artifact_of_an_event_that_waits_for_the_broker_stays() {
    let world = World::with(no_room());
    let needed = world.artifact("needed", day(0));
    let payload = event("b1", "r1", &[&needed]).data.to_string().into_bytes();
    let settlement = Settlement {
        publish: vec![("foundry/builds".to_owned(), payload)],
        ..Settlement::default()
    };
    world.ledger().settle(settlement).await.unwrap();
    world.sweep(&sweep_at(day(400))).await;
    assert!(world.has(&needed));
}

#[tokio::test]
async fn a_run_on_record_keeps_its_artifacts_as_long_as_there_is_room_and_takes_them_along() {
    let world = World::with(Limits::default());
    let built = world.artifact("built", day(0));
    world.record(&[event("b1", "r1", &[&built])], day(0)).await;
    world.log("r1", day(0));
    for (at, is_there) in [(day(80), true), (day(91), false)] {
        world.sweep(&sweep_at(at)).await;
        assert_eq!(world.has(&built), is_there, "{at}");
        assert_eq!(world.has_log("r1"), is_there, "{at}");
    }
}

#[tokio::test]
async fn where_it_is_not_known_which_messages_wait_no_artifact_goes() {
    let world = World::with(no_room());
    let artifact = world.artifact("kept", day(0));
    std::fs::create_dir(world.broker_directory()).unwrap();
    std::fs::write(
        world.broker_directory().join("sessions.sqlite"),
        "this is no database, and long enough to tell",
    )
    .unwrap();
    let reports = world.sweep(&sweep_at(day(400))).await;
    let report = reports.iter().find(|report| report.kind == Kind::Artifacts).unwrap();
    assert!(
        report
            .trouble
            .as_ref()
            .is_some_and(|why| why.contains("sessions.sqlite")),
        "{report:?}"
    );
    assert!(world.has(&artifact));
}

#[tokio::test]
async fn a_clock_that_is_a_year_ahead_for_some_hours_removes_nothing_that_is_kept() {
    let world = World::with(Limits::default());
    let (built, garbage) = (world.artifact("built", day(0)), world.artifact("garbage", day(0)));
    world.record(&[event("b1", "r1", &[&built])], day(0)).await;
    world.log("r1", day(0));
    let hour = Duration::from_secs(3600);
    world.hourly(day(0)).await;
    for hours in 1..5 {
        world.hourly(day(365) + hour * hours).await;
    }
    assert!(world.has(&built) && world.has(&garbage) && world.has_log("r1"));
    assert!(world.ledger().run("r1").await.unwrap().is_some());
    // It is put right: what the wrong time dated ages from then on.
    let dated_wrong = world.artifact("dated wrong", day(365));
    world.hourly(day(0) + hour * 6).await;
    assert!(world.has(&built) && world.has(&garbage) && world.has(&dated_wrong));
    for days in 1..12 {
        world.hourly(day(days)).await;
    }
    assert!(world.has(&built) && !world.has(&garbage) && !world.has(&dated_wrong));
}

#[tokio::test]
async fn a_clock_that_stays_back_a_year_removes_nothing_and_later_all_goes_on() {
    let world = World::with(Limits::default());
    let garbage = world.artifact("garbage", day(364));
    let built = world.artifact("built", day(364));
    world.record(&[event("b1", "r1", &[&built])], day(364)).await;
    world.hourly(day(365)).await;
    // The housekeeping comes down to the clock by a day each hour, and meets it after two weeks.
    let hour = Duration::from_secs(3600);
    for hours in 0..360 {
        let reports = world.hourly(day(0) + hour * hours).await;
        assert!(reports.iter().all(|report| report.removed.count == 0), "{reports:?}");
    }
    for days in 15..26 {
        world.hourly(day(days)).await;
    }
    assert!(
        !world.has(&garbage) && world.has(&built),
        "it ages by the clock that there is"
    );
}

/// A run with its log and an artifact, and an artifact that nothing refers to, all made at a time.
async fn work_at(world: &World, at: OffsetDateTime) -> [String; 2] {
    let [built, spare] = ["built", "spare"].map(|text| world.artifact(text, at));
    world.record(&[event("b1", "r1", &[&built])], at).await;
    world.log("r1", at);
    [built, spare]
}

async fn is_all_there(world: &World, artifacts: &[String; 2]) -> bool {
    let is_on_record = world.ledger().run("r1").await.unwrap().is_some();
    is_on_record && world.has_log("r1") && artifacts.iter().all(|artifact| world.has(artifact))
}

#[tokio::test]
async fn what_is_made_after_a_pause_of_months_does_not_age_while_the_housekeeping_catches_up() {
    let world = World::with(Limits::default());
    world.hourly(day(0)).await;
    let made = work_at(&world, day(120)).await;
    for hours in 0..130 {
        world.hourly(day(120) + Duration::from_secs(3600) * hours).await;
    }
    assert!(is_all_there(&world, &made).await);
}

#[tokio::test]
async fn a_clock_that_is_back_a_year_for_a_sweep_makes_nothing_old_that_is_new() {
    let world = World::with(Limits::default());
    world.hourly(day(400)).await;
    let made = work_at(&world, day(400)).await;
    world.hourly(day(35)).await;
    world
        .housekeeping()
        .by_hand(BTreeSet::new(), day(35), false)
        .await
        .unwrap();
    for hours in 0..100 {
        world.hourly(day(400) + Duration::from_secs(3600) * hours).await;
    }
    assert!(is_all_there(&world, &made).await);
}

#[tokio::test]
async fn what_is_recorded_while_the_clock_is_back_is_as_new_as_the_last_sweep() {
    let world = World::with(Limits::default());
    let ahead = OffsetDateTime::now_utc() + Duration::from_secs(86_400) * 400;
    world.ledger().note_housekeeping_time(ahead).await.unwrap();
    let events = vec![event("b1", "r1", &[])];
    let message = Some(("g".to_owned(), "m".to_owned()));
    let settlement = Settlement {
        message,
        events,
        ..Settlement::default()
    };
    world.ledger().settle(settlement).await.unwrap();
    world.ledger().promise("g", "p").await.unwrap();
    world.ledger().count_attempt("g", "a").await.unwrap();
    world.hourly(ahead + Duration::from_secs(3600)).await;
    assert!(world.ledger().run("r1").await.unwrap().is_some());
    assert!(world.ledger().known("g", "m").await.unwrap().settled);
    assert!(world.ledger().known("g", "p").await.unwrap().promised);
    assert_eq!(world.ledger().attempts("g", "a").await.unwrap(), 1);
}

#[tokio::test]
async fn a_sweep_by_hand_goes_no_further_than_the_last_hour() {
    let world = World::with(Limits::default());
    let garbage = world.artifact("garbage", day(0));
    world.hourly(day(1)).await;
    for _ in 0..20 {
        world
            .housekeeping()
            .by_hand(BTreeSet::new(), day(400), false)
            .await
            .unwrap();
    }
    assert!(world.has(&garbage));
}

#[tokio::test]
async fn a_dry_run_says_what_the_next_sweep_removes_and_removes_nothing() {
    let world = World::with(Limits {
        artifacts_size: 100,
        ..Limits::default()
    });
    for number in 0..10_u32 {
        let built = world.artifact(&format!("{number:050}"), day(number * 20));
        let id = number.to_string();
        world.record(&[event(&id, &id, &[&built])], day(number * 20)).await;
        world.log(&id, day(number * 20));
    }
    let dry = Sweep {
        dry_run: true,
        ..sweep_at(day(200))
    };
    let before = world.files();
    let would = world.sweep(&dry).await;
    assert_eq!(world.files(), before);
    let did = world.sweep(&sweep_at(day(200))).await;
    assert_eq!(would, did);
    let removed: Vec<_> = did.iter().map(|report| (report.kind, report.removed.count)).collect();
    for expected in [(Kind::Runs, 6), (Kind::RunLogs, 6), (Kind::Artifacts, 8)] {
        assert!(removed.contains(&expected), "{removed:?}");
    }
}
