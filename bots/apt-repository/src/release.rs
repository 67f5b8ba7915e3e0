//! `Release`: what a suite is, and the digests of its indices. Its signature is what users trust.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::armour;
use crate::control::Paragraph;
use crate::syntax::{is_sha256, is_sha512};

/// A file that a `Release` vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// SHA-512, lower-case hex, if it is listed.
    pub sha512: Option<String>,
}

/// Whether apt takes packages from a suite by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Automatic {
    /// Installs and upgrades.
    #[default]
    Yes,
    /// Upgrades of what was installed from it, as with backports.
    Upgrades,
    /// Nothing, as with experimental.
    No,
}

/// What a suite is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// Who publishes it.
    pub origin: String,
    /// What it is a part of.
    pub label: String,
    /// Another name for it; none in some repositories that other programs made.
    pub suite: Option<String>,
    /// Its name.
    pub codename: String,
    /// Architectures, sorted.
    pub architectures: Vec<String>,
    /// Components, sorted.
    pub components: Vec<String>,
    /// One line about it.
    pub description: String,
    /// Whether apt installs from it without being told to.
    pub automatic: Automatic,
    /// Files below its directory, by path.
    pub files: BTreeMap<String, Listed>,
}

impl Release {
    /// Its text, without a date: the same for the same suite.
    #[must_use]
    pub fn undated(&self) -> String {
        self.text(&[])
    }

    /// Its text. The dates are as RFC 5322 has them.
    #[must_use]
    pub fn dated(&self, date: &str, valid_until: Option<&str>) -> String {
        let dates = [Some(("Date", date)), valid_until.map(|until| ("Valid-Until", until))];
        // Debian's archive has had it so since before apt could read offsets.
        let utc = |date: &str| match date.strip_suffix("+0000") {
            Some(utc) => format!("{utc}UTC"),
            None => date.to_owned(),
        };
        let dates: Vec<_> = dates
            .into_iter()
            .flatten()
            .map(|(name, date)| (name, utc(date)))
            .collect();
        self.text(&dates)
    }

    /// The text of the `Release` in an index's directory. apt reads none of it; installers and mirrors do.
    #[must_use]
    pub fn of_index(&self, component: &str, architecture: &str) -> String {
        let mut paragraph = Paragraph::default();
        paragraph.push("Archive", self.suite.as_ref().unwrap_or(&self.codename));
        paragraph.push("Origin", &self.origin);
        paragraph.push("Label", &self.label);
        paragraph.push("Acquire-By-Hash", "yes");
        paragraph.push("Component", component);
        paragraph.push("Architecture", architecture);
        paragraph.to_string()
    }

    /// Whether a file is listed for those who have unpacked another, and need not be there itself.
    #[must_use]
    pub fn is_only_unpacked(&self, path: &str) -> bool {
        let packed = ["gz", "zst", "xz", "bz2", "lzma"].map(|suffix| format!("{path}.{suffix}"));
        packed.iter().any(|path| self.files.contains_key(path))
    }

    fn text(&self, dates: &[(&str, String)]) -> String {
        let mut paragraph = Paragraph::default();
        paragraph.push("Origin", &self.origin);
        paragraph.push("Label", &self.label);
        if let Some(suite) = &self.suite {
            paragraph.push("Suite", suite);
        }
        paragraph.push("Codename", &self.codename);
        for (name, date) in dates {
            paragraph.push(name, date);
        }
        if self.automatic != Automatic::Yes {
            paragraph.push("NotAutomatic", "yes");
        }
        if self.automatic == Automatic::Upgrades {
            paragraph.push("ButAutomaticUpgrades", "yes");
        }
        paragraph.push("Acquire-By-Hash", "yes");
        paragraph.push("Architectures", self.architectures.join(" "));
        paragraph.push("Components", self.components.join(" "));
        paragraph.push("Description", &self.description);
        let mut text = format!("{paragraph}SHA256:\n");
        for (path, Listed { size, sha256, .. }) in &self.files {
            // Writing to a String cannot fail.
            let _ = writeln!(text, " {sha256} {size} {path}");
        }
        let files = self.files.iter();
        let strong: Vec<_> = files
            .filter_map(|(path, listed)| Some((path, listed.size, listed.sha512.as_ref()?)))
            .collect();
        if !strong.is_empty() {
            text.push_str("SHA512:\n");
        }
        for (path, size, sha512) in strong {
            let _ = writeln!(text, " {sha512} {size} {path}");
        }
        text
    }

    /// One that this or another program wrote, signed or not; none if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let paragraph = Paragraph::parse(armour::strip(text).ok()?.trim_end()).ok()?;
        let one = |name: &str| paragraph.get(name).map(str::to_owned);
        let words = |name: &str| {
            one(name)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        let lines = |name: &str| paragraph.get(name).unwrap_or_default().lines().filter_map(listed);
        let mut files: BTreeMap<String, Listed> = lines("SHA256")
            .filter(|(digest, ..)| is_sha256(digest))
            .map(|(sha256, size, path)| {
                let (sha256, sha512) = (sha256.to_owned(), None);
                (path.to_owned(), Listed { size, sha256, sha512 })
            })
            .collect();
        for (sha512, size, path) in lines("SHA512").filter(|(digest, ..)| is_sha512(digest)) {
            if let Some(listed) = files.get_mut(path).filter(|listed| listed.size == size) {
                listed.sha512 = Some(sha512.to_owned());
            }
        }
        Some(Self {
            origin: one("Origin").unwrap_or_default(),
            label: one("Label").unwrap_or_default(),
            suite: one("Suite"),
            codename: one("Codename").unwrap_or_default(),
            architectures: words("Architectures"),
            components: words("Components"),
            description: one("Description").unwrap_or_default(),
            automatic: match (one("NotAutomatic").as_deref(), one("ButAutomaticUpgrades").as_deref()) {
                (Some("yes"), Some("yes")) => Automatic::Upgrades,
                (Some("yes"), _) => Automatic::No,
                _ => Automatic::Yes,
            },
            files,
        })
    }
}

/// Digest, size and path.
fn listed(line: &str) -> Option<(&str, u64, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let listed = |digest: &str| Listed {
            size: 5,
            sha256: digest.repeat(64),
            sha512: None,
        };
        Release {
            origin: "deb.example.org".to_owned(),
            label: "deb.example.org".to_owned(),
            suite: Some("stable".to_owned()),
            codename: "bookworm".to_owned(),
            architectures: vec!["amd64".to_owned(), "arm64".to_owned()],
            components: vec!["main".to_owned()],
            automatic: Automatic::Upgrades,
            description: "Our packages".to_owned(),
            files: [
                ("main/source/Sources".to_owned(), listed("b")),
                ("main/binary-amd64/Packages".to_owned(), listed("a")),
            ]
            .into(),
        }
    }

    #[test]
    fn the_text_is_as_apt_wants_it() {
        assert_eq!(
            release().dated(
                "Mon, 23 Nov 2026 09:00:00 +0000",
                Some("Mon, 07 Dec 2026 09:00:00 +0000")
            ),
            format!(
                "Origin: deb.example.org\nLabel: deb.example.org\nSuite: stable\nCodename: bookworm\nDate: Mon, 23 Nov 2026 \
                 09:00:00 UTC\nValid-Until: Mon, 07 Dec 2026 09:00:00 UTC\nNotAutomatic: yes\nButAutomaticUpgrades: yes\nAcquire-By-Hash: yes\nArchitectures: amd64 arm64\nComponents: main\nDescription: Our \
                 packages\nSHA256:\n {} 5 main/binary-amd64/Packages\n {} 5 main/source/Sources\n",
                "a".repeat(64),
                "b".repeat(64)
            )
        );
    }

    #[test]
    fn writing_and_reading_are_inverse() {
        let release = release();
        assert_eq!(Release::parse(&release.dated("x +0000", None)), Some(release.clone()));
        assert_eq!(Release::parse(&release.undated()), Some(release));
        assert_eq!(Release::parse("<html>"), None);
    }

    #[test]
    fn files_have_a_second_digest_if_there_is_one() {
        let mut release = release();
        for listed in release.files.values_mut() {
            listed.sha512 = Some("c".repeat(128));
        }
        let text = release.undated();
        let section = format!(
            "\nSHA512:\n {0} 5 main/binary-amd64/Packages\n {0} 5 main/source/Sources\n",
            "c".repeat(128)
        );
        assert!(text.ends_with(&section), "{text}");
        assert_eq!(Release::parse(&text), Some(release));
    }
}
