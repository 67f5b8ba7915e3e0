//! User and password for an HTTP server, from where git's users keep them: the URL, `~/.netrc`, and git's credential
//! helpers. Nobody is ever asked.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::deadline::Deadline;
use super::location::HttpLocation;
use super::program::{run, unattended};

/// A user and a password. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// The header `Authorization` for them (RFC 7617).
    pub(super) fn header(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where credentials are looked for.
#[derive(Debug, Clone)]
pub struct CredentialSources {
    /// A file of the format of `~/.netrc`.
    pub netrc: Option<PathBuf>,
    /// The program whose `credential fill` asks git's credential helpers.
    pub git: Option<String>,
    /// More variables for that program.
    pub environment: Vec<(String, String)>,
}

impl Default for CredentialSources {
    /// `$NETRC` or `~/.netrc`, then the helpers of the host user's git configuration.
    fn default() -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".netrc"));
        let netrc = std::env::var_os("NETRC").map(PathBuf::from).or_else(home);
        Self {
            netrc,
            git: Some("git".to_owned()),
            environment: Vec::new(),
        }
    }
}

impl CredentialSources {
    /// The credentials for a repository, for the server that its location names. Where that redirects to gets none: it would choose
    /// whose password it wants to hear.
    pub(super) fn find(&self, location: &HttpLocation, deadline: &Deadline) -> Option<Credentials> {
        if let Some(password) = &location.password {
            return Some(Credentials {
                user: location.user.clone().unwrap_or_default(),
                password: password.clone(),
            });
        }
        let (url, user) = (&location.url, location.user.as_deref());
        self.in_netrc(url, user)
            .or_else(|| self.with_helper(url, user, deadline))
    }

    fn in_netrc(&self, url: &Url, user: Option<&str>) -> Option<Credentials> {
        let text = std::fs::read_to_string(self.netrc.as_ref()?).ok()?;
        parse_netrc(&text, url.host_str()?, user)
    }

    fn with_helper(&self, url: &Url, user: Option<&str>, deadline: &Deadline) -> Option<Credentials> {
        let mut command = unattended(self.git.as_ref()?);
        command
            .args(["credential", "fill"])
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let mut request = format!("protocol={}\nhost={}{port}\n", url.scheme(), url.host_str()?);
        request += &format!("path={}\n", url.path().trim_start_matches('/'));
        if let Some(user) = user {
            request += &format!("username={user}\n");
        }
        request.push('\n');
        // Without a helper, git wants to ask, may not, and fails.
        let answer = run(command, request.as_bytes(), deadline)
            .ok()
            .filter(|answer| answer.status.success())?;
        let value = |name| {
            answer
                .output
                .lines()
                .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
        };
        Some(Credentials {
            user: value("username")?.1.to_owned(),
            password: value("password")?.1.to_owned(),
        })
    }
}

/// The entry of a host, or the default entry, of a netrc file. Macros are skipped.
fn parse_netrc(text: &str, host: &str, user: Option<&str>) -> Option<Credentials> {
    let mut entries: Vec<(Option<&str>, Option<&str>, Option<&str>)> = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        if in_macro {
            in_macro = !line.trim().is_empty();
            continue;
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            match (word, entries.last_mut()) {
                ("machine", _) => entries.push((Some(words.next()?), None, None)),
                ("default", _) => entries.push((None, None, None)),
                ("login", Some(entry)) => entry.1 = words.next(),
                ("password", Some(entry)) => entry.2 = words.next(),
                ("account", _) => drop(words.next()),
                ("macdef", _) => {
                    in_macro = true;
                    break;
                }
                (comment, _) if comment.starts_with('#') => break,
                _ => {}
            }
        }
    }
    entries.into_iter().find_map(|(machine, login, password)| {
        let wanted = machine.is_none_or(|machine| machine == host) && user.is_none_or(|user| login == Some(user));
        wanted.then_some(())?;
        Some(Credentials {
            user: login?.to_owned(),
            password: password?.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::git::Location;
    use std::time::Duration;

    const NETRC: &str = "# mine\nmachine a.example login me password one\nmacdef init\nmachine b.example login no\n\n\
                         machine b.example\n  login you\n  password two\ndefault login any password three\n";

    fn pair(host: &str, user: Option<&str>) -> Option<(String, String)> {
        parse_netrc(NETRC, host, user).map(|found| (found.user, found.password))
    }

    #[test]
    fn a_netrc_entry_is_found_by_host_and_user() {
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(pair("a.example", None), both("me", "one"));
        assert_eq!(pair("b.example", Some("you")), both("you", "two"));
        assert_eq!(pair("c.example", None), both("any", "three"));
        assert_eq!(pair("a.example", Some("other")), None);
    }

    #[test]
    fn a_password_in_the_url_goes_before_all_others() {
        let Ok(Location::Http(location)) = Location::parse("https://me:secret@a.example/x") else {
            panic!()
        };
        let sources = CredentialSources {
            netrc: None,
            git: None,
            environment: Vec::new(),
        };
        let deadline = Deadline::after(Duration::from_secs(1));
        assert_eq!(
            sources.find(&location, &deadline).unwrap().header(),
            "Basic bWU6c2VjcmV0"
        );
    }

    #[test]
    fn gits_credential_helpers_are_asked_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        std::fs::write(
            &config,
            "[credential \"https://a.example\"]\n\thelper = \"!echo username=me; echo password=p=w; :\"\n",
        )
        .unwrap();
        let environment = vec![("GIT_CONFIG_GLOBAL".to_owned(), config.display().to_string())];
        let sources = CredentialSources {
            netrc: None,
            git: Some("git".to_owned()),
            environment,
        };
        let deadline = Deadline::after(Duration::from_secs(20));
        let find = |text: &str| {
            let Ok(Location::Http(location)) = Location::parse(text) else {
                panic!()
            };
            sources.find(&location, &deadline)
        };
        let found = find("https://a.example/x").unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("me", "p=w"));
        assert_eq!(format!("{found:?}"), "[redacted]");
        assert_eq!(find("https://b.example/x"), None);
    }
}
