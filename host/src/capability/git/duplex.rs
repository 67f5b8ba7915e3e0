//! A two-way connection that keeps a deadline: a TCP stream to a `git daemon`, or the pipes of an `ssh`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::ioctl_fionbio;

use super::advertisement::{TooLong, printable};
use super::deadline::Deadline;
use super::error::GitError;
use super::location::{Location, SshLocation};
use super::program::{Group, text, unattended};
use crate::reach::{Host, PrivateAddress, Rule};

/// How to reach ssh servers.
#[derive(Debug, Clone)]
pub struct SshProgram {
    /// OpenSSH's client.
    pub program: String,
    /// More arguments: `-F FILE` for another configuration, for instance.
    pub arguments: Vec<String>,
}

impl Default for SshProgram {
    fn default() -> Self {
        Self {
            program: "ssh".to_owned(),
            arguments: Vec::new(),
        }
    }
}

/// A connection to a `git-upload-pack` somewhere.
#[derive(Debug)]
pub(super) struct Duplex {
    from: OwnedFd,
    to: OwnedFd,
    deadline: Deadline,
    ssh: Option<Ssh>,
}

#[derive(Debug)]
struct Ssh {
    child: Group,
    errors: File,
}

impl Duplex {
    /// Connect to a `git daemon` and ask for a repository. Its name is resolved once, and only addresses that the rule allows are
    /// connected to.
    pub(super) fn daemon(
        location: &Location,
        (host, port, path): (&str, u16, &str),
        rule: &Rule,
        connect_timeout: Duration,
        deadline: Deadline,
    ) -> Result<Self, GitError> {
        let failed = |error: &io::Error| match error.kind() {
            _ if PrivateAddress::within(error).is_some() => GitError::unavailable(location, error),
            io::ErrorKind::TimedOut => GitError::timed_out(location, connect_timeout.min(deadline.limit())),
            _ => GitError::unavailable(location, error),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let addresses = rule.resolve(&Host::parse(host), port).map_err(|error| failed(&error))?;
        for address in addresses {
            let patience = deadline
                .remaining()
                .map_err(|error| failed(&error))?
                .min(connect_timeout);
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    let open = || -> io::Result<Self> {
                        stream.set_nonblocking(true)?;
                        let to = OwnedFd::from(stream.try_clone()?);
                        let mut duplex = Self {
                            from: stream.into(),
                            to,
                            deadline: deadline.clone(),
                            ssh: None,
                        };
                        let request = format!("git-upload-pack {path}\0host={host}:{port}\0");
                        duplex.write_all(format!("{:04x}{request}", request.len() + 4).as_bytes())?;
                        Ok(duplex)
                    };
                    return open().map_err(|error| failed(&error));
                }
                Err(error) => last = error,
            }
        }
        Err(failed(&last))
    }

    /// Start `git-upload-pack` on a server by ssh, with the host user's configuration, agent, keys and known hosts.
    pub(super) fn ssh(
        location: &Location,
        server: &SshLocation,
        ssh: &SshProgram,
        connect_timeout: Duration,
        deadline: Deadline,
    ) -> Result<Self, GitError> {
        let mut command = unattended(&ssh.program);
        command.args(&ssh.arguments);
        let connect = format!("ConnectTimeout={}", connect_timeout.as_secs().max(1));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            &connect,
        ] {
            command.args(["-o", option]);
        }
        command.args(["-T", "-x", "-a"]);
        if let Some(port) = server.port {
            command.args(["-p", &port.to_string()]);
        }
        let user = server.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        command.args([
            "--",
            &format!("{user}{}", server.host),
            &format!("git-upload-pack {}", quoted(&server.path)),
        ]);
        let spawn = || -> io::Result<Self> {
            let errors = tempfile::tempfile()?;
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::from(errors.try_clone()?));
            let mut child = Group(command.spawn()?);
            let (Some(to), Some(from)) = (child.0.stdin.take(), child.0.stdout.take()) else {
                return Err(io::Error::other("a piped child has no pipes"));
            };
            let (to, from) = (OwnedFd::from(to), OwnedFd::from(from));
            ioctl_fionbio(&to, true)?;
            ioctl_fionbio(&from, true)?;
            Ok(Self {
                from,
                to,
                deadline,
                ssh: Some(Ssh { child, errors }),
            })
        };
        spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::unavailable(
                location,
                format!("there is no program {} (install openssh-client)", ssh.program),
            ),
            _ => GitError::unavailable(location, format!("cannot start {}: {error}", ssh.program)),
        })
    }

    /// What a failed conversation means.
    pub(super) fn explain(&mut self, location: &Location, error: &io::Error) -> GitError {
        if error.kind() == io::ErrorKind::TimedOut {
            return GitError::timed_out(location, self.deadline.limit());
        }
        if TooLong::is_within(error) {
            return GitError::bad(location.to_string(), TooLong.to_string());
        }
        let Some(ssh) = &mut self.ssh else {
            return GitError::unavailable(location, error);
        };
        // It is about to end: its output did.
        while matches!(ssh.child.0.try_wait(), Ok(None)) && !self.deadline.passed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let errors = ssh.errors.try_clone().and_then(text).unwrap_or_default();
        explain_ssh(location, &errors)
    }
}

/// What ssh, or the `git-upload-pack` at its other end, complains about.
fn explain_ssh(location: &Location, errors: &str) -> GitError {
    let said = printable(errors);
    let said = if said.is_empty() {
        "the connection ended".to_owned()
    } else {
        said
    };
    let has = |text: &str| errors.contains(text);
    if has("Host key verification failed") {
        return GitError::not_found(
            location,
            format!("{said} (compare and add the server's key to known_hosts: ssh-keyscan)"),
        );
    }
    if has("Permission denied") {
        return GitError::not_found(
            location,
            format!("{said} (give the host's user a key without passphrase, or an agent)"),
        );
    }
    if has("not appear to be a git repository") || has("not found") || has("access denied") || has("does not exist") {
        return GitError::not_found(location, said);
    }
    if has("timed out") {
        return GitError::unavailable(location, format!("the server did not answer: {said}"));
    }
    GitError::unavailable(location, said)
}

/// A path as one word for the server's shell.
fn quoted(path: &str) -> String {
    // A tilde has to stay outside of the quotes, or it would mean itself.
    match path.split_once('/') {
        Some((home, rest))
            if home.starts_with('~') && home.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '_') =>
        {
            format!("{home}/{}", quoted(rest))
        }
        _ => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.read(self.from.as_fd(), buffer)
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.deadline.write(self.to.as_fd(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_servers_shell() {
        assert_eq!(quoted("/srv/x.git"), "'/srv/x.git'");
        assert_eq!(quoted("x'; id #"), r"'x'\''; id #'");
        assert_eq!(quoted("~me/x"), "~me/'x'");
        assert_eq!(quoted("~$(id)/x"), "'~$(id)/x'");
    }
}
