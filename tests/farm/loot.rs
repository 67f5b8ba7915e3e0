//! What a thief finds at a builder, and what he makes of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use foundry_host::event::Event;
use serde_json::{Value, json};

use crate::package::run;
use crate::thief::Thief;

/// What he heard of a commit, and a package of his own.
pub struct Loot {
    /// The commit's event.
    pub commit: Value,
    /// The honest builder's event of its build, as it came.
    pub build: String,
    /// signbot's event of it, as it came.
    pub sign: String,
    /// A package `sudo`, which lies where builders leave their packages.
    package: Value,
}

impl Loot {
    /// Of the first commit that went the whole way.
    pub fn of(thief: &Thief<'_>, builder: &str, artifacts: &Path, scratch: &Path) -> Self {
        let commit = thief.heard_of("commits", "head/");
        thief.heard_of("builds", builder);
        thief.heard_of("signs", "head/");
        let first = |topic: &str| thief.heard(topic).swap_remove(0);
        Self {
            commit,
            build: first("builds"),
            sign: first("signs"),
            package: package(artifacts, scratch),
        }
    }

    /// A member of the honest build's event.
    pub fn of_build(&self, member: &str) -> String {
        let build: Value = serde_json::from_str(&self.build).unwrap();
        build[member].as_str().unwrap().to_owned()
    }

    /// What a build event says whose packages are his, and whose commit is the announced one.
    pub fn data(&self) -> Value {
        let commit = &self.commit["data"];
        json!({
            "repository": commit["repository"], "branch": commit["branch"], "ref": commit["ref"],
            "source": "sudo", "version": "99", "architecture": "amd64", "artifacts": [self.package],
        })
    }

    /// Makes an event one of the announced commit's run, caused by that commit, whose announcement it carries.
    pub fn in_its_run(&self, event: &mut Event) {
        let text = |member: &str| self.commit[member].as_str().unwrap().to_owned();
        event.run = text("run");
        event.cause = Some(text("id"));
        event.announcement = Some(self.commit.to_string());
    }
}

/// Builds a package, and leaves it where builders leave theirs.
fn package(artifacts: &Path, scratch: &Path) -> Value {
    let root = scratch.join("sudo");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    let control = "Package: sudo\nVersion: 99\nArchitecture: all\nEssential: yes\nMaintainer: Somebody <s@example.org>\n\
         Description: provide what nobody wants\n Do not install it.\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    let built = scratch.join("sudo_99_all.deb");
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&root)
        .arg(&built));
    let sum = run(Command::new("sha256sum").arg(&built));
    let digest = &sum[..64];
    let shelf = artifacts.join("sha256").join(&digest[..2]);
    fs::create_dir_all(&shelf).unwrap();
    fs::copy(&built, shelf.join(digest)).unwrap();
    json!({
        "name": "sudo_99_all.deb", "size": fs::metadata(&built).unwrap().len(), "sha256": digest,
        "mediaType": "application/vnd.debian.binary-package",
    })
}
