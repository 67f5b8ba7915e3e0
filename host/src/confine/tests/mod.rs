//! The room, tried from inside: by helpers that do what a stranger would do who has taken one over.

mod death;
mod ends;
mod inside;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ChannelError, Grants, Helper, Inside, Limits, Task, serve};

/// The test by which a helper of the tests comes to its `main`.
pub const AS_HELPER: &str = "confine::tests::as_helper";

#[test]
#[ignore = "not a test: what the helpers of the other tests run"]
fn as_helper() {
    std::process::exit(serve(crate::helpers::TASKS).into());
}

const LIMITS: Limits = Limits {
    memory: 256 << 20,
    processor: 60,
    time: Duration::from_secs(300),
    message: 1 << 20,
    file: 0,
    descriptors: 16,
};

/// Says what it is told.
pub static ECHO: Task = Task {
    name: "echo",
    limits: LIMITS,
    work: echo,
};

/// Does what it is told.
pub static HOSTILE: Task = Task {
    name: "hostile",
    limits: LIMITS,
    work: hostile,
};

fn echo(inside: &mut Inside) -> Result<(), ChannelError> {
    loop {
        let said: String = inside.receive()?;
        inside.send(&said)?;
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Try what only a free process can do.
    Try,
    /// The environment, and the descriptors that are open.
    Look,
    /// Read all of the first granted descriptor.
    ReadGranted,
    /// Read, write and remove a file.
    Use(PathBuf),
    Read(PathBuf),
    /// Let everybody use a file.
    Chmod(PathBuf),
    /// Set a file's time.
    Touch(PathBuf),
    /// Empty a file, and ask for no more than reading it.
    Empty(PathBuf),
    Eat,
    EatInLibrary,
    Spin,
    Panic,
    Exit,
    /// Answer so many bytes.
    Answer(usize),
    /// Promise an answer, and give one byte of it.
    Trickle,
    /// Fill the standard error stream, and answer.
    Shout,
    Sleep,
}

/// What became of an attempt: its name, and the error that it met.
type Attempt = (String, Option<String>);

fn hostile(inside: &mut Inside) -> Result<(), ChannelError> {
    let mut granted = inside.granted();
    loop {
        match inside.receive()? {
            Order::Try => inside.send(&attempts())?,
            Order::Look => inside.send(&look())?,
            Order::ReadGranted => {
                let mut text = String::new();
                let mut file = granted.next().map(File::from).unwrap();
                file.read_to_string(&mut text).unwrap();
                inside.send(&text)?;
            }
            Order::Use(path) => inside.send(&outcome("use", used(&path)))?,
            Order::Read(path) => inside.send(&outcome("read", std::fs::read(path)))?,
            Order::Chmod(path) => inside.send(&outcome("chmod", opened_up(&path)))?,
            Order::Touch(path) => inside.send(&outcome("touch", dated(&path)))?,
            Order::Empty(path) => inside.send(&outcome("empty", emptied(&path)))?,
            Order::Eat => eat(),
            Order::EatInLibrary => super::out_of_memory(),
            Order::Spin => loop {
                std::hint::spin_loop();
            },
            Order::Panic => panic!("a fault\nin the parser"),
            Order::Exit => std::process::exit(3),
            Order::Answer(size) => inside.send_bytes(&vec![0; size])?,
            Order::Trickle => {
                let mut stream = File::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().unwrap());
                stream.write_all(&[0, 0, 1, 0, 7]).unwrap();
                std::thread::sleep(Duration::from_secs(3600));
            }
            Order::Shout => {
                let _ = io::stderr().write_all(&vec![b'x'; 1 << 20]);
                inside.send(&())?;
            }
            Order::Sleep => std::thread::sleep(Duration::from_secs(3600)),
        }
    }
}

fn opened_up(path: &std::path::Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
}

fn dated(path: &std::path::Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps {
        last_access: long_ago,
        last_modification: long_ago,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn emptied(path: &std::path::Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    Ok(open(path, OFlags::RDONLY | OFlags::TRUNC, Mode::empty()).map(drop)?)
}

fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}

fn attempts() -> Vec<Attempt> {
    let parent = rustix::process::getppid();
    let signal = |signal| match parent {
        Some(parent) => rustix::process::kill_process(parent, signal).map_err(io::Error::from),
        None => Ok(()),
    };
    vec![
        outcome("read a file", File::open("/etc/passwd")),
        outcome("write a file", File::create("/tmp/foundry-helper-was-here")),
        outcome("look at a file", std::fs::symlink_metadata("/etc/passwd")),
        outcome("list a directory", std::fs::read_dir("/")),
        outcome("make a directory", std::fs::create_dir("/tmp/foundry-helper-was-here")),
        outcome("remove a file", std::fs::remove_file("/tmp/foundry-helper-was-here")),
        outcome("read its own memory's map", File::open("/proc/self/maps")),
        outcome("connect by TCP", TcpStream::connect(("127.0.0.1", 9))),
        outcome("connect to a local socket", UnixStream::connect("/run/systemd/private")),
        outcome("make a pair of sockets", UnixStream::pair()),
        outcome("run a program", std::process::Command::new("/bin/true").status()),
        outcome("make a thread", std::thread::Builder::new().spawn(|| ())),
        outcome("signal the host", signal(rustix::process::Signal::CONT)),
        outcome(
            "make a file in memory",
            rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::empty()),
        ),
        outcome("change its limits", {
            let none = rustix::process::Rlimit {
                current: None,
                maximum: None,
            };
            rustix::process::setrlimit(rustix::process::Resource::As, none)
        }),
        outcome(
            "live on without the host",
            rustix::process::set_parent_process_death_signal(None),
        ),
        outcome("be traced", {
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        }),
    ]
}

fn outcome<T, E: std::fmt::Debug>(name: &str, result: Result<T, E>) -> Attempt {
    (name.to_owned(), result.err().map(|error| format!("{error:?}")))
}

fn used(path: &std::path::Path) -> io::Result<()> {
    std::fs::write(path, "hello")?;
    let moved = path.with_extension("moved");
    std::fs::rename(path, &moved)?;
    assert_eq!(std::fs::read_to_string(&moved)?, "hello");
    std::fs::remove_file(moved)
}

/// How many variables the environment has, and which descriptors are open.
fn look() -> (usize, Vec<i32>) {
    let is_open = |number: &i32| {
        // Descriptors of this process are asked after by their numbers; nothing is done with them.
        #[expect(unsafe_code, reason = "it reads a flag, and fails where there is no such descriptor")]
        let answer = unsafe { libc::fcntl(*number, libc::F_GETFD) };
        answer >= 0
    };
    (std::env::vars_os().count(), (0..1024).filter(is_open).collect())
}

/// A helper that does what it is told, with these limits.
fn hostile_with(limits: Limits) -> Helper {
    let grants = Grants {
        limits: Some(limits),
        ..Grants::default()
    };
    Helper::start(&HOSTILE, grants).unwrap()
}
