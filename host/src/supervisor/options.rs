//! Options as the operator wrote them, checked against what the bot says it accepts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::capability::topic_grants::is_hosts_own;
use crate::event::LONGEST_TOPIC;
use crate::runtime::wit::types::{Description, OptionKind, OptionSpec};

/// An option that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The bot doesn't know it.
    #[error("it has no option --{name} (it accepts {known})")]
    Unknown {
        /// The option.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// It has to be given.
    #[error("it needs --{name} {placeholder}: {help}")]
    Missing {
        /// The option.
        name: String,
        /// Its placeholder.
        placeholder: String,
        /// What it is for.
        help: String,
    },
    /// It was given more than once.
    #[error("--{0} may be given only once")]
    Repeated(String),
    /// Its value has another form.
    #[error("--{name} {value:?}: {why}")]
    Malformed {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The option by which any bot that reads a topic is put into another group.
pub const ENDPOINT: &str = "endpoint";

const BAD_DURATION: &str = "not a length of time (write 30, 90s, 5m or 1h)";

/// The checked options of a bot, and what the host takes from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Values by option, defaults filled in.
    pub(super) values: BTreeMap<String, Vec<String>>,
    /// Group and topic of each input.
    pub(super) inputs: Vec<(String, String)>,
    /// Whether the operator named the group.
    pub(super) endpoint_chosen: bool,
    /// Topics by the names that the bot uses.
    pub(super) outputs: BTreeMap<String, String>,
    /// Timers and their intervals.
    pub(super) timers: Vec<(String, Duration)>,
}

/// Check what was given against a description.
pub(super) fn resolve(
    description: &Description,
    given: &BTreeMap<String, Vec<String>>,
) -> Result<Resolved, OptionError> {
    check_names(description, given)?;
    let mut values = given.clone();
    for spec in &description.options {
        check(spec, &mut values)?;
    }
    let mut inputs = Vec::new();
    for input in &description.inputs {
        inputs.push((
            routed(given, ENDPOINT, &input.endpoint)?,
            routed(given, &input.option, &input.topic)?,
        ));
    }
    let mut outputs = BTreeMap::new();
    for output in &description.outputs {
        outputs.insert(output.topic.clone(), routed(given, &output.option, &output.topic)?);
    }
    let mut timers = Vec::new();
    for timer in &description.timers {
        let value = values
            .get(&timer.option)
            .and_then(|values| values.first())
            .cloned()
            .unwrap_or_default();
        match parse_duration(&value) {
            Some(interval) => timers.push((timer.name.clone(), interval.max(Duration::from_millis(100)))),
            None => return Err(malformed(&timer.option, &value, BAD_DURATION)),
        }
    }
    Ok(Resolved {
        values,
        endpoint_chosen: given.get(ENDPOINT).is_some_and(|values| !values.is_empty()),
        inputs,
        outputs,
        timers,
    })
}

/// Names of all options that a bot of this description accepts: its own, and those that route its messages.
#[must_use]
pub fn known_options(description: &Description) -> Vec<String> {
    let mut known: Vec<&str> = description.options.iter().map(|spec| spec.name.as_str()).collect();
    known.extend(description.inputs.iter().map(|input| input.option.as_str()));
    known.extend(description.outputs.iter().map(|output| output.option.as_str()));
    known.extend((!description.inputs.is_empty()).then_some(ENDPOINT));
    known.sort_unstable();
    known.dedup();
    known.into_iter().map(ToOwned::to_owned).collect()
}

fn check_names(description: &Description, given: &BTreeMap<String, Vec<String>>) -> Result<(), OptionError> {
    let known = known_options(description);
    let Some(name) = given.keys().find(|name| !known.contains(name)) else {
        return Ok(());
    };
    let known = known
        .iter()
        .map(|name| format!("--{name}"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(OptionError::Unknown {
        name: name.clone(),
        known,
    })
}

fn check(spec: &OptionSpec, values: &mut BTreeMap<String, Vec<String>>) -> Result<(), OptionError> {
    let given = values.entry(spec.name.clone()).or_default();
    if given.is_empty() {
        given.extend(spec.default.clone());
    }
    if given.len() > 1 && !spec.repeatable {
        return Err(OptionError::Repeated(spec.name.clone()));
    }
    if given.is_empty() && spec.required {
        return Err(OptionError::Missing {
            name: spec.name.clone(),
            placeholder: spec.placeholder.clone(),
            help: spec.help.clone(),
        });
    }
    for value in given.iter() {
        let problem = match spec.kind {
            OptionKind::Number if value.parse::<u64>().is_err() => Some("not a whole number"),
            OptionKind::Duration if parse_duration(value).is_none() => Some(BAD_DURATION),
            OptionKind::Flag if value != "true" && value != "false" => Some("a flag is true or false"),
            _ if value.chars().any(char::is_control) => Some("it holds a control character"),
            _ if value.is_empty() && spec.kind != OptionKind::Text => Some("it is empty"),
            _ => None,
        };
        if let Some(why) = problem {
            return Err(malformed(&spec.name, value, why));
        }
    }
    Ok(())
}

/// The value of an option that routes messages.
fn routed(given: &BTreeMap<String, Vec<String>>, option: &str, default: &str) -> Result<String, OptionError> {
    let value = match given.get(option).map(Vec::as_slice) {
        None | Some([]) => default,
        Some([value]) => value,
        Some(_) => return Err(OptionError::Repeated(option.to_owned())),
    };
    check_topic(option, value)?;
    Ok(value.to_owned())
}

/// Topics and groups become parts of MQTT topic names (MQTT 5, section 4.7), and topics may not reach the branches
/// that the host keeps for itself.
fn check_topic(option: &str, value: &str) -> Result<(), OptionError> {
    let is_topic = option != ENDPOINT;
    let why = if value.is_empty() || value.len() > LONGEST_TOPIC {
        "it must have 1 to 200 characters"
    } else if is_topic && value.contains(['+', '#']) {
        "a topic holds no + and no #"
    } else if value.starts_with(['$', '/']) || value.chars().any(char::is_control) {
        "it begins with $ or /, or holds a control character"
    } else if is_topic && is_hosts_own(value) {
        "the hosts keep logs/, hosts/, bots/ and peers/ for themselves"
    } else {
        return Ok(());
    };
    Err(malformed(option, value, why))
}

fn malformed(name: &str, value: &str, why: &str) -> OptionError {
    OptionError::Malformed {
        name: name.to_owned(),
        value: value.to_owned(),
        why: why.to_owned(),
    }
}

/// A length of time: a number of seconds, or a number with `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match text.get(digits.len()..)? {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "d" => Some(Duration::from_secs(number.checked_mul(24 * 3600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::wit::types::{Input, Output, Timer};

    fn spec(name: &str, kind: OptionKind) -> OptionSpec {
        OptionSpec {
            name: name.into(),
            kind,
            repeatable: false,
            required: false,
            default: None,
            placeholder: "X".into(),
            help: "for tests".into(),
        }
    }

    fn description() -> Description {
        Description {
            name: "testbot".into(),
            version: "1".into(),
            summary: String::new(),
            options: vec![
                OptionSpec {
                    default: Some("30".into()),
                    ..spec("interval", OptionKind::Duration)
                },
                OptionSpec {
                    required: true,
                    ..spec("name", OptionKind::Text)
                },
                OptionSpec {
                    repeatable: true,
                    ..spec("arch", OptionKind::Text)
                },
            ],
            inputs: vec![Input {
                option: "watch".into(),
                topic: "commits".into(),
                endpoint: "pub/x".into(),
            }],
            outputs: vec![Output {
                option: "publish-to".into(),
                topic: "builds".into(),
            }],
            timers: vec![Timer {
                name: "poll".into(),
                option: "interval".into(),
            }],
            message_timeout: None,
        }
    }

    fn given(options: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in options {
            map.entry((*name).to_owned()).or_default().push((*value).to_owned());
        }
        map
    }

    #[test]
    fn defaults_are_filled_in_and_topics_rerouted() {
        let options = given(&[("name", "n"), ("publish-to", "elsewhere"), ("arch", "a"), ("arch", "b")]);
        let resolved = resolve(&description(), &options).unwrap();
        assert_eq!(resolved.values["interval"], ["30"]);
        assert_eq!(resolved.values["arch"], ["a", "b"]);
        assert_eq!(resolved.inputs, [("pub/x".to_owned(), "commits".to_owned())]);
        assert_eq!(resolved.outputs["builds"], "elsewhere");
        assert_eq!(resolved.timers, [("poll".to_owned(), Duration::from_secs(30))]);
    }

    #[test]
    fn errors_name_the_option_and_the_remedy() {
        let error = |options| resolve(&description(), &given(options)).unwrap_err().to_string();
        assert!(error(&[("nmae", "n")]).contains("--arch, --endpoint, --interval, --name, --publish-to, --watch"));
        assert!(error(&[]).contains("--name X: for tests"));
        assert!(error(&[("name", "a"), ("name", "b")]).contains("--name may be given only once"));
        assert!(error(&[("name", "a"), ("interval", "soon")]).contains("30, 90s, 5m or 1h"));
        assert!(error(&[("name", "a"), ("publish-to", "logs/x")]).contains("--publish-to"));
        assert!(error(&[("name", "a"), ("watch", "#")]).contains("--watch"));
        assert!(error(&[("name", "a\nb")]).contains("control character"));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "h", "1.5h", "-1", "1w", "99999999999999999999"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }
}
