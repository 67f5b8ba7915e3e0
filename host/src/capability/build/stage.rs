//! The chain of commands that leads from the host's process into a sandbox.
//!
//! Every link executes the next one in the same process, so that one pid stands for the whole chain:
//!
//! 1. root only: a private mount namespace in which the state directory lies at /mnt, whatever is above it;
//! 2. setpriv: the kernel ends the chain when the host dies; where root runs it, another user id;
//! 3. for layers or several ids: a user namespace in which overlays can be mounted;
//! 4. a gate: the chain waits until the host has written the id map and put it into its control group;
//! 5. bwrap, which makes the sandbox, and in it prlimit and the command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::machine::{self, Machine, SubIds};
use super::request::Backend;
use super::scratch;

/// What the chain says when its namespaces are made and wait for their ids, and when its overlays are mounted.
const MADE: &[u8] = b"made\n";
const MOUNTED: &[u8] = b"mounted\n";

/// The file in a build's directory that has the filter for system calls.
pub(super) const FILTER: &str = "filter";

/// Waits for the ids, mounts the overlays, waits for the go, then becomes the sandbox. The first argument is the file
/// that bwrap finds at descriptor 9; then comes `closed` if what runs may make no user namespaces; then each pair is one
/// overlay.
///
/// bash, since sh can't close the descriptors above 9. The host's own are closed already; these are what somebody left
/// open when they started the host.
const GATE: &str = "\
for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    if ((fd > 2)); then exec {fd}>&-; fi
done
echo made
read -r go || exit 125
filter=$1
shift
if [ \"$1\" = closed ]; then
    # Only a program that is started under the new ids has rights over them.
    sh -c 'echo 0 >/proc/sys/user/max_user_namespaces' || exit 125
    shift
fi
while [ \"$1\" != -- ]; do
    mount -t overlay overlay -o \"$1\" \"$2\" || exit 125
    shift 2
done
shift
echo mounted
read -r go || exit 125
exec \"$@\" </dev/null 9<\"$filter\"";

/// Makes the state directory reachable for users who can't enter the directories above it.
const BIND: &str = "mount --bind \"$1\" /mnt && shift && exec \"$@\"";

/// Whose rights a command in the sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs what the package's authors wrote: one plain user, nothing else.
    Builder,
    /// Installs packages into a root of our own: root of a user namespace, over as many ids as a Debian system uses,
    /// none of which is anybody's on the machine.
    Installer,
    /// Installs packages over the machine's own root, whose files belong to the machine's ids, and so with those.
    MachineInstaller,
}

impl Role {
    /// Who installs packages for a way of building.
    pub fn of(backend: Backend) -> Self {
        match backend {
            Backend::OwnRoot => Self::Installer,
            Backend::HostRoot | Backend::HostRootLayered => Self::MachineInstaller,
        }
    }

    fn has_several_ids(self) -> bool {
        self != Self::Builder
    }
}

/// An overlay to be mounted before the sandbox is made.
#[derive(Debug, Clone)]
pub(super) struct Overlay {
    /// Read-only layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// The layer that takes the changes, and its work directory. None: nothing can be changed.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Where it appears.
    pub target: PathBuf,
}

/// What is to be started.
pub(super) struct Launch<'a> {
    pub role: Role,
    pub overlays: &'a [Overlay],
    /// Besides PATH and the locale.
    pub environment: &'a [(OsString, OsString)],
    /// What bwrap finds at descriptor 9.
    pub filter: &'a Path,
    /// The bwrap command line, with paths as seen from inside.
    pub sandbox: &'a [OsString],
}

/// Starts commands in sandboxes below one state directory.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    state: PathBuf,
    is_root: bool,
    build_id: u32,
    sub_ids: Option<SubIds>,
}

/// A chain that stands at the gate.
#[derive(Debug)]
pub(super) struct Waiting {
    pub child: Child,
    pub output: PipeReader,
}

/// Why a chain did not come as far as the sandbox.
#[derive(Debug)]
pub(super) enum StageError {
    /// The operating system refused.
    Io(&'static str, PathBuf, io::Error),
    /// The chain itself said why.
    Said(String),
}

impl Stage {
    /// A stage whose directories are all below `state`. `build_id` is the user who builds when the host is root.
    pub fn new(state: &Path, machine: &Machine, build_id: u32) -> Self {
        Self {
            state: state.to_owned(),
            is_root: machine.is_root,
            build_id,
            sub_ids: machine.installer_ids(build_id),
        }
    }

    /// Who root is, outside, for those who install packages in this role: user and group. None: ourselves.
    pub fn installer(&self, role: Role) -> Option<(u32, u32)> {
        self.sub_ids
            .filter(|_| self.is_root && role == Role::Installer)
            .map(|ids| (ids.uid, ids.gid))
    }

    /// The user id that owns what a build may write, where it is not our own.
    pub fn owner(&self) -> Option<u32> {
        self.is_root.then_some(self.build_id)
    }

    /// Who a chain of root's is, outside, before it makes a namespace. None: ourselves.
    fn runs_as(&self, role: Role) -> Option<(u32, u32)> {
        match role {
            Role::Builder => self.owner().map(|user| (user, user)),
            Role::Installer => self.installer(role),
            Role::MachineInstaller => None,
        }
    }

    /// Where a path below the state directory is found from inside the chain.
    pub fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.state) {
            Ok(rest) if self.is_root => Path::new("/mnt").join(rest),
            _ => path.to_owned(),
        }
    }

    /// Brings a chain to its gate.
    pub fn start(&self, launch: &Launch<'_>) -> Result<Waiting, StageError> {
        let words = self.chain(launch)?;
        let (output, writer) = io::pipe().map_err(|e| StageError::Io("create", "a pipe".into(), e))?;
        let copy = writer
            .try_clone()
            .map_err(|e| StageError::Io("copy", "a pipe".into(), e))?;
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| StageError::Said("empty chain".into()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(launch.sandbox)
            .env_clear()
            .env("PATH", machine::PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(copy);
        let child = command
            .spawn()
            .map_err(|error| StageError::Io("start", PathBuf::from(program), error))?;
        // Our own copies of the pipe's writing end are in `command`: with them open, its end never comes.
        drop(command);

        let mut waiting = Waiting { child, output };
        match self.lead(&mut waiting, launch.role) {
            Ok(()) => Ok(waiting),
            Err(why) => {
                let _ = waiting.child.kill();
                let _ = waiting.child.wait();
                Err(why)
            }
        }
    }

    /// Leads a chain through its namespaces to the gate.
    fn lead(&self, waiting: &mut Waiting, role: Role) -> Result<(), StageError> {
        waiting.expect(MADE)?;
        if role.has_several_ids() {
            self.map_ids(waiting.child.id(), role)?;
        }
        waiting
            .go()
            .map_err(|error| StageError::Io("open", "the gate".into(), error))?;
        waiting.expect(MOUNTED)
    }

    fn chain(&self, launch: &Launch<'_>) -> Result<Vec<OsString>, StageError> {
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |texts: &[&str]| words.extend(texts.iter().map(OsString::from));
        if self.is_root {
            say(&["unshare", "--mount", "--propagation", "private", "sh", "-c", BIND, "sh"]);
            words.push(self.state.clone().into());
        }
        let mut say = |texts: &[&str]| words.extend(texts.iter().map(OsString::from));
        say(&["setpriv", "--pdeathsig", "KILL"]);
        if let Some((user, group)) = self.runs_as(launch.role) {
            say(&[
                "--reuid",
                &user.to_string(),
                "--regid",
                &group.to_string(),
                "--clear-groups",
            ]);
        }
        if launch.role.has_several_ids() {
            say(&["unshare", "--user", "--mount"]);
        } else if !launch.overlays.is_empty() {
            say(&["unshare", "--user", "--map-root-user", "--mount"]);
        }
        say(&["bash", "-c", GATE, "bash"]);
        words.push(self.inside(launch.filter).into());
        // A build's own sandbox is such a namespace, and closes itself.
        if launch.role.has_several_ids() {
            words.push("closed".into());
        }
        for overlay in launch.overlays {
            words.push(self.overlay_options(overlay)?);
            words.push(self.inside(&overlay.target).into());
        }
        words.push("--".into());
        Ok(words)
    }

    fn overlay_options(&self, overlay: &Overlay) -> Result<OsString, StageError> {
        let mut options = OsString::from("userxattr,lowerdir=");
        for (index, layer) in overlay.lower.iter().enumerate() {
            if index > 0 {
                options.push(":");
            }
            options.push(self.plain(layer)?);
        }
        if let Some((upper, work)) = &overlay.upper {
            options.push(",upperdir=");
            options.push(self.plain(upper)?);
            options.push(",workdir=");
            options.push(self.plain(work)?);
        }
        Ok(options)
    }

    /// A path that mount's option syntax can carry.
    fn plain(&self, path: &Path) -> Result<PathBuf, StageError> {
        let path = self.inside(path);
        if path.as_os_str().as_bytes().iter().any(|byte| b":,\\".contains(byte)) {
            return Err(StageError::Said(format!(
                "{} contains a character that overlay mounts can't take (choose a state directory without `:`, `,` and `\\`)",
                path.display()
            )));
        }
        Ok(path)
    }

    fn map_ids(&self, pid: u32, role: Role) -> Result<(), StageError> {
        if self.is_root {
            let (uid, gid) = self.installer(role).unwrap_or_default();
            for (file, first) in [("uid_map", uid), ("gid_map", gid)] {
                let path = PathBuf::from(format!("/proc/{pid}/{file}"));
                fs::write(&path, format!("0 {first} {}\n", machine::DEBIAN_IDS))
                    .map_err(|error| StageError::Io("write", path, error))?;
            }
            return Ok(());
        }
        let sub = self
            .sub_ids
            .ok_or_else(|| StageError::Said("this user has no range in /etc/subuid and /etc/subgid".to_owned()))?;
        let own = [
            ("newuidmap", rustix::process::getuid().as_raw(), sub.uid),
            ("newgidmap", rustix::process::getgid().as_raw(), sub.gid),
        ];
        for (tool, id, start) in own {
            let output = Command::new(tool)
                .args([pid, 0, id, 1, 1, start, machine::DEBIAN_IDS - 1].map(|number| number.to_string()))
                .env_clear()
                .env("PATH", machine::PATH)
                .output()
                .map_err(|error| StageError::Io("start", tool.into(), error))?;
            if !output.status.success() {
                return Err(StageError::Said(
                    String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                ));
            }
        }
        Ok(())
    }
}

impl Stage {
    /// Removes a tree, whoever owns what is in it.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let error = match scratch::remove(path) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // Of an ordinary user's layers, most belongs to ids that only a namespace gives rights over.
        if self.is_root || self.sub_ids.is_none() {
            return Err(error);
        }
        let command = words(&[OsStr::new("rm"), OsStr::new("-rf"), OsStr::new("--"), path.as_os_str()]);
        let launch = Launch {
            role: Role::Installer,
            overlays: &[],
            environment: &[],
            filter: Path::new("/dev/null"),
            sandbox: &command,
        };
        if let Ok(mut waiting) = self.start(&launch) {
            waiting.go()?;
            drop(waiting.child.stdin.take());
            waiting.child.wait()?;
        }
        if path.exists() { Err(error) } else { Ok(()) }
    }
}

impl Waiting {
    /// Lets the chain go on from where it waits.
    pub fn go(&mut self) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(gate) => gate.write_all(b"go\n"),
            None => Ok(()),
        }
    }

    /// Hears that the chain has come to a certain point. If it says something else, that is why it did not.
    fn expect(&mut self, word: &[u8]) -> Result<(), StageError> {
        let mut said = Vec::new();
        let length = u64::try_from(word.len()).unwrap_or(u64::MAX);
        if (&mut self.output).take(length).read_to_end(&mut said).is_ok() && said == word {
            return Ok(());
        }
        // Its own pipe has ended, so this ends.
        drop(self.child.stdin.take());
        let _ = (&mut self.output).take(4096).read_to_end(&mut said);
        Err(StageError::Said(String::from_utf8_lossy(&said).trim().to_owned()))
    }
}

/// Words as arguments.
pub(super) fn words<T: AsRef<OsStr>>(texts: &[T]) -> Vec<OsString> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}
