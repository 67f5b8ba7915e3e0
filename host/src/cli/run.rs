//! `run`: a host in the foreground.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::exit::Exit;
use super::logging;
use crate::config::BrokerSettings;
use crate::control::Service;
use crate::supervisor::Host;

/// How long a host may take to end, beyond the time that messages in hand have to be finished.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Bots start in an order in which nothing is missed: those that read a topic before those that publish
to it. Bots that were loaded with `load` come back. SIGTERM or SIGINT stops the host; a second one
stops it at once. At SIGHUP it reads again the certificates of [broker], and of the configuration
[broker.access]; nothing else. Certificates are also read again when their files change.
FOUNDRY_LOG may hold a log filter, such as foundry_host=debug.

Examples:
  foundry-host run -c foundry.toml
  foundry-host run --state /srv/foundry --verbose"
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take the name over at once from a host that seems to be online and does not answer
    #[arg(long)]
    take_over: bool,
    /// Leave the terminal that started this
    #[arg(long, hide = true)]
    detached: bool,
}

/// Run until told to stop.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    logging::start(&context.common, "info");
    if args.detached {
        // It fails only for the leader of a process group, which a background host is not.
        let _ = rustix::process::setsid();
    }
    let mut stop = Stop::new()?;
    // From here on it does not end the host, which may still be starting.
    let mut hangup = handled(SignalKind::hangup())?;
    let (mut config, state) = context.config(&args.config)?;
    config.take_over = args.take_over;
    let service = tokio::select! {
        service = Service::start(&config, &state) => service?,
        () = stop.asked() => return Ok(()),
    };
    let host = service.host();
    let bots = match host.list().len() {
        1 => "1 bot".to_owned(),
        number => format!("{number} bots"),
    };
    let displaced = match host.broker_displaced() {
        Some(address) => format!(" (another program has {address})"),
        None => String::new(),
    };
    context.note(format_args!(
        "foundry-host: {} is ready with {bots}; broker {:?}{displaced}, state {}",
        host.name(),
        host.broker(),
        state.display()
    ));
    notify("READY=1");
    let lost = tokio::select! {
        () = stop.asked() => None,
        () = service.asked_to_stop() => None,
        reason = host.lost_name() => Some(reason),
        () = read_again(&mut hangup, &args.config, context, host) => None,
    };
    notify("STOPPING=1");
    context.note("foundry-host: stopping");
    tokio::select! {
        () = service.stop() => {}
        () = tokio::time::sleep(config.drain + PATIENCE) => tracing::warn!("some bots did not end in time; their work is done again"),
        () = stop.asked() => tracing::warn!("stopping at once; what was in hand is done again"),
    }
    match lost {
        Some(reason) => Err(CliError::Said(Exit::Conflict, reason)),
        None => Ok(()),
    }
}

/// Read files again whenever a signal asks for it.
async fn read_again(hangup: &mut Signal, config: &ConfigArgs, context: &Context, host: &Host) {
    while hangup.recv().await.is_some() {
        match context.config(config) {
            Ok((config, _)) => {
                let access = match config.broker {
                    BrokerSettings::Embedded(broker) => Some(broker.access),
                    BrokerSettings::External(_) => None,
                };
                host.read_again(access);
            }
            Err(error) => {
                tracing::error!("broker.access stays as it was: {error}");
                host.read_again(None);
            }
        }
    }
    // There is no more to wait for, and no reason to stop.
    std::future::pending().await
}

fn handled(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|error| CliError::failed(format_args!("cannot handle signals: {error}")))
}

/// The signals that stop a host.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, CliError> {
        Ok(Self {
            terminate: handled(SignalKind::terminate())?,
            interrupt: handled(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tell systemd, where it started us (sd_notify(3)).
fn notify(what: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
