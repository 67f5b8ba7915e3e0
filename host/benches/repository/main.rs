//! What publishing costs: distbot beside reprepro, aptly and apt-ftparchive, on the same packages.
//!
//! Run with `make bench-repo`. Prints a table; nothing here passes or fails.
//!
//! ```text
//! benches/repo [--packages 1000,10000,100000] [--only distbot,reprepro] [--patience SECONDS] [--json]
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
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/publishing/world.rs"]
#[allow(dead_code, reason = "the suite uses more of it")]
mod world;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use contender::Contender;
use measure::{Cost, median};
use report::{Measured, Outcome, Repeated, Report};

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
    /// Whether the report is for programs.
    json: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| only.iter().any(|wanted| wanted == name))
    }
}

fn main() {
    let options = Options::parse();
    let mut report = Report::default();
    for &size in &options.sizes {
        let files = tempfile::tempdir().unwrap();
        eprintln!("building {size} packages");
        let packages = Packages::build(files.path(), size);
        for (name, program) in CONTENDERS {
            if !options.wants(name) {
                continue;
            }
            let outcome = match reason_to_skip(&report, name, program, size, options.patience) {
                Some(why) => Outcome::Skipped(why),
                None => Outcome::Measured(compare(new(name).as_mut(), &packages, options.patience)),
            };
            report.add(size, name, outcome);
        }
    }
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.markdown());
    }
}

fn reason_to_skip(report: &Report, name: &str, program: &str, size: usize, patience: Duration) -> Option<String> {
    let installed = Command::new("sh")
        .args(["-c", &format!("command -v {program} >/dev/null")])
        .status();
    if !installed.unwrap().success() {
        return Some("it is not installed".to_owned());
    }
    let expected = report.expected_bulk(name, size)?;
    // What is measured itself is not skipped: it is what this is for.
    let too_long = expected > patience && name != "distbot";
    too_long.then(|| format!("its bulk would take some {:.0} s", expected.as_secs_f64()))
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

/// Measures one contender.
fn compare(contender: &mut dyn Contender, packages: &Packages, patience: Duration) -> Measured {
    let bulk = contender.add(&packages.bulk);
    let one = repeat(packages.singles.chunks(1), patience, |packages| contender.add(packages));
    let ten = repeat(packages.sets.chunks(SET), patience, |packages| contender.add(packages));
    let same = repeat(packages.singles.chunks(1).take(one.times), patience, |packages| {
        contender.add(packages)
    });
    Measured { bulk, one, ten, same }
}

/// The median.
fn repeat<'a>(
    sets: impl Iterator<Item = &'a [PathBuf]>,
    patience: Duration,
    mut add: impl FnMut(&[PathBuf]) -> Cost,
) -> Repeated {
    let start = Instant::now();
    let mut costs = Vec::new();
    for set in sets {
        costs.push(add(set));
        if start.elapsed() > patience / 5 {
            break;
        }
    }
    Repeated {
        times: costs.len(),
        median: median(costs),
    }
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            sizes: vec![1_000, 10_000, 100_000],
            only: None,
            patience: Duration::from_secs(300),
            json: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--packages" => options.sizes = value().split(',').map(|size| size.parse().unwrap()).collect(),
                "--only" => options.only = Some(value().split(',').map(str::to_owned).collect()),
                "--patience" => options.patience = Duration::from_secs(value().parse().unwrap()),
                "--json" => options.json = true,
                // cargo bench says so to every bench.
                "--bench" => {}
                _ => panic!("{argument} is not an option (--packages, --only, --patience and --json are)"),
            }
        }
        options
    }
}
