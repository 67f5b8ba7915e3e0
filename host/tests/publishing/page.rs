//! The repository's page for people, and what is said of a repository that others can't read.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::operator::{done, refused, repo};
use crate::package::Deb;
use crate::world::World;

/// The suites that the page has a heading for, in its order.
fn suites(page: &str) -> Vec<String> {
    let headings = page.split("<h2 id=\"").skip(1);
    headings
        .map(|heading| heading.split('"').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_every_suite_whoever_publishes_in_it() {
    let world = World::new().await;
    let testing = world.distbot(&[("codename", &["testing"])]).await;
    let trixie = world.distbot(&[("codename", &["trixie"])]).await;
    testing
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    trixie
        .publish("main", &world.build(&[Deb::new("world", "2", "amd64")]).await)
        .await;
    assert_eq!(suites(&world.read("index.html")), ["testing", "trixie"]);
    done(&world, &["promote", "testing", "stable"]);
    let page = world.read("index.html");
    assert_eq!(suites(&page), ["stable", "testing", "trixie"]);
    assert!(
        page.contains("<td>hello</td>") && page.contains("<td>world</td>"),
        "{page}"
    );
    // Neither of them takes the others' suites off it.
    for distbot in [&testing, &trixie] {
        distbot.refresh().await;
        assert_eq!(world.read("index.html"), page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_suite_keeps_no_other_one_from_being_published() {
    let world = World::new().await;
    let testing = world.distbot(&[("codename", &["testing"])]).await;
    let trixie = world.distbot(&[("codename", &["trixie"])]).await;
    // Both names are on record: what is damaged may have had others.
    let known = [Deb::new("hello", "1", "amd64"), Deb::new("world", "1", "amd64")];
    testing.publish("main", &world.build(&known).await).await;
    for file in world.everything().into_keys() {
        if file.to_str().unwrap().contains("dists/testing/main/binary-amd64/") {
            std::fs::write(file, "damaged").unwrap();
        }
    }
    trixie
        .publish("main", &world.build(&[Deb::new("world", "2", "amd64")]).await)
        .await;
    assert_eq!(suites(&world.read("index.html")), ["trixie"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_url_the_page_makes_none_up() {
    let world = World::new().await;
    world.distbot(&[]).await.refresh().await;
    let page = world.read("index.html");
    assert!(!page.contains("https://deb.example.org/"), "{page}");
    assert!(
        page.contains("URIs: ADDRESS-OF-THIS-PAGE/\n") && page.contains("<code>--url</code>"),
        "{page}"
    );
    assert!(page.contains("It has no packages yet."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_packages_that_are_not_there_is_an_error_and_a_suite_s_name_is_recognised() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let (code, said) = refused(&world, &["list", "stable"]);
    assert_eq!(code, 4, "{said}");
    assert_eq!(
        said,
        "foundry-host: no package of suite stable matches stable (stable is a suite: list its packages with --suite stable)\n"
    );
    let (code, said) = refused(&world, &["list", "nothing", "--suite", "stable"]);
    assert_eq!(
        (code, said.as_str()),
        (4, "foundry-host: no package of suite stable matches nothing\n")
    );
    let (code, said) = refused(&world, &["list", "--suite", "stabel"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("there is no suite stabel (there are: stable)"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_other_users_cannot_reach_is_warned_of_and_no_problem() {
    let world = World::new().await;
    let chmod = |mode| std::fs::set_permissions(world.files.path(), Permissions::from_mode(mode)).unwrap();
    chmod(0o700);
    world.distbot(&[]).await.refresh().await;
    let logs = &world.host.host.services().logs;
    let warnings = |logs: &foundry_host::capability::LogHub| {
        let lines = logs.of_bot("distbot").unwrap();
        lines
            .into_iter()
            .filter(|line| line.line.contains("other users may not enter"))
            .map(|line| line.line)
            .collect::<Vec<_>>()
    };
    let said = warnings(logs);
    let home = world.files.path().display();
    assert_eq!(said.len(), 1, "once, however often it publishes: {said:?}");
    assert!(said[0].contains(&format!("chmod o+x {home}")), "{said:?}");
    let checked = repo(&world, &["check", "--json"]);
    let err = String::from_utf8(checked.stderr).unwrap();
    assert!(checked.status.success(), "{err}");
    assert_eq!(checked.stdout, b"[]\n");
    assert!(
        err.contains(&format!("other users may not enter {home} (mode 0700)")),
        "{err}"
    );
    chmod(0o755);
    let checked = repo(&world, &["check"]);
    assert_eq!(String::from_utf8(checked.stderr).unwrap(), "no problems\n");
}
