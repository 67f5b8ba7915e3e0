//! Two builders and a head, with whatever goes wrong on a farm: no commit is without a result or a failure that everybody sees,
//! and what was refused for a reason that has passed is published without anybody sending it again.

use std::collections::BTreeSet;

use crate::archive;
use crate::clock::Clock;
use crate::farm::Farm;
use crate::network::Network;
use crate::package::run;
use crate::sources::{BEGUN, Pushed};

/// The builder whose clock goes wrong, and which is copied.
const ONE: &str = "one";
/// The builder whose key the head does not know at first.
const TWO: &str = "two";

/// Seconds by which a clock may be ahead of another one.
const ACCEPTED: u32 = 300;

#[test]
fn no_commit_of_a_farm_in_trouble_is_without_a_result_or_a_visible_failure() {
    let Some(network) = Network::new() else { return };
    let mut farm = Farm::with_builders(network, &[ONE, TWO]);
    let clock = Clock::of(farm.machine_mut(ONE));
    farm.introduce(ONE, "builder");
    for builder in [ONE, TWO] {
        farm.tell(builder);
    }
    farm.head.start();
    let mut all = Vec::new();
    all.extend(results_by_a_key_that_the_head_does_not_know(&farm));
    all.extend(a_clock_that_is_wrong_from_the_start(&farm, &clock));
    all.extend(a_clock_that_is_set_while_its_host_is_connected(&farm, &clock));
    all.extend(a_copy_of_a_builder(&mut farm));
    all.extend(a_builder_that_dies_in_the_middle(&farm));
    assert_eq!(farm.pool(), archive::of(&all));
    let built = builds_of(&farm, ONE) + builds_of(&farm, TWO);
    assert!(
        (all.len()..=all.len() + 1).contains(&built),
        "{built} builds of {} commits",
        all.len()
    );
    for pushed in &all {
        has_come_through_once(&farm, pushed);
    }
    assert_eq!(farm.refusals(), Vec::<String>::new());
}

/// The step `key import` was forgotten.
fn results_by_a_key_that_the_head_does_not_know(farm: &Farm) -> Vec<Pushed> {
    farm.machine(TWO).start();
    let pushed = ["unknown-1", "unknown-2"].map(|source| farm.sources.push(source));
    for pushed in &pushed {
        let why = farm.await_refusal(pushed);
        assert!(why.contains("is not among the messages keys here"), "{why}");
        assert!(
            why.contains("foundry-host key import --role messages --host two --may DUTY FILE"),
            "{why}"
        );
        is_over_and_failed(farm, pushed, "is not among the messages keys here");
    }
    farm.introduce(TWO, "builder");
    for builder in [ONE, TWO] {
        farm.tell(builder);
    }
    await_all(farm, &pushed);
    assert_eq!(builds_of(farm, TWO), pushed.len(), "nothing was built again");
    pushed.into()
}

/// It takes no work, and says why; the other one does it.
fn a_clock_that_is_wrong_from_the_start(farm: &Farm, clock: &Clock) -> Vec<Pushed> {
    let one = farm.machine(ONE);
    clock.set_ahead(2 * ACCEPTED + 30);
    one.start();
    one.eventually("it says that its clock is wrong", || {
        let trouble = one.json(&["status"])["trouble"].as_str()?.to_owned();
        trouble.contains("10 min ahead of the broker's").then_some(())
    });
    let pushed = ["ahead-1", "ahead-2"].map(|source| farm.sources.push(source));
    await_all(farm, &pushed);
    assert_eq!(builds_of(farm, ONE), 0, "{}", one.log());
    clock.set_ahead(0);
    one.eventually("its clock is right", || {
        one.json(&["status"])["trouble"].is_null().then_some(())
    });
    farm.machine(TWO).stop();
    let right = farm.sources.push("right");
    farm.await_published(&right);
    assert_eq!(builds_of(farm, ONE), 1, "{}", one.log());
    [pushed.into(), vec![right]].concat()
}

/// Nobody told it the time since. What it built is refused, visibly, until its time has come.
fn a_clock_that_is_set_while_its_host_is_connected(farm: &Farm, clock: &Clock) -> Vec<Pushed> {
    clock.set_ahead(ACCEPTED + 40);
    let pushed = farm.sources.push("early");
    let why = farm.await_refusal(&pushed);
    assert!(why.contains("the clocks of both machines"), "{why}");
    is_over_and_failed(farm, &pushed, "the clocks of both machines");
    farm.await_published(&pushed);
    assert_eq!(
        farm.events(&pushed, "foundry.build.v1").len(),
        1,
        "nothing was built again"
    );
    clock.set_ahead(0);
    let right = farm.sources.push("right-again");
    farm.await_published(&right);
    vec![pushed, right]
}

/// The copy ends and says why; the original goes on.
fn a_copy_of_a_builder(farm: &mut Farm) -> Vec<Pushed> {
    farm.copy(ONE, "copy");
    let pushed: Vec<_> = ["copied-1", "copied-2", "copied-3"]
        .map(|source| farm.sources.push(source))
        .into();
    let copy = farm.machine("copy");
    copy.begin();
    assert_eq!(copy.end().code(), Some(6), "{}", copy.log());
    assert!(
        copy.log().contains("this is a copy of the host that runs on"),
        "{}",
        copy.log()
    );
    await_all(farm, &pushed);
    assert_eq!(builds_of(farm, "copy"), 0, "{}", copy.log());
    pushed
}

/// What it had in hand goes to the other one.
fn a_builder_that_dies_in_the_middle(farm: &Farm) -> Vec<Pushed> {
    farm.machine(TWO).start();
    let slow = farm.sources.push_slow("slow", 8);
    let other = |builder| if builder == ONE { TWO } else { ONE };
    let dead = farm.eventually("a build begins", || {
        [ONE, TWO].into_iter().find(|name| has_begun(farm, name))
    });
    farm.machine(dead).kill();
    assert_eq!(farm.events(&slow, "foundry.build.v1").len(), 0, "too late to kill it");
    let more = ["later-1", "later-2", "later-3"].map(|source| farm.sources.push(source));
    farm.machine(dead).start();
    let build = farm.await_event(&slow, "foundry.build.v1");
    let source = build["source"].as_str().unwrap();
    assert_eq!(source, format!("{}/build", other(dead)), "the other one has built it");
    let all = [vec![slow], more.into()].concat();
    await_all(farm, &all);
    all
}

fn await_all(farm: &Farm, pushed: &[Pushed]) {
    for pushed in pushed {
        farm.await_published(pushed);
    }
}

/// Who waits for it is told at once, and why.
fn is_over_and_failed(farm: &Farm, pushed: &Pushed, why: &str) {
    let waited = farm
        .head
        .foundry(&["runs", "--wait", &pushed.commit, "--timeout", "1m"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&waited.stdout);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    assert!(said.contains("failed") && said.contains(why), "{said}");
}

/// How many builds a builder has finished.
fn builds_of(farm: &Farm, builder: &str) -> usize {
    let log = farm.machine(builder).log();
    log.lines().filter(|line| line.contains(" built ")).count()
}

/// Whether the slow build has begun on a builder.
fn has_begun(farm: &Farm, builder: &str) -> bool {
    let log = farm.machine(builder).log();
    log.lines().any(|line| line.contains(BEGUN))
}

fn has_come_through_once(farm: &Farm, pushed: &Pushed) {
    let state = farm.run_of(pushed).unwrap();
    assert_eq!(
        (&state["status"], &state["finished"]),
        (&"published".into(), &true.into()),
        "{state}"
    );
    for kind in ["commit", "build", "sign", "dist"] {
        let events = farm.events(pushed, &format!("foundry.{kind}.v1"));
        let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1, "{kind}: {events:?}");
    }
    run(&mut farm
        .head
        .foundry(&["runs", "--wait", &pushed.commit, "--timeout", "1m"]));
}
