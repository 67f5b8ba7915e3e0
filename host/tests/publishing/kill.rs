//! Hosts that die while they publish.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foundry_broker::killpoint;
use foundry_host::capability::{Artifact, ArtifactStore};
use foundry_host::event::Topics;

use crate::apt::Apt;
use crate::package::Deb;
use crate::support::{eventually, owner_of, signed_as, try_publish};
use crate::world::{World, sign_data, stated};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real host, as a process, with one distbot.
struct Process {
    state: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Process {
    fn new(world: &World) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let state = tempfile::tempdir().unwrap();
        let process = Self {
            state,
            port,
            child: None,
        };
        let key = [
            "key",
            "generate",
            "--role",
            "repository",
            "--user-id",
            "Kill <kill@example.org>",
        ];
        crate::package::run(process.command().args(key));
        std::fs::write(
            process.state.path().join("foundry.toml"),
            format!(
                "[host]\nname = \"kill\"\nstate = \"{}\"\n[broker]\nlisten = \"127.0.0.1:{port}\"\n[bots.distbot]\nuse = \
                 \"distbot\"\nname = \"kill\"\noutput = \"{}\"\narch = [\"amd64\"]\ngpg-key = \"kill@example.org\"\ndescription \
                 = \"Packages\"\n",
                process.state.path().join("state").display(),
                world.repository().display()
            ),
        )
        .unwrap();
        process
    }

    fn directory(&self) -> std::path::PathBuf {
        self.state.path().join("state")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
        command.env("FOUNDRY_STATE", self.directory()).stdin(Stdio::null());
        command
    }

    /// Start it, to die at a named point if one is given.
    fn start(&mut self, armed: Option<String>) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.state.path().join("log"))
            .unwrap();
        let config = self.state.path().join("foundry.toml");
        let mut command = self.command();
        match armed {
            Some(point) => command.env(killpoint::VARIABLE, point),
            None => command.env_remove(killpoint::VARIABLE),
        };
        let child = command
            .arg("run")
            .arg("-c")
            .arg(config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn is_running(&mut self) -> bool {
        let child = self.child.as_mut().unwrap();
        child.try_wait().unwrap().is_none()
    }

    /// Wait until it dies by itself.
    async fn die(&mut self) {
        let start = Instant::now();
        while self.is_running() {
            assert!(
                start.elapsed() < PATIENCE,
                "it does not come to its point:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.child = None;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default()
    }

    /// Wait until the broker listens. False if the process dies before.
    async fn listening(&mut self) -> bool {
        let start = Instant::now();
        while self.is_running() {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "the host does not listen:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// The event that says that packages were signed.
    async fn event(&self, directory: &Path, packages: &[Deb]) -> Vec<u8> {
        let mut artifacts = Vec::new();
        for package in packages {
            artifacts.push(self.store(&package.build(directory)).await);
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let id = format!("event-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let data = stated(&self.directory(), sign_data("main", &artifacts));
        signed_as("kill", &self.directory(), "signs", &id, "foundry.sign.v1", data)
    }

    /// Whether the broker has taken an event; it may die meanwhile.
    async fn publish(&self, event: Vec<u8>) -> bool {
        let broker = owner_of(&self.directory(), self.port);
        try_publish(&broker, &Topics::new("foundry").full("signs"), event)
            .await
            .is_ok()
    }

    async fn store(&self, deb: &Path) -> Artifact {
        let store = ArtifactStore::local(&self.directory().join("artifacts")).unwrap();
        store
            .put_file(
                deb.file_name().unwrap().to_str().unwrap(),
                "application/octet-stream",
                deb,
            )
            .await
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A small generator, so that a failure can be repeated with its seed.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Named points of a publication, with how often one passes them, and where a process that dies there has got to.
const POINTS: [(&str, u64, Phase); 7] = [
    ("site-spliced", 1, Phase::Staging),
    ("site-staged", 1, Phase::Staging),
    ("site-planned", 1, Phase::Staging),
    ("site-committed", 1, Phase::Applying),
    ("site-placing", 12, Phase::Applying),
    ("site-placed", 1, Phase::Applying),
    ("site-done", 1, Phase::Done),
];

/// How far a publication had got, by what it left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing is staged.
    Waiting,
    /// Files are staged.
    Staging,
    /// It is certain, and not everything is in its place.
    Applying,
    /// All is in its place.
    Done,
}

impl Phase {
    fn of(repository: &Path, published: bool) -> Self {
        let left = |name: &str| repository.join(".foundry/transactions").join(name).exists();
        match (left("staging"), left("committed"), published) {
            (_, true, _) => Self::Applying,
            (true, false, _) => Self::Staging,
            (false, false, true) => Self::Done,
            (false, false, false) => Self::Waiting,
        }
    }
}

/// How the next process is to end.
enum Death {
    /// By itself, at a named point, passed so many times, and where it has got to by then.
    At(&'static str, u64, Phase),
    /// By a kill so long after the event.
    After(Duration),
}

impl Death {
    /// Each point in turn, and after all of them as many kills at random.
    fn choose(kill: u64, seed: &mut u64, window: Duration) -> Self {
        match POINTS.get((kill / 2) as usize % POINTS.len()) {
            Some((point, times, phase)) if kill.is_multiple_of(2) => Self::At(point, 1 + random(seed) % times, *phase),
            _ => Self::After(window.mul_f64((random(seed) % 1000) as f64 / 1000.0)),
        }
    }

    fn armed(&self) -> Option<String> {
        match self {
            Self::At(point, time, _) => Some(format!("{point}:{time}")),
            Self::After(_) => None,
        }
    }
}

fn knows(world: &World) -> Vec<String> {
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    apt.knows()
}

/// What is in the repository at first, and what comes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Nothing, and small packages.
    Small,
    /// An index so large that new packages go to its end, and packages of which four are an eighth of it: then they
    /// go to where they belong.
    Large,
}

impl Load {
    /// How many packages there are at first.
    fn first(self) -> u64 {
        match self {
            Self::Small => 1,
            Self::Large => 60,
        }
    }

    fn name(self, number: u64) -> String {
        // New ones belong between the first ones.
        format!("package-{:03}-{number:03}", number * 37 % 100)
    }

    fn package(self, number: u64) -> Deb {
        let package = Deb::new(&self.name(number), "1", "amd64");
        match self {
            Self::Small => package,
            Self::Large => {
                let lines = if number < self.first() { 145 } else { 290 };
                let text = format!(" {}\n", "x".repeat(1000)).repeat(lines);
                package.fields(&format!("X-Text: text\n{text}"))
            }
        }
    }
}

/// Whether the index has new packages at its end.
fn has_two_parts(world: &World) -> bool {
    let index = world.index("dists/stable/main/binary-amd64/Packages");
    !index.lines().filter(|line| line.starts_with("Package: ")).is_sorted()
}

#[tokio::test(flavor = "multi_thread")]
async fn host_killed_while_publishing_leaves_a_repository_that_apt_accepts_and_loses_nothing() {
    kill_many_times(16, Load::Small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_killed_while_it_publishes_in_an_index_of_two_parts_loses_nothing_either() {
    kill_many_times(10, Load::Large).await;
}

/// Have a host publish, and die again and again while it does; more often than `usually` if `FOUNDRY_TEST_KILLS` says so.
async fn kill_many_times(usually: u64, load: Load) {
    let kills: u64 = std::env::var("FOUNDRY_TEST_KILLS").map_or(usually, |kills| kills.parse().unwrap());
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    let world = World::new().await;
    let mut process = Process::new(&world);
    process.start(None);
    assert!(process.listening().await, "{}", process.log());
    // From its first refresh on it has its group, which keeps what comes while it is away.
    let made = || world.repository().join("dists/stable/InRelease").exists();
    eventually("there is a repository", || async { made().then_some(()) }).await;
    let built = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();

    // How long a publication takes here and now: the one after the first ones.
    let mut took = Duration::ZERO;
    for numbers in [0..load.first(), load.first()..load.first() + 1] {
        let packages: Vec<_> = numbers.clone().map(|number| load.package(number)).collect();
        let event = process.event(built.path(), &packages).await;
        let names: Vec<_> = numbers.map(|number| load.name(number)).collect();
        expected.extend(names.iter().map(|name| format!("{name}=1")));
        let start = Instant::now();
        assert!(process.publish(event).await, "{}", process.log());
        let pooled = |name: &String| {
            let file = format!("pool/main/p/{name}/{name}_1_amd64.deb");
            world.repository().join(file).exists()
        };
        let applied = || !world.repository().join(".foundry/transactions/committed").exists();
        eventually("the first packages are published", || async {
            (names.iter().all(pooled) && applied()).then_some(())
        })
        .await;
        took = start.elapsed();
    }
    process.kill();
    // On a busy machine the next may take longer.
    let window = took * 3 / 2;
    println!("a publication takes {} ms", took.as_millis());

    let mut fallen: BTreeMap<Phase, u64> = BTreeMap::new();
    let mut known = knows(&world).len();
    let (mut two_parts, mut merges) = (0, 0);
    let mut had_two = has_two_parts(&world);
    for kill in 0..kills {
        let number = load.first() + 1 + kill;
        let name = load.name(number);
        let event = process.event(built.path(), &[load.package(number)]).await;
        let death = Death::choose(kill, &mut seed, window);
        process.start(death.armed());
        // A process may come to its point while it makes up for the death before; then the event comes with a later one.
        let taken = process.listening().await && process.publish(event.clone()).await;
        match death {
            Death::After(time) => {
                tokio::time::sleep(time).await;
                process.kill();
            }
            Death::At(..) => process.die().await,
        }
        expected.push(format!("{name}=1"));
        // A package is there as a whole, or not at all; and nothing else is there.
        let apt = Apt::local(&world.repository(), "stable");
        apt.update();
        let now = apt.knows();
        assert!(
            now.iter().all(|package| expected.contains(package)),
            "{now:?} of {expected:?}"
        );
        if now.contains(&format!("{name}=1")) {
            assert_eq!(apt.content(&name), format!("{name} 1\n"));
        }
        let left = Phase::of(&world.repository(), now.len() > known);
        let phase = match death {
            // It may have been the end of the publication before that came to its point; clients knew that one already.
            Death::At(_, _, Phase::Done) if left == Phase::Waiting => Phase::Done,
            Death::At(point, _, phase) => {
                assert_eq!(left, phase, "what a death at {point} leaves");
                phase
            }
            Death::After(_) => left,
        };
        *fallen.entry(phase).or_default() += 1;
        known = now.len();
        let has_two = has_two_parts(&world);
        two_parts += u64::from(has_two);
        merges += u64::from(had_two && !has_two);
        had_two = has_two;
        if !taken {
            // As a client does that has got no acknowledgement.
            process.start(None);
            let taken = process.listening().await && process.publish(event).await;
            assert!(taken, "{}", process.log());
            process.kill();
        }
    }
    println!("{kills} kills: {fallen:?}; {two_parts} with an index of two parts, {merges} merges");
    for (_, _, phase) in &POINTS {
        assert!(
            fallen.contains_key(phase) || kills < 2 * POINTS.len() as u64,
            "no kill fell into {phase:?}: {fallen:?}"
        );
    }
    match load {
        Load::Small => assert_eq!(two_parts, 0),
        Load::Large => assert!(
            two_parts > 0 && (merges > 0 || kills < 20),
            "{two_parts}, {merges} merges"
        ),
    }
    process.start(None);
    assert!(process.listening().await, "{}", process.log());
    expected.sort();
    let start = Instant::now();
    while knows(&world) != expected {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{:?} of {expected:?}:\n{}",
            knows(&world),
            process.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    process.kill();
}
