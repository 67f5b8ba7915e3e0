//! What one build of `foundry-host` costs beside another one: a message's hop through a bot, and the host's own part of the way
//! from an announced commit to its publication. Both builds are measured in turn, in as many pairs as are asked for, so that a machine whose
//! speed drifts does not decide.
//!
//! `cargo bench --bench releases -- OLD NEW [PAIRS]`, or `benches/run releases` with `FOUNDRY_OLD` and `FOUNDRY_NEW`. Prints a table;
//! nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement stops where it fails"
)]

#[path = "../../tests/pipeline/farm.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod farm;
#[path = "../../tests/pipeline/package.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod package;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use farm::Farm;

/// Bots in the chain.
const HOPS: usize = 4;

/// Messages one by one, 50 ms apart, for the time that a hop takes.
const CALM: usize = 100;

/// Messages as fast as they go, for the number of hops a second.
const BUSY: usize = 1_000;

/// Commits that are built and published one after the other.
const COMMITS: usize = 3;

/// Pairs, if no number is given.
const PAIRS: usize = 7;

/// Quantiles of Student's t distribution for a two-sided interval of 95 %, by degrees of freedom from 1.
const STUDENT: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
];

fn main() {
    let Some((old, new, pairs)) = arguments() else {
        eprintln!("usage: cargo bench --workspace --bench releases -- OLD NEW [PAIRS]   (two builds of foundry-host)");
        std::process::exit(2);
    };
    println!("{pairs} pairs, in turn; the ratio's interval is of 95 %");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Which one is first changes, so that what the first one warms up is nobody's advantage.
        if pair % 2 == 0 {
            before.push(Figures::of(&old));
            after.push(Figures::of(&new));
        } else {
            after.push(Figures::of(&new));
            before.push(Figures::of(&old));
        }
    }
    row("one hop, 20 messages a second", "ms", &before, &after, |f| f.hop);
    row("one hop, as fast as they go", "ms", &before, &after, |f| f.busy_hop);
    row("the same, each counted in one key", "ms", &before, &after, |f| {
        f.counting_hop
    });
    row(
        "announced to published, without the build",
        "ms",
        &before,
        &after,
        |f| f.pipeline,
    );
}

/// The two programs, and the number of pairs.
fn arguments() -> Option<(PathBuf, PathBuf, usize)> {
    // Cargo adds an option of its own.
    let mut given = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let (old, new) = (given.next()?, given.next()?);
    let pairs = given.next().map_or(Some(PAIRS), |pairs| pairs.parse().ok())?;
    (2..=STUDENT.len())
        .contains(&pairs)
        .then(|| (PathBuf::from(old), PathBuf::from(new), pairs))
}

/// What was measured of one program at one time, in milliseconds.
struct Figures {
    /// Half of the messages took less than this for a hop.
    hop: f64,
    /// A hop's share of the time, where messages queue.
    busy_hop: f64,
    /// The same, where all messages change one key of their bot's state, so that they have to come one after the other.
    counting_hop: f64,
    /// From the commit's event to the publication's, without the build.
    pipeline: f64,
}

impl Figures {
    fn of(program: &Path) -> Self {
        let (hop, busy_hop) = hops(program, true);
        Self {
            hop,
            busy_hop,
            counting_hop: hops(program, false).1,
            pipeline: pipeline(program),
        }
    }
}

fn row(what: &str, unit: &str, before: &[Figures], after: &[Figures], figure: impl Fn(&Figures) -> f64) {
    let of = |figures: &[Figures]| figures.iter().map(&figure).collect::<Vec<_>>();
    let (before, after) = (of(before), of(after));
    let ratios: Vec<f64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| (after / before).ln())
        .collect();
    let (ratio, low, high) = interval(&ratios);
    println!(
        "{what:<45} old {:>8.2} {unit}   new {:>8.2} {unit}   new/old {ratio:.2} ({low:.2} to {high:.2})",
        median(before),
        median(after)
    );
}

/// The geometric mean of ratios, given as logarithms, and its interval.
fn interval(logarithms: &[f64]) -> (f64, f64, f64) {
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    let variance = logarithms.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = STUDENT[logarithms.len() - 2] * (variance / count).sqrt();
    (mean.exp(), (mean - half).exp(), (mean + half).exp())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Milliseconds for one hop: one message at a time, and many. The bots keep no state, or count their messages in one key of it.
fn hops(program: &Path, stateless: bool) -> (f64, f64) {
    let mut farm = Farm::of(program);
    farm.start();
    for hop in 1..=HOPS {
        let (from, to) = (format!("t{hop}"), format!("t{}", hop + 1));
        let mut load = load(
            &farm,
            "relay",
            &format!("link{hop}"),
            Some(&format!("{from}@group{hop}")),
            &to,
        );
        load.args([
            "--endpoint",
            &format!("group{hop}"),
            "--watch",
            &from,
            "--instances",
            "8",
        ]);
        if stateless {
            load.arg("--stateless");
        }
        package::run(&mut load);
    }
    let calm = passage(&farm, CALM, &["--every", "50ms", "--batch", "1"]);
    let mut times: Vec<f64> = calm.values().map(|(begin, end)| end - begin).collect();
    times.retain(|time| time.is_finite());
    let calm = median(times) / HOPS as f64;
    let busy = passage(&farm, BUSY, &["--every", "10ms", "--batch", "100"]);
    let begin = busy.values().map(|(begin, _)| *begin).fold(f64::INFINITY, f64::min);
    let end = busy.values().map(|(_, end)| *end).fold(0.0, f64::max);
    (calm, (end - begin) / (BUSY * HOPS) as f64)
}

/// When each of a number of messages came into the chain, and out of it, in milliseconds.
fn passage(farm: &Farm, total: usize, options: &[&str]) -> BTreeMap<u64, (f64, f64)> {
    let name = format!("source{total}");
    let mut witness = Witness::of(farm, &["t1", &format!("t{}", HOPS + 1)]);
    let mut source = load(farm, "source", &name, None, "t1");
    source.args(["--total", &total.to_string()]).args(options);
    package::run(&mut source);
    let mut seen = BTreeMap::new();
    let mut ended = 0;
    while ended < total {
        let (at, topic, event) = witness.next();
        let number = event["data"]["n"].as_u64().unwrap();
        let (begin, end) = seen.entry(number).or_insert((f64::NAN, f64::NAN));
        match topic == "t1" {
            true => *begin = at,
            false => {
                *end = at;
                ended += 1;
            }
        }
    }
    package::run(farm.foundry().args(["stop", &name]));
    seen
}

/// The command that loads a bot of the tests, with the grants of topics that newer builds ask for.
fn load(farm: &Farm, guest: &str, name: &str, reads: Option<&str>, publishes: &str) -> Command {
    let file = foundry_test_guests::path(guest);
    let mut command = farm.foundry();
    command
        .arg("load")
        .arg(&file)
        .args(["--as", name, "--publish-to", publishes]);
    let help = package::run(farm.foundry().args(["load", "--help"]));
    if help.contains("--allow-publish") {
        command.args(["--allow-publish", publishes]);
        command.args(reads.into_iter().flat_map(|topic| ["--allow-read", topic]));
    }
    command
}

/// From the commit's event to the publication's, as a client of the broker sees them, without the time of the build: half of the
/// commits took less.
fn pipeline(program: &Path) -> f64 {
    let mut farm = Farm::of(program);
    let repository = package::Repository::new(farm.path(), "bench-package");
    let first = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    farm.await_event("foundry.dist.v1", &first);
    let mut witness = Witness::of(&farm, &["commits", "builds", "dists"]);
    let versions = (1..=COMMITS).map(|number| {
        repository.version(&format!("1.{number}"));
        witness.passage(&repository.push("master"))
    });
    median(versions.collect())
}

/// A client of the broker that writes down when messages come: a process of its own, which does nothing else.
struct Witness {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Witness {
    fn of(farm: &Farm, topics: &[&str]) -> Self {
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            &farm.port().to_string(),
            "-F",
            "%U %t %p",
        ]);
        for topic in topics {
            command.args(["-t", &format!("foundry/{topic}")]);
        }
        // Its first line says that it is there: a retained message that is always present.
        command.args(["-t", "foundry/hosts/+"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut witness = Self { process, lines };
        while witness.line().1 != "foundry/hosts/farm" {}
        witness
    }

    /// Milliseconds from a commit's event to the publication of its packages, without the build.
    fn passage(&mut self, commit: &str) -> f64 {
        let (mut announced, mut build) = (f64::NAN, f64::NAN);
        loop {
            let (at, topic, event) = self.next();
            if event["data"]["ref"] != commit {
                continue;
            }
            match topic.as_str() {
                "commits" => announced = at,
                "builds" => build = event["data"]["durationMs"].as_f64().unwrap(),
                _ => return at - announced - build,
            }
        }
    }

    /// When the next event came, in milliseconds, on which topic without prefix, and what it is.
    fn next(&mut self) -> (f64, String, serde_json::Value) {
        loop {
            let (at, topic, payload) = self.line();
            let topic = topic.trim_start_matches("foundry/").to_owned();
            if !topic.starts_with("hosts/") {
                return (at, topic, serde_json::from_str(&payload).unwrap());
            }
        }
    }

    fn line(&mut self) -> (f64, String, String) {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the broker went away");
        let mut parts = line.trim_end().splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let at: f64 = part().parse().unwrap();
        (at * 1e3, part(), part())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
