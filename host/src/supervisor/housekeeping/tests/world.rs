//! A state directory with a real ledger and real files, whose time is an argument.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foundry_broker::Broker;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::super::Housekeeping;
use crate::ability::Ability;
use crate::config::Config;
use crate::keys::KeyStore;
use crate::ledger::Ledger;
use crate::retention::{Limits, Report, Sweep};
use crate::run::EventRow;
use crate::supervisor::start::{Purpose, open_services};

/// When the days are counted from.
const BEGIN: i64 = 1_700_000_000;

pub fn day(number: u32) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(BEGIN).unwrap() + Duration::from_secs(86_400) * number
}

pub fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A build that names artifacts by their digests.
pub fn event(id: &str, run: &str, artifacts: &[&String]) -> EventRow {
    let artifacts: Vec<_> = artifacts
        .iter()
        .map(|sha256| serde_json::json!({ "name": "a.deb", "size": 1, "sha256": sha256, "mediaType": "x/y" }))
        .collect();
    EventRow {
        id: id.to_owned(),
        run: run.to_owned(),
        event_type: "foundry.build.v1".to_owned(),
        topic: "builds".to_owned(),
        source: "head/build".to_owned(),
        subject: Some("hello 1.0".to_owned()),
        time: "2026-11-30T12:00:00Z".to_owned(),
        cause: None,
        group: Some("pub/buildbot".to_owned()),
        data: serde_json::json!({ "artifacts": artifacts }),
    }
}

pub struct World {
    state: PathBuf,
    housekeeping: Housekeeping,
    /// Removed at the end, unless it belongs to somebody else.
    _directory: Option<tempfile::TempDir>,
}

impl World {
    pub fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut world = Self::at(directory.path(), limits);
        world._directory = Some(directory);
        world
    }

    pub fn at(state: &Path, limits: Limits) -> Self {
        let config = Config::without_file().unwrap().host(state.to_owned());
        let ledger = Ledger::open(&state.join("ledger.sqlite")).unwrap();
        let keys = Arc::new(KeyStore::open(state.join("keys")).unwrap());
        let services = Arc::new(open_services(&config, &ledger, &keys, &Ability::default(), Purpose::Work).unwrap());
        let broker = Some(state.join("broker"));
        let max_age = config.messages.max_age;
        Self {
            state: state.to_owned(),
            housekeeping: Housekeeping::new(state.to_owned(), broker, services, limits, max_age),
            _directory: None,
        }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn ledger(&self) -> &Ledger {
        &self.housekeeping.services.ledger
    }

    pub fn housekeeping(&self) -> &Housekeeping {
        &self.housekeeping
    }

    pub async fn sweep(&self, sweep: &Sweep) -> Vec<Report> {
        self.housekeeping.sweep(BTreeSet::new(), sweep).await
    }

    pub async fn hourly(&self, clock: OffsetDateTime) -> Vec<Report> {
        self.housekeeping.hourly(BTreeSet::new(), clock).await.unwrap()
    }

    /// The store's file of a digest.
    fn file(&self, sha256: &str) -> PathBuf {
        self.state.join("artifacts/sha256").join(&sha256[..2]).join(sha256)
    }

    /// An artifact that was stored at a time. Returns its digest.
    pub fn artifact(&self, text: &str, at: OffsetDateTime) -> String {
        let sha256 = digest_of(text.as_bytes());
        write(&self.file(&sha256), text, at);
        sha256
    }

    pub fn has(&self, sha256: &str) -> bool {
        self.file(sha256).is_file()
    }

    pub async fn record(&self, events: &[EventRow], at: OffsetDateTime) {
        self.ledger().record_at(events.to_vec(), at).await.unwrap();
    }

    fn log_file(&self, run: &str) -> PathBuf {
        self.housekeeping.services.logs.file("build", Some(run))
    }

    pub fn log(&self, run: &str, at: OffsetDateTime) {
        write(&self.log_file(run), "a line of a log\n", at);
    }

    pub fn has_log(&self, run: &str) -> bool {
        self.log_file(run).is_file()
    }

    /// All files that are not the ledger's.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut pending = vec![self.state.clone()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let is_ledgers = path.to_string_lossy().contains("ledger.sqlite");
                match path.is_dir() {
                    true => pending.push(path),
                    false if !is_ledgers => drop(files.insert(path)),
                    false => {}
                }
            }
        }
        files
    }

    pub fn broker_directory(&self) -> PathBuf {
        self.state.join("broker")
    }

    pub async fn broker(&self) -> Broker {
        let config = foundry_broker::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: self.broker_directory(),
            ..foundry_broker::Config::default()
        };
        Broker::start(config).await.unwrap()
    }

    /// Returns when the broker has acknowledged it.
    pub async fn publish(&self, broker: &Broker, topic: &str, event: &EventRow) {
        let address = broker.address();
        let mut options = MqttOptions::new("publisher", address.ip().to_string(), address.port());
        options.set_credentials(broker.owner().user(), broker.owner().password());
        let (client, mut events) = AsyncClient::new(options, 10);
        let payload = event.data.to_string();
        client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        loop {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                return;
            }
        }
    }
}

fn write(file: &Path, text: &str, at: OffsetDateTime) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
    File::open(file).unwrap().set_modified(at.into()).unwrap();
}
