//! Where a repository is: a checked URL or path, whose credentials never print.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::error::GitError;
use crate::reach::{Host, Pattern, Scheme, Server, Target};

/// The longest URL that is taken, as the events' schema has it.
const MAX_LENGTH: usize = 2048;

/// Port of git's own protocol.
const DAEMON_PORT: u16 = 9418;

/// A repository's location. It displays without its password, so that it can go into logs, errors and events.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Local(PathBuf),
    /// An HTTP(S) server, smart or dumb.
    Http(HttpLocation),
    /// A path on a server that is reached by ssh.
    Ssh(SshLocation),
    /// A path on a `git daemon`.
    Daemon {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Path on the server.
        path: String,
    },
}

/// A repository on an HTTP(S) server.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpLocation {
    /// Without user and password, and without a slash at its end.
    pub(super) url: Url,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// A repository on a server that is reached by ssh.
#[derive(Clone, PartialEq, Eq)]
pub struct SshLocation {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// As the server's shell gets it, before quoting.
    pub(super) path: String,
}

impl Location {
    /// Check a URL: `http`, `https`, `ssh` (also as `user@host:path`), `git`, `file`, or an absolute path.
    ///
    /// Whatever else git would take is refused: helper transports (`ext::sh -c ...`) run commands.
    ///
    /// # Errors
    /// [`GitError::BadRequest`], which shows the URL only if it is certain that there is no password in it.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let refuse = |why: &str| Err(GitError::bad("cannot use this repository URL", why));
        if text.is_empty() || text.len() > MAX_LENGTH {
            return refuse("it is empty, or longer than 2048 bytes");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has control characters or blanks");
        }
        if text.starts_with('-') {
            return refuse("it begins with a dash, like an option");
        }
        if text.starts_with('/') {
            return Ok(Self::Local(checked_path(text)?.into()));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return match scheme {
                "http" | "https" | "ssh" | "git" => Self::from_url(scheme, text),
                "file" => match Url::parse(text).ok().and_then(|url| url.to_file_path().ok()) {
                    // The text is checked, not what `Url` made of it: that has its dots resolved already.
                    Some(path) => checked_path(text).map(|_| Self::Local(path)),
                    None => refuse("a file URL needs an absolute path and no host: file:///srv/git/x.git"),
                },
                _ => refuse("its scheme is none of http, https, ssh, git and file"),
            };
        }
        match text.split_once(':') {
            Some((_, path)) if path.starts_with(':') => refuse("helper transports (NAME::...) are not supported"),
            Some((host, path)) if !host.contains('/') => Self::from_scp(host, path),
            _ => refuse("it is neither a URL nor an absolute path"),
        }
    }

    fn from_url(scheme: &str, text: &str) -> Result<Self, GitError> {
        let refuse = |why: &str| Err(GitError::bad("cannot use this repository URL", why));
        let Ok(mut url) = Url::parse(text) else {
            return refuse("it is malformed");
        };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned) else {
            return refuse("it names no host");
        };
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it has a query or a fragment");
        }
        // What follows the host, as it was written: `Url` resolves dots, and a grant's pattern was matched before that.
        let written = text.splitn(4, '/').nth(3).unwrap_or_default();
        checked_path(written)?;
        let user = decoded(url.username())?;
        let password = url.password().map(decoded).transpose()?.flatten();
        match scheme {
            "http" | "https" => {
                // These can't fail: the URL has a host.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                let path = url.path().trim_end_matches('/').to_owned();
                url.set_path(&path);
                Ok(Self::Http(HttpLocation { url, user, password }))
            }
            "ssh" => {
                if password.is_some() {
                    return refuse("ssh takes no password; use a key");
                }
                let path = decoded(url.path())?.unwrap_or_default();
                // `ssh://host/~user/x` means the user's directory there.
                let path = if path.starts_with("/~") {
                    path.trim_start_matches('/').to_owned()
                } else {
                    path
                };
                ssh(user, unbracketed(&host), url.port(), path)
            }
            _ => {
                if user.is_some() || password.is_some() {
                    return refuse("the git protocol knows no users");
                }
                let path = decoded(url.path())?.unwrap_or_default();
                let port = url.port().unwrap_or(DAEMON_PORT);
                Ok(Self::Daemon {
                    host: unbracketed(&host).to_owned(),
                    port,
                    path,
                })
            }
        }
    }

    fn from_scp(host: &str, path: &str) -> Result<Self, GitError> {
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, host),
        };
        // `me:secret@host:x` would be the path `secret@host:x` on the host `me`, and a password in every log.
        if path.split_once('@').is_some_and(|(_, rest)| rest.contains(':')) {
            return Err(GitError::bad(
                "cannot use this repository URL",
                "ssh takes no password; use a key",
            ));
        }
        checked_path(path)?;
        ssh(user, host, None, path.to_owned())
    }

    /// Whether the URL holds a password, which has no place in an event.
    #[must_use]
    pub fn has_password(&self) -> bool {
        matches!(self, Self::Http(http) if http.password.is_some())
    }

    /// The server that has it; none for this machine.
    pub(super) fn server(&self) -> Option<String> {
        match self {
            Self::Local(_) => None,
            Self::Http(HttpLocation { url, .. }) => Some(url.origin().ascii_serialization()),
            Self::Ssh(SshLocation { host, port, .. }) => Some(format!("ssh://{host}:{}", port.unwrap_or(22))),
            Self::Daemon { host, port, .. } => Some(format!("git://{host}:{port}")),
        }
    }

    /// What grants are compared with. A repository's path has no slash at its end.
    pub(super) fn target(&self) -> Target {
        let remote =
            |scheme: Scheme, host: &str, port: Option<u16>, account: Option<&String>, path: &str| Target::Remote {
                server: Server {
                    scheme,
                    host: Host::parse(host),
                    port: port.unwrap_or_else(|| scheme.port()),
                },
                account: account.cloned(),
                path: path.to_owned(),
            };
        match self {
            Self::Local(path) => Target::Local(path.to_string_lossy().into_owned()),
            Self::Http(HttpLocation { url, .. }) => Target::of(url).unwrap_or_else(|| Target::Local(url.to_string())),
            Self::Ssh(SshLocation { user, host, port, path }) => remote(Scheme::Ssh, host, *port, user.as_ref(), path),
            Self::Daemon { host, port, path } => remote(Scheme::Git, host, Some(*port), None, path),
        }
    }

    /// The grant of this repository alone.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        Pattern::exactly(self.target(), self.as_granted())
    }

    /// How a grant names it: as it displays, but for paths below a home of ssh, which no URL can name.
    pub(super) fn as_granted(&self) -> String {
        match self {
            Self::Ssh(SshLocation {
                user,
                host,
                port: None,
                path,
            }) if !path.starts_with(['/', '~']) => {
                let account = user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
                format!("{account}{host}:{path}")
            }
            _ => self.to_string(),
        }
    }

    /// The directory, if it is on this machine.
    pub(super) fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }
}

fn ssh(user: Option<String>, host: &str, port: Option<u16>, path: String) -> Result<Location, GitError> {
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:%".contains(c))
    };
    if !plain(host) || !user.as_deref().is_none_or(|user| plain(user) && !user.contains(':')) {
        return Err(GitError::bad(
            "cannot use this repository URL",
            "its user or host is malformed",
        ));
    }
    if path.is_empty() || path.starts_with('-') {
        return Err(GitError::bad(
            "cannot use this repository URL",
            "its path is empty or begins with a dash",
        ));
    }
    Ok(Location::Ssh(SshLocation {
        user,
        host: host.to_owned(),
        port,
        path,
    }))
}

/// Refuses dot segments, also as `%2e`: a grant for `https://host/public/*` must not reach `https://host/public/../private`.
fn checked_path(path: &str) -> Result<&str, GitError> {
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    if lower.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(GitError::bad(
            "cannot use this repository URL",
            "it has . or .. in its path",
        ));
    }
    if path.contains('\\')
        || ["%2f", "%5c", "%00", "%0a", "%0d"]
            .iter()
            .any(|code| lower.contains(code))
    {
        return Err(GitError::bad(
            "cannot use this repository URL",
            "it has a backslash or an encoded separator in its path",
        ));
    }
    Ok(path)
}

/// A part of a URL with its `%xx` resolved; none if it is empty.
fn decoded(part: &str) -> Result<Option<String>, GitError> {
    let malformed = || GitError::bad("cannot use this repository URL", "it has a malformed %-sequence");
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || {
                rest.next()
                    .and_then(|digit| char::from(digit).to_digit(16))
                    .ok_or_else(malformed)
            };
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).map_err(|_| malformed())?);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    if text.chars().any(char::is_control) {
        return Err(malformed());
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Http(HttpLocation { url, .. }) => write!(f, "{url}"),
            Self::Ssh(SshLocation { user, host, port, path }) => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                match host.contains(':') {
                    true => write!(f, "[{host}]")?,
                    false => f.write_str(host)?,
                }
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "{slash}{path}")
            }
            Self::Daemon { host, port, path } => match (host.contains(':'), *port) {
                (false, DAEMON_PORT) => write!(f, "git://{host}{path}"),
                (false, port) => write!(f, "git://{host}:{port}{path}"),
                (true, port) => write!(f, "git://[{host}]:{port}{path}"),
            },
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl fmt::Debug for HttpLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpLocation({})", self.url)
    }
}

impl fmt::Debug for SshLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshLocation({}:{})", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Location::parse(text).unwrap().to_string()
    }

    #[test]
    fn every_transport_of_the_contract_is_understood() {
        assert_eq!(shown("/srv/git/x.git"), "/srv/git/x.git");
        assert_eq!(shown("file:///srv/git/x.git"), "/srv/git/x.git");
        assert_eq!(shown("https://example.org/x.git/"), "https://example.org/x.git");
        assert_eq!(shown("http://example.org:8080/x"), "http://example.org:8080/x");
        assert_eq!(shown("git://example.org/x"), "git://example.org/x");
        assert_eq!(shown("git://[::1]:99/x"), "git://[::1]:99/x");
        assert_eq!(shown("ssh://git@example.org:2222/x"), "ssh://git@example.org:2222/x");
        assert_eq!(shown("git@example.org:team/x.git"), "ssh://git@example.org/team/x.git");
    }

    #[test]
    fn an_scp_path_is_relative_to_the_home_and_a_tilde_is_kept() {
        let path = |text| match Location::parse(text).unwrap() {
            Location::Ssh(ssh) => ssh.path,
            other => panic!("{other}"),
        };
        assert_eq!(path("host:x.git"), "x.git");
        assert_eq!(path("ssh://host/x.git"), "/x.git");
        assert_eq!(path("ssh://host/~me/x.git"), "~me/x.git");
    }

    #[test]
    fn a_password_is_used_but_never_shown() {
        let location = Location::parse("https://me:s%40cret@example.org/x.git").unwrap();
        assert!(location.has_password());
        for shown in [
            location.to_string(),
            format!("{location:?}"),
            GitError::not_found(&location, "x").to_string(),
        ] {
            assert!(!shown.contains("cret") && !shown.contains("me:"), "{shown}");
        }
        let Location::Http(http) = location else { panic!() };
        assert_eq!(
            (http.user.as_deref(), http.password.as_deref()),
            (Some("me"), Some("s@cret"))
        );
        assert!(!format!("{http:?}").contains("cret"));
    }

    #[test]
    fn a_refused_url_does_not_leak_its_password() {
        for text in [
            "ftp://me:secret@example.org/x",
            "https://me:secret@/x",
            "me:secret@host:x",
            "ssh://me:secret@host/x",
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn helper_transports_options_and_control_characters_are_refused() {
        for text in [
            "",
            "ext::sh -c id",
            "ext::sh",
            "fd::17",
            "-uupload",
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "host:-x",
            "u -x@host:p",
            "https://example.org/x\n",
            "https://example.org/x?y",
            "https://example.org/x#y",
            "ftp://example.org/x",
            "relative/path",
            "file://elsewhere/x",
        ] {
            assert!(
                matches!(Location::parse(text), Err(GitError::BadRequest { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn every_location_is_covered_by_the_grant_that_it_is_and_by_that_grants_text() {
        for text in [
            "/srv/git/x.git",
            "file:///srv/git/x.git",
            "https://me:secret@Example.org:8443/x.git/",
            "https://example.org/*/x.git",
            "git@example.org:team/x.git",
            "ssh://git@example.org:2222/~me/x.git",
            "git://[::1]:99/x",
        ] {
            let location = Location::parse(text).unwrap();
            let pattern = location.pattern();
            assert!(pattern.covers(&location.target()), "{text}");
            assert!(!pattern.to_string().contains("secret"), "{pattern}");
            let read: Pattern = pattern.to_string().parse().unwrap();
            assert!(read.covers(&location.target()), "{text}: {read}");
        }
        let odd = Location::parse("file:///srv/a%23b").unwrap();
        assert!(odd.pattern().covers(&odd.target()));
        assert!(odd.pattern().to_string().parse::<Pattern>().is_ok());
    }

    #[test]
    fn a_path_cannot_climb_out_of_a_grant() {
        for text in [
            "/srv/git/../../etc",
            "/srv/./x",
            "file:///srv/../etc",
            "https://example.org/public/../private",
            "https://example.org/public/%2e%2E/private",
            "https://example.org/public/..%2fprivate",
            "https://example.org/public/..\\private",
            "ssh://host/a/../b",
            "host:../b",
            "git://host/../b",
        ] {
            assert!(
                matches!(Location::parse(text), Err(GitError::BadRequest { .. })),
                "{text:?}"
            );
        }
    }
}
