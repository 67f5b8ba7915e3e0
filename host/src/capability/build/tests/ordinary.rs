//! What root's builds can do, an ordinary user's can: the same tests again, as somebody else.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::getuid;

use super::probes::homes_of;

/// An id that is nobody's.
const SOMEBODY: u32 = 54321;

#[test]
fn everything_holds_for_an_ordinary_user() {
    if getuid().is_root() {
        let passed = passed_by_somebody(&["hostile", "limits", "formats::a_c_program"], None);
        assert!(passed > 20, "{passed}");
    }
}

#[test]
fn a_build_of_an_ordinary_users_host_reaches_nothing_of_it_wherever_its_state_is() {
    if getuid().is_root() {
        let (_homes, places) = homes_of(SOMEBODY);
        let passed = passed_by_somebody(&["probes::a_build"], Some(places));
        assert_eq!(passed, 1);
    }
}

/// Runs tests as an ordinary user, and returns how many there were. All of them have passed.
fn passed_by_somebody(tests: &[&str], environment: Option<(&str, String)>) -> u32 {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    // The test program may lie where only root can read.
    let program = home.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let module = module_path!().split_once("::").unwrap().1.rsplit_once("::").unwrap().0;
    let somebody = SOMEBODY.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &somebody, "--regid", &somebody, "--clear-groups"])
        .arg(&program)
        .args(["--test-threads", "3"])
        .args(tests.iter().map(|name| format!("{module}::{name}")))
        .env("TMPDIR", home.path())
        .envs(environment)
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines()
        .find_map(|line| {
            line.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse::<u32>()
                .ok()
        })
        .unwrap_or_default()
}
