//! Builders of one source package, as buildbot and signbot leave their builds for distbot.

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry_host::capability::Artifact;
use serde_json::{Value, json};

use crate::operator::done;
use crate::package::{Deb, run, source};
use crate::world::{Distbot, World};

pub const ARCHITECTURES: (&str, &[&str]) = ("arch", &["amd64", "arm64", "i386"]);

pub const FULL: bool = true;

/// The source package clock 1.0-1, and builders of it that embed the time in what they build.
pub struct Source {
    _directory: tempfile::TempDir,
    files: Vec<PathBuf>,
    pub commit: String,
}

/// What a builder made, and the event about it.
pub struct Built {
    pub artifacts: Vec<Artifact>,
    pub about: Value,
}

impl Built {
    pub fn sha256(&self, name: &str) -> &str {
        let artifact = self.artifacts.iter().find(|artifact| artifact.name == name);
        &artifact.unwrap_or_else(|| panic!("no {name}")).sha256
    }
}

impl Source {
    /// A source package whose upstream tarball has this in it.
    pub fn new(commit: char, content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("clock-1.0");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("content"), content).unwrap();
        let files = source(directory.path(), "clock", "1.0", "1");
        Self {
            _directory: directory,
            files,
            commit: String::from(commit).repeat(40),
        }
    }

    /// Build it at a time, as buildbot and signbot would: for an architecture and for all; with its source package, if it is
    /// a full build, whose .dsc is signed by a key of its own.
    pub async fn build(&self, world: &World, architecture: &str, at: u32, full: bool) -> Built {
        let clock = Deb::new("clock", "1.0-1", architecture).content(&format!("built at {at} for {architecture}\n"));
        self.build_of(world, &[clock, doc(at)], architecture, full).await
    }

    pub async fn build_of(&self, world: &World, debs: &[Deb], architecture: &str, full: bool) -> Built {
        let mut artifacts = world.build(debs).await;
        let directory = tempfile::tempdir().unwrap();
        let buildinfo = directory.path().join(format!("clock_1.0-1_{architecture}.buildinfo"));
        std::fs::write(
            &buildinfo,
            format!("Source: clock\nBuild-Date: {}\n", artifacts[0].sha256),
        )
        .unwrap();
        let mut files = vec![buildinfo];
        if full {
            let (dsc, others) = self.files.split_last().unwrap();
            files.extend(others.iter().cloned());
            files.push(signed(dsc, directory.path()));
        }
        artifacts.extend(world.store(&files).await);
        Built {
            artifacts,
            about: json!({
                "source": "clock", "version": "1.0-1", "architecture": architecture, "ref": self.commit,
            }),
        }
    }
}

/// Its documentation, for all architectures.
pub fn doc(at: u32) -> Deb {
    Deb::new("clock-doc", "1.0-1", "all")
        .fields("Source: clock\n")
        .content(&format!("built at {at}\n"))
        .description(&format!("a test\n Built at {at}."))
}

/// A clear-signed copy of a .dsc, by a key that has just been made.
fn signed(dsc: &Path, directory: &Path) -> PathBuf {
    let home = tempfile::tempdir().unwrap();
    let gpg = || {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir")
            .arg(home.path())
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        gpg.args(["--passphrase", ""]);
        gpg
    };
    run(gpg().args([
        "--quick-generate-key",
        "builder@example.org",
        "ed25519",
        "sign",
        "never",
    ]));
    let copy = directory.join(dsc.file_name().unwrap());
    run(gpg().arg("--output").arg(&copy).arg("--clearsign").arg(dsc));
    run(Command::new("gpgconf")
        .arg("--homedir")
        .arg(home.path())
        .args(["--kill", "all"]));
    copy
}

pub async fn publish(distbot: &Distbot, built: &Built) -> Value {
    let mut dists = distbot.publish_about(&built.about, "main", &built.artifacts).await;
    assert_eq!(dists.len(), 1, "{dists:?}");
    dists.remove(0)
}

pub async fn refuse(distbot: &Distbot, built: &Built) -> Value {
    distbot.refuse_about(&built.about, "main", &built.artifacts).await
}

/// `name/architecture` of what an event says was published.
pub fn published(dist: &Value) -> Vec<String> {
    let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
    let packages = dist["packages"].as_array().unwrap().iter();
    packages
        .map(|package| format!("{}/{}", text(package, "package"), text(package, "architecture")))
        .collect()
}

/// What an event has to say of a file that stayed.
pub fn kept(name: &str, first: &Built, second: &Built) -> Value {
    json!({ "name": name, "published": first.sha256(name), "offered": second.sha256(name) })
}

/// The paragraph of a package in the index of an architecture.
pub fn paragraph(world: &World, suite: &str, architecture: &str, package: &str) -> String {
    let index = world.index(&format!("dists/{suite}/main/binary-{architecture}/Packages"));
    let mut paragraphs = index.split("\n\n").map(str::to_owned);
    let paragraph = paragraphs.find(|text| text.starts_with(&format!("Package: {package}\n")));
    paragraph.unwrap_or_else(|| panic!("no {package} in {index}"))
}

pub fn is_sound(world: &World) {
    assert_eq!(done(world, &["check", "--deep"]), Value::Array(Vec::new()));
}
