//! Names that are somebody else's: packages out of a watched repository, and client identifiers of the host.

use std::process::Command;

use crate::farm::Farm;
use crate::package::{Repository, run};

/// Rules that build one binary package in a moment, with a version of its own.
fn rules(package: &str, version: &str) -> String {
    format!(
        "clean build build-arch build-indep binary-arch:\n\t@:\n\
         binary binary-indep:\n\tmkdir -p debian/tmp/DEBIAN\n\
         \tdpkg-gencontrol -p{package} -v{version} -Pdebian/tmp\n\tdpkg-deb --root-owner-group --build debian/tmp ..\n\
         .PHONY: clean build build-arch build-indep binary-arch binary binary-indep\n"
    )
}

/// A repository of a source with one binary package, with any fields more.
fn repository(farm: &Farm, source: &str, package: &str, version: &str, fields: &str) -> Repository {
    let repository = Repository::new(farm.path(), source);
    let control = format!(
        "Source: {source}\nSection: misc\nPriority: optional\nMaintainer: Tester <tester@example.org>\n\
         Standards-Version: 4.6.2\nRules-Requires-Root: no\n\n\
         Package: {package}\nArchitecture: all\n{fields}Description: package for tests\n It is as good as empty.\n"
    );
    repository.write("debian/control", &control);
    repository.rules(&rules(package, version));
    repository
}

#[test]
fn a_watched_repository_provides_neither_anothers_package_nor_one_that_everybody_needs() {
    let mut farm = Farm::new();
    let honest = repository(&farm, "honest", "useful", "1.0", "");
    let hijack = repository(&farm, "hijack", "useful", "99:1.0", "");
    let sudo = repository(&farm, "helper", "sudo", "99:1.0", "Essential: yes\n");
    let urls = [honest.url(), hijack.url(), sudo.url()];
    farm = farm.watchbot(&urls).rest(&["master:stable"]);
    let first = honest.push("master");
    farm.start();
    farm.await_event("foundry.dist.v1", &first);
    let hijacked = hijack.push("master");
    let essential = sudo.push("master");
    let refused = |commit: &str, words: &str| {
        let failure = farm.await_event("foundry.failure.v1", commit);
        let why = failure["data"]["reason"].as_str().unwrap().to_owned();
        assert!(why.contains(words), "{why}");
        why
    };
    refused(
        &hijacked,
        "the binary package useful is provided by the source honest, and not by the source hijack",
    );
    let why = refused(&essential, "sudo");
    assert_eq!(
        pool(&farm),
        ["honest_1.0.dsc", "honest_1.0.tar.xz", "useful_1.0_all.deb"]
    );

    // What it says to the operator is what helps.
    let (_, rest) = why.split_once("`foundry-host ").unwrap();
    let (command, _) = rest.split_once('`').unwrap();
    run(farm.foundry().args(command.split(' ')));
    run(farm.foundry().args(["dead-letters", "requeue", "--of", "distbot"]));
    farm.await_event("foundry.dist.v1", &essential);
    assert!(
        pool(&farm).contains(&"sudo_1.0_all.deb".to_owned()),
        "{:?}",
        pool(&farm)
    );
    assert!(
        !farm
            .events("foundry.dist.v1")
            .iter()
            .any(|dist| dist["data"]["ref"] == hijacked.as_str())
    );
}

fn pool(farm: &Farm) -> Vec<String> {
    let pool = farm.repository().join("pool");
    let found = run(Command::new("find").arg(pool).args(["-type", "f", "-printf", "%f\n"]));
    let mut names: Vec<_> = found.lines().map(ToOwned::to_owned).collect();
    names.sort();
    names
}

#[test]
fn nobody_keeps_a_bot_from_its_client_id() {
    let mut farm = Farm::new();
    farm.start();
    let port = farm.port().to_string();
    // The last one is how older versions called it.
    for (id, lets_in) in [
        ("foundry/farm/late", false),
        ("foundry/farm//publisher", false),
        ("foundry-farm-late", true),
    ] {
        let mut squatter = Command::new("mosquitto_sub");
        squatter.args([
            "-V", "5", "-p", &port, "-i", id, "-c", "-x", "2592000", "-q", "1", "-t", "x", "-E",
        ]);
        assert_eq!(squatter.output().unwrap().status.success(), lets_in, "{id}");
    }
    let missing = format!("file://{}/none.git", farm.path().display());
    run(farm
        .foundry()
        .args(["load", "watchbot", "--as", "late", "--repository", &missing]));
    farm.eventually("the bot runs", |farm| {
        let listed = crate::farm::json(farm.foundry().args(["list", "--json"]));
        let bot = listed.as_array()?.iter().find(|bot| bot["bot"] == "late")?.clone();
        (bot["status"] == "running").then_some(())
    });
}
