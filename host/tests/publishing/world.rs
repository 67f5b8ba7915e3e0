//! A host with its key store and artifact store, and distbots that run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foundry_host::capability::topic_grants::Outlets;
use foundry_host::capability::{Artifact, Grants};
use foundry_host::event::OutgoingEvent;
use foundry_host::keys::{KeyInfo, KeyStore, NewKey, PassphraseSource, Role, Signer};
use foundry_host::runtime::wit::types::Message;
use foundry_host::runtime::{BotContext, ComponentCache, Engine, Instances, Limits, Verdict};
use foundry_host::supervisor::{BotSource, BotSpec};
use serde_json::{Value, json};

use crate::package::{Deb, run};
use crate::support::TestHost;

pub struct World {
    pub host: TestHost,
    pub files: tempfile::TempDir,
    /// Fingerprint of the repository's key.
    pub key: String,
}

/// Options beyond those that are needed, by name.
pub type Options<'a> = &'a [(&'a str, &'a [&'a str])];

impl World {
    pub async fn new() -> Self {
        let host = TestHost::start().await;
        let mut world = Self {
            host,
            files: tempfile::tempdir().unwrap(),
            key: String::new(),
        };
        world.key = world.new_key("first");
        world
    }

    /// Make a key for repositories; returns its fingerprint.
    pub fn new_key(&self, name: &str) -> String {
        let keys = KeyStore::open(self.host.directory.path().join("keys")).unwrap();
        let key = keys
            .generate(Role::Repository, &NewKey::new(format!("{name} <{name}@example.org>")))
            .unwrap();
        key.fingerprint.to_string()
    }

    /// The repository's directory.
    pub fn repository(&self) -> PathBuf {
        self.files.path().join("repository")
    }

    /// A file of the repository.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// An index of the repository, unpacked by gzip; it is not published uncompressed.
    pub fn index(&self, path: &str) -> String {
        run(Command::new("gzip")
            .arg("-dc")
            .arg(self.repository().join(format!("{path}.gz"))))
    }

    /// Every file of the repository.
    pub fn everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        walk(&self.repository(), &mut files);
        files
    }

    /// A distbot for a host of its own, with the options that all of them have.
    pub fn spec(&self) -> BotSpec {
        BotSpec::new(BotSource::Stock("distbot".to_owned()))
            .option("name", "deb.example.org")
            .option("output", self.repository().display().to_string())
            .option("arch", "amd64")
            .option("gpg-key", &self.key)
            .option("description", "Packages of the tests")
    }

    /// A distbot that serves amd64, unless the options say otherwise.
    pub async fn distbot(&self, options: Options<'_>) -> Distbot {
        let engine = Engine::new().unwrap();
        let stock = foundry_host::stock::find("distbot").unwrap();
        let cache = ComponentCache::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        let component = cache.load(&engine, stock.name, stock.component).unwrap();
        let description = component.describe(&engine).await.unwrap().description;
        let repository = self.repository().display().to_string();
        let mut values: BTreeMap<String, Vec<String>> = [
            ("name", "deb.example.org"),
            ("output", &repository),
            ("arch", "amd64"),
            ("gpg-key", &self.key),
            ("description", "Packages of the tests"),
        ]
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .into();
        for spec in &description.options {
            if let Some(default) = &spec.default {
                values.entry(spec.name.clone()).or_insert_with(|| vec![default.clone()]);
            }
        }
        for (name, given) in options {
            values.insert(
                (*name).to_owned(),
                given.iter().map(|value| (*value).to_owned()).collect(),
            );
        }
        let grants = Grants::of_stock_bot(&description, &component.interfaces(), &values);
        let admitted = component.admit(&engine, &grants).unwrap();
        let bot = BotContext {
            name: "distbot".to_owned(),
            source: "test/distbot".to_owned(),
            stock: Some("distbot".to_owned()),
            groups: [("signs".to_owned(), "pub/distbot".to_owned())].into(),
            options: values,
            outlets: Outlets::unlimited(&[("dists".to_owned(), "dists".to_owned())].into()),
            grants,
            state_limit: 0,
            services: Arc::clone(self.host.host.services()),
        };
        Distbot {
            instances: Instances::new(engine, admitted, Arc::new(bot), Limits::default()),
            state: self.host.directory.path().to_owned(),
        }
    }

    /// Build packages and store them as artifacts.
    pub async fn build(&self, debs: &[Deb]) -> Vec<Artifact> {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<_> = debs.iter().map(|deb| deb.build(directory.path())).collect();
        self.store(&files).await
    }

    /// Store files as artifacts.
    pub async fn store(&self, files: &[PathBuf]) -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let store = &self.host.host.services().artifacts;
            artifacts.push(store.put_file(name, "application/octet-stream", file).await.unwrap());
        }
        artifacts
    }
}

fn walk(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if directory.ends_with(".foundry/transactions") {
        // What is swept there is swept while others go on.
        return;
    }
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
}

/// A distbot without its subscription: messages are put into its hand.
pub struct Distbot {
    instances: Instances,
    state: PathBuf,
}

impl Distbot {
    pub async fn configure(&self) -> Result<(), String> {
        self.instances.configure().await.unwrap()
    }

    /// Its timer goes off.
    pub async fn refresh(&self) {
        let verdict = self.instances.tick("refresh").await.unwrap();
        assert!(matches!(verdict, Verdict::Done(_)), "{verdict:?}");
    }

    /// Hand it a message. One of signed packages that states nothing gets the statement that signbot would have made.
    pub async fn handle(&self, message: &Message) -> Verdict {
        let mut message = message.clone();
        let data: Value = serde_json::from_str(&message.data).unwrap();
        if data.get("statement").is_none() {
            message.data = stated(&self.state, data).to_string();
        }
        self.handle_as_it_is(&message).await
    }

    /// Hand it a message as it is.
    pub async fn handle_as_it_is(&self, message: &Message) -> Verdict {
        self.instances.handle(message).await.unwrap()
    }

    /// Hand it a branch's signed packages. Returns the events that it publishes.
    pub async fn sign(&self, branch: &str, artifacts: &[Artifact]) -> Vec<OutgoingEvent> {
        match self.handle(&sign_message(branch, artifacts)).await {
            Verdict::Done(effects) => effects.events,
            other => panic!("{other:?}"),
        }
    }

    /// Hand it signed packages with an event that says this of them. Returns the events that it publishes.
    async fn sign_about(&self, about: &Value, branch: &str, artifacts: &[Artifact]) -> Vec<OutgoingEvent> {
        match self.handle(&message_about(about, branch, artifacts)).await {
            Verdict::Done(effects) => effects.events,
            other => panic!("{other:?}"),
        }
    }

    /// Hand it signed packages that become a dead letter. Returns why.
    pub async fn reject_about(&self, about: &Value, branch: &str, artifacts: &[Artifact]) -> String {
        match self.handle(&message_about(about, branch, artifacts)).await {
            Verdict::Reject(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Hand it signed packages that it wants to try again later. Returns why.
    pub async fn postpone_about(&self, about: &Value, branch: &str, artifacts: &[Artifact]) -> String {
        match self.handle(&message_about(about, branch, artifacts)).await {
            Verdict::Retry { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    /// The same for packages that it publishes.
    pub async fn publish_about(&self, about: &Value, branch: &str, artifacts: &[Artifact]) -> Vec<Value> {
        let events = self.sign_about(about, branch, artifacts).await;
        events.into_iter().map(|event| data("foundry.dist.v1", event)).collect()
    }

    /// The same for packages that it refuses. Returns the failure's data.
    pub async fn refuse_about(&self, about: &Value, branch: &str, artifacts: &[Artifact]) -> Value {
        let mut events = self.sign_about(about, branch, artifacts).await;
        assert_eq!(events.len(), 1, "{events:?}");
        data("foundry.failure.v1", events.remove(0))
    }

    /// Hand it packages that it publishes.
    pub async fn publish(&self, branch: &str, artifacts: &[Artifact]) -> Vec<Value> {
        let events = self.sign(branch, artifacts).await;
        assert!(!events.is_empty(), "nothing was published");
        events.into_iter().map(|event| data("foundry.dist.v1", event)).collect()
    }

    /// Hand it packages that it refuses. Returns the failure's data.
    pub async fn refuse(&self, branch: &str, artifacts: &[Artifact]) -> Value {
        let mut events = self.sign(branch, artifacts).await;
        assert_eq!(events.len(), 1, "{events:?}");
        data("foundry.failure.v1", events.remove(0))
    }
}

fn data(event_type: &str, event: OutgoingEvent) -> Value {
    assert_eq!(event.event_type, event_type, "{event:?}");
    Value::Object(event.data)
}

/// A message with signed packages, unlike any other.
pub fn sign_message(branch: &str, artifacts: &[Artifact]) -> Message {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Message {
        id: format!("message-{number}"),
        topic: "signs".to_owned(),
        event_type: "foundry.sign.v1".to_owned(),
        source: "test/signbot".to_owned(),
        subject: None,
        time: "2026-11-23T09:00:00Z".to_owned(),
        run: format!("run-{number}"),
        attempt: 0,
        data: sign_data(branch, artifacts).to_string(),
    }
}

/// The same with an event that says this of them.
pub fn message_about(about: &Value, branch: &str, artifacts: &[Artifact]) -> Message {
    let mut message = sign_message(branch, artifacts);
    let mut data = sign_data(branch, artifacts);
    for (name, value) in about.as_object().unwrap() {
        data[name] = value.clone();
    }
    message.data = data.to_string();
    message
}

/// The data of an event with signed packages.
pub fn sign_data(branch: &str, artifacts: &[Artifact]) -> Value {
    json!({
        "repository": "https://example.org/hello.git",
        "branch": branch,
        "ref": "a".repeat(40),
        "source": "hello",
        "version": "1.0-1",
        "architecture": "amd64",
        "key": "b".repeat(40),
        "artifacts": artifacts,
    })
}

/// The data of an event with the statement that the packages key of a host makes of it; the key is made if there is none.
pub fn stated(state: &Path, mut data: Value) -> Value {
    let keys = KeyStore::open(state.join("keys")).unwrap();
    let is_packages = |key: &KeyInfo| key.roles.contains(&Role::Packages);
    let key = keys.list().unwrap().into_iter().find(is_packages);
    let key = key.unwrap_or_else(|| {
        keys.generate(Role::Packages, &NewKey::new("Packages <packages@example.org>"))
            .unwrap()
    });
    let signer = keys
        .signer(&key.fingerprint.to_string(), Role::Packages, &PassphraseSource::none())
        .unwrap();
    data["key"] = json!(key.fingerprint.to_string());
    data["statement"] = json!(signed_by(&signer, &statement(&data)));
    data
}

/// A clear-signed text.
pub fn signed_by(signer: &Signer, text: &str) -> String {
    String::from_utf8(signer.clear_sign(text.as_bytes()).unwrap()).unwrap()
}

/// What signbot states of an event, as docs/signing.md has it.
pub fn statement(data: &Value) -> String {
    let text = |name: &str| data[name].as_str().unwrap();
    let mut files: Vec<_> = data["artifacts"].as_array().unwrap().iter().collect();
    files.sort_by_key(|file| file["name"].as_str().unwrap());
    let mut lines: Vec<_> = files
        .into_iter()
        .map(|file| {
            let text = |name: &str| file[name].as_str().unwrap();
            format!(" {} {} {}\n", text("sha256"), file["size"], text("name"))
        })
        .collect();
    lines.dedup();
    format!(
        "Format: foundry-statement-1\nRepository: {}\nBranch: {}\nCommit: {}\nSource: {}\nVersion: {}\nArchitecture: {}\n\
         Builder: builder-1\nBuild: build-1\nChecksums-Sha256:\n{}",
        text("repository"),
        text("branch"),
        text("ref"),
        text("source"),
        text("version"),
        text("architecture"),
        lines.concat()
    )
}
