//! `inspect`: what a bot is.

use serde_json::{Value, json};

use super::common::Context;
use super::error::CliError;
use super::load::current_directory;
use super::output::{printable, size};
use crate::capability::topic_grants::{Bearer, Request, weigh};
use crate::capability::{Grants, Interface, Lacking};
use crate::config::parse_bot_source;
use crate::runtime::wit::types::{Description, OptionKind};
use crate::runtime::{Answer, CONTRACT, ComponentInfo, Said, wasi_offer};
use crate::supervisor::{BotSource, ENDPOINT, Inspector, known_options};

/// Which bot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  foundry-host inspect ./lint.wasm
  foundry-host inspect buildbot --json")]
pub struct Args {
    /// A component's file, or a stock bot
    #[arg(value_name = "BOT")]
    bot: String,
}

/// Print what is known of the bot. Nothing is granted to it.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let source = parse_bot_source(&args.bot, &current_directory()?);
    let inspector = Inspector::new(context.state().join("compiled")).map_err(CliError::failed)?;
    let (component, Answer { description, said }) = inspector.ask(&source).await?;
    for Said { level, line } in said {
        context.note(format_args!("its describe says ({}): {line}", level.name()));
    }
    if context.common.json {
        return context
            .out
            .json(&as_json(&component, &description, &topics(&source, &description)));
    }
    context
        .out
        .line(format_args!("name      {}", printable(&description.name)))?;
    context
        .out
        .line(format_args!("version   {}", printable(&description.version)))?;
    context
        .out
        .line(format_args!("summary   {}", printable(&description.summary)))?;
    context.out.line(format_args!(
        "contract  {}",
        contract(&component).as_deref().unwrap_or("-")
    ))?;
    context
        .out
        .line(format_args!("size      {}", size(component.size as u64)))?;
    context.out.line(format_args!("sha256    {}", component.digest))?;
    for input in &description.inputs {
        let line = format!(
            "reads     {} (--{}) as {} (--{ENDPOINT})",
            input.topic, input.option, input.endpoint
        );
        context.out.line(printable(&line))?;
    }
    for output in &description.outputs {
        let line = format!("publishes {} (--{})", output.topic, output.option);
        context.out.line(printable(&line))?;
    }
    for timer in &description.timers {
        context
            .out
            .line(printable(&format!("timer     {} (--{})", timer.name, timer.option)))?;
    }
    if !description.options.is_empty() {
        context.out.line("options")?;
        for spec in &description.options {
            let mut line = format!("  --{}", spec.name);
            if spec.kind != OptionKind::Flag {
                line.push_str(&format!(" {}", spec.placeholder));
            }
            line.push_str(&format!("  {}", spec.help));
            for (holds, note) in [(spec.required, " [required]"), (spec.repeatable, " [repeatable]")] {
                line.push_str(if holds { note } else { "" });
            }
            if let Some(default) = &spec.default {
                line.push_str(&format!(" [default: {default}]"));
            }
            context.out.line(printable(&line))?;
        }
    }
    context.out.line("rights it asks for")?;
    for import in &component.imports {
        let line = format!("  {import}  {}", granted_by(import, &source));
        context.out.line(printable(&line))?;
    }
    let topics = topics(&source, &description);
    for (grant, flag) in topics.grants.iter().zip(topics.flags()) {
        context.out.line(printable(&format!("  {grant}  needs {flag}")))?;
    }
    Ok(())
}

/// The topics that a bot is to be granted, as long as it keeps its name.
fn topics(source: &BotSource, description: &Description) -> Lacking {
    let name = description.name.as_str();
    let bearer = match source {
        BotSource::Stock(stock) => Bearer::Stock(stock),
        BotSource::File(_) => Bearer::File { name, component: name },
    };
    let inputs = description.inputs.iter();
    let outputs = description.outputs.iter();
    let request = Request {
        inputs: &inputs
            .map(|input| (input.endpoint.clone(), input.topic.clone()))
            .collect::<Vec<_>>(),
        endpoint_chosen: false,
        outputs: &outputs
            .map(|output| (output.topic.clone(), output.topic.clone()))
            .collect(),
    };
    Lacking {
        grants: weigh(bearer, &request, &Grants::default()).1,
        bots_own: known_options(description),
    }
}

/// How an import is granted.
fn granted_by(import: &str, source: &BotSource) -> String {
    match Interface::of_import(import) {
        Some(interface) if interface.is_for_all() => "every bot has it".to_owned(),
        Some(_) if matches!(source, BotSource::Stock(_)) => "granted by its options".to_owned(),
        Some(interface) => format!("needs {}", interface.flag()),
        None if import.starts_with("foundry:bot/types@") => "types only".to_owned(),
        None if let Some(what) = wasi_offer(import) => format!("every bot has it: {what}"),
        None => "not offered by this host: it can't be loaded".to_owned(),
    }
}

/// The package and version of the contract that the component was built for.
fn contract(component: &ComponentInfo) -> Option<String> {
    Some(format!("{CONTRACT}@{}", component.contract()?))
}

fn as_json(component: &ComponentInfo, description: &Description, topics: &Lacking) -> Value {
    let options: Vec<_> = description
        .options
        .iter()
        .map(|spec| {
            json!({
                "name": spec.name, "kind": kind(spec.kind), "required": spec.required, "repeatable": spec.repeatable,
                "default": spec.default, "placeholder": spec.placeholder, "help": spec.help,
            })
        })
        .collect();
    let inputs: Vec<_> = description
        .inputs
        .iter()
        .map(|input| json!({ "option": input.option, "topic": input.topic, "endpoint": input.endpoint }))
        .collect();
    let outputs: Vec<_> = description
        .outputs
        .iter()
        .map(|output| json!({ "option": output.option, "topic": output.topic }))
        .collect();
    let timers: Vec<_> = description
        .timers
        .iter()
        .map(|timer| json!({ "name": timer.name, "option": timer.option }))
        .collect();
    json!({
        "name": description.name, "version": description.version, "summary": description.summary,
        "contract": contract(component), "size": component.size, "sha256": component.digest,
        "imports": component.imports, "exports": component.exports,
        "options": options, "needs": topics.flags(), "reads": inputs, "publishes": outputs, "timers": timers,
        "message-timeout": description.message_timeout,
    })
}

fn kind(kind: OptionKind) -> &'static str {
    match kind {
        OptionKind::Text => "text",
        OptionKind::Flag => "flag",
        OptionKind::Number => "number",
        OptionKind::Duration => "duration",
        OptionKind::GitUrl => "git-url",
        OptionKind::Key => "key",
        OptionKind::Site => "site",
        OptionKind::File => "file",
    }
}
