//! Reading objects that a stranger made: their sizes are looked at before they are inflated. A pack of some megabytes can hold a commit
//! of gigabytes.

use std::collections::{BinaryHeap, HashSet};

use git2::{Commit, ErrorCode, ObjectType, Odb, Oid, Reference, Repository, Tree};

use crate::capability::git::deadline::Deadline;
use crate::capability::git::{Failure, GitError};

/// The largest commit or annotated tag that is read, in MiB. The largest of the kernel's have some 100 KiB.
const MAX_COMMIT_MIB: usize = 4;

/// The largest tree that is read, in MiB: a directory of half a million files has 20 to 40.
const MAX_TREE_MIB: usize = 64;

/// Tags of tags.
const MAX_TAGS: usize = 16;

/// Commits that are looked at to find one that a branch has. The kernel has 1.4 million.
const MAX_HISTORY: usize = 3_000_000;

/// The objects of a repository, for one who has until a deadline.
pub(super) struct Objects<'a> {
    repository: &'a Repository,
    /// The repository as messages name it.
    shown: &'a str,
    deadline: &'a Deadline,
}

impl<'a> Objects<'a> {
    pub(super) fn new(repository: &'a Repository, shown: &'a str, deadline: &'a Deadline) -> Self {
        Self {
            repository,
            shown,
            deadline,
        }
    }

    pub(super) fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// The repository as messages name it.
    pub(super) fn shown(&self) -> &'a str {
        self.shown
    }

    /// # Errors
    /// [`GitError::TimedOut`] once it has passed.
    pub(super) fn check_deadline(&self) -> Result<(), GitError> {
        match self.deadline.passed() {
            true => Err(GitError::timed_out(self.shown, self.deadline.limit())),
            false => Ok(()),
        }
    }

    /// A commit.
    pub(super) fn commit(&self, id: Oid) -> Result<Commit<'a>, Failure> {
        self.check(&self.repository.odb()?, id, ObjectType::Commit)?;
        Ok(self.repository.find_commit(id)?)
    }

    /// A tree, and how many bytes it has.
    pub(super) fn tree(&self, id: Oid) -> Result<(Tree<'a>, usize), Failure> {
        let size = self.check(&self.repository.odb()?, id, ObjectType::Tree)?;
        Ok((self.repository.find_tree(id)?, size))
    }

    /// The raw signature of a commit that [`commit`](Self::commit) has read, and what it signs.
    pub(super) fn signature(&self, id: Oid) -> Result<Option<(git2::Buf, git2::Buf)>, Failure> {
        match self.repository.extract_signature(&id, None) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The commit that a branch or tag points at.
    pub(super) fn tip(&self, reference: &Reference<'_>) -> Result<Oid, Failure> {
        let broken = || Failure::Cache("a reference points at nothing".to_owned());
        let odb = self.repository.odb()?;
        let mut id = reference.resolve()?.target().ok_or_else(broken)?;
        for _ in 0..MAX_TAGS {
            match odb.read_header(id)?.1 {
                ObjectType::Tag => {
                    self.check(&odb, id, ObjectType::Tag)?;
                    id = self.repository.find_tag(id)?.target_id();
                }
                _ => {
                    self.check(&odb, id, ObjectType::Commit)?;
                    return Ok(id);
                }
            }
        }
        Err(self.refuse(&format!("tags of tags, more than {MAX_TAGS} of them")))
    }

    /// Whether a commit is `tip` or one of its ancestors. Both are read, so that what is missing is found out.
    ///
    /// The newest are looked at first: what is wanted is almost always among them.
    pub(super) fn reaches(&self, tip: Oid, wanted: Oid) -> Result<bool, Failure> {
        let odb = self.repository.odb()?;
        let mut seen = HashSet::from([tip]);
        let mut next = BinaryHeap::from([(i64::MAX, tip)]);
        while let Some((_, id)) = next.pop() {
            self.check(&odb, id, ObjectType::Commit)?;
            let commit = self.repository.find_commit(id)?;
            if id == wanted {
                return Ok(true);
            }
            self.check_deadline()?;
            if seen.len() > MAX_HISTORY {
                return Err(self.refuse(&format!("a history of more than {MAX_HISTORY} commits")));
            }
            let unseen = commit.parent_ids().filter(|parent| seen.insert(*parent));
            // A parent is not read for its time alone: that of its child will do.
            next.extend(unseen.map(|parent| (commit.time().seconds(), parent)));
        }
        Ok(false)
    }

    /// Look at an object's kind and size, in bytes, which reads its head only.
    fn check(&self, odb: &Odb<'_>, id: Oid, kind: ObjectType) -> Result<usize, Failure> {
        let (size, found) = odb.read_header(id)?;
        if found != kind {
            return Err(Failure::Cache(format!("the object {id} is a {found}, not a {kind}")));
        }
        let most = match kind {
            ObjectType::Tree => MAX_TREE_MIB,
            _ => MAX_COMMIT_MIB,
        };
        match size > most << 20 {
            true => Err(self.refuse(&format!("a {kind} larger than {most} MiB ({id})"))),
            false => Ok(size),
        }
    }

    fn refuse(&self, what: &str) -> Failure {
        Failure::Costly(GitError::bad(
            format!("cannot check out {}", self.shown),
            format!("it has {what}"),
        ))
    }
}
