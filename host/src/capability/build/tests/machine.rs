//! Machines that are not as quiet, or not as plain, as a build would like them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::super::{BuildError, Observer, Phase};
use super::dependencies::{ABSENT, is_root, needing};
use super::fixture::{Sample, run};

/// Which time the packages of the machine change for the last time while a layer is made.
const CHANGES: &str = "FOUNDRY_TEST_CHANGES";

/// Shows the machine's packages to one command as copies, which it may change.
const WITH_OTHER_PACKAGES: &str = "\
cp -a /var/lib/dpkg \"$1\" && mount --bind \"$1/dpkg\" /var/lib/dpkg || exit
shift
exec \"$@\"";

/// Changes the machine's packages while others are installed, so often.
struct Administrator {
    left: u32,
}

impl Observer for Administrator {
    fn phase(&mut self, _phase: Phase) {}

    fn line(&mut self, line: &str) {
        if self.left > 0 && line.starts_with("Setting up hello") {
            self.left -= 1;
            let status = "/var/lib/dpkg/status";
            let text = fs::read_to_string(status).unwrap();
            fs::write(status, text + "\n").unwrap();
        }
    }
}

/// Run by the test below, with packages of its own.
#[test]
fn with_packages_that_change_while_a_layer_is_made() {
    let Ok(changes) = std::env::var(CHANGES) else { return };
    let sample = needing(ABSENT);
    let (builder, left) = (sample.builder(), changes.parse().unwrap());
    let result = run(async {
        let cancel = CancellationToken::new();
        builder.run(sample.request(), cancel, Administrator { left }).await
    });
    let log = sample.log();
    let dropped = log.matches("what was laid over them is dropped").count();
    let kept = fs::read_dir(sample.state().join("layers")).unwrap();
    let kept = kept.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    match left {
        1 => {
            result.unwrap();
            assert!(dropped == 1 && log.contains("Hello, world!\n"), "{log}");
            assert_eq!(kept, 1, "the layer of two machines is not kept");
        }
        _ => {
            let error = result.unwrap_err();
            assert!(error.may_pass() && dropped == 2, "{error}\n{log}");
            assert!(
                error.to_string().contains("this machine's packages were changed"),
                "{error}"
            );
            assert_eq!(kept, 0);
        }
    }
    sample.assert_nothing_left();
}

#[test]
fn a_layer_is_made_again_when_the_machines_packages_change_meanwhile() {
    if !is_root() {
        return;
    }
    for changes in ["1", "2"] {
        let copies = tempfile::tempdir().unwrap();
        let name = std::any::type_name_of_val(&with_packages_that_change_while_a_layer_is_made);
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                WITH_OTHER_PACKAGES,
                "sh",
            ])
            .arg(copies.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name.split_once("::").unwrap().1])
            .env(CHANGES, changes)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}

/// A state directory on an overlay.
const ON_AN_OVERLAY: &str = "FOUNDRY_TEST_ON_AN_OVERLAY";

/// Mounts an overlay for one command.
const WITH_AN_OVERLAY: &str = "\
mkdir \"$1/lower\" \"$1/upper\" \"$1/work\" \"$1/merged\" &&
mount -t overlay overlay -o \"lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work\" \"$1/merged\" || exit
shift
exec \"$@\"";

/// Run by the test below, where there is an overlay.
#[test]
fn on_an_overlay_no_packages_are_laid_over_a_root() {
    let Ok(state) = std::env::var(ON_AN_OVERLAY) else {
        return;
    };
    let mut sample = needing(ABSENT);
    sample.shared_state = Some(Path::new(&state).join("build"));
    let error = sample.build().unwrap_err();
    let BuildError::NoBackend { tried } = error else {
        unreachable!("{error}")
    };
    for one in &tried[1..] {
        assert!(
            one.why.contains("put the state directory on a volume, with --state"),
            "{one:?}"
        );
    }
    assert_eq!(tried.len(), 3);
    let mut plain = Sample::running("");
    plain.shared_state = sample.shared_state.clone();
    plain.build().unwrap();
}

#[test]
fn a_state_on_an_overlay_is_refused_where_packages_are_missing_with_the_option_that_mends_it() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = std::any::type_name_of_val(&on_an_overlay_no_packages_are_laid_over_a_root);
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", WITH_AN_OVERLAY, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name.split_once("::").unwrap().1])
        .env(ON_AN_OVERLAY, dir.path().join("merged"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
