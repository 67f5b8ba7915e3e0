//! What this machine offers for a sandbox: tools, settings, ids.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where tools are looked for, and the only PATH that anything started from here ever has.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The facts about the machine that decide how a build can be done.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub is_root: bool,
    /// `trixie`, where the system says so.
    pub codename: Option<String>,
    /// `amd64`.
    pub architecture: Option<String>,
    pub cpus: usize,
    /// The first id and the count of the ids that an ordinary user may map, if any.
    pub sub_ids: Option<SubIds>,
}

/// The ranges that /etc/subuid and /etc/subgid give a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubIds {
    pub uid: u32,
    pub gid: u32,
    pub count: u32,
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
        }
    }
}

/// The tool's path, or None where it is not installed.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    PATH.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// What keeps a sandbox from working here, in words that say what to install or to set. None: nothing does.
pub(super) fn sandbox_fault() -> Option<String> {
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
    Some(SubIds {
        uid: uids.0,
        gid: gids.0,
        count: uids.1.min(gids.1),
    })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The first range of a subuid file that belongs to the user and is large enough for a Debian system.
fn sub_range(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let owner = parts.next()?;
        let start = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.parse().ok()?;
        let mine = Some(owner) == name || owner.parse() == Ok(uid);
        (mine && count >= 65_535).then_some((start, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "other:1:65536\nbob:100000:10\nbob:200000:65536\n1001:300000:65536\n";
        assert_eq!(sub_range(text, Some("bob"), 7), Some((200_000, 65_536)));
        assert_eq!(sub_range(text, None, 1001), Some((300_000, 65_536)));
        assert_eq!(sub_range(text, Some("eve"), 5), None);
        assert_eq!(
            user_name("root:x:0:0::/root:/bin/sh\nbob:x:7:7::/:/bin/sh\n", 7).as_deref(),
            Some("bob")
        );
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
