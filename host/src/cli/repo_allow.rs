//! `repo allow`: who may provide which packages.

use std::path::PathBuf;

use apt_repository::syntax::is_package_name;

use super::common::Context;
use super::error::CliError;
use super::output::printable;
use crate::repository::{Decided, Desk, Permission, RepositoryError};

/// What to allow.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An archive remembers which repository provides which source package, and which source which
binary packages: the first one to come. Others are refused, with the command that allows them.
Packages with Essential, Protected or Important are refused until they are allowed. Without a
name, all that is on record is listed.

Examples:
  foundry-host repo allow /srv/www/deb --source hello --from https://git.example.org/hello.git
  foundry-host repo allow /srv/www/deb --binary libhello1 --binary libhello-dev --from-source hello
  foundry-host repo allow /srv/www/deb --essential base-files
  foundry-host repo allow /srv/www/deb --remove --source hello --from /srv/git/hello.git
  foundry-host repo allow /srv/www/deb --list --json"
)]
pub struct Args {
    /// The repository's directory
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// A source package that the repository of --from may provide, beside those that do
    #[arg(long, value_name = "NAME", requires = "from", value_parser = package)]
    source: Vec<String>,
    /// The git repository, as events name it
    #[arg(long, value_name = "URL", requires = "source", value_parser = repository)]
    from: Option<String>,
    /// A binary package that the source package of --from-source may provide, beside those that do
    #[arg(long, value_name = "NAME", requires = "from_source", value_parser = package)]
    binary: Vec<String>,
    /// The source package
    #[arg(long, value_name = "NAME", requires = "binary", value_parser = package)]
    from_source: Option<String>,
    /// A binary package that clients may install without being asked, or refuse to remove
    #[arg(long, value_name = "NAME", value_parser = package)]
    essential: Vec<String>,
    /// Allow it no more
    #[arg(long, conflicts_with = "list")]
    remove: bool,
    /// List what is on record
    #[arg(long, conflicts_with_all = ["source", "binary", "essential"])]
    list: bool,
}

fn package(name: &str) -> Result<String, String> {
    is_package_name(name)
        .then(|| name.to_owned())
        .ok_or_else(|| "not a package's name (lower-case letters, digits, and + - . are)".to_owned())
}

fn repository(url: &str) -> Result<String, String> {
    let sound = !url.trim().is_empty() && !url.chars().any(char::is_control);
    sound
        .then(|| url.to_owned())
        .ok_or_else(|| "not one line of text".to_owned())
}

/// What came of it.
pub(super) enum Said {
    Listed(Vec<Permission>),
    Changed { decided: Decided, allowed: bool },
}

impl Args {
    /// Do it, with the repository locked.
    pub(super) fn carry_out(self, desk: &Desk) -> Result<Said, RepositoryError> {
        let allowed = !self.remove;
        let permissions = self.permissions();
        if permissions.is_empty() {
            return desk.permissions().map(Said::Listed);
        }
        let decided = desk.allow(&permissions, allowed)?;
        Ok(Said::Changed { decided, allowed })
    }

    /// Whether it says what to remove.
    pub(super) fn is_complete(&self) -> bool {
        !(self.remove && self.source.is_empty() && self.binary.is_empty() && self.essential.is_empty())
    }

    fn permissions(self) -> Vec<Permission> {
        let sources = self.from.into_iter().flat_map(|from| {
            let of = move |name: &String| Permission::Source {
                name: name.clone(),
                from: from.clone(),
            };
            self.source.iter().map(of).collect::<Vec<_>>()
        });
        let mut permissions: Vec<_> = sources.collect();
        if let Some(from) = self.from_source {
            permissions.extend(self.binary.iter().map(|name| Permission::Binary {
                name: name.clone(),
                from: from.clone(),
            }));
        }
        let essential = self.essential.into_iter();
        permissions.extend(essential.map(|name| Permission::Essential { name }));
        permissions
    }
}

/// Say what there is, or what has changed.
pub(super) fn tell(said: &Said, context: &mut Context) -> Result<(), CliError> {
    let permissions = match said {
        Said::Listed(permissions) => permissions,
        Said::Changed { decided, .. } => {
            for suite in &decided.unread {
                context.note(format_args!(
                    "the suite {suite} can't be read: what it has of these packages is not remembered (`repo check` says what is \
                     damaged; who provides them beside this is for you to say)"
                ));
            }
            &decided.changed
        }
    };
    if context.common.json {
        return context.out.json(permissions);
    }
    match said {
        Said::Listed(_) => {
            let rows: Vec<_> = permissions.iter().map(|permission| row(permission).to_vec()).collect();
            context.out.table(&["KIND", "PACKAGE", "FROM"], &rows)
        }
        Said::Changed { allowed, .. } => {
            for permission in permissions {
                let sign = if *allowed { '+' } else { '-' };
                let line = format!("{sign} {}", row(permission).join(" "));
                context.out.line(printable(line.trim_end()))?;
            }
            match (permissions.is_empty(), allowed) {
                (true, _) => context.note("there is nothing to do"),
                (false, true) => {
                    context.note("what was refused for it is published by `foundry-host dead-letters requeue`");
                }
                (false, false) => {}
            }
            Ok(())
        }
    }
}

fn row(permission: &Permission) -> [String; 3] {
    let (kind, name, from) = match permission {
        Permission::Source { name, from } => ("source", name, from.as_str()),
        Permission::Binary { name, from } => ("binary", name, from.as_str()),
        Permission::Essential { name } => ("essential", name, ""),
    };
    [kind.to_owned(), name.clone(), from.to_owned()]
}
