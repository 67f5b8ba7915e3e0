//! The sandbox in which a root for builds is made.

use std::ffi::OsString;

use super::super::stage::words;
use super::isolated;
use super::view::{Purpose, View};

/// The command line of the sandbox in which mmdebstrap makes a root, up to the command. It has a network: everything
/// that runs comes from the machine's own mirrors.
pub(in super::super) fn bootstrap_sandbox(view: &View<'_>) -> Vec<OsString> {
    let mut out = isolated();
    out.extend(view.plan(Purpose::Bootstrap).into_words());
    out.extend(words(&["--chdir", "/", "--"]));
    out
}

/// The command that makes a root for a suite.
pub(in super::super) fn mmdebstrap(suite: &str, architecture: &str, hooks: &[String]) -> Vec<OsString> {
    let mut out = words(&[
        "mmdebstrap",
        "--mode=root",
        "--variant=buildd",
        "--format=directory",
        "--include=fakeroot",
        "--skip=cleanup/apt/lists",
        "--skip=chroot/mount/sys",
        "--dpkgopt=force-unsafe-io",
    ]);
    out.extend(words(hooks));
    out.extend(words(&[
        &format!("--architectures={architecture}"),
        suite,
        "/target",
        "/mirrors.sources",
    ]));
    out
}
