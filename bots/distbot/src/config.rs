//! What the operator wants published, and where.

use apt_repository::generations::DEFAULT_LIMIT;
use apt_repository::host::Extras;
use apt_repository::release::Automatic;
use apt_repository::settings::Settings;
use apt_repository::syntax::{is_one_line, is_suite_name};

use crate::mapping::Mapping;
use crate::values::{architectures, automatic, retention, superseded_limit, valid_for, web_address, yes_or_no};

/// The options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The repository's name, for people.
    pub name: String,
    /// Where clients find it, if that was said.
    pub url: Option<String>,
    /// Its directory.
    pub directory: String,
    /// From branches to codenames.
    pub mapping: Mapping,
    /// Whose packages are published.
    pub accepted: Accepted,
    /// What its suites are.
    pub settings: Settings,
}

/// Whose packages are published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Keys that state what was signed; none for those that count for packages on this host.
    pub keys: Vec<String>,
    /// Hosts that build; none for all.
    pub builders: Vec<String>,
    /// Whether events without a statement are published as well.
    pub unstated: bool,
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
            url: one("url")
                .map(|url| web_address("url", line("url", url)?))
                .transpose()?,
            directory: needed("output")?,
            accepted: Accepted {
                keys: filled("packages-key", values("packages-key"))?,
                builders: filled("builder", values("builder"))?,
                unstated: values("allow-unstated").iter().any(|value| value == "true"),
            },
            mapping,
            settings,
            name,
        })
    }
}

/// Values of which none is empty: that would be a limit that nobody meant.
fn filled(option: &str, values: Vec<String>) -> Result<Vec<String>, String> {
    if values.iter().any(|value| value.trim().is_empty()) {
        return Err(format!("--{option}: a value is empty"));
    }
    Ok(values)
}

/// The component when none is given.
pub(crate) const DEFAULT_COMPONENT: &str = "main";

#[cfg(test)]
mod tests {
    use apt_repository::retention::Retention;

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
        assert_eq!(parse(&[]).unwrap().url, None);
        let url = parse(&[("url", &["http://x/deb//"])]).unwrap().url;
        assert_eq!(url.as_deref(), Some("http://x/deb/"));
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
            ("packages-key", ""),
            ("builder", " "),
            ("valid-for", "soon"),
            ("valid-for", "99999999999999999999d"),
        ] {
            let error = parse(&[(option, &[value])]).unwrap_err();
            assert!(error.starts_with(&format!("--{option}")), "{option}={value:?}: {error}");
        }
    }
}
