//! Reading a location from text. What git would take and a grant can't speak of is refused.

use url::Url;

use super::{DAEMON_PORT, HttpLocation, Location, SshLocation};
use crate::capability::git::GitError;

/// The longest URL that is taken, as the events' schema has it.
const MAX_LENGTH: usize = 2048;

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
