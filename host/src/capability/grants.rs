//! What the operator lets a bot do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build::SourceGrant;
use super::git::Location;
use super::{Interface, MailPattern, PublishGrant, ReadGrant, shell_word};
use crate::reach::{Glob, Pattern, Permits, Target, WebPattern};
use crate::runtime::wit::types::{Description, OptionKind};

/// A bot's rights, beyond those that every bot has (log, state, config, clock, and the topics of its own namespace).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Read and store artifacts.
    pub artifacts: bool,
    /// Build packages.
    pub build: bool,
    /// Git repositories that it may read.
    pub git: Vec<Pattern>,
    /// URLs that it may ask over HTTP.
    pub http: Vec<WebPattern>,
    /// Addresses that it may have the host send mail to.
    pub mail: Vec<MailPattern>,
    /// Rights that it is loaded without, although it asks for them: each use is refused.
    pub without: Vec<Interface>,
    /// Topics that it may publish on, beyond its own.
    pub publish: Vec<PublishGrant>,
    /// Topics that it may read, beyond its own.
    pub read: Vec<ReadGrant>,
    /// Keys that it may have the host sign with: fingerprints or key ids.
    pub sign: Vec<String>,
    /// Directories that it may publish into.
    pub site: Vec<PathBuf>,
    /// Files that the host may use for its builds, keyrings for instance.
    pub files: Vec<PathBuf>,
    /// Package sources that its builds may use beyond the machine's own.
    pub apt: Vec<SourceGrant>,
    /// Suites that it may build for beyond the machine's own; `*` stands for any text.
    pub suites: Vec<String>,
}

impl Grants {
    /// What a stock bot needs for the options that it was given: its repositories, its key, its directory.
    ///
    /// Only for the bots inside the host's binary. A bot from elsewhere could declare any option to be a key.
    #[must_use]
    pub fn of_stock_bot(
        description: &Description,
        imports: &[Interface],
        options: &BTreeMap<String, Vec<String>>,
    ) -> Self {
        let mut grants = Self {
            artifacts: imports.contains(&Interface::Artifacts),
            build: imports.contains(&Interface::Build),
            ..Self::default()
        };
        let mut names_repositories = false;
        for spec in &description.options {
            let values = options.get(&spec.name).map(Vec::as_slice).unwrap_or_default();
            match spec.kind {
                OptionKind::GitUrl => {
                    names_repositories = true;
                    grants.git.extend(values.iter().map(|value| {
                        let url = value.split_once('#').map_or(value.as_str(), |(url, _)| url);
                        Location::parse(url).map_or_else(|_| unreadable(url), |location| location.pattern())
                    }));
                }
                OptionKind::Key => grants.sign.extend(values.iter().cloned()),
                OptionKind::Site => grants.site.extend(values.iter().map(PathBuf::from)),
                OptionKind::File => grants.files.extend(values.iter().map(PathBuf::from)),
                OptionKind::Text | OptionKind::Flag | OptionKind::Number | OptionKind::Duration => {}
            }
        }
        if grants.build {
            // buildbot's. Kinds of options belong to the contract, and none is a package source or a suite.
            let values = |name: &str| options.get(name).map(Vec::as_slice).unwrap_or_default();
            let sources = values("repository").iter();
            grants.apt.extend(sources.filter_map(|text| SourceGrant::written(text)));
            grants.suites.extend(values("suite").iter().cloned());
        }
        if imports.contains(&Interface::Git) && !names_repositories {
            // buildbot reads the repositories that signed events name; who may announce is decided by the trusted keys.
            grants.git.push(Pattern::announced());
        }
        grants
    }

    /// Add another's rights to these.
    pub fn extend(&mut self, more: Self) {
        self.artifacts |= more.artifacts;
        self.build |= more.build;
        self.git.extend(more.git);
        self.http.extend(more.http);
        self.mail.extend(more.mail);
        self.without.extend(more.without);
        self.publish.extend(more.publish);
        self.read.extend(more.read);
        self.sign.extend(more.sign);
        self.site.extend(more.site);
        self.files.extend(more.files);
        self.apt.extend(more.apt);
        self.suites.extend(more.suites);
    }

    /// The options of `load` that grant this, ready for a shell.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |option: &str, values: Vec<String>| {
            flags.extend(values.iter().map(|value| format!("--{option} {}", shell_word(value))));
        };
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
        add("allow-git", texts(&self.git));
        add("allow-http", texts(&self.http));
        add("allow-mail", texts(&self.mail));
        add("allow-publish", texts(&self.publish));
        add("allow-read", texts(&self.read));
        add("allow-sign", self.sign.clone());
        add("allow-site", paths(&self.site));
        add("allow-file", paths(&self.files));
        add("allow-apt", texts(&self.apt));
        add("allow-suite", self.suites.clone());
        add(
            "without",
            self.without.iter().map(|right| right.name().to_owned()).collect(),
        );
        flags.extend(self.build.then(|| "--allow-build".to_owned()));
        flags.extend(self.artifacts.then(|| "--allow-artifacts".to_owned()));
        flags
    }

    /// Whether an interface may be linked at all. Patterns narrow each call further.
    #[must_use]
    pub fn allow(&self, interface: Interface) -> bool {
        if self.without.contains(&interface) {
            return interface.can_be_without();
        }
        match interface {
            Interface::Log | Interface::State | Interface::Config | Interface::Publish | Interface::Clock => true,
            Interface::Artifacts => self.artifacts,
            Interface::Git => !self.git.is_empty(),
            Interface::Build => self.build,
            Interface::Signing => !self.sign.is_empty(),
            Interface::Site => !self.site.is_empty(),
            Interface::Http => !self.http.is_empty(),
            Interface::Mail => !self.mail.is_empty(),
        }
    }

    /// The repositories that it may read.
    #[must_use]
    pub fn git_permits(&self) -> Permits {
        Permits::from(self.git.as_slice())
    }

    /// The URLs that it may ask over HTTP.
    #[must_use]
    pub fn web_permits(&self) -> Permits {
        Permits::from(self.http.as_slice())
    }

    /// Whether the bot may sign with a key, written as the grant writes it.
    #[must_use]
    pub fn allow_sign(&self, key: &str) -> bool {
        self.sign.iter().any(|granted| granted.eq_ignore_ascii_case(key))
    }

    /// Whether the bot may publish into a directory, written as the grant writes it.
    #[must_use]
    pub fn allow_site(&self, directory: &Path) -> bool {
        self.site.iter().any(|granted| granted == directory)
    }

    /// Whether the host may use a file for the bot's builds.
    #[must_use]
    pub fn allow_file(&self, file: &Path) -> bool {
        self.files.iter().any(|granted| granted == file)
    }

    /// Whether the bot may have packages built for a suite that is not the machine's own.
    #[must_use]
    pub fn allow_suite(&self, suite: &str) -> bool {
        self.suites.iter().any(|granted| Glob::new(granted).matches(suite))
    }
}

/// The grant for what is no repository's URL: nothing has it, and it is refused with the reason when it is asked for. Its text may
/// hold a password that nobody recognises.
fn unreadable(url: &str) -> Pattern {
    Pattern::exactly(Target::Local(url.to_owned()), String::new())
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
