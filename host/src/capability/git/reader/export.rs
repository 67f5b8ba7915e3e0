//! Writing a commit's tree into an empty directory: only files, directories and symbolic links, as they are in git.
//! No filters, hooks or attributes are applied, and no submodules fetched.
//!
//! The tree is hostile until proven otherwise. Each directory and file is created and must not exist before, so that
//! no path can lead through a symbolic link: whatever a component of a path is, we made it a directory ourselves.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};
use rustix::fs::{Timespec, Timestamps};

use super::objects::Objects;
use crate::capability::git::{Failure, GitError, Limits};

/// How deep directories may nest.
const MAX_DEPTH: usize = 128;

/// The longest path in a tree: what the system allows, less some room for where the tree is put.
const MAX_PATH: usize = 3000;

/// Bytes of trees that are in memory at the same time, in MiB: a directory and all above it.
const MAX_HELD_MIB: usize = 128;

/// How many submodules are told of.
const MAX_SUBMODULES: usize = 20;

/// git's file modes.
const EXECUTABLE: i32 = 0o100_755;
const SYMLINK: i32 = 0o120_000;

/// What was written.
#[derive(Debug, Default)]
struct Exported {
    files: u64,
    bytes: u64,
    submodules: Vec<String>,
}

struct Export<'a> {
    objects: &'a Objects<'a>,
    limits: &'a Limits,
    root: &'a Path,
    times: Timestamps,
    done: Exported,
}

/// Write the tree of a commit below `root`, which must be an empty directory. Returns the paths of submodules, which are left as empty
/// directories.
pub(super) fn export(objects: &Objects<'_>, commit: Oid, root: &Path, limits: &Limits) -> Result<Vec<String>, Failure> {
    let commit = objects.commit(commit)?;
    let time = Timespec {
        tv_sec: commit.time().seconds().max(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let mut export = Export {
        objects,
        limits,
        root,
        times,
        done: Exported::default(),
    };
    export.tree(commit.tree_id(), &PathBuf::new(), (0, 0))?;
    Ok(export.done.submodules)
}

impl<'a> Export<'a> {
    /// `depth` directories are above it, whose trees of `held` bytes stay in memory meanwhile.
    fn tree(&mut self, id: Oid, path: &Path, (depth, held): (usize, usize)) -> Result<(), Failure> {
        if depth > MAX_DEPTH || path.as_os_str().len() > MAX_PATH {
            return Err(self.refuse(path, "its directories nest too deeply"));
        }
        let (tree, size) = self.objects.tree(id)?;
        let held = held.saturating_add(size);
        if held > MAX_HELD_MIB << 20 {
            let why = format!("the directories on the way to it have more than {MAX_HELD_MIB} MiB of names");
            return Err(self.refuse(path, &why));
        }
        for entry in &tree {
            let name = self.checked_name(path, entry.name_bytes())?;
            let path = path.join(name);
            self.done.files += 1;
            self.check_limits(&path)?;
            match (entry.kind(), entry.filemode()) {
                (Some(ObjectType::Tree), _) => {
                    self.made(&path, DirBuilder::new().mode(0o700).create(self.root.join(&path)))?;
                    self.tree(entry.id(), &path, (depth + 1, held))?;
                }
                (Some(ObjectType::Commit), _) => {
                    self.made(&path, DirBuilder::new().mode(0o755).create(self.root.join(&path)))?;
                    if self.done.submodules.len() < MAX_SUBMODULES {
                        self.done.submodules.push(path.display().to_string());
                    }
                }
                (Some(ObjectType::Blob), SYMLINK) => self.link(&path, entry.id())?,
                (Some(ObjectType::Blob), mode) => self.file(&path, entry.id(), mode == EXECUTABLE)?,
                _ => return Err(self.refuse(&path, "it is none of file, directory, link and submodule")),
            }
        }
        self.made(path, self.finish_directory(path))
    }

    fn file(&mut self, path: &Path, id: Oid, executable: bool) -> Result<(), Failure> {
        let blob = self.blob(path, id)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.root.join(path))?;
            file.write_all(blob.content())?;
            // Not by `mode` alone: the umask must not matter.
            file.set_permissions(Permissions::from_mode(mode))?;
            Ok(rustix::fs::futimens(&file, &self.times)?)
        };
        self.made(path, write())
    }

    fn link(&mut self, path: &Path, id: Oid) -> Result<(), Failure> {
        let blob = self.blob(path, id)?;
        let target = blob.content();
        if target.is_empty() || target.contains(&0) {
            return Err(self.refuse(path, "it is a symbolic link to nothing that can be"));
        }
        let whole = self.root.join(path);
        let write = || -> io::Result<()> {
            // Its time can be set by its name alone, which a reader may not do: the host sets it.
            symlink(OsStr::from_bytes(target), &whole)
        };
        self.made(path, write())
    }

    /// A blob, whose size is counted before it is read.
    fn blob(&mut self, path: &Path, id: Oid) -> Result<git2::Blob<'a>, Failure> {
        let (size, _) = self.objects.repository().odb()?.read_header(id)?;
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        if size > self.limits.file {
            // It would be in memory as a whole.
            return Err(self.refuse(path, &format!("the file is larger than {} bytes", self.limits.file)));
        }
        self.done.bytes = self.done.bytes.saturating_add(size);
        self.check_limits(path)?;
        Ok(self.objects.repository().find_blob(id)?)
    }

    fn finish_directory(&self, path: &Path) -> io::Result<()> {
        let directory = File::open(self.root.join(path))?;
        directory.set_permissions(Permissions::from_mode(0o755))?;
        Ok(rustix::fs::futimens(&directory, &self.times)?)
    }

    fn check_limits(&self, path: &Path) -> Result<(), Failure> {
        if self.done.files > self.limits.files {
            return Err(self.refuse(path, &format!("the tree has more than {} files", self.limits.files)));
        }
        if self.done.bytes > self.limits.bytes {
            return Err(self.refuse(path, &format!("the tree has more than {} bytes", self.limits.bytes)));
        }
        Ok(self.objects.check_deadline()?)
    }

    fn checked_name<'n>(&self, directory: &Path, name: &'n [u8]) -> Result<&'n Path, Failure> {
        let name = Path::new(OsStr::from_bytes(name));
        let bytes = name.as_os_str().as_bytes();
        let why = match bytes {
            b"" | b"." | b".." => "it has a name that is no file's",
            _ if bytes.contains(&b'/') || bytes.contains(&0) => "it has a separator in its name",
            _ if bytes.eq_ignore_ascii_case(b".git") => "it would pass for a repository",
            _ => return Ok(name),
        };
        Err(self.refuse(&directory.join(name.to_string_lossy().escape_debug().to_string()), why))
    }

    /// Turn what the file system says into what it means here.
    fn made(&self, path: &Path, result: io::Result<()>) -> Result<(), Failure> {
        result.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.refuse(path, "the tree has it twice"),
            io::ErrorKind::InvalidFilename => self.refuse(path, "its name is too long"),
            _ => GitError::unavailable(
                self.objects.shown(),
                format!("cannot write {}: {error}", path.display()),
            )
            .into(),
        })
    }

    fn refuse(&self, path: &Path, why: &str) -> Failure {
        GitError::bad(
            format!(
                "cannot check out {} of {}",
                path.display().to_string().escape_debug(),
                self.objects.shown()
            ),
            why,
        )
        .into()
    }
}
