use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::Duration;
use time::format_description::well_known::Rfc3339;

use super::super::{MAX_EVENT, Origin, OutgoingEvent, Topics};
use super::*;
use crate::keys::{Binding, Encoding, KeyStore, NewKey, PassphraseSource, Role, Signer, Trust};

const MAX_AGE: Duration = Duration::HOUR;

/// A host that knows a watcher's key and a builder's.
struct World {
    _directory: tempfile::TempDir,
    verifier: Verifier,
    own: Arc<Signer>,
    watcher: Arc<Signer>,
    builder: Arc<Signer>,
}

fn key(store: &KeyStore) -> Arc<Signer> {
    let key = store.generate(Role::Messages, &NewKey::new("messages")).unwrap();
    store
        .signer(&key.fingerprint.to_string(), Role::Messages, &PassphraseSource::none())
        .unwrap()
}

impl World {
    fn new() -> Self {
        Self::with_watcher("watch")
    }

    /// The watcher has these duties.
    fn with_watcher(duties: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = |name: &str| KeyStore::open(directory.path().join(name)).unwrap();
        let ours = store("ours");
        let own = key(&ours);
        let other = |name: &str, may: &str| {
            let theirs = store(name);
            let signer = key(&theirs);
            let public = theirs.export_public(&signer.fingerprint().to_string(), Encoding::Armored);
            let binding = Binding::new(name, may.parse().unwrap()).unwrap();
            ours.import_bound(&public.unwrap(), &[Role::Messages], Some(&binding))
                .unwrap();
            signer
        };
        let (watcher, builder) = (other("head", duties), other("b1", "build"));
        let verifier = Verifier {
            host: "test".to_owned(),
            own_key: own.fingerprint(),
            trust: Arc::new(Trust::new(ours, Role::Messages, None).unwrap()),
            topics: Topics::new("foundry"),
            max_age: MAX_AGE.unsigned_abs(),
            announced_on: vec![COMMITS.to_owned()],
            upgraded: crate::event::Upgraded {
                topics: OffsetDateTime::UNIX_EPOCH,
                origins: OffsetDateTime::UNIX_EPOCH,
                announcements: OffsetDateTime::UNIX_EPOCH,
            },
        };
        Self {
            _directory: directory,
            verifier,
            own,
            watcher,
            builder,
        }
    }

    fn announced(&self, build: &Event) -> Result<Event, Unannounced> {
        self.announced_on(&[COMMITS], build)
    }

    fn announced_on(&self, topics: &[&str], build: &Event) -> Result<Event, Unannounced> {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.verifier.announced(build, &topics, OffsetDateTime::now_utc())
    }

    fn verified(&self, payload: &[u8], topic: &str) -> Result<Event, Refusal> {
        self.verifier.verify(payload, topic, OffsetDateTime::now_utc())
    }

    /// The announcement that head's watcher makes.
    fn announcement(&self) -> Vec<u8> {
        commit().sign(&self.watcher).unwrap()
    }
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn event(source: &str, event_type: &str, topic: &str, data: Value) -> Event {
    let origin = Origin::Timer {
        bot: "tester".to_owned(),
        key: "e1".to_owned(),
    };
    let outgoing = OutgoingEvent {
        id: origin.id(&[event_type, topic]),
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        run: "r1".to_owned(),
        cause: None,
        origin,
        data: object(data),
    };
    Event::of(outgoing, source, &Topics::new("foundry"))
}

fn commit() -> Event {
    let data = json!({ "repository": "/srv/hello.git", "branch": "main", "ref": "a".repeat(40) });
    event("head/watch", COMMIT, "commits", data)
}

/// A build that carries an announcement.
fn build(announcement: &[u8]) -> Event {
    let data = json!({
        "repository": "/srv/hello.git", "branch": "main", "ref": "a".repeat(40), "source": "hello", "version": "1.0",
        "architecture": "amd64", "artifacts": [],
    });
    let announcement = std::str::from_utf8(announcement).unwrap();
    event("b1/build", "foundry.build.v1", "builds", data).carrying(Some(announcement))
}

fn changed(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

fn made(event: Event, ago: Duration) -> Event {
    let time = (OffsetDateTime::now_utc() - ago).format(&Rfc3339).unwrap();
    changed(event, |event| event.time = time)
}

#[test]
fn what_comes_of_an_announcement_carries_it_and_so_does_what_comes_of_that() {
    let world = World::new();
    let announcement = world.announcement();
    let text = String::from_utf8(announcement.clone()).unwrap();
    let received = world.verified(&announcement, "foundry/commits").unwrap();
    let carried = received.passes_on(&announcement);
    assert_eq!(carried.as_deref(), Some(text.as_str()));
    let payload = build(&announcement).sign(&world.builder).unwrap();
    let received = world.verified(&payload, "foundry/builds").unwrap();
    assert_eq!(received.passes_on(&payload), carried);
    assert_eq!(world.announced(&received).unwrap().source, "head/watch");
    let (check, commit) = (event("h/b", "test.x.v1", "x", json!({})), commit());
    assert_eq!(check.passes_on(b"{}"), None);
    assert_eq!(check.carrying(Some(&text)).announcement, Some(text.clone()));
    assert_eq!(
        commit.carrying(Some(&text)).announcement,
        None,
        "an announcement carries none"
    );
}

#[test]
fn a_build_is_of_the_commit_that_its_announcement_names_or_refused_for_good() {
    let world = World::new();
    let build = build(&world.announcement());
    world.announced(&build).unwrap();
    let other = |member: &'static str| {
        changed(build.clone(), |build| {
            build.data.insert(member.to_owned(), json!("other"));
        })
    };
    let of_another_run = changed(build.clone(), |build| build.run = "r2".to_owned());
    for (what, build) in [
        ("run", of_another_run),
        ("repository", other("repository")),
        ("branch", other("branch")),
        ("commit", other("ref")),
    ] {
        let why = world.announced(&build).unwrap_err();
        assert!(
            matches!(&why, Unannounced::Differs { what: found, .. } if *found == what),
            "{what}: {why}"
        );
        assert_eq!(Refusal::Unannounced(why).cure(OffsetDateTime::now_utc()), None);
    }
    let none = build.clone().carrying(None);
    assert!(matches!(world.announced(&none), Err(Unannounced::Missing { host }) if host == "b1"));
    let another = event(
        "b1/build",
        "foundry.failure.v1",
        "failures",
        json!({ "stage": "build", "reason": "r" }),
    );
    let another = another.sign(&world.builder).unwrap();
    let of_another_type = build.carrying(Some(std::str::from_utf8(&another).unwrap()));
    assert!(matches!(
        world.announced(&of_another_type),
        Err(Unannounced::AnotherType(_))
    ));
}

#[test]
fn an_announcement_is_refused_for_what_it_would_be_refused_for_by_itself() {
    let world = World::new();
    let stranger = tempfile::tempdir().unwrap();
    let stranger = key(&KeyStore::open(stranger.path().join("keys")).unwrap());
    let of_the_builder = changed(commit(), |commit| commit.source = "b1/watch".to_owned());
    let ahead = made(commit(), -Duration::HOUR);
    let odd = changed(commit(), |commit| {
        commit.data.insert("ref".to_owned(), json!("HEAD"));
    });
    let elsewhere = changed(commit(), |commit| commit.topic = Some("foundry/commits-2".to_owned()));
    let unnamed = changed(commit(), |commit| commit.topic = None);
    for (rule, payload, is_curable) in [
        ("unknown-key", commit().sign(&stranger), true),
        ("duty", of_the_builder.sign(&world.builder), true),
        ("other-host", commit().sign(&world.builder), true),
        ("clock", ahead.sign(&world.watcher), true),
        ("data", odd.sign(&world.watcher), false),
        ("duty", elsewhere.sign(&world.watcher), true),
        ("no-topic", unnamed.sign(&world.watcher), false),
    ] {
        let why = world.announced(&build(&payload.unwrap())).unwrap_err();
        let Unannounced::Refused(refusal) = &why else {
            panic!("{rule}: {why}");
        };
        assert_eq!(refusal.rule(), Some(rule));
        let cure = Refusal::Unannounced(why).cure(OffsetDateTime::now_utc());
        assert_eq!(cure.is_some(), is_curable, "{rule}");
    }
    let forged = String::from_utf8(world.announcement()).unwrap().replace("main", "prod");
    for broken in [forged.as_str(), "", "{}", "[]", "nonsense"] {
        let why = world.announced(&build(broken.as_bytes())).unwrap_err();
        assert!(matches!(why, Unannounced::Refused(_)), "{broken:?}: {why}");
    }
}

#[test]
fn what_a_host_announces_where_it_may_and_where_nobody_waits_for_it_announces_nothing() {
    let world = World::with_watcher("watch,foundry.commit.v1@commits-2,foundry.*@tests/#");
    let on = |topic: &str| {
        let commit = event("head/watch", COMMIT, topic, commit().data.into());
        build(&commit.sign(&world.watcher).unwrap())
    };
    world.announced(&on("commits")).unwrap();
    for topic in ["commits-2", "tests/commits", "tests"] {
        let why = world.announced(&on(topic)).unwrap_err();
        assert!(
            matches!(&why, Unannounced::Elsewhere { topic: found, .. } if *found == topic),
            "{topic}: {why}"
        );
        assert!(why.to_string().contains("--announced-on"), "{why}");
        assert_eq!(Refusal::Unannounced(why).cure(OffsetDateTime::now_utc()), None);
        // Where the operator says so, it is one.
        world.announced_on(&["commits", topic], &on(topic)).unwrap();
    }
    assert!(world.announced_on(&["commits-2"], &on("commits")).is_err());
    let own = |topic: &str| {
        let commit = event("test/watch", COMMIT, topic, commit().data.into());
        build(&commit.sign(&world.own).unwrap())
    };
    world.announced(&own("commits")).unwrap();
    assert!(world.announced(&own("commits-2")).is_err(), "also of this host itself");
}

#[test]
fn an_announcement_may_have_become_too_old_since_the_build_was_made_and_not_before() {
    let world = World::new();
    let announcement = made(commit(), MAX_AGE * 3 / 2).sign(&world.watcher).unwrap();
    let waited = made(build(&announcement), MAX_AGE * 3 / 4);
    world.announced(&waited).unwrap();
    for replayed in [build(&announcement), made(build(&announcement), -Duration::MINUTE)] {
        let why = world.announced(&replayed).unwrap_err();
        assert!(
            matches!(&why, Unannounced::Refused(refusal) if matches!(**refusal, Refusal::Stale(_))),
            "{why}"
        );
        assert_eq!(Refusal::Unannounced(why).cure(OffsetDateTime::now_utc()), None);
    }
}

#[test]
fn the_host_believes_its_own_announcements() {
    let world = World::new();
    let own = changed(commit(), |commit| commit.source = "test/watch".to_owned());
    let own = own.sign(&world.own).unwrap();
    assert_eq!(world.announced(&build(&own)).unwrap().source, "test/watch");
}

#[test]
fn the_largest_event_fits_with_the_largest_announcement() {
    let world = World::new();
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let filled = |length: usize| {
        changed(commit(), |commit| {
            commit.time = now.format(&Rfc3339).unwrap();
            // What takes the most where it is carried: a quotation mark has two bytes in the announcement, and four there.
            commit.data.insert("more".to_owned(), json!("\"".repeat(length)));
        })
    };
    let around = filled(0).sign(&world.watcher).unwrap().len();
    // Signatures differ by some bytes.
    let room = (MAX_ANNOUNCEMENT - around) / 2 - 8;
    let largest = filled(room).sign(&world.watcher).unwrap();
    assert!(MAX_ANNOUNCEMENT - largest.len() < 32, "{}", largest.len());
    world.verified(&largest, "foundry/commits").unwrap();
    let larger = filled(room + 16).sign(&world.watcher).unwrap();
    assert!(matches!(
        world.verified(&larger, "foundry/commits"),
        Err(Refusal::LargeAnnouncement(_))
    ));

    let data = |build: &mut Event| {
        build.data.insert("more".to_owned(), json!("x".repeat(256 * 1024)));
        build.subject = Some("s".repeat(200));
    };
    let payload = changed(build(&largest), data).sign(&world.builder).unwrap();
    assert!(payload.len() < MAX_EVENT, "{}", payload.len());
    let received = world.verified(&payload, "foundry/builds").unwrap();
    world.announced(&received).unwrap();
    let payload = build(&larger).sign(&world.builder).unwrap();
    assert!(matches!(
        world.verified(&payload, "foundry/builds"),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn an_announcement_that_carries_one_is_no_event() {
    let world = World::new();
    let nested = changed(commit(), |commit| commit.announcement = Some("{}".to_owned()));
    let nested = nested.sign(&world.watcher).unwrap();
    assert!(matches!(
        world.verified(&nested, "foundry/commits"),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn a_topic_counts_that_a_filter_means() {
    let on = ["commits", "commits-2/#", "+/tests"].map(ToOwned::to_owned);
    for topic in ["commits", "commits-2", "commits-2/a/b", "nightly/tests"] {
        assert!(counts(topic, &on).is_ok(), "{topic}");
    }
    for topic in ["commits/a", "commits-3", "nightly/tests/a"] {
        assert!(
            matches!(counts(topic, &on), Err(Unannounced::Elsewhere { .. })),
            "{topic}"
        );
    }
}
