//! A bot's own options as a command line, made from its description.

use std::collections::BTreeMap;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::output::printable;
use crate::config::absolute_option;
use crate::runtime::wit::types::{Description, OptionKind, OptionSpec};
use crate::supervisor::ENDPOINT;

const OWN: &str = "Options of the bot";
const ROUTES: &str = "Its messages";

/// A command with the options that the bot's description lists, and those of the host, which `host` adds. Where both
/// have one name, the bot's option keeps it, and the host's is called `--host-NAME`: it can also be given before the
/// bot's name.
#[must_use]
pub fn command(title: &str, description: &Description, host: impl FnOnce(Command) -> Command) -> Command {
    let mut command = Command::new(title.to_owned()).bin_name(title.to_owned());
    for spec in &description.options {
        command = command.arg(argument(spec));
    }
    for route in routes(description) {
        let arg = Arg::new(id(&route.name))
            .long(route.name)
            .value_name(route.placeholder)
            .help(route.help)
            .default_value(route.default)
            .help_heading(ROUTES);
        command = command.arg(arg);
    }
    let own: Vec<_> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(ToOwned::to_owned))
        .collect();
    command = host(command);
    let taken: Vec<_> = command
        .get_arguments()
        .skip(own.len())
        .filter_map(|arg| Some((arg.get_id().clone(), arg.get_long()?.to_owned())))
        .filter(|(_, long)| own.contains(long))
        .collect();
    for (id, long) in taken {
        command = command.mut_arg(id, |arg| arg.long(format!("host-{long}")));
    }
    command
        .about(printable(&description.summary))
        .disable_version_flag(true)
}

/// What was given of a bot's options. Paths become absolute, since the host has another directory.
#[must_use]
pub fn given(description: &Description, matches: &ArgMatches, base: &Path) -> BTreeMap<String, Vec<String>> {
    let mut given = BTreeMap::new();
    for spec in &description.options {
        let values: Vec<String> = match spec.kind {
            OptionKind::Flag if matches.get_flag(&id(&spec.name)) => vec!["true".to_owned()],
            OptionKind::Flag => Vec::new(),
            kind => values(matches, &spec.name)
                .iter()
                .map(|value| absolute_option(kind, value, base))
                .collect(),
        };
        if !values.is_empty() {
            given.insert(spec.name.clone(), values);
        }
    }
    for route in routes(description) {
        let values = values(matches, &route.name);
        if !values.is_empty() {
            given.insert(route.name, values);
        }
    }
    given
}

/// The values on the command line, without defaults: the host fills those in.
fn values(matches: &ArgMatches, name: &str) -> Vec<String> {
    let id = id(name);
    if matches.value_source(&id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    matches.get_many::<String>(&id).into_iter().flatten().cloned().collect()
}

/// Ids of the host's own options have no colon.
fn id(name: &str) -> String {
    format!("bot:{name}")
}

fn argument(spec: &OptionSpec) -> Arg {
    let arg = Arg::new(id(&spec.name))
        .long(spec.name.clone())
        .help(printable(&spec.help))
        .help_heading(OWN);
    let arg = match (spec.kind, spec.repeatable) {
        (OptionKind::Flag, _) => return arg.action(ArgAction::SetTrue),
        (_, true) => arg.action(ArgAction::Append),
        (_, false) => arg.action(ArgAction::Set),
    };
    let arg = arg
        .value_name(printable(&spec.placeholder))
        .required(spec.required)
        .allow_hyphen_values(true);
    match &spec.default {
        Some(default) if !default.is_empty() => arg.default_value(default.clone()),
        _ => arg,
    }
}

/// An option that says where messages come from or go to.
struct Route {
    name: String,
    placeholder: &'static str,
    help: String,
    default: String,
}

fn routes(description: &Description) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut add = |name: &str, placeholder, help: String, default: &str| {
        if !routes.iter().any(|route| route.name == name) {
            routes.push(Route {
                name: name.to_owned(),
                placeholder,
                help,
                default: default.to_owned(),
            });
        }
    };
    for input in &description.inputs {
        let help = "Group whose members share the messages; each group gets all of them".to_owned();
        add(ENDPOINT, "GROUP", help, &input.endpoint);
        add(&input.option, "TOPIC", "Topic that it reads".to_owned(), &input.topic);
    }
    for output in &description.outputs {
        add(
            &output.option,
            "TOPIC",
            "Topic that it publishes to".to_owned(),
            &output.topic,
        );
    }
    routes
}
