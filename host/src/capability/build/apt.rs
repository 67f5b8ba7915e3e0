//! What apt is told: where packages come from, and how to behave in a sandbox. Pure text in, text out.
//!
//! Mirrors, proxies and keys are the machine's own: they are read from its configuration and never invented here.

use super::package::is_package_name;

/// Puts the machine's habits aside (hooks, caches, recommendations) and says how to work unattended.
const BEHAVIOUR: &str = r#"
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Tools::Options;
#clear Acquire::IndexTargets;
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::Packages::MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
Acquire::IndexTargets::deb::Packages::flatMetaKey "Packages";
Acquire::IndexTargets::deb::Packages::ShortDescription "Packages";
Acquire::IndexTargets::deb::Packages::Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
Acquire::IndexTargets::deb::Packages::flatDescription "$(RELEASE) Packages";
Acquire::IndexTargets::deb::Packages::Optional "0";
DPkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; };
Dpkg::Progress-Fancy "0";
Dpkg::Use-Pty "0";
"#;

/// The content of an apt.conf that comes after the machine's own settings `own`.
pub(super) fn configuration(own: &str) -> String {
    format!("{own}\n{BEHAVIOUR}")
}

/// Of `apt-config dump`, the lines that say how this machine reaches its mirrors.
pub(super) fn transport(dump: &str) -> String {
    const KEPT: [&str; 7] = [
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::ftp::",
        "Acquire::tor::",
        "Acquire::Check-",
        "Acquire::Force",
        "Acquire::proxy",
    ];
    dump.lines()
        .filter(|line| {
            KEPT.iter()
                .any(|kept| line.to_ascii_lowercase().starts_with(&kept.to_ascii_lowercase()))
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// One place that packages come from, as a deb822 stanza has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    types: Vec<String>,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// All else, by name: `Signed-By`, `Trusted`, `Architectures`...
    options: Vec<(String, String)>,
}

impl Source {
    /// Parses an APT source, a line or a stanza, and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let source = if text.starts_with("deb ") || text.starts_with("deb\t") || text.starts_with("deb-src") {
            Self::parse_line(text)
        } else {
            Self::parse_stanza(text)
        };
        source.ok_or_else(|| {
            format!(
                "`{}` is no APT source (expected `deb URI SUITE COMPONENT...`, or a stanza with Types, URIs and Suites)",
                text.escape_debug()
            )
        })
    }

    fn parse_line(line: &str) -> Option<Self> {
        let line = line.split('#').next()?.trim();
        if line.contains('\n') {
            return None;
        }
        let (kind, rest) = line.split_once([' ', '\t'])?;
        if kind != "deb" && kind != "deb-src" {
            return None;
        }
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (uri, suite) = (words.next()?, words.next()?);
        let options = options
            .split_whitespace()
            .map(|pair| {
                let (key, value) = pair.split_once('=')?;
                let name = match key.trim_end_matches(['+', '-']) {
                    "arch" => "Architectures",
                    "signed-by" => "Signed-By",
                    "lang" => "Languages",
                    "trusted" => "Trusted",
                    other => other,
                };
                Some((name.to_owned(), value.replace(',', " ")))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            types: vec![kind.to_owned()],
            uris: vec![uri],
            suites: vec![suite],
            components: words.collect(),
            options,
        })
    }

    fn parse_stanza(text: &str) -> Option<Self> {
        let mut source = Self::default();
        for (name, value) in fields(text) {
            let words = || value.split_whitespace().map(str::to_owned).collect();
            match name.to_ascii_lowercase().as_str() {
                "types" => source.types = words(),
                "uris" => source.uris = words(),
                "suites" => source.suites = words(),
                "components" => source.components = words(),
                "enabled" if value.trim().eq_ignore_ascii_case("no") => return None,
                "enabled" => {}
                _ => source.options.push((name, value)),
            }
        }
        let complete = !source.types.is_empty() && !source.uris.is_empty() && !source.suites.is_empty();
        complete.then_some(source)
    }

    /// Every source of a configuration file, of either format. What is switched off or malformed is left out, as
    /// apt itself would say so before we do.
    pub fn parse_file(text: &str, is_deb822: bool) -> Vec<Self> {
        if is_deb822 {
            paragraphs(text)
                .iter()
                .filter_map(|one| Self::parse_stanza(one))
                .collect()
        } else {
            text.lines().filter_map(|line| Self::parse_line(line.trim())).collect()
        }
    }

    /// Trusts these key files for this source, unless it says itself what to trust.
    #[must_use]
    pub fn signed_by(mut self, keyrings: &[String]) -> Self {
        let says = |name: &str| self.options.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        if !keyrings.is_empty() && !says("Signed-By") {
            self.options.push(("Signed-By".to_owned(), keyrings.join(" ")));
        }
        self
    }

    /// This source for another suite: `bookworm-updates` becomes `trixie-updates`. None where it isn't about `from`.
    pub fn for_suite(&self, from: &str, to: &str) -> Option<Self> {
        // What never stops being developed has no updates beside it.
        let rolling = matches!(to, "sid" | "unstable" | "experimental");
        let suites: Vec<String> = self
            .suites
            .iter()
            .filter_map(|suite| {
                let rest = suite.strip_prefix(from)?;
                let pocket = rest.starts_with(['-', '/']);
                ((rest.is_empty() || pocket) && !(rolling && pocket)).then(|| format!("{to}{rest}"))
            })
            .collect();
        (!suites.is_empty()).then(|| Self { suites, ..self.clone() })
    }

    /// The files that this source's signatures are checked against.
    pub fn key_files(&self) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("Signed-By"))
            .flat_map(|(_, value)| value.split_whitespace())
            .filter(|word| word.starts_with('/'))
    }

    /// Where it is.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Its suites, or for a flat source the directories below its URIs.
    pub fn suites(&self) -> &[String] {
        &self.suites
    }

    /// Its components: none of a flat source.
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// All else that it says, by names as they were written.
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// Whether binary packages come from it.
    pub fn has_packages(&self) -> bool {
        self.types.iter().any(|kind| kind == "deb")
    }

    /// The source as a stanza.
    pub fn stanza(&self) -> String {
        let mut text = format!(
            "Types: {}\nURIs: {}\nSuites: {}\n",
            self.types.join(" "),
            self.uris.join(" "),
            self.suites.join(" ")
        );
        if !self.components.is_empty() {
            text.push_str(&format!("Components: {}\n", self.components.join(" ")));
        }
        for (name, value) in &self.options {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }
}

/// The arguments of `apt-get satisfy` for these relations.
pub(super) fn satisfy(depends: &[&str], conflicts: &[&str]) -> Vec<String> {
    let mut out = vec!["build-essential".to_owned(), "fakeroot".to_owned()];
    let clean = |text: &&&str| !text.trim_matches([',', ' ']).is_empty();
    out.extend(
        depends
            .iter()
            .filter(clean)
            .map(|text| text.trim_matches([',', ' ']).to_owned()),
    );
    out.extend(
        conflicts
            .iter()
            .filter(clean)
            .map(|text| format!("Conflicts: {}", text.trim_matches([',', ' ']))),
    );
    out
}

/// The packages that apt's complaints name: ` x : Depends: y (>= 1) but it is not installable`, and the like.
pub(super) fn complaint(line: &str) -> Option<String> {
    let line = line.trim();
    let rest = match line.strip_prefix("E: ") {
        Some(rest) => {
            let telling = [
                "Unable to locate package",
                "Unable to correct",
                "Unable to satisfy",
                "Failed to fetch",
                "is not signed",
                "does not have a Release file",
            ];
            return telling.iter().any(|text| rest.contains(text)).then(|| rest.to_owned());
        }
        None => line.split_once("Depends: ")?.1,
    };
    let name = rest.split([' ', ':']).next()?;
    (is_package_name(name) && rest.contains(" but ")).then(|| rest.to_owned())
}

/// The paragraphs of a deb822 file.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all.retain(|one| !one.is_empty());
    all
}

/// The fields of a stanza, where a folded value keeps its lines: an embedded key needs them.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
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

    const LINE: &str =
        "deb [arch=amd64,i386 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # mine";

    #[test]
    fn a_line_and_its_stanza_are_the_same() {
        let line = Source::parse(LINE).unwrap();
        let stanza = line.stanza();
        assert_eq!(
            stanza,
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main contrib\nArchitectures: amd64 i386\nSigned-By: /k.gpg\n"
        );
        assert_eq!(Source::parse(&stanza).unwrap(), line);
        assert_eq!(line.key_files().collect::<Vec<_>>(), ["/k.gpg"]);
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "deb",
            "deb http://x",
            "http://x main",
            "deb http://x sid main\ndeb http://y sid main",
            "Types: deb\nSuites: x",
        ] {
            assert!(Source::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_source_moves_to_another_suite_with_its_pockets() {
        let file = "Types: deb\nURIs: http://m\nSuites: bookworm bookworm-updates bookworm-backports-sloppy other\nComponents: main\n\nTypes: deb\nURIs: http://s\nSuites: bookworm-security\n\nEnabled: no\nTypes: deb\nURIs: http://o\nSuites: bookworm\n";
        let sources = Source::parse_file(file, true);
        let moved = |to: &str| -> Vec<Vec<String>> {
            sources
                .iter()
                .filter_map(|one| one.for_suite("bookworm", to))
                .map(|one| one.suites)
                .collect()
        };
        assert_eq!(
            moved("trixie"),
            [
                vec!["trixie", "trixie-updates", "trixie-backports-sloppy"],
                vec!["trixie-security"]
            ]
        );
        assert_eq!(moved("sid"), [["sid"]]);
    }

    #[test]
    fn a_keyring_is_trusted_for_the_source_that_has_none_of_its_own() {
        let keys = ["/a".to_owned(), "/b".to_owned()];
        let plain = Source::parse("deb http://x y z").unwrap().signed_by(&keys);
        assert!(plain.stanza().contains("Signed-By: /a /b\n"));
        let own = Source::parse(LINE).unwrap().signed_by(&keys);
        assert!(own.stanza().contains("Signed-By: /k.gpg\n"));
    }

    #[test]
    fn an_embedded_key_keeps_its_lines() {
        let text = "Types: deb\nURIs: http://x\nSuites: y\nSigned-By:\n -----BEGIN\n .\n abc\n";
        assert!(
            Source::parse(text)
                .unwrap()
                .stanza()
                .ends_with("Signed-By: \n -----BEGIN\n .\n abc\n")
        );
    }

    #[test]
    fn complaints_of_apt_are_told_from_its_talk() {
        assert_eq!(
            complaint(" satisfy:command-line : Depends: nowhere (>= 1) but it is not installable").as_deref(),
            Some("nowhere (>= 1) but it is not installable")
        );
        assert_eq!(complaint("Reading package lists..."), None);
        assert_eq!(complaint("Depends: x, y"), None);
    }

    #[test]
    fn only_the_transport_of_the_machines_apt_is_taken() {
        let dump = "APT \"\";\nAcquire::http::Proxy \"http://p:3128\";\nAcquire::Check-Date \"false\";\nDPkg::Post-Invoke:: \"rm -f x\";\nAcquire::IndexTargets \"\";\n";
        assert_eq!(
            transport(dump),
            "Acquire::http::Proxy \"http://p:3128\";\nAcquire::Check-Date \"false\";\n"
        );
    }
}
