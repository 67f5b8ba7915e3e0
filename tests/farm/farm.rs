//! A farm as `docs/several-machines.md` has it, with a directory for the artifacts and git's own server on the head.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::archive::pool;
use crate::machine::{Machine, eventually};
use crate::mosquitto::Mosquitto;
use crate::network::Network;
use crate::package::run;
use crate::sources::{Pushed, Sources};

/// The page's commands for certificates. Machines have addresses and no names here.
const CERTIFICATE: &str = r#"
set -eu
if [ ! -e ca.pem ]; then
    openssl req -x509 -newkey ed25519 -nodes -days 3650 -subj '/CN=Our Foundry' -keyout ca.key -out ca.pem
fi
openssl req -newkey ed25519 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
printf '%s\n' "$2" >extensions
openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile extensions -out "$1.pem"
"#;

pub const FAILURE: &str = "foundry.failure.v1";

/// A head and its other machines.
pub struct Farm {
    pub head: Machine,
    pub sources: Sources,
    others: Vec<Machine>,
    /// Dead letters with their payloads, by number, which were looked at before: they don't change.
    letters: RefCell<BTreeMap<u64, Value>>,
    git: Child,
    /// The broker, if it is not the embedded one.
    mosquitto: Option<Mosquitto>,
    network: Network,
    root: tempfile::TempDir,
}

impl Farm {
    /// A head that watches, signs and publishes, as yet without any other machine. `bots` are what it has besides watchbot.
    pub fn new(network: Network, bots: &[&str], users: &[(&str, &str)]) -> Self {
        let root = tempfile::Builder::new().prefix("foundry-farm-").tempdir().unwrap();
        let head = Machine::new("head", &network, root.path());
        let git = root.path().join("git");
        let sources = Sources::new(&git);
        let farm = Self {
            git: serve(&head, &git),
            mosquitto: None,
            sources,
            others: Vec::new(),
            letters: RefCell::default(),
            network,
            root,
            head,
        };
        farm.certificate("broker", &format!("subjectAltName=IP:{}", farm.head.address));
        let mut keys = vec![("repository", "Archive <archive@example.org>"), ("messages", "head")];
        if bots.contains(&SIGN) {
            keys.push(("packages", "Packages <packages@example.org>"));
        }
        for (role, user) in keys {
            run(&mut farm
                .head
                .foundry(&["key", "generate", "--role", role, "--user-id", user]));
        }
        run(&mut farm
            .head
            .foundry(&["key", "allow", "head", "--host", "head", "--may", "head"]));
        fs::write(farm.head.file("foundry.toml"), farm.configuration(bots, users)).unwrap();
        farm
    }

    /// With signbot and distbot on the head, and builders of these names, which know nothing of the farm yet.
    pub fn with_builders(network: Network, builders: &[&str]) -> Self {
        let users: Vec<_> = builders.iter().map(|name| (*name, "builder")).collect();
        let mut farm = Self::new(network, &[SIGN, &publish()], &users);
        for builder in builders {
            farm.add(builder, BUILD);
        }
        farm
    }

    /// The same, with Mosquitto on the head's machine, as `docs/external-broker.md` has it.
    pub fn at_mosquitto(network: Network, builders: &[&str]) -> Self {
        let mut farm = Self::new(network, &[], &[]);
        run(&mut farm.head.foundry(&[
            "key",
            "generate",
            "--role",
            "packages",
            "--user-id",
            "Packages <packages@example.org>",
        ]));
        farm.certificate("head", "extendedKeyUsage=clientAuth");
        farm.mosquitto = Some(Mosquitto::start(&farm.head, builders));
        let bots = farm.bots(&[SIGN, &publish()]);
        let text = format!(
            "[host]\nname = \"head\"\nstate = \"state\"\n\n{}\n{}{bots}",
            farm.way("head"),
            farm.artifacts()
        );
        fs::write(farm.head.file("foundry.toml"), text).unwrap();
        for builder in builders {
            farm.add(builder, BUILD);
        }
        farm
    }

    /// How a machine comes to the broker.
    fn way(&self, name: &str) -> String {
        format!(
            "[broker]\nurl = \"mqtts://{}:8883\"\nca = \"ca.pem\"\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n",
            self.head.address
        )
    }

    /// The head's bots: watchbot, and others.
    fn bots(&self, others: &[&str]) -> String {
        let address = self.head.address;
        let watch = format!(
            "\n[bots.watch]\nuse = \"watchbot\"\ninterval = \"1s\"\nrepository = [\"git://{address}/packages.git#c/*\"]\n"
        );
        watch + &others.concat()
    }

    fn configuration(&self, bots: &[&str], users: &[(&str, &str)]) -> String {
        let mut text = "[host]\nname = \"head\"\nstate = \"state\"\n\n\
             [broker.tls]\nlisten = \"0.0.0.0:8883\"\ncertificate = \"broker.pem\"\nkey = \"broker.key\"\n\
             client-ca = \"ca.pem\"\n"
            .to_owned();
        for (user, role) in users {
            write!(text, "\n[broker.access.users.{user}]\nrole = {role:?}\n").unwrap();
        }
        text.push_str("\n[messages]\nexpect = [\"commits pub/buildbot\"]\n\n");
        text.push_str(&self.artifacts());
        text.push_str(&self.bots(bots));
        text
    }

    /// Where all machines have their artifacts.
    pub fn artifacts_directory(&self) -> PathBuf {
        self.root.path().join("artifacts")
    }

    fn artifacts(&self) -> String {
        format!("[artifacts]\nurl = {:?}\n", self.artifacts_directory())
    }

    fn certificate(&self, name: &str, extension: &str) {
        run(self.head.command("sh").args(["-c", CERTIFICATE, "sh", name, extension]));
    }

    /// One more machine: its certificate, its key for messages, its configuration with some bots.
    pub fn add(&mut self, name: &str, bots: &str) {
        let machine = Machine::new(name, &self.network, self.root.path());
        self.certificate(name, "extendedKeyUsage=clientAuth");
        for file in ["ca.pem".to_owned(), format!("{name}.pem"), format!("{name}.key")] {
            fs::copy(self.head.file(&file), machine.file(&file)).unwrap();
        }
        run(&mut machine.foundry(&["key", "generate", "--role", "messages", "--user-id", name]));
        let key = run(&mut machine.foundry(&["key", "export", name]));
        fs::write(self.head.file(&format!("{name}.asc")), key + "\n").unwrap();
        let text = format!(
            "[host]\nname = {name:?}\nstate = \"state\"\n\n{}\n{}{bots}",
            self.way(name),
            self.artifacts()
        );
        fs::write(machine.file("foundry.toml"), text).unwrap();
        self.others.push(machine);
    }

    /// A machine whose disk is a copy of another one's, under another address.
    pub fn copy(&mut self, of: &str, name: &str) {
        let copy = Machine::new(name, &self.network, self.root.path());
        let original = self.machine(of);
        run(Command::new("cp").arg("-a").arg(original.file(".")).arg(copy.file(".")));
        let _ = fs::remove_file(copy.file("host.log"));
        self.others.push(copy);
    }

    /// The head gets to know a machine's key, and what its host may say.
    pub fn introduce(&self, name: &str, may: &str) {
        let key = format!("{name}.asc");
        let import = [
            "key", "import", "--role", "messages", "--host", name, "--may", may, &key,
        ];
        run(&mut self.head.foundry(&import));
    }

    /// A machine gets to know all that the head knows of the farm.
    pub fn tell(&self, name: &str) {
        let file = self.machine(name).file("farm.json");
        fs::write(&file, run(&mut self.head.foundry(&["key", "export", "--farm"]))).unwrap();
        run(self.machine(name).foundry(&["key", "import", "--farm"]).arg(&file));
    }

    pub fn machine(&self, name: &str) -> &Machine {
        self.others.iter().find(|machine| machine.name == name).unwrap()
    }

    /// The head, or another machine.
    pub fn any_machine(&self, name: &str) -> &Machine {
        match name == self.head.name {
            true => &self.head,
            false => self.machine(name),
        }
    }

    pub fn machine_mut(&mut self, name: &str) -> &mut Machine {
        self.others.iter_mut().find(|machine| machine.name == name).unwrap()
    }

    pub fn archive(&self) -> PathBuf {
        self.head.file("repository")
    }

    pub fn pool(&self) -> std::collections::BTreeSet<String> {
        pool(&self.archive())
    }

    pub fn runs(&self) -> Vec<Value> {
        self.head.json(&["runs", "-n", "1000"]).as_array().unwrap().clone()
    }

    /// The same; none while the head does not answer.
    pub fn try_runs(&self) -> Vec<Value> {
        let said = self.head.foundry(&["runs", "-n", "1000", "--json"]).output().unwrap();
        serde_json::from_slice(&said.stdout).unwrap_or_default()
    }

    /// The run of a commit, if it was announced. Others may claim to be of that commit.
    pub fn run_of(&self, pushed: &Pushed) -> Option<Value> {
        let is_announced =
            |event: &Value| event["type"] == "foundry.commit.v1" && event["data"]["ref"] == pushed.commit;
        let mut runs = self.runs().into_iter();
        runs.find(|run| run["events"].as_array().unwrap().iter().any(is_announced))
    }

    /// The events of a type in a commit's run.
    pub fn events(&self, pushed: &Pushed, event_type: &str) -> Vec<Value> {
        let run = self.run_of(pushed).unwrap_or_default();
        let events = run["events"].as_array().cloned().unwrap_or_default();
        events.into_iter().filter(|event| event["type"] == event_type).collect()
    }

    /// Waits until an event of a type is there.
    pub fn await_event(&self, pushed: &Pushed, event_type: &str) -> Value {
        let what = format!("{event_type} of {}", pushed.source);
        self.eventually(&what, || self.events(pushed, event_type).pop())
    }

    /// Waits until a commit is published.
    pub fn await_published(&self, pushed: &Pushed) -> Value {
        self.await_event(pushed, "foundry.dist.v1")
    }

    /// Waits until a host has refused what came of a commit, and said so in the commit's run; returns its reason.
    pub fn await_refusal(&self, pushed: &Pushed) -> String {
        self.eventually(&format!("a refusal in the run of {}", pushed.source), || {
            let failures = self.events(pushed, FAILURE);
            let refused = failures.iter().find(|failure| failure["data"]["refused"] == true)?;
            Some(refused["data"]["reason"].as_str().unwrap().to_owned())
        })
    }

    /// Asks again and again until there is an answer.
    pub fn eventually<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let machines: Vec<_> = [&self.head].into_iter().chain(&self.others).collect();
        eventually(what, &machines, ask)
    }

    /// The dead letters on the head, with their payloads.
    pub fn letters(&self) -> Vec<Value> {
        let listed = self.head.json(&["dead-letters", "list", "--limit", "1000"]);
        let numbers = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|letter| letter["seq"].as_u64().unwrap());
        let mut known = self.letters.borrow_mut();
        numbers
            .map(|number| {
                let show = || self.head.json(&["dead-letters", "show", &number.to_string()]);
                known.entry(number).or_insert_with(show).clone()
            })
            .collect()
    }

    /// Reasons of the dead letters on the head.
    pub fn refusals(&self) -> Vec<String> {
        let letters = self.letters();
        letters
            .iter()
            .map(|letter| letter["reason"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

/// Git's own server, for the repositories of a directory.
fn serve(machine: &Machine, directory: &Path) -> Child {
    let programs = run(Command::new("git").arg("--exec-path"));
    machine
        .command(&format!("{programs}/git-daemon"))
        .args(["--reuseaddr", "--export-all"])
        .arg(format!("--base-path={}", directory.display()))
        .arg(directory)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub const BUILD: &str = "\n[bots.build]\nuse = \"buildbot\"\nallow-unsigned = true\n";

pub const SIGN: &str = "\n[bots.sign]\nuse = \"signbot\"\ngpg-key = \"packages@example.org\"\n";

pub fn publish() -> String {
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    format!(
        "\n[bots.publish]\nuse = \"distbot\"\nname = \"example\"\ndescription = \"Example packages\"\n\
         output = \"repository\"\narch = [{architecture:?}]\ncodename = [\"c/*:stable\"]\ngpg-key = \"archive@example.org\"\n"
    )
}
