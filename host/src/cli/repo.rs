//! `repo`: look after APT repositories.

use std::path::PathBuf;

use apt_repository::operate::Selection;
use apt_repository::retention::Retention;

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::mirror;
use super::output::{Tint, printable, size};
use super::repo_allow;
use crate::capability::site::Closed;
use crate::keys::{KeyStore, PassphraseSource};
use crate::repository::{Desk, Done, Package, Repository, RepositoryError};

/// What to do.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "DIR is the repository's directory, distbot's --output. Bots need not be stopped: whoever comes second waits.
Suites are signed again with the key that signed them last, which has to be in this host's key store.

Examples:
  foundry-host repo list /srv/www/deb --suite testing
  foundry-host repo promote /srv/www/deb testing stable hello --dry-run
  foundry-host repo remove /srv/www/deb stable hello --version 1.0-1
  foundry-host repo prune /srv/www/deb testing --keep 3 --days 90 --dry-run
  foundry-host repo gc /srv/www/deb
  foundry-host repo import /srv/www/deb /srv/old/deb bookworm stable"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List packages
    List {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Only those of a suite
        #[arg(long)]
        suite: Option<String>,
        #[command(flatten)]
        selection: Select,
    },
    /// Show what a suite's index says of packages
    Show {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        suite: String,
        #[command(flatten)]
        selection: Select,
    },
    /// Have packages of one suite in another as well
    Copy {
        #[command(flatten)]
        between: Between,
        #[command(flatten)]
        change: Change,
    },
    /// Have the newest packages of one suite in another as well, where they are newer
    Promote {
        #[command(flatten)]
        between: Between,
        #[command(flatten)]
        change: Change,
    },
    /// Take packages out of a suite; their files stay until `gc`
    Remove {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        suite: String,
        #[command(flatten)]
        selection: Select,
        #[command(flatten)]
        change: Change,
    },
    /// Take superseded versions out of a suite: all but the newest ones, if they are old enough
    Prune {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        suite: String,
        /// How many versions of each package stay in any case, the newest ones
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        /// How old a version is, at least, that goes
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        days: u64,
        #[command(flatten)]
        selection: Select,
        #[command(flatten)]
        change: Change,
    },
    /// See whether everything is there, signed, and what it is promised to be
    Check {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Only a suite
        #[arg(long)]
        suite: Option<String>,
        /// Read all packages, not only their sizes, and superseded indices
        #[arg(long)]
        deep: bool,
    },
    /// Write damaged indices anew from their copies, and take packages out whose files are missing or damaged
    Repair {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        suite: String,
        #[command(flatten)]
        change: Change,
    },
    /// Remove the files of packages that no suite and no snapshot has
    Gc {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep a suite as it is under a name, or list what was kept
    Snapshot {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        #[arg(requires = "name")]
        suite: Option<String>,
        /// The snapshot's name
        name: Option<String>,
    },
    /// Have a suite as it was
    Rollback {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The suite
        suite: String,
        /// The snapshot's name
        name: String,
        #[command(flatten)]
        change: Change,
    },
    /// Say who may provide which packages, beside the first ones to come
    Allow(repo_allow::Args),
    /// Keep a copy of the repository in a bucket of an S3 service
    Mirror(mirror::Args),
    /// Take packages over from another archive in a local directory, whatever program made it
    Import {
        /// The repository's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The other archive's directory
        archive: PathBuf,
        /// Its suite
        from: String,
        /// The suite of this repository
        to: String,
        #[command(flatten)]
        selection: Select,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, clap::Args)]
struct Between {
    /// The repository's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The suite that has them
    from: String,
    /// The suite that gets them; made if there is none
    to: String,
    #[command(flatten)]
    selection: Select,
}

#[derive(Debug, clap::Args)]
struct Select {
    /// Packages, or source packages for all that was built from them [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Only this version
    #[arg(long)]
    version: Option<String>,
    /// Only this architecture, or `source`
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Only this component
    #[arg(long)]
    component: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Sign with another key than last time
    #[arg(long, value_name = "KEY")]
    gpg_key: Option<String>,
}

impl From<Select> for Selection {
    fn from(select: Select) -> Self {
        Self {
            packages: select.packages,
            version: select.version,
            architecture: select.arch,
            component: select.component,
        }
    }
}

/// Look at a repository, or change it.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    match args.what {
        What::List {
            directory,
            suite,
            selection,
        } => {
            let packages = work(context, directory, None, move |desk| {
                desk.list(suite.as_deref(), &selection.into())
            })
            .await?;
            list(&packages, context)
        }
        What::Show {
            directory,
            suite,
            selection,
        } => {
            let shown = work(context, directory, None, move |desk| {
                desk.show(&suite, &selection.into())
            })
            .await?;
            show(&shown, context)
        }
        What::Copy { between, change } => copy(between, change, false, context).await,
        What::Promote { between, change } => copy(between, change, true, context).await,
        What::Remove {
            directory,
            suite,
            selection,
            change,
        } => {
            if selection.packages.is_empty() {
                return Err(CliError::usage("say which packages to remove"));
            }
            let dry = change.dry_run;
            let done = work(context, directory, change.gpg_key, move |desk| {
                desk.remove(&suite, &selection.into(), dry)
            });
            let done = done.await?;
            report(&done, dry, context)
        }
        What::Prune {
            directory,
            suite,
            keep,
            days,
            selection,
            change,
        } => {
            let dry = change.dry_run;
            let retention = Retention {
                versions: keep as usize,
                days,
            };
            let done = work(context, directory, change.gpg_key, move |desk| {
                desk.prune(&suite, &selection.into(), retention, dry)
            });
            let done = done.await?;
            report(&done, dry, context)
        }
        What::Check { directory, suite, deep } => check(directory, suite, deep, context).await,
        What::Repair {
            directory,
            suite,
            change,
        } => {
            let dry = change.dry_run;
            let done = work(context, directory, change.gpg_key, move |desk| desk.repair(&suite, dry)).await?;
            report(&done, dry, context)
        }
        What::Gc { directory, dry_run } => {
            let done = work(context, directory, None, move |desk| desk.gc(dry_run)).await?;
            report(&done, dry_run, context)
        }
        What::Snapshot { directory, suite, name } => snapshot(directory, suite.zip(name), context).await,
        What::Rollback {
            directory,
            suite,
            name,
            change,
        } => {
            let dry = change.dry_run;
            let done = work(context, directory, change.gpg_key, move |desk| {
                desk.rollback(&suite, &name, dry)
            });
            let done = done.await?;
            report(&done, dry, context)
        }
        What::Allow(args) => {
            if !args.is_complete() {
                return Err(CliError::usage("say what to remove: --source, --binary or --essential"));
            }
            let directory = args.directory.clone();
            let said = work(context, directory, None, move |desk| args.carry_out(desk)).await?;
            repo_allow::tell(&said, context)
        }
        What::Mirror(args) => {
            args.check(context)?;
            let directory = args.directory.clone();
            let state = work(context, directory, None, move |desk| args.carry_out(desk)).await?;
            mirror::tell(state.as_ref(), context)
        }
        What::Import {
            directory,
            archive,
            from,
            to,
            selection,
            change,
        } => {
            let dry = change.dry_run;
            let done = work(context, directory, change.gpg_key, move |desk| {
                desk.import(&archive, &from, &to, &selection.into(), dry)
            });
            let done = done.await?;
            report(&done, dry, context)
        }
    }
}

async fn work<T: Send + 'static>(
    context: &Context,
    directory: PathBuf,
    key: Option<String>,
    work: impl FnOnce(&Desk) -> Result<T, RepositoryError> + Send + 'static,
) -> Result<T, CliError> {
    let keys = KeyStore::open(context.state().join("keys"))?;
    let repository = Repository::new(directory, keys, PassphraseSource::from_environment(), key);
    let worked = context.patiently("waiting for the repository", repository.open(work));
    Ok(worked.await?)
}

async fn copy(between: Between, change: Change, newest: bool, context: &mut Context) -> Result<(), CliError> {
    let Between {
        directory,
        from,
        to,
        selection,
    } = between;
    let dry = change.dry_run;
    let done = work(context, directory, change.gpg_key, move |desk| {
        desk.copy(&from, &to, &selection.into(), newest, dry)
    });
    let done = done.await?;
    report(&done, dry, context)
}

async fn check(directory: PathBuf, suite: Option<String>, deep: bool, context: &mut Context) -> Result<(), CliError> {
    let problems = work(context, directory.clone(), None, move |desk| {
        desk.check(suite.as_deref(), deep)
    });
    let problems = problems.await?;
    // No problem of the repository's, and none at all where it is served by its own user: a word beside the findings.
    if let Some(closed) = Closed::on_the_way_to(&directory) {
        context.note(format_args!("warning: {closed} ({})", closed.remedy()));
    }
    if context.common.json {
        context.out.json(&problems)?;
    } else if problems.is_empty() {
        context.note("no problems");
    } else {
        for problem in &problems {
            let line = format!("{}: {}: {}", problem.suite, problem.path, problem.what);
            let line = context.out.tint(Tint::Bad, &printable(&line));
            context.out.line(line)?;
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(CliError::Told(Exit::Failure))
    }
}

async fn snapshot(directory: PathBuf, of: Option<(String, String)>, context: &mut Context) -> Result<(), CliError> {
    let snapshots = work(context, directory, None, move |desk| match of {
        Some((suite, name)) => Ok(vec![desk.snapshot(&suite, &name)?]),
        None => desk.snapshots(None),
    });
    let snapshots = snapshots.await?;
    if context.common.json {
        return context.out.json(&snapshots);
    }
    let rows: Vec<_> = snapshots
        .iter()
        .map(|snapshot| vec![snapshot.suite.clone(), snapshot.name.clone()])
        .collect();
    context.out.table(&["SUITE", "SNAPSHOT"], &rows)
}

fn list(packages: &[Package], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&packages);
    }
    let rows: Vec<_> = packages.iter().map(row).collect();
    context
        .out
        .table(&["SUITE", "COMPONENT", "PACKAGE", "VERSION", "ARCHITECTURE"], &rows)
}

fn row(package: &Package) -> Vec<String> {
    let Package {
        suite,
        component,
        package,
        version,
        architecture,
        ..
    } = package.clone();
    vec![suite, component, package, version, architecture]
}

fn show(paragraphs: &[String], context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&paragraphs);
    }
    if paragraphs.is_empty() {
        return Err(CliError::Said(Exit::NotFound, "no package is meant by that".to_owned()));
    }
    for paragraph in paragraphs {
        for line in paragraph.lines() {
            context.out.line(printable(line))?;
        }
        context.out.line("")?;
    }
    Ok(())
}

fn report(done: &Done, dry_run: bool, context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(done);
    }
    for (sign, packages) in [("+", &done.added), ("-", &done.removed)] {
        for package in packages {
            let line = format!("{sign} {}", row(package).join(" "));
            context.out.line(printable(&line))?;
        }
    }
    for file in &done.mended {
        context.out.line(printable(&format!("~ {file}")))?;
    }
    for file in &done.files {
        context.out.line(printable(&format!("- {file}")))?;
    }
    if done == &Done::default() {
        context.note("there is nothing to do");
    } else if !done.files.is_empty() {
        context.note(format_args!("{} files, {}", done.files.len(), size(done.bytes)));
    }
    if dry_run {
        context.note("nothing was changed (--dry-run)");
    }
    Ok(())
}

impl From<RepositoryError> for CliError {
    fn from(error: RepositoryError) -> Self {
        let exit = match &error {
            RepositoryError::NoRepository(_)
            | RepositoryError::NoSuite { .. }
            | RepositoryError::NoPackage(_)
            | RepositoryError::NotListed { .. }
            | RepositoryError::Snapshot(_) => Exit::NotFound,
            RepositoryError::NoKey(_) | RepositoryError::Refused(_) | RepositoryError::Lost(_) => Exit::Refused,
            RepositoryError::Site(_) | RepositoryError::Stopping => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}
