//! From what is wanted to a tree on the disk: the cache, the connection, and a reader for both.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::cache::{Held, Writer};
use super::conversation::ask;
use super::deadline::Deadline;
use super::error::GitError;
use super::fetch::{Wanted, Way, files, way};
use super::local::Local;
use super::location::Location;
use super::reader::protocol::{Checkout, Order, Origin, Report, Task};
use super::room::Room;
use super::source::{Source, Workspace};
use super::wire::Wire;
use super::{Failure, Inner, Ref};

/// What a reader gets to read, besides its order.
struct Given {
    repository: PathBuf,
    origin: Origin,
    wire: Option<Wire>,
    room: Room,
}

impl Inner {
    pub(super) fn checkout(&self, wanted: Wanted<'_>, deadline: &Deadline) -> Result<Source, GitError> {
        let location = wanted.location();
        match location.local() {
            None => self.fetched(wanted, deadline),
            Some(path) => {
                let local = Local::find(location, path)?;
                let given = Given {
                    room: self.room(deadline).readable(&local.directories),
                    repository: local.path,
                    origin: Origin::Local,
                    wire: None,
                };
                self.read(wanted, given, deadline)
                    .map_err(|failure| at_last(location, failure))
            }
        }
    }

    /// The branches and tags of a repository of this machine.
    pub(super) fn local_refs(
        &self,
        location: &Location,
        path: &Path,
        deadline: &Deadline,
    ) -> Result<Vec<Ref>, GitError> {
        let local = Local::find(location, path)?;
        let room = self.room(deadline).readable(&local.directories);
        let task = Task::Refs { repository: local.path };
        match ask(&room, &self.order(location, task, deadline)?, None, deadline) {
            Ok(Report::Refs(refs)) => Ok(refs),
            Ok(Report::Tree { .. }) => Err(other_answer(location)),
            Err(failure) => Err(at_last(location, failure)),
        }
    }

    fn fetched(&self, wanted: Wanted<'_>, deadline: &Deadline) -> Result<Source, GitError> {
        let location = wanted.location();
        // Before the server is asked: it would not wait for as long as others hold the cache.
        let held = self.cache.hold(location, Writer::Reader, deadline)?;
        let first = way(wanted, &self.config, &self.web, deadline)?;
        let by_git = match first {
            Way::Files(_) => Some(self.cache.hold(location, Writer::Git, deadline)?),
            Way::Wire(_) => None,
        };
        let held = by_git.as_ref().unwrap_or(&held);
        let discard = || held.discard().map_err(|error| GitError::unavailable(location, error));
        let mut result = self.attempt(wanted, first, held, deadline);
        if let Err(Failure::Cache(why)) = &result {
            tracing::warn!(repository = %location, cache = %held.path().display(), why, "rebuilding a git cache");
            discard()?;
            let again = way(wanted, &self.config, &self.web, deadline)?;
            result = self.attempt(wanted, again, held, deadline);
        }
        if let Err(Failure::Costly(_)) = &result {
            discard()?;
        }
        result.map_err(|failure| at_last(location, failure))
    }

    fn attempt(&self, wanted: Wanted<'_>, way: Way, held: &Held, deadline: &Deadline) -> Result<Source, Failure> {
        let location = wanted.location();
        let repository = held.path().to_owned();
        let room = self.room(deadline);
        let given = match (way, held.writer()) {
            (Way::Wire(wire), Writer::Reader) => {
                held.make_directory()
                    .map_err(|error| GitError::unavailable(location, format!("the cache: {error}")))?;
                Given {
                    room: room.writable(&repository),
                    origin: wire.origin(),
                    wire: Some(wire),
                    repository,
                }
            }
            (Way::Files(session), Writer::Git) => Given {
                room: room.readable([&repository]),
                origin: files(wanted, &session, held, &self.config, deadline)?,
                wire: None,
                repository,
            },
            _ => return Err(GitError::unavailable(location, "its server speaks now one protocol, now another").into()),
        };
        self.read(wanted, given, deadline)
    }

    /// Have a reader write the commit's tree.
    fn read(&self, wanted: Wanted<'_>, given: Given, deadline: &Deadline) -> Result<Source, Failure> {
        let location = wanted.location();
        let workspace = Workspace::new(&self.checkouts)
            .map_err(|error| GitError::unavailable(location, format!("cannot make a directory for it: {error}")))?;
        let task = Task::CheckOut(Checkout {
            repository: given.repository,
            origin: given.origin,
            branch: wanted.branch.clone(),
            commit: wanted.commit.to_string(),
            tree: workspace.tree().to_owned(),
        });
        let order = self.order(location, task, deadline)?;
        let room = given.room.writable(workspace.tree());
        match ask(&room, &order, given.wire, deadline)? {
            Report::Tree { info, submodules } if info.id == wanted.commit.to_string() => {
                if !submodules.is_empty() {
                    let paths = submodules.join(", ");
                    tracing::warn!(repository = %location, paths, "submodules are not checked out");
                }
                date_links(workspace.tree(), info.time)
                    .map_err(|error| GitError::unavailable(location, format!("cannot date its links: {error}")))?;
                Ok(Source::new(info, workspace))
            }
            _ => Err(other_answer(location).into()),
        }
    }

    fn order(&self, location: &Location, task: Task, deadline: &Deadline) -> Result<Order, GitError> {
        let timed_out = |_| GitError::timed_out(location, deadline.limit());
        Ok(Order {
            shown: location.to_string(),
            limit: deadline.limit(),
            left: deadline.remaining().map_err(timed_out)?,
            limits: self.config.limits.clone(),
            task,
        })
    }

    fn room(&self, deadline: &Deadline) -> Room {
        Room::new(self.config.readers, &self.config.limits, deadline.limit())
    }
}

/// Give links the commit's time, in seconds since 1970, as all else in a checkout has it. Nothing is followed; nobody changes the tree any more.
fn date_links(tree: &Path, time: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(time).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
            } else if kind.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(())
}

fn other_answer(location: &Location) -> GitError {
    GitError::unavailable(location, "the process that reads it answered what was not asked")
}

/// What a failure means that another attempt won't mend.
fn at_last(location: &Location, failure: Failure) -> GitError {
    match failure {
        Failure::Git(error) | Failure::Costly(error) => error,
        Failure::Cache(why) => GitError::unavailable(location, why),
        Failure::Memory => GitError::unavailable(location, "there is not enough memory to read it"),
    }
}
