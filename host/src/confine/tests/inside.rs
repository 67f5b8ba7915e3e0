//! What a helper has, and what it has not.

use std::fs::File;
use std::os::fd::AsFd as _;

use rustix::io::{FdFlags, fcntl_setfd};

use super::*;
use crate::confine::{Access, ask};

fn status_of(process: &str, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().trim().to_owned()
}

#[test]
fn a_conversation_goes_on_for_as_many_messages_as_wanted() {
    let mut helper = Helper::start(&ECHO, Grants::default()).unwrap();
    for number in 0..100 {
        let said = format!("message {number}");
        helper.send(&said).unwrap();
        assert_eq!(helper.receive::<String>().unwrap(), said);
    }
    helper.finish().unwrap();
}

#[test]
fn what_a_free_process_can_do_is_refused_inside() {
    let attempts: Vec<Attempt> = ask(&HOSTILE, Grants::default(), &Order::Try).unwrap();
    assert!(attempts.len() > 15);
    for (name, error) in attempts {
        let error = error.unwrap_or_else(|| panic!("it could {name}"));
        assert!(
            error.contains("PermissionDenied") || error.contains("Os { code: 1,"),
            "{name}: {error}"
        );
    }
    assert!(!std::path::Path::new("/tmp/foundry-helper-was-here").exists());
}

#[test]
fn nothing_of_the_host_is_inherited() {
    let secret = tempfile::tempfile().unwrap();
    // As a library would leave it that thinks of no other process.
    fcntl_setfd(&secret, FdFlags::empty()).unwrap();
    let (variables, descriptors): (usize, Vec<i32>) = ask(&HOSTILE, Grants::default(), &Order::Look).unwrap();
    assert_eq!(variables, 0);
    // The standard streams, and the conversation.
    assert_eq!(descriptors.len(), 4, "{descriptors:?}");
    assert_eq!(descriptors[..3], [0, 1, 2]);
}

#[test]
fn a_granted_descriptor_is_there_and_can_be_read() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"the package").unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let grants = Grants {
        descriptors: vec![file.as_fd()],
        ..Grants::default()
    };
    let read: String = ask(&HOSTILE, grants, &Order::ReadGranted).unwrap();
    assert_eq!(read, "the package");
}

#[test]
fn the_kernel_has_it_without_rights_and_behind_a_filter() {
    let mut helper = Helper::start(&ECHO, Grants::default()).unwrap();
    // It answers when it has been shut in.
    helper.send("ready").unwrap();
    helper.receive::<String>().unwrap();
    let process = helper.process().to_string();
    assert_eq!(status_of(&process, "NoNewPrivs"), "1");
    assert_eq!(status_of(&process, "Seccomp"), "2");
    // Of the thread that works. The program of the tests has another one, which waits for its end.
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
    assert!(threads.any(|thread| {
        let has_none = |set| status_of(&format!("{process}/task/{thread}"), set) == "0000000000000000";
        ["CapEff", "CapPrm", "CapInh"].into_iter().all(has_none)
    }));
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    for (name, bound) in [
        ("Max core file size", "0"),
        ("Max processes", "0"),
        ("Max file size", "0"),
        ("Max open files", "19"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some(bound), "{line}");
    }
}

#[test]
fn a_helper_with_a_directory_uses_files_there_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, directory.path().join("link")).unwrap();
    let (reading, readable) = (tempfile::tempdir().unwrap(), "readable");
    std::fs::write(reading.path().join(readable), "").unwrap();
    let grants = Grants {
        limits: Some(Limits {
            file: 1 << 20,
            ..LIMITS
        }),
        directories: vec![
            (directory.path().to_owned(), Access::Write),
            (reading.path().to_owned(), Access::Read),
        ],
        ..Grants::default()
    };
    let mut helper = Helper::start(&HOSTILE, grants).unwrap();
    let mut told = |order: Order| {
        helper.send(&order).unwrap();
        helper.receive::<Attempt>().unwrap().1
    };
    assert_eq!(told(Order::Use(directory.path().join("file"))), None);
    assert_eq!(told(Order::Read(reading.path().join(readable))), None);
    for refused in [
        Order::Use(outside.path().join("file")),
        Order::Use(reading.path().join("file")),
        Order::Read(secret.clone()),
        // Landlock has no rule for these, whosever the file is.
        Order::Chmod(secret.clone()),
        Order::Touch(secret.clone()),
        Order::Empty(secret),
        Order::Chmod(reading.path().join(readable)),
        Order::Touch(reading.path().join(readable)),
        // Nor for this one before its version 3.
        Order::Empty(reading.path().join(readable)),
        Order::Read(directory.path().join("link")),
        Order::Read("/etc/passwd".into()),
        Order::Read("/proc/self/environ".into()),
    ] {
        let shown = format!("{refused:?}");
        let error = told(refused).unwrap_or_else(|| panic!("it could {shown}"));
        assert!(error.contains("PermissionDenied"), "{shown}: {error}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let grants = Grants {
        directories: vec![("/nowhere/at/all".into(), Access::Read)],
        ..Grants::default()
    };
    let error = ask::<_, String>(&ECHO, grants, "x").unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with("a helper process cannot be confined: cannot open /nowhere/at/all"),
        "{told}"
    );
    assert!(!error.is_by_input());
}

#[test]
fn more_descriptors_than_travel_are_an_error() {
    let file = File::open("/dev/null").unwrap();
    let grants = Grants {
        descriptors: vec![file.as_fd(); 17],
        ..Grants::default()
    };
    let error = Helper::start(&ECHO, grants).unwrap_err().to_string();
    assert!(error.ends_with("it is granted more than 16 descriptors"), "{error}");
}
