//! Sources that mean harm get nowhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::super::{ArtifactKind, BuildError, OverlayFile};
use super::fixture::{Sample, artifact, names};

fn bad_source(sample: &Sample) -> String {
    match sample.build().unwrap_err() {
        BuildError::BadSource { why } => why,
        other => unreachable!("{other}"),
    }
}

#[test]
fn deb_committed_in_the_tree_is_never_collected() {
    let sample = Sample::running("");
    for name in ["evil_1.0_amd64.deb", "demo_1.0_all.deb", "debian/evil_1.0_amd64.deb"] {
        sample.file(name, "not even a package");
    }
    sample.file("evil_1.0_amd64.changes", "Source: evil\n");
    let report = sample.build().unwrap();
    assert!(
        names(&report).iter().all(|name| name.starts_with("demo_1.0")),
        "{:?}",
        names(&report)
    );
    assert_eq!(
        report
            .artifacts
            .iter()
            .filter(|one| one.kind == ArtifactKind::Deb)
            .count(),
        1
    );
    assert_ne!(
        fs::read(&artifact(&report, ArtifactKind::Deb).path).unwrap(),
        b"not even a package"
    );
    let outputs = fs::read_dir(sample.output()).unwrap().count();
    assert_eq!(outputs, report.artifacts.len() + 1, "the artifacts and the log");
}

#[test]
fn a_link_in_an_artifacts_place_is_refused() {
    let sample = Sample::running("");
    let rules = fs::read_to_string(sample.tree().join("debian/rules")).unwrap();
    let trap = "\tmv ../demo_1.0_amd64.deb real.deb; ln -s demo-1.0/real.deb ../demo_1.0_amd64.deb\n.PHONY";
    sample.file("debian/rules", rules.replace(".PHONY", trap));
    let error = sample.build().unwrap_err();
    assert!(matches!(error, BuildError::BadResult { .. }), "{error}");
    assert_eq!(fs::read_dir(sample.output()).unwrap().count(), 1, "only the log");
}

#[test]
fn build_that_tries_the_network_has_none() {
    // A server of the host's own, on the loopback interface and on a socket in the file system.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    server.set_nonblocking(true).unwrap();
    let sample = Sample::running(&format!(
        "@perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(\"127.0.0.1:{port}\") ? 0 : 9)' && echo CONNECTED || echo refused\n\
         @echo interfaces: `sed -n 's/^ *\\(.*\\):.*/\\1/p' /proc/net/dev`"
    ));
    sample.build().unwrap();
    let log = sample.log();
    assert!(log.contains("refused\n") && !log.contains("CONNECTED\n"), "{log}");
    assert!(log.contains("interfaces: lo\n"), "{log}");
    assert!(server.accept().is_err());
}

#[test]
fn build_that_reads_secrets_finds_none() {
    let agent = tempfile::tempdir().unwrap();
    let socket = agent.path().join("agent.sock");
    let _agent = UnixListener::bind(&socket).unwrap();
    let secret = agent.path().join("secret");
    fs::write(&secret, "very secret").unwrap();
    let sample = Sample::running(&format!(
        "@for p in /root /home /srv /mnt /media /boot /sys /var/mail /var/backups {0} {1} /run/dbus /run/systemd; do test -e $$p && echo \"SEEN $$p\" || true; done\n\
         @cat /etc/shadow /etc/gshadow /etc/apt/auth.conf /etc/ssh/ssh_host_ed25519_key 2>/dev/null | sed 's/^/SEEN /'\n\
         @find /usr/local /run -mindepth 1 | sed 's/^/SEEN /'\n\
         @env | grep -i -E 'ssh|token|secret|proxy|cargo' | sed 's/^/SEEN /' || true\n\
         @id; pwd; echo pids: `ls /proc | grep -c '^[0-9]'`; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; echo descriptors: `ls /proc/self/fd`",
        socket.display(),
        secret.display(),
    ));
    sample.build().unwrap();
    let log = sample.log();
    assert!(!log.lines().any(|line| line.starts_with("SEEN")), "{log}");
    assert!(
        log.contains("uid=1000(build) gid=1000(build) groups=1000(build)\n"),
        "{log}"
    );
    assert!(
        log.contains("Seccomp:\t2\n") && log.contains("descriptors: 0 1 2 3\n"),
        "{log}"
    );
    assert!(
        log.contains("CapEff:\t0000000000000000\n") && log.contains("NoNewPrivs:\t1\n"),
        "{log}"
    );
}

#[test]
fn build_that_asks_for_the_kernels_keyrings_is_told_there_are_none() {
    // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
    let sample = Sample::running(
        "@perl -e 'require \"syscall.ph\"; my $$r = syscall(&SYS_keyctl, 0, -3, 0); print \"keyring: $$r $$!\\n\"'",
    );
    sample.build().unwrap();
    assert!(
        sample.log().contains("keyring: -1 Function not implemented\n"),
        "{}",
        sample.log()
    );
}

#[test]
fn build_that_writes_outside_its_directory_cannot() {
    let sample = Sample::running(
        "@for p in $$HOME / /usr /etc /var /var/lib /dev /run/../etc /opt /proc/sys/kernel; do touch $$p/x 2>/dev/null && echo \"WROTE $$p\" || true; done\n\
         @echo 1 > /proc/sys/kernel/panic && echo 'WROTE sysctl' || true\n\
         @unshare --user true 2>/dev/null && echo 'MADE a namespace' || true\n\
         @mkdir -p /tmp/ok && touch /tmp/ok/x /var/tmp/x /dev/shm/x && echo may-write-tmp",
    );
    sample.build().unwrap();
    let log = sample.log();
    assert!(
        !log.lines()
            .any(|line| line.starts_with("WROTE") || line.starts_with("MADE")),
        "{log}"
    );
    assert!(log.contains("may-write-tmp\n"), "{log}");
}

#[test]
fn a_tree_that_is_no_package_is_refused_with_the_reason() {
    let sample = Sample::running("");
    fs::remove_file(sample.tree().join("debian/control")).unwrap();
    assert!(bad_source(&sample).starts_with("debian/control: "));

    let sample = Sample::running("");
    sample.file("debian/control", "Package: demo\n\u{0}\u{1}\n");
    assert_eq!(
        bad_source(&sample),
        "debian/control has no Source field in its first paragraph"
    );

    let sample = Sample::running("");
    sample.file("debian/changelog", "what?\n");
    assert!(bad_source(&sample).contains("`what?`, expected `name (version)"));

    let sample = Sample::running("");
    sample.changelog("1/../../../../tmp/x");
    assert!(bad_source(&sample).contains("contains `/`"));

    let sample = Sample::running("");
    fs::remove_dir_all(sample.tree().join("debian")).unwrap();
    assert!(bad_source(&sample).starts_with("it has no debian directory"));
}

#[test]
fn debian_as_a_link_to_etc_is_refused() {
    let sample = Sample::running("");
    fs::remove_dir_all(sample.tree().join("debian")).unwrap();
    symlink("/etc", sample.tree().join("debian")).unwrap();
    assert_eq!(bad_source(&sample), "debian is not a directory");
}

#[test]
fn control_as_a_link_out_of_the_tree_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("control"), "Source: demo\n").unwrap();
    let sample = Sample::running("");
    fs::remove_file(sample.tree().join("debian/control")).unwrap();
    symlink(outside.path().join("control"), sample.tree().join("debian/control")).unwrap();
    assert!(bad_source(&sample).starts_with("debian/control: "));
}

#[test]
fn links_out_of_the_tree_are_packed_as_links() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret-content").unwrap();
    let sample = Sample::running("@cat link && echo READ || echo dangling");
    symlink(secret.path(), sample.tree().join("link")).unwrap();
    symlink("/", sample.tree().join("root")).unwrap();
    sample.build().unwrap();
    let log = sample.log();
    assert!(log.contains("dangling\n") && !log.contains("secret-content"), "{log}");
}

#[test]
fn an_overlay_file_never_follows_a_link() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("victim"), "untouched").unwrap();
    let sample = Sample::running("");
    symlink(outside.path().join("victim"), sample.tree().join("file")).unwrap();
    symlink(outside.path(), sample.tree().join("dir")).unwrap();
    let put = |path: &str| {
        let mut request = sample.request();
        request.files = vec![OverlayFile {
            path: path.into(),
            content: b"overwritten".to_vec(),
        }];
        sample.build_with(request, Default::default())
    };
    put("file").unwrap();
    assert!(matches!(put("dir/new").unwrap_err(), BuildError::Io { .. }));
    assert!(matches!(put("../x").unwrap_err(), BuildError::BadRequest { .. }));
    assert!(matches!(put("/etc/x").unwrap_err(), BuildError::BadRequest { .. }));
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_device_or_a_pipe_in_the_tree_is_refused() {
    let sample = Sample::running("");
    let made = std::process::Command::new("mkfifo")
        .arg(sample.tree().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    assert!(bad_source(&sample).contains("neither a file"));
}
