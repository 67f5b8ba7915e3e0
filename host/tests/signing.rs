//! signbot as it runs: a real package, and Debian's own tools as judges of what it signed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which should fail where they are surprised"
)]

#[path = "signing/alike.rs"]
mod alike;
#[path = "signing/chain.rs"]
mod chain;
#[path = "signing/ring.rs"]
mod ring;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use foundry_host::capability::Artifact;
use foundry_host::event::Event;
use foundry_host::keys::{Encoding, KeyInfo, KeyStore, NewKey, Role, Signer};
use foundry_host::supervisor::{BotSource, BotSpec};
use serde_json::{Value, json};
use support::{TestHost, changed, event, eventually, id_of, introduce, signer};

const CONTROL: &str = "Source: hello\nSection: misc\nPriority: optional\nMaintainer: Test <test@example.org>\n\
    Standards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
    Package: hello\nArchitecture: all\nDescription: says hello\n More of it.\n\n\
    Package: hello-udeb\nPackage-Type: udeb\nArchitecture: all\nSection: debian-installer\nDescription: says hello, early\n More of it.\n";

const RULES: &str = "#!/usr/bin/make -f\nclean build build-arch build-indep binary-arch:\nbinary binary-indep:\n\
    \trm -rf debian/hello debian/hello-udeb\n\
    \tmkdir -p debian/hello/DEBIAN debian/hello/usr/share/doc/hello debian/hello-udeb/DEBIAN\n\
    \tcp debian/changelog debian/hello/usr/share/doc/hello/changelog\n\
    \tdpkg-gencontrol -phello -Pdebian/hello\n\
    \tdpkg-gencontrol -phello-udeb -Pdebian/hello-udeb -nhello-udeb_1.0_all.udeb\n\
    \tdpkg-deb --root-owner-group --build debian/hello ..\n\
    \tdpkg-deb --root-owner-group --build debian/hello-udeb ../hello-udeb_1.0_all.udeb\n";

/// Run a program, which has to succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The files of a real build: .deb, .udeb, .dsc, .tar.xz, .buildinfo and .changes.
fn built(directory: &Path) -> Vec<PathBuf> {
    let source = directory.join("hello");
    fs::create_dir_all(source.join("debian/source")).unwrap();
    let changelog = "hello (1.0) unstable; urgency=low\n\n  * Hello.\n\n -- Test <test@example.org>  Mon, 22 Jul 2024 09:00:00 +0000\n";
    for (name, content) in [
        ("debian/changelog", changelog),
        ("debian/control", CONTROL),
        ("debian/rules", RULES),
        ("debian/source/format", "3.0 (native)\n"),
    ] {
        fs::write(source.join(name), content).unwrap();
    }
    fs::set_permissions(source.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("dpkg-buildpackage")
        .args(["-us", "-uc", "-F", "-d"])
        .current_dir(&source));
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The id of a commit that is announced under a name.
fn commit_id(name: &str) -> String {
    id_of("commits", name, "foundry.commit.v1")
}

/// A host with a key for packages, and signbot.
struct Bench {
    host: TestHost,
    key: KeyInfo,
    files: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let host = TestHost::start().await;
        let key = keys(&host)
            .generate(Role::Packages, &NewKey::new("Packages <packages@example.org>"))
            .unwrap();
        host.host.load(signbot(&key.fingerprint.to_string())).await.unwrap();
        Self {
            host,
            key,
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// Announce a commit, and a build of it with these files.
    async fn announce(&self, id: &str, branch: &str, files: &[PathBuf]) {
        let commit = format!("commit-{id}");
        let announcement = commit_of(&commit, id, branch).sign(&self.signer()).unwrap();
        self.host.publish("commits", announcement.clone()).await;
        let build = self.build(id, Some(&commit_id(&commit)), branch, files).await;
        self.publish("builds", carrying(build, &announcement)).await;
    }

    /// The host's own key for messages.
    fn signer(&self) -> Arc<Signer> {
        signer(self.host.directory.path())
    }

    /// Publish an event, signed with the host's own key.
    async fn publish(&self, topic: &str, event: Event) {
        self.host.publish(topic, event.sign(&self.signer()).unwrap()).await;
    }

    /// A build of these files that an event led to. It carries no announcement.
    async fn build(&self, id: &str, cause: Option<&str>, branch: &str, files: &[PathBuf]) -> Event {
        let mut artifacts = Vec::new();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let store = &self.host.host.services().artifacts;
            artifacts.push(store.put_file(name, "application/octet-stream", file).await.unwrap());
        }
        let data = json!({
            "repository": "/srv/hello.git", "branch": branch, "ref": "a".repeat(40), "source": "hello",
            "version": "1.0", "architecture": "amd64", "artifacts": artifacts,
        });
        changed(event("builds", id, "foundry.build.v1", data), |event| {
            event.cause = cause.map(ToOwned::to_owned);
        })
    }

    /// The data of the first event on a topic that came of a build.
    async fn result(&self, id: &str, topic: &str) -> Value {
        let run = format!("run-{id}");
        eventually(&format!("an event on {topic}"), async || {
            let events = self.host.events().await;
            events
                .into_iter()
                .find(|event| event.topic == topic && event.run == run)
                .map(|event| event.data)
        })
        .await
    }

    /// Write the signed files into a directory, as somebody would who downloads them.
    async fn download(&self, signed: &Value) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let artifacts: Vec<Artifact> = serde_json::from_value(signed["artifacts"].clone()).unwrap();
        for artifact in artifacts {
            let path = directory.path().join(&artifact.name);
            self.host
                .host
                .services()
                .artifacts
                .copy_to(&artifact, &path)
                .await
                .unwrap();
        }
        directory
    }

    /// A file with the public key.
    fn keyring(&self) -> PathBuf {
        let path = self.files.path().join("keyring.gpg");
        let key = self.key.fingerprint.to_string();
        fs::write(&path, keys(&self.host).export_public(&key, Encoding::Binary).unwrap()).unwrap();
        path
    }
}

/// The announcement of a commit in a run.
fn commit_of(id: &str, run: &str, branch: &str) -> Event {
    commit_on("commits", id, run, branch)
}

/// The announcement of a commit on a topic.
fn commit_on(topic: &str, id: &str, run: &str, branch: &str) -> Event {
    let data = json!({ "repository": "/srv/hello.git", "branch": branch, "ref": "a".repeat(40) });
    changed(event(topic, id, "foundry.commit.v1", data), |event| {
        event.run = format!("run-{run}");
    })
}

/// An event that carries an announcement, as it was signed.
fn carrying(event: Event, announcement: &[u8]) -> Event {
    event.carrying(Some(std::str::from_utf8(announcement).unwrap()))
}

fn keys(host: &TestHost) -> KeyStore {
    let directory = host.directory.path();
    KeyStore::open(directory.join("keys"))
        .unwrap()
        .with_gnupg_home(directory.join("gnupg"))
}

fn signbot(key: &str) -> BotSpec {
    BotSpec::new(BotSource::Stock("signbot".to_owned())).option("gpg-key", key)
}

/// The event's statement is by the same key, and lists what was signed, as other tools see it.
fn states_them(bench: &Bench, signed: &Value, directory: &Path, keyring: &Path) {
    let document = bench.files.path().join("statement");
    fs::write(&document, signed["statement"].as_str().unwrap()).unwrap();
    run(Command::new("gpgv").arg("--keyring").arg(keyring).arg(&document));
    let stated = fs::read_to_string(&document).unwrap();
    let (commit, build) = ("a".repeat(40), id_of("builds", "one", "foundry.build.v1"));
    let head = format!(
        "Format: foundry-statement-1\nRepository: /srv/hello.git\nBranch: master\nCommit: {commit}\nSource: hello\n\
         Version: 1.0\nArchitecture: amd64\nBuilder: test\nBuild: {build}\nChecksums-Sha256:\n"
    );
    assert!(stated.contains(&head), "{stated}");
    let sums = run(Command::new("sh")
        .args(["-c", "LC_ALL=C sha256sum *"])
        .current_dir(directory));
    for sum in sums.lines() {
        let (digest, name) = sum.split_once("  ").unwrap();
        let size = fs::metadata(directory.join(name)).unwrap().len();
        assert!(
            stated.contains(&format!("\n {digest} {size} {name}\n")),
            "{name}: {stated}"
        );
    }
    assert_eq!(
        stated.lines().filter(|line| line.starts_with(' ')).count(),
        sums.lines().count()
    );
}

/// The file with this ending.
fn ending(directory: &Path, suffix: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .into_iter()
        .find(|path| path.to_str().unwrap().ends_with(suffix))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_own_tools_accept_what_it_signed() {
    let bench = Bench::new().await;
    let build = tempfile::tempdir().unwrap();
    let files = built(build.path());
    bench.announce("one", "master", &files).await;
    let signed = bench.result("one", "signs").await;
    assert_eq!(signed["key"], bench.key.fingerprint.to_string());
    let directory = bench.download(&signed).await;
    let (at, keyring) = (directory.path(), bench.keyring());
    assert_eq!(fs::read_dir(at).unwrap().count(), files.len());
    states_them(&bench, &signed, at, &keyring);

    for suffix in [".dsc", ".buildinfo", ".changes"] {
        run(Command::new("gpgv")
            .arg("--keyring")
            .arg(&keyring)
            .arg(ending(at, suffix)));
    }
    // Signatures of .changes and .dsc, and size and checksums of everything that they list.
    let changes = ending(at, ".changes");
    let mut dscverify = Command::new("dscverify");
    run(dscverify
        .args(["--no-default-keyrings", "--keyring"])
        .arg(&keyring)
        .arg(&changes));
    let listed = fs::read_to_string(&changes).unwrap();
    assert_eq!(
        listed.matches("hello_1.0_all.deb\n").count(),
        3,
        "each kind of checksum: {listed}"
    );

    // dpkg-source looks for the keyring in the home directory.
    let home = bench.files.path().join("home/.gnupg");
    fs::create_dir_all(&home).unwrap();
    fs::copy(&keyring, home.join("trustedkeys.gpg")).unwrap();
    let mut unpack = Command::new("dpkg-source");
    unpack
        .args(["--require-valid-signature", "-x"])
        .arg(ending(at, ".dsc"))
        .arg(at.join("unpacked"));
    run(unpack
        .env("HOME", bench.files.path().join("home"))
        .env_remove("GNUPGHOME"));

    // What the signed packages' checksums are in the .buildinfo, sha256sum judges.
    let buildinfo = fs::read_to_string(ending(at, ".buildinfo")).unwrap();
    let (_, sums) = buildinfo.split_once("Checksums-Sha256:\n").unwrap();
    let sums: Vec<_> = sums.lines().take_while(|line| line.starts_with(' ')).collect();
    assert_eq!(sums.len(), 3, "{sums:?}");
    for line in sums {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = run(Command::new("sha256sum").arg(at.join(words[2])));
        assert!(output.starts_with(words[0]), "{line}: {output}");
    }

    for package in ["hello_1.0_all.deb", "hello-udeb_1.0_all.udeb"] {
        debsig_verify(&bench, &at.join(package));
        run(Command::new("dpkg-deb").arg("--contents").arg(at.join(package)));
    }
    // The source is as it was.
    let tar = ending(at, ".tar.xz");
    assert_eq!(
        fs::read(&tar).unwrap(),
        fs::read(build.path().join(tar.file_name().unwrap())).unwrap()
    );
}

/// Lays policy and keyring out as docs/debsig-policy.md says.
fn debsig_verify(bench: &Bench, package: &Path) {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/debsig-policy.md"));
    let (_, from) = page.split_once("```xml\n").unwrap();
    let (policy, _) = from.split_once("```").unwrap();
    let id = bench.key.fingerprint.to_string().to_uppercase();
    let (policies, keyrings) = (bench.files.path().join("policies"), bench.files.path().join("keyrings"));
    fs::create_dir_all(policies.join(&id)).unwrap();
    fs::create_dir_all(keyrings.join(&id)).unwrap();
    fs::write(
        policies.join(&id).join("foundry.pol"),
        policy.replace("FINGERPRINT", &id),
    )
    .unwrap();
    fs::copy(bench.keyring(), keyrings.join(&id).join("foundry.gpg")).unwrap();
    let mut command = Command::new("debsig-verify");
    let said = run(command
        .arg("--policies-dir")
        .arg(policies)
        .arg("--keyrings-dir")
        .arg(keyrings)
        .arg(package));
    assert!(said.contains("Verified package from"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_maintainer_has_signed_are_signed_anew() {
    let bench = Bench::new().await;
    let other = tempfile::tempdir().unwrap();
    let maintainers = KeyStore::open(other.path().join("keys")).unwrap();
    let maintainer = maintainers
        .generate(Role::Packages, &NewKey::new("Maintainer <m@example.org>"))
        .unwrap();
    let signer = maintainers
        .signer(
            &maintainer.fingerprint.to_string(),
            Role::Packages,
            &foundry_host::keys::PassphraseSource::none(),
        )
        .unwrap();
    let build = tempfile::tempdir().unwrap();
    let mut files = built(build.path());
    files.retain(|path| path.extension().is_some_and(|extension| extension == "dsc"));
    let text = fs::read(&files[0]).unwrap();
    fs::write(&files[0], signer.clear_sign(&text).unwrap()).unwrap();
    bench.announce("again", "master", &files).await;
    let signed = bench.result("again", "signs").await;
    let directory = bench.download(&signed).await;
    let said = run(Command::new("gpgv")
        .arg("--keyring")
        .arg(bench.keyring())
        .arg("--output")
        .arg("-")
        .arg(ending(directory.path(), ".dsc")));
    assert!(said.contains("Source: hello"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changes_file_that_lies_about_a_package_is_not_signed() {
    let bench = Bench::new().await;
    let build = tempfile::tempdir().unwrap();
    let files = built(build.path());
    // Another package than the one that the .changes describes, of the same size.
    let deb = ending(build.path(), "hello_1.0_all.deb");
    let mut bytes = fs::read(&deb).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&deb, bytes).unwrap();
    bench.announce("lie", "master", &files).await;
    let failure = bench.result("lie", "failures").await;
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        failure["stage"] == "sign" && reason.contains("hello_1.0_all.deb"),
        "{failure}"
    );
    assert!(bench.host.events().await.iter().all(|event| event.topic != "signs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_package_fails_with_its_name() {
    let bench = Bench::new().await;
    let file = bench.files.path().join("odd_1.0_all.deb");
    fs::write(&file, "not a package").unwrap();
    bench.announce("odd", "master", &[file]).await;
    let failure = bench.result("odd", "failures").await;
    assert!(
        failure["reason"].as_str().unwrap().contains("odd_1.0_all.deb"),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_expired_key_is_refused_at_load() {
    let host = TestHost::start().await;
    let error = host
        .host
        .load(signbot("nobody@example.org"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("nobody@example.org"), "{error}");
    let mut short = NewKey::new("Short <short@example.org>");
    short.expires_in = Some(Duration::from_secs(1));
    let key = keys(&host).generate(Role::Packages, &short).unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let error = host
        .host
        .load(signbot(&key.fingerprint.to_string()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("expired"), "{error}");
    let key = keys(&host)
        .generate(Role::Commits, &NewKey::new("Committer <c@example.org>"))
        .unwrap();
    let error = host
        .host
        .load(signbot(&key.fingerprint.to_string()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("role"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expires_later_leaves_the_build_waiting_for_another() {
    let host = TestHost::start().await;
    let mut short = NewKey::new("Short <short@example.org>");
    // Long enough for signbot to start beside other tests.
    short.expires_in = Some(Duration::from_secs(12));
    let key = keys(&host).generate(Role::Packages, &short).unwrap();
    host.host.load(signbot(&key.fingerprint.to_string())).await.unwrap();
    let mut logs = host.host.logs();
    let bench = Bench {
        host,
        key,
        files: tempfile::tempdir().unwrap(),
    };
    let build = tempfile::tempdir().unwrap();
    let files = built(build.path());
    tokio::time::sleep(Duration::from_millis(12_100)).await;
    bench.announce("late", "master", &files).await;
    let line = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let line = logs.recv().await.unwrap();
            if line.line.contains("attempt 2") {
                return line.line.clone();
            }
        }
    });
    let line = line.await.unwrap();
    assert!(line.contains("expired"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_are_left_unsigned() {
    let host = TestHost::start().await;
    let key = keys(&host)
        .generate(Role::Packages, &NewKey::new("Packages <packages@example.org>"))
        .unwrap();
    let spec = signbot(&key.fingerprint.to_string())
        .option("sign-branch", "stable")
        .option("sign-branch", "release/*");
    host.host.load(spec).await.unwrap();
    let bench = Bench {
        host,
        key,
        files: tempfile::tempdir().unwrap(),
    };
    for (id, branch) in [("a", "stable-2"), ("b", "master"), ("c", "release/1")] {
        bench.announce(id, branch, &[]).await;
    }
    bench.result("c", "signs").await;
    let signs = bench
        .host
        .events()
        .await
        .into_iter()
        .filter(|event| event.topic == "signs")
        .count();
    assert_eq!(signs, 1);
}
