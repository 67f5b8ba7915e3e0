//! Files that are read again while the host runs: certificates when they change, and when the operator asks for it the rules of access as
//! well.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use foundry_broker::{Access, Operator};
use tokio_util::sync::CancellationToken;

use super::host::Host;
use crate::tls::ReadTls;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What there is to read again.
#[derive(Clone)]
pub(super) struct Files {
    /// Of the embedded broker.
    pub(super) broker: Option<Operator>,
    /// Of connections to a broker elsewhere.
    pub(super) client: Option<ReadTls>,
}

/// What tells one content of a file from another, without reading it: a file that is replaced is another one, and one that is written to is
/// younger.
type Stamp = Option<(u64, u64, SystemTime)>;

impl Files {
    /// Read the certificates again. Each line says what was read, or what could not be, and stays as it was.
    fn read(&self) -> Vec<Result<String, String>> {
        let mut said = Vec::new();
        if let Some(broker) = &self.broker {
            match broker.read_certificates_again() {
                Ok(files) if files.is_empty() => {}
                Ok(files) => said.push(Ok(format!("the broker's certificate from {}", listed(&files)))),
                Err(error) => said.push(Err(format!("the broker's certificate stays as it was: {error}"))),
            }
        }
        if let Some(client) = &self.client {
            match client.read_again() {
                Ok(()) if client.files().is_empty() => {}
                Ok(()) => said.push(Ok(format!("TLS to the broker from {}", listed(&client.files())))),
                Err(error) => said.push(Err(format!("TLS to the broker stays as it was: {error}"))),
            }
        }
        said
    }

    fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let broker = self.broker.iter().flat_map(Operator::certificate_files);
        let client = self.client.iter().flat_map(ReadTls::files);
        broker.chain(client).map(|file| (file.clone(), stamp(&file))).collect()
    }

    /// Read them again whenever one of them has changed, until cancelled.
    pub(super) async fn watch(self, cancel: CancellationToken) {
        let watch = async {
            let mut before = self.stamps();
            if before.is_empty() {
                return;
            }
            loop {
                tokio::time::sleep(LOOK).await;
                // A change while they are read is one for the next look.
                let now = self.stamps();
                if now != before {
                    before = now;
                    say(&self.read());
                }
            }
        };
        cancel.run_until_cancelled(watch).await;
    }
}

impl Host {
    /// Read the certificates again, and take these rules of access to the embedded broker, if it is that which they are for. What can't be
    /// used leaves what was before in use. Says in the log what was read.
    ///
    /// Returns whether all of it can be used.
    pub fn read_again(&self, access: Option<Access>) -> bool {
        let mut said = self.inner.files.read();
        if let (Some(broker), Some(access)) = (self.operator(), access) {
            let users = match access.users.len() {
                1 => "1 user".to_owned(),
                users => format!("{users} users"),
            };
            said.push(match broker.replace_access(access) {
                Ok(()) => Ok(format!("broker.access with {users}")),
                Err(error) => Err(format!("broker.access stays as it was: {error}")),
            });
        }
        if said.is_empty() {
            tracing::info!("there is nothing to read again: no certificates, and no broker of this host's own");
        }
        say(&said);
        said.iter().all(Result::is_ok)
    }
}

fn say(said: &[Result<String, String>]) {
    for line in said {
        match line {
            Ok(what) => tracing::info!("read again: {what}"),
            Err(why) => tracing::error!("{why}"),
        }
    }
}

fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    shown.join(", ")
}

fn stamp(file: &Path) -> Stamp {
    let of = |found: &Metadata| Some((found.ino(), found.size(), found.modified().ok()?));
    of(&std::fs::metadata(file).ok()?)
}
