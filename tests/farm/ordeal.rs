//! Commits that go through a farm while something is wrong with it, and what is counted meanwhile.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::archive;
use crate::farm::Farm;
use crate::sources::Pushed;

/// The group of the builders.
const GROUP: &str = "pub/buildbot";

/// Pause between two looks at the farm.
const LOOK: Duration = Duration::from_millis(500);

/// How long commits may take to be published on a slow machine, once nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(400);

/// Some commits on their way.
pub struct Ordeal<'a> {
    farm: &'a Farm,
    name: String,
    builders: &'a [&'a str],
    /// A builder with which nothing is wrong.
    healthy: Option<&'a str>,
    pushed: Vec<Pushed>,
    begun: Instant,
    built: usize,
    idle: Idle,
}

/// For how long the healthy builder had nothing to do while a commit waited for one.
#[derive(Debug, Default)]
struct Idle {
    since: Option<Instant>,
    longest: Duration,
}

impl Idle {
    fn note(&mut self, is_idle: bool) {
        self.since = is_idle.then(|| self.since.unwrap_or_else(Instant::now));
        let now = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.longest = self.longest.max(now);
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Account {
    name: String,
    pub commits: usize,
    /// Commits without a publication when the patience was over.
    pub lost: usize,
    /// Files in the archive that nobody asked for, or that are missing.
    pub amiss: Vec<String>,
    /// Events that are in a commit's run twice, under different ids.
    pub twice: usize,
    /// Builds beyond one for each commit.
    pub built_again: usize,
    /// For how long the healthy builder was idle at a stretch while a commit was queued.
    pub idle: Duration,
    took: Duration,
}

impl<'a> Ordeal<'a> {
    /// Pushes so many commits whose builds take so many seconds, and looks at a farm of these builders from then on.
    pub fn of(farm: &'a Farm, name: &str, (commits, seconds): (usize, u32), builders: &'a [&'a str]) -> Self {
        let built = builders.iter().map(|builder| builds_of(farm, builder)).sum();
        let mut ordeal = Self {
            farm,
            name: name.to_owned(),
            builders,
            healthy: None,
            pushed: Vec::new(),
            begun: Instant::now(),
            built,
            idle: Idle::default(),
        };
        for number in 0..commits {
            ordeal.push(farm.sources.push_slow(&format!("{name}-{number}"), seconds));
        }
        ordeal
    }

    /// One of the builders is well all the time.
    pub fn healthy(mut self, builder: &'a str) -> Self {
        self.healthy = Some(builder);
        self
    }

    /// One more commit, which was pushed.
    pub fn push(&mut self, pushed: Pushed) {
        self.pushed.push(pushed);
    }

    /// It goes on for so long.
    pub fn last(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look();
        }
    }

    /// It goes on until something is so. Returns how long that took, or none if it was never so.
    pub fn until(&mut self, is_so: impl Fn(&Farm) -> bool) -> Option<Duration> {
        self.within(PATIENCE, is_so)
    }

    /// It goes on until something is so, and no longer than that.
    pub fn within(&mut self, time: Duration, is_so: impl Fn(&Farm) -> bool) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if is_so(self.farm) {
                return Some(begun.elapsed());
            }
            self.look();
        }
        None
    }

    /// Nothing is wrong any more: waits until all is published, and counts.
    pub fn end(mut self) -> Account {
        let pushed = self.pushed.clone();
        let all_are_through = move |farm: &Farm| unpublished(farm, &pushed) == 0;
        self.until(all_are_through);
        let built: usize = self.builders.iter().map(|builder| builds_of(self.farm, builder)).sum();
        Account {
            commits: self.pushed.len(),
            lost: unpublished(self.farm, &self.pushed),
            amiss: amiss(self.farm, &self.name, &self.pushed),
            twice: twice(self.farm, &self.pushed),
            built_again: (built - self.built).saturating_sub(self.pushed.len()),
            idle: self.idle.longest,
            took: self.begun.elapsed(),
            name: self.name,
        }
    }

    fn look(&mut self) {
        if let Some(healthy) = self.healthy {
            let is_idle = in_hand(self.farm, healthy) == Some(0) && queued(self.farm) > 0;
            self.idle.note(is_idle);
        }
        std::thread::sleep(LOOK);
    }
}

impl Account {
    /// Nothing was lost, nothing was published twice, and so many builds were made again at most.
    pub fn is_good(&self, built_again: usize) {
        assert_eq!((self.lost, self.twice, &self.amiss), (0, 0, &Vec::new()), "{self}");
        assert!(self.built_again <= built_again, "{self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<18} {:3} commits, lost {}, twice {}, built again {}, idle beside queued commits {:.1} s at most, took {:.0} s{}",
            self.name,
            self.commits,
            self.lost,
            self.twice,
            self.built_again,
            self.idle.as_secs_f64(),
            self.took.as_secs_f64(),
            if self.amiss.is_empty() {
                String::new()
            } else {
                format!(", in the archive amiss: {:?}", self.amiss)
            },
        )
    }
}

/// How many builds a builder has finished.
pub fn builds_of(farm: &Farm, builder: &str) -> usize {
    let log = farm.machine(builder).log();
    log.lines().filter(|line| line.contains(" built ")).count()
}

/// Commits that wait in the group, in nobody's hands; none at a broker that does not tell, or while it does not answer.
fn queued(farm: &Farm) -> u64 {
    let groups = farm.head.foundry(&["groups", "list", "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&groups.stdout).unwrap_or_default();
    let groups = said["groups"].as_array().cloned().unwrap_or_default();
    let group = groups.iter().find(|group| group["name"] == GROUP);
    group.and_then(|group| group["waiting"].as_u64()).unwrap_or_default()
}

/// Whether a builder has work in its hands.
pub fn is_busy(farm: &Farm, builder: &str) -> bool {
    in_hand(farm, builder).is_some_and(|number| number > 0)
}

/// What a builder has in its hands, if its host answers.
fn in_hand(farm: &Farm, builder: &str) -> Option<u64> {
    let list = farm.machine(builder).foundry(&["list", "--json"]).output().unwrap();
    let bots: Value = serde_json::from_slice(&list.stdout).ok()?;
    let own = bots.as_array()?.iter().find(|bot| bot["host"] == builder)?.clone();
    own["local"]["in-hand"].as_u64()
}

fn unpublished(farm: &Farm, pushed: &[Pushed]) -> usize {
    let published: BTreeSet<_> = farm.try_runs().iter().flat_map(published_by).collect();
    pushed.iter().filter(|one| !published.contains(&one.commit)).count()
}

/// The commits of a run, if it has come to a publication.
fn published_by(run: &Value) -> Vec<String> {
    let events = run["events"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str| -> Vec<_> { events.iter().filter(|event| event["type"] == kind).collect() };
    match of("foundry.dist.v1").is_empty() {
        true => Vec::new(),
        false => of("foundry.commit.v1")
            .iter()
            .filter_map(|event| Some(event["data"]["ref"].as_str()?.to_owned()))
            .collect(),
    }
}

/// Events of one kind in a run beyond the first one.
fn twice(farm: &Farm, pushed: &[Pushed]) -> usize {
    let beyond = |pushed: &Pushed, kind: &str| {
        let events = farm.events(pushed, &format!("foundry.{kind}.v1"));
        let ids: BTreeSet<_> = events.iter().map(|event| event["id"].to_string()).collect();
        ids.len().saturating_sub(1)
    };
    let kinds = ["commit", "build", "sign", "dist"];
    pushed.iter().flat_map(|one| kinds.map(|kind| beyond(one, kind))).sum()
}

/// Files of these commits that the archive has and should not, or lacks.
fn amiss(farm: &Farm, name: &str, pushed: &[Pushed]) -> Vec<String> {
    let there = farm.pool().into_iter().filter(|file| file.starts_with(name)).collect();
    let expected: BTreeSet<String> = archive::of(pushed);
    expected.symmetric_difference(&there).cloned().collect()
}
