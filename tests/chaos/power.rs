//! The power goes while jobs flow: what is on the disk at that moment is all that there is afterwards.
//!
//! The broker and both hosts that work have their states on a disk that is a file. At some moment they are halted, the kernel's writes come to
//! their end, and the file is copied: as it is, with what the kernel had not written yet missing. The copy is mounted, which replays its journal,
//! and everything goes on from there. What publishes the jobs, and who hears what comes of them, are on other machines, with power: what they
//! were told is acknowledged has to be there.
//!
//! A disk that acknowledges a flush and loses what it had is not part of this.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use rusqlite::Connection;

use crate::Plan;
use crate::dice::Dice;
use crate::report::Report;
use crate::support::disks::{Mounted, has_disks_of_its_own};
use crate::tally::{DONE, Tally};
use crate::world::{Broker, World, directory};

/// The machine whose power is cut.
const ON_THE_DISK: [&str; 3] = ["hub", "left", "right"];

/// What `make chaos` makes of it.
const CUTS: &str = "FOUNDRY_CHAOS_CUTS";

const MIB: u64 = 1024 * 1024;

#[test]
fn whenever_the_power_goes_nothing_that_was_acknowledged_is_lost_and_nothing_happens_twice() {
    let test = "power::whenever_the_power_goes_nothing_that_was_acknowledged_is_lost_and_nothing_happens_twice";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can mount a file as a disk");
        return;
    }
    if has_disks_of_its_own(test) {
        cut_the_power();
    }
}

fn cut_the_power() {
    let cuts = std::env::var(CUTS).map_or(3, |text| text.parse().unwrap());
    let given = Plan::from_environment();
    let plan = Plan {
        jobs: given.jobs.max(20 * cuts),
        kills: 0,
        ..given
    };
    println!("{cuts} cuts, seed {}", plan.seed);
    let Some((mut world, disk)) = world_on_a_disk(plan) else {
        return;
    };
    let mut dice = Dice::new(plan.seed);
    let mut taken = Vec::new();
    // The first while compiled code is written.
    world.begin();
    let witness = Witness::of(world.port());
    pause(dice.between(0, 2000));
    taken.push(Cut::take(&world, &disk, &witness, 0));
    world.go_ahead();
    for number in 1..cuts {
        pause(dice.between(100, 2500));
        taken.push(Cut::take(&world, &disk, &witness, number));
    }
    for process in ON_THE_DISK.into_iter().chain(["source"]) {
        world.process(process).kill();
    }
    for cut in taken {
        let heard = cut.heard.len();
        let report = cut.goes_on(&world);
        println!("after {heard} jobs were heard to be done\n{report}");
    }
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// A disk that is a file.
struct Disk {
    image: PathBuf,
    /// The counters of the loop device, as the kernel's Documentation/block/stat.rst has them.
    counters: PathBuf,
    _mounted: Mounted,
}

impl Disk {
    /// # Errors
    /// What the machine says where it can't have one.
    fn make(image: PathBuf, on: &Path) -> Result<Self, String> {
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(512 * MIB).map_err(|error| error.to_string())?;
        let made = Command::new("mkfs.ext4").arg("-qF").arg(&image).output();
        let made = made.map_err(|error| format!("mkfs.ext4: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).trim().to_owned());
        }
        let mounted = Mounted::image(&image, on)?;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(1) == on.to_str());
        let device = mount
            .and_then(|line| line.split(' ').next()?.strip_prefix("/dev/"))
            .unwrap();
        Ok(Self {
            image,
            counters: format!("/sys/block/{device}/stat").into(),
            _mounted: mounted,
        })
    }

    /// Writes that are done, flushes that are done, and what is under way.
    fn activity(&self) -> (u64, u64, u64) {
        let text = std::fs::read_to_string(&self.counters).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers[4], numbers.get(15).copied().unwrap_or_default(), numbers[8])
    }

    /// Copy what is on the disk at one moment: while it was copied nothing was written.
    fn copy(&self, to: &Path) {
        let begun = Instant::now();
        loop {
            let before = self.activity();
            if before.2 == 0 {
                let mut copy = Command::new("cp");
                assert!(
                    copy.arg("--sparse=always")
                        .arg(&self.image)
                        .arg(to)
                        .status()
                        .unwrap()
                        .success()
                );
                if self.activity() == before {
                    return;
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "the disk is never quiet");
            pause(2);
        }
    }
}

/// Everything in the places where it is looked for; on a disk what belongs there. None where there can be no disk, which is said.
fn world_on_a_disk(plan: Plan) -> Option<(World, Disk)> {
    let directory = directory();
    let disk = directory.path().join("disk");
    let disk = match Disk::make(directory.path().join("disk.img"), &disk) {
        Ok(disk) => disk,
        Err(why) => {
            println!("SKIPPED: a file can't be mounted as a disk here: {why}");
            return None;
        }
    };
    link(directory.path());
    let world = World::build_in(directory, Broker::Embedded, plan, "");
    Some((world, disk))
}

/// States on the disk are where the others are, by links.
fn link(directory: &Path) {
    for host in ON_THE_DISK {
        let state = directory.join("disk").join(host);
        if !state.exists() {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
        }
        std::os::unix::fs::symlink(&state, directory.join(host)).unwrap();
    }
}

/// The disk at one moment, and what others knew at that moment.
struct Cut {
    image: tempfile::TempDir,
    /// The state of what publishes.
    source: PathBuf,
    /// Jobs that were heard to be done.
    heard: BTreeSet<u64>,
    /// Who a key is for that was made just before.
    key: String,
}

impl Cut {
    fn take(world: &World, disk: &Disk, witness: &Witness, number: u64) -> Self {
        let key = format!("made before cut {number}");
        world.ask("left", &["key", "generate", "--role", "packages", "--user-id", &key]);
        let image = directory();
        // The broker first: what it has acknowledged by then the others may have forgotten.
        world.running().for_each(crate::process::Process::halt);
        disk.copy(&image.path().join("disk.img"));
        let heard = witness.heard();
        let source = image.path().join("source");
        let mut copy = Command::new("cp");
        assert!(
            copy.arg("-a")
                .arg(world.state("source"))
                .arg(&source)
                .status()
                .unwrap()
                .success()
        );
        world.running().for_each(crate::process::Process::go_on);
        Self {
            image,
            source,
            heard,
            key,
        }
    }

    /// Everything goes on from there, to its end.
    fn goes_on(self, world: &World) -> Report {
        let place = directory();
        let top = place.path().to_owned();
        let mut world = world.in_place_of(place);
        // It goes before the directory that it is in.
        let _mounted = Mounted::image(&self.image.path().join("disk.img"), &top.join("disk")).unwrap();
        link(&top);
        let mut copy = Command::new("cp");
        assert!(
            copy.arg("-a")
                .arg(&self.source)
                .arg(top.join("source"))
                .status()
                .unwrap()
                .success()
        );
        for file in databases(world.directory()) {
            let c = Connection::open(&file).unwrap();
            let whole: String = c.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(whole, "ok", "{}", file.display());
        }
        let mut tally = Tally::default();
        for host in ["left", "right"] {
            tally.add(&world.state(host).join("ledger.sqlite")).unwrap();
        }
        let forgotten: Vec<_> = self.heard.difference(&tally.done).collect();
        assert!(forgotten.is_empty(), "published, and not on record: {forgotten:?}");
        assert!(world.ask("left", &["key", "list"]).contains(&self.key), "a key is lost");
        world.begin();
        world.go_ahead();
        let report = world.torment();
        crate::assert_all_done_once(&world, &report);
        report
    }
}

/// The databases of all that was on the disk.
fn databases(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for host in ON_THE_DISK {
        for part in [directory.join(host), directory.join(host).join("broker")] {
            let entries = std::fs::read_dir(part).into_iter().flatten();
            let files = entries.map(|entry| entry.unwrap().path());
            found.extend(files.filter(|file| file.extension().is_some_and(|ending| ending == "sqlite")));
        }
    }
    found
}

/// Hears which jobs are done.
struct Witness {
    heard: Arc<Mutex<BTreeSet<u64>>>,
    client: Client,
}

impl Witness {
    /// Subscribed when it returns.
    fn of(port: u16) -> Self {
        let mut options = MqttOptions::new("witness", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut connection) = Client::new(options, 10);
        client.subscribe(format!("foundry/{DONE}"), QoS::AtLeastOnce).unwrap();
        let heard = Arc::new(Mutex::new(BTreeSet::new()));
        let (subscribed, is_subscribed) = std::sync::mpsc::channel();
        let seen = Arc::clone(&heard);
        // Ends with the broker.
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(subscribed.send(())),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let event: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                        seen.lock().unwrap().insert(event["data"]["n"].as_u64().unwrap());
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        is_subscribed.recv_timeout(Duration::from_secs(60)).unwrap();
        Self { heard, client }
    }

    fn heard(&self) -> BTreeSet<u64> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.client.disconnect();
    }
}
