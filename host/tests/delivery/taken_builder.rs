//! A builder that somebody else runs: he has its key and its account at the broker, and tries more than building.

use std::path::Path;

use foundry_broker::{Access, User, hash_password};
use foundry_host::bus::{BrokerAddress, Seal, Sighting};
use foundry_host::event::Event;
use foundry_host::supervisor::{BrokerChoice, Host, HostConfig};
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::support::{answer_to, changed, config, event, introduce, owner_of, publish, signer};

const NAME: &str = "builder-1";

/// A head with its broker, at which the builder has an account, and the builder's key.
struct Farm {
    directory: tempfile::TempDir,
    head: Host,
    sightings: Receiver<Sighting>,
}

impl Farm {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        introduce(NAME, &directory.path().join(NAME), "build", directory.path());
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
    fn said(&self, source: &str, event: Event) -> Vec<u8> {
        let event = changed(event, |event| event.source = source.to_owned());
        event.sign(&signer(&self.directory.path().join(NAME))).unwrap()
    }

    /// What hosts think of a message, whoever let it through.
    async fn seal(&mut self, topic: &str, payload: Vec<u8>) -> Seal {
        let id = serde_json::from_slice::<Value>(&payload).unwrap()["id"].clone();
        let owner = owner_of(self.directory.path(), self.head.broker().port);
        publish(&owner, &format!("foundry/{topic}"), payload).await;
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
        "logs/r1/build",
    ] {
        let answer = farm.answer(topic, b"{}".to_vec()).await;
        assert_ne!(answer, PubAckReason::NotAuthorized, "{topic}");
    }
    farm.head.shutdown().await;
}
