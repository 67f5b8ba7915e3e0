//! What this machine offers for a sandbox: tools, settings, ids.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seccomp;
use super::subordinate::{self, SubIds, User};

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
    /// The ids that /etc/subuid and /etc/subgid give to root, if any. Those of another user are looked up when they are
    /// needed, as they may be given while the host waits for them.
    pub sub_ids: Option<SubIds>,
    /// Whether ids here are the machine's own, and not those of a container with ids of its own.
    pub has_all_ids: bool,
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
            sub_ids: uid.is_root().then(subordinate::own).flatten(),
            has_all_ids: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_everything(&map)),
        }
    }

    /// The ids of those who install packages into roots of our own, where root's host makes them. There are always some:
    /// those of /etc/subuid, or else those after `build_id`. In a container whose ids are its own, root is not the
    /// machine's, and there may be no others: None.
    pub fn installer_ids(&self, build_id: u32) -> Option<SubIds> {
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
        if let Some(fault) = subordinate::ids_fault(User::own()) {
            return Some(fault.to_string());
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

/// What keeps packages from being laid over a root, if the layer is below `state`: an overlay can't be the upper part of
/// another one. None: nothing does.
pub(super) fn layer_fault(state: &Path) -> Option<String> {
    // OVERLAYFS_SUPER_MAGIC
    let is_overlay = rustix::fs::statfs(state).is_ok_and(|disk| disk.f_type == 0x794c_7630);
    is_overlay.then(|| {
        format!(
            "{} is on an overlay, as a container's own files are, and no packages can be laid over a root there (put the \
             state directory on a volume, with --state)",
            state.display()
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
