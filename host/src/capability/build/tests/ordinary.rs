//! What root's builds can do, an ordinary user's can: the same tests again, as somebody else. And what is his alone: ids
//! that he has, has no more, or never had.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{getgid, getuid};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::{BuildError, Needs, Settings, Silent, User, ids_fault};
use super::fixture::{Sample, pids_of, run};
use super::probes::Homes;
use crate::retention::{Limits, Sweep};

/// An id that is nobody's.
const SOMEBODY: u32 = 54321;
/// The first of his subordinate ids: of users, and of groups.
const RANGES: (u32, u32) = (1_700_000_000, 1_800_000_000);
/// How many he has.
const RANGE: u32 = 65_536;
/// An id that he had once.
const FORMERLY: u32 = 1_600_000_000;
/// The state directory of an earlier host of his.
const EARLIER: &str = "FOUNDRY_TEST_EARLIER_STATE";
/// Says that there are no subordinate ids.
const WITHOUT: &str = "FOUNDRY_TEST_WITHOUT_IDS";
/// Says that there are some, and that nothing gets the right to use them.
const FORBIDDEN: &str = "FOUNDRY_TEST_FORBIDDEN_IDS";

/// Shows the machine with a user that it does not have, to one command.
const WITH_SOMEBODY: &str = "\
for name in passwd subuid subgid; do mount --bind \"$1/$name\" \"/etc/$name\" || exit; done
shift
exec \"$@\"";

/// An ordinary user whom only this test's programs know.
struct Somebody {
    home: TempDir,
}

impl Somebody {
    /// One with subordinate ids, or without.
    fn new(ids: Option<(u32, u32)>) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let etc = home.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let range = |first: Option<u32>| first.map_or(String::new(), |first| format!("somebody:{first}:{RANGE}\n"));
        let accounts = fs::read_to_string("/etc/passwd").unwrap();
        let somebody = format!("somebody:x:{SOMEBODY}:{SOMEBODY}::/nonexistent:/bin/sh\n");
        for (name, text) in [
            ("passwd", accounts + &somebody),
            ("subuid", range(ids.map(|ids| ids.0))),
            ("subgid", range(ids.map(|ids| ids.1))),
        ] {
            // There is something to put it over.
            fs::File::options()
                .create(true)
                .append(true)
                .open(Path::new("/etc").join(name))
                .unwrap();
            let file = etc.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        }
        // The test program may lie where only root can read.
        fs::copy(std::env::current_exe().unwrap(), home.path().join("tests")).unwrap();
        let own = home.path().join("tmp");
        fs::create_dir(&own).unwrap();
        chown(&own, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        Self { home }
    }

    /// Runs tests as him, and returns how many there were. All of them have passed.
    fn passes(&self, tests: &[&str], arguments: &[&str], environment: Option<(&str, String)>) -> u32 {
        let module = module_path!().split_once("::").unwrap().1.rsplit_once("::").unwrap().0;
        let (home, somebody) = (self.home.path(), SOMEBODY.to_string());
        // As for a service with NoNewPrivileges.
        let is_forbidden = environment.as_ref().is_some_and(|(name, _)| *name == FORBIDDEN);
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", WITH_SOMEBODY, "sh"])
            .arg(home.join("etc"))
            .args(["setpriv", "--reuid", &somebody, "--regid", &somebody, "--clear-groups"])
            .args(is_forbidden.then_some("--no-new-privs"))
            .arg(home.join("tests"))
            .args(["--test-threads", "3"])
            .args(arguments)
            .args(tests.iter().map(|name| format!("{module}::{name}")))
            .env("TMPDIR", home.join("tmp"))
            .envs(environment)
            .current_dir(home.join("tmp"))
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
}

#[test]
fn everything_holds_for_an_ordinary_user() {
    if getuid().is_root() {
        let passed = Somebody::new(Some(RANGES)).passes(&["hostile", "limits", "formats::a_c_program"], &[], None);
        assert!(passed > 20, "{passed}");
    }
}

#[test]
fn a_build_of_an_ordinary_users_host_reaches_nothing_of_it_wherever_its_state_is() {
    if getuid().is_root() {
        let stages = ["probes::a_build", "probes::making_the_source"];
        reaches_nothing(&stages);
    }
}

#[test]
fn a_root_of_an_ordinary_users_host_reaches_nothing_of_it_wherever_its_state_is() {
    if getuid().is_root() {
        let stages = [
            "probes::making_a_root",
            "probes::a_packages_script_in_a_root_of_its_own",
        ];
        reaches_nothing(&stages);
    }
}

fn reaches_nothing(stages: &[&str]) {
    let (homes, somebody) = (Homes::of(SOMEBODY), Somebody::new(Some(RANGES)));
    // One after the other: each is a host with its state in all of these homes.
    for stage in stages {
        let passed = somebody.passes(&[stage], &["--nocapture"], Some(homes.variable()));
        assert_eq!(passed, 1, "{stage}");
    }
}

#[test]
fn an_ordinary_users_host_builds_under_ids_that_are_not_its_own() {
    if getuid().is_root() {
        let passed = Somebody::new(Some(RANGES)).passes(&["ordinary::no_process_of_a_build_has"], &[], None);
        assert_eq!(passed, 1);
    }
}

/// Needs a minute and a mirror, as `root_of_its_own_is_made_once_and_used_again` does.
#[test]
#[ignore = "makes a whole root from the network"]
fn an_ordinary_users_host_makes_a_root_of_its_own_under_ids_that_are_not_its_own() {
    if getuid().is_root() {
        let tests = ["dependencies::root_of_its_own"];
        let passed = Somebody::new(Some(RANGES)).passes(&tests, &["--ignored"], None);
        assert_eq!(passed, 1);
    }
}

#[test]
fn a_user_without_subordinate_ids_is_told_the_command_that_gives_them() {
    if getuid().is_root() {
        let passed = Somebody::new(None).passes(
            &["ordinary::without_subordinate_ids"],
            &[],
            Some((WITHOUT, String::new())),
        );
        assert_eq!(passed, 1);
    }
}

#[test]
fn a_user_who_may_not_use_his_subordinate_ids_is_told_why() {
    if getuid().is_root() {
        let passed =
            Somebody::new(Some(RANGES)).passes(&["ordinary::without_the_right"], &[], Some((FORBIDDEN, String::new())));
        assert_eq!(passed, 1);
    }
}

#[test]
fn an_ordinary_users_host_starts_although_he_has_lost_the_ids_of_earlier_builds() {
    if !getuid().is_root() {
        return;
    }
    let somebody = Somebody::new(Some(RANGES));
    let state = somebody.home.path().join("tmp/earlier");
    for name in ["builds/b1/build", "layers/l1/usr", "roots/r1/usr", "archives/a1"] {
        let dir = state.join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file.deb"), "").unwrap();
        for path in dir.ancestors().take_while(|path| *path != state) {
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        for path in [&dir, &dir.join("file.deb")] {
            chown(path, Some(FORMERLY), Some(FORMERLY)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
            assert!(
                Command::new("touch")
                    .args(["-d", "2001-01-01"])
                    .arg(path)
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    // One that can be removed, and was used last after those that can't.
    fs::create_dir(state.join("layers/l2")).unwrap();
    chown(state.join("layers/l2"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    for name in ["builds/b1/lock", "layers/l1.lock", "roots/r1.lock", "layers/l2.lock"] {
        let file = fs::File::create(state.join(name)).unwrap();
        let is_later = name == "layers/l2.lock";
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(is_later.into()))
            .unwrap();
        chown(state.join(name), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    chown(&state, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let environment = (EARLIER, state.display().to_string());
    let passed = somebody.passes(&["ordinary::with_what_cannot_be_removed"], &[], Some(environment));
    assert_eq!(passed, 1);
    assert!(!state.join("layers/l2").exists() && !state.join("layers/gone-l2").exists());
    for name in [
        "builds/b1/build",
        "layers/gone-l1/usr",
        "roots/gone-r1/usr",
        "archives/a1",
    ] {
        assert!(
            state.join(name).join("file.deb").exists(),
            "{name}: nobody had the right to remove it"
        );
    }
}

/// Run by tests above, as an ordinary user. Root's host has it too.
#[test]
fn no_process_of_a_build_has_the_hosts_ids_and_no_file_that_it_leaves_is_the_hosts() {
    let marker = format!("36{}.25", std::process::id());
    let sample = Sample::running(&format!(
        "@touch ../left; mkdir -m 700 ../closed; touch ../closed/x; sleep {marker}"
    ));
    let (builder, cancel) = (sample.builder(), CancellationToken::new());
    let (request, trigger) = (sample.request(), cancel.clone());
    let building = std::thread::spawn(move || run(async { builder.run(request, cancel, Silent).await }));
    let deadline = Instant::now() + Duration::from_secs(120);
    let sleeping = || pids_of(&["sleep", &marker]);
    while sleeping().is_empty() {
        assert!(
            Instant::now() < deadline && !building.is_finished(),
            "the build does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let own = (getuid().as_raw(), getgid().as_raw());
    for pid in sleeping() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ids = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(|id| id.parse().unwrap()).collect()
        };
        for (ids, own) in [(ids("Uid:"), own.0), (ids("Gid:"), own.1), (ids("Groups:"), own.1)] {
            assert!(ids.iter().all(|id| *id != own && *id >= 100_000), "{status}");
        }
    }
    let build = fs::read_dir(sample.state().join("builds")).unwrap();
    let build = build
        .map(|entry| entry.unwrap().path().join("build"))
        .find(|path| path.is_dir())
        .unwrap();
    for name in ["", "left", "closed"] {
        let kind = fs::metadata(build.join(name)).unwrap();
        assert!(kind.uid() != own.0 && kind.gid() != own.1, "{name}: {kind:?}");
    }
    trigger.cancel();
    assert!(matches!(building.join().unwrap(), Err(BuildError::Cancelled)));
    sample.assert_nothing_left();
}

/// Run by a test above, as an ordinary user without subordinate ids.
#[test]
fn without_subordinate_ids_nothing_is_built_and_the_remedy_is_named() {
    if std::env::var(WITHOUT).is_err() {
        return;
    }
    let sample = Sample::running("");
    let error = sample.build().unwrap_err();
    let remedy = "--add-subuids 100000-165535 --add-subgids 100000-165535 somebody`";
    assert!(error.may_pass() && error.to_string().contains(remedy), "{error}");
    assert!(
        ids_fault(User::own())
            .unwrap()
            .to_string()
            .contains("(run `sudo usermod ")
    );
    assert_eq!(
        sample
            .log()
            .lines()
            .filter(|line| line.starts_with("==> source"))
            .count(),
        0
    );
}

/// Run by a test above, as an ordinary user who has ids.
#[test]
fn without_the_right_to_use_them_ids_are_a_fault_before_a_build_is_begun() {
    if std::env::var(FORBIDDEN).is_err() {
        return;
    }
    let fault = ids_fault(User::own()).unwrap().to_string();
    assert!(
        fault.starts_with("cannot use this user's subordinate ids: newuidmap") && fault.contains("NoNewPrivileges"),
        "{fault}"
    );
    let sample = Sample::running("");
    let builder = sample.builder();
    let lack = run(async { builder.probe(Needs::default()).await })
        .unwrap_err()
        .to_string();
    assert!(lack.contains(&fault), "{lack}");
}

/// Run by a test above, as an ordinary user, with what somebody else's ids have left.
#[test]
fn with_what_cannot_be_removed_a_host_starts_and_builds() {
    let Ok(state) = std::env::var(EARLIER) else { return };
    let builder = super::super::Builder::new(Path::new(&state), Settings::default()).unwrap();
    // Fetched packages are as old as their directories' entries, so it is the sweep's clock that is ahead.
    let then = time::OffsetDateTime::now_utc() + Duration::from_secs(60 * 86_400);
    let later = Sweep::new(then, then);
    for _ in 0..2 {
        let [roots, packages] = builder.sweep(&Limits::default(), &later);
        assert_eq!((roots.trouble, packages.trouble), (None, None));
    }
    let mut sample = Sample::running("@echo built");
    sample.shared_state = Some(state.into());
    let builder = sample.builder();
    run(async { builder.run(sample.request(), CancellationToken::new(), Silent).await }).unwrap();
    assert!(sample.log().contains("built\n"));
}
