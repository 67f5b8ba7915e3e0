//! What this machine offers for a sandbox: tools, settings, ids.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seccomp;

/// Where tools are looked for, and the only PATH that anything started from here ever has.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How many ids a Debian system uses: 0 to 65535.
pub(super) const DEBIAN_IDS: u32 = 65_536;

/// The facts about the machine that decide how a build can be done.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub is_root: bool,
    /// `trixie`, where the system says so.
    pub codename: Option<String>,
    /// `amd64`.
    pub architecture: Option<String>,
    pub cpus: usize,
    /// The ids that /etc/subuid and /etc/subgid give the host's user, if any.
    pub sub_ids: Option<SubIds>,
    /// Whether ids here are the machine's own, and not those of a container with ids of its own.
    pub has_all_ids: bool,
}

/// The first ids of ranges that are as large as a Debian system needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubIds {
    pub uid: u32,
    pub gid: u32,
}

impl Machine {
    /// Looks at the machine.
    pub fn look() -> Self {
        let uid = rustix::process::getuid();
        Self {
            is_root: uid.is_root(),
            codename: fs::read_to_string("/etc/os-release")
                .ok()
                .and_then(|text| codename(&text)),
            architecture: dpkg_architecture(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            sub_ids: sub_ids(uid.as_raw()),
            has_all_ids: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_everything(&map)),
        }
    }

    /// The ids of those who install packages into roots of our own. A root host has always some: those of /etc/subuid,
    /// or else those after `build_id`. In a container whose ids are its own, root is not the machine's, and there may
    /// be no others: None.
    pub fn installer_ids(&self, build_id: u32) -> Option<SubIds> {
        if !self.is_root {
            return self.sub_ids;
        }
        if !self.has_all_ids {
            return None;
        }
        let after = build_id
            .checked_add(1)
            .filter(|first| first.checked_add(DEBIAN_IDS).is_some());
        let first = after.unwrap_or_else(|| build_id.saturating_sub(DEBIAN_IDS));
        Some(self.sub_ids.unwrap_or(SubIds { uid: first, gid: first }))
    }
}

/// Whether a process's map of ids is the one that the machine begins with.
fn maps_everything(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The tool's path, or None where it is not installed.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    PATH.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// What keeps a sandbox from working here, in words that say what to install or to set. None: nothing does.
pub(super) fn sandbox_fault() -> Option<String> {
    if let Some(fault) = seccomp::fault(std::env::consts::ARCH) {
        return Some(fault);
    }
    for (name, package) in [
        ("bwrap", "bubblewrap"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("prlimit", "util-linux"),
        ("bash", "bash"),
    ] {
        if tool(name).is_none() {
            return Some(format!("`{name}` is not installed (install the package {package})"));
        }
    }
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Some("user namespaces are switched off (set the sysctl user.max_user_namespaces above 0)".to_owned());
    }
    if !rustix::process::getuid().is_root() {
        if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
            return Some(
                "ordinary users may not make user namespaces (set the sysctl kernel.unprivileged_userns_clone to 1)"
                    .to_owned(),
            );
        }
        let output = Command::new("bwrap")
            .env_clear()
            .env("PATH", PATH)
            .args([
                "--unshare-user",
                "--unshare-pid",
                "--unshare-net",
                "--ro-bind",
                "/",
                "/",
                "--proc",
                "/proc",
                "true",
            ])
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let hint = match setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() {
                    Some("1") => {
                        " (set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or give bwrap an AppArmor profile)"
                    }
                    _ => "",
                };
                return Some(format!("bwrap cannot make a sandbox: {}{hint}", said.trim()));
            }
            Err(error) => return Some(format!("bwrap cannot be started: {error}")),
        }
    }
    None
}

/// What keeps packages from being built, once there is a sandbox over this machine's own root.
pub(super) fn packaging_fault() -> Option<String> {
    [
        ("dpkg-buildpackage", "dpkg-dev"),
        ("dpkg-checkbuilddeps", "dpkg-dev"),
        ("fakeroot", "fakeroot"),
        ("make", "build-essential"),
    ]
    .iter()
    .find(|(name, _)| tool(name).is_none())
    .map(|(name, package)| format!("`{name}` is not installed (install the package {package})"))
}

fn dpkg_architecture() -> Option<String> {
    let output = Command::new("dpkg")
        .arg("--print-architecture")
        .env_clear()
        .env("PATH", PATH)
        .output()
        .ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

fn codename(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

fn sub_ids(uid: u32) -> Option<SubIds> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&passwd, uid);
    let range = |path| {
        let text = fs::read_to_string(path).ok()?;
        sub_range(&text, name.as_deref(), uid)
    };
    let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
    Some(SubIds { uid: uids, gid: gids })
}

/// The command by which this host's user gets a range of ids that is nobody's yet.
pub(super) fn grant_ids() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let uid = rustix::process::getuid().as_raw();
    let user = user_name(&read("/etc/passwd"), uid).unwrap_or_else(|| uid.to_string());
    grant_line(&user, &[read("/etc/subuid"), read("/etc/subgid")])
}

fn grant_line(user: &str, granted: &[String]) -> String {
    const FIRST: u32 = 100_000;
    let ends = granted.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let mut parts = line.trim().split(':').skip(1);
        let start: u32 = parts.next()?.parse().ok()?;
        start.checked_add(parts.next()?.parse().ok()?)
    });
    let first = ends.fold(FIRST, u32::max);
    let range = format!("{first}-{}", first.saturating_add(DEBIAN_IDS - 1));
    format!("usermod --add-subuids {range} --add-subgids {range} {user}")
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The first range of a subuid file that belongs to the user and is large enough for a Debian system.
fn sub_range(text: &str, name: Option<&str>, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let owner = parts.next()?;
        let start = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.parse().ok()?;
        let mine = Some(owner) == name || owner.parse() == Ok(uid);
        (mine && count >= DEBIAN_IDS - u32::from(uid != 0)).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "other:1:65536\nbob:100000:10\nbob:200000:65536\n1001:300000:65536\n";
        assert_eq!(sub_range(text, Some("bob"), 7), Some(200_000));
        assert_eq!(sub_range(text, None, 1001), Some(300_000));
        assert_eq!(sub_range(text, Some("eve"), 5), None);
        assert_eq!(
            user_name("root:x:0:0::/root:/bin/sh\nbob:x:7:7::/:/bin/sh\n", 7).as_deref(),
            Some("bob")
        );
    }

    #[test]
    fn the_range_to_grant_is_nobodys() {
        assert_eq!(
            grant_line("bob", &[String::new(), "eve:165536:65536\nx:1:2\nbroken".to_owned()]),
            "usermod --add-subuids 231072-296607 --add-subgids 231072-296607 bob"
        );
        assert!(grant_line("bob", &[]).contains("--add-subuids 100000-165535 "));
    }

    #[test]
    fn roots_ids_are_those_after_the_builds_and_never_the_machines_own() {
        let machine = |has_all_ids, sub_ids| Machine {
            is_root: true,
            codename: None,
            architecture: None,
            cpus: 1,
            sub_ids,
            has_all_ids,
        };
        let ids = |first| Some(SubIds { uid: first, gid: first });
        assert_eq!(machine(true, None).installer_ids(1_900_000_000), ids(1_900_000_001));
        assert_eq!(machine(true, ids(100_000)).installer_ids(1_900_000_000), ids(100_000));
        assert_eq!(machine(false, ids(100_000)).installer_ids(1_900_000_000), None);
        assert_eq!(machine(true, None).installer_ids(u32::MAX), ids(u32::MAX - DEBIAN_IDS));
        assert!(maps_everything("         0          0 4294967295\n"));
        assert!(!maps_everything("         0     100000      65536\n"));
    }

    #[test]
    fn the_codename_may_be_quoted_or_absent() {
        assert_eq!(
            codename("A=1\nVERSION_CODENAME=\"trixie\"\n").as_deref(),
            Some("trixie")
        );
        assert_eq!(codename("VERSION_CODENAME=\n"), None);
    }
}
