//! `repo mirror`: a copy of a repository in a bucket.

use std::path::PathBuf;

use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::output::printable;
use crate::capability::site::{Mirror, MirrorState};
use crate::objects::Location;
use crate::repository::{Desk, RepositoryError};

/// Which copy.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "From then on every change is copied as well, by whichever bot or command makes it, and is done when the copy has it.
Credentials are access-key-id and secret-access-key in a TOML file that only its owner can read; without one they come from
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of each host that publishes.
A service on another machine is asked with TLS, unless clear-text-hosts in foundry.toml names it.

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
    #[command(flatten)]
    config: ConfigArgs,
}

impl Args {
    /// Refuse a service that would be asked in clear, and that the configuration does not name.
    pub(super) fn check(&self, context: &Context) -> Result<(), CliError> {
        let Some(mirror) = self.mirror() else { return Ok(()) };
        // What else is wrong with it, whoever sets it says.
        let Ok(Location::Bucket(bucket)) = mirror.location() else {
            return Ok(());
        };
        let (config, _) = context.config(&self.config)?;
        bucket
            .check_clear_text(&config.network)
            .map_err(|error| CliError::usage(format!("--endpoint: {error}")))
    }

    fn mirror(&self) -> Option<Mirror> {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Some(Mirror {
            url: self.url.clone()?,
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            credentials: self.credentials.as_ref().map(absolute),
            ca: self.ca.as_ref().map(absolute),
        })
    }

    /// Do it, with the repository locked.
    pub(super) fn carry_out(&self, desk: &Desk) -> Result<Option<MirrorState>, RepositoryError> {
        match self.mirror() {
            Some(mirror) => desk.set_mirror(Some(mirror))?,
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
