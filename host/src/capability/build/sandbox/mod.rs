//! The bwrap command lines: what a build, an installation and a bootstrap see, and what they don't. Pure, but for
//! looking which paths exist.

mod bootstrap;
mod build;
mod install;
mod root;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::stage::words;

pub(super) use bootstrap::BootstrapSandbox;
pub(super) use build::{BUILD_USER, BuildSandbox, accounts, environment};
pub(super) use install::InstallSandbox;
pub(super) use root::Root;

/// Sizes of the memory file systems, in bytes.
const SMALL: &str = "16777216";
const SHARED_MEMORY: &str = "268435456";

/// What all sandboxes have in common. The system calls' filter is file descriptor 9.
fn isolated() -> Vec<OsString> {
    words(&[
        "bwrap",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--seccomp",
        "9",
        "--hostname",
        "foundry-build",
    ])
}

/// Shows where names are looked up. The name of that file may be a link into /run, which is empty here.
fn resolver(out: &mut Vec<OsString>, base: &Path, file: &Path) {
    let name = Path::new("/etc/resolv.conf");
    let link = fs::read_link(base.join("etc/resolv.conf")).map(|link| Path::new("/etc").join(link));
    let target = match link {
        Ok(link) if link.starts_with("/run") => link,
        Ok(link) => link
            .strip_prefix("/etc/..")
            .map_or_else(|_| name.to_owned(), |rest| Path::new("/").join(rest)),
        Err(_) => name.to_owned(),
    };
    out.extend(words(&[Path::new("--ro-bind"), file, &target]));
}

/// The environment of what installs packages: with the machine's way to its mirrors, if it may use it.
pub(super) fn install_environment(network: bool) -> Vec<(OsString, OsString)> {
    let mut pairs: Vec<(OsString, OsString)> = vec![
        ("DEBIAN_FRONTEND".into(), "noninteractive".into()),
        ("HOME".into(), "/nonexistent".into()),
    ];
    if network {
        for name in [
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            if let Some(value) = std::env::var_os(name) {
                pairs.push((name.into(), value));
            }
        }
    }
    pairs
}
