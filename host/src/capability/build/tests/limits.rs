//! Builds that take too much are ended, wholly, and say what they ran into.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::{BuildError, Silent};
use super::fixture::{Sample, processes_with, run};

#[test]
fn build_that_runs_for_ever_is_ended() {
    let mut sample = Sample::running("@echo started; sleep 3600 & trap '' TERM INT HUP; while :; do sleep 1; done");
    // Long enough for the build to begin on a busy machine.
    sample.limits.wall_time = Duration::from_secs(8);
    let begun = Instant::now();
    match sample.build().unwrap_err() {
        BuildError::TimedOut { limit, tail, .. } => {
            assert_eq!(limit, Duration::from_secs(8));
            assert!(tail.lines.iter().any(|line| line == "started"));
        }
        other => unreachable!("{other}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn fork_bomb_is_contained() {
    let mut sample = Sample::running("@perl -e 'while (1) { fork // select undef, undef, undef, 0.01 }'");
    sample.limits.processes = 100;
    sample.limits.wall_time = Duration::from_secs(4);
    let error = sample.build().unwrap_err();
    assert!(
        matches!(error, BuildError::TimedOut { .. } | BuildError::ProcessLimit { .. }),
        "{error}"
    );
}

#[test]
fn build_that_fails_for_want_of_processes_says_so() {
    let mut sample = Sample::running("@perl -e 'for (1..200) { my $$p = fork // die \"no fork\"; $$p or sleep 60 }'");
    sample.limits.processes = 60;
    let error = sample.build().unwrap_err();
    // Without a control group the kernel refuses the fork just as well, but nobody counts it.
    assert!(
        matches!(
            error,
            BuildError::ProcessLimit { limit: 60, .. } | BuildError::Failed { .. }
        ),
        "{error}"
    );
    assert!(error.tail().unwrap().lines.iter().any(|line| line.contains("no fork")));
}

#[test]
fn build_that_fills_the_disk_is_ended() {
    for script in [
        // One endless file, many files, files without a name, and the temporary directory.
        "@cat /dev/zero > big",
        "@i=0; while :; do i=$$((i+1)); head -c 4000000 /dev/zero > f$$i; done",
        "@i=0; while :; do i=$$((i+1)); head -c 4000000 /dev/zero > /tmp/f$$i; done",
    ] {
        let mut sample = Sample::running(script);
        sample.limits.disk = 64 << 20;
        let error = sample.build().unwrap_err();
        match error {
            BuildError::DiskLimit {
                limit,
                host_full: false,
                ..
            } => assert_eq!(limit, 64 << 20),
            // A single file is stopped by the kernel at the limit, and make reports that.
            BuildError::Failed { ref tail, .. } => {
                assert!(
                    tail.lines
                        .iter()
                        .any(|line| line.contains("File too large") || line.contains("File size limit")),
                    "{tail:?}"
                );
            }
            other => unreachable!("{other}"),
        }
    }
}

#[test]
fn build_that_hides_what_it_writes_is_ended() {
    for script in [
        // Files that have no name any more, and files that have nothing but a name.
        "@for i in 1 2 3 4; do perl -e 'open my $$f, \"+>\", \"hidden$$ARGV[0]\"; unlink \"hidden$$ARGV[0]\"; print $$f \"x\" x 1000000 for 1..40; $$f->flush; sleep 3600' $$i & done; wait",
        // The same by processes at which nobody may look but root.
        "@for i in 1 2 3 4; do perl -e 'require \"syscall.ph\"; syscall(&SYS_prctl, 4, 0, 0, 0, 0); open my $$f, \"+>\", \"hidden$$ARGV[0]\"; unlink \"hidden$$ARGV[0]\"; print $$f \"x\" x 1000000 for 1..40; $$f->flush; sleep 3600' $$i & done; wait",
        "@mkdir many; perl -e 'for (1..40000) { open my $$f, \">\", \"many/$$_\" }'; sleep 3600",
    ] {
        let mut sample = Sample::running(script);
        sample.limits.disk = 100 << 20;
        let error = sample.build().unwrap_err();
        assert!(
            matches!(error, BuildError::DiskLimit { limit, host_full: false, .. } if limit == 100 << 20),
            "{error}"
        );
    }
}

#[test]
fn artifacts_count_by_their_length_and_not_by_what_they_take() {
    // Each is shorter than a file may be, and takes next to nothing.
    let sample = Sample::running(
        "@for i in 1 2; do truncate -s 200M ../demo-$$i.tar; dpkg-distaddfile demo-$$i.tar misc optional; done",
    );
    match sample.build().unwrap_err() {
        BuildError::BadResult { why, .. } => assert!(why.contains("more than the limit on disk"), "{why}"),
        other => unreachable!("{other}"),
    }
    assert_eq!(fs::read_dir(sample.output()).unwrap().count(), 1, "only the log");
}

#[test]
fn build_that_eats_memory_is_ended() {
    let mut sample = Sample::running("@perl -e 'my @a; while (1) { push @a, \"x\" x 1000000 }'");
    sample.limits.memory = 200 << 20;
    match sample.build().unwrap_err() {
        BuildError::MemoryLimit { limit, .. } => assert_eq!(limit, 200 << 20),
        other => unreachable!("{other}"),
    }
}

#[test]
fn build_that_hides_memory_in_files_without_a_name_is_ended() {
    // None of it is mapped, so it is no process's. A single file is shorter than one may be.
    let mut sample = Sample::running(
        "@perl -e 'require \"syscall.ph\"; my @f; for my $$n (1..4) { my $$name = \"x\"; my $$fd = syscall(&SYS_memfd_create, $$name, 0); open my $$f, \">&=\", $$fd or die; print $$f \"x\" x 1000000 for 1..150; $$f->flush; push @f, $$f } sleep 3600'",
    );
    sample.limits.memory = 200 << 20;
    match sample.build().unwrap_err() {
        BuildError::MemoryLimit { limit, .. } => assert_eq!(limit, 200 << 20),
        other => unreachable!("{other}"),
    }
}

#[test]
fn endless_log_is_cut() {
    let mut sample = Sample::running("@i=0; while [ $$i -lt 20000 ]; do i=$$((i+1)); echo line $$i; done");
    sample.limits.log = 50_000;
    sample.build().unwrap();
    let log = sample.log();
    assert!(log.len() < 51_000);
    assert!(log.contains("bytes of log were over the limit"));
}

#[test]
fn cancelled_build_leaves_nothing() {
    let sample = Sample::running("@sleep 3600");
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        trigger.cancel();
    });
    let begun = Instant::now();
    let error = sample.build_with(sample.request(), cancel).unwrap_err();
    assert!(matches!(error, BuildError::Cancelled), "{error}");
    // It would have slept for an hour.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn forgotten_build_is_cancelled() {
    let sample = Sample::running("@sleep 3600");
    let builder = sample.builder();
    run(async {
        let build = builder.run(sample.request(), CancellationToken::new(), Silent);
        assert!(tokio::time::timeout(Duration::from_secs(2), build).await.is_err());
    });
    let builds = sample.state().join("builds");
    let deadline = Instant::now() + Duration::from_secs(5);
    while fs::read_dir(&builds).unwrap().count() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    sample.assert_nothing_left();
}

const HOST: &str = "FOUNDRY_TEST_BUILD_HOST";

/// Not a test by itself: the host that `killed_host_leaves_no_process` kills.
#[test]
#[ignore = "started by killed_host_leaves_no_process"]
fn host_to_be_killed() {
    let Ok(places) = std::env::var(HOST) else { return };
    let (tree, rest) = places.split_once(' ').unwrap();
    let (output, state) = rest.split_once(' ').unwrap();
    let builder = super::super::Builder::new(std::path::Path::new(state), super::super::Settings::default()).unwrap();
    let request = super::super::BuildRequest::new(tree, output);
    run(async { builder.run(request, CancellationToken::new(), Silent).await }).unwrap();
}

#[test]
fn killed_host_leaves_no_process() {
    let sample = Sample::running("@echo the build runs; touch ../running; sleep 3600");
    let places = format!(
        "{} {} {}",
        sample.tree().display(),
        sample.output().display(),
        sample.state().display()
    );
    let name = std::any::type_name_of_val(&host_to_be_killed)
        .split_once("::")
        .unwrap()
        .1;
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env(HOST, places)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let builds = sample.state().join("builds");
    let runs = || {
        fs::read_dir(&builds)
            .ok()?
            .flatten()
            .any(|dir| dir.path().join("build/running").exists())
            .then_some(())
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs().is_none() {
        assert!(Instant::now() < deadline, "the build does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    host.kill().unwrap();
    host.wait().unwrap();
    let text = sample.state().to_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !processes_with("foundry-build").iter().all(|line| !line.contains(&text)) {
        assert!(Instant::now() < deadline, "{:?}", processes_with("foundry-build"));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its files are still there, until the next host starts.
    assert_eq!(fs::read_dir(&builds).unwrap().count(), 1);
    let name = fs::read_dir(&builds).unwrap().next().unwrap().unwrap().file_name();
    sample.builder();
    sample.assert_nothing_left();
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-name"])
        .arg(format!("foundry-{}", name.display()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "");
}
