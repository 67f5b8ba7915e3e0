//! Whether the machine has what a configuration needs: keys, directories, repositories, a free port.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use time::OffsetDateTime;

use super::parse::is_local;
use super::problem::{Problem, Severity};
use super::resolve::ResolvedBot;
use super::{BrokerSettings, Config, ConfiguredBot, certificates};
use crate::capability::Interface;
use crate::capability::build::{IdsFault, User, ids_fault};
use crate::capability::mail::Mail;
use crate::capability::site::{Closed, Mirror};
use crate::keys::{KeyStore, Location, PassphraseSource, Role};
use crate::objects::Location as Bucketed;
use crate::reach::Network;
use crate::runtime::wit::types::OptionKind;
use crate::supervisor::BotSource;
use crate::tls::ClientTls;

/// Look for what would fail later.
#[must_use]
pub fn check(config: &Config, bots: &[ResolvedBot], state: &Path) -> Vec<Problem> {
    let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
    let mut findings = Findings {
        file,
        network: &config.network,
        problems: Vec::new(),
    };
    match KeyStore::open(state.join("keys")) {
        Ok(store) => {
            if let Some(key) = &config.messages.key {
                let line = config.lines.get("messages.key").copied();
                findings.key(&store, key, &[Role::Messages], line, "messages.key");
            }
            findings.unbound(&store);
            for bot in bots {
                findings.bot(&store, bot);
            }
        }
        Err(error) => findings.add(Severity::Error, None, "host.state", error.to_string(), ""),
    }
    // Without a port by name the host takes another.
    if let BrokerSettings::Embedded(broker) = &config.broker
        && !broker.any_port
    {
        let problem = check_listen(file, broker.listen);
        let line = config.lines.get("broker.listen").copied();
        findings
            .problems
            .extend(problem.map(|problem| Problem { line, ..problem }));
    }
    if let BrokerSettings::External(address) = &config.broker
        && let Some(Err(error)) = address.tls.as_ref().map(ClientTls::load)
    {
        let line = config
            .lines
            .get("broker.ca")
            .or(config.lines.get("broker.url"))
            .copied();
        let remedy = "name PEM files that exist with broker.ca, broker.certificate and broker.key";
        findings.add(Severity::Error, line, "broker.url", error.to_string(), remedy);
    }
    if let BrokerSettings::Embedded(broker) = &config.broker
        && let Some(Err(error)) = broker.tls.as_ref().map(foundry_broker::Tls::check)
    {
        let line = config.lines.get("broker.tls").copied();
        let remedy = "name PEM files that exist and belong together with certificate, key and client-ca";
        findings.add(Severity::Error, line, "broker.tls", format!("cannot {error}"), remedy);
    }
    findings.mail(config, bots);
    findings
        .problems
        .extend(certificates::check(config, OffsetDateTime::now_utc()));
    let builders = bots
        .iter()
        .filter(|bot| bot.component.interfaces().contains(&Interface::Build));
    // Who checks may be root, and the host somebody else's.
    let user = User::of_directory(state).unwrap_or_else(User::own);
    findings.builds(builders.map(|bot| &bot.bot), ids_fault(user));
    findings.problems
}

/// A port that somebody listens on. A warning, since it may be this very host, running.
#[must_use]
pub fn check_listen(file: &Path, listen: SocketAddr) -> Option<Problem> {
    let error = TcpListener::bind(listen).err()?;
    Some(Problem {
        severity: Severity::Warning,
        file: file.to_owned(),
        line: None,
        key: "broker.listen".to_owned(),
        message: format!("cannot listen on {listen} now: {error}"),
        remedy: "all is well if that is this host, running; else choose another port".to_owned(),
    })
}

struct Findings<'c> {
    file: &'c Path,
    network: &'c Network,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, line: Option<usize>, key: &str, message: String, remedy: &str) {
        let (file, key, remedy) = (self.file.to_owned(), key.to_owned(), remedy.to_owned());
        self.problems.push(Problem {
            severity,
            file,
            line,
            key,
            message,
            remedy,
        });
    }

    fn mail(&mut self, config: &Config, bots: &[ResolvedBot]) {
        let Some(mail) = &config.mail else {
            let senders = bots.iter().filter(|bot| !bot.bot.spec.grants.mail.is_empty());
            for ResolvedBot { bot, .. } in senders {
                let key = format!("bots.{}.grants.mail", bot.name);
                let message = "this host sends no mail".to_owned();
                self.add(Severity::Warning, Some(bot.line), &key, message, "add the table [mail]");
            }
            return;
        };
        if let Err(error) = Mail::new(Some(mail)) {
            let line = config.lines.get("mail.ca").or(config.lines.get("mail.server")).copied();
            let remedy = "name a PEM file that exists, or remove this";
            self.add(Severity::Error, line, "mail.ca", error.to_string(), remedy);
        }
    }

    /// A warning, since who checks may be somebody else than the host's user.
    fn builds<'b>(&mut self, builders: impl Iterator<Item = &'b ConfiguredBot>, fault: Option<IdsFault>) {
        let Some(fault) = fault else { return };
        for bot in builders {
            let key = format!("bots.{}.grants.build", bot.name);
            self.add(
                Severity::Warning,
                Some(bot.line),
                &key,
                fault.missing.clone(),
                &fault.remedy,
            );
        }
    }

    /// Keys of other hosts that were imported before keys had hosts. A store that can't be read is told where a key is used.
    fn unbound(&mut self, store: &KeyStore) {
        for key in store.list().unwrap_or_default().iter().filter(|key| key.is_unbound()) {
            let message = format!("messages key {key} is bound to no host, and believed in nothing");
            let fingerprint = key.fingerprint;
            let remedy = format!(
                "run `foundry-host key allow {fingerprint} --host NAME --may DUTY`, or `foundry-host key remove {fingerprint}`"
            );
            self.add(Severity::Warning, None, "messages.trust", message, &remedy);
        }
    }

    fn bot(&mut self, store: &KeyStore, resolved: &ResolvedBot) {
        let bot = &resolved.bot;
        for spec in &resolved.description.options {
            let line = bot.option_lines.get(&spec.name).copied();
            let key = format!("bots.{}.{}", bot.name, spec.name);
            for value in bot.spec.options.get(&spec.name).into_iter().flatten() {
                match spec.kind {
                    OptionKind::Key => self.key(store, value, roles(&bot.spec.source), line, &key),
                    OptionKind::Site => self.site(Path::new(value), line, &key),
                    OptionKind::File => self.file(Path::new(value), line, &key),
                    OptionKind::GitUrl => self.repository(value, line, &key),
                    OptionKind::Text | OptionKind::Flag | OptionKind::Number | OptionKind::Duration => {}
                }
            }
        }
        let grants = format!("bots.{}.grants", bot.name);
        for site in &bot.spec.grants.site {
            self.site(site, Some(bot.line), &format!("{grants}.site"));
        }
        for key in &bot.spec.grants.sign {
            self.key(
                store,
                key,
                roles(&bot.spec.source),
                Some(bot.line),
                &format!("{grants}.sign"),
            );
        }
        for path in &bot.spec.grants.files {
            self.file(path, Some(bot.line), &format!("{grants}.files"));
        }
    }

    fn key(&mut self, store: &KeyStore, query: &str, roles: &[Role], line: Option<usize>, setting: &str) {
        let names = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or ");
        // Messages are signed by a key of the store: gpg-agent is too slow for them, and may ask somebody.
        let known = match roles {
            [Role::Messages] => store.find_stored(query),
            _ => store.find_any(query),
        };
        let known = match known {
            Ok(known) => known,
            Err(error) => {
                return self.add(Severity::Error, line, setting, error.to_string(), "");
            }
        };
        if let (Location::Gnupg, Some(role)) = (known.location, roles.first()) {
            // Asks gpg-agent whether it has the secret, and nobody for its passphrase.
            if let Err(error) = store.signer(query, *role, &PassphraseSource::none()) {
                self.add(Severity::Error, line, setting, error.to_string(), "");
            }
            return;
        }
        let mut wrong = |message, remedy| self.add(Severity::Error, line, setting, message, remedy);
        if known.revoked {
            wrong(format!("key {known} was revoked"), "make a new key and use that");
        } else if known.expired {
            wrong(
                format!("key {known} has expired"),
                "make a new key, or import the key with a later expiry",
            );
        } else if !known.has_secret && !known.kept_by_gnupg {
            wrong(
                format!("key {known} is here without its secret part"),
                "import the secret key to sign with it",
            );
        } else if !roles.iter().any(|role| known.roles.contains(role)) {
            wrong(
                format!("key {known} does not have the role {names}"),
                "give it the role with `foundry-host key roles`, or choose another key",
            );
        }
    }

    fn site(&mut self, directory: &Path, line: Option<usize>, setting: &str) {
        // Where it isn't there yet, it is made in the nearest directory that is.
        let Some(nearest) = directory.ancestors().find(|path| path.exists()) else {
            return;
        };
        let shown = directory.display();
        if !nearest.is_dir() {
            let message = format!("{shown} can't be a directory: {} is none", nearest.display());
            return self.add(Severity::Error, line, setting, message, "name a directory");
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        if let Err(error) = rustix::fs::access(nearest, access) {
            let message = format!("cannot write to {}: {}", nearest.display(), std::io::Error::from(error));
            self.add(
                Severity::Error,
                line,
                setting,
                message,
                "let the host's user write there",
            );
        } else if let Some(closed) = Closed::on_the_way_to(directory) {
            self.add(Severity::Warning, line, setting, closed.to_string(), &closed.remedy());
        }
        self.mirror(directory, line, setting);
    }

    /// A copy that was set before the configuration was what it is.
    fn mirror(&mut self, directory: &Path, line: Option<usize>, setting: &str) {
        let Some(Ok(Bucketed::Bucket(bucket))) = Mirror::of(directory).map(|mirror| mirror.location()) else {
            return;
        };
        if let Err(error) = bucket.check_clear_text(self.network) {
            let message = format!(
                "the copy of {} in {}: {error}",
                directory.display(),
                Bucketed::Bucket(bucket)
            );
            let remedy = "or set it anew with `foundry-host repo mirror`";
            self.add(Severity::Error, line, setting, message, remedy);
        }
    }

    fn file(&mut self, path: &Path, line: Option<usize>, setting: &str) {
        if let Err(error) = std::fs::File::open(path) {
            let message = format!("cannot read {}: {error}", path.display());
            self.add(
                Severity::Error,
                line,
                setting,
                message,
                "name a file that the host's user can read",
            );
        }
    }

    fn repository(&mut self, value: &str, line: Option<usize>, setting: &str) {
        let url = value.split_once('#').map_or(value, |(url, _)| url);
        let wrong = if is_local(url) {
            let found = Path::new(url).exists();
            (!found).then(|| {
                (
                    Severity::Warning,
                    format!("there is no repository {url} yet"),
                    "check the path",
                )
            })
        } else {
            why_no_git_url(url).map(|why| {
                (
                    Severity::Error,
                    why,
                    "write https://HOST/PATH, ssh://USER@HOST/PATH or a path",
                )
            })
        };
        if let Some((severity, message, remedy)) = wrong {
            self.add(severity, line, setting, message, remedy);
        }
    }
}

/// The roles that fit what a bot signs.
fn roles(source: &BotSource) -> &'static [Role] {
    match source {
        BotSource::Stock(name) if name == "signbot" => &[Role::Packages],
        BotSource::Stock(name) if name == "distbot" => &[Role::Repository],
        BotSource::Stock(_) | BotSource::File(_) => &[Role::Packages, Role::Repository],
    }
}

/// What is wrong with the URL of a repository that is not on this machine.
fn why_no_git_url(url: &str) -> Option<String> {
    const SCHEMES: [&str; 5] = ["http", "https", "git", "ssh", "file"];
    if !url.contains("://") {
        // [USER@]HOST:PATH, as ssh takes it.
        let (host, path) = url.split_once(':')?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        return (host.is_empty() || path.is_empty()).then(|| format!("{url:?} names no host or no path"));
    }
    match url::Url::parse(url) {
        Err(error) => Some(format!("{url:?} is not a URL: {error}")),
        Ok(parsed) if !SCHEMES.contains(&parsed.scheme()) => {
            Some(format!("git can't fetch from {url:?}: it knows {}", SCHEMES.join(", ")))
        }
        Ok(parsed) if parsed.path().trim_matches('/').is_empty() => Some(format!("{url:?} names no repository")),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_that_cannot_build_are_named_with_the_command_that_mends_it() {
        let file = Path::new("foundry.toml");
        let config = Config::parse(file, "[bots.amd64]\nuse = \"buildbot\"\n").unwrap();
        let told = |fault| {
            let mut findings = Findings {
                file,
                network: &config.network,
                problems: Vec::new(),
            };
            findings.builds(config.bots.iter(), fault);
            findings.problems
        };
        let fault = IdsFault {
            missing: "this user has no range".to_owned(),
            remedy: "run `sudo usermod --add-subuids 1-2 bob`".to_owned(),
        };
        let text = told(Some(fault)).remove(0).to_string();
        for part in [
            "foundry.toml:1",
            "bots.amd64.grants.build",
            "no range",
            "run `sudo usermod --add-subuids 1-2 bob`",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(told(None).is_empty());
    }

    #[test]
    fn git_urls() {
        for good in [
            "https://example.org/x.git",
            "ssh://git@example.org/x",
            "git@example.org:x.git",
            "file:///srv/x",
        ] {
            assert_eq!(why_no_git_url(good), None, "{good}");
        }
        for bad in [
            "https://example.org",
            "htps://example.org/x",
            "https://",
            "git@:x",
            "example.org:",
        ] {
            assert!(why_no_git_url(bad).is_some(), "{bad}");
        }
    }
}
