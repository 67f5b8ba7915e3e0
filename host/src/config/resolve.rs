//! The bots of a configuration, checked against what their components say of themselves.

use std::path::Path;

use super::parse::absolute_option;
use super::problem::{Problem, Severity, nearest};
use super::{Config, ConfiguredBot, base_of, settings};
use crate::runtime::ComponentInfo;
use crate::runtime::wit::types::Description;
use crate::supervisor::{Flow, Inspector, OptionError, check_options, known_options};

/// A bot that can be loaded, as far as its component and its options go.
pub struct ResolvedBot {
    /// As the configuration says.
    pub bot: ConfiguredBot,
    /// Its component.
    pub component: ComponentInfo,
    /// What the component says of itself.
    pub description: Description,
    /// Where its messages come from and go to.
    pub flow: Flow,
}

/// Ask the bots' components, and check their options. Paths in options become absolute.
pub async fn resolve(config: &Config, inspector: &Inspector) -> (Vec<ResolvedBot>, Vec<Problem>) {
    let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
    let base = base_of(file);
    let mut resolved = Vec::new();
    let mut problems = Vec::new();
    for bot in &config.bots {
        let error = |line: usize, key: String, message: String, remedy: String| Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            line: Some(line),
            key,
            message,
            remedy,
        };
        let (component, description) = match inspector.inspect(&bot.spec.source).await {
            Ok(known) => known,
            Err(failure) => {
                problems.push(error(
                    bot.line,
                    format!("bots.{}.use", bot.name),
                    failure.to_string(),
                    String::new(),
                ));
                continue;
            }
        };
        let mut bot = bot.clone();
        for spec in &description.options {
            for value in bot.spec.options.get_mut(&spec.name).into_iter().flatten() {
                *value = absolute_option(spec.kind, value, &base);
            }
        }
        match check_options(&description, &bot.spec) {
            Ok(flow) => resolved.push(ResolvedBot {
                bot,
                component,
                description,
                flow,
            }),
            Err(wrong) => {
                let (option, message, remedy) = explain(&description, &wrong);
                let line = bot.option_lines.get(&option).copied().unwrap_or(bot.line);
                problems.push(error(line, format!("bots.{}.{option}", bot.name), message, remedy));
            }
        }
    }
    (resolved, problems)
}

/// The option, what is wrong with it, and what to do, in the words of a configuration.
fn explain(description: &Description, wrong: &OptionError) -> (String, String, String) {
    match wrong {
        OptionError::Unknown { name, .. } => {
            let known = known_options(description);
            let settings = settings::keys_of("bots.NAME").map(ToOwned::to_owned);
            let candidates: Vec<_> = known.iter().cloned().chain(settings).collect();
            let remedy = match nearest(name, candidates.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its options are {}", known.join(", ")),
            };
            (name.clone(), format!("{} has no such option", description.name), remedy)
        }
        OptionError::Missing {
            name,
            placeholder,
            help,
        } => (
            name.clone(),
            format!("{} needs it: {help}", description.name),
            format!("write {name} = \"{placeholder}\""),
        ),
        OptionError::Repeated(name) => (
            name.clone(),
            "it is a list, and may have only one value".to_owned(),
            "remove the others".to_owned(),
        ),
        OptionError::Malformed { name, value, why } => (name.clone(), format!("{value:?} won't do"), why.clone()),
    }
}
