//! The sandboxes in which build dependencies are fetched and installed.

use std::ffi::OsString;

use super::super::stage::words;
use super::isolated;
use super::view::{Purpose, View};

/// What dpkg and the packages' scripts use; nothing that mounts, traces or configures.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SYS_CHROOT",
];

/// The command line of the sandbox in which packages are put into a layer, up to the command: root of a user namespace,
/// which can't leave the layer. There is a network to fetch, and none while packages run their own scripts.
pub(in super::super) fn install_sandbox(view: &View<'_>, purpose: Purpose) -> Vec<OsString> {
    let mut out = isolated();
    out.extend(words(&["--cap-drop", "ALL"]));
    for name in CAPABILITIES {
        out.extend(words(&["--cap-add", &format!("CAP_{name}")]));
    }
    if !purpose.has_network() {
        out.extend(words(&["--unshare-net"]));
    }
    out.extend(view.plan(purpose).into_words());
    out.extend(words(&["--chdir", "/", "--"]));
    out
}
