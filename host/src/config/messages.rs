//! The table `[messages]`.

use std::time::Duration;

use foundry_broker::Backlog;
use toml::de::DeTable;

use super::parse::parse_size;
use super::problem::Problems;
use super::reader::Section;
use super::settings::{
    BROKER_URL, MESSAGES_BACKLOG_AGE, MESSAGES_BACKLOG_MESSAGES, MESSAGES_BACKLOG_SIZE, MESSAGES_BACKLOG_TOPICS,
    MESSAGES_EXPECT, MESSAGES_KEEP, MESSAGES_KEY, MESSAGES_MAX_AGE, MESSAGES_OUTBOX_EVENTS, MESSAGES_OUTBOX_SIZE,
    MESSAGES_PEER_WAIT, MESSAGES_PREFIX, MESSAGES_TRUST,
};
use crate::event::LONGEST_TOPIC;
use crate::keys::Fingerprint;
use crate::ledger::OutboxLimits;
use crate::supervisor::{MessagesConfig, parse_duration};

/// Read all of it but the topics to observe, which are the host's.
pub(super) fn read(document: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<MessagesConfig> {
    let section = Section::top(document, "messages", problems);
    section.refuse_unknown(problems);
    let prefix = section.parsed(&MESSAGES_PREFIX, problems, |text| {
        let fits = !text.trim_matches('/').is_empty() && !text.contains(['+', '#', '$']) && text.len() <= LONGEST_TOPIC;
        fits.then(|| text.to_owned())
            .ok_or_else(|| "write a topic without +, # and $".to_owned())
    });
    let key = section.text(&MESSAGES_KEY, problems).map(|found| found.value);
    let mut trust = Vec::new();
    for found in section.texts(&MESSAGES_TRUST, problems) {
        match found.value.parse::<Fingerprint>() {
            Ok(fingerprint) => trust.push(fingerprint),
            Err(error) => {
                let remedy = "`foundry-host key list` shows fingerprints";
                problems.error(found.at, &section.key(&MESSAGES_TRUST), error.to_string(), remedy);
            }
        }
    }
    let max_age = section.parsed(&MESSAGES_MAX_AGE, problems, |text| {
        parse_duration(text).ok_or_else(|| "write \"12h\" or \"14d\"".to_owned())
    });
    let outbox = outbox(&section, problems);
    let peer_patience = section.parsed(&MESSAGES_PEER_WAIT, problems, |text| match text {
        "forever" => Ok(Duration::MAX),
        _ => parse_duration(text).ok_or_else(|| "write \"1m\" or \"forever\"".to_owned()),
    });
    let backlog = backlog(&section, problems);
    if Section::top(document, "broker", problems).has(&BROKER_URL).is_some() {
        refuse_backlog(&section, problems);
    }
    let keep = section.parsed(&MESSAGES_KEEP, problems, |text| {
        parse_duration(text).ok_or_else(|| "write \"10s\" or \"0s\"".to_owned())
    });
    Some(MessagesConfig {
        prefix: prefix?.value,
        key,
        trust,
        max_age: max_age?.value,
        outbox: outbox?,
        peer_patience: peer_patience?.value,
        keep: keep?.value,
        backlog: backlog?,
        expect: expected(&section, problems),
    })
}

fn expected(section: &Section<'_>, problems: &mut Problems<'_>) -> Vec<(String, String)> {
    let mut expected = Vec::new();
    for found in section.texts(&MESSAGES_EXPECT, problems) {
        match found.value.split_once(' ') {
            Some((topic, endpoint)) if !topic.is_empty() && !endpoint.trim().is_empty() => {
                expected.push((topic.to_owned(), endpoint.trim().to_owned()));
            }
            _ => {
                let message = format!("{:?} is not a topic and an endpoint", found.value);
                let remedy = "write both, as \"commits pub/buildbot\"";
                problems.error(found.at, &section.key(&MESSAGES_EXPECT), message, remedy);
            }
        }
    }
    expected
}

fn backlog(section: &Section<'_>, problems: &mut Problems<'_>) -> Option<Backlog> {
    let mut backlog = MessagesConfig::default().backlog;
    if section.has(&MESSAGES_BACKLOG_TOPICS).is_some() {
        backlog.topics.clear();
    }
    for found in section.texts(&MESSAGES_BACKLOG_TOPICS, problems) {
        let fits =
            !found.value.is_empty() && !found.value.contains(['+', '#', '\0']) && found.value.len() <= LONGEST_TOPIC;
        if fits {
            backlog.topics.push(found.value);
            continue;
        }
        let message = format!("{:?} is not a topic", found.value);
        let remedy = "write a topic without prefix and without + and #, such as \"commits\"";
        problems.error(found.at, &section.key(&MESSAGES_BACKLOG_TOPICS), message, remedy);
    }
    let age = section.parsed(&MESSAGES_BACKLOG_AGE, problems, |text| {
        parse_duration(text).ok_or_else(|| "write \"1h\", or \"0s\" to keep nothing".to_owned())
    });
    let messages = section.parsed(&MESSAGES_BACKLOG_MESSAGES, problems, |text| {
        text.parse()
            .map_err(|_| "write a number, or 0 to keep nothing".to_owned())
    });
    let bytes = section.parsed(&MESSAGES_BACKLOG_SIZE, problems, |text| {
        parse_size(text).ok_or_else(|| "write \"64M\", or 0 to keep nothing".to_owned())
    });
    Some(Backlog {
        age: age?.value,
        messages: messages?.value,
        bytes: bytes?.value,
        ..backlog
    })
}

/// Complain about what makes no sense with a broker elsewhere.
fn refuse_backlog(section: &Section<'_>, problems: &mut Problems<'_>) {
    for setting in [
        MESSAGES_BACKLOG_TOPICS,
        MESSAGES_BACKLOG_AGE,
        MESSAGES_BACKLOG_MESSAGES,
        MESSAGES_BACKLOG_SIZE,
    ] {
        if let Some(at) = section.has(&setting) {
            let message = "this is for the embedded broker, and broker.url asks for another one";
            problems.error(Some(at), &section.key(&setting), message, "remove one of them");
        }
    }
}

fn outbox(section: &Section<'_>, problems: &mut Problems<'_>) -> Option<OutboxLimits> {
    // With less room than for one event nothing would ever be taken.
    let rows = section.parsed(&MESSAGES_OUTBOX_EVENTS, problems, |text| {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| "write a number from 1 on".to_owned())
    });
    let bytes = section.parsed(&MESSAGES_OUTBOX_SIZE, problems, |text| {
        let size = parse_size(text).filter(|size| *size > 0);
        size.ok_or_else(|| "write \"64M\" or \"1G\"".to_owned())
    });
    Some(OutboxLimits {
        rows: rows?.value,
        bytes: bytes?.value as u64,
    })
}
