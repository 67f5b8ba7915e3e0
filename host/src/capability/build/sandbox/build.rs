//! The sandbox of a build.

use std::ffi::OsString;

use super::super::machine;
use super::super::stage::words;
use super::isolated;
use super::view::{Purpose, View};

/// The id that a build has inside its sandbox.
pub(in super::super) const BUILD_USER: u32 = 1000;

/// The sandbox of a build: a plain user without a network, who can write to the build's directory and nowhere else.
pub(in super::super) struct BuildSandbox<'a> {
    pub view: View<'a>,
    /// Where the command starts.
    pub directory: &'a str,
    pub environment: &'a [(String, String)],
    /// The bounds that every single process gets.
    pub processes: u64,
    pub file_size: u64,
}

impl BuildSandbox<'_> {
    /// The whole command line.
    pub fn command(&self, command: &[&str]) -> Vec<OsString> {
        let mut out = isolated();
        out.extend(words(&[
            "--unshare-user",
            "--unshare-net",
            "--disable-userns",
            "--cap-drop",
            "ALL",
            "--clearenv",
        ]));
        let id = BUILD_USER.to_string();
        out.extend(words(&["--uid", &id, "--gid", &id]));
        for (name, value) in self.environment {
            out.extend(words(&["--setenv", name, value]));
        }
        out.extend(self.view.plan(Purpose::Build).into_words());
        out.extend(words(&["--chdir", self.directory, "--"]));
        out.extend(words(&[
            "prlimit".to_owned(),
            format!("--nproc={}", self.processes),
            format!("--fsize={}", self.file_size),
            "--core=0".to_owned(),
        ]));
        out.push("--".into());
        out.extend(words(command));
        out
    }
}

/// The environment that every build gets, and no more.
pub(in super::super) fn environment(jobs: usize, source_date_epoch: Option<i64>) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("PATH".to_owned(), machine::PATH.to_owned()),
        // As on Debian's own builders: a build that writes to the home directory fails.
        ("HOME".to_owned(), "/nonexistent".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("LOGNAME".to_owned(), "build".to_owned()),
        ("USER".to_owned(), "build".to_owned()),
        ("SHELL".to_owned(), "/bin/sh".to_owned()),
        ("TZ".to_owned(), "UTC".to_owned()),
        ("DEB_BUILD_OPTIONS".to_owned(), format!("parallel={jobs}")),
        // The sandbox has no other user: a real chown fails with EINVAL, which fakeroot, unlike EPERM, passes on.
        ("FAKEROOTDONTTRYCHOWN".to_owned(), "1".to_owned()),
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
    ];
    if let Some(epoch) = source_date_epoch {
        pairs.push(("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string()));
    }
    pairs
}

/// The users of a root without its people: system accounts stay.
pub(in super::super) fn system_accounts(text: &str) -> String {
    text.lines()
        .filter(|line| {
            line.split(':')
                .nth(2)
                .and_then(|id| id.parse::<u32>().ok())
                .is_some_and(|id| id < BUILD_USER || id == 65_534)
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Entries of `/etc/shadow` or `/etc/gshadow` for accounts, none of which has a password. `fields` comes after the
/// password.
pub(in super::super) fn without_passwords(accounts: &str, fields: &str) -> String {
    accounts
        .lines()
        .filter_map(|line| line.split(':').next())
        .map(|name| format!("{name}:*:{fields}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_no_part_of_the_sandbox() {
        let text = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/zsh\nbroken\nnobody:x:65534:65534::/:/bin/false\n";
        let accounts = system_accounts(text);
        assert_eq!(
            accounts,
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
        );
        assert_eq!(without_passwords(&accounts, "::"), "root:*:::\nnobody:*:::\n");
    }
}
