//! Whether the certificates that a configuration names count, and for how long they still will.

use std::path::{Path, PathBuf};

use foundry_broker::{Validity, validities};
use time::OffsetDateTime;
use time::macros::format_description;

use super::problem::{Problem, Severity};
use super::{BrokerSettings, Config};
use crate::objects::Location;

/// How long before its end a certificate is worth a warning, in days.
const SOON: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

/// What a file's certificates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// They are shown: each of them has to count.
    Shown,
    /// They are believed: one that counts is enough, since old ones stay beside new ones.
    Believed,
}

/// A file with certificates, and the setting that names it.
struct Named {
    key: &'static str,
    path: PathBuf,
    of: Use,
}

/// What is wrong with the certificates that are named, at a time. Files that can't be read are told by other checks.
pub(super) fn check(config: &Config, now: OffsetDateTime) -> Vec<Problem> {
    let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
    let named = named(config).into_iter();
    named
        .filter_map(|Named { key, path, of }| {
            let (severity, message, remedy) = fault(&validities(&path).ok()?, of, now.unix_timestamp())?;
            let table = key.rsplit_once('.').map_or(key, |(table, _)| table);
            Some(Problem {
                severity,
                file: file.to_owned(),
                line: config.lines.get(key).or(config.lines.get(table)).copied(),
                key: key.to_owned(),
                message: format!("{}: {message}", path.display()),
                remedy: remedy.to_owned(),
            })
        })
        .collect()
}

fn named(config: &Config) -> Vec<Named> {
    let mut named = Vec::new();
    let mut add = |key, path: Option<&PathBuf>, of| {
        let path = path.cloned();
        named.extend(path.map(|path| Named { key, path, of }));
    };
    match &config.broker {
        BrokerSettings::Embedded(broker) => {
            let tls = broker.tls.as_ref();
            add("broker.tls.certificate", tls.map(|tls| &tls.certificate), Use::Shown);
            let ca = tls.and_then(|tls| tls.client_ca.as_ref());
            add("broker.tls.client-ca", ca, Use::Believed);
        }
        BrokerSettings::External(address) => {
            let tls = address.tls.as_ref();
            let identity = tls.and_then(|tls| tls.identity.as_ref());
            add(
                "broker.certificate",
                identity.map(|(certificate, _)| certificate),
                Use::Shown,
            );
            add("broker.ca", tls.and_then(|tls| tls.ca.as_ref()), Use::Believed);
        }
    }
    if let Some(Location::Bucket(bucket)) = &config.artifacts {
        add("artifacts.ca", bucket.ca.as_ref(), Use::Believed);
    }
    let mail = config.mail.as_ref().and_then(|mail| mail.ca.as_ref());
    add("mail.ca", mail, Use::Believed);
    named
}

/// How bad it is, what it is, and what to do about it; none if all is well.
fn fault(found: &[Validity], of: Use, now: i64) -> Option<(Severity, String, &'static str)> {
    const RENEW: &str = "make a new one and put it in this file; a running host reads it again by itself";
    let first_end = |one: &&Validity| one.not_after;
    let worst = match of {
        Use::Shown => found
            .iter()
            .find(|one| one.not_before > now)
            .or(found.iter().min_by_key(first_end)),
        // The one that counts for longest stands for all.
        Use::Believed => found
            .iter()
            .filter(|one| one.not_before <= now)
            .max_by_key(first_end)
            .or(found.first()),
    }?;
    let subject = &worst.subject;
    if worst.not_before > now {
        let message = format!(
            "the certificate of {subject} does not count before {}",
            day(worst.not_before)
        );
        return Some((
            Severity::Error,
            message,
            "see whether this machine's clock is right (timedatectl)",
        ));
    }
    if worst.not_after < now {
        let message = format!("the certificate of {subject} has expired on {}", day(worst.not_after));
        return Some((Severity::Error, message, RENEW));
    }
    let left = (worst.not_after - now) / DAY;
    (left < SOON).then(|| {
        let message = format!(
            "the certificate of {subject} expires on {}, in {left} days",
            day(worst.not_after)
        );
        (Severity::Warning, message, RENEW)
    })
}

fn day(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]");
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    // A certificate may count beyond all times.
    time.and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| format!("second {seconds} of 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(from: i64, days: i64) -> Validity {
        Validity {
            subject: "CN=b".to_owned(),
            not_before: from * DAY,
            not_after: (from + days) * DAY,
        }
    }

    fn severity(found: &[Validity], of: Use) -> Option<Severity> {
        fault(found, of, 1000 * DAY).map(|(severity, ..)| severity)
    }

    #[test]
    fn a_certificate_that_is_shown_has_to_count_and_its_end_is_told_two_weeks_before() {
        for (certificate, expected) in [
            (valid(900, 300), None),
            (valid(900, 114), None),
            (valid(900, 113), Some(Severity::Warning)),
            (valid(900, 99), Some(Severity::Error)),
            (valid(1001, 99), Some(Severity::Error)),
        ] {
            assert_eq!(
                severity(std::slice::from_ref(&certificate), Use::Shown),
                expected,
                "{certificate:?}"
            );
            // Those between it and the authority count as much.
            assert_eq!(severity(&[valid(900, 300), certificate], Use::Shown), expected);
        }
    }

    #[test]
    fn of_authorities_one_that_counts_is_enough() {
        assert_eq!(severity(&[valid(0, 10), valid(900, 300)], Use::Believed), None);
        assert_eq!(
            severity(&[valid(0, 10), valid(900, 101)], Use::Believed),
            Some(Severity::Warning)
        );
        assert_eq!(
            severity(&[valid(0, 10), valid(0, 20)], Use::Believed),
            Some(Severity::Error)
        );
        assert_eq!(severity(&[], Use::Believed), None);
    }

    #[test]
    fn what_is_said_names_the_day() {
        let (_, said, _) = fault(&[valid(900, 99)], Use::Shown, 1000 * DAY).unwrap();
        assert_eq!(said, "the certificate of CN=b has expired on 1972-09-26");
    }
}
