//! Killed at any moment, a sweep leaves a state that opens, with all that is needed, and the next one comes to the same end.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use foundry_broker::killpoint;
use time::OffsetDateTime;

use super::checker::check;
use super::sweep_at;
use super::world::{World, day, event};
use crate::ledger::{DeadLetter, Settlement};
use crate::retention::Limits;
use crate::runtime::StateWrite;

/// The state directory that a process of this test's own is to sweep.
const STATE: &str = "FOUNDRY_TEST_SWEEP";

/// The points of a sweep, and how often it comes to each.
const POINTS: [(&str, u32); 6] = [
    ("sweep-runs", 2),
    ("sweep-aside", 52),
    ("sweep-renamed", 52),
    ("sweep-state", 1),
    ("sweep-artifact", 52),
    ("sweep-root", 1),
];

fn at_last() -> OffsetDateTime {
    day(400)
}

/// Fifty-two runs of long ago with their artifacts and logs, one of which a dead letter is of; the state of a bot that is gone; a layer.
async fn prepare(state: &Path) -> World {
    let world = World::at(state, Limits::default());
    for number in 0..52 {
        let id = number.to_string();
        let built = world.artifact(&id, day(0));
        world
            .record(
                &[event(&id, &id, &[&built]), event(&format!("{id}-2"), &id, &[])],
                day(0),
            )
            .await;
        world.log(&id, day(0));
        if number == 7 {
            let payload = event(&id, &id, &[&built]).data.to_string();
            let dead = DeadLetter::now("sign", "foundry/builds", None, "no".into(), 3, payload.as_bytes());
            world.ledger().bury(dead).await.unwrap();
        }
    }
    world.artifact("nobody's", day(0));
    let settlement = Settlement {
        bot: "gone".to_owned(),
        writes: vec![StateWrite {
            key: "k".to_owned(),
            value: Some(b"1".to_vec()),
        }],
        ..Settlement::default()
    };
    world.ledger().settle(settlement).await.unwrap();
    // Noted as gone.
    world.sweep(&sweep_at(day(0))).await;
    std::fs::create_dir(state.join("build/layers/old")).unwrap();
    let lock = std::fs::File::create(state.join("build/layers/old.lock")).unwrap();
    lock.set_modified(day(0).into()).unwrap();
    world
}

/// Runs this test again, as the process that is to be killed.
fn sweep_and_die(state: &Path, point: &str, nth: u32) {
    let name = "supervisor::housekeeping::tests::killed::a_sweep_that_is_killed_anywhere_leaves_all_that_is_needed";
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(STATE, state)
        .env(killpoint::VARIABLE, format!("{point}:{nth}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        ended.status.signal().is_some(),
        "it was to die at {point}, for the {nth}. time: {said}"
    );
}

#[tokio::test]
async fn a_sweep_that_is_killed_anywhere_leaves_all_that_is_needed() {
    if let Some(state) = std::env::var_os(STATE) {
        World::at(Path::new(&state), Limits::default())
            .sweep(&sweep_at(at_last()))
            .await;
        return;
    }
    for (point, most) in POINTS {
        for nth in BTreeSet::from([1, most.div_ceil(2), most]) {
            let directory = tempfile::tempdir().unwrap();
            drop(prepare(directory.path()).await);
            sweep_and_die(directory.path(), point, nth);
            let after = World::at(directory.path(), Limits::default());
            for digest in check(directory.path(), i64::MAX).needed {
                assert!(after.has(&digest), "{point} {nth}");
            }
            after.sweep(&sweep_at(at_last())).await;
            let checked = check(directory.path(), 0);
            assert!(checked.young.is_empty() && checked.needed.len() == 1, "{point} {nth}");
            let left: Vec<_> = after.files().into_iter().filter(|file| is_swept(file)).collect();
            assert_eq!(left.len(), 1, "{point} {nth}: {left:?}");
        }
    }
}

fn is_swept(file: &Path) -> bool {
    ["/artifacts/", "/logs/", "/layers/"]
        .iter()
        .any(|part| file.to_string_lossy().contains(part))
}
