//! Who may provide a package: repository, source package, binary package; and what an operator says to that.

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
    let failure = distbot
        .refuse_about(&evil(), "main", &world.build(&[Deb::new("hello", "99", "amd64")]).await)
        .await;
    assert_eq!(failure["phase"], "repository");
    assert!(
        failure["reason"]
            .as_str()
            .unwrap()
            .starts_with("cannot read .foundry/names/h.json"),
        "{failure}"
    );
    let (code, said) = refused(&world, &["allow", "--essential", "hello"]);
    assert!(code != 0 && said.contains(".foundry/names/h.json"), "{said}");
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
