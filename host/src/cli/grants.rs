//! `grants`: what a loaded bot may do.

use super::common::Context;
use super::error::CliError;
use super::output::{printable, size};
use super::surprised;
use crate::control::{Answer, Request};
use crate::supervisor::InForce;

/// Which bot.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What a component asks for is shown by `inspect`. A right is in force if it was asked for and granted.
`reads` and `publishes` are the topics that the bot uses; `may read` and `may publish` are grants.

Examples:
  foundry-host grants lint
  foundry-host grants lint --json"
)]
pub struct Args {
    /// Name of the bot, as `list` shows it
    #[arg(value_name = "NAME")]
    name: String,
}

/// Print its rights and limits.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let Answer::InForce(in_force) = context.client().ask(Request::Grants { bot: args.name }).await? else {
        return Err(surprised());
    };
    if context.common.json {
        return context.out.json(&in_force);
    }
    for (what, value) in rows(&in_force) {
        context.out.line(printable(&format!("{what:<11} {value}")))?;
    }
    Ok(())
}

fn rows(bot: &InForce) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("bot", bot.bot.clone()),
        ("component", bot.source.to_string()),
        ("digest", bot.digest.clone()),
    ];
    rows.extend(bot.signer.clone().map(|signer| ("signed by", signer)));
    let mut list = |what, values: Vec<String>| rows.extend(values.into_iter().map(|value| (what, value)));
    list("group", bot.group.iter().cloned().collect());
    list("reads", bot.reads.clone());
    list("publishes", bot.publishes.clone());
    list("publishes", vec!["failures".to_owned()]);
    let paths = |paths: &[std::path::PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    let grants = &bot.grants;
    list("may read", grants.read.iter().map(ToString::to_string).collect());
    list("may publish", grants.publish.iter().map(ToString::to_string).collect());
    list("git", grants.git.iter().map(ToString::to_string).collect());
    list("http", grants.http.iter().map(ToString::to_string).collect());
    list("mail", grants.mail.iter().map(ToString::to_string).collect());
    list(
        "without",
        grants.without.iter().map(|right| right.name().to_owned()).collect(),
    );
    list("sign", grants.sign.clone());
    list("site", paths(&grants.site));
    list("file", paths(&grants.files));
    list("apt", grants.apt.iter().map(ToString::to_string).collect());
    list("suite", grants.suites.clone());
    list(
        "build",
        grants.build.then(|| "packages".to_owned()).into_iter().collect(),
    );
    list(
        "artifacts",
        grants
            .artifacts
            .then(|| "read and store".to_owned())
            .into_iter()
            .collect(),
    );
    list("memory", vec![size(bot.memory as u64)]);
    list("time", vec![format!("{} s", bot.timeout.as_secs_f32())]);
    list("state", vec![size(bot.state)]);
    list("instances", vec![bot.instances.to_string()]);
    rows
}
