//! What a host does with files that belong to the ids of its sandboxes: gives them away, takes them back, moves them,
//! removes them; how they are counted is in [`super::inventory`].
//!
//! Root does it by itself. An ordinary user has rights over files of his subordinate ids only in a user namespace that
//! has them, with his own id as its root. One is made for each of these tasks, which lasts as long as one of the machine's
//! own programs does; it sees the machine as the host does, and nothing in it was written by a stranger but the names of
//! files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::error::{Attempt as _, BuildError};
use super::machine;
use super::rights;
use super::scratch;
use super::subordinate::SubIds;

/// Says that its user namespace is there, waits for the ids, then becomes the command.
pub(super) const ENTER: &str = "echo made; read -r go || exit 125; exec \"$@\"";

/// What [`ENTER`] says.
pub(super) const MADE: &[u8] = b"made\n";

/// Makes a directory and the files in it the host's own, as far as they are files; what is below stays as it is.
const TAKE_BACK: &str = "\
chown 0:0 -- \"$1\" && chmod u=rwx -- \"$1\" || exit
exec find \"$1\" -mindepth 1 -maxdepth 1 -type f -exec chown --no-dereference 0:0 -- {} + -exec chmod u+r -- {} +";

/// How many paths one command gets, since the length of its arguments is bounded.
const PATHS_AT_ONCE: usize = 500;
/// The longest complaint that is read, in bytes.
const LONGEST_COMPLAINT: u64 = 4096;

/// Handles files of the ids that sandboxes have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeper {
    /// The ids of an ordinary user's host. None: this is root's, which needs no namespace, or there are none.
    pub(super) ids: Option<SubIds>,
}

impl Keeper {
    /// One for the files of these ids.
    pub fn new(ids: Option<SubIds>) -> Self {
        Self { ids }
    }

    /// Makes a user and a group the owners of trees, links themselves included. Nobody else changes them meanwhile.
    ///
    /// # Errors
    /// [`BuildError::Io`] if that is refused.
    pub fn give(&self, trees: &[PathBuf], owner: (u32, u32)) -> Result<(), BuildError> {
        let Some(ids) = self.ids else {
            return trees.iter().try_for_each(|tree| give_tree(tree, owner));
        };
        self.own(ids, &["--recursive"], trees, owner)
    }

    /// Makes a user and a group the owners of a directory, if they are not, and of nothing in it: that is theirs already,
    /// and may be a link by now.
    ///
    /// # Errors
    /// [`BuildError::Io`] if that is refused.
    pub fn give_dir(&self, dir: &Path, owner: (u32, u32)) -> Result<(), BuildError> {
        let kind = fs::symlink_metadata(dir).attempt("read", dir)?;
        if !kind.is_dir() || (kind.uid(), kind.gid()) == owner {
            return Ok(());
        }
        match self.ids {
            Some(ids) => self.own(ids, &[], &[dir.to_owned()], owner),
            None => lchown(dir, Some(owner.0), Some(owner.1)).attempt("change", dir),
        }
    }

    fn own(&self, ids: SubIds, how: &[&str], paths: &[PathBuf], owner: (u32, u32)) -> Result<(), BuildError> {
        let (user, group) = ids.inside_keeper(owner);
        let mut words: Vec<OsString> = ["chown", "--no-dereference"].map(OsString::from).into();
        words.extend(how.iter().map(OsString::from));
        words.extend([format!("{user}:{group}"), "--".to_owned()].map(OsString::from));
        words.extend(paths.iter().map(OsString::from));
        let shown = paths.first().map_or(Path::new(""), PathBuf::as_path);
        self.run(&words).attempt("change", shown)
    }

    /// Gives the host back a directory and the files right in it, whatever their modes are. No process of theirs is left.
    ///
    /// # Errors
    /// [`BuildError::Io`] if that is refused.
    pub fn take_back(&self, dir: &Path) -> Result<(), BuildError> {
        if self.ids.is_none() {
            return Ok(());
        }
        let words = ["sh", "-c", TAKE_BACK, "sh"].map(OsString::from);
        let words: Vec<OsString> = words.into_iter().chain([OsString::from(dir)]).collect();
        self.run(&words).attempt("take back", dir)
    }

    /// Moves a directory to another place on the same file system. Whoever moves one has to have rights over it.
    ///
    /// # Errors
    /// [`BuildError::Io`] if that is refused.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), BuildError> {
        if self.ids.is_none() {
            return fs::rename(from, to).attempt("rename", from);
        }
        let mut words: Vec<OsString> = ["mv", "--no-target-directory", "--"].map(OsString::from).into();
        words.extend([from, to].map(OsString::from));
        self.run(&words).attempt("rename", from)
    }

    /// Takes from programs in a tree what lets who runs them become somebody else. Nobody else changes it meanwhile.
    ///
    /// # Errors
    /// [`BuildError::Io`] if that is refused.
    pub fn without_rights(&self, tree: &Path) -> Result<(), BuildError> {
        if self.ids.is_none() {
            return rights::without_rights(tree).attempt("change", tree);
        }
        // Capabilities of files count only below the namespace in which they were given.
        let mut words: Vec<OsString> = vec!["find".into(), tree.into()];
        words.extend(
            "-type f -perm /6000 -exec chmod ug-s -- {} +"
                .split(' ')
                .map(OsString::from),
        );
        self.run(&words).attempt("change", tree)
    }

    /// Removes files and trees, whoever owns what is in them.
    ///
    /// # Errors
    /// The first refusal, if one of them is still there at the end.
    pub fn remove(&self, paths: &[PathBuf]) -> io::Result<()> {
        let mut refused: Vec<&PathBuf> = Vec::new();
        let mut why = None;
        for path in paths {
            if let Err(error) = scratch::remove(path) {
                refused.push(path);
                why.get_or_insert(error);
            }
        }
        let Some(why) = why else { return Ok(()) };
        if self.ids.is_none() {
            return Err(why);
        }
        let mut outcome = Ok(());
        for some in refused.chunks(PATHS_AT_ONCE) {
            let mut words: Vec<OsString> = ["rm", "-rf", "--"].map(OsString::from).into();
            words.extend(some.iter().map(|path| OsString::from(path.as_path())));
            outcome = outcome.and(self.run(&words));
        }
        outcome
    }

    /// Why the ids can't be used after all: the system may keep this process, or whoever does not run as root, from making such a namespace or from
    /// mounting in it. None: they can.
    pub fn fault(&self) -> Option<String> {
        self.ids?;
        let tried = self.run(&["unshare", "--mount", "true"].map(OsString::from));
        tried.err().map(|error| error.to_string())
    }

    /// Runs a command to its end, as root of the namespace that has the host's own id and all subordinate ones.
    fn run(&self, words: &[OsString]) -> io::Result<()> {
        let mut child = self.start(words, Stdio::piped())?;
        let said = complaint(&mut child);
        if child.wait()?.success() {
            return Ok(());
        }
        let kind = if said.contains("denied") || said.contains("not permitted") {
            io::ErrorKind::PermissionDenied
        } else {
            io::ErrorKind::Other
        };
        Err(io::Error::new(kind, said))
    }

    /// Starts a command there.
    pub(super) fn start(&self, words: &[OsString], stderr: Stdio) -> io::Result<Child> {
        let ids = self
            .ids
            .ok_or_else(|| io::Error::other("this user has no subordinate ids"))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--user", "bash", "-c", ENTER, "bash"])
            .args(words)
            .env_clear()
            .env("PATH", machine::PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()?;
        match enter(&mut child, ids) {
            Ok(()) => Ok(child),
            Err(error) => {
                let said = complaint(&mut child);
                let _ = child.kill();
                let _ = child.wait();
                Err(if said.is_empty() { error } else { io::Error::other(said) })
            }
        }
    }
}

/// Waits for a command's namespace, gives it its ids, and lets it go on.
fn enter(child: &mut Child, ids: SubIds) -> io::Result<()> {
    let mut said = [0_u8; MADE.len()];
    if let Some(output) = &mut child.stdout {
        output.read_exact(&mut said)?;
    }
    ids.map_keeper(child.id())?;
    // Dropped, so that the command's input has an end.
    match child.stdin.take() {
        Some(mut gate) => gate.write_all(b"go\n"),
        None => Ok(()),
    }
}

/// What a child complains of, until it ends. Its input is closed, so that it does not wait for ever.
fn complaint(child: &mut Child) -> String {
    drop(child.stdin.take());
    let mut said = Vec::new();
    if let Some(errors) = &mut child.stderr {
        let _ = errors.by_ref().take(LONGEST_COMPLAINT).read_to_end(&mut said);
        let _ = io::copy(errors, &mut io::sink());
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn give_tree(top: &Path, (user, group): (u32, u32)) -> Result<(), BuildError> {
    let mut pending = vec![top.to_owned()];
    while let Some(dir) = pending.pop() {
        lchown(&dir, Some(user), Some(group)).attempt("change", &dir)?;
        for entry in fs::read_dir(&dir).attempt("read", &dir)? {
            let entry = entry.attempt("read", &dir)?;
            if entry.file_type().attempt("read", entry.path())?.is_dir() {
                pending.push(entry.path());
            } else {
                lchown(entry.path(), Some(user), Some(group)).attempt("change", entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_directory_that_others_write_to_nothing_but_itself_is_given_away() {
        if !rustix::process::getuid().is_root() {
            return;
        }
        let keeper = Keeper::new(None);
        let top = tempfile::tempdir().unwrap();
        let (archives, outside) = (top.path().join("archives"), top.path().join("outside"));
        for dir in [&archives, &outside] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("file"), "").unwrap();
        }
        std::os::unix::fs::symlink(&outside, archives.join("partial")).unwrap();
        std::os::unix::fs::symlink(&outside, top.path().join("link")).unwrap();
        keeper.give_dir(&archives, (4711, 4712)).unwrap();
        keeper.give_dir(&top.path().join("link"), (4711, 4712)).unwrap();

        let owner = |path: PathBuf| fs::symlink_metadata(path).map(|kind| (kind.uid(), kind.gid())).unwrap();
        assert_eq!(owner(archives.clone()), (4711, 4712));
        for path in [
            archives.join("file"),
            archives.join("partial"),
            outside.join("file"),
            outside,
        ] {
            assert_eq!(owner(path.clone()).0, 0, "{}", path.display());
        }
    }
}
