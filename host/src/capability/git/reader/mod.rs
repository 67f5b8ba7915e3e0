//! Reads what a repository's owner made: packs, objects, trees. It is a process of its own ([`room`](super::room)), since the parsers
//! are large, are written in C, and make objects of gigabytes from packs of some kilobytes.
//!
//! It has no network and no credentials. What it wants of a server it asks the host for, over the one socket that it was started with
//! ([`protocol`]); the host connects, logs in, follows redirects, counts ([`wire`](super::wire)), and hands over bytes. It writes below
//! two directories: the cached repository and the checkout's tree.
//!
//! ```text
//! host                                   reader
//!  | order: where, what, limits            |
//!  |-------------------------------------->|
//!  |   list of refs, request, bytes, …     |
//!  |<------------------------------------->|
//!  | answer: the commit, or why not        |
//!  |<--------------------------------------|
//! ```

mod commit;
mod export;
mod fetch;
mod objects;
pub(super) mod protocol;
mod refs;
mod transport;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use git2::{Oid, Repository, RepositoryInitOptions, RepositoryOpenFlags};

use super::Failure;
use super::deadline::Deadline;
use fetch::Wanted;
use objects::Objects;
use protocol::{Checkout, Line, Order, Origin, Report, Task};

/// The reader's whole life in a process of its own: one order, one answer.
///
/// # Errors
/// The host is gone, or speaks otherwise than [`protocol`] says.
pub(crate) fn main(socket: UnixStream) -> io::Result<()> {
    no_foreign_settings().map_err(|error| io::Error::other(error.message().to_owned()))?;
    serve(socket)
}

/// Read an order, obey it, and answer.
pub(super) fn serve(socket: UnixStream) -> io::Result<()> {
    let line = Arc::new(Line::new(socket));
    let order = line.order()?;
    line.answer(&obey(&order, &line))
}

/// Have libgit2 read no configuration but a repository's own, trust what the host has opened already, and map packs in pieces, since
/// what is mapped counts as memory here.
fn no_foreign_settings() -> Result<(), git2::Error> {
    use git2::{ConfigLevel, opts};
    #[expect(
        unsafe_code,
        reason = "libgit2's settings must not change while it is used: this process has one thread, which has not used it yet"
    )]
    unsafe {
        for level in [
            ConfigLevel::System,
            ConfigLevel::XDG,
            ConfigLevel::Global,
            ConfigLevel::ProgramData,
        ] {
            opts::set_search_path(level, "")?;
        }
        opts::set_verify_owner_validation(false)?;
        opts::set_mwindow_size(32 << 20)?;
        opts::set_mwindow_mapped_limit(256 << 20)
    }
}

fn obey(order: &Order, line: &Arc<Line>) -> Result<Report, Failure> {
    let deadline = Deadline::within(order.left, order.limit);
    match &order.task {
        Task::Refs { repository } => {
            let repository = open(repository, RepositoryOpenFlags::NO_SEARCH)?;
            refs::list(&Objects::new(&repository, &order.shown, &deadline)).map(Report::Refs)
        }
        Task::CheckOut(checkout) => check_out(order, checkout, line, &deadline),
    }
}

fn check_out(order: &Order, checkout: &Checkout, line: &Arc<Line>, deadline: &Deadline) -> Result<Report, Failure> {
    let wanted = Wanted {
        shown: &order.shown,
        branch: &checkout.branch,
        commit: Oid::from_str(&checkout.commit)?,
    };
    let bare = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE;
    let repository = match checkout.origin {
        Origin::Http | Origin::Pipe => open_or_make(&checkout.repository, bare)?,
        Origin::Files { .. } => open(&checkout.repository, bare)?,
        Origin::Local => open(&checkout.repository, RepositoryOpenFlags::NO_SEARCH)?,
    };
    match &checkout.origin {
        Origin::Http | Origin::Pipe => fetch::fetch(wanted, &repository, line, &checkout.origin, deadline)?,
        Origin::Files { reference } => fetch::prove(wanted, &repository, reference, deadline)?,
        Origin::Local => fetch::prove_local(wanted, &repository, deadline)?,
    }
    let objects = Objects::new(&repository, &order.shown, deadline);
    let info = commit::read(&objects, wanted.commit)?;
    let submodules = export::export(&objects, wanted.commit, &checkout.tree, &order.limits)?;
    Ok(Report::Tree { info, submodules })
}

/// Open a cached repository. The host has made its directory; one that is empty is a new one.
fn open_or_make(path: &Path, flags: RepositoryOpenFlags) -> Result<Repository, git2::Error> {
    let is_new = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    match is_new {
        true => make(path),
        false => open(path, flags),
    }
}

/// Make a bare repository, without templates: they may bring hooks, and configuration.
pub(super) fn make(path: &Path) -> Result<Repository, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false);
    Repository::init_opts(path, &options)
}

fn open(path: &Path, flags: RepositoryOpenFlags) -> Result<Repository, git2::Error> {
    let no_ceilings: [&str; 0] = [];
    Repository::open_ext(path, flags, no_ceilings)
}
