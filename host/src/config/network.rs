//! The table `[network]`.

use toml::de::DeTable;

use super::problem::Problems;
use super::reader::{Found, Section};
use super::settings::{NETWORK_CLEAR_TEXT_HOSTS, NETWORK_PRIVATE_HOSTS, Setting};
use crate::reach::{HostPattern, Network};

/// The exceptions that the file makes.
pub(super) fn read(document: &DeTable<'_>, problems: &mut Problems<'_>) -> Network {
    let section = Section::top(document, "network", problems);
    section.refuse_unknown(problems);
    Network {
        private_hosts: hosts(&section, &NETWORK_PRIVATE_HOSTS, problems),
        clear_text_hosts: hosts(&section, &NETWORK_CLEAR_TEXT_HOSTS, problems),
    }
}

fn hosts(section: &Section<'_>, setting: &Setting, problems: &mut Problems<'_>) -> Vec<HostPattern> {
    let texts = section.texts(setting, problems).into_iter();
    let parsed = texts.filter_map(|Found { value, at }| match value.parse() {
        Ok(host) => Some(host),
        Err(why) => {
            let remedy = "write a host's name or address without a port, or *.example.org";
            problems.error(at, &section.key(setting), format!("{value:?}: {why}"), remedy);
            None
        }
    });
    parsed.collect()
}
