//! Values of options, checked; each error is a sentence that names the option.

use apt_repository::release::Automatic;
use apt_repository::retention::Retention;
use apt_repository::syntax::is_architecture;

pub(crate) fn architectures(values: &[String]) -> Result<Vec<String>, String> {
    let mut architectures = Vec::new();
    // The original's manual has them with commas, its later versions repeat the option.
    for architecture in values
        .iter()
        .flat_map(|value| value.split([',', ' ']))
        .filter(|value| !value.is_empty())
    {
        if !is_architecture(architecture) {
            return Err(format!(
                "--arch: {architecture:?} is not an architecture (amd64 is one)"
            ));
        }
        if matches!(architecture, "all" | "any" | "source") {
            return Err(format!(
                "--arch: {architecture} is published beside every architecture, it needs no --arch"
            ));
        }
        if !architectures.iter().any(|known| known == architecture) {
            architectures.push(architecture.to_owned());
        }
    }
    if architectures.is_empty() {
        Err("--arch is needed".to_owned())
    } else {
        Ok(architectures)
    }
}

/// Shorter than this, and clients would refuse a repository whose host is switched off for a night.
const SHORTEST_VALIDITY: u64 = 60 * 60 * 1000;

pub(crate) fn valid_for(value: &str) -> Result<u64, String> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match value.get(number.len()..) {
        Some("" | "s") => Some(1000),
        Some("m") => Some(60 * 1000),
        Some("h") => Some(60 * 60 * 1000),
        Some("d") => Some(24 * 60 * 60 * 1000),
        _ => None,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit));
    match millis {
        Some(millis) if millis >= SHORTEST_VALIDITY => Ok(millis),
        _ => Err(format!(
            "--valid-for: {value:?} is not a time of an hour or more (such as 14d)"
        )),
    }
}

pub(crate) fn superseded_limit(value: &str) -> Result<u64, String> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match value.get(number.len()..) {
        Some("" | "B") => Some(0),
        Some("K" | "KiB") => Some(10),
        Some("M" | "MiB") => Some(20),
        Some("G" | "GiB") => Some(30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift);
    let bytes = bytes.and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("--superseded-limit: {value:?} is not a number of bytes (such as 512MiB)"))
}

/// With a slash at its end, as clients join paths to it.
pub(crate) fn web_address(option: &str, url: String) -> Result<String, String> {
    let known = ["https://", "http://", "file:/"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if known && !url.contains(char::is_whitespace) {
        Ok(format!("{}/", url.trim_end_matches('/')))
    } else {
        Err(format!(
            "--{option}: {url:?} is not a web address (https://deb.example.org/ is one)"
        ))
    }
}

pub(crate) fn automatic(value: &str) -> Result<Automatic, String> {
    match value {
        "yes" => Ok(Automatic::Yes),
        "upgrades" => Ok(Automatic::Upgrades),
        "no" => Ok(Automatic::No),
        _ => Err(format!("--automatic: {value:?} is none of yes, upgrades and no")),
    }
}

pub(crate) fn yes_or_no(option: &str, value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("--{option}: {value:?} is neither yes nor no")),
    }
}

pub(crate) fn retention(versions: Option<String>, days: Option<String>) -> Result<Option<Retention>, String> {
    if versions.is_none() && days.is_none() {
        return Ok(None);
    }
    let versions = match versions {
        Some(value) => (value.parse().ok().filter(|number| *number > 0))
            .ok_or_else(|| format!("--keep: {value:?} is not a number of versions (1 or more)"))?,
        // The newest one always stays.
        None => 1,
    };
    let days = match days {
        Some(value) => (value.parse().ok()).ok_or_else(|| format!("--keep-days: {value:?} is not a number of days"))?,
        None => 0,
    };
    Ok(Some(Retention { versions, days }))
}
