//! `watch`: messages as they pass.

use serde_json::Value;

use super::common::Context;
use super::error::CliError;
use super::output::{Tint, printable};
use crate::bus::{Seal, Sighting};
use crate::control::{Answer, HostStatus, Request};

/// Which messages.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line begins with what the message's signature is worth: `ok` if bots would handle it, `REFUSED`
with the reason if they would not, `-` for live logs, which are not signed.

Examples:
  foundry-host watch
  foundry-host watch commits
  foundry-host watch 'logs/#'
  foundry-host watch failures --json | jq .payload.data.reason"
)]
pub struct Args {
    /// Topic or filter, with or without the prefix [default: everything]
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

/// Print messages until the host or the user stops.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let client = context.client();
    let Answer::Status(HostStatus { prefix, .. }) = client.ask(Request::Status).await? else {
        return Err(super::surprised());
    };
    let topic = args.topic.unwrap_or_else(|| "#".to_owned());
    let short = topic.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/'));
    let filter = short.unwrap_or(&topic).to_owned();
    let mut answers = client.stream(Request::Watch { filter }).await?;
    while let Some(answer) = answers.next().await? {
        match answer {
            Answer::Watching => context.note(format_args!("watching {prefix}/{}", short.unwrap_or(&topic))),
            Answer::Sighting(sighting) if context.common.json => context.out.json_line(&sighting)?,
            Answer::Sighting(sighting) => {
                let text = shown(&sighting, context);
                context.out.line(text)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn shown(sighting: &Sighting, context: &Context) -> String {
    let mut text = String::new();
    if sighting.missed > 0 {
        text = context
            .out
            .tint(Tint::Odd, &format!("({} messages left out)\n", sighting.missed));
    }
    let (mark, why) = match &sighting.seal {
        Seal::Verified => (context.out.tint(Tint::Good, "ok"), None),
        Seal::Refused(why) => (context.out.tint(Tint::Bad, "REFUSED"), Some(why)),
        Seal::Unsigned => (context.out.tint(Tint::Faint, "-"), None),
    };
    text.push_str(&format!("{mark} {}", printable(&sighting.topic)));
    if sighting.retained {
        text.push_str(&context.out.tint(Tint::Faint, " (retained)"));
    }
    for part in summary(&sighting.topic, &sighting.payload) {
        text.push_str("  ");
        text.push_str(&printable(&part));
    }
    if let Some(why) = why {
        text.push_str(&format!("  ({})", printable(why)));
    }
    text
}

/// What a person wants to know of a message.
fn summary(topic: &str, payload: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(ToOwned::to_owned);
    let field = |name: &str| text(payload.get(name));
    let data = |name: &str| text(payload.get("data").and_then(|data| data.get(name)));
    let parts = if topic.starts_with("logs/") {
        vec![field("level"), field("line")]
    } else if topic.starts_with("bots/") || topic.starts_with("hosts/") {
        vec![data("status"), data("component"), data("detail")]
    } else if payload.get("type").is_some() {
        let place = data("repository").map(|repository| match data("branch") {
            Some(branch) => format!("{repository}#{branch}"),
            None => repository,
        });
        let reason = data("reason");
        vec![
            field("run"),
            field("type"),
            field("subject"),
            place,
            field("source").map(|by| format!("by {by}")),
            reason,
        ]
    } else {
        vec![Some(
            payload.as_str().map_or_else(|| payload.to_string(), ToOwned::to_owned),
        )]
    };
    parts.into_iter().flatten().collect()
}
