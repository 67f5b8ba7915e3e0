//! Hosts that die while they publish.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use foundry_host::bus::Topics;
use foundry_host::capability::{Artifact, ArtifactStore};

use crate::apt::Apt;
use crate::package::Deb;
use crate::support::{owner_of, publish, signed};
use crate::world::{World, sign_data};

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

    fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.state.path().join("log"))
            .unwrap();
        let config = self.state.path().join("foundry.toml");
        let child = self
            .command()
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default()
    }

    /// Wait until the broker listens.
    async fn listening(&self) {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the host does not listen:\n{}", self.log());
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

#[tokio::test(flavor = "multi_thread")]
async fn host_killed_while_publishing_leaves_a_repository_that_apt_accepts_and_loses_nothing() {
    let kills: u64 = std::env::var("FOUNDRY_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    let world = World::new().await;
    let mut process = Process::new(&world);
    process.start();
    process.listening().await;
    while !world.repository().join("dists/stable/InRelease").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(
            process.child.as_mut().unwrap().try_wait().unwrap().is_none(),
            "{}",
            process.log()
        );
    }
    let built = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let (mut before_commit, mut after_commit) = (0, 0);
    for kill in 0..kills {
        let name = format!("package-{kill:03}");
        expected.push(format!("{name}=1"));
        let artifact = process.store(&Deb::new(&name, "1", "amd64").build(built.path())).await;
        let event = signed(
            &process.directory(),
            &name,
            "foundry.sign.v1",
            sign_data("main", &[artifact]),
        );
        process.listening().await;
        let broker = owner_of(&process.directory(), process.port);
        publish(&broker, &Topics::new("foundry").full("signs"), event).await;
        // Publishing takes some tens of milliseconds from here on.
        tokio::time::sleep(Duration::from_micros(random(&mut seed) % 120_000)).await;
        process.kill();
        let apt = Apt::local(&world.repository(), "stable");
        apt.update();
        // It is there as a whole, or not at all; and nothing else is there.
        let known = apt.knows();
        if known.contains(&format!("{name}=1")) {
            after_commit += 1;
            assert_eq!(apt.content(&name), format!("{name} 1\n"));
        } else {
            before_commit += 1;
        }
        assert!(known.iter().all(|package| expected.contains(package)), "{known:?}");
        process.start();
    }
    println!("{before_commit} kills before the commit, {after_commit} after it");
    for _ in 0..600 {
        let apt = Apt::local(&world.repository(), "stable");
        apt.update();
        if apt.knows() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), expected, "{}", process.log());
}
