//! Build dependencies are provided without touching the machine.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{Backend, BuildError};
use super::fixture::Sample;
use super::repository::{Repository, redirecting_to};

/// A small package that no test machine has installed, and that needs nothing else.
pub const ABSENT: &str = "hello";

pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

pub fn needing(dependency: &str) -> Sample {
    let mut sample = Sample::running(&format!("@{ABSENT}; dpkg-query -W {ABSENT}"));
    sample.control(&format!("Build-Depends: {dependency}"));
    sample.limits.wall_time = Duration::from_secs(300);
    sample
}

#[test]
fn missing_dependency_is_installed_into_a_layer_and_fetched_once() {
    assert!(
        !Path::new("/usr/bin/hello").exists(),
        "this test needs a machine without the package hello"
    );
    if !is_root() {
        return;
    }
    let sample = needing(ABSENT);
    let first = sample.build().unwrap();
    assert_eq!(first.backend, Backend::HostRootLayered);
    let log = sample.log();
    assert!(
        log.contains("Hello, world!\n") && log.contains("Setting up hello"),
        "{log}"
    );
    assert!(!Path::new("/usr/bin/hello").exists());
    assert!(
        !fs::read_to_string("/var/lib/dpkg/status")
            .unwrap()
            .contains("\nPackage: hello\n")
    );

    let again = sample.build().unwrap();
    let log = sample.log();
    assert_eq!(again.backend, Backend::HostRootLayered);
    assert!(
        log.contains("Hello, world!\n") && log.contains("there from an earlier build"),
        "{log}"
    );
    assert!(!log.contains("Setting up"), "{log}");
    println!("first {:?}, again {:?}", first.phases, again.phases);
}

#[test]
fn dependency_that_exists_nowhere_is_named() {
    if !is_root() {
        return;
    }
    let sample = needing("no-such-package-anywhere (>= 3)");
    match sample.build().unwrap_err() {
        BuildError::Dependencies { missing, .. } => {
            assert!(
                missing.iter().any(|one| one.contains("no-such-package-anywhere")),
                "{missing:?}"
            );
        }
        other => unreachable!("{other}"),
    }
}

/// A package, and a repository that has what it needs for its build.
fn with_dependency() -> (Repository, Sample) {
    let repository = Repository::with_package("foundry-test-dependency");
    let mut sample = Sample::running("@foundry-test-dependency");
    sample.control("Build-Depends: foundry-test-dependency");
    sample.limits.wall_time = Duration::from_secs(300);
    (repository, sample)
}

#[test]
fn dependency_from_an_extra_repository_is_checked_against_its_keyring() {
    if !is_root() {
        return;
    }
    let (repository, sample) = with_dependency();
    let mut request = sample.request();
    request.repositories = vec![format!("deb http://{}/ ./", repository.address)];
    request.keyrings = vec![repository.keyring("right")];
    sample.build_with(request.clone(), Default::default()).unwrap();
    assert!(sample.log().contains("came from the repository\n"), "{}", sample.log());

    request.keyrings = vec![repository.keyring("wrong")];
    match sample.build_with(request, Default::default()).unwrap_err() {
        BuildError::Dependencies { missing, .. } => {
            assert!(missing.iter().any(|one| one.contains("is not signed")), "{missing:?}");
        }
        other => unreachable!("{other}"),
    }
}

#[test]
fn a_package_source_that_redirects_leads_nowhere() {
    if !is_root() {
        return;
    }
    let (repository, sample) = with_dependency();
    let mut request = sample.request();
    request.repositories = vec![format!("deb http://{}/ ./", redirecting_to(repository.address))];
    request.keyrings = vec![repository.keyring("right")];
    let error = sample.build_with(request, Default::default()).unwrap_err();
    assert!(matches!(error, BuildError::Dependencies { .. }), "{error}");
    assert!(sample.log().contains("302  Found"), "{}", sample.log());
}

/// What a hostile package does when it is installed, to others that are installed later.
const POISON: &str = "\
#!/bin/sh
for place in /var/cache/apt/archives /var/cache/apt/archives/partial /var/lib/apt/lists/../../../cache/apt/archives; do
    (: >$place/hello_2.10-3_amd64.deb) 2>/dev/null && echo POISONED $place
done
rm -f /var/cache/apt/archives/*.deb
mount -o remount,rw /var/cache/apt/archives 2>/dev/null && echo REMOUNTED
mv /var/lib/apt /var/lib/apt-before && ln -s /etc /var/lib/apt && echo LINKED
cp /bin/sh /usr/bin/stranger && chmod 6755 /usr/bin/stranger && echo made a program that is root
exit 0
";

#[test]
fn a_script_of_a_package_changes_nothing_that_other_builds_install() {
    if !is_root() {
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    let repository = Repository::with_script("foundry-test-dependency", POISON);
    let mut hostile = Sample::running("@true");
    hostile.control("Build-Depends: foundry-test-dependency");
    hostile.shared_state = Some(shared.path().join("build"));
    hostile.limits.wall_time = Duration::from_secs(300);
    let mut request = hostile.request();
    request.repositories = vec![repository.source()];
    request.keyrings = vec![repository.keyring("right")];
    hostile.build_with(request, Default::default()).unwrap();
    let log = hostile.log();
    for word in ["POISONED", "REMOUNTED", "LINKED"] {
        assert!(!log.lines().any(|line| line.starts_with(word)), "{log}");
    }

    // The program is on the machine's own disk, and does what anybody's program does.
    assert!(log.contains("made a program that is root\n"), "{log}");
    let programs = found(&shared.path().join("build/layers"), "stranger");
    assert_eq!(programs.len(), 1);
    let mode = fs::metadata(&programs[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);

    let mut honest = needing(ABSENT);
    honest.shared_state = hostile.shared_state.clone();
    honest.build().unwrap();
    assert!(honest.log().contains("Hello, world!\n"), "{}", honest.log());
    let place = |name: &str| {
        found(&shared.path().join("build/archives"), name)[0]
            .parent()
            .unwrap()
            .to_owned()
    };
    assert_ne!(
        place("foundry-test-dependency_1_all.deb"),
        place("hello_"),
        "packages of other sources are kept apart"
    );
}

#[test]
fn a_fetched_package_that_is_not_what_the_index_says_is_fetched_again() {
    if !is_root() {
        return;
    }
    let sample = needing(ABSENT);
    sample.build().unwrap();
    let package = found(&sample.state().join("archives"), "hello_").remove(0);
    let right = fs::read(&package).unwrap();
    let mut forged = right.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    fs::write(&package, forged).unwrap();
    fs::remove_dir_all(sample.state().join("layers")).unwrap();

    sample.build().unwrap();
    assert!(sample.log().contains("Hello, world!\n"), "{}", sample.log());
    assert!(fs::read(&package).unwrap() == right);
}

/// The files below a directory whose names begin so.
fn found(top: &Path, start: &str) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![top.to_owned()]);
    while let Some(dir) = pending.pop() {
        // In a root, some directories are for its own root alone.
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else if entry.file_name().to_str().unwrap().starts_with(start) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_machine_that_cannot_provide_dependencies_says_what_it_lacks() {
    let mut sample = needing("no-such-package-anywhere (>= 3)");
    sample.backend = Some(Backend::HostRoot);
    let error = sample.build().unwrap_err();
    assert!(matches!(error, BuildError::NoBackend { .. }));
    assert_eq!(
        error.to_string(),
        "cannot build here: host root: this machine lacks build dependencies (apt-get install no-such-package-anywhere (>= 3))"
    );
}

#[test]
fn a_suite_without_a_mirror_is_refused_with_the_reason() {
    let sample = Sample::running("");
    let mut request = sample.request();
    request.suite = Some("no-such-suite".to_owned());
    request.architecture = Some("no-such-machine".to_owned());
    match sample.build_with(request, Default::default()).unwrap_err() {
        BuildError::NoBackend { tried } => {
            let backends: Vec<Backend> = tried.iter().map(|one| one.backend).collect();
            assert_eq!(
                backends,
                [Backend::HostRoot, Backend::HostRootLayered, Backend::OwnRoot]
            );
            assert!(
                tried[0]
                    .why
                    .starts_with("the build is for the suite no-such-suite, and this machine is "),
                "{tried:?}"
            );
        }
        other => unreachable!("{other}"),
    }
}

/// Needs a minute and a mirror; `cargo test -- --ignored root_of_its_own`.
#[test]
#[ignore = "makes a whole root from the network"]
fn root_of_its_own_is_made_once_and_used_again() {
    let mut sample = needing(ABSENT);
    sample.backend = Some(Backend::OwnRoot);
    sample.limits.wall_time = Duration::from_secs(900);
    sample.limits.disk = 4 << 30;
    let first = sample.build().unwrap();
    assert_eq!(first.backend, Backend::OwnRoot);
    assert!(sample.log().contains("Hello, world!\n"));
    let again = sample.build().unwrap();
    assert!(!sample.log().contains("making a root"), "{}", sample.log());
    println!("first {:?}, again {:?}", first.phases, again.phases);
    // Nobody in it was the host's user, or anybody of the machine's, nor is anybody who installed the layer over it.
    for (kept, program) in [("roots", "dpkg"), ("roots", "su"), ("layers", "hello")] {
        let programs = found(&sample.state().join(kept), program);
        assert!(!programs.is_empty(), "{kept}: {program}");
        for program in programs {
            let kind = fs::symlink_metadata(&program).unwrap();
            let own = rustix::process::getuid().as_raw();
            assert!(kind.uid() != own && kind.uid() >= 100_000, "{}", program.display());
            assert!(
                !kind.is_file() || kind.permissions().mode() & 0o6000 == 0,
                "{}",
                program.display()
            );
        }
    }
}
