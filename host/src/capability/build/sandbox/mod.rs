//! The bwrap command lines: what a build, an installation and a bootstrap see, and what they may do. Pure, but for
//! looking which paths exist.

mod allowed;
mod bootstrap;
mod build;
mod copy;
mod install;
mod plan;
mod root;
mod view;

use std::ffi::OsString;

use super::stage::words;

pub(super) use allowed::TRANSPORT;
pub(super) use bootstrap::{bootstrap_sandbox, mmdebstrap};
pub(super) use build::{BUILD_USER, BuildSandbox, environment, system_accounts, without_passwords};
pub(super) use copy::{copy_data, copy_passwords, data_digest, private_file};
pub(super) use install::install_sandbox;
pub(super) use root::{Root, is_among_programs, is_programs};
pub(super) use view::{Purpose, View};

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
