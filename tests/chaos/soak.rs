//! Hosts for a long time among hostile inputs: what they hold does not grow, and no job is lost or done twice.
//!
//! `make soak` takes an hour, and compares the memory of each minute after the eleventh with that of the eleventh. What a process has not touched yet is
//! still to come in a few minutes, so in less than twenty it is the growth per thousand messages that has a bound.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::Plan;
use crate::dice::Dice;
use crate::siege::{self, Siege};
use crate::world::{Broker, World, directory};

/// How long, in minutes.
const MINUTES: &str = "FOUNDRY_SOAK_MINUTES";

/// The short form.
const SHORT: Duration = Duration::from_secs(70);

/// What counts as warm, of the short form and of a long one.
const WARM: Duration = Duration::from_secs(30);
const WARM_OF_MANY: Duration = Duration::from_secs(600);

/// Two samples of a process.
const BETWEEN: Duration = Duration::from_secs(1);

/// Processes that live from the first to the last moment. The others are killed again and again.
const MEASURED: [&str; 2] = ["hub", "left"];

/// Memory by which a process may be larger in the end of the short form for each thousand messages since it was warm, in KiB. Those have 8 KiB each on average.
const PER_THOUSAND: u64 = 4 * 1024;

/// Memory, in KiB, and descriptors that come and go.
const LEEWAY: u64 = 24 * 1024;
const DESCRIPTORS: u64 = 24;

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// Resident memory, in KiB.
    memory: u64,
    descriptors: u64,
    /// Messages that the siege has published by then.
    messages: u64,
}

/// By the names of the processes.
type Samples = BTreeMap<&'static str, Vec<Sample>>;

#[test]
#[ignore = "takes minutes on a machine that does other things as well; make soak has an hour of it"]
fn hosts_under_siege_hold_no_more_than_at_its_beginning_and_lose_and_repeat_nothing() {
    let minutes = std::env::var(MINUTES).ok().map(|text| text.parse::<u64>().unwrap());
    let length = minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
    let warm = if length > 2 * WARM_OF_MANY { WARM_OF_MANY } else { WARM };
    let seconds = length.as_secs();
    let plan = Plan {
        // As many as are published in four fifths of the time.
        jobs: seconds * 8 / 5,
        batch: 1,
        every: Duration::from_millis(500),
        kills: usize::MAX,
        ..Plan::from_environment()
    };
    println!("a siege of {seconds} s, seed {}", plan.seed);
    let mut world = World::build_in(directory(), Broker::Embedded, plan, &siege::bots());
    world.start();
    let (samples, siege) = besiege(&mut world, length, plan.seed);
    world.spare();
    let report = world.torment();
    println!(
        "{report}\n  garbage        {} messages\n  reloads        {}\n  refused bots   {}",
        siege.messages.load(Ordering::Relaxed),
        siege.reloads,
        siege.refused
    );
    for (name, samples) in &samples {
        judge(name, samples, warm, length);
    }
    assert!(siege.messages.load(Ordering::Relaxed) > 0 && siege.reloads > 0 && siege.refused > 0);
    assert!(report.ends() > 0, "nobody was killed");
    crate::assert_done_once(&world, &report);
    is_within_its_bounds(&world);
}

/// Looks at processes each second, whatever else goes on.
struct Sampler {
    samples: Arc<Mutex<Samples>>,
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Sampler {
    fn of(processes: Vec<(&'static str, u32)>, messages: Arc<AtomicU64>) -> Self {
        let (samples, is_over) = (Arc::new(Mutex::new(Samples::new())), Arc::new(AtomicBool::new(false)));
        let (kept, end) = (Arc::clone(&samples), Arc::clone(&is_over));
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                for (name, process) in &processes {
                    let sample = sample(*process, begun.elapsed(), messages.load(Ordering::Relaxed));
                    kept.lock().unwrap().entry(name).or_default().push(sample);
                }
                std::thread::sleep(BETWEEN);
            }
        });
        Self {
            samples,
            is_over,
            thread,
        }
    }

    fn end(self) -> Samples {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.samples.lock().unwrap().clone()
    }
}

fn besiege(world: &mut World, length: Duration, seed: u64) -> (Samples, Siege) {
    let mut siege = Siege::of(world, seed);
    let mut dice = Dice::new(seed);
    let processes = MEASURED.map(|name| (name, world.process(name).id())).into();
    let sampler = Sampler::of(processes, Arc::clone(&siege.messages));
    let begun = Instant::now();
    let (mut struck, mut reloaded, mut said) = (begun, begun, begun);
    while begun.elapsed() < length {
        siege.step();
        world.look_after_the_dead();
        if struck.elapsed() > Duration::from_secs(dice.between(6, 12)) {
            struck = Instant::now();
            let victim = world.process(["right", "source"][dice.between(0, 1) as usize]);
            if victim.is_running() {
                victim.kill();
            }
        }
        if reloaded.elapsed() > Duration::from_secs(3) {
            reloaded = Instant::now();
            siege.reload(world);
        }
        if said.elapsed() > Duration::from_secs(60) {
            said = Instant::now();
            let messages = siege.messages.load(Ordering::Relaxed);
            println!("{:.0} s, {messages} messages", begun.elapsed().as_secs_f64());
        }
    }
    (sampler.end(), siege)
}

fn sample(process: u32, at: Duration, messages: u64) -> Sample {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Sample {
        at,
        memory: memory.trim().trim_end_matches(" kB").parse().unwrap(),
        descriptors: std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64,
        messages,
    }
}

/// What a process holds between two messages: what a bot has for a moment does not count.
fn least(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(of).min().unwrap()
}

fn judge(name: &str, samples: &[Sample], warm: Duration, length: Duration) {
    // Minutes, or the two halves of what the short form has after it is warm.
    let window = Duration::from_secs(60).min((length - warm) / 2);
    let of = |from: Duration| -> Vec<Sample> {
        let is_in = |sample: &&Sample| sample.at >= from && sample.at < from + window;
        samples.iter().filter(is_in).copied().collect()
    };
    let first = of(warm);
    let (memory, descriptors) = (
        least(&first, |sample| sample.memory),
        least(&first, |sample| sample.descriptors),
    );
    let mut from = warm + window;
    while from + window <= length {
        let later = of(from);
        from += window;
        let messages = later[later.len() - 1].messages - first[0].messages;
        let (more, open) = (
            least(&later, |sample| sample.memory),
            least(&later, |sample| sample.descriptors),
        );
        let most = match warm == WARM_OF_MANY {
            true => memory + memory / 10,
            false => memory + LEEWAY + messages * PER_THOUSAND / 1000,
        };
        println!(
            "  {name:5} to {:5.0} s: {more} KiB (at first {memory}, at most {most}), {open} descriptors (at first {descriptors}), {messages} messages more",
            from.as_secs_f64()
        );
        assert!(more <= most, "{name} grows: {samples:?}");
        assert!(
            open <= descriptors + DESCRIPTORS,
            "{name} keeps descriptors: {samples:?}"
        );
    }
}

/// What `status` says that is kept is within the bounds that it says.
fn is_within_its_bounds(world: &World) {
    for name in ["hub", "left", "right"] {
        let reports: serde_json::Value = serde_json::from_str(&world.ask(name, &["gc", "--json"])).unwrap();
        let status: serde_json::Value = serde_json::from_str(&world.ask(name, &["status", "--json"])).unwrap();
        let kept = status["kept"].as_array().unwrap();
        assert_eq!(kept.len(), reports.as_array().unwrap().len(), "{status}");
        for report in kept {
            let Some(bound) = report["bound"]["bytes"].as_u64() else {
                continue;
            };
            let most = bound.max(report["needed"]["bytes"].as_u64().unwrap());
            assert!(report["kept"]["bytes"].as_u64().unwrap() <= most, "{name}: {report}");
        }
    }
}
