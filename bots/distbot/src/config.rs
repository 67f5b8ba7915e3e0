//! What the operator wants published, and where.

use apt_repository::generations::DEFAULT_LIMIT;
use apt_repository::host::Extras;
use apt_repository::release::Automatic;
use apt_repository::retention::Retention;
use apt_repository::settings::Settings;
use apt_repository::syntax::{is_architecture, is_one_line, is_suite_name};
use foundry_sdk::{Description, OptionBuilder, OptionKind};

use crate::mapping::Mapping;

/// The options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The repository's name, for people.
    pub name: String,
    /// Where clients find it.
    pub url: String,
    /// Its directory.
    pub directory: String,
    /// From branches to codenames.
    pub mapping: Mapping,
    /// What its suites are.
    pub settings: Settings,
}

impl Config {
    /// From option values by name.
    ///
    /// # Errors
    /// A sentence that names the option that is wrong.
    pub fn parse(values: impl Fn(&str) -> Vec<String>) -> Result<Self, String> {
        let one = |name: &str| values(name).into_iter().next().filter(|value| !value.is_empty());
        let needed = |name: &str| one(name).ok_or_else(|| format!("--{name} is needed"));
        let line = |name: &str, value: String| {
            if is_one_line(&value) {
                Ok(value)
            } else {
                Err(format!("--{name}: {value:?} is not one line of text"))
            }
        };
        let suite_name = |name: &str, value: String| {
            if is_suite_name(&value) {
                Ok(value)
            } else {
                Err(format!(
                    "--{name}: {value:?} has other characters than letters, digits, and . _ ~ + -"
                ))
            }
        };
        let name = line("name", needed("name")?)?;
        let mapping = Mapping::parse(&values("codename"))?;
        let suite = one("suite").map(|suite| suite_name("suite", suite)).transpose()?;
        if suite.is_some() && mapping.all_codenames().len() > 1 {
            return Err("--suite: there are several codenames, and each needs a suite of its own".to_owned());
        }
        let settings = Settings {
            architectures: architectures(&values("arch"))?,
            key: needed("gpg-key")?,
            older_keys: values("old-gpg-key"),
            description: line("description", needed("description")?)?,
            component: suite_name(
                "component",
                one("component").unwrap_or_else(|| DEFAULT_COMPONENT.to_owned()),
            )?,
            debug_component: one("debug-component")
                .map(|component| suite_name("debug-component", component))
                .transpose()?,
            origin: line("origin", one("origin").unwrap_or_else(|| name.clone()))?,
            label: line("label", one("label").unwrap_or_else(|| name.clone()))?,
            suite,
            automatic: one("automatic").map_or(Ok(Automatic::Yes), |value| automatic(&value))?,
            valid_for: one("valid-for").map(|value| valid_for(&value)).transpose()?,
            keep: retention(one("keep"), one("keep-days"))?,
            superseded_limit: one("superseded-limit").map_or(Ok(DEFAULT_LIMIT), |value| superseded_limit(&value))?,
            contents: one("contents").map_or(Ok(false), |value| yes_or_no("contents", &value))?,
            split_descriptions: one("split-descriptions")
                .map_or(Ok(false), |value| yes_or_no("split-descriptions", &value))?,
            extras: Extras {
                xz: one("xz").map_or(Ok(false), |value| yes_or_no("xz", &value))?,
            },
            sha512: one("sha512").map_or(Ok(false), |value| yes_or_no("sha512", &value))?,
        };
        Ok(Self {
            url: match one("url") {
                Some(url) => web_address("url", line("url", url)?)?,
                None => format!("https://{name}/"),
            },
            directory: needed("output")?,
            mapping,
            settings,
            name,
        })
    }
}

/// The component when none is given.
const DEFAULT_COMPONENT: &str = "main";

fn architectures(values: &[String]) -> Result<Vec<String>, String> {
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

fn valid_for(value: &str) -> Result<u64, String> {
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

fn superseded_limit(value: &str) -> Result<u64, String> {
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
fn web_address(option: &str, url: String) -> Result<String, String> {
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

fn automatic(value: &str) -> Result<Automatic, String> {
    match value {
        "yes" => Ok(Automatic::Yes),
        "upgrades" => Ok(Automatic::Upgrades),
        "no" => Ok(Automatic::No),
        _ => Err(format!("--automatic: {value:?} is none of yes, upgrades and no")),
    }
}

fn yes_or_no(option: &str, value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("--{option}: {value:?} is neither yes nor no")),
    }
}

fn retention(versions: Option<String>, days: Option<String>) -> Result<Option<Retention>, String> {
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

/// The timer that keeps the repository as it should be.
pub const REFRESH: &str = "refresh";

/// What distbot is and which options it takes.
#[must_use]
pub fn description() -> Description {
    let text = |name: &str, help: &str| OptionBuilder::new(name, OptionKind::Text, help);
    Description::new(
        "distbot",
        env!("CARGO_PKG_VERSION"),
        "publish signed packages in an APT repository",
    )
    .option(text("name", "the repository's name").required().placeholder("NAME"))
    .option(
        OptionBuilder::new(
            "output",
            OptionKind::Site,
            "the repository's directory; made if there is none",
        )
        .required(),
    )
    .option(
        text("arch", "an architecture to serve, such as amd64")
            .required()
            .repeatable()
            .placeholder("ARCH"),
    )
    .option(
        OptionBuilder::new(
            "gpg-key",
            OptionKind::Key,
            "the key that signs the repository's metadata",
        )
        .required(),
    )
    .option(
        OptionBuilder::new(
            "old-gpg-key",
            OptionKind::Key,
            "a key that signs as well, for clients that don't have the other one yet",
        )
        .repeatable(),
    )
    .option(text("description", "one line about the repository").required())
    .option(
        text(
            "codename",
            "where to publish: a branch's packages (* stands for any text), or those of all other branches; \
                  stable without this option",
        )
        .repeatable()
        .placeholder("[BRANCH:]CODENAME"),
    )
    .option(
        text("component", "the component to publish in")
            .default(DEFAULT_COMPONENT)
            .placeholder("NAME"),
    )
    .option(
        text(
            "debug-component",
            "the component to publish debug symbols (-dbgsym) in; that of their program without this option",
        )
        .placeholder("NAME"),
    )
    .option(
        text(
            "url",
            "where clients find the repository, for its page; https://NAME/ without this option",
        )
        .placeholder("URL"),
    )
    .option(text(
        "origin",
        "Origin in the repository's metadata; its name without this option",
    ))
    .option(text(
        "label",
        "Label in the repository's metadata; its name without this option",
    ))
    .option(
        text(
            "suite",
            "Suite in the repository's metadata; the codename without this option",
        )
        .placeholder("NAME"),
    )
    .option(OptionBuilder::new(
        "valid-for",
        OptionKind::Duration,
        "have clients refuse metadata that is older, such as 14d; it is signed anew when half of the time is over",
    ))
    .option(
        text(
            "keep",
            "how many versions of a package a suite keeps when a new one is published; 1 with --keep-days, all without it",
        )
        .placeholder("NUMBER"),
    )
    .option(
        text(
            "keep-days",
            "for how many days a suite keeps more versions than --keep says",
        )
        .placeholder("DAYS"),
    )
    .option(
        text(
            "superseded-limit",
            "how many bytes of superseded indices stay for clients that are slow, such as 512MiB; those of the last two \
                  minutes stay in any case, and none for more than an hour",
        )
        .default("1GiB")
        .placeholder("BYTES"),
    )
    .option(
        text(
            "contents",
            "whether to publish lists of the packages' files, as apt-file reads them: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "split-descriptions",
            "whether to publish the packages' long descriptions apart from the indices, in Translation-en: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "xz",
            "whether to publish indices compressed with xz as well as with gzip and zstd: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "sha512",
            "whether to list SHA-512 beside SHA-256, of indices and of packages that are published from then on: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        OptionBuilder::new(
            REFRESH,
            OptionKind::Duration,
            "how often to see that the repository is there and its metadata fresh",
        )
        .default("1h"),
    )
    .timer(REFRESH, REFRESH)
    .reads("watch", "signs", "pub/distbot")
    .publishes("publish-to", "dists")
    .message_timeout(1800)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(changes: &[(&str, &[&str])]) -> Result<Config, String> {
        Config::parse(|name| {
            let given: &[&str] = match (changes.iter().find(|(changed, _)| *changed == name), name) {
                (Some((_, values)), _) => values,
                (None, "name") => &["deb.example.org"],
                (None, "output") => &["/srv/deb"],
                (None, "arch") => &["amd64"],
                (None, "gpg-key") => &["ABCD"],
                (None, "description") => &["Our packages"],
                _ => &[],
            };
            given.iter().map(|value| (*value).to_owned()).collect()
        })
    }

    #[test]
    fn what_is_not_given_follows_from_what_is() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.settings.origin, "deb.example.org");
        assert_eq!(config.settings.label, "deb.example.org");
        assert_eq!(config.settings.component, "main");
        assert_eq!(config.settings.suite, None);
        assert_eq!(config.mapping.all_codenames(), ["stable"]);
        assert_eq!(config.settings.valid_for, None);
    }

    #[test]
    fn validity_is_in_the_units_of_the_host() {
        for (value, millis) in [("3600", 3_600_000), ("90m", 5_400_000), ("14d", 1_209_600_000)] {
            assert_eq!(
                parse(&[("valid-for", &[value])]).unwrap().settings.valid_for,
                Some(millis)
            );
        }
    }

    #[test]
    fn limits_are_in_bytes_or_in_powers_of_1024() {
        let limit =
            |value: &str| parse(&[("superseded-limit", &[value])]).map(|config| config.settings.superseded_limit);
        assert_eq!(limit("0"), Ok(0));
        assert_eq!(limit("512MiB"), Ok(512 << 20));
        assert_eq!(limit("2G"), limit("2048M"));
        for wrong in ["", "GiB", "-1", "1.5G", "1TB", "99999999999G"] {
            let expected = if wrong.is_empty() { Ok(DEFAULT_LIMIT) } else { Err(()) };
            assert_eq!(limit(wrong).map_err(|_| ()), expected, "{wrong}");
        }
    }

    #[test]
    fn addresses_end_with_a_slash() {
        assert_eq!(parse(&[]).unwrap().url, "https://deb.example.org/");
        assert_eq!(parse(&[("url", &["http://x/deb//"])]).unwrap().url, "http://x/deb/");
    }

    #[test]
    fn days_alone_keep_one_version_beyond_them() {
        let retention = |options: &[(&str, &[&str])]| parse(options).unwrap().settings.keep;
        let kept = |versions, days| Some(Retention { versions, days });
        assert_eq!(retention(&[]), None);
        assert_eq!(retention(&[("keep", &["3"])]), kept(3, 0));
        assert_eq!(retention(&[("keep-days", &["30"])]), kept(1, 30));
        assert_eq!(retention(&[("keep", &["2"]), ("keep-days", &["30"])]), kept(2, 30));
    }

    #[test]
    fn codenames_do_not_share_a_suite() {
        let error = parse(&[("suite", &["stable"]), ("codename", &["a:sid", "b:trixie"])]).unwrap_err();
        assert!(error.starts_with("--suite"), "{error}");
    }

    #[test]
    fn architectures_are_repeated_or_joined_with_commas() {
        assert_eq!(
            parse(&[("arch", &["amd64,i386", "arm64", "amd64"])])
                .unwrap()
                .settings
                .architectures,
            ["amd64", "i386", "arm64"]
        );
    }

    #[test]
    fn values_that_would_break_the_metadata_are_refused_by_name() {
        for (option, value) in [
            ("name", "a\nSuite: b"),
            ("name", ""),
            ("description", "a\r\nb"),
            ("description", " "),
            ("output", ""),
            ("gpg-key", ""),
            ("arch", ""),
            ("arch", "AMD64"),
            ("arch", "../x"),
            ("arch", "all"),
            ("component", "a/.."),
            ("component", ".."),
            ("debug-component", "a/b"),
            ("suite", "a b"),
            ("origin", "a\nb"),
            ("codename", "main:a/../b"),
            ("url", "deb.example.org"),
            ("url", "https://x y/"),
            ("automatic", "maybe"),
            ("keep", "0"),
            ("keep", "all"),
            ("keep-days", "a week"),
            ("keep-days", "-1"),
            ("contents", "maybe"),
            ("split-descriptions", "maybe"),
            ("xz", "maybe"),
            ("sha512", "maybe"),
            ("valid-for", "59m"),
            ("valid-for", "soon"),
            ("valid-for", "99999999999999999999d"),
        ] {
            let error = parse(&[(option, &[value])]).unwrap_err();
            assert!(error.starts_with(&format!("--{option}")), "{option}={value:?}: {error}");
        }
    }
}
