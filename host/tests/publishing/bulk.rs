//! Commits of very many packages.

use serde_json::Value;

use crate::apt::Apt;
use crate::package::Deb;
use crate::packages;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_too_large_for_an_event_is_announced_all_the_same() {
    const COUNT: usize = 1200;
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let built = tempfile::tempdir().unwrap();
    let artifacts = world.store(&packages::build(built.path(), 0, COUNT)).await;
    let dists = distbot.publish("main", &artifacts).await;
    let [dist] = dists.as_slice() else { panic!("{dists:?}") };
    for (list, omitted) in [("packages", "omittedPackages"), ("artifacts", "omittedArtifacts")] {
        let named = dist[list].as_array().map_or(0, Vec::len);
        let omitted = dist[omitted].as_u64().unwrap_or_default() as usize;
        assert_eq!(named + omitted, COUNT, "{list}");
        assert!(named > 100, "{named} {list}");
    }
    assert_ne!(dist["omittedArtifacts"], Value::Null);
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows().len(), COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_index_has_new_packages_at_its_end_and_apt_finds_them() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    // Few packages with much to say.
    let text = format!(" {}\n", "x".repeat(1000)).repeat(150);
    let wordy = |name: &str, version: &str| Deb::new(name, version, "amd64").fields(&format!("X-Text: text\n{text}"));
    let names: Vec<_> = (0..60).map(|number| format!("p{number:02}")).collect();
    let many: Vec<_> = names.iter().map(|name| wordy(name, "1")).collect();
    distbot.publish("main", &world.build(&many).await).await;
    let packages = || {
        let index = world.index("dists/stable/main/binary-amd64/Packages");
        let fields = index.lines().filter_map(|line| line.strip_prefix("Package: "));
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(packages(), names);

    distbot
        .publish(
            "main",
            &world
                .build(&[Deb::new("aa", "1", "amd64"), Deb::new("p30", "2", "amd64")])
                .await,
        )
        .await;
    let mut expected = names.clone();
    expected.extend(["aa".to_owned(), "p30".to_owned()]);
    assert_eq!(packages(), expected);
    for other in [Deb::new("aa", "1", "amd64"), Deb::new("p30", "1", "amd64")] {
        let failure = distbot
            .refuse("main", &world.build(&[other.content("other")]).await)
            .await;
        assert_eq!(failure["phase"], "conflict", "{failure}");
    }
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    let mut known: Vec<_> = names.iter().map(|name| format!("{name}=1")).collect();
    known.extend(["aa=1".to_owned(), "p30=2".to_owned()]);
    known.sort();
    assert_eq!(apt.knows(), known);
    assert_eq!(apt.content("p30"), "p30 2\n");

    // More than an eighth of the whole: all are where they belong.
    let more: Vec<_> = (0..9).map(|number| wordy(&format!("q{number}"), "1")).collect();
    distbot.publish("main", &world.build(&more).await).await;
    let sorted = packages();
    assert_eq!(sorted.len(), 71);
    assert!(sorted.is_sorted());
    apt.update();
    assert_eq!(apt.knows().len(), 71);
}
