//! Build dependencies are provided without touching the machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::super::{Backend, BuildError};
use super::fixture::Sample;
use super::repository::Repository;

/// A small package that no test machine has installed, and that needs nothing else.
const ABSENT: &str = "hello";

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn needing(dependency: &str) -> Sample {
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

#[test]
fn dependency_from_an_extra_repository_is_checked_against_its_keyring() {
    if !is_root() {
        return;
    }
    let repository = Repository::with_package("foundry-test-dependency");
    let mut sample = Sample::running("@foundry-test-dependency");
    sample.control("Build-Depends: foundry-test-dependency");
    sample.limits.wall_time = Duration::from_secs(300);
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
}
