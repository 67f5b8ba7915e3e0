//! Farms whose lines break and whose machines stop, with the embedded broker and with Mosquitto: nothing is lost, nothing is published twice, nothing is
//! built again but what a builder had in hand that was gone.
//!
//! The short forms are a part of `make test`; `make farm` has the whole, and prints what it measured.

use std::time::Duration;

use crate::farm::Farm;
use crate::network::Network;
use crate::ordeal::{Account, Ordeal, builds_of, is_busy};
use crate::sources::BEGUN;
use crate::trouble::Line;

/// The builder to which it happens.
const ONE: &str = "one";
/// The builder that is well.
const TWO: &str = "two";

const HEAD: &str = "head";

const BOTH: [&str; 2] = [ONE, TWO];

/// How long the broker may take to give a lost member's messages to others: one and a half times the keep-alive of bots (MQTT 5, section
/// 3.1.2.10). A slow machine is given four times that before it counts as a failure.
const LEASE: Duration = Duration::from_secs(30);

/// How long a builder is waited for to get a commit; the other one may be faster.
const BUSY: Duration = Duration::from_secs(30);

/// A farm of two builders, all of which know each other and run.
fn running(mosquitto: bool) -> Option<Farm> {
    let network = Network::new()?;
    let farm = match mosquitto {
        true => Farm::at_mosquitto(network, &BOTH),
        false => Farm::with_builders(network, &BOTH),
    };
    for builder in BOTH {
        farm.introduce(builder, "builder");
    }
    for builder in BOTH {
        farm.tell(builder);
    }
    if mosquitto {
        // There is no backlog: a group gets what is published once it has a member.
        start(&farm, [ONE, TWO, HEAD]);
    } else {
        start(&farm, [HEAD, ONE, TWO]);
    }
    Some(farm)
}

fn start(farm: &Farm, order: [&str; 3]) {
    for name in order {
        farm.any_machine(name).start();
    }
}

/// How many slow builds have begun on a builder.
fn begun(farm: &Farm, builder: &str) -> usize {
    let log = farm.machine(builder).log();
    log.lines().filter(|line| line.contains(BEGUN)).count()
}

#[test]
fn a_farm_whose_lines_break_and_whose_machines_stop_loses_and_repeats_nothing() {
    let Some(farm) = running(false) else { return };
    short(&farm);
    good(&stopped_in_the_middle(&farm), 1);
    assert_eq!(farm.refusals(), Vec::<String>::new());
}

#[test]
fn a_farm_at_mosquitto_whose_lines_break_and_whose_machines_stop_loses_and_repeats_nothing() {
    let Some(farm) = running(true) else { return };
    short(&farm);
    assert_eq!(farm.refusals(), Vec::<String>::new());
}

/// Commits of the short forms, and the seconds of a build.
const SOME: (usize, u32) = (4, 2);

fn short(farm: &Farm) {
    let seconds = Duration::from_secs;
    // What the builder had in hand may be built by the other one as well.
    good(&cut(farm, "cut", SOME, Line::Cut, seconds(5)), 1);
    good(&cut(farm, "lossy", SOME, Line::Lossy(20), seconds(10)), 1);
    good(&killed(farm, "killed", SOME), 1);
}

fn good(account: &Account, built_again: usize) {
    println!("{account}");
    account.is_good(built_again);
}

/// The line of one builder is bad for a while.
fn cut(farm: &Farm, name: &str, commits: (usize, u32), line: Line, time: Duration) -> Account {
    let one = farm.machine(ONE);
    let mut ordeal = Ordeal::of(farm, name, commits, &BOTH).healthy(TWO);
    ordeal.within(BUSY, |farm| is_busy(farm, ONE));
    one.line(line);
    ordeal.last(time);
    one.mend();
    ordeal.end()
}

/// One builder dies with a commit in hand, and starts again at once.
fn killed(farm: &Farm, name: &str, commits: (usize, u32)) -> Account {
    let mut ordeal = Ordeal::of(farm, name, commits, &BOTH).healthy(TWO);
    ordeal.within(BUSY, |farm| is_busy(farm, ONE));
    farm.machine(ONE).kill();
    farm.machine(ONE).start();
    ordeal.end()
}

/// One builder stands still in the middle of a build: what it had goes to the other one once the broker has noticed, and what it comes
/// back with is known.
fn stopped_in_the_middle(farm: &Farm) -> Account {
    let before = BOTH.map(|builder| begun(farm, builder));
    let mut ordeal = Ordeal::of(farm, "stopped", (0, 0), &BOTH);
    ordeal.push(farm.sources.push_slow("stopped-slow", 8));
    let has_begun = |farm: &Farm| {
        let now = BOTH.map(|builder| begun(farm, builder));
        BOTH.into_iter()
            .zip(now.into_iter().zip(before))
            .find(|(_, (now, before))| now > before)
    };
    ordeal.until(|farm| has_begun(farm).is_some()).expect("a build begins");
    let (stopped, _) = has_begun(farm).unwrap();
    let other = if stopped == ONE { TWO } else { ONE };
    let built = builds_of(farm, other);
    farm.machine(stopped).pause();
    let noticed = ordeal.until(|farm| is_busy(farm, other));
    let noticed = noticed.expect("its lease returns");
    println!(
        "stopped            its lease returned after {:.1} s of {:.1} s",
        noticed.as_secs_f64(),
        LEASE.as_secs_f64()
    );
    assert!(noticed < 4 * LEASE, "{noticed:?}");
    ordeal
        .until(|farm| builds_of(farm, other) > built)
        .expect("the other one builds it");
    farm.machine(stopped).resume();
    ordeal.end()
}

#[test]
#[ignore = "the whole, which make farm runs: three quarters of an hour"]
fn the_whole_with_the_embedded_broker() {
    whole(false);
}

#[test]
#[ignore = "the whole, which make farm runs: three quarters of an hour"]
fn the_whole_with_mosquitto() {
    whole(true);
}

/// All that can go wrong, one after the other, with `FOUNDRY_FARM_COMMITS` commits each; says what came of each, and then fails if
/// anything was not good.
fn whole(mosquitto: bool) {
    let Some(farm) = running(mosquitto) else { return };
    let commits = std::env::var("FOUNDRY_FARM_COMMITS").map_or(60, |number| number.parse().unwrap());
    let seconds = Duration::from_secs;
    let mut accounts = Vec::new();
    let all = (commits, 0);
    let mut note = |account: Account, again: usize| {
        println!("{account}");
        accounts.push((account, again));
    };
    note(repeatedly(&farm, "calm", commits, 0, |_| ()), 0);
    // What it had in hand when it was gone may be built by the other one as well.
    note(cut(&farm, "cut-5", all, Line::Cut, seconds(5)), 1);
    note(cut(&farm, "cut-60", all, Line::Cut, seconds(60)), 1);
    note(cut(&farm, "cut-300", all, Line::Cut, seconds(300)), 1);
    note(cut(&farm, "deaf-60", all, Line::Deaf, seconds(60)), 1);
    note(cut(&farm, "mute-60", all, Line::Mute, seconds(60)), 1);
    note(cut(&farm, "lossy-60", all, Line::Lossy(20), seconds(60)), 1);
    note(
        repeatedly(&farm, "killed-3", commits, 3, |farm| kill_and_start(farm, ONE)),
        3,
    );
    note(
        repeatedly(&farm, "head-killed-4", commits, 4, |farm| kill_and_start(farm, HEAD)),
        8,
    );
    note(repeatedly(&farm, "restarted", commits, 1, restart_one_by_one), 0);
    note(
        repeatedly(&farm, "store-away-60", commits, 1, |farm| store_away(farm, seconds(60))),
        0,
    );
    if !mosquitto {
        note(stopped_in_the_middle(&farm), 1);
    }
    for (account, again) in &accounts {
        account.is_good(*again);
    }
    assert_eq!(farm.refusals(), Vec::<String>::new());
}

/// Something happens a number of times, ten seconds apart.
fn repeatedly(farm: &Farm, name: &str, commits: usize, times: usize, happens: impl Fn(&Farm)) -> Account {
    let mut ordeal = Ordeal::of(farm, name, (commits, 0), &BOTH);
    for _ in 0..times {
        ordeal.last(Duration::from_secs(10));
        happens(farm);
    }
    ordeal.end()
}

fn kill_and_start(farm: &Farm, name: &str) {
    let machine = farm.any_machine(name);
    machine.kill();
    machine.start();
}

fn restart_one_by_one(farm: &Farm) {
    for name in [ONE, TWO, HEAD] {
        let machine = farm.any_machine(name);
        machine.stop();
        machine.start();
    }
}

/// Nothing can be stored for a while: the directory of the artifacts is none.
fn store_away(farm: &Farm, time: Duration) {
    let store = farm.artifacts_directory();
    let away = store.with_extension("away");
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "").unwrap();
    std::thread::sleep(time);
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
}
