//! Subordinate ids: ranges that `/etc/subuid` and `/etc/subgid` give to a user, and that are nobody else's. An ordinary
//! user's host builds under them and never under its own id.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::keeper::Keeper;
use super::machine::{self, DEBIAN_IDS};

/// The first ids of a user's ranges, which are as large as a Debian system needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubIds {
    pub uid: u32,
    pub gid: u32,
}

/// A part of a map of ids, as `newuidmap` takes it: inside, outside, how many.
type Span = [u32; 3];

impl SubIds {
    /// Who builds for an ordinary user's host, outside: user and group.
    pub fn builder(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Who is root where such a host installs packages, outside. Everybody else there has the ids after it.
    pub fn installer(self) -> (u32, u32) {
        (self.uid.saturating_add(1), self.gid.saturating_add(1))
    }

    /// Lets a process's user namespace have the one id of those who build, as its root.
    pub fn map_builder(self, pid: u32) -> io::Result<()> {
        map(pid, &[[0, self.uid, 1]], &[[0, self.gid, 1]])
    }

    /// Lets a process's user namespace have the ids of those who install packages.
    pub fn map_installer(self, pid: u32) -> io::Result<()> {
        let (uid, gid) = self.installer();
        // 65535 is no user: system calls of old take it for "nobody in particular".
        map(pid, &[[0, uid, DEBIAN_IDS - 1]], &[[0, gid, DEBIAN_IDS - 1]])
    }

    /// Lets a process's user namespace have the host's own id as its root, and after it all subordinate ones. Nothing
    /// runs there that a stranger wrote.
    pub fn map_keeper(self, pid: u32) -> io::Result<()> {
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        map(
            pid,
            &[[0, own.0, 1], [1, self.uid, DEBIAN_IDS]],
            &[[0, own.1, 1], [1, self.gid, DEBIAN_IDS]],
        )
    }

    /// What an owner outside, who is of these ids, is called where [`Self::map_keeper`] holds.
    pub fn inside_keeper(self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let inside = |id: u32, first: u32| id.saturating_sub(first).saturating_add(1);
        (inside(uid, self.uid), inside(gid, self.gid))
    }
}

/// Writes a process's maps by the tools that may: they compare with `/etc/subuid` and `/etc/subgid`.
fn map(pid: u32, uids: &[Span], gids: &[Span]) -> io::Result<()> {
    for (tool, spans) in [("newuidmap", uids), ("newgidmap", gids)] {
        let output = Command::new(tool)
            .arg(pid.to_string())
            .args(spans.iter().flatten().map(u32::to_string))
            .env_clear()
            .env("PATH", machine::PATH)
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {tool}: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!(
                "{tool} refuses this user's subordinate ids: {} (are they in /etc/subuid and /etc/subgid, and is {tool} \
                 set-user-id root?)",
                said.trim()
            )));
        }
    }
    Ok(())
}

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

impl User {
    /// This process's.
    #[must_use]
    pub fn own() -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    /// The one whose a directory is. None: there is no such directory.
    #[must_use]
    pub fn of_directory(directory: &Path) -> Option<Self> {
        let about = fs::metadata(directory).ok()?;
        Some(Self {
            uid: about.uid(),
            gid: about.gid(),
        })
    }
}

/// The ranges that this process's user has in `/etc/subuid` and `/etc/subgid` now. They may be given while the host runs.
pub(super) fn own() -> Option<SubIds> {
    of_user(User::own())
}

fn of_user(User { uid, gid }: User) -> Option<SubIds> {
    let name = local_name(uid).or_else(|| name_elsewhere(uid));
    let range = |path, own| {
        let text = fs::read_to_string(path).ok()?;
        range_of(&text, name.as_deref(), uid, own)
    };
    Some(SubIds {
        uid: range("/etc/subuid", uid)?,
        gid: range("/etc/subgid", gid)?,
    })
}

/// The name of a user who is in `/etc/passwd`.
fn local_name(uid: u32) -> Option<String> {
    user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid)
}

/// The name of a user whom the machine knows from elsewhere, such as a directory of the network.
fn name_elsewhere(uid: u32) -> Option<String> {
    let mut getent = Command::new("getent");
    let output = getent.args(["passwd", &uid.to_string()]).env_clear();
    let output = output.env("PATH", machine::PATH).output().ok()?;
    user_name(&String::from_utf8_lossy(&output.stdout), uid)
}

/// Why an ordinary user's host can't build under ids that are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdsFault {
    /// What is missing.
    pub missing: String,
    /// What brings it, in words for people.
    pub remedy: String,
}

impl fmt::Display for IdsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.missing, self.remedy)
    }
}

/// What keeps a user's host from building under ids that are not its own. None: nothing does, or this is root's. Whether the ids that a user has can be
/// used is tried for this process's user. Blocks, for as long as a program takes to start.
#[must_use]
pub fn ids_fault(user: User) -> Option<IdsFault> {
    if user.uid == 0 {
        return None;
    }
    let ids = of_user(user);
    let fault = fault_of(&|tool| machine::tool(tool).is_some(), ids, &|| grant_ids(user.uid));
    fault.or_else(|| (user.uid == User::own().uid).then(|| refusal(ids)).flatten())
}

/// Why the system lets nobody use the ids that are there.
fn refusal(ids: Option<SubIds>) -> Option<IdsFault> {
    let why = Keeper::new(ids).fault()?;
    let is_restricted = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|setting| setting.trim() == "1");
    Some(IdsFault {
        missing: format!("cannot use this user's subordinate ids: {why}"),
        remedy: if is_restricted {
            "set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0"
        } else {
            "newuidmap and newgidmap have to be set-user-id root; what starts the host may not forbid new rights, as NoNewPrivileges does; in a \
             container the range has to be among its ids"
        }
        .to_owned(),
    })
}

fn fault_of(has: &dyn Fn(&str) -> bool, ids: Option<SubIds>, grant: &dyn Fn() -> String) -> Option<IdsFault> {
    if let Some(tool) = ["newuidmap", "newgidmap"].into_iter().find(|tool| !has(tool)) {
        return Some(IdsFault {
            missing: format!("builds run under subordinate ids, and `{tool}` is not installed"),
            remedy: "run `sudo apt install uidmap`".to_owned(),
        });
    }
    ids.is_none().then(|| IdsFault {
        missing: format!("builds run under subordinate ids, and this host's user has no range of {DEBIAN_IDS}"),
        remedy: grant(),
    })
}

/// How a user gets a range of ids that is nobody's yet: by a command, which knows users of `/etc/passwd` only, or by hand.
fn grant_ids(uid: u32) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let first = first_free(&[read("/etc/subuid"), read("/etc/subgid")]);
    match local_name(uid) {
        Some(name) => grant_command(&name, first),
        None => grant_by_hand(&name_elsewhere(uid).unwrap_or_else(|| uid.to_string()), first),
    }
}

fn grant_command(user: &str, first: u32) -> String {
    let range = format!("{first}-{}", first.saturating_add(DEBIAN_IDS - 1));
    format!("run `sudo usermod --add-subuids {range} --add-subgids {range} {user}`")
}

fn grant_by_hand(user: &str, first: u32) -> String {
    format!("add the line `{user}:{first}:{DEBIAN_IDS}` to /etc/subuid and to /etc/subgid")
}

/// The first id after all that are granted to anybody.
fn first_free(granted: &[String]) -> u32 {
    const FIRST: u32 = 100_000;
    let ends = granted.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let mut parts = line.trim().split(':').skip(1);
        let start: u32 = parts.next()?.parse().ok()?;
        start.checked_add(parts.next()?.parse().ok()?)
    });
    ends.fold(FIRST, u32::max)
}

/// Says what to do about files of ids that are nobody's here any more: after a change of the ranges, only root has rights
/// over what was made under the old ones.
pub(super) fn foreign(path: &Path) -> String {
    format!(
        "if files in it belong to ids that this user had once and has no more, give them back in /etc/subuid and \
         /etc/subgid, or run `sudo rm -rf {}`",
        path.display()
    )
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The first range of a subuid file that belongs to the user, is large enough for a Debian system, and does not have
/// `own` in it, the id of the host itself.
fn range_of(text: &str, name: Option<&str>, uid: u32, own: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let owner = parts.next()?;
        let start: u32 = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.parse().ok()?;
        let mine = Some(owner) == name || owner.parse() == Ok(uid);
        let end = start.checked_add(DEBIAN_IDS)?;
        (mine && count >= DEBIAN_IDS && !(start..end).contains(&own)).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "other:1:65536\nbob:100000:10\nbob:200000:65536\n1001:300000:65536\n";
        assert_eq!(range_of(text, Some("bob"), 7, 7), Some(200_000));
        assert_eq!(range_of(text, None, 1001, 1001), Some(300_000));
        assert_eq!(range_of(text, Some("eve"), 5, 5), None);
        assert_eq!(
            user_name("root:x:0:0::/root:/bin/sh\nbob:x:7:7::/:/bin/sh\n", 7).as_deref(),
            Some("bob")
        );
    }

    #[test]
    fn a_range_with_the_hosts_own_id_in_it_is_no_range_of_others() {
        let text = "bob:1000:65536\nbob:4294960000:65536\nbob:200000:65536\n";
        assert_eq!(range_of(text, Some("bob"), 1000, 1000), Some(200_000));
        assert_eq!(range_of("bob:1000:65536\n", Some("bob"), 1000, 66_535), None);
    }

    #[test]
    fn the_range_to_grant_is_nobodys() {
        let first = first_free(&[String::new(), "eve:165536:65536\nx:1:2\nbroken".to_owned()]);
        assert_eq!(
            grant_command("bob", first),
            "run `sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 bob`"
        );
        assert_eq!(
            grant_by_hand("bob", first_free(&[])),
            "add the line `bob:100000:65536` to /etc/subuid and to /etc/subgid"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let ids = Some(SubIds { uid: 1, gid: 1 });
        let grant = || grant_command("bob", first_free(&[]));
        let fault = |has: &dyn Fn(&str) -> bool, ids| fault_of(has, ids, &grant);
        assert_eq!(fault(&|_| true, ids), None);
        assert!(
            fault(&|tool| tool != "newgidmap", ids)
                .unwrap()
                .to_string()
                .ends_with("`newgidmap` is not installed (run `sudo apt install uidmap`)")
        );
        assert!(
            fault(&|_| true, None)
                .unwrap()
                .to_string()
                .ends_with("(run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 bob`)")
        );
    }

    #[test]
    fn builders_and_installers_have_no_id_in_common_and_never_the_hosts() {
        let ids = SubIds {
            uid: 100_000,
            gid: 200_000,
        };
        assert_eq!(ids.builder(), (100_000, 200_000));
        assert_eq!(ids.installer(), (100_001, 200_001));
        assert_eq!(ids.inside_keeper(ids.builder()), (1, 1));
        assert_eq!(ids.inside_keeper(ids.installer()), (2, 2));
    }
}
