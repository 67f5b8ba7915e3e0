//! The store of artifacts is away when a build is done.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::farm::{Farm, json};
use crate::package::{Repository, run};
use crate::s3::S3Server;

const BUCKET: &str = "foundry";

/// A farm whose artifacts are in a bucket, behind that endpoint.
fn farm_at(endpoint: &str, bucket: &str) -> (Farm, Repository) {
    let farm = Farm::new();
    let repository = Repository::new(farm.path(), "hello");
    let credentials = farm.path().join("s3.toml");
    std::fs::write(&credentials, "access-key-id = \"test\"\nsecret-access-key = \"test\"\n").unwrap();
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
    let artifacts = format!(
        "[artifacts]\nurl = \"s3://{bucket}/artifacts\"\nendpoint = {endpoint:?}\ncredentials = {credentials:?}"
    );
    let farm = farm
        .table(&artifacts)
        .watchbot(&[repository.url()])
        .rest(&["master:stable"]);
    (farm, repository)
}

fn logged(farm: &Farm, text: &str) -> usize {
    let log = run(farm.foundry().args(["logs", "buildbot"]));
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn what_was_built_is_kept_and_stored_when_the_store_is_back_and_not_built_again() {
    let server = S3Server::with_bucket(BUCKET);
    let cable = server.cable();
    let (mut farm, repository) = farm_at(&cable.endpoint(), BUCKET);
    farm.start();
    cable.cut();
    let commit = repository.push("master");
    farm.eventually("it is built, and cannot be stored", |farm| {
        (logged(farm, "cannot store what was built") > 0).then_some(())
    });
    // A while, in which other attempts would be.
    std::thread::sleep(Duration::from_secs(5));
    cable.mend();
    farm.await_event("foundry.dist.v1", &commit);
    assert_eq!(
        logged(&farm, "building file://"),
        1,
        "{}",
        run(farm.foundry().args(["logs", "buildbot"]))
    );
}

#[test]
fn a_builder_whose_bucket_is_not_there_takes_no_work_until_it_is_and_check_says_so_before() {
    let server = S3Server::with_bucket(BUCKET);
    let (mut farm, repository) = farm_at(&server.endpoint(), "elsewhere");
    farm.start();
    let file = farm.path().join("foundry.toml");
    let checked = farm.foundry().args(["check", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{said}");
    assert!(said.contains("artifacts.url: there is no bucket elsewhere"), "{said}");

    let commit = repository.push("master");
    farm.eventually("it takes no more work", |farm| {
        let listed = json(farm.foundry().args(["list", "--json"]));
        let found = listed.as_array()?.iter().find(|bot| bot["bot"] == "buildbot")?.clone();
        let is_it = found["status"] == "unable" && found["detail"].as_str()?.contains("no such bucket");
        is_it.then_some(())
    });
    server.make_bucket("elsewhere");
    farm.await_event("foundry.dist.v1", &commit);
    assert_eq!(farm.events("foundry.failure.v1").len(), 0);
}
