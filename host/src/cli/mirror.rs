//! `repo mirror`: a copy of a repository in a bucket.

use std::path::PathBuf;

use super::common::Context;
use super::error::CliError;
use super::output::printable;
use crate::capability::site::{Mirror, MirrorState};
use crate::repository::{Desk, RepositoryError};

/// Which copy.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "From then on every change is copied as well, by whichever bot or command makes it, and is done when the copy has it.
Credentials are access-key-id and secret-access-key in a TOML file that only its owner can read; without one they come from
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of each host that publishes.

Examples:
  foundry-host repo mirror /srv/www/deb s3://packages/debian --credentials /etc/foundry/s3.toml
  foundry-host repo mirror /srv/www/deb s3://packages/debian --endpoint https://minio.example.org
  foundry-host repo mirror /srv/www/deb
  foundry-host repo mirror /srv/www/deb --off"
)]
pub struct Args {
    /// The repository's directory
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// The place, as s3://BUCKET/PREFIX [default: only show which it is]
    url: Option<String>,
    /// The S3 service, if it isn't Amazon's: https://HOST[:PORT]
    #[arg(long, value_name = "URL", requires = "url")]
    endpoint: Option<String>,
    /// The service's region
    #[arg(long, requires = "url")]
    region: Option<String>,
    /// File with the credentials
    #[arg(long, value_name = "FILE", requires = "url")]
    credentials: Option<PathBuf>,
    /// File with the authorities to believe about the service
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Have no copy any more; what is there stays
    #[arg(long, conflicts_with = "url")]
    off: bool,
}

impl Args {
    /// Do it, with the repository locked.
    pub(super) fn carry_out(self, desk: &Desk) -> Result<Option<MirrorState>, RepositoryError> {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        match self.url {
            Some(url) => desk.set_mirror(Some(Mirror {
                url,
                endpoint: self.endpoint,
                region: self.region,
                credentials: self.credentials.map(absolute),
                ca: self.ca.map(absolute),
            }))?,
            None if self.off => desk.set_mirror(None)?,
            None => {}
        }
        desk.mirror()
    }
}

/// Say what there is now.
pub(super) fn tell(state: Option<&MirrorState>, context: &mut Context) -> Result<(), CliError> {
    if context.common.json {
        return context.out.json(&state.map(|state| &state.mirror));
    }
    match state {
        Some(state) => context.out.line(printable(&state.mirror.url)),
        None => {
            context.note("the repository has no mirror");
            Ok(())
        }
    }
}
