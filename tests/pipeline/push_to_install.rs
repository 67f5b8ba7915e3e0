//! From `git push` to `apt install`, and what the judges say of every signature on the way.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::apt::{Apt, text};
use crate::farm::Farm;
use crate::package::{Repository, run};

#[test]
fn a_push_ends_in_an_installed_package() {
    let mut farm = Farm::new();
    let repository = Repository::new(farm.path(), "first-package");
    let commit = repository.push("master");
    farm = farm.watchbot(&[repository.url()]).rest(&["master:stable"]);
    farm.start();
    let watchers = [Watcher::start(&farm, "mqttv311"), Watcher::start(&farm, "mqttv5")];

    farm.await_event("foundry.dist.v1", &commit);
    let apt = Apt::new(&farm, "stable");
    apt.update();
    let root = apt.unpack("first-package");
    assert_eq!(
        run(&mut Command::new(root.join("usr/bin/first-package"))),
        "first-package 1.0"
    );

    repository.version("1.1");
    let second = repository.push("master");
    farm.await_event("foundry.dist.v1", &second);
    apt.update();
    apt.unpack("first-package");
    assert_eq!(
        run(&mut Command::new(root.join("usr/bin/first-package"))),
        "first-package 1.1"
    );
    // The older version stays available.
    let policy = apt.run("apt-cache", &["policy", "first-package"]);
    assert!(policy.contains("1.0") && policy.contains("Candidate: 1.1"), "{policy}");
    apt.run("apt-get", &["source", "--download-only", "first-package"]);

    for watcher in watchers {
        watcher.saw_everything(&second);
    }
    the_judges_accept(&farm, &commit);
    a_flipped_byte_is_refused(&farm, &apt);
}

/// mosquitto_sub on the four topics, with one version of MQTT. It sees events from before its start, too, if it is
/// quick enough; the second commit's it sees for certain.
struct Watcher(Child);

impl Watcher {
    fn start(farm: &Farm, version: &str) -> Self {
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &farm.port().to_string(),
            "-V",
            version,
            "-F",
            "%t %p",
        ]);
        for topic in ["commits", "builds", "signs", "dists"] {
            command.args(["-t", &format!("foundry/{topic}")]);
        }
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn saw_everything(mut self, commit: &str) {
        // The last of the four was on its way when the package was installed.
        std::thread::sleep(std::time::Duration::from_millis(500));
        self.0.kill().unwrap();
        let mut seen = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
        self.0.wait().unwrap();
        for topic in ["commits", "builds", "signs", "dists"] {
            let event = seen
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("foundry/{topic} ")))
                .map(|payload| serde_json::from_str::<Value>(payload).unwrap())
                .find(|event| event["data"]["ref"] == commit);
            let event = event.unwrap_or_else(|| panic!("no event on {topic}:\n{seen}"));
            assert_eq!(event["specversion"], "1.0");
        }
    }
}

/// debsig-verify with the documented policy for each .deb; gpgv for all that is clear-signed, InRelease and Release.
fn the_judges_accept(farm: &Farm, commit: &str) {
    let packages = keyring(farm, &farm.packages_key);
    let repository = keyring(farm, &farm.repository_key);
    let event = farm.await_event("foundry.sign.v1", commit);
    let signed = farm.path().join("signed");
    std::fs::create_dir_all(&signed).unwrap();
    let mut judged = 0;
    for artifact in event["data"]["artifacts"].as_array().unwrap() {
        let (name, sha256) = (artifact["name"].as_str().unwrap(), artifact["sha256"].as_str().unwrap());
        let stored = farm.state().join("artifacts/sha256").join(&sha256[..2]).join(sha256);
        let copy = signed.join(name);
        std::fs::copy(stored, &copy).unwrap();
        match copy.extension().and_then(|extension| extension.to_str()) {
            Some("deb") => debsig_verify(farm, &packages, &copy),
            Some("changes" | "dsc" | "buildinfo") => gpgv(&packages, &[&copy]),
            _ => continue,
        }
        judged += 1;
    }
    assert!(judged >= 4, "a .deb, .dsc, .changes and .buildinfo: {event}");
    let changes = std::fs::read_dir(&signed).unwrap().map(|entry| entry.unwrap().path());
    let changes = changes
        .filter(|path| path.extension().is_some_and(|e| e == "changes"))
        .collect::<Vec<_>>();
    assert_eq!(changes.len(), 1);
    the_changes_file_is_true(&changes[0]);
    let suite = farm.repository().join("dists/stable");
    gpgv(&repository, &[&suite.join("InRelease")]);
    gpgv(&repository, &[&suite.join("Release.gpg"), &suite.join("Release")]);
}

/// The signed copies have the digests that .changes gives.
fn the_changes_file_is_true(changes: &Path) {
    let text = std::fs::read_to_string(changes).unwrap();
    let section = text.split("Checksums-Sha256:").nth(1).unwrap();
    let lines = section.lines().skip(1).take_while(|line| line.starts_with(' '));
    let mut checked = 0;
    for line in lines {
        let [sha256, size, name] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let path = changes.with_file_name(name);
        let actual = run(Command::new("sha256sum").arg(&path));
        assert!(actual.starts_with(sha256), "{name}");
        assert_eq!(std::fs::metadata(path).unwrap().len().to_string(), size, "{name}");
        checked += 1;
    }
    assert!(checked >= 3, "{text}");
}

/// A key as a keyring that gpgv reads.
fn keyring(farm: &Farm, key: &str) -> PathBuf {
    let path = farm.path().join(format!("{key}.gpg"));
    let armoured = run(farm.foundry().args(["key", "export", key]));
    let file = path.with_extension("asc");
    std::fs::write(&file, armoured).unwrap();
    run(Command::new("gpg")
        .args(["--batch", "--yes", "--dearmor", "-o"])
        .arg(&path)
        .arg(&file));
    path
}

fn gpgv(keyring: &Path, files: &[&Path]) {
    run(Command::new("gpgv").arg("--keyring").arg(keyring).args(files));
}

/// As docs/debsig-policy.md says.
fn debsig_verify(farm: &Farm, keyring: &Path, deb: &Path) {
    let id = farm.packages_key[farm.packages_key.len() - 16..].to_uppercase();
    let (policies, keyrings) = (farm.path().join("policies"), farm.path().join("keyrings"));
    std::fs::create_dir_all(policies.join(&id)).unwrap();
    std::fs::create_dir_all(keyrings.join(&id)).unwrap();
    std::fs::copy(keyring, keyrings.join(&id).join("debsig.gpg")).unwrap();
    let policy = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE Policy SYSTEM \"https://www.debian.org/debsig/1.0/policy.dtd\">\n\
         <Policy xmlns=\"https://www.debian.org/debsig/1.0/\">\n\
         <Origin Name=\"Foundry\" id=\"{id}\" Description=\"Foundry\"/>\n\
         <Selection><Required Type=\"origin\" File=\"debsig.gpg\" id=\"{id}\"/></Selection>\n\
         <Verification MinOptional=\"0\"><Required Type=\"origin\" File=\"debsig.gpg\" id=\"{id}\"/></Verification>\n\
         </Policy>\n"
    );
    std::fs::write(policies.join(&id).join("foundry.pol"), policy).unwrap();
    run(Command::new("debsig-verify")
        .arg("--policies-dir")
        .arg(&policies)
        .arg("--keyrings-dir")
        .arg(&keyrings)
        .arg(deb));
}

/// In a .deb, and in an index.
fn a_flipped_byte_is_refused(farm: &Farm, apt: &Apt) {
    let pool = run(Command::new("find")
        .arg(farm.repository().join("pool"))
        .args(["-name", "*_1.1_*.deb"]));
    flip(Path::new(pool.lines().next().unwrap()));
    apt.clean();
    apt.update();
    let output = apt.output("apt-get", &["download", "first-package"]);
    assert!(!output.status.success(), "apt took a damaged package");
    assert!(
        text(&output.stderr).contains("Hash Sum mismatch"),
        "{}",
        text(&output.stderr)
    );

    let indices = farm.repository().join("dists/stable/main");
    let found = run(Command::new("find")
        .arg(indices)
        .args(["-type", "f", "-size", "+0", "-not", "-name", "Release"])
        .args(["-printf", "%i %p\n"]));
    // An index and its name under by-hash are one file; flipped once for each name, it would be whole again.
    let files: BTreeMap<_, _> = found.lines().map(|line| line.split_once(' ').unwrap()).collect();
    for index in files.values() {
        flip(Path::new(index));
    }
    apt.clean();
    let output = apt.output("apt-get", &["update"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        said.contains("Hash Sum mismatch") || said.contains("unexpected size"),
        "{said}"
    );

    flip(&farm.repository().join("dists/stable/InRelease"));
    flip(&farm.repository().join("dists/stable/Release"));
    apt.clean();
    let output = apt.output("apt-get", &["update"]);
    assert!(!output.status.success(), "apt took a damaged InRelease");
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
