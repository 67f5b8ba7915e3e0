//! A host with its configuration, its control socket, and the bots that belong to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::server::Server;
use super::specs::LoadedBots;
use crate::config::{Config, ConfigError, Problem, resolve};
use crate::runtime::LoadError;
use crate::supervisor::{BotSpec, Flow, Host, HostError, Inspector, LoadFailure, check_options, starting_order};

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This machine can't run WebAssembly.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// The host could not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The control socket could not be made.
    #[error("cannot listen on {}: {source}{}", path.display(), socket_hint(path))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A bot of the configuration could not be loaded.
    #[error("cannot start the bots of {}: {failure}", path.display())]
    Bot {
        /// The configuration.
        path: PathBuf,
        /// Why not.
        failure: LoadFailure,
    },
}

/// The name of a Unix socket has at most 107 bytes (unix(7)).
fn socket_hint(path: &Path) -> &'static str {
    if path.as_os_str().len() > 107 {
        " (its name is too long for a socket: choose a shorter --state directory)"
    } else {
        ""
    }
}

/// A running host with everything that belongs to it.
pub struct Service {
    host: Host,
    server: JoinHandle<()>,
    shutdown: CancellationToken,
    end: CancellationToken,
}

impl Service {
    /// Start a host, its control socket, the configuration's bots, and those that were loaded by hand before.
    ///
    /// A bot of the configuration that can't be loaded keeps the host from starting. One that was loaded by hand
    /// doesn't: it is logged, and shown in the list.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config, state: &Path) -> Result<Self, StartError> {
        let configured = configured(config, state).await?;
        let host = Host::start(config.host(state.to_owned())).await?;
        let (shutdown, end) = (CancellationToken::new(), CancellationToken::new());
        let loaded = LoadedBots::of(state);
        let names: BTreeSet<String> = configured.iter().filter_map(|(spec, _)| spec.name.clone()).collect();
        let desk = Arc::new(Desk::new(host.clone(), loaded.clone(), names.clone(), shutdown.clone()));
        let server = match Server::bind(state, Arc::clone(&desk)) {
            Ok(server) => server,
            Err(source) => {
                host.shutdown().await;
                return Err(StartError::Socket {
                    path: super::socket(state),
                    source,
                });
            }
        };
        let server = tokio::spawn(server.run(end.clone()));
        let service = Self {
            host,
            server,
            shutdown,
            end,
        };
        let bots = service.restorable(&loaded, &names, &desk).await;
        if let Err(failure) = service.load(configured, bots, &desk).await {
            service.stop().await;
            let path = config.path.clone().unwrap_or_default();
            return Err(StartError::Bot { path, failure });
        }
        desk.ready();
        Ok(service)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Wait until somebody asks the host to stop over the control socket.
    pub async fn asked_to_stop(&self) {
        self.shutdown.cancelled().await;
    }

    /// Stop the bots, then the host.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.host.shutdown().await;
        self.end.cancel();
        // It removes the socket; commands that come later see that nobody is there.
        let _ = self.server.await;
    }

    /// The bots that were loaded by hand, without those whose name the configuration has taken since.
    async fn restorable(
        &self,
        loaded: &LoadedBots,
        configured: &BTreeSet<String>,
        desk: &Desk,
    ) -> Vec<(BotSpec, Flow)> {
        let (bots, errors) = loaded.all();
        for error in errors {
            tracing::error!("{error}");
        }
        let mut restorable = Vec::new();
        for (name, spec) in bots {
            if configured.contains(&name) {
                tracing::warn!(
                    bot = name,
                    "loaded as the configuration says, not as it was loaded by hand"
                );
                continue;
            }
            let flow = match self.host.inspect(&spec.source).await {
                Ok((_, description)) => check_options(&description, &spec).map_err(|error| LoadFailure::Options {
                    name: name.clone(),
                    error,
                }),
                Err(failure) => Err(failure),
            };
            match flow {
                Ok(flow) => restorable.push((spec, flow)),
                Err(failure) => desk.not_restored(&name, &spec, &failure).await,
            }
        }
        restorable
    }

    async fn load(
        &self,
        configured: Vec<(BotSpec, Flow)>,
        restorable: Vec<(BotSpec, Flow)>,
        desk: &Desk,
    ) -> Result<(), LoadFailure> {
        let wanted = configured.len();
        let bots: Vec<_> = configured.into_iter().chain(restorable).collect();
        let flows: Vec<_> = bots.iter().map(|(_, flow)| flow).collect();
        for (spec, _) in &bots {
            self.host.expect(spec);
        }
        for index in starting_order(&flows) {
            let Some((spec, _)) = bots.get(index) else { continue };
            match self.host.load(spec.clone()).await {
                Ok(_) => {}
                Err(failure) if index < wanted => return Err(failure),
                Err(failure) => {
                    let name = spec.name.as_deref().unwrap_or_default();
                    desk.not_restored(name, spec, &failure).await;
                }
            }
        }
        Ok(())
    }
}

/// The bots of the configuration, checked.
async fn configured(config: &Config, state: &Path) -> Result<Vec<(BotSpec, Flow)>, StartError> {
    if config.bots.is_empty() {
        return Ok(Vec::new());
    }
    let inspector = Inspector::new(state.join("compiled"))?;
    let (bots, problems) = resolve(config, &inspector).await;
    if problems.is_empty() {
        return Ok(bots.into_iter().map(|bot| (bot.bot.spec, bot.flow)).collect());
    }
    Err(wrong(config, problems).into())
}

fn wrong(config: &Config, problems: Vec<Problem>) -> ConfigError {
    ConfigError::Wrong {
        path: config.path.clone().unwrap_or_default(),
        problems,
    }
}
