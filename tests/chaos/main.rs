//! Hosts and brokers die again and again while jobs flow through a chain of bots. Afterwards every job is through, and
//! none had an effect twice.
//!
//! Each run is bounded and chosen by a seed: `FOUNDRY_CHAOS_SEED`, `FOUNDRY_CHAOS_JOBS`, `FOUNDRY_CHAOS_KILLS`. What the
//! machine's scheduler does is not part of the seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod dice;
mod mosquitto;
mod power;
mod process;
mod report;
mod siege;
mod soak;
#[path = "../../host/tests/support/mod.rs"]
mod support;
mod tally;
mod world;

use std::time::Duration;

use report::Report;
use world::{Broker, World};

/// What a run is asked to be.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    jobs: u64,
    /// Jobs that are published together.
    batch: u64,
    /// Between two batches.
    every: Duration,
    kills: usize,
}

impl Plan {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
        let random =
            || u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
        let jobs = number("FOUNDRY_CHAOS_JOBS").unwrap_or(60);
        Self {
            seed: number("FOUNDRY_CHAOS_SEED").unwrap_or_else(random),
            jobs,
            batch: (jobs / 100).max(3),
            every: Duration::from_millis(200),
            kills: number("FOUNDRY_CHAOS_KILLS").unwrap_or(8) as usize,
        }
    }

    /// How long all of it may take; longer, as long as something gets done.
    fn patience(self) -> Duration {
        Duration::from_secs(60 + self.jobs / 4 + 4 * self.kills as u64)
    }
}

fn torment(broker: Broker) -> (World, Report) {
    let plan = Plan::from_environment();
    let mut world = World::build(broker, plan);
    world.start();
    let report = world.torment();
    println!("{report}");
    (world, report)
}

fn chaos(broker: Broker) {
    let (world, report) = torment(broker);
    assert!(
        report.ends() >= report.plan.kills,
        "fewer died than were to\n{report}\n{}",
        world.logs()
    );
    assert_all_done_once(&world, &report);
}

/// No job was lost or given up, and no effect was applied twice.
fn assert_all_done_once(world: &World, report: &Report) {
    assert_done_once(world, report);
    assert_eq!(report.dead_letters, 0, "jobs were given up\n{report}\n{}", world.logs());
}

/// No job was lost, and no effect was applied twice.
fn assert_done_once(world: &World, report: &Report) {
    assert_eq!(report.lost(), 0, "jobs were lost\n{report}\n{}", world.logs());
    assert_eq!(
        report.applied_twice(),
        0,
        "effects were applied twice\n{report}\n{}",
        world.logs()
    );
}

#[test]
fn embedded_broker_hosts_and_publishers_killed_lose_and_repeat_nothing() {
    chaos(Broker::Embedded);
}

#[test]
fn mosquitto_restarted_and_hosts_killed_lose_and_repeat_nothing() {
    chaos(Broker::Mosquitto);
}

/// What Mosquitto loses when it is killed is its own promise, not ours: this says how much it is, and that nothing is
/// repeated. It is here to be read (`make chaos` prints it), so it passes whatever was lost.
#[test]
#[ignore = "a measurement, which make chaos takes"]
fn mosquitto_killed_is_measured() {
    let (world, report) = torment(Broker::MosquittoKilled);
    assert_eq!(
        report.applied_twice(),
        0,
        "effects were applied twice\n{report}\n{}",
        world.logs()
    );
}
