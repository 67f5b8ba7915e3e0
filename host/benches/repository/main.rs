//! What publishing costs: distbot beside reprepro, aptly and apt-ftparchive, on the same packages.
//!
//! Run with `make bench-repo`. Prints a table; nothing here passes or fails.
//!
//! ```text
//! benches/repo [--packages 1000,10000] [--only distbot,reprepro] [--patience SECONDS]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a measurement stops where it fails"
)]

mod contender;
mod measure;
mod ours;
#[path = "../../tests/publishing/package.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod package;
mod packages;
mod peers;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/publishing/world.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod world;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use contender::Contender;
use measure::{Cost, median};

/// How often what is repeated is repeated, if patience allows.
const TIMES: usize = 20;

/// How many packages are a set.
const SET: usize = 10;

const CONTENDERS: [(&str, &str); 4] = [
    ("distbot", "true"),
    ("reprepro", "reprepro"),
    ("aptly", "aptly"),
    ("apt-ftparchive", "apt-ftparchive"),
];

struct Options {
    sizes: Vec<usize>,
    only: Option<Vec<String>>,
    /// How long a bulk, or all repetitions of something, may take.
    patience: Duration,
}

fn main() {
    let options = Options::parse();
    let mut bulks: HashMap<&str, (usize, Duration)> = HashMap::new();
    for &size in &options.sizes {
        let files = tempfile::tempdir().unwrap();
        let packages = Packages::build(files.path(), size);
        println!(
            "\n{size} packages{:>25} {:>12} {:>12} {:>12} {:>12}",
            "bulk", "one more", "ten more", "no change", "peak memory"
        );
        for (name, program) in CONTENDERS {
            if options
                .only
                .as_ref()
                .is_some_and(|only| !only.iter().any(|wanted| wanted == name))
            {
                continue;
            }
            let installed = Command::new("sh")
                .args(["-c", &format!("command -v {program} >/dev/null")])
                .status();
            if !installed.unwrap().success() {
                println!("{name:<20} skipped: it is not installed");
                continue;
            }
            if let Some((before, time)) = bulks.get(name) {
                let expected = time.mul_f64(size as f64 / *before as f64);
                if expected > options.patience {
                    println!(
                        "{name:<20} skipped: its bulk would take some {:.0} s",
                        expected.as_secs_f64()
                    );
                    continue;
                }
            }
            let bulk = compare(new(name).as_mut(), &packages, options.patience);
            bulks.insert(name, (size, bulk));
        }
    }
}

fn new(name: &str) -> Box<dyn Contender> {
    match name {
        "distbot" => Box::new(ours::Ours::new()),
        "reprepro" => Box::new(peers::Reprepro::new()),
        "aptly" => Box::new(peers::Aptly::new()),
        _ => Box::new(peers::FtpArchive::new()),
    }
}

struct Packages {
    bulk: Vec<PathBuf>,
    singles: Vec<PathBuf>,
    sets: Vec<PathBuf>,
}

impl Packages {
    fn build(directory: &std::path::Path, size: usize) -> Self {
        Self {
            bulk: packages::build(&directory.join("bulk"), 0, size),
            singles: packages::build(&directory.join("singles"), size, TIMES),
            sets: packages::build(&directory.join("sets"), size + TIMES, TIMES * SET),
        }
    }
}

/// Measures one contender; returns how long its bulk took.
fn compare(contender: &mut dyn Contender, packages: &Packages, patience: Duration) -> Duration {
    let bulk = contender.add(&packages.bulk);
    let (one, ones) = repeat(packages.singles.chunks(1), patience, |packages| contender.add(packages));
    let (ten, tens) = repeat(packages.sets.chunks(SET), patience, |packages| contender.add(packages));
    let (same, sames) = repeat(packages.singles.chunks(1).take(ones), patience, |packages| {
        contender.add(packages)
    });
    let peak = [bulk, one, ten, same].map(|cost| cost.peak).into_iter().max().unwrap();
    let mut line = format!("{:<20}", contender.name());
    for cost in [bulk, one, ten, same] {
        line += &format!(" {:>10.3} s", cost.time.as_secs_f64());
    }
    line += &format!(" {:>9} MB", peak / 1024);
    if [ones, tens, sames] != [TIMES; 3] {
        line += &format!("   (medians of {ones}, {tens} and {sames})");
    }
    println!("{line}");
    bulk.time
}

/// The median, and of how many times.
fn repeat<'a>(
    sets: impl Iterator<Item = &'a [PathBuf]>,
    patience: Duration,
    mut add: impl FnMut(&[PathBuf]) -> Cost,
) -> (Cost, usize) {
    let start = Instant::now();
    let mut costs = Vec::new();
    for set in sets {
        costs.push(add(set));
        if start.elapsed() > patience / 5 {
            break;
        }
    }
    let times = costs.len();
    (median(costs), times)
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            sizes: vec![1_000, 10_000],
            only: None,
            patience: Duration::from_secs(300),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--packages" => options.sizes = value().split(',').map(|size| size.parse().unwrap()).collect(),
                "--only" => options.only = Some(value().split(',').map(str::to_owned).collect()),
                "--patience" => options.patience = Duration::from_secs(value().parse().unwrap()),
                // cargo bench says so to every bench.
                "--bench" => {}
                _ => panic!("{argument} is not an option (--packages, --only and --patience are)"),
            }
        }
        options
    }
}
