//! Source packages that build in a moment: one git repository, a branch for each.

use std::path::Path;

use crate::package::Repository;

/// What a slow build says when it has begun.
pub const BEGUN: &str = "the build has begun";

/// A commit that was pushed, and the source package in it.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub commit: String,
    pub source: String,
}

/// The repository of all sources.
pub struct Sources(Repository);

impl Sources {
    pub fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        Self(Repository::new(directory, "packages"))
    }

    /// Pushes version 1.0 of a source of its own, with one binary package, on the branch `c/SOURCE`.
    pub fn push(&self, source: &str) -> Pushed {
        self.push_slow(source, 0)
    }

    /// The same; its build takes so many seconds.
    pub fn push_slow(&self, source: &str, seconds: u32) -> Pushed {
        let control = format!(
            "Source: {source}\nSection: misc\nPriority: optional\nMaintainer: Tester <tester@example.org>\n\
             Standards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
             Package: {source}\nArchitecture: all\nDescription: package for tests\n It is as good as empty.\n"
        );
        let changelog = format!(
            "{source} (1.0) unstable; urgency=medium\n\n  * New.\n\n \
             -- Tester <tester@example.org>  Mon, 23 Nov 2026 09:00:00 +0000\n"
        );
        self.0.write("debian/control", &control);
        self.0.write("debian/changelog", &changelog);
        self.0.rules(&rules(seconds));
        Pushed {
            commit: self.0.push(&format!("c/{source}")),
            source: source.to_owned(),
        }
    }
}

fn rules(seconds: u32) -> String {
    let wait = match seconds {
        0 => String::new(),
        seconds => format!("\t@echo {BEGUN}\n\tsleep {seconds}\n"),
    };
    format!(
        "clean build build-arch build-indep binary-arch:\n\t@:\n\
         binary binary-indep:\n{wait}\tmkdir -p debian/tmp/DEBIAN\n\
         \tdpkg-gencontrol -Pdebian/tmp\n\tdpkg-deb --root-owner-group --build debian/tmp ..\n\
         .PHONY: clean build build-arch build-indep binary-arch binary binary-indep\n"
    )
}
