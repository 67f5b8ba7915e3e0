//! What is published, where, and what is refused.

use foundry_host::runtime::Verdict;

use crate::apt::Apt;
use crate::package::Deb;
use crate::world::{World, sign_message};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_packages_twice_change_no_byte() {
    let world = World::new().await;
    let packages = world
        .build(&[Deb::new("hello", "1", "amd64"), Deb::new("docs", "1", "all")])
        .await;
    let distbot = world.distbot(&[]).await;
    let message = sign_message("main", &packages);
    let first = distbot.handle(&message).await;
    let before = world.everything();
    assert_eq!(
        distbot.handle(&message).await,
        first,
        "the same events, with the same ids"
    );
    // Another event with the same packages, another instance of distbot.
    let restarted = world.distbot(&[]).await;
    restarted.configure().await.unwrap();
    restarted.refresh().await;
    restarted.publish("main", &packages).await;
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_stand_side_by_side_and_apt_takes_the_newest() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    for version in ["1.10", "1.9", "1.10~rc1"] {
        distbot
            .publish("main", &world.build(&[Deb::new("hello", version, "amd64")]).await)
            .await;
    }
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    assert_eq!(apt.knows(), ["hello=1.10", "hello=1.10~rc1", "hello=1.9"]);
    assert_eq!(apt.content("hello"), "hello 1.10\n");
    assert_eq!(apt.content("hello=1.9"), "hello 1.9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_with_other_bytes_is_refused_and_nothing_of_its_commit_is_published() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let first = world.build(&[Deb::new("hello", "1", "amd64")]).await;
    distbot.publish("main", &first).await;
    let before = world.everything();
    let other = world
        .build(&[
            Deb::new("aaa", "1", "amd64"),
            Deb::new("hello", "1", "amd64").content("x"),
        ])
        .await;
    let failure = distbot.refuse("main", &other).await;
    assert_eq!(failure["phase"], "conflict");
    assert_eq!(
        failure["reason"],
        format!(
            "pool/main/h/hello/hello_1_amd64.deb is published already with other bytes: the published SHA-256 is {}, the new \
             one is {} (a version that was published never changes: commit a new version in debian/changelog, for instance \
             with `dch`, or have buildbot give each commit one of its own with --autobump BRANCH)",
            first[0].sha256, other[1].sha256
        )
    );
    assert!(world.everything() == before);
    // The same under another source package, where its file would have another path.
    let moved = Deb::new("hello", "1", "amd64").fields("Source: world\n");
    let failure = distbot.refuse("main", &world.build(&[moved]).await).await;
    assert_eq!(failure["phase"], "conflict");
    assert!(
        failure["reason"]
            .as_str()
            .unwrap()
            .starts_with("hello 1 (amd64) is published already"),
        "{failure}"
    );
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_for_machines_that_are_not_served_is_refused_with_its_commit() {
    let world = World::new().await;
    let distbot = world.distbot(&[("arch", &["amd64", "arm64"])]).await;
    distbot.refresh().await;
    let before = world.everything();
    let packages = world
        .build(&[Deb::new("hello", "1", "amd64"), Deb::new("hello", "1", "i386")])
        .await;
    let failure = distbot.refuse("main", &packages).await;
    assert_eq!(failure["stage"], "dist");
    assert_eq!(failure["phase"], "architecture");
    assert_eq!(
        failure["reason"],
        "hello_1_i386.deb is for i386, and the repository serves amd64, arm64 (add --arch i386 to serve it)"
    );
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_for_all_architectures_are_in_the_index_of_each() {
    let world = World::new().await;
    let distbot = world.distbot(&[("arch", &["amd64", "arm64"])]).await;
    distbot
        .publish(
            "main",
            &world
                .build(&[Deb::new("docs", "1", "all"), Deb::new("hello", "1", "arm64")])
                .await,
        )
        .await;
    let index = |architecture: &str| world.index(&format!("dists/stable/main/binary-{architecture}/Packages"));
    assert!(index("amd64").contains("Package: docs\n") && !index("amd64").contains("Package: hello\n"));
    assert!(index("arm64").contains("Package: docs\n") && index("arm64").contains("Package: hello\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_go_to_their_codenames_and_no_others() {
    let world = World::new().await;
    let distbot = world
        .distbot(&[(
            "codename",
            &["stable:bookworm", "release/*:bookworm", "main:sid", "main:trixie"],
        )])
        .await;
    distbot.refresh().await;
    for codename in ["bookworm", "sid", "trixie"] {
        Apt::local(&world.repository(), codename).update();
    }
    let package = |name: &str| Deb::new(name, "1", "amd64");
    distbot
        .publish("stable", &world.build(&[package("from-stable")]).await)
        .await;
    distbot
        .publish("release/1", &world.build(&[package("from-release")]).await)
        .await;
    let dists = distbot
        .publish("main", &world.build(&[package("from-main")]).await)
        .await;
    let codenames: Vec<_> = dists.iter().map(|dist| dist["distribution"].clone()).collect();
    assert_eq!(codenames, ["sid", "trixie"]);
    let knows = |codename: &str| {
        let apt = Apt::local(&world.repository(), codename);
        apt.update();
        apt.knows()
    };
    assert_eq!(knows("bookworm"), ["from-release=1", "from-stable=1"]);
    assert_eq!(knows("sid"), ["from-main=1"]);
    assert_eq!(knows("trixie"), ["from-main=1"]);

    let before = world.everything();
    let package = world.build(&[package("from-elsewhere")]).await;
    for branch in ["stable-2", "unstable", "my/release/1"] {
        assert_eq!(distbot.sign(branch, &package).await, [], "{branch}");
    }
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_the_package_it_is_named_for_is_refused() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let before = world.everything();
    let misnamed = Deb::new("hello", "1", "amd64").file("libc6_2.36_amd64.deb");
    let failure = distbot.refuse("main", &world.build(&[misnamed]).await).await;
    assert_eq!(failure["phase"], "packages");
    assert_eq!(
        failure["reason"],
        "libc6_2.36_amd64.deb: its control file asks for the name hello_1_amd64.deb"
    );
    let no_package = world.files.path().join("hello_1_amd64.deb");
    std::fs::write(&no_package, "<html>not found</html>").unwrap();
    let failure = distbot.refuse("main", &world.store(&[no_package]).await).await;
    assert_eq!(failure["reason"], "hello_1_amd64.deb: it is not an ar archive");
    let failure = distbot.refuse("main", &[]).await;
    assert_eq!(failure["reason"], "there is no package among the artifacts");
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_the_store_has_lost_is_a_failure_with_its_digest() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let mut packages = world.build(&[Deb::new("hello", "1", "amd64")]).await;
    packages[0].sha256 = "0".repeat(64);
    let failure = distbot.refuse("main", &packages).await;
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.contains("hello_1_amd64.deb") && reason.contains(&packages[0].sha256),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_work_are_refused_at_the_start() {
    let world = World::new().await;
    for (option, value) in [
        ("codename", "main:../../etc"),
        ("arch", "x/.."),
        ("name", "a\nSigned-By: b"),
        ("description", "a\n\nb"),
        ("gpg-key", "0123456789ABCDEF0123456789ABCDEF01234567"),
        ("output", "/etc"),
    ] {
        let refused = world.distbot(&[(option, &[value])]).await.configure().await;
        assert!(refused.is_err(), "--{option} {value:?}");
    }
    let refused = world
        .distbot(&[("output", &["/etc"])])
        .await
        .configure()
        .await
        .unwrap_err();
    assert!(
        refused.starts_with("/etc is not empty and holds no APT repository: it has "),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_messages_are_rejected() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let mut message = sign_message("main", &[]);
    message.event_type = "foundry.build.v1".to_owned();
    assert!(matches!(distbot.handle_as_it_is(&message).await, Verdict::Reject(_)));
    message.event_type = "foundry.sign.v1".to_owned();
    message.data = "{}".to_owned();
    assert!(matches!(distbot.handle_as_it_is(&message).await, Verdict::Reject(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_takes_from_a_suite_what_its_operator_wants_it_to_take() {
    for (automatic, priority) in [("yes", "500"), ("upgrades", "100"), ("no", "1")] {
        let world = World::new().await;
        let distbot = world.distbot(&[("automatic", &[automatic])]).await;
        distbot
            .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
            .await;
        let apt = Apt::local(&world.repository(), "stable");
        apt.update();
        let policy = apt.run("apt-cache", &["policy", "hello"]);
        let line = policy.lines().find(|line| line.contains("file:")).unwrap();
        assert_eq!(line.split_whitespace().next(), Some(priority), "{automatic}: {policy}");
    }
}
