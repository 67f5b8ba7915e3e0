//! The table `[artifacts]`.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::parse::absolute;
use super::problem::Problems;
use super::reader::Section;
use super::settings::{
    ARTIFACTS_CA, ARTIFACTS_CREDENTIALS, ARTIFACTS_ENDPOINT, ARTIFACTS_REGION, ARTIFACTS_URL, Setting,
};
use crate::objects::{Bucket, Credentials, Location, parse_endpoint};
use crate::reach::Network;

/// What only a bucket has.
const OF_BUCKETS: [Setting; 4] = [
    ARTIFACTS_ENDPOINT,
    ARTIFACTS_REGION,
    ARTIFACTS_CREDENTIALS,
    ARTIFACTS_CA,
];

/// Where artifacts are kept, if the file says so.
pub(super) fn read(
    document: &DeTable<'_>,
    base: &Path,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Option<Location> {
    let section = Section::top(document, "artifacts", problems);
    section.refuse_unknown(problems);
    let location = match section.has(&ARTIFACTS_URL) {
        Some(_) => section.parsed(&ARTIFACTS_URL, problems, Location::parse)?.value,
        None => Location::Directory(PathBuf::new()),
    };
    match location {
        Location::Bucket(bucket) => Some(Location::Bucket(Box::new(described(
            &section, *bucket, base, network, problems,
        )))),
        Location::Directory(path) => {
            refuse_settings_of_buckets(&section, problems);
            let given = !path.as_os_str().is_empty();
            given.then(|| Location::Directory(absolute(path.to_string_lossy().into_owned(), base)))
        }
    }
}

fn refuse_settings_of_buckets(section: &Section<'_>, problems: &mut Problems<'_>) {
    for setting in OF_BUCKETS {
        if let Some(at) = section.has(&setting) {
            let message = "this is for an S3 service, and artifacts.url does not name one";
            let remedy = "write url = \"s3://BUCKET/PREFIX\", or remove this";
            problems.error(Some(at), &section.key(&setting), message, remedy);
        }
    }
}

fn described(
    section: &Section<'_>,
    bucket: Bucket,
    base: &Path,
    network: &Network,
    problems: &mut Problems<'_>,
) -> Bucket {
    let endpoint = section
        .has(&ARTIFACTS_ENDPOINT)
        .and_then(|_| section.parsed(&ARTIFACTS_ENDPOINT, problems, parse_endpoint));
    let credentials = credentials(section, base, problems);
    let at = endpoint.as_ref().and_then(|found| found.at);
    let bucket = Bucket {
        endpoint: endpoint.map(|found| found.value),
        region: section.text(&ARTIFACTS_REGION, problems).map(|found| found.value),
        credentials,
        ca: section
            .text(&ARTIFACTS_CA, problems)
            .map(|found| absolute(found.value, base)),
        ..bucket
    };
    if let Err(error) = bucket.check_clear_text(network) {
        problems.error(at, &section.key(&ARTIFACTS_ENDPOINT), error.to_string(), "");
    }
    bucket
}

fn credentials(section: &Section<'_>, base: &Path, problems: &mut Problems<'_>) -> Option<Credentials> {
    let found = section.text(&ARTIFACTS_CREDENTIALS, problems)?;
    match Credentials::read(&absolute(found.value, base)) {
        Ok(credentials) => Some(credentials),
        Err(error) => {
            problems.error(found.at, &section.key(&ARTIFACTS_CREDENTIALS), error.to_string(), "");
            None
        }
    }
}
