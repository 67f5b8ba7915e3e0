//! Where the program's own log goes: standard error, one line per event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::common::CommonArgs;

/// Environment variable with a filter that replaces `--verbose` and `--quiet`, as tracing-subscriber writes them.
pub const FILTER_VARIABLE: &str = "FOUNDRY_LOG";

/// Begin to log.
///
/// At `debug`, the crate pgp would print secret keys; it gets no more than `warn`.
pub fn start(common: &CommonArgs, normally: &str) {
    begin(common, normally, None);
}

/// Begin, without the lines of bots: the verb prints those itself.
pub fn start_without_bots(common: &CommonArgs, normally: &str) {
    begin(common, normally, Some("off"));
}

fn begin(common: &CommonArgs, normally: &str, bots: Option<&str>) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => normally,
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let others = if common.quiet { "error" } else { "warn" };
    let bots = bots.unwrap_or(level);
    let filter = format!("{others},foundry_host={level},foundry_broker={level},bot={bots}");
    let asked = std::env::var(FILTER_VARIABLE).ok();
    let filter = EnvFilter::try_new(asked.as_deref().unwrap_or(&filter)).unwrap_or_else(|_| EnvFilter::new(filter));
    let filter = match "pgp=warn".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    // A second call, in tests, is of no consequence.
    let _ = subscriber.with_target(false).try_init();
}
