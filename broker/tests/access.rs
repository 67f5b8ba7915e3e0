//! Users, roles and what they may do, over the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use foundry_broker::{Access, Broker, Config, Error, Role, User, hash_password};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;
use support::TestBroker;
use support::v4::{self, V4};
use support::v5::{V5, connect, message, resume};

const Q1: QoS = QoS::AtLeastOnce;

/// Anonymous watchers, a host, and a clerk with patterns.
fn guarded() -> TestBroker {
    let user = |role: &str| User {
        password: Some(hash_password("secret").unwrap()),
        role: role.to_owned(),
    };
    let patterns = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let clerk = Role {
        publish: patterns(&["desk/%u/#"]),
        subscribe: patterns(&["desk/+/in", "desk/%u/#"]),
        ..Role::default()
    };
    TestBroker::with(|config| {
        config.access = Access {
            users: [("boss", "host"), ("ann", "clerk"), ("bob", "clerk")]
                .map(|(name, role)| (name.to_owned(), user(role)))
                .into(),
            roles: [("clerk".to_owned(), clerk)].into(),
            ..Access::default()
        };
    })
}

fn login(broker: &TestBroker, id: &str, user: &str) -> V5 {
    let login = Login {
        username: user.to_owned(),
        password: "secret".to_owned(),
    };
    let (client, ack) = V5::try_connect(broker.address, connect(id), None, Some(login));
    assert_eq!(ack.code, ConnectReturnCode::Success);
    client
}

#[test]
fn bad_credentials_are_refused() {
    let broker = guarded();
    for (user, password) in [("boss", "wrong"), ("nobody", "secret"), ("boss", "")] {
        let login = Login {
            username: user.to_owned(),
            password: password.to_owned(),
        };
        let (mut client, ack) = V5::try_connect(broker.address, connect("x"), None, Some(login));
        assert_eq!(ack.code, ConnectReturnCode::BadUserNamePassword);
        assert!(client.wire.is_closed());
    }
}

#[test]
fn anonymous_watcher_sees_everything_and_touches_nothing() {
    let broker = guarded();
    let mut watcher = V5::new(broker.address, "watcher");
    assert_eq!(watcher.subscribe("#", Q1), [SubscribeReasonCode::Success(Q1)]);
    assert_eq!(
        watcher.subscribe("$share/workers/jobs/#", Q1),
        [SubscribeReasonCode::NotAuthorized]
    );
    assert_eq!(watcher.publish(message("jobs/x", Q1, "x")), PubAckReason::NotAuthorized);
    login(&broker, "host", "boss").publish(message("jobs/x", Q1, "seen"));
    assert_eq!(watcher.take().payload, "seen");
    assert_eq!(broker.groups(), []);
    // Those who cannot be told lose the connection.
    watcher.send(Packet::Publish(message("jobs/x", QoS::AtMostOnce, "x")));
    watcher.expect_disconnect(DisconnectReasonCode::NotAuthorized);
    let mut old = V4::with(broker.address, v4::connect("old", true)).0;
    let mut publish = rumqttc::Publish::new("jobs/x", rumqttc::QoS::AtLeastOnce, "x");
    publish.pkid = 1;
    old.send(rumqttc::Packet::Publish(publish));
    assert!(old.wire.is_closed());
}

#[test]
fn owner_does_everything_and_nobody_guesses_the_password() {
    let broker = TestBroker::with(|config| config.access = Access::default());
    let login = |password: &str| {
        let login = Login {
            username: "owner".to_owned(),
            password: password.to_owned(),
        };
        V5::try_connect(broker.address, connect("x"), None, Some(login))
    };
    let kept = std::fs::read_to_string(broker.broker().owner().file()).unwrap();
    let (mut owner, ack) = login(kept.trim_end());
    assert_eq!(ack.code, ConnectReturnCode::Success);
    assert_eq!(
        owner.subscribe("$share/workers/jobs/#", Q1),
        [SubscribeReasonCode::Success(Q1)]
    );
    assert_eq!(owner.publish(message("jobs/x", Q1, "x")), PubAckReason::Success);
    let (_, ack) = login("guess");
    assert_eq!(ack.code, ConnectReturnCode::BadUserNamePassword);
    // Nobody else may do more than watch.
    let mut watcher = V5::new(broker.address, "watcher");
    assert_eq!(watcher.subscribe("#", Q1), [SubscribeReasonCode::Success(Q1)]);
    assert_eq!(watcher.publish(message("jobs/x", Q1, "x")), PubAckReason::NotAuthorized);
}

#[test]
fn roles_patterns_follow_the_user_name() {
    let broker = guarded();
    let mut ann = login(&broker, "c1", "ann");
    assert_eq!(ann.publish(message("desk/ann/out", Q1, "x")), PubAckReason::Success);
    assert_eq!(
        ann.publish(message("desk/bob/out", Q1, "x")),
        PubAckReason::NotAuthorized
    );
    let codes = ["desk/bob/in", "desk/ann/+", "desk/bob/out", "desk/#", "#"]
        .map(|filter| ann.subscribe(filter, Q1)[0] == SubscribeReasonCode::Success(Q1));
    assert_eq!(codes, [true, true, false, false, false]);
}

#[test]
fn will_that_is_not_allowed_is_refused_at_connect() {
    let broker = guarded();
    let will = LastWill::new("hosts/a", "gone", Q1, true, None);
    let (_, ack) = V5::try_connect(broker.address, connect("x"), Some(will), None);
    assert_eq!(ack.code, ConnectReturnCode::NotAuthorized);
}

#[test]
fn session_of_another_user_cannot_be_taken() {
    let broker = guarded();
    let secret = |user: &str| {
        Some(Login {
            username: user.to_owned(),
            password: "secret".to_owned(),
        })
    };
    let (ann, _) = V5::try_connect(broker.address, resume("laptop", 60), None, secret("ann"));
    let (_, ack) = V5::try_connect(broker.address, resume("laptop", 60), None, secret("bob"));
    assert_eq!(ack.code, ConnectReturnCode::ClientIdentifierNotValid);
    ann.disconnect();
    let (_, ack) = V5::try_connect(broker.address, resume("laptop", 60), None, secret("bob"));
    assert_eq!(ack.code, ConnectReturnCode::ClientIdentifierNotValid);
    let (_, ack) = V5::try_connect(broker.address, resume("laptop", 60), None, secret("ann"));
    assert!(ack.session_present);
}

/// What the broker answers to a client that asks for an identifier and a session, and says who it is.
fn answer(broker: &TestBroker, id: &str, user: Option<&str>) -> ConnAck {
    let login = user.map(|user| Login {
        username: user.to_owned(),
        password: "secret".to_owned(),
    });
    V5::try_connect(broker.address, resume(id, 60), None, login).1
}

#[test]
fn an_anonymous_client_cannot_take_a_hosts_client_id() {
    let broker = guarded();
    for id in ["foundry/head/build", "foundry/head//publisher", "foundry/"] {
        assert_eq!(answer(&broker, id, None).code, ConnectReturnCode::NotAuthorized, "{id}");
        let mut wire = support::Wire::open(broker.address);
        let length = id.len() as u8;
        wire.write(
            &[
                &[0x10, 12 + length],
                &b"\0\x04MQTT\x04\x02\0\0\0"[..],
                &[length],
                id.as_bytes(),
            ]
            .concat(),
        );
        // CONNACK with return code 5, not authorized (MQTT 3.1.1, section 3.2.2.3).
        let connack = wire.read(support::PATIENCE, |buffer| (buffer.len() >= 4).then(|| buffer.split()));
        assert_eq!(connack.unwrap()[..], [0x20, 2, 0, 5], "{id}");
    }
    assert_eq!(answer(&broker, "foundry-head", None).code, ConnectReturnCode::Success);
}

#[test]
fn client_ids_of_hosts_are_for_roles_that_are_marked_so() {
    let broker = TestBroker::with(|config| {
        let user = |role: &str| User {
            password: Some(hash_password("secret").unwrap()),
            role: role.to_owned(),
        };
        let marked = Role {
            publish: vec!["#".to_owned()],
            host: true,
            ..Role::default()
        };
        config.access.users = [("boss", "host"), ("b1", "farm"), ("clerk", "bot")]
            .map(|(name, role)| (name.to_owned(), user(role)))
            .into();
        config.access.roles = [("farm".to_owned(), marked)].into();
    });
    for (user, id, lets_in) in [
        ("boss", "foundry/any/build", true),
        ("b1", "foundry/b1/build", true),
        ("b1", "foundry/b1//peers", true),
        ("b1", "foundry/b2/build", false),
        ("clerk", "foundry/clerk/build", false),
        ("clerk", "clerk", true),
    ] {
        let expected = match lets_in {
            true => ConnectReturnCode::Success,
            false => ConnectReturnCode::NotAuthorized,
        };
        assert_eq!(answer(&broker, id, Some(user)).code, expected, "{user} as {id}");
    }
}

#[test]
fn the_broker_tells_its_time() {
    let broker = TestBroker::start();
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let before = now();
    let properties = answer(&broker, "x", None).properties.unwrap();
    let told = properties
        .user_properties
        .iter()
        .find(|(name, _)| name == "foundry-time");
    let told: u128 = told.unwrap().1.parse().unwrap();
    assert!((before..=now()).contains(&told));
}

#[test]
fn an_anonymous_watchers_session_ends_with_its_connection() {
    let broker = TestBroker::with(|config| config.access = Access::default());
    for _ in 0..2 {
        let (client, ack) = V5::try_connect(broker.address, resume("w", 60), None, None);
        assert_eq!(ack.code, ConnectReturnCode::Success);
        assert!(!ack.session_present);
        assert_eq!(ack.properties.unwrap().session_expiry_interval, Some(0));
        client.disconnect();
        // MQTT 3.1.1 has no words for it but these.
        let (_, ack) = V4::with(broker.address, v4::connect("old", false));
        assert!(!ack.session_present);
    }
}

#[test]
fn an_anonymous_client_that_may_do_more_than_watch_keeps_its_session() {
    let broker = TestBroker::with(|config| config.access = Access::open("bot"));
    V5::try_connect(broker.address, resume("w", 60), None, None)
        .0
        .disconnect();
    assert!(answer(&broker, "w", None).session_present);
}

#[test]
fn broker_for_other_machines_needs_users() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "0.0.0.0:0".parse().unwrap(),
        data_dir: directory.path().to_owned(),
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(Broker::start(config)).unwrap_err();
    assert!(matches!(error, Error::Unprotected { .. }));
    assert!(error.to_string().contains("broker.access.users"), "{error}");
}

#[test]
fn address_in_use_names_the_address_and_the_remedy() {
    let broker = TestBroker::start();
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        listen: broker.address,
        data_dir: directory.path().to_owned(),
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(Broker::start(config)).unwrap_err().to_string();
    let expected = format!(
        "cannot listen on {}: the address is in use (stop the other program, or set `broker.listen` in foundry.toml)",
        broker.address
    );
    assert_eq!(error, expected);
}
