//! What root's builds can do, an ordinary user's can: the same tests again, as somebody else.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::getuid;

/// An id that is nobody's.
const SOMEBODY: &str = "54321";

#[test]
fn everything_holds_for_an_ordinary_user() {
    if !getuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    // The test program may lie where only root can read.
    let program = home.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let module = module_path!().split_once("::").unwrap().1.rsplit_once("::").unwrap().0;
    let output = Command::new("setpriv")
        .args(["--reuid", SOMEBODY, "--regid", SOMEBODY, "--clear-groups"])
        .arg(&program)
        .args(["--test-threads", "3"])
        .args(["hostile", "limits", "formats::a_c_program"].map(|name| format!("{module}::{name}")))
        .env("TMPDIR", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Neither did it run nothing.
    let passed = said.lines().find_map(|line| {
        line.strip_prefix("test result: ok. ")?
            .split(' ')
            .next()?
            .parse::<u32>()
            .ok()
    });
    assert!(passed.is_some_and(|count| count > 20), "{said}");
}
