//! The table `[builds]`.

use std::str::FromStr;

use toml::de::DeTable;

use super::parse::parse_size;
use super::problem::Problems;
use super::reader::Section;
use super::settings::{
    BUILDS_BACKEND, BUILDS_DISK, BUILDS_JOBS, BUILDS_LOG, BUILDS_MEMORY, BUILDS_PROCESSES, BUILDS_ROOT_MAX_AGE,
    BUILDS_TIME, BUILDS_USER_ID, Setting,
};
use crate::capability::build::{Backend, Limits, Settings};
use crate::supervisor::parse_duration;

/// The sandboxes by their names in the file.
const BACKENDS: [(&str, Backend); 3] = [
    ("host-root", Backend::HostRoot),
    ("layered", Backend::HostRootLayered),
    ("own-root", Backend::OwnRoot),
];

/// Read it.
pub(super) fn read(document: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Settings> {
    let section = Section::top(document, "builds", problems);
    section.refuse_unknown(problems);
    let backend = section.parsed(&BUILDS_BACKEND, problems, |text| {
        let known = BACKENDS.into_iter().find(|(name, _)| *name == text);
        known
            .map(|(_, backend)| backend)
            .ok_or_else(|| "write \"host-root\", \"layered\" or \"own-root\"".to_owned())
    });
    let jobs = number(&section, &BUILDS_JOBS, problems);
    let time = |setting, problems: &mut Problems<'_>| {
        section.parsed(setting, problems, |text| {
            parse_duration(text).ok_or_else(|| "write \"30m\", \"2h\" or \"7d\"".to_owned())
        })
    };
    let size = |setting, problems: &mut Problems<'_>| {
        section.parsed(setting, problems, |text| {
            let size = parse_size(text)
                .and_then(|size| u64::try_from(size).ok())
                .filter(|size| *size > 0);
            size.ok_or_else(|| "write \"512M\" or \"8G\"".to_owned())
        })
    };
    let wall_time = time(&BUILDS_TIME, problems);
    let root_max_age = time(&BUILDS_ROOT_MAX_AGE, problems);
    let memory = size(&BUILDS_MEMORY, problems);
    let disk = size(&BUILDS_DISK, problems);
    let log = size(&BUILDS_LOG, problems);
    let processes = number(&section, &BUILDS_PROCESSES, problems);
    let build_id = number(&section, &BUILDS_USER_ID, problems);
    Some(Settings {
        backend: backend.map(|found| found.value),
        build_id: build_id?,
        root_max_age: root_max_age?.value,
        jobs,
        limits: Limits {
            wall_time: wall_time?.value,
            memory: memory?.value,
            disk: disk?.value,
            processes: processes?,
            log: log?.value,
        },
        ..Settings::default()
    })
}

/// A number that is not zero: zero jobs, processes or the user id of root would be mistakes.
fn number<T: FromStr + Default + PartialEq>(
    section: &Section<'_>,
    setting: &Setting,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let found = section.parsed(setting, problems, |text| {
        text.parse()
            .ok()
            .filter(|number| *number != T::default())
            .ok_or_else(|| "write a number from 1 on".to_owned())
    });
    found.map(|found| found.value)
}
