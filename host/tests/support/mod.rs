//! What the integration tests share: a host in a temporary directory, test guests, signed events.

#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "disks.rs"]
pub mod disks;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foundry_host::bus::BrokerAddress;
use foundry_host::capability::Grants;
use foundry_host::capability::topic_grants::Outlets;
use foundry_host::event::{Event, Origin, OutgoingEvent, Topics};
use foundry_host::keys::{Binding, Duties, Encoding, Groups, KeyStore, NewKey, PassphraseSource, Role, Signer};
use foundry_host::ledger::{DeadLetter, EventRow};
use foundry_host::runtime::{Admitted, BotContext, Engine, Instances, Limits};
use foundry_host::supervisor::{BotSource, BotSpec, BrokerChoice, Host, HostConfig, LONGEST_MESSAGE, MessagesConfig};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, MqttOptions};
use serde_json::{Map, Value, json};

/// A host of its own, with its own broker, in a temporary directory.
pub struct TestHost {
    pub host: Host,
    pub directory: tempfile::TempDir,
}

impl TestHost {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// With what is in a directory already, such as compiled components.
    pub async fn start_in(directory: tempfile::TempDir) -> Self {
        let host = Host::start(config(directory.path())).await.unwrap();
        Self { host, directory }
    }

    pub fn topics(&self) -> Topics {
        self.host.topics().clone()
    }

    /// Load a test guest.
    pub async fn load(&self, name: &str) {
        self.host.load(spec(name)).await.unwrap();
    }

    /// An event for a topic (without prefix), signed with the host's own key. Its id is [`id_of`] its name.
    pub fn signed(&self, topic: &str, id: &str, event_type: &str, data: Value) -> Vec<u8> {
        signed(self.directory.path(), topic, id, event_type, data)
    }

    /// Publish bytes on a topic, as any MQTT client can that the broker lets in.
    pub async fn publish(&self, topic: &str, payload: Vec<u8>) {
        publish(self.host.broker(), &self.topics().full(topic), payload).await;
    }

    /// Tell the hostile bot what to do.
    pub async fn tell(&self, id: &str, what: &str) {
        let event = self.signed("hostile-in", id, "test.order.v1", json!({ "do": what }));
        self.publish("hostile-in", event).await;
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.host.ledger().dead_letters().await.unwrap()
    }

    /// Events that the host has on record.
    pub async fn events(&self) -> Vec<EventRow> {
        let runs = self.host.ledger().runs(1000).await.unwrap();
        runs.into_iter().flat_map(|run| run.events).collect()
    }
}

pub fn config(directory: &Path) -> HostConfig {
    // A test's own program has no `main` that knows what a helper is.
    foundry_host::confine::run_helpers_by(env!("CARGO_BIN_EXE_foundry-host"));
    let broker = foundry_broker::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: directory.join("broker"),
        ..foundry_broker::Config::default()
    };
    HostConfig {
        name: "test".to_owned(),
        name_is_chosen: true,
        take_over: false,
        state: directory.to_owned(),
        broker: BrokerChoice::Embedded(broker),
        messages: MessagesConfig::default(),
        passphrases: PassphraseSource::none(),
        // Not that of whoever runs the tests.
        gnupg_home: Some(directory.join("gnupg")),
        artifacts: None,
        builds: foundry_host::capability::build::Settings::default(),
        retention: foundry_host::retention::Limits {
            // However full the disk is that the tests run on.
            warn_free: Some(0),
            stop_free: Some(0),
            ..foundry_host::retention::Limits::default()
        },
        mail: None,
        network: foundry_host::reach::Network::default(),
        drain: Duration::from_secs(5),
        longest_message: LONGEST_MESSAGE,
        require_signed_bots: false,
        observe: vec!["hostile-out".to_owned(), "relay-out".to_owned()],
    }
}

/// A test guest with all topics that a bot from a file can be granted.
pub fn spec(name: &str) -> BotSpec {
    let mut spec = granted_all_topics(BotSpec::new(BotSource::File(foundry_test_guests::path(name))));
    spec.grants.artifacts = name == "hostile";
    spec
}

/// With all topics that a bot from a file can be granted.
pub fn granted_all_topics(mut spec: BotSpec) -> BotSpec {
    spec.grants.read.push("#@#".parse().unwrap());
    spec.grants.publish.push("#".parse().unwrap());
    spec
}

/// An event for a topic (without prefix), signed with the key of the host `test` in a directory.
pub fn signed(state: &Path, topic: &str, name: &str, event_type: &str, data: Value) -> Vec<u8> {
    signed_as("test", state, topic, name, event_type, data)
}

/// The same, of the host of that name.
pub fn signed_as(host: &str, state: &Path, topic: &str, name: &str, event_type: &str, data: Value) -> Vec<u8> {
    let event = changed(event(topic, name, event_type, data), |event| {
        event.source = format!("{host}/tester");
    });
    event.sign(&signer(state)).unwrap()
}

/// The key for messages of the host in a directory; made, if it has none yet.
pub fn signer(state: &Path) -> Arc<Signer> {
    let keys = KeyStore::open(state.join("keys")).unwrap();
    let key = keys
        .list()
        .unwrap()
        .into_iter()
        .find(|key| key.has_secret && key.roles.contains(&Role::Messages))
        .unwrap_or_else(|| keys.generate(Role::Messages, &NewKey::new("messages")).unwrap());
    keys.signer(&key.fingerprint.to_string(), Role::Messages, &PassphraseSource::none())
        .unwrap()
}

/// A host gets to know another host's key, and believes it in some things.
pub fn introduce(name: &str, state: &Path, may: &str, to: &Path) {
    introduce_in(&[], name, state, may, to);
}

/// The same of a host that may work in these groups alone.
pub fn introduce_in(groups: &[&str], name: &str, state: &Path, may: &str, to: &Path) {
    let key = signer(state).fingerprint().to_string();
    let ours = KeyStore::open(state.join("keys")).unwrap();
    let public = ours.export_public(&key, Encoding::Armored).unwrap();
    let groups = Groups::of(groups.iter().map(|group| (*group).to_owned())).unwrap();
    let binding = Binding::new(name, may.parse::<Duties>().unwrap())
        .unwrap()
        .in_groups(groups);
    let theirs = KeyStore::open(to.join("keys")).unwrap();
    theirs.import_bound(&public, &[Role::Messages], Some(&binding)).unwrap();
}

/// An event that differs in something.
pub fn changed(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

/// An event as the timer of a bot `tester` publishes it, under a key. Its run is named after the key.
pub fn event(topic: &str, name: &str, event_type: &str, data: Value) -> Event {
    event_of(origin(name), None, topic, name, event_type, data)
}

/// An event of an origin, with the message that led to it.
pub fn event_of(origin: Origin, cause: Option<String>, topic: &str, run: &str, event_type: &str, data: Value) -> Event {
    let data: Map<String, Value> = serde_json::from_value(data).unwrap();
    let outgoing = OutgoingEvent {
        id: origin.id(&[event_type, topic]),
        topic: topic.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        run: format!("run-{run}"),
        cause,
        origin,
        data,
    };
    Event::of(outgoing, "test/tester", &Topics::new("foundry"))
}

/// The id of the event that [`event`] makes.
pub fn id_of(topic: &str, name: &str, event_type: &str) -> String {
    origin(name).id(&[event_type, topic])
}

fn origin(name: &str) -> Origin {
    Origin::Timer {
        bot: "tester".to_owned(),
        key: name.to_owned(),
    }
}

/// The broker of a host that runs with a state directory, for whoever may read that.
pub fn owner_of(state: &Path, port: u16) -> BrokerAddress {
    let password = std::fs::read_to_string(state.join("broker/owner.password")).unwrap();
    BrokerAddress {
        login: Some(("owner".to_owned(), password.trim_end().to_owned())),
        ..BrokerAddress::local(([127, 0, 0, 1], port).into())
    }
}

/// Publish with QoS 1 and wait for the acknowledgement.
pub async fn publish(broker: &BrokerAddress, topic: &str, payload: Vec<u8>) {
    try_publish(broker, topic, payload).await.unwrap();
}

/// The same with a broker that may die meanwhile.
pub async fn try_publish(broker: &BrokerAddress, topic: &str, payload: Vec<u8>) -> Result<(), ConnectionError> {
    let answer = answer_to(broker, topic, payload).await?;
    assert_eq!(answer, PubAckReason::Success);
    Ok(())
}

/// What a broker says to a message.
pub async fn answer_to(broker: &BrokerAddress, topic: &str, payload: Vec<u8>) -> Result<PubAckReason, ConnectionError> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut options = MqttOptions::new(format!("tester-{number}"), &broker.host, broker.port);
    options.set_max_packet_size(Some(4 * 1024 * 1024));
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user, password);
    }
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    loop {
        if let rumqttc::v5::Event::Incoming(Packet::PubAck(answer)) = events.poll().await? {
            return Ok(answer.reason);
        }
    }
}

/// Ask again and again until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Instances of a component outside of any bot, for measurements.
pub fn instances(host: &TestHost, engine: Engine, admitted: Admitted) -> Instances {
    let bot = BotContext {
        name: "bench".to_owned(),
        source: "test/bench".to_owned(),
        stock: None,
        groups: BTreeMap::new(),
        options: BTreeMap::new(),
        outlets: Outlets::default(),
        grants: Grants::default(),
        state_limit: 0,
        services: Arc::clone(host.host.services()),
    };
    Instances::new(engine, admitted, Arc::new(bot), Limits::default())
}
