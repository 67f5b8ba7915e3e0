//! The bots of a configuration, checked against what their components say of themselves.

use std::path::Path;

use super::parse::absolute_option;
use super::problem::{Problem, Severity, nearest, sort};
use super::{Config, ConfiguredBot, base_of, settings};
use crate::capability::{Grants, Interface, MissingGrant};
use crate::runtime::ComponentInfo;
use crate::runtime::wit::types::Description;
use crate::supervisor::{Flow, Inspector, LoadFailure, OptionError, check_options, known_options};

/// A bot that can be loaded, as far as its component, its options and its grants go.
pub struct ResolvedBot {
    /// As the configuration says, with absolute paths.
    pub bot: ConfiguredBot,
    /// Its component.
    pub component: ComponentInfo,
    /// What the component says of itself.
    pub description: Description,
    /// Where its messages come from and go to.
    pub flow: Flow,
}

/// Ask the bots' components, and check their options and grants.
pub async fn resolve(config: &Config, inspector: &Inspector) -> (Vec<ResolvedBot>, Vec<Problem>) {
    let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
    let base = base_of(file);
    let mut resolved = Vec::new();
    let mut problems = Vec::new();
    for bot in &config.bots {
        match resolve_bot(bot, inspector, &base).await {
            Ok(bot) => resolved.push(bot),
            Err(wrong) => problems.push(Problem {
                severity: Severity::Error,
                file: file.to_owned(),
                line: Some(bot.option_lines.get(&wrong.setting).copied().unwrap_or(bot.line)),
                key: format!("bots.{}.{}", bot.name, wrong.setting),
                message: wrong.message,
                remedy: wrong.remedy,
            }),
        }
    }
    sort(&mut problems);
    (resolved, problems)
}

/// What is wrong with a bot's table.
struct Wrong {
    setting: String,
    message: String,
    remedy: String,
}

impl Wrong {
    fn new(setting: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

async fn resolve_bot(bot: &ConfiguredBot, inspector: &Inspector, base: &Path) -> Result<ResolvedBot, Wrong> {
    let inspected = inspector.inspect(&bot.spec.source).await;
    let (component, description) = inspected.map_err(|failure| Wrong::new("use", failure.to_string(), ""))?;
    let mut bot = bot.clone();
    for spec in &description.options {
        for value in bot.spec.options.get_mut(&spec.name).into_iter().flatten() {
            *value = absolute_option(spec.kind, value, base);
        }
    }
    let flow = check_options(&description, &bot.spec).map_err(|error| wrong_option(&description, &error))?;
    inspector
        .check_grants(&bot.spec, &component, &description)
        .map_err(|failure| not_granted(failure, &bot.spec.grants))?;
    Ok(ResolvedBot {
        bot,
        component,
        description,
        flow,
    })
}

/// A mistake in an option, in the words of a configuration.
fn wrong_option(description: &Description, error: &OptionError) -> Wrong {
    match error {
        OptionError::Unknown { name, .. } => {
            let known = known_options(description);
            let settings = settings::keys_of("bots.NAME").map(ToOwned::to_owned);
            let candidates: Vec<_> = known.iter().cloned().chain(settings).collect();
            let remedy = match nearest(name, candidates.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its options are {}", known.join(", ")),
            };
            Wrong::new(name, format!("{} has no such option", description.name), remedy)
        }
        OptionError::Missing {
            name,
            placeholder,
            help,
        } => Wrong::new(
            name,
            format!("{} needs it: {help}", description.name),
            format!("write {name} = \"{placeholder}\""),
        ),
        OptionError::Repeated(name) => Wrong::new(name, "it may have only one value", "remove the others"),
        OptionError::Malformed { name, value, why } => Wrong::new(name, format!("{value:?}: {why}"), ""),
    }
}

/// Missing grants, in the words of a configuration.
fn not_granted(failure: LoadFailure, granted: &Grants) -> Wrong {
    let LoadFailure::NotGranted { lacking, .. } = &failure else {
        return Wrong::new("use", failure.to_string(), "");
    };
    let missing = &lacking.grants;
    let asks = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut remedies: Vec<String> = missing
        .iter()
        .filter_map(grant_of_import)
        .map(ToOwned::to_owned)
        .collect();
    let read = missing_topics(missing, |grant| {
        matches!(grant, MissingGrant::Read(_) | MissingGrant::Join { .. })
    });
    let publish = missing_topics(missing, |grant| matches!(grant, MissingGrant::Publish(_)));
    remedies.extend(list("read", &granted.read, read));
    remedies.extend(list("publish", &granted.publish, publish));
    let remedy = format!("write {}", remedies.join(", "));
    Wrong::new("grants", format!("the component {asks}, which is not granted"), remedy)
}

fn grant_of_import(missing: &MissingGrant) -> Option<&'static str> {
    let MissingGrant::Import { interface, .. } = missing else {
        return None;
    };
    match interface {
        Interface::Artifacts => Some("grants.artifacts = true"),
        Interface::Build => Some("grants.build = true"),
        Interface::Git => Some("grants.git = [\"URL\"]"),
        Interface::Http => Some("grants.http = [\"URL\"]"),
        Interface::Mail => Some("grants.mail = [\"ADDRESS\"]"),
        Interface::Signing => Some("grants.sign = [\"KEY\"]"),
        Interface::Site => Some("grants.site = [\"DIRECTORY\"]"),
        Interface::Log | Interface::State | Interface::Config | Interface::Publish | Interface::Clock => None,
    }
}

fn missing_topics(missing: &[MissingGrant], is_wanted: impl Fn(&MissingGrant) -> bool) -> Vec<String> {
    let wanted = missing.iter().filter(|grant| is_wanted(grant));
    wanted.filter_map(MissingGrant::value).collect()
}

/// A list of topics with what is in it and what is missing; nothing if nothing is missing.
fn list(key: &str, granted: &[impl ToString], missing: Vec<String>) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let all = granted.iter().map(ToString::to_string).chain(missing);
    let quoted: Vec<_> = all.map(|topic| toml::Value::String(topic).to_string()).collect();
    Some(format!("grants.{key} = [{}]", quoted.join(", ")))
}
