//! Git repositories with small Debian source packages.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A git repository that is pushed to, and the work tree of its maintainer.
pub struct Repository {
    work: PathBuf,
    bare: PathBuf,
    name: String,
}

impl Repository {
    /// A repository with a native package that builds at once: version 1.0 on branch `master`.
    pub fn new(directory: &Path, name: &str) -> Self {
        let repository = Self {
            work: directory.join(format!("{name}.work")),
            bare: directory.join(format!("{name}.git")),
            name: name.to_owned(),
        };
        let (bare, work) = (repository.bare.to_str().unwrap(), repository.work.to_str().unwrap());
        run(Command::new("git").args(["init", "-q", "--bare", "--initial-branch=master", bare]));
        run(Command::new("git").args(["init", "-q", "--initial-branch=master", work]));
        repository.git(&["remote", "add", "origin", bare]);
        repository.write("debian/source/format", "3.0 (native)\n");
        let control = format!(
            "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: Tester <tester@example.org>\n\
             Build-Depends: debhelper-compat (= 13)\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
             Package: {name}\nArchitecture: any\nDepends: ${{misc:Depends}}\nDescription: package for tests\n Says which version it is.\n"
        );
        repository.write("debian/control", &control);
        repository.rules("%:\n\tdh $@\n");
        repository.write(&format!("debian/{name}.install"), &format!("{name} usr/bin\n"));
        repository.version("1.0");
        repository
    }

    /// A repository whose package embeds the time at which it is built: in its binary package, and in one for all
    /// architectures.
    pub fn that_embeds_its_build_time(directory: &Path, name: &str) -> Self {
        let repository = Self::new(directory, name);
        let control = format!(
            "Source: {name}\nSection: misc\nPriority: optional\nMaintainer: Tester <tester@example.org>\n\
             Build-Depends: debhelper-compat (= 13)\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
             Package: {name}\nArchitecture: any\nDepends: ${{misc:Depends}}\nDescription: package for tests\n Tells when it was built.\n\n\
             Package: {name}-doc\nArchitecture: all\nDepends: ${{misc:Depends}}\nDescription: its documentation\n As new as it is.\n"
        );
        repository.write("debian/control", &control);
        repository.rules("%:\n\tdh $@\noverride_dh_auto_build:\n\tdate +%s.%N >built-at\n");
        repository.write(
            &format!("debian/{name}.install"),
            &format!("{name} usr/bin\nbuilt-at usr/share/{name}\n"),
        );
        repository.write(
            &format!("debian/{name}-doc.install"),
            &format!("built-at usr/share/{name}-doc\n"),
        );
        repository
    }

    /// The directory that git's own server finds it in, and its name there.
    pub fn served(&self) -> (&Path, String) {
        (self.bare.parent().unwrap(), format!("{}.git", self.name))
    }

    /// What watchbot is given.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// Write a file of the work tree.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replace debian/rules; the shebang is added.
    pub fn rules(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write("debian/rules", &format!("#!/usr/bin/make -f\n{text}"));
        let path = self.work.join("debian/rules");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Set the version, in the changelog and in the program.
    pub fn version(&self, version: &str) {
        let changelog = format!(
            "{} ({version}) unstable; urgency=medium\n\n  * Version {version}.\n\n \
             -- Tester <tester@example.org>  Mon, 23 Nov 2026 09:00:00 +0000\n",
            self.name
        );
        self.write("debian/changelog", &changelog);
        self.write(&self.name, &format!("#!/bin/sh\necho {} {version}\n", self.name));
    }

    /// Commit everything and push it to a branch. Returns the commit's id.
    pub fn push(&self, branch: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "Change"]);
        self.git(&["push", "-q", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Delete a branch where it was pushed to.
    pub fn delete_branch(&self, branch: &str) {
        let reference = format!("refs/heads/{branch}");
        run(Command::new("git")
            .arg("--git-dir")
            .arg(&self.bare)
            .args(["update-ref", "-d", &reference]));
    }

    /// Run git in the work tree.
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.work).args(arguments);
        for (variable, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_AUTHOR_NAME", "Tester"),
            ("GIT_AUTHOR_EMAIL", "tester@example.org"),
            ("GIT_COMMITTER_NAME", "Tester"),
            ("GIT_COMMITTER_EMAIL", "tester@example.org"),
        ] {
            command.env(variable, value);
        }
        run(&mut command)
    }
}

/// Run a command that has to succeed; returns what it printed, trimmed.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
