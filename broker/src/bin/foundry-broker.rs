//! A broker by itself: `foundry-broker LISTEN DATA_DIR [ROLE [TOPIC...]]`.
//!
//! ROLE is the role of clients on this machine that give no user name: `watcher` without it. The TOPICs have a backlog.
//! Prints the address that it listens on; ends on Ctrl-C or SIGTERM.

use std::error::Error;
use std::process::ExitCode;

use foundry_broker::{Access, Backlog, Broker, Config};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foundry-broker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(data_dir)) = (arguments.next(), arguments.next()) else {
        return Err("usage: foundry-broker LISTEN DATA_DIR [ROLE [TOPIC...]]".into());
    };
    let config = Config {
        listen: listen.parse()?,
        data_dir: data_dir.into(),
        access: arguments
            .next()
            .map_or_else(Access::default, |role| Access::open(&role)),
        backlog: Backlog {
            topics: arguments.collect(),
            ..Backlog::default()
        },
        ..Config::default()
    };
    // Before the address is out: whoever reads it may send a signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = Broker::start(config).await?;
    println!("{}", broker.address());
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    broker.stop().await;
    Ok(())
}
