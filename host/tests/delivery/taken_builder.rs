//! A builder that somebody else runs: he has its key and its account at the broker, and tries more than building.

use std::path::Path;

use foundry_broker::{Access, User, hash_password};
use foundry_host::bus::{BrokerAddress, Seal, Sighting};
use foundry_host::event::{Attributes, Event, Origin, Place};
use foundry_host::supervisor::{BrokerChoice, Host, HostConfig};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::support::{
    answer_to, changed, config, event, event_of, eventually, introduce_in, owner_of, publish, signer, spec,
};

const NAME: &str = "builder-1";

/// A head with its broker, at which the builder has an account, and the builder's key.
pub struct Farm {
    pub directory: tempfile::TempDir,
    pub head: Host,
    sightings: Receiver<Sighting>,
}

impl Farm {
    async fn start() -> Self {
        Self::start_in(&[]).await
    }

    /// The builder may work in these groups alone.
    pub async fn start_in(groups: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        introduce_in(groups, NAME, &directory.path().join(NAME), "build", directory.path());
        let password = Some(hash_password("secret").unwrap());
        let role = "builder".to_owned();
        let access = Access {
            users: [(NAME.to_owned(), User { password, role })].into(),
            ..Access::default()
        };
        let config = config(directory.path());
        let BrokerChoice::Embedded(broker) = config.broker else {
            panic!("the broker is another's");
        };
        let broker = BrokerChoice::Embedded(foundry_broker::Config { access, ..broker });
        let name = "head".to_owned();
        let head = Host::start(HostConfig { name, broker, ..config }).await.unwrap();
        let (sightings, mut state) = head.watch("#");
        let subscribed =
            |state: &foundry_host::bus::ConsumerState| *state == foundry_host::bus::ConsumerState::Subscribed;
        state.wait_for(subscribed).await.unwrap();
        Self {
            directory,
            head,
            sightings,
        }
    }

    /// With the builder's account.
    fn account(&self) -> BrokerAddress {
        BrokerAddress {
            login: Some((NAME.to_owned(), "secret".to_owned())),
            ..self.head.broker().clone()
        }
    }

    /// With the builder's key.
    pub fn said(&self, source: &str, event: Event) -> Vec<u8> {
        let event = changed(event, |event| event.source = source.to_owned());
        event.sign(&signer(&self.directory.path().join(NAME))).unwrap()
    }

    /// With another key, of the directory of that name.
    fn said_with(&self, directory: &str, source: &str, event: Event) -> Vec<u8> {
        let event = changed(event, |event| event.source = source.to_owned());
        event.sign(&signer(&self.directory.path().join(directory))).unwrap()
    }

    /// Publish with a right that leaves nothing to the broker.
    async fn publish(&self, topic: &str, payload: Vec<u8>) {
        let owner = owner_of(self.directory.path(), self.head.broker().port);
        publish(&owner, &format!("foundry/{topic}"), payload).await;
    }

    /// What hosts think of a message, whoever let it through.
    pub async fn seal(&mut self, topic: &str, payload: Vec<u8>) -> Seal {
        let id = serde_json::from_slice::<Value>(&payload).unwrap()["id"].clone();
        self.publish(topic, payload).await;
        loop {
            let seen = self.sightings.recv().await.unwrap();
            if seen.topic == topic && seen.payload["id"] == id {
                return seen.seal;
            }
        }
    }

    async fn answer(&self, topic: &str, payload: Vec<u8>) -> PubAckReason {
        let topic = format!("foundry/{topic}");
        answer_to(&self.account(), &topic, payload).await.unwrap()
    }
}

fn build() -> Value {
    json!({
        "repository": "/srv/hello.git", "branch": "main", "ref": "a".repeat(40), "source": "hello", "version": "1.0",
        "architecture": "amd64", "artifacts": [],
    })
}

fn failure(stage: &str) -> Value {
    json!({ "stage": stage, "reason": "so he says" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_builder_can_tell_of_builds_and_of_nothing_else() {
    let mut farm = Farm::start().await;
    let (own, head) = ("builder-1/build", "head/watch");
    let answer = "foundry.peer-answer.v1";
    for (number, (what, source, topic, event_type, data, refusal)) in [
        (
            "announces",
            own,
            "commits",
            "foundry.commit.v1",
            json!({}),
            "no foundry.commit.v1 on commits",
        ),
        (
            "signs",
            own,
            "signs",
            "foundry.sign.v1",
            json!({}),
            "no foundry.sign.v1 on signs",
        ),
        (
            "publishes",
            own,
            "dists",
            "foundry.dist.v1",
            json!({}),
            "no foundry.dist.v1 on dists",
        ),
        (
            "operates",
            own,
            "control",
            "foundry.control.v1",
            json!({}),
            "no foundry.control.v1 on control",
        ),
        (
            "signs where it may build",
            own,
            "builds",
            "foundry.sign.v1",
            json!({}),
            "no foundry.sign.v1 on builds",
        ),
        (
            "speaks for the head",
            head,
            "commits",
            "foundry.commit.v1",
            json!({}),
            "says that it is of head/watch",
        ),
        (
            "builds for another",
            "builder-2/build",
            "builds",
            "foundry.build.v1",
            build(),
            "of builder-2/build",
        ),
        (
            "answers for another",
            "builder-2/peers",
            "peers/head",
            answer,
            json!({}),
            "of builder-2/peers",
        ),
        (
            "fails a signature",
            own,
            "failures",
            "foundry.failure.v1",
            failure("sign"),
            "not say that sign failed",
        ),
        (
            "fails a publication",
            own,
            "failures",
            "foundry.failure.v1",
            failure("distbot"),
            "that distbot failed",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let payload = farm.said(source, event(topic, &format!("e{number}"), event_type, data));
        match farm.seal(topic, payload).await {
            Seal::Refused(why) => assert!(why.contains(refusal), "{what}: {why}"),
            seal => panic!("{what}: {seal:?}"),
        }
    }
    let payload = farm.said(own, event("builds", "b1", "foundry.build.v1", build()));
    for elsewhere in ["signs", "builds-2", "commits"] {
        let seal = farm.seal(elsewhere, payload.clone()).await;
        assert!(
            matches!(&seal, Seal::Refused(why) if why.contains("published to foundry/builds")),
            "{seal:?}"
        );
    }
    assert_eq!(farm.seal("builds", payload).await, Seal::Verified);
    let payload = farm.said(own, event("failures", "f1", "foundry.failure.v1", failure("build")));
    assert_eq!(farm.seal("failures", payload).await, Seal::Verified);
    farm.head.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_builders_account_reaches_its_own_topics_alone() {
    let farm = Farm::start().await;
    // What the head signed itself is as good as its word, where it comes.
    let state: &Path = farm.directory.path();
    let of_the_head = changed(event("signs", "s1", "foundry.sign.v1", json!({})), |event| {
        event.source = "head/sign".to_owned();
    });
    let of_the_head = of_the_head.sign(&signer(state)).unwrap();
    for topic in ["signs", "commits", "dists", "control", "signs-2", "builds/x"] {
        assert_eq!(
            farm.answer(topic, of_the_head.clone()).await,
            PubAckReason::NotAuthorized,
            "{topic}"
        );
    }
    for topic in [
        "hosts/head",
        "hosts/builder-2",
        "bots/head/sign",
        "bots/builder-2/build",
        "logs/head/r1/sign",
        "logs/builder-2/r1/build",
        "logs/r1/build",
    ] {
        assert_eq!(
            farm.answer(topic, Vec::new()).await,
            PubAckReason::NotAuthorized,
            "{topic}"
        );
    }
    for topic in [
        "builds",
        "failures",
        "hosts/builder-1",
        "bots/builder-1/build",
        "peers/head",
        "logs/builder-1/r1/build",
    ] {
        let answer = farm.answer(topic, b"{}".to_vec()).await;
        assert_ne!(answer, PubAckReason::NotAuthorized, "{topic}");
    }
    farm.head.shutdown().await;
}

pub const OWN: &str = "pub/buildbot_i386";
pub const OTHER: &str = "pub/buildbot_amd64";

pub fn message(group: &str) -> Origin {
    Origin::Message {
        group: group.to_owned(),
        input: "c1".to_owned(),
        attempt: 0,
        place: Place::Position(0),
    }
}

pub fn given_up(group: &str) -> Origin {
    Origin::GivenUp {
        group: group.to_owned(),
        input: "c1".to_owned(),
        attempt: 0,
    }
}

pub fn built(origin: Origin) -> Event {
    event_of(
        origin,
        Some("c1".to_owned()),
        "builds",
        "c1",
        "foundry.build.v1",
        build(),
    )
}

pub fn failed(origin: Origin) -> Event {
    let cause = Some("c1".to_owned());
    event_of(origin, cause, "failures", "c1", "foundry.failure.v1", failure("build"))
}

fn announced() -> Event {
    let origin = Origin::StockTimer {
        bot: "watchbot".to_owned(),
        key: "/srv/hello.git main".to_owned(),
    };
    let data = json!({ "repository": "/srv/hello.git", "branch": "main", "ref": "a".repeat(40) });
    event_of(origin, None, "commits", "c1", "foundry.commit.v1", data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_builder_takes_no_id_of_another_groups_work_and_that_is_handled() {
    let mut farm = Farm::start_in(&[OWN]).await;
    let state = farm.directory.path().to_owned();
    introduce_in(&[OTHER], "builder-2", &state.join("builder-2"), "build", &state);
    for topic in ["commits", "builds", "failures"] {
        let reader = spec("relay").named(&format!("reads-{topic}")).option("watch", topic);
        farm.head
            .load(reader.option("endpoint", format!("reads/{topic}")))
            .await
            .unwrap();
    }
    let honest = [
        ("commits", ".", "head/watch", announced()),
        ("builds", "builder-2", "builder-2/build", built(message(OTHER))),
        ("failures", "builder-2", "builder-2/build", failed(given_up(OTHER))),
        ("failures", "builder-2", "builder-2/build", failed(message(OTHER))),
    ];
    // Whichever comes first counts, so he is first.
    let nothing = |event: &mut Event| event.derivation = Attributes::default();
    for (_, _, _, taken) in &honest {
        for (topic, words, refusal) in [
            (
                "builds",
                built(message(OWN)),
                "is not the one that it has by its own words",
            ),
            (
                "failures",
                failed(message(OWN)),
                "is not the one that it has by its own words",
            ),
            (
                "failures",
                failed(given_up(OWN)),
                "is not the one that it has by its own words",
            ),
            (
                "builds",
                changed(built(message(OWN)), nothing),
                "does not say what its id derives from",
            ),
        ] {
            let stolen = changed(words, |event| event.id.clone_from(&taken.id));
            refuses(&mut farm, topic, stolen, refusal).await;
        }
    }
    let not_his = "may work in pub/buildbot_i386, and so not in pub/buildbot_amd64";
    for (topic, _, _, event) in &honest[1..] {
        refuses(&mut farm, topic, event.clone(), not_his).await;
    }
    // The commit, in its own words, where he may not speak and where he may.
    refuses(&mut farm, "commits", announced(), "no foundry.commit.v1 on commits").await;
    let ids: Vec<_> = honest.iter().map(|(.., event)| event.id.clone()).collect();
    for (topic, key, source, event) in honest {
        let payload = farm.said_with(key, source, event);
        assert_eq!(farm.seal(topic, payload).await, Seal::Verified, "{topic}");
    }
    for id in ids {
        eventually("the honest event is handled", async || {
            let runs = farm.head.ledger().runs(1000).await.unwrap();
            let mut events = runs.into_iter().flat_map(|run| run.events);
            let followed = events.any(|event| event.topic == "relay-out" && event.cause.as_ref() == Some(&id));
            followed.then_some(())
        })
        .await;
    }
    // His own group's work is believed.
    let payload = farm.said("builder-1/build", built(message(OWN)));
    assert_eq!(farm.seal("builds", payload).await, Seal::Verified);
    farm.head.shutdown().await;
}

pub async fn refuses(farm: &mut Farm, topic: &str, event: Event, refusal: &str) {
    let payload = farm.said("builder-1/build", event);
    match farm.seal(topic, payload).await {
        Seal::Refused(why) => assert!(why.contains(refusal), "{topic}: {why}"),
        seal => panic!("{topic}: {seal:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_not_asked_about_messages_of_a_group_in_which_it_may_not_work() {
    let farm = Farm::start_in(&[OWN]).await;
    farm.head
        .load(spec("relay").option("watch", "builds").option("endpoint", OTHER))
        .await
        .unwrap();
    // It has said that it is in the group, and has asked about this message before. Nobody answers for it.
    let order = event("builds", "asked", "foundry.build.v1", build());
    let ledger = farm.head.ledger();
    assert!(ledger.remember_peer(OTHER, NAME).await.unwrap());
    assert!(ledger.promise(OTHER, &order.id).await.unwrap());
    farm.publish("builds", farm.said_with(".", "head/build", order)).await;
    eventually("it is handled without its word", async || {
        let runs = ledger.runs(1000).await.unwrap();
        let mut events = runs.into_iter().flat_map(|run| run.events);
        events.any(|event| event.topic == "relay-out").then_some(())
    })
    .await;
    farm.head.shutdown().await;
}
