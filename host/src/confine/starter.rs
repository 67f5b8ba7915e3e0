//! The thread that starts helpers.
//!
//! The kernel kills a helper when the *thread* that started it ends, so this one lives as long as the process does: threads
//! that wait for helpers come and go, and a conversation may go on on another.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The first argument of this program as a helper.
pub(super) const WORD: &str = "confined-helper";

/// This process's own program, also when another version is at its path since then.
const OWN_PROGRAM: &str = "/proc/self/exe";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that helpers run, in a process that is not `foundry-host`: its own has no [`super::enter`]. It has to be
/// of the same version. What is named first counts.
pub fn run_helpers_by(program: impl Into<PathBuf>) {
    PROGRAM.get_or_init(|| program.into());
}

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Where orders go; none until the first.
static STARTER: Mutex<Option<SyncSender<Order>>> = Mutex::new(None);

/// Starts a helper with one end of its conversation as its input. Returns when its program runs.
pub(super) fn start(task: &str, conversation: OwnedFd) -> io::Result<Child> {
    let (answer, answered) = sync_channel(1);
    let command = command(task, conversation);
    starter()?.send(Order { command, answer }).map_err(gone)?;
    answered.recv().map_err(gone)?
}

fn gone<E>(_: E) -> io::Error {
    io::Error::other("the thread that starts helpers is gone")
}

fn starter() -> io::Result<SyncSender<Order>> {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(starter) = starter.as_ref() {
        return Ok(starter.clone());
    }
    let (sender, orders) = sync_channel::<Order>(16);
    std::thread::Builder::new().name("helpers".to_owned()).spawn(move || {
        for mut order in orders {
            // Whoever asked may have given up; its child ends with its conversation.
            let _ = order.answer.send(order.command.spawn());
        }
    })?;
    Ok(starter.insert(sender).clone())
}

fn command(task: &str, conversation: OwnedFd) -> Command {
    let mut command = Command::new(PROGRAM.get().map_or(OWN_PROGRAM.as_ref(), PathBuf::as_path));
    command
        .args(arguments(task))
        .arg0("foundry-host")
        .env_clear()
        .current_dir("/")
        // What a terminal sends to the host's group is for the host, which may still need its helpers' answers.
        .process_group(0)
        .stdin(Stdio::from(conversation))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The task is named for whoever looks at the machine's processes; what counts is in the setup.
#[cfg(not(test))]
fn arguments(task: &str) -> Vec<OsString> {
    [WORD, task].map(OsString::from).into()
}

/// The tests of this crate are a program with a `main` of its own, which comes to a helper's by a test.
#[cfg(test)]
fn arguments(task: &str) -> Vec<OsString> {
    if PROGRAM.get().is_some() {
        return [WORD, task].map(OsString::from).into();
    }
    [
        "--exact",
        super::tests::AS_HELPER,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]
    .map(OsString::from)
    .into()
}
