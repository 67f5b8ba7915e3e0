//! A broker, a host that publishes jobs, and two hosts that both have a member of every stage's group.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::dice::Dice;
use crate::mosquitto;
use crate::process::{End, Process};
use crate::report::Report;
use crate::tally::{DONE, STAGES, Tally};

const BROKER_POINTS: &[&str] = &["broker-before-write", "broker-after-write"];
const SOURCE_POINTS: &[&str] = &["before-commit", "before-forget", "handle"];
const WORKER_POINTS: &[&str] = &[
    "handle",
    "before-settlement",
    "before-commit",
    "after-settlement",
    "before-forget",
];

/// Pause between two looks at the world.
const STEP: Duration = Duration::from_millis(20);

/// How long nothing may happen before the flow counts as drained.
const QUIET: Duration = Duration::from_secs(2);

/// How long nothing may happen before what is not through counts as lost, where that is measured. Nothing waits longer
/// than that while all are there and no outbox holds anything.
const LONG_QUIET: Duration = Duration::from_secs(20);

/// How long nothing may happen, once it has taken longer than it should, before it is over.
const STUCK: Duration = Duration::from_secs(60);

/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// Dies at any time.
    Embedded,
    /// Is asked to end: its persistence is a snapshot, which promises nothing for the time since the last.
    Mosquitto,
    /// Dies at any time, whatever its persistence is worth.
    MosquittoKilled,
}

impl Broker {
    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "the embedded broker",
            Self::Mosquitto => "Mosquitto",
            Self::MosquittoKilled => "Mosquitto killed (a measurement)",
        }
    }
}

pub struct World {
    directory: tempfile::TempDir,
    broker: Broker,
    plan: Plan,
    port: u16,
    dice: Dice,
    processes: Vec<Process>,
    kills: BTreeMap<String, usize>,
}

impl World {
    pub fn build(broker: Broker, plan: Plan) -> Self {
        Self::build_in(directory(), broker, plan, "")
    }

    /// The same in a directory, where states may be links to elsewhere; with more bots on the hosts that work.
    pub fn build_in(directory: tempfile::TempDir, broker: Broker, plan: Plan, more: &str) -> Self {
        let mut world = Self {
            directory,
            broker,
            plan,
            port: free_port(),
            dice: Dice::new(plan.seed),
            processes: Vec::new(),
            kills: BTreeMap::new(),
        };
        let broker = match broker {
            Broker::Embedded => {
                let listen = format!(
                    "listen = \"127.0.0.1:{}\"\n\n[broker.access]\nanonymous = \"host\"",
                    world.port
                );
                world.host("hub", &listen, "", BROKER_POINTS)
            }
            Broker::Mosquitto => world.mosquitto(false),
            Broker::MosquittoKilled => world.mosquitto(true),
        };
        let url = format!("url = \"mqtt://127.0.0.1:{}\"", world.port);
        // A host stopped in order shows what a drain is worth.
        let (left, right) = {
            let stages = stages() + more;
            let worker = |name| world.host(name, &url, &stages, WORKER_POINTS);
            (worker("left"), worker("right"))
        };
        let source = format!(
            "[messages]\n{}\n[bots.source]\nuse = \"{}\"\npublish-to = \"t1\"\ngrants.publish = [\"t1\"]\ntotal = {}\nbatch = {}\nevery = \"{}ms\"\n",
            keep(),
            foundry_test_guests::path("source").display(),
            plan.jobs,
            plan.batch,
            plan.every.as_millis(),
        );
        let source = world.host("source", &url, &source, SOURCE_POINTS);
        world.processes.extend([broker, left, right, source]);
        world
    }

    /// The same hosts, with the states that are in another directory, where nobody dies.
    pub fn in_place_of(&self, directory: tempfile::TempDir) -> Self {
        let port = free_port();
        let moved = |text: &str| {
            text.replace(
                self.directory.path().to_str().unwrap(),
                directory.path().to_str().unwrap(),
            )
            .replace(&format!("127.0.0.1:{}", self.port), &format!("127.0.0.1:{port}"))
        };
        let mut processes = Vec::new();
        for process in &self.processes {
            let file = format!("{}.toml", process.name);
            let config = std::fs::read_to_string(self.directory.path().join(&file)).unwrap();
            std::fs::write(directory.path().join(&file), moved(&config)).unwrap();
            let command = process.command().iter().map(|word| moved(word)).collect();
            processes.push(Process::new(
                process.name,
                command,
                directory.path().to_owned(),
                &[],
                true,
            ));
        }
        let plan = Plan { kills: 0, ..self.plan };
        Self {
            directory,
            broker: self.broker,
            plan,
            port,
            dice: Dice::new(plan.seed),
            processes,
            kills: BTreeMap::new(),
        }
    }

    /// A host with a configuration. All hosts know each other's keys for messages.
    fn host(&self, name: &'static str, broker: &str, bots: &str, points: &'static [&'static str]) -> Process {
        let state = self.state(name);
        std::fs::create_dir_all(&state).unwrap();
        let program = env!("CARGO_BIN_EXE_foundry-host");
        self.join(program, name, &state);
        let file = self.directory.path().join(format!("{name}.toml"));
        let config = format!("[host]\nname = \"{name}\"\nstate = {state:?}\n\n[broker]\n{broker}\n\n{bots}");
        std::fs::write(&file, config).unwrap();
        let command = [program, "run", "-c", file.to_str().unwrap()]
            .map(ToOwned::to_owned)
            .into();
        Process::new(name, command, self.directory.path().to_owned(), points, true)
    }

    /// Makes a host's key, and makes it known to the hosts that are there already, as well as theirs to it.
    fn join(&self, program: &str, name: &str, state: &Path) {
        let key = |state: &Path, args: &[&str]| {
            let mut command = Command::new(program);
            let output = command
                .arg("key")
                .args(args)
                .env("FOUNDRY_STATE", state)
                .output()
                .unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            output.stdout
        };
        let file = self.directory.path().join("farm.json");
        let farm = file.to_str().unwrap();
        key(state, &["generate", "--role", "messages", "--user-id", name]);
        key(state, &["allow", name, "--host", name, "--may", "all"]);
        if file.exists() {
            key(state, &["import", "--farm", farm]);
        }
        std::fs::write(&file, key(state, &["export", "--farm"])).unwrap();
        for other in std::fs::read_dir(self.directory.path()).unwrap() {
            let other = other.unwrap().path();
            if other.join("keys").exists() {
                key(&other, &["import", "--farm", farm]);
            }
        }
    }

    fn mosquitto(&self, killable: bool) -> Process {
        let data = self.directory.path().join("mosquitto");
        std::fs::create_dir(&data).unwrap();
        let file = self.directory.path().join("mosquitto.conf");
        std::fs::write(&file, mosquitto::configuration(&data, self.port)).unwrap();
        let program = ["/usr/sbin/mosquitto", "mosquitto"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("mosquitto");
        let command = [program, "-c", file.to_str().unwrap()].map(ToOwned::to_owned).into();
        Process::new("mosquitto", command, self.directory.path().to_owned(), &[], killable)
    }

    /// Start everything, readers first, so that every group exists before the first job comes.
    pub fn start(&mut self) {
        for index in 0..self.processes.len() {
            self.processes[index].start(None);
            self.await_ready(index);
        }
    }

    /// Start the broker, and those that work, without waiting for these.
    pub fn begin(&mut self) {
        self.processes[0].start(None);
        self.await_ready(0);
        for index in [1, 2] {
            self.processes[index].start(None);
        }
    }

    /// Wait for those that work, and start what publishes.
    pub fn go_ahead(&mut self) {
        for index in [1, 2] {
            self.await_ready(index);
        }
        let last = self.processes.len() - 1;
        self.processes[last].start(None);
        self.await_ready(last);
    }

    fn await_ready(&self, index: usize) {
        let name = self.processes[index].name;
        let begun = Instant::now();
        while !self.is_ready(name) {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{name} is not ready\n{}",
                self.logs()
            );
            std::thread::sleep(STEP);
        }
    }

    /// Kill nobody from now on.
    pub fn spare(&mut self) {
        self.plan.kills = 0;
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.is_running())
    }

    /// A process by its name.
    pub fn process(&mut self, name: &str) -> &mut Process {
        let found = self.processes.iter_mut().find(|process| process.name == name);
        found.unwrap()
    }

    /// The broker's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory of its own, with all that is in it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What a command of the program says, for a host of this world, that has to succeed.
    pub fn ask(&self, name: &str, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
        let output = command
            .args(args)
            .env("FOUNDRY_STATE", self.state(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}\n{}", self.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    fn is_ready(&self, name: &str) -> bool {
        if name == "mosquitto" {
            return std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_foundry-host"))
            .args(["list", "--json", "--state"])
            .arg(self.state(name))
            .output()
            .unwrap();
        let Ok(bots) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
            return false;
        };
        let own: Vec<_> = bots
            .as_array()
            .unwrap()
            .iter()
            .filter(|bot| bot["host"] == name)
            .collect();
        let expected = match name {
            "hub" => 0,
            "source" => 1,
            _ => STAGES.len(),
        };
        own.len() >= expected && own.iter().all(|bot| bot["status"] == "running")
    }

    /// Kill until there were enough kills, then let the flow drain.
    pub fn torment(&mut self) -> Report {
        let begun = Instant::now();
        let (mut last_kill, mut last_change, mut last_effect) = (begun, begun, begun);
        let mut tally = Tally::default();
        let mut next = Instant::now();
        let mut said = begun;
        loop {
            std::thread::sleep(STEP);
            if self.look_after_the_dead() {
                last_kill = Instant::now();
            }
            if self.ends() < self.plan.kills && Instant::now() >= next {
                self.strike();
                next = Instant::now() + Duration::from_millis(self.dice.between(100, 900));
            }
            let now = self.tally();
            if now != tally {
                last_change = Instant::now();
                if (&now.effects, &now.done) != (&tally.effects, &tally.done) {
                    last_effect = last_change;
                }
                tally = now;
            }
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                println!(
                    "{}: {:.0} s, {} of {} ends, {} of {} jobs through",
                    self.broker.name(),
                    begun.elapsed().as_secs_f64(),
                    self.ends(),
                    self.plan.kills,
                    tally.done.len(),
                    self.plan.jobs,
                );
            }
            let at_rest =
                self.ends() >= self.plan.kills && self.processes.iter().all(Process::is_running) && tally.outbox == 0;
            let through = tally.done.len() as u64 == self.plan.jobs
                && tally.effects.iter().all(|effects| *effects >= self.plan.jobs);
            let quiet = last_change.elapsed().min(last_kill.elapsed());
            // On a machine that is busy with other things it takes as long as it takes.
            let is_stuck = begun.elapsed() > self.plan.patience() && last_change.elapsed() > STUCK;
            let given_up = self.broker == Broker::MosquittoKilled && quiet > LONG_QUIET;
            if (at_rest && (through && quiet > QUIET || given_up)) || is_stuck {
                break;
            }
        }
        let said = |what: &str| self.processes.iter().map(|p| p.said().matches(what).count()).sum();
        Report {
            broker: self.broker.name(),
            plan: self.plan,
            kills: self.kills.clone(),
            redeliveries: said(" redelivered"),
            recognised: said(" handled already"),
            dead_letters: tally.dead_letters,
            tally,
            took: last_effect - begun,
            drain: last_effect.saturating_duration_since(last_kill),
        }
    }

    fn ends(&self) -> usize {
        self.kills.values().sum()
    }

    /// Count those that ended, and start those that were down long enough, some of them to die at a point.
    pub fn look_after_the_dead(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.processes.len() {
            let pause = Duration::from_millis(self.dice.between(0, 600));
            let name = self.processes[index].name;
            if let Some(end) = self.processes[index].ended(pause) {
                let how = match end {
                    End::At(point) => format!("{name} at {point}"),
                    End::Killed => format!("{name} killed"),
                    End::Asked => format!("{name} asked to end"),
                };
                *self.kills.entry(how).or_default() += 1;
                any = true;
            }
            if self.processes[index].is_due() {
                let points = self.processes[index].points;
                let goes_on = self.ends() < self.plan.kills;
                let armed = (goes_on && !points.is_empty() && !self.dice.one_in(3))
                    .then(|| format!("{}:{}", self.dice.pick(points), self.dice.between(1, 25)));
                self.processes[index].start(armed);
            }
        }
        any
    }

    /// Kill somebody; now and then ask a host to end instead, which drains it.
    fn strike(&mut self) {
        let index = self.dice.between(0, self.processes.len() as u64 - 1) as usize;
        let gently = self.dice.one_in(5);
        let process = &mut self.processes[index];
        if !process.is_running() {
            return;
        }
        if gently || !process.killable {
            process.ask_to_end();
        } else {
            process.kill();
        }
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for name in ["left", "right", "source"] {
            // A ledger that is being recovered says more at the next look.
            let _ = tally.add(&self.state(name).join("ledger.sqlite"));
        }
        tally
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for process in &self.processes {
            let said = process.said();
            let lines: Vec<_> = said.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            write!(all, "\n== {}\n{end}\n", process.name).unwrap();
        }
        all
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// An empty one.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("foundry-chaos-").tempdir().unwrap()
}

/// Every stage, each reading what the one before publishes. One instance each: relays count what they did, and two at
/// the same time would both write the same count.
fn stages() -> String {
    // Somebody subscribes to what the last stage publishes: events for nobody are kept for a minute.
    let mut bots = format!("[messages]\nobserve = [\"{DONE}\"]\n{}\n", keep());
    let relay = foundry_test_guests::path("relay");
    for (number, stage) in STAGES.iter().enumerate() {
        let output = match number + 1 {
            last if last == STAGES.len() => DONE.to_owned(),
            number => format!("t{}", number + 1),
        };
        write!(
            bots,
            "[bots.{stage}]\nuse = {relay:?}\nwatch = \"t{}\"\npublish-to = \"{output}\"\nendpoint = \"{stage}\"\n\
             grants.read = [\"t{}\"]\ngrants.publish = [\"{output}\"]\ninstances = 1\n\n",
            number + 1,
            number + 1,
        )
        .unwrap();
    }
    bots
}

/// A setting to compare with: `FOUNDRY_CHAOS_KEEP=0s` shows what Mosquitto's death costs hosts that keep nothing.
fn keep() -> String {
    std::env::var("FOUNDRY_CHAOS_KEEP").map_or_else(|_| String::new(), |keep| format!("keep = {keep:?}\n"))
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
