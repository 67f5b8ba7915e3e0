//! The tables `[bots.NAME]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::parse::{BAD_DIGEST, absolute, parse_bot_source, parse_digest, parse_size};
use super::problem::{Problems, nearest};
use super::reader::{Found, Section, unknown};
use super::settings::{
    self, BOT_DIGEST, BOT_GRANTS, BOT_INSTANCES, BOT_MEMORY, BOT_SIGNED, BOT_TIMEOUT, BOT_USE, GRANT_APT,
    GRANT_ARTIFACTS, GRANT_BUILD, GRANT_FILES, GRANT_GIT, GRANT_HTTP, GRANT_MAIL, GRANT_PUBLISH, GRANT_READ,
    GRANT_SIGN, GRANT_SITE, GRANT_SUITES, GRANT_WITHOUT, Setting,
};
use crate::capability::Grants;
use crate::capability::topic_grants::is_reserved_name;
use crate::stock;
use crate::supervisor::{BotSource, BotSpec, parse_duration};

/// A bot of the configuration.
#[derive(Debug, Clone)]
pub struct ConfiguredBot {
    /// Its name.
    pub name: String,
    /// What to load. Values of options are as the file writes them; [`super::resolve`] makes their paths absolute.
    pub spec: BotSpec,
    /// The line of its table.
    pub line: usize,
    /// The lines of its options.
    pub option_lines: BTreeMap<String, usize>,
}

const BAD_TIME: &str = "write \"30s\", \"5m\" or \"1h\"";

/// Read all bots.
pub(super) fn read<'d>(document: &'d DeTable<'d>, base: &Path, problems: &mut Problems<'_>) -> Vec<ConfiguredBot> {
    let all = Section::top(document, "bots", problems);
    let mut bots = Vec::new();
    for (name, span, value) in all.entries() {
        let path = format!("bots.{name}");
        let Some(section) = Section::of(path.clone(), "bots.NAME", &span, value, problems) else {
            continue;
        };
        if !crate::supervisor::is_bot_name(name) {
            let remedy = "use letters, digits, '.', '_' and '-'";
            problems.error(Some(span.start), &path, format!("{name:?} is not a bot's name"), remedy);
        }
        bots.extend(bot(name, &section, base, problems));
    }
    bots
}

fn bot(name: &str, section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<ConfiguredBot> {
    let source = source(name, section, base, problems);
    let (options, option_lines) = options(section, problems);
    let instances = section.parsed(&BOT_INSTANCES, problems, |text| {
        text.parse()
            .ok()
            .filter(|n: &u16| *n > 0)
            .ok_or_else(|| "write a number from 1 to 65535".to_owned())
    });
    let digest = section.parsed(&BOT_DIGEST, problems, |text| {
        parse_digest(text).ok_or_else(|| BAD_DIGEST.to_owned())
    });
    let memory = section.parsed(&BOT_MEMORY, problems, |text| {
        parse_size(text).ok_or_else(|| "write \"256M\" or \"1G\"".to_owned())
    });
    let timeout = section.parsed(&BOT_TIMEOUT, problems, |text| {
        parse_duration(text).ok_or_else(|| BAD_TIME.to_owned())
    });
    let grants = grants(
        &section.below(BOT_GRANTS.key, "bots.NAME.grants", problems),
        base,
        problems,
    );
    let spec = BotSpec {
        name: Some(name.to_owned()),
        options,
        grants,
        instances: instances.map_or(1, |found| found.value),
        digest: digest.map(|found| found.value),
        signed: section.flag(&BOT_SIGNED, problems),
        memory: memory.map(|found| found.value),
        timeout: timeout.map(|found| found.value),
        ..BotSpec::new(source?)
    };
    if matches!(spec.source, BotSource::File(_)) && is_reserved_name(name) {
        let message = "a bot from a file can't have the name of a topic of the pipeline or of the hosts";
        problems.error(section.at, &section.path, message, "choose another name");
    }
    let line = problems.line(section.at.unwrap_or(0));
    Some(ConfiguredBot {
        name: name.to_owned(),
        spec,
        line,
        option_lines,
    })
}

fn source(name: &str, section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<BotSource> {
    let names = || stock::STOCK_BOTS.iter().map(|bot| bot.name);
    let list = || names().collect::<Vec<_>>().join(", ");
    if section.has(&BOT_USE).is_none() {
        let near = nearest(name, names()).unwrap_or("watchbot");
        let remedy = format!("write use = {near:?}; the stock bots are {}", list());
        problems.error(section.at, &section.key(&BOT_USE), "it is missing", remedy);
        return None;
    }
    let Found { value, at } = section.text(&BOT_USE, problems)?;
    let source = parse_bot_source(&value, base);
    match &source {
        BotSource::Stock(stock) if stock::find(stock).is_none() => {
            let remedy = match nearest(stock, names()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!(
                    "they are {}; for a component's file write its path, such as \"./{stock}.wasm\"",
                    list()
                ),
            };
            problems.error(
                at,
                &section.key(&BOT_USE),
                format!("there is no stock bot {stock:?}"),
                remedy,
            );
            None
        }
        BotSource::Stock(_) | BotSource::File(_) => Some(source),
    }
}

type Options = (BTreeMap<String, Vec<String>>, BTreeMap<String, usize>);

/// What is no setting of the host is an option of the bot.
fn options(section: &Section<'_>, problems: &mut Problems<'_>) -> Options {
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for (name, span, value) in section.entries() {
        if settings::keys_of("bots.NAME").any(|setting| setting == name) {
            continue;
        }
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        let key = format!("{}.{name}", section.path);
        let values = values
            .into_iter()
            .filter_map(|value| option_value(&key, value, problems))
            .collect();
        options.insert(name.to_owned(), values);
        lines.insert(name.to_owned(), problems.line(span.start));
    }
    (options, lines)
}

fn option_value(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace(['_', '+'], "")),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => {
            let remedy = "write a text in quotes, a whole number, true or false, or a list of these";
            problems.error(Some(value.span().start), key, "an option can't have this value", remedy);
            None
        }
    }
}

fn grants(section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Grants {
    section.refuse_unknown(problems);
    let values = |found: Vec<Found<String>>| found.into_iter().map(|found| found.value);
    let paths = |found| values(found).map(|path| absolute(path, base)).collect();
    Grants {
        artifacts: section.flag(&GRANT_ARTIFACTS, problems),
        build: section.flag(&GRANT_BUILD, problems),
        git: patterns(section, &GRANT_GIT, "write \"https://example.org/debian/*\"", problems),
        http: patterns(section, &GRANT_HTTP, "write \"https://hooks.example.org/*\"", problems),
        mail: patterns(section, &GRANT_MAIL, "write \"*@example.org\"", problems),
        publish: patterns(
            section,
            &GRANT_PUBLISH,
            "write \"reports\" or \"builds:foundry.build.v1\"",
            problems,
        ),
        read: patterns(
            section,
            &GRANT_READ,
            "write \"commits\" or \"commits@pub/lint\"",
            problems,
        ),
        sign: values(section.texts(&GRANT_SIGN, problems)).collect(),
        site: paths(section.texts(&GRANT_SITE, problems)),
        files: paths(section.texts(&GRANT_FILES, problems)),
        apt: patterns(
            section,
            &GRANT_APT,
            "write \"https://apt.example.org/debian trixie main\"",
            problems,
        ),
        suites: values(section.texts(&GRANT_SUITES, problems)).collect(),
        without: patterns(
            section,
            &GRANT_WITHOUT,
            "write \"http\", \"mail\", \"git\", \"signing\" or \"site\"",
            problems,
        ),
    }
}

/// A list of patterns of a kind.
fn patterns<P: FromStr<Err: std::fmt::Display>>(
    section: &Section<'_>,
    setting: &Setting,
    remedy: &str,
    problems: &mut Problems<'_>,
) -> Vec<P> {
    let texts = section.texts(setting, problems).into_iter();
    let parsed = texts.filter_map(|Found { value, at }| match value.parse() {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            problems.error(at, &section.key(setting), format!("{value:?}: {why}"), remedy);
            None
        }
    });
    parsed.collect()
}

/// Complain about tables that are no part of a configuration.
pub(super) fn refuse_unknown_tables(document: &DeTable<'_>, problems: &mut Problems<'_>) {
    let known = [
        "host",
        "broker",
        "messages",
        "keys",
        "artifacts",
        "builds",
        "retention",
        "mail",
        "network",
        "bots",
    ];
    for key in document.keys() {
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            unknown(name, name, key.span().start, known.to_vec(), problems);
        }
    }
}
