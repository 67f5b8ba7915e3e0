//! Whose packages are published: those that a packages key states to have signed, and no others.

use foundry_host::keys::{KeyInfo, KeyStore, NewKey, PassphraseSource, Role, Signer};
use foundry_host::runtime::Verdict;
use foundry_host::supervisor::{BotSource, BotSpec};
use serde_json::{Value, json};

use crate::package::Deb;
use crate::ring::{self, Ring};
use crate::support::{eventually, id_of};
use crate::world::{Distbot, World, message_about, sign_data, sign_message, signed_by, stated, statement};

fn keys(world: &World) -> KeyStore {
    KeyStore::open(world.host.directory.path().join("keys")).unwrap()
}

/// A new key in a store.
fn signer(keys: &KeyStore, role: Role) -> std::sync::Arc<Signer> {
    let key = keys
        .generate(role, &NewKey::new("Somebody <somebody@example.org>"))
        .unwrap();
    let key = key.fingerprint.to_string();
    keys.signer(&key, role, &PassphraseSource::none()).unwrap()
}

/// The data of an event that this key states.
fn stated_by(signer: &Signer, mut data: Value) -> Value {
    data["key"] = json!(signer.fingerprint().to_string());
    data["statement"] = json!(signed_by(signer, &statement(&data)));
    data
}

/// What distbot says of an event with this data.
async fn verdict(distbot: &Distbot, data: &Value) -> Result<usize, String> {
    let mut message = sign_message("main", &[]);
    message.data = data.to_string();
    match distbot.handle_as_it_is(&message).await {
        Verdict::Done(effects) => {
            assert!(
                effects.events.iter().all(|event| event.event_type == "foundry.dist.v1"),
                "{effects:?}"
            );
            Ok(effects.events.len())
        }
        Verdict::Reject(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// It is refused with these words, and changes nothing.
async fn is_refused(world: &World, distbot: &Distbot, data: &Value, words: &str) {
    let before = world.everything();
    let why = verdict(distbot, data).await.unwrap_err();
    assert!(why.contains(words), "{why}");
    assert!(world.everything() == before);
}

async fn hello(world: &World) -> Value {
    sign_data("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
}

/// What is said of a statement whose key is none of the packages keys.
const BY_ANOTHER_KEY: &str = "its statement counts for nothing: the signature is by key";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_event_without_a_statement_is_refused() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let data = hello(&world).await;
    is_refused(&world, &distbot, &data, "the event has no statement of what was signed").await;
    // As long as an operator wants it, what an earlier release signed is published.
    let lenient = world.distbot(&[("allow-unstated", &["true"])]).await;
    lenient.configure().await.unwrap();
    let log = std::fs::read_to_string(world.host.directory.path().join("logs/bots/distbot.jsonl")).unwrap();
    assert!(log.contains("--allow-unstated: packages are published"), "{log}");
    assert_eq!(verdict(&lenient, &data).await, Ok(1));
    // A statement that is there has to hold all the same.
    let wrong = stated_by(&signer(&keys(&world), Role::Messages), data);
    is_refused(&world, &lenient, &wrong, "its statement counts for nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_by_another_key_is_refused() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let ours = keys(&world);
    for role in [Role::Messages, Role::Repository, Role::Commits] {
        let data = stated_by(&signer(&ours, role), hello(&world).await);
        is_refused(&world, &distbot, &data, BY_ANOTHER_KEY).await;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = KeyStore::open(elsewhere.path().join("keys")).unwrap();
    let theirs = signer(&elsewhere, Role::Packages);
    let data = stated_by(&theirs, hello(&world).await);
    is_refused(&world, &distbot, &data, BY_ANOTHER_KEY).await;

    // Its public part makes it one of this host's; unless others are named.
    let fingerprint = theirs.fingerprint().to_string();
    let public = elsewhere
        .export_public(&fingerprint, foundry_host::keys::Encoding::Armored)
        .unwrap();
    ours.import(&public, &[Role::Packages]).unwrap();
    let named = world.distbot(&[("packages-key", &[&world.key])]).await;
    named.configure().await.unwrap();
    is_refused(&world, &named, &data, BY_ANOTHER_KEY).await;
    assert_eq!(verdict(&distbot, &data).await, Ok(1));
    let named = world.distbot(&[("packages-key", &[&world.key, &fingerprint])]).await;
    assert_eq!(verdict(&named, &data).await, Ok(1));
    let missing = world.distbot(&[("packages-key", &["nobody@example.org"])]).await;
    let why = missing.configure().await.unwrap_err();
    assert!(
        why.starts_with("--packages-key: ") && why.contains("nobody@example.org"),
        "{why}"
    );
    // The event names the key as well, for people; it has to be that one.
    let mut other = data;
    other["key"] = json!("b".repeat(40));
    is_refused(&world, &distbot, &other, "the event names the key bbbb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_gnupg_ring_counts_once_a_signbot_is_to_sign_with_it() {
    let world = World::new().await;
    let home = world.host.directory.path().join("gnupg");
    let _ring = Ring::new(home.clone());
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let keys = keys(&world).with_gnupg_home(home);
    let signer = keys
        .signer(ring::NAME, Role::Packages, &PassphraseSource::none())
        .unwrap();
    let data = stated_by(&signer, hello(&world).await);
    is_refused(&world, &distbot, &data, BY_ANOTHER_KEY).await;
    // A bot of another kind may have the same right, and makes no packages key of it.
    let host = &world.host.host;
    let of = |stock: &str| BotSpec::new(BotSource::Stock(stock.to_owned())).option("gpg-key", ring::NAME);
    host.expect(&of("distbot"));
    is_refused(&world, &distbot, &data, BY_ANOTHER_KEY).await;
    host.expect(&of("signbot"));
    assert_eq!(verdict(&distbot, &data).await, Ok(1));
}

/// It is tried again later, and changes nothing. Returns why.
async fn is_postponed(world: &World, distbot: &Distbot, data: &Value) -> String {
    let before = world.everything();
    let mut message = sign_message("main", &[]);
    message.data = data.to_string();
    let why = match distbot.handle_as_it_is(&message).await {
        Verdict::Retry { why, .. } => why,
        other => panic!("{other:?}"),
    };
    assert!(world.everything() == before);
    why
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_cannot_be_read_for_a_moment_makes_no_statement_wrong() {
    let world = World::new().await;
    let home = world.host.directory.path().join("gnupg");
    let _ring = Ring::new(home.clone());
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let signer = keys(&world)
        .with_gnupg_home(home.clone())
        .signer(ring::NAME, Role::Packages, &PassphraseSource::none())
        .unwrap();
    let plain = hello(&world).await;
    let data = stated_by(&signer, plain.clone());
    let signbot = BotSpec::new(BotSource::Stock("signbot".to_owned())).option("gpg-key", ring::NAME);
    world.host.host.expect(&signbot);
    let named = world.distbot(&[("packages-key", &[ring::NAME])]).await;

    let keybox = home.join("pubring.kbx");
    let whole = std::fs::read(&keybox).unwrap();
    // In the midst of a change, damaged, and not there.
    for content in [Some(&whole[..whole.len() / 2]), Some(&b"garbage"[..]), None] {
        match content {
            Some(content) => std::fs::write(&keybox, content).unwrap(),
            None => std::fs::remove_file(&keybox).unwrap(),
        }
        for distbot in [&distbot, &named] {
            let why = is_postponed(&world, distbot, &data).await;
            assert!(why.starts_with("its statement can't be checked now: "), "{why}");
        }
    }
    let elsewhere = home.with_extension("elsewhere");
    std::fs::rename(&home, &elsewhere).unwrap();
    let why = is_postponed(&world, &distbot, &data).await;
    assert!(why.contains("there is no GnuPG ring"), "{why}");
    // What a key of the store signed needs no ring.
    assert_eq!(
        verdict(&distbot, &stated(world.host.directory.path(), plain)).await,
        Ok(1)
    );
    std::fs::rename(&elsewhere, &home).unwrap();
    std::fs::write(&keybox, whole).unwrap();
    assert_eq!(verdict(&distbot, &data).await, Ok(1));
    assert_eq!(verdict(&named, &data).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_for_a_moment_makes_no_statement_wrong() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let data = stated(world.host.directory.path(), hello(&world).await);
    let key = format!("keys/{}.asc", data["key"].as_str().unwrap());
    let file = world.host.directory.path().join(key);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let why = is_postponed(&world, &distbot, &data).await;
    assert!(
        why.contains("is damaged") && why.contains(file.to_str().unwrap()),
        "{why}"
    );
    std::fs::write(&file, whole).unwrap();
    assert_eq!(verdict(&distbot, &data).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_packages_key_signed_is_published_by_itself_once_its_key_is_imported() {
    let world = World::new().await;
    let host = &world.host;
    host.host.load(world.spec()).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = KeyStore::open(elsewhere.path().join("keys")).unwrap();
    let theirs = signer(&elsewhere, Role::Packages);
    let data = stated_by(&theirs, hello(&world).await);
    host.publish("signs", host.signed("signs", "s1", "foundry.sign.v1", data))
        .await;
    let letter = eventually("a dead letter", async || host.dead_letters().await.pop()).await;
    assert!(letter.reason.contains(BY_ANOTHER_KEY), "{}", letter.reason);
    let command = "foundry-host key import --role packages FILE";
    assert!(letter.reason.contains(command), "{}", letter.reason);
    let failure = eventually("a failure event", async || {
        let events = host.events().await.into_iter();
        events
            .into_iter()
            .find(|event| event.event_type == "foundry.failure.v1")
    })
    .await;
    assert_eq!(failure.data["reason"], letter.reason);

    let fingerprint = theirs.fingerprint().to_string();
    let public = elsewhere
        .export_public(&fingerprint, foundry_host::keys::Encoding::Armored)
        .unwrap();
    keys(&world).import(&public, &[Role::Packages]).unwrap();
    let index = "dists/stable/main/binary-amd64/Packages";
    eventually("it is published", async || {
        let there = world.repository().join(format!("{index}.gz")).exists();
        (there && world.index(index).contains("Package: hello\n")).then_some(())
    })
    .await;
    eventually("it is no dead letter any more", async || {
        host.dead_letters().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_other_files_is_refused() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.refresh().await;
    let good = stated(world.host.directory.path(), hello(&world).await);
    let more = world.build(&[Deb::new("sudo", "99", "amd64")]).await;
    let mut added = good.clone();
    added["artifacts"].as_array_mut().unwrap().push(json!(more[0]));
    is_refused(
        &world,
        &distbot,
        &added,
        "its statement does not fit: it is of other files",
    )
    .await;
    let mut replaced = good.clone();
    for field in ["sha256", "size"] {
        replaced["artifacts"][0][field] = json!(more[0])[field].clone();
    }
    is_refused(
        &world,
        &distbot,
        &replaced,
        "its statement does not fit: it is of other files",
    )
    .await;
    let mut fewer = good.clone();
    fewer["artifacts"] = json!([]);
    is_refused(
        &world,
        &distbot,
        &fewer,
        "its statement does not fit: it is of other files",
    )
    .await;
    for (field, value, name) in [
        ("repository", "https://example.org/evil.git", "Repository"),
        ("branch", "release", "Branch"),
        ("ref", "cccccccccccccccccccccccccccccccccccccccc", "Commit"),
        ("source", "sudo", "Source"),
        ("version", "99", "Version"),
        ("architecture", "arm64", "Architecture"),
    ] {
        let mut other = good.clone();
        other[field] = json!(value);
        is_refused(
            &world,
            &distbot,
            &other,
            &format!("its statement does not fit: it is of another {name}"),
        )
        .await;
    }
    // A text that somebody changed after it was signed.
    let mut changed = good.clone();
    let text = good["statement"]
        .as_str()
        .unwrap()
        .replace("Builder: builder-1", "Builder: builder-2");
    changed["statement"] = json!(text);
    is_refused(&world, &distbot, &changed, "does not fit the data").await;
    assert_eq!(verdict(&distbot, &good).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_builds_of_the_named_builders_are_published() {
    let world = World::new().await;
    let packages = world.build(&[Deb::new("hello", "1", "amd64")]).await;
    let other = world.distbot(&[("builder", &["builder-2"])]).await;
    let why = other.reject_about(&json!({}), "main", &packages).await;
    assert!(
        why.contains("the host builder-1 built it, and only those of builder-2 are published (add --builder builder-1"),
        "{why}"
    );
    let both = world.distbot(&[("builder", &["builder-2", "builder-1"])]).await;
    both.publish("main", &packages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_by_a_messages_key_alone_publishes_nothing() {
    let world = World::new().await;
    let host = &world.host;
    host.host.load(world.spec()).await.unwrap();
    let packages = world.build(&[Deb::new("openssh-server", "99:1", "amd64")]).await;
    let about = json!({ "source": "openssh", "version": "99:1" });
    let data: Value = serde_json::from_str(&message_about(&about, "main", &packages).data).unwrap();
    // The host's own key for messages, which any receiver believes.
    let is_messages = |key: &KeyInfo| key.roles.contains(&Role::Messages);
    let own = keys(&world).list().unwrap().into_iter().find(is_messages).unwrap();
    let own = own.fingerprint.to_string();
    let own = keys(&world)
        .signer(&own, Role::Messages, &PassphraseSource::none())
        .unwrap();
    for (id, data) in [("evil-1", data.clone()), ("evil-2", stated_by(&own, data))] {
        host.publish("signs", host.signed("signs", id, "foundry.sign.v1", data))
            .await;
        let told = id_of("signs", id, "foundry.sign.v1");
        let letter = eventually("a dead letter", async || {
            let letters = host.dead_letters().await.into_iter();
            letters.into_iter().find(|letter| letter.id.as_ref() == Some(&told))
        })
        .await;
        assert!(
            letter.reason.starts_with("cannot publish openssh 99:1: "),
            "{}",
            letter.reason
        );
        let run = format!("run-{id}");
        eventually("a failure event", async || {
            let events = host.events().await.into_iter();
            events
                .into_iter()
                .find(|event| event.run == run && event.event_type == "foundry.failure.v1")
        })
        .await;
    }
    assert!(
        !world.repository().join("pool").exists(),
        "{:?}",
        world.everything().keys()
    );
}
