//! The repository's page for people: which suites there are, what is in them, and how to use them. Plain HTML; it needs no
//! script, and nothing from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::Transaction;
use crate::index::IndexName;
use crate::release::Release;

/// Where it is.
pub const FILE: &str = "index.html";

/// By this we know a page of ours; another one is its owner's.
const MARK: &str = "<meta name=\"generator\" content=\"Foundry\">";

/// Bytes of a suite's largest index up to which its packages are on the page.
const LISTED: u64 = 256 * 1024;

/// Where it is written down what the page says that no suite does.
const RECORD: &str = ".foundry/page.json";

/// Where each suite's records are. Every suite that Foundry has written has some.
const SUITES: &str = ".foundry/suites";

/// Stands for the repository's address where nobody has given one.
const NO_ADDRESS: &str = "ADDRESS-OF-THIS-PAGE/";

/// What the page says that no suite does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The repository's name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// Where clients find it, if the operator has said so: the page can't know by which address it is read.
    pub uri: Option<String>,
}

impl Record {
    /// The record of the page that is there; none if there is none.
    ///
    /// # Errors
    /// The host's.
    pub fn read(transaction: &dyn Transaction) -> Result<Option<Self>, Failure> {
        let json = transaction.read(RECORD)?;
        // One that can't be read is written anew with the next publication.
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Bring the page up to date, unless its owner made one. True if it changes.
    ///
    /// All suites of the repository are on it, whoever publishes in them, but those that can't be read. `changed` names
    /// those that the transaction may make: they are not in the repository's records yet.
    ///
    /// # Errors
    /// [`Failure`] if a suite of `changed` can't be read.
    pub fn update(&self, transaction: &dyn Transaction, fingerprint: &str, changed: &[&str]) -> Result<bool, Failure> {
        let there = transaction.read(FILE)?;
        if there.as_deref().is_some_and(is_foreign) {
            return Ok(false);
        }
        // By name, so that several writers make one and the same page.
        let mut codenames: BTreeSet<_> = changed.iter().map(|codename| (*codename).to_owned()).collect();
        codenames.extend(transaction.list(SUITES)?.iter().filter_map(|path| codename_of(path)));
        let mut suites = Vec::new();
        for codename in codenames {
            match Suite::read(transaction, &codename) {
                // What is damaged elsewhere must not keep this suite from being published.
                Err(Failure::Repository(_)) if !changed.contains(&codename.as_str()) => {}
                suite => suites.extend(suite?),
            }
        }
        let html = Page {
            name: &self.name,
            description: &self.description,
            uri: self.uri.as_deref(),
            fingerprint,
            suites,
        }
        .html();
        let json = serde_json::to_vec(self).map_err(|error| Failure::Later(error.to_string()))?;
        let mut changes = false;
        for (path, before, now) in [
            (FILE, there, html.into_bytes()),
            (RECORD, transaction.read(RECORD)?, json),
        ] {
            if before.as_ref() != Some(&now) {
                transaction.write(path, &now)?;
                changes = true;
            }
        }
        Ok(changes)
    }
}

/// The suite whose records are in a file; snapshots of suites lie deeper.
fn codename_of(path: &str) -> Option<String> {
    let name = path.strip_prefix(SUITES)?.strip_prefix('/')?.strip_suffix(".json")?;
    (!name.contains('/')).then(|| name.to_owned())
}

/// What is on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<'a> {
    /// The repository's name.
    pub name: &'a str,
    /// One line about it.
    pub description: &'a str,
    /// Where clients find it, with a slash at its end.
    pub uri: Option<&'a str>,
    /// The fingerprint of its key.
    pub fingerprint: &'a str,
    /// Its suites.
    pub suites: Vec<Suite>,
}

/// A suite on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    release: Release,
    /// Versions and architectures by name; none if there are too many.
    packages: Option<BTreeMap<String, Vec<(String, String)>>>,
}

impl Suite {
    /// A suite as it is after the transaction; none if there is none.
    ///
    /// # Errors
    /// [`Failure`] if it can't be read.
    pub fn read(transaction: &dyn Transaction, codename: &str) -> Result<Option<Self>, Failure> {
        let existing = Existing::read(transaction, codename)?;
        let Some(release) = existing.release.clone() else {
            return Ok(None);
        };
        let indices = release
            .files
            .iter()
            .filter_map(|(path, listed)| Some((IndexName::from_path(path)?, listed.size)));
        let mut packages: Option<BTreeMap<String, Vec<(String, String)>>> = Some(BTreeMap::new());
        for (name, size) in indices {
            if size > LISTED {
                packages = None;
            }
            let Some(packages) = &mut packages else { break };
            for entry in existing.index(&name)?.unwrap_or_default().take() {
                let versions = packages.entry(entry.package).or_default();
                let version = (entry.version, entry.architecture);
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
        }
        Ok(Some(Self { release, packages }))
    }

    fn name(&self) -> &str {
        &self.release.codename
    }
}

/// Whether a page is there that someone else made.
#[must_use]
pub fn is_foreign(page: &[u8]) -> bool {
    !String::from_utf8_lossy(page).contains(MARK)
}

impl Page<'_> {
    /// Its HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escape(self.name);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n{MARK}\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<h1>{title}</h1>\n<p>{}</p>\n",
            escape(self.description)
        );
        html += "<h2>Use it</h2>\n";
        let uri = self.uri.unwrap_or(NO_ADDRESS);
        if self.uri.is_none() {
            let address = NO_ADDRESS.trim_end_matches('/');
            // Writing to a String cannot fail.
            let _ = writeln!(
                html,
                "<p id=\"address\">Write the address of this page, without <code>{FILE}</code>, where it says \
                 <code>{address}</code>. (Whoever runs the repository can have it written here, with distbot's option \
                 <code>--url</code>.)</p>"
            );
        }
        let _ = write!(
            html,
            "<p>Get its <a href=\"key.asc\">key</a>, <code>{}</code>:</p>\n<pre id=\"key\">{}</pre>\n",
            escape(self.fingerprint),
            escape(&format!("sudo curl --fail --output {} {uri}key.asc", self.keyring()))
        );
        for suite in &self.suites {
            let components = suite.release.components.join(" ");
            let codename = suite.name();
            let _ = write!(
                html,
                "<h2 id=\"{0}\">{0}</h2>\n<p>{1}; {2}</p>\n<p>In <code>/etc/apt/sources.list.d/{3}-{0}.sources</code>:</p>\n<pre \
                 class=\"deb822\">{4}</pre>\n<p>or, in one line, in <code>{3}-{0}.list</code>:</p>\n<pre \
                 class=\"line\">{5}</pre>\n",
                escape(codename),
                escape(&components),
                escape(&suite.release.architectures.join(" ")),
                escape(&file_name(self.name)),
                escape(&format!(
                    "Types: deb deb-src\nURIs: {uri}\nSuites: {codename}\nComponents: {components}\nSigned-By: {}",
                    self.keyring()
                )),
                escape(&format!(
                    "deb [signed-by={}] {uri} {codename} {components}",
                    self.keyring()
                ))
            );
            html += &table(suite);
        }
        html + "</body>\n</html>\n"
    }

    fn keyring(&self) -> String {
        format!("/etc/apt/keyrings/{}.asc", file_name(self.name))
    }
}

fn table(suite: &Suite) -> String {
    let Some(packages) = &suite.packages else {
        return "<p>It has too many packages for this page; <code>apt list</code> shows them.</p>\n".to_owned();
    };
    if packages.is_empty() {
        return "<p>It has no packages yet.</p>\n".to_owned();
    }
    let mut html = "<table>\n<tr><th>Package</th><th>Version</th><th>Architecture</th></tr>\n".to_owned();
    for (package, versions) in packages {
        for (version, architecture) in versions {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(package),
                escape(version),
                escape(architecture)
            );
        }
    }
    html + "</table>\n"
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
                     pre{background:#8881;padding:.5rem 1rem;overflow-x:auto}th,td{padding:.1rem 1.5rem .1rem 0;text-align:left}\
                     :root{color-scheme:light dark}";

/// A repository's name as the name of a file.
fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '-'
        }
    };
    name.chars()
        .map(plain)
        .collect::<String>()
        .trim_matches(['.', '-'])
        .to_owned()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(codename: &str, packages: &[(&str, &str, &str)]) -> Suite {
        let packages = packages.iter().map(|(package, version, architecture)| {
            let versions = vec![((*version).to_owned(), (*architecture).to_owned())];
            ((*package).to_owned(), versions)
        });
        Suite {
            release: Release {
                codename: codename.to_owned(),
                components: vec!["main".to_owned()],
                ..Release::default()
            },
            packages: Some(packages.collect()),
        }
    }

    fn page(description: &str) -> String {
        Page {
            name: "deb.example.org",
            description,
            uri: Some("https://deb.example.org/"),
            fingerprint: "ABCD",
            suites: vec![suite("stable", &[("hello", "1.0-1", "amd64")])],
        }
        .html()
    }

    #[test]
    fn it_says_how_to_use_a_suite_and_what_is_in_it() {
        let html = page("Ours");
        for part in [
            "<pre class=\"deb822\">Types: deb deb-src\nURIs: https://deb.example.org/\nSuites: stable\nComponents: main\nSigned-By: \
             /etc/apt/keyrings/deb.example.org.asc</pre>",
            "deb [signed-by=/etc/apt/keyrings/deb.example.org.asc] https://deb.example.org/ stable main</pre>",
            "<tr><td>hello</td><td>1.0-1</td><td>amd64</td></tr>",
        ] {
            assert!(html.contains(part), "{html}");
        }
        assert!(!is_foreign(html.as_bytes()));
        assert!(is_foreign(b"<h1>My own page</h1>"));
    }

    #[test]
    fn without_an_address_it_says_where_to_write_it_and_who_can_give_it() {
        let html = Page {
            name: "example",
            description: "Ours",
            uri: None,
            fingerprint: "ABCD",
            suites: vec![suite("stable", &[])],
        }
        .html();
        assert!(!html.contains("https://"), "no address is made up: {html}");
        assert!(html.contains("URIs: ADDRESS-OF-THIS-PAGE/\n"), "{html}");
        assert!(
            html.contains("Write the address of this page") && html.contains("<code>--url</code>"),
            "{html}"
        );
        assert!(!page("Ours").contains("ADDRESS-OF-THIS-PAGE"));
    }

    #[test]
    fn an_empty_suite_is_said_to_be_empty() {
        let html = table(&suite("stable", &[]));
        assert_eq!(html, "<p>It has no packages yet.</p>\n");
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let json = r#"{"name":"a","description":"b","uri":"https://a/","suites":["stable"]}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        assert_eq!(record.uri.as_deref(), Some("https://a/"));
        let without = serde_json::to_string(&Record { uri: None, ..record }).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&without).unwrap().uri, None);
    }

    #[test]
    fn suites_are_known_by_their_records() {
        assert_eq!(codename_of(".foundry/suites/stable.json").as_deref(), Some("stable"));
        for other in [
            ".foundry/suites/a/b.json",
            ".foundry/suites/stable",
            ".foundry/page.json",
        ] {
            assert_eq!(codename_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_people_wrote_is_text() {
        let html = page("<script>alert(\"&\")</script>");
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;"));
        assert_eq!(file_name("My packages/../x"), "My-packages-..-x");
    }
}
