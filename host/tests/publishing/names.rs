//! Who may provide a package: repository, source package, binary package; and what an operator says to that.

use std::path::PathBuf;
use std::process::Command;

use foundry_host::capability::Artifact;
use serde_json::{Value, json};

use crate::builders::{FULL, Source};
use crate::operator::{done, refused};
use crate::package::{Deb, run};
use crate::support::eventually;
use crate::world::{Distbot, World, sign_data, stated};

const EVIL: &str = "https://example.org/evil.git";

fn evil() -> Value {
    json!({ "repository": EVIL, "source": "evil", "ref": "e".repeat(40) })
}

/// It is refused with these words, and nothing of it is published.
async fn is_refused(world: &World, distbot: &Distbot, artifacts: &[Artifact], words: &str) {
    let before = world.everything();
    let why = distbot.reject_about(&evil(), "main", artifacts).await;
    assert!(why.contains(words), "{why}");
    assert!(world.everything() == before);
}

fn allow(world: &World) -> String {
    format!("foundry-host repo allow {}", world.repository().display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_repository_cannot_publish_another_sources_binary() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let hello = [
        Deb::new("hello", "1", "amd64"),
        Deb::new("libhello1", "1", "amd64").fields("Source: hello\n"),
    ];
    distbot.publish("main", &world.build(&hello).await).await;

    let evil = Deb::new("evil", "99", "amd64");
    let hijacked = |name: &str| Deb::new(name, "99", "amd64").fields("Source: evil\n");
    let expected = format!(
        "cannot publish evil 1.0-1: the binary package libhello1 is provided by the source hello, and not by the source evil \
         (to allow it: `{} --binary libhello1 --from-source evil`); then requeue the dead letter",
        allow(&world)
    );
    let build = world.build(&[evil.clone(), hijacked("libhello1")]).await;
    is_refused(&world, &distbot, &build, &expected).await;
    // Neither as its debug symbols, which bring programs just as well.
    let build = world.build(&[evil, hijacked("libhello1-dbgsym")]).await;
    is_refused(&world, &distbot, &build, "the binary package libhello1 is provided").await;
    // Nothing of it was published, so that its own name is still free.
    assert_eq!(names(&world, "evil"), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_repository_cannot_publish_another_repositorys_source() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let source = Source::new('a', "hello");
    let built = source.build(&world, "amd64", 1000, FULL).await;
    distbot.publish_about(&built.about, "main", &built.artifacts).await;

    let expected = format!(
        "the source package clock is provided by https://example.org/hello.git, and not by {EVIL} (to allow it: \
         `{} --source clock --from {EVIL}`)",
        allow(&world)
    );
    let binary = world
        .build(&[Deb::new("clock-extra", "2", "amd64").fields("Source: clock\n")])
        .await;
    is_refused(&world, &distbot, &binary, &expected).await;
    // Also with a source package alone, and in another suite of the archive.
    let other = world.distbot(&[("codename", &["unstable"])]).await;
    other.refresh().await;
    let sources: Vec<_> = built
        .artifacts
        .iter()
        .filter(|artifact| !artifact.name.ends_with(".deb"))
        .cloned()
        .collect();
    is_refused(&world, &other, &sources, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_essential_package_is_refused_until_it_is_allowed() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    for field in ["Essential", "Protected", "Important"] {
        let name = format!("sudo-{}", field.to_lowercase());
        let sudo = Deb::new(&name, "99", "amd64").fields(&format!("{field}: yes\nPriority: required\n"));
        let evil_one = Deb::new(&format!("evil-{}", field.to_lowercase()), "1", "amd64");
        let build = world.build(&[sudo, evil_one]).await;
        let expected = format!(
            "the binary package {name} has {field}: yes, and clients install such packages without being asked (to allow it: \
             `{} --essential {name}`)",
            allow(&world)
        );
        is_refused(&world, &distbot, &build, &expected).await;
        done(&world, &["allow", "--essential", &name]);
        distbot.publish_about(&evil(), "main", &build).await;
    }
    done(&world, &["allow", "--remove", "--essential", "sudo-protected"]);
    let next = Deb::new("sudo-protected", "100", "amd64").fields("Protected: yes\n");
    is_refused(&world, &distbot, &world.build(&[next]).await, "has Protected: yes").await;
    // Priority alone is no concern, and a field that says no says nothing.
    let plain = Deb::new("plain", "1", "amd64").fields("Essential: no\nPriority: required\nBuild-Essential: yes\n");
    distbot
        .publish_about(&evil(), "main", &world.build(&[plain]).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_archive_held_before_is_its_memory() {
    let world = World::new().await;
    let distbot = world.distbot(&[("codename", &["testing"])]).await;
    let base = Deb::new("base", "1", "amd64").fields("Source: hello\nEssential: yes\n");
    distbot.refresh().await;
    done(&world, &["allow", "--essential", "base"]);
    let hello = world.build(&[base, Deb::new("hello", "1", "amd64")]).await;
    distbot.publish("main", &hello).await;
    // An earlier release, or another program, leaves no records.
    std::fs::remove_dir_all(world.repository().join(".foundry/names")).unwrap();

    let hijacked = Deb::new("hello", "99", "amd64").fields("Source: evil\n");
    let stable = world.distbot(&[("codename", &["stable"])]).await;
    stable.refresh().await;
    let words = "the binary package hello is provided by the source hello, and not by the source evil";
    is_refused(
        &world,
        &stable,
        &world.build(std::slice::from_ref(&hijacked)).await,
        words,
    )
    .await;
    // The command keeps what the archive holds, beside what it allows.
    done(&world, &["allow", "--binary", "hello", "--from-source", "world"]);
    let words = "the binary package hello is provided by the source hello, world, and not by the source evil";
    is_refused(&world, &stable, &world.build(&[hijacked]).await, words).await;
    // What was essential stays so; and the source is its that publishes it next.
    let base = Deb::new("base", "2", "amd64").fields("Source: hello\nEssential: yes\n");
    distbot
        .publish("main", &world.build(&[base, Deb::new("hello", "2", "amd64")]).await)
        .await;
    let words = "the source package hello is provided by https://example.org/hello.git";
    is_refused(
        &world,
        &distbot,
        &world.build(&[Deb::new("hello", "3", "amd64")]).await,
        words,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_of_names_is_no_reason_to_let_anybody_in() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    std::fs::write(world.repository().join(".foundry/names/h.json"), "{\"format\":1,\"sou").unwrap();
    // It may be brought back, and the commit waits for that.
    let hijacked = world.build(&[Deb::new("hello", "99", "amd64")]).await;
    let why = distbot.postpone_about(&evil(), "main", &hijacked).await;
    assert!(why.starts_with("cannot read .foundry/names/h.json"), "{why}");
    let (code, said) = refused(&world, &["allow", "--essential", "hello"]);
    assert!(code != 0 && said.contains(".foundry/names/h.json"), "{said}");
}

/// What may happen to a suite.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// No copy of its index can be unpacked.
    Garbage,
    /// All copies of its index are cut off where that shows in none of them.
    Emptied,
    /// No copy of its index is left.
    Lost,
    /// Nothing is left that lists its indices.
    Unlisted,
    /// Its own record can't be read.
    Unrecorded,
}

impl Damage {
    fn strike(self, world: &World) {
        let repository = world.repository();
        let index = repository.join("dists/testing/main/binary-amd64");
        let copies = || {
            let by_hash = std::fs::read_dir(index.join("by-hash/SHA256")).unwrap();
            let by_hash: Vec<_> = by_hash.map(|file| file.unwrap().path()).collect();
            [index.join("Packages.gz"), index.join("Packages.zst")]
                .into_iter()
                .chain(by_hash)
        };
        match self {
            Self::Garbage => copies().for_each(|copy| std::fs::write(copy, "garbage").unwrap()),
            Self::Lost => copies().for_each(|copy| std::fs::remove_file(copy).unwrap()),
            Self::Emptied => {
                copies().for_each(|copy| std::fs::remove_file(copy).unwrap());
                let empty = run(Command::new("sh").args(["-c", "gzip -nc </dev/null | base64 -w0"]));
                let file = index.join("Packages.gz");
                run(Command::new("sh")
                    .args(["-c", "printf %s \"$0\" | base64 -d >\"$1\"", &empty])
                    .arg(file));
            }
            Self::Unlisted => {
                for file in ["InRelease", "Release"] {
                    std::fs::remove_file(repository.join("dists/testing").join(file)).unwrap();
                }
            }
            Self::Unrecorded => std::fs::write(repository.join(".foundry/suites/testing.json"), "{").unwrap(),
        }
    }
}

/// What a suite consists of, to be put back.
struct Backup(tempfile::TempDir, PathBuf);

impl Backup {
    const PARTS: [&str; 2] = ["dists/testing", ".foundry/suites/testing.json"];

    fn of(world: &World) -> Self {
        let backup = Self(tempfile::tempdir().unwrap(), world.repository());
        for (number, part) in Self::PARTS.iter().enumerate() {
            run(Command::new("cp")
                .arg("-a")
                .arg(backup.1.join(part))
                .arg(backup.copy(number)));
        }
        backup
    }

    fn copy(&self, number: usize) -> PathBuf {
        self.0.path().join(number.to_string())
    }

    fn restore(&self) {
        for (number, part) in Self::PARTS.iter().enumerate() {
            let part = self.1.join(part);
            run(Command::new("rm").arg("-r").arg(&part));
            run(Command::new("cp").arg("-a").arg(self.copy(number)).arg(part));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_suite_frees_no_names_and_loses_no_commit() {
    let world = World::new().await;
    let testing = world.distbot(&[("codename", &["testing"])]).await;
    testing
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    // As an earlier release, or another program, leaves it.
    std::fs::remove_dir_all(world.repository().join(".foundry/names")).unwrap();
    let unstable = world.distbot(&[("codename", &["unstable"])]).await;
    let own = async |version: usize| {
        let own = world.build(&[Deb::new("evil", &version.to_string(), "amd64")]).await;
        unstable.publish_about(&evil(), "main", &own).await;
    };
    own(0).await;
    let hijacked = Deb::new("hello", "99", "amd64").fields("Source: evil\n");
    let hijacked = world.build(&[hijacked]).await;
    let backup = Backup::of(&world);
    let directory = world.repository().display().to_string();
    let damages = [
        Damage::Garbage,
        Damage::Emptied,
        Damage::Lost,
        Damage::Unlisted,
        Damage::Unrecorded,
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        backup.restore();
        damage.strike(&world);
        let before = world.everything();
        let why = unstable.postpone_about(&evil(), "main", &hijacked).await;
        let words = "nobody knows who provides hello, of which there is no record: the suite testing can't be read: ";
        assert!(why.starts_with(words), "{damage:?}: {why}");
        for command in [
            format!("foundry-host repo repair {directory} testing"),
            format!("foundry-host repo check {directory}"),
            format!("foundry-host repo allow {directory} --source evil --from "),
            " --binary hello --from-source evil`".to_owned(),
        ] {
            assert!(why.contains(&command), "{damage:?}: {why}");
        }
        assert!(world.everything() == before, "{damage:?}");
        // Names on record are as they were.
        own(number + 1).await;
        let (code, said) = refused(&world, &["allow", "--essential", "hello"]);
        assert!(code != 0 && said.contains("testing"), "{damage:?}: {said}");
    }
    let words = "the binary package hello is provided by the source hello, and not by the source evil";
    backup.restore();
    is_refused(&world, &unstable, &hijacked, words).await;
    // An operator can say whose it is while the suite is damaged, which counts from then on.
    damages[0].strike(&world);
    done(&world, &["allow", "--binary", "hello", "--from-source", "hello"]);
    is_refused(&world, &unstable, &hijacked, words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_kept_by_its_record_when_its_packages_are_in_a_snapshot_alone() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let hello = [
        Deb::new("hello", "1", "amd64"),
        Deb::new("hello-udeb", "1", "amd64")
            .fields("Source: hello (1:1.0-1)\n")
            .installer(),
    ];
    distbot.publish("main", &world.build(&hello).await).await;
    done(&world, &["snapshot", "stable", "before"]);
    done(&world, &["remove", "stable", "hello"]);
    for name in ["hello", "hello-udeb", "hello-udeb-dbgsym"] {
        let hijacked = Deb::new(name, "99", "amd64").fields("Source: evil\n");
        let words = format!(
            "the binary package {} is provided by the source hello",
            name.trim_end_matches("-dbgsym")
        );
        is_refused(&world, &distbot, &world.build(&[hijacked]).await, &words).await;
    }
    done(&world, &["rollback", "stable", "before"]);
    let next = Deb::new("hello", "1:0.1", "amd64");
    distbot.publish("main", &world.build(&[next]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_says_and_takes_back_who_provides_what() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let ours = json!([
        { "kind": "source", "name": "hello", "from": "https://example.org/hello.git" },
        { "kind": "binary", "name": "hello", "from": "hello" },
    ]);
    assert_eq!(names(&world, "hello"), ours);
    let theirs = ["--source", "hello", "--from", EVIL];
    let change = json!([{ "kind": "source", "name": "hello", "from": EVIL }]);
    let allow = |more: &[&str]| done(&world, &[&["allow"], more, &theirs].concat());
    assert_eq!(allow(&[]), change);
    assert_eq!(allow(&[]), json!([]), "it is so already");
    assert_eq!(names(&world, "hello").as_array().unwrap().len(), 3);
    distbot
        .publish_about(&evil(), "main", &world.build(&[Deb::new("hello", "2", "amd64")]).await)
        .await;
    assert_eq!(allow(&["--remove"]), change);
    assert_eq!(names(&world, "hello"), ours);
    is_refused(
        &world,
        &distbot,
        &world.build(&[Deb::new("hello", "3", "amd64")]).await,
        EVIL,
    )
    .await;
    let (code, said) = refused(&world, &["allow", "--remove"]);
    assert!(code == 2 && said.contains("say what to remove"), "{said}");
    let (code, said) = refused(&world, &["allow", "--essential", "../x"]);
    assert!(code == 2 && said.contains("not a package's name"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_name_is_published_after_a_requeue() {
    let world = World::new().await;
    let host = &world.host;
    host.host.load(world.spec()).await.unwrap();
    let index = "dists/stable/main/binary-amd64/Packages";
    let publish = async |id: &str, about: Value, version: &str| {
        let mut data = sign_data("main", &world.build(&[Deb::new("hello", version, "amd64")]).await);
        data.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
        let data = stated(host.directory.path(), data);
        host.publish("signs", host.signed("signs", id, "foundry.sign.v1", data))
            .await;
    };
    let has = async |version: &str| {
        eventually("it is published", async || {
            let there = world.repository().join(format!("{index}.gz")).exists();
            (there && world.index(index).contains(&format!("\nVersion: {version}\n"))).then_some(())
        })
        .await;
    };
    publish("s1", json!({}), "1").await;
    has("1").await;
    publish("s2", evil(), "2").await;
    let letter = eventually("a dead letter", async || host.dead_letters().await.pop()).await;
    assert!(
        letter.reason.contains("the source package hello is provided by"),
        "{}",
        letter.reason
    );
    let failure = eventually("a failure event", async || {
        let events = host.events().await.into_iter();
        events
            .into_iter()
            .find(|event| event.event_type == "foundry.failure.v1")
    })
    .await;
    assert_eq!(failure.data["repository"], EVIL);
    assert_eq!(failure.data["reason"], letter.reason);

    // As the letter says.
    let (_, command) = letter.reason.split_once('`').unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let arguments = command.strip_prefix("foundry-host ").unwrap().split(' ');
    run(Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .env("FOUNDRY_STATE", host.directory.path())
        .args(arguments));
    assert!(host.host.ledger().requeue_dead_letter(letter.seq).await.unwrap());
    has("2").await;
    eventually("it is no dead letter any more", async || {
        host.dead_letters().await.is_empty().then_some(())
    })
    .await;
}

/// What is on record of a name.
fn names(world: &World, name: &str) -> Value {
    let listed = done(world, &["allow", "--list"]);
    let of = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|listed| listed["name"] == name);
    Value::Array(of.cloned().collect())
}
