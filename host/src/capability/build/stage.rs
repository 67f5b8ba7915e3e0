//! The chain of commands that leads from the host's process into a sandbox.
//!
//! Every link executes the next one in the same process, so that one pid stands for the whole chain:
//!
//! 1. setpriv: the kernel ends the chain when the host dies;
//! 2. where root runs it: a private mount namespace in which the state directory lies at /mnt, whatever is above it; then
//!    another user id, and for layers or several ids a user namespace in which overlays can be mounted;
//!    where an ordinary user runs it: a user namespace that has subordinate ids and not his own; in it another user id, and
//!    a mount namespace like root's. From here on nothing has the host's id;
//! 3. a gate: the chain waits until the host has written the id map and put it into its control group;
//! 4. bwrap, which makes the sandbox, and in it prlimit and the command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::ids::Ids;
pub(super) use super::ids::Role;
use super::keeper::{ENTER, Keeper, MADE};
use super::machine::{self, Machine};

/// What the chain says when its overlays are mounted. Before, it says [`MADE`] when a namespace waits for its ids.
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
# Whatever the host's is: packages are for everybody.
umask 022
echo mounted
read -r go || exit 125
exec \"$@\" </dev/null 9<\"$filter\"";

/// Makes the state directory reachable for users who can't enter the directories above it. Where an ordinary user's chain
/// does it, it can't either: it has only been started there.
const BIND: &str = "mount --bind \"$1\" /mnt && shift && exec \"$@\"";
const BIND_HERE: &str = "mount --no-canonicalize --rbind . /mnt && cd / && exec \"$@\"";

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
    ids: Ids,
    /// Handles the files that sandboxes leave.
    pub keeper: Keeper,
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
        let ids = Ids::of(machine, build_id);
        Self {
            state: state.to_owned(),
            ids,
            keeper: Keeper::new(ids.subordinate()),
        }
    }

    /// Who root is, outside, for those who install packages in this role: user and group. None: ourselves.
    pub fn installer(&self, role: Role) -> Option<(u32, u32)> {
        self.ids.installer(role)
    }

    /// Who owns what a build may write, outside: user and group. None: nothing is built.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.ids.builder()
    }

    /// Where a path below the state directory is found from inside the chain.
    pub fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.state) {
            Ok(rest) if !matches!(self.ids, Ids::None) => Path::new("/mnt").join(rest),
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
            .current_dir(match self.ids {
                Ids::Subordinate(_) => self.state.as_path(),
                Ids::Nobodys { .. } | Ids::None => Path::new("/"),
            })
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
        let pid = waiting.child.id();
        match self.ids {
            Ids::Subordinate(ids) => {
                let mapped = match role {
                    Role::Builder => ids.map_builder(pid),
                    Role::Installer | Role::MachineInstaller => ids.map_installer(pid),
                };
                mapped.map_err(|error| StageError::Said(error.to_string()))?;
                waiting.pass()?;
                waiting.expect(MADE)?;
            }
            Ids::Nobodys { .. } if role.has_several_ids() => self.map_ids(pid, role)?,
            Ids::Nobodys { .. } | Ids::None => {}
        }
        waiting.pass()?;
        waiting.expect(MOUNTED)
    }

    fn chain(&self, launch: &Launch<'_>) -> Result<Vec<OsString>, StageError> {
        let mut words = match self.ids {
            Ids::Nobodys { .. } => self.nobodys(launch),
            Ids::Subordinate(_) => subordinates(),
            Ids::None => return Err(StageError::Said("this user has no subordinate ids".to_owned())),
        };
        words.extend(["bash", "-c", GATE, "bash"].map(OsString::from));
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

    /// Leads root's chain to the gate.
    fn nobodys(&self, launch: &Launch<'_>) -> Vec<OsString> {
        let mut out = words(&["unshare", "--mount", "--propagation", "private", "sh", "-c", BIND, "sh"]);
        out.push(self.state.clone().into());
        out.extend(words(&["setpriv", "--pdeathsig", "KILL"]));
        if let Some((user, group)) = self.ids.of_role(launch.role) {
            let (user, group) = (user.to_string(), group.to_string());
            out.extend(words(&["--reuid", &user, "--regid", &group, "--clear-groups"]));
        }
        if launch.role.has_several_ids() {
            out.extend(words(&["unshare", "--user", "--mount"]));
        } else if !launch.overlays.is_empty() {
            out.extend(words(&["unshare", "--user", "--map-root-user", "--mount"]));
        }
        out
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

    /// Writes the map of a chain of root's.
    fn map_ids(&self, pid: u32, role: Role) -> Result<(), StageError> {
        let (uid, gid) = self.installer(role).unwrap_or_default();
        for (file, first) in [("uid_map", uid), ("gid_map", gid)] {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            fs::write(&path, format!("0 {first} {}\n", machine::DEBIAN_IDS))
                .map_err(|error| StageError::Io("write", path, error))?;
        }
        Ok(())
    }
}

/// Leads an ordinary user's chain to the gate, through a namespace in which his own id is nobody's. So what it starts
/// there would have no rights in it by itself; they are kept until it is somebody.
fn subordinates() -> Vec<OsString> {
    let mut out = words(&["setpriv", "--pdeathsig", "KILL"]);
    out.extend(words(&[
        "unshare",
        "--user",
        "--keep-caps",
        "--mount",
        "bash",
        "-c",
        ENTER,
        "bash",
    ]));
    // Again, as the kernel forgets it when the id changes.
    out.extend(words(&[
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--reuid",
        "0",
        "--regid",
        "0",
        "--clear-groups",
    ]));
    out.extend(words(&["--inh-caps", "-all", "sh", "-c", BIND_HERE, "sh"]));
    out
}

impl Waiting {
    /// The same on the way to the gate.
    fn pass(&mut self) -> Result<(), StageError> {
        self.go()
            .map_err(|error| StageError::Io("open", "the gate".into(), error))
    }

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
