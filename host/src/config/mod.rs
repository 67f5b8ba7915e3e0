//! `foundry.toml`: a whole installation, declared in one file.
//!
//! [`Config::read`] checks what the file says by itself, [`resolve`] what it says of its bots, by asking their
//! components, and [`check`](fn@check) whether the machine has what it needs. Every problem names file, line, setting
//! and remedy.

mod artifacts;
mod bots;
mod broker;
mod builds;
mod certificates;
mod check;
mod contact;
mod external;
mod mail;
mod messages;
mod network;
mod parse;
mod problem;
mod reader;
mod resolve;
mod retention;
mod settings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub use bots::ConfiguredBot;
pub use broker::BrokerSettings;
pub use check::{check, check_listen};
pub use contact::check_services;
pub use parse::{BAD_DIGEST, absolute, absolute_option, is_local, parse_bot_source, parse_digest, parse_size};
pub use problem::{ConfigError, Problem, Severity, nearest, sort};
pub use resolve::{ResolvedBot, resolve};
pub use settings::{SETTINGS, Setting};

use crate::capability::build;
use crate::capability::mail::MailSettings;
use crate::keys::{Fingerprint, PassphraseSource};
use crate::objects::Location;
use crate::reach::Network;
use crate::retention::Limits;
use crate::supervisor::{BrokerChoice, HostConfig, MessagesConfig, parse_duration};
use problem::Problems;
use reader::Section;
use settings::{
    HOST_DRAIN, HOST_LONGEST_MESSAGE, HOST_NAME, HOST_REQUIRE_SIGNED_BOTS, HOST_STATE, KEYS_PASSPHRASE_FILE,
    KEYS_PASSPHRASE_FILES, MESSAGES_OBSERVE,
};

/// A configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its file; none if all is by default.
    pub path: Option<PathBuf>,
    /// The host's name.
    pub name: String,
    /// Whether the file names it; otherwise it is the machine's.
    pub name_is_chosen: bool,
    /// Whether the host takes its name over at once from one that seems to be online: asked for on the command line.
    pub take_over: bool,
    /// Its state directory, if the file names one.
    pub state: Option<PathBuf>,
    /// Its broker.
    pub broker: BrokerSettings,
    /// Messages.
    pub messages: MessagesConfig,
    /// Where passphrases come from.
    pub passphrases: PassphraseSource,
    /// Where artifacts are kept, if not in the state directory.
    pub artifacts: Option<Location>,
    /// How packages are built.
    pub builds: build::Settings,
    /// How much is kept, and for how long.
    pub retention: Limits,
    /// How mail is sent, if it is.
    pub mail: Option<MailSettings>,
    /// Exceptions for what bots reach over the network.
    pub network: Network,
    /// How long messages in hand may take when a bot is stopped.
    pub drain: Duration,
    /// Time that a bot from a file gets for a message by asking for it.
    pub longest_message: Duration,
    /// Whether every bot from a file has to be signed.
    pub require_signed_bots: bool,
    /// Further topics to record.
    pub observe: Vec<String>,
    /// Lines of settings, for what turns out later to be wrong with them.
    pub lines: BTreeMap<String, usize>,
    /// Its bots, by name.
    pub bots: Vec<ConfiguredBot>,
}

impl Config {
    /// Read a file.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Without a file: no bots, and everything else by default.
    ///
    /// # Errors
    /// [`ConfigError`] if the machine's host name can't be used.
    pub fn without_file() -> Result<Self, ConfigError> {
        let config = Self::parse(Path::new("foundry.toml"), "")?;
        Ok(Self { path: None, ..config })
    }

    /// Read the text of a file. Relative paths begin at its directory.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::new(path, text);
        let (document, mistakes) = DeTable::parse_recoverable(text);
        for mistake in &mistakes {
            let at = mistake.span().map(|span| span.start);
            problems.error(at, "", mistake.message(), "see https://toml.io for how TOML is written");
        }
        let base = base_of(path);
        let config = mistakes
            .is_empty()
            .then(|| read(path, document.get_ref(), &base, &mut problems))
            .flatten();
        match (config, problems.into_sorted()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError::Wrong {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// What a host is started with.
    #[must_use]
    pub fn host(&self, state: PathBuf) -> HostConfig {
        let broker = match &self.broker {
            BrokerSettings::Embedded(embedded) => BrokerChoice::Embedded(foundry_broker::Config {
                data_dir: state.join("broker"),
                ..(**embedded).clone()
            }),
            BrokerSettings::External(address) => BrokerChoice::External(address.clone()),
        };
        HostConfig {
            name: self.name.clone(),
            name_is_chosen: self.name_is_chosen,
            take_over: self.take_over,
            state,
            broker,
            messages: self.messages.clone(),
            passphrases: self.passphrases.clone(),
            gnupg_home: None,
            observe: self.observe.clone(),
            artifacts: self.artifacts.clone(),
            builds: self.builds.clone(),
            retention: self.retention.clone(),
            mail: self.mail.clone(),
            network: self.network.clone(),
            drain: self.drain,
            longest_message: self.longest_message,
            require_signed_bots: self.require_signed_bots,
        }
    }
}

/// The directory that relative paths in the file begin at.
fn base_of(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new(""));
    std::path::absolute(directory)
        .or_else(|_| std::env::current_dir().map(|current| current.join(directory)))
        .unwrap_or_else(|_| directory.to_owned())
}

fn read(path: &Path, document: &DeTable<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<Config> {
    bots::refuse_unknown_tables(document, problems);
    let host = Section::top(document, "host", problems);
    host.refuse_unknown(problems);
    let name = match host.has(&HOST_NAME) {
        Some(_) => host
            .parsed(&HOST_NAME, problems, |text| {
                let fits = crate::supervisor::is_bot_name(text);
                fits.then(|| text.to_owned())
                    .ok_or_else(|| "use letters, digits, '.', '_' and '-'".to_owned())
            })
            .map(|found| found.value),
        None => Some(machine_name()),
    };
    let state = host
        .text(&HOST_STATE, problems)
        .map(|found| absolute(found.value, base));
    let drain = host.parsed(&HOST_DRAIN, problems, |text| {
        parse_duration(text).ok_or_else(|| "write \"5s\" or \"2m\"".to_owned())
    });
    let longest_message = host.parsed(&HOST_LONGEST_MESSAGE, problems, |text| {
        let time = parse_duration(text).filter(|time| !time.is_zero());
        time.ok_or_else(|| "write \"10m\" or \"1h\"".to_owned())
    });
    let require_signed_bots = host.flag(&HOST_REQUIRE_SIGNED_BOTS, problems);
    let network = network::read(document, problems);
    let broker = broker::read(document, base, &network, problems);
    let messages = messages::read(document, problems);
    let observe = Section::top(document, "messages", problems);
    let observe = observe
        .texts(&MESSAGES_OBSERVE, problems)
        .into_iter()
        .map(|found| found.value)
        .collect();
    let passphrases = passphrases(document, base, problems);
    let artifacts = artifacts::read(document, base, &network, problems);
    let builds = builds::read(document, problems);
    let max_age = messages
        .as_ref()
        .map_or(MessagesConfig::default().max_age, |messages| messages.max_age);
    let retention = retention::read(document, max_age, problems);
    let mail = mail::read(document, base, &network, problems);
    let bots = bots::read(document, base, problems);
    let mut lines = BTreeMap::new();
    for section in [
        &host,
        &Section::top(document, "artifacts", problems),
        &Section::top(document, "broker", problems),
        &Section::top(document, "mail", problems),
        &Section::top(document, "messages", problems),
    ] {
        for (key, span, _) in section.entries() {
            lines.insert(format!("{}.{key}", section.path), problems.line(span.start));
        }
    }
    Some(Config {
        path: Some(path.to_owned()),
        name: name?,
        name_is_chosen: host.has(&HOST_NAME).is_some(),
        take_over: false,
        state,
        broker: broker?,
        messages: messages?,
        passphrases,
        artifacts,
        builds: builds?,
        retention: retention?,
        mail,
        network,
        drain: drain?.value,
        longest_message: longest_message?.value,
        require_signed_bots,
        observe,
        lines,
        bots,
    })
}

/// The machine's name, with what a host's name can't hold replaced.
fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    if crate::supervisor::is_bot_name(&name) {
        name
    } else {
        "localhost".to_owned()
    }
}

fn passphrases(document: &DeTable<'_>, base: &Path, problems: &mut Problems<'_>) -> PassphraseSource {
    let section = Section::top(document, "keys", problems);
    section.refuse_unknown(problems);
    let mut source = PassphraseSource::from_environment();
    if let Some(found) = section.text(&KEYS_PASSPHRASE_FILE, problems) {
        source = source.with_common_file(absolute(found.value, base));
    }
    let files = section.below(KEYS_PASSPHRASE_FILES.key, "keys.passphrase-files", problems);
    for (key, span, value) in files.entries() {
        let path = format!("{}.{key}", files.path);
        match (key.parse::<Fingerprint>(), value.get_ref().as_str()) {
            (Ok(fingerprint), Some(file)) => source = source.with_file(fingerprint, absolute(file, base)),
            (Err(error), _) => {
                let remedy = "`foundry-host key list` shows fingerprints";
                problems.error(Some(span.start), &path, error.to_string(), remedy);
            }
            (Ok(_), None) => {
                let remedy = format!("write {key} = \"FILE\"");
                problems.error(
                    Some(value.span().start),
                    &path,
                    "this is not the name of a file",
                    remedy,
                );
            }
        }
    }
    source
}
