//! What a Debian source tree says about itself, read from text. Pure: no file is touched here.
//!
//! The text comes from a commit that nobody may have reviewed, and its name and version become parts of file
//! names. So nothing leaves this module that isn't a name or a version by Debian's own, narrow grammar.

use super::request::BuildKind;

/// A source package, as its `debian/` directory describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourcePackage {
    pub name: String,
    pub version: Version,
    pub distribution: String,
    pub format: Format,
    pub relations: Relations,
}

/// How the source package is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    One,
    Quilt,
    Native,
    /// One that dpkg-source may know and we need not.
    Other(String),
}

/// The build relations of `debian/control`, each with its text on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Relations {
    depends: Option<String>,
    depends_arch: Option<String>,
    depends_indep: Option<String>,
    conflicts: Option<String>,
    conflicts_arch: Option<String>,
    conflicts_indep: Option<String>,
}

impl Relations {
    /// The dependencies that a build of this kind needs.
    pub fn depends(&self, kind: BuildKind) -> Vec<&str> {
        Self::pick(kind, &self.depends, &self.depends_arch, &self.depends_indep)
    }

    /// The packages that must not be there for a build of this kind.
    pub fn conflicts(&self, kind: BuildKind) -> Vec<&str> {
        Self::pick(kind, &self.conflicts, &self.conflicts_arch, &self.conflicts_indep)
    }

    fn pick<'a>(
        kind: BuildKind,
        always: &'a Option<String>,
        arch: &'a Option<String>,
        indep: &'a Option<String>,
    ) -> Vec<&'a str> {
        let (with_arch, with_indep) = match kind {
            BuildKind::Full | BuildKind::Binary => (true, true),
            BuildKind::Any => (true, false),
            BuildKind::All => (false, true),
            BuildKind::Source => return Vec::new(),
        };
        always
            .iter()
            .chain(arch.iter().filter(|_| with_arch))
            .chain(indep.iter().filter(|_| with_indep))
            .map(String::as_str)
            .collect()
    }
}

/// A version by the grammar of deb-version(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    text: String,
}

impl Version {
    /// Parses a version, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = |why: &str| Err(format!("the version `{}` {why}", text.escape_debug()));
        let rest = match text.split_once(':') {
            Some((epoch, rest)) => {
                if epoch.is_empty() || !epoch.bytes().all(|b| b.is_ascii_digit()) {
                    return fault("has an epoch that is not a number");
                }
                rest
            }
            None => text,
        };
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return fault("does not start with a digit");
        }
        if let Some(bad) = rest
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '+' | '-' | '~'))
        {
            return fault(&format!("contains `{}`", bad.escape_debug()));
        }
        if rest.ends_with('-') {
            return fault("has an empty revision");
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The whole version.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version without its epoch: what file names carry.
    pub fn without_epoch(&self) -> &str {
        self.text.split_once(':').map_or(self.text.as_str(), |(_, rest)| rest)
    }

    /// The upstream part and the Debian revision, without the epoch.
    pub fn upstream_and_revision(&self) -> (&str, Option<&str>) {
        match self.without_epoch().rsplit_once('-') {
            Some((upstream, revision)) => (upstream, Some(revision)),
            None => (self.without_epoch(), None),
        }
    }
}

impl SourcePackage {
    /// Reads a package off the texts of `debian/control`, `debian/changelog` and `debian/source/format`.
    pub fn parse(control: &str, changelog: &str, format: Option<&str>) -> Result<Self, String> {
        let fields = first_paragraph(control);
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        let name = field("Source").ok_or("debian/control has no Source field in its first paragraph")?;
        if !is_package_name(&name) {
            return Err(format!(
                "debian/control names the source `{}`, which is not a package name",
                name.escape_debug()
            ));
        }
        let entry = newest_entry(changelog)?;
        if entry.name != name {
            return Err(format!(
                "debian/changelog is about `{}` and debian/control about `{name}`",
                entry.name
            ));
        }
        Ok(Self {
            name,
            version: entry.version,
            distribution: entry.distribution,
            format: match format.map(|text| text.lines().next().unwrap_or("").trim()) {
                None | Some("1.0") => Format::One,
                Some("3.0 (quilt)") => Format::Quilt,
                Some("3.0 (native)") => Format::Native,
                Some(other) => Format::Other(other.to_owned()),
            },
            relations: Relations {
                depends: field("Build-Depends"),
                depends_arch: field("Build-Depends-Arch"),
                depends_indep: field("Build-Depends-Indep"),
                conflicts: field("Build-Conflicts"),
                conflicts_arch: field("Build-Conflicts-Arch"),
                conflicts_indep: field("Build-Conflicts-Indep"),
            },
        })
    }

    /// The stem of the upstream tarball's name that dpkg-source looks for, for a package that needs one.
    pub fn upstream_stem(&self) -> Option<String> {
        let (upstream, revision) = self.version.upstream_and_revision();
        (self.format == Format::Quilt && revision.is_some()).then(|| format!("{}_{upstream}.orig", self.name))
    }

    /// What the names of this build's `.dsc`, `.changes` and `.buildinfo` start with.
    pub fn file_stem(&self) -> String {
        format!("{}_{}", self.name, self.version.without_epoch())
    }
}

struct Entry {
    name: String,
    version: Version,
    distribution: String,
}

/// The head of the changelog's first entry: `name (version) distribution; urgency=...`.
fn newest_entry(changelog: &str) -> Result<Entry, String> {
    let line = changelog
        .lines()
        .find(|line| !line.trim().is_empty())
        .ok_or("debian/changelog is empty")?;
    let malformed = || {
        let shown: String = line.chars().take(80).collect();
        format!(
            "the first line of debian/changelog is `{}`, expected `name (version) distribution; urgency=medium`",
            shown.escape_debug()
        )
    };
    let (name, rest) = line.split_once(" (").ok_or_else(malformed)?;
    let (version, rest) = rest.split_once(')').ok_or_else(malformed)?;
    let (distribution, _) = rest.split_once(';').ok_or_else(malformed)?;
    let distribution = distribution.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+' | '~' | '_' | ' ' | '/');
    if !is_package_name(name) || distribution.is_empty() || !distribution.chars().all(plain) {
        return Err(malformed());
    }
    Ok(Entry {
        name: name.to_owned(),
        version: Version::parse(version).map_err(|why| format!("debian/changelog: {why}"))?,
        distribution: distribution.to_owned(),
    })
}

/// Whether a text is the name of a package: two characters or more of `a-z0-9+.-`, the first a letter or digit.
pub(super) fn is_package_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
}

/// The fields of a deb822 file's first paragraph, with folded values joined by spaces and comments dropped.
pub(super) fn first_paragraph(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if fields.is_empty() {
                continue;
            }
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &str = "\n# a comment\nSource: hello\nBuild-Depends: debhelper-compat (= 13),\n# no\n cmake,\nBuild-Depends-Indep: doxygen\nBuild-Conflicts: bad\n\nPackage: hello\nBuild-Depends: nope\n";
    const CHANGELOG: &str = "\nhello (2:1.0-rc1-3) unstable; urgency=medium\n\n  * Something.\n";

    #[test]
    fn a_tree_is_read() {
        let package = SourcePackage::parse(CONTROL, CHANGELOG, Some("3.0 (quilt)\n")).unwrap();
        assert_eq!(package.version.as_str(), "2:1.0-rc1-3");
        assert_eq!(package.version.upstream_and_revision(), ("1.0-rc1", Some("3")));
        assert_eq!(package.upstream_stem().as_deref(), Some("hello_1.0-rc1.orig"));
        assert_eq!(package.file_stem(), "hello_1.0-rc1-3");
        assert_eq!(package.distribution, "unstable");
    }

    #[test]
    fn relations_follow_the_kind() {
        let package = SourcePackage::parse(CONTROL, CHANGELOG, None).unwrap();
        let depends = |kind| package.relations.depends(kind);
        assert_eq!(depends(BuildKind::Full), ["debhelper-compat (= 13), cmake,", "doxygen"]);
        assert_eq!(depends(BuildKind::Any), ["debhelper-compat (= 13), cmake,"]);
        assert_eq!(depends(BuildKind::Source), Vec::<&str>::new());
        assert_eq!(package.relations.conflicts(BuildKind::All), ["bad"]);
    }

    #[test]
    fn a_version_that_climbs_out_of_its_directory_is_refused() {
        for text in [
            "../1",
            "1/../../etc",
            "1.0-..%2f",
            "1 0",
            "1\n0",
            "a1",
            "",
            "1:",
            "x:1",
            "1-",
        ] {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_climbs_out_of_its_directory_is_refused() {
        let changelog = "../x (1) unstable; urgency=low\n";
        assert!(SourcePackage::parse("Source: ../x\n", changelog, None).is_err());
        assert!(SourcePackage::parse("Source: x1\n", changelog, None).is_err());
    }

    #[test]
    fn the_error_quotes_the_line_that_is_wrong() {
        let why = SourcePackage::parse(CONTROL, "hello 1.0 unstable\n", None).unwrap_err();
        assert!(why.contains("`hello 1.0 unstable`, expected `name (version)"), "{why}");
        let why = SourcePackage::parse(CONTROL, "other (1) sid; urgency=low\n", None).unwrap_err();
        assert!(why.contains("about `other`") && why.contains("about `hello`"), "{why}");
    }
}
