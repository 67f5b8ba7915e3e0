//! Descriptions apart from the index: `Packages` has the first line of each, and a digest by which `Translation-en` has all of
//! it, once for all versions and architectures that say the same.
//!
//! A package is *whole* with its description in its own paragraph, and *apart* without. Only what is published is apart:
//! whoever looks at a suite sees packages whole, wherever their descriptions are.

use std::collections::BTreeMap;
use std::fmt;

use crate::host::NewPiece;
use crate::index::{Entry, Index, IndexName};
use crate::pieces::TARGET;

/// The field with the digest of a description.
const DIGEST: &str = "Description-md5";

/// The list of a component's descriptions: `main/i18n/Translation-en`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TranslationName {
    component: String,
}

impl TranslationName {
    /// The list that an index's packages are in; none for sources and for the installer's packages.
    #[must_use]
    pub fn of(index: &IndexName) -> Option<Self> {
        match index {
            IndexName::Binary {
                component,
                installer: false,
                ..
            } => Some(Self {
                component: component.clone(),
            }),
            _ => None,
        }
    }

    /// Whether a path below `dists/<codename>` is a list, or a compressed one.
    #[must_use]
    pub fn is_one(path: &str) -> bool {
        let file = path.split_once("/i18n/").map(|(_, file)| file);
        file.is_some_and(|file| file.split('.').next() == Some("Translation-en"))
    }
}

impl fmt::Display for TranslationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/i18n/Translation-en", self.component)
    }
}

/// By what a description is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// The package's name.
    pub package: String,
    /// MD5 of the description with a newline at its end, in hex. It names, and protects nothing.
    pub md5: String,
}

impl Topic {
    /// That of a package whose description is apart; none of one that is whole, or has none.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        Some(Self {
            package: entry.package.clone(),
            md5: entry.field(DIGEST)?.to_owned(),
        })
    }
}

/// Descriptions, as fields have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptions {
    /// Sorted.
    pub texts: BTreeMap<Topic, String>,
}

impl Descriptions {
    /// Those of a list. What isn't one is left out: it is a list for people, which no package depends on.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let described = text.split("\n\n").filter_map(|paragraph| {
            let fields = fields(paragraph.trim_start_matches('\n'));
            let value = |name| fields.iter().find_map(|field| value(field, name));
            let (package, md5) = (value("Package")?.to_owned(), value(DIGEST)?.to_owned());
            Some((Topic { package, md5 }, value("Description-en")?.to_owned()))
        });
        Self {
            texts: described.collect(),
        }
    }

    /// Packages with the descriptions that are known.
    #[must_use]
    pub fn join(&self, index: Index) -> Index {
        index.map(
            |entry| match Topic::of(&entry).and_then(|topic| self.texts.get(&topic)) {
                Some(description) => whole(entry, description),
                None => entry,
            },
        )
    }

    /// Packages as they are published with their descriptions apart. Those are kept; `md5` makes digests in hex.
    #[must_use]
    pub fn split(&mut self, entry: Entry, md5: impl Fn(&str) -> String) -> Entry {
        let fields = fields(&entry.text);
        let Some(description) = fields.iter().find_map(|field| value(field, "Description")) else {
            return entry;
        };
        let short = description.lines().next().unwrap_or_default();
        // It came from where it was apart already, and what it was is not known.
        if Topic::of(&entry).is_some() && short == description {
            return entry;
        }
        let md5 = md5(&format!("{description}\n"));
        let text = replace(&entry.text, &format!("Description: {short}\n{DIGEST}: {md5}\n"));
        let package = entry.package.clone();
        self.texts.insert(Topic { package, md5 }, description.to_owned());
        Entry { text, ..entry }
    }

    /// The pieces of the whole list. All descriptions of a package are in one.
    #[must_use]
    pub fn cut(&self) -> Vec<NewPiece> {
        let written: Vec<_> = self
            .texts
            .iter()
            .map(|(Topic { package, md5 }, description)| {
                let text = format!("Package: {package}\n{DIGEST}: {md5}\nDescription-en: {description}\n\n");
                (package, text)
            })
            .collect();
        let total: usize = written.iter().map(|(_, text)| text.len()).sum();
        // One that is touched again and again is not cut again and again.
        let limit = if total <= 2 * TARGET { 2 * TARGET } else { TARGET };
        let mut pieces: Vec<NewPiece> = Vec::new();
        let mut last = None;
        for (package, text) in written {
            match pieces.last_mut() {
                Some(piece) if last == Some(package) || piece.text.len() < limit => piece.text.push_str(&text),
                _ => pieces.push(NewPiece {
                    label: package.clone(),
                    text,
                }),
            }
            last = Some(package);
        }
        pieces
    }
}

/// A package with its description.
#[must_use]
pub fn whole(entry: Entry, description: &str) -> Entry {
    let text = replace(&entry.text, &format!("Description: {description}\n"));
    Entry { text, ..entry }
}

/// A paragraph with other words for its description and the digest of that.
fn replace(paragraph: &str, description: &str) -> String {
    let kept = fields(paragraph).into_iter().filter_map(|field| {
        if value(field, DIGEST).is_some() {
            None
        } else if value(field, "Description").is_some() {
            Some(description)
        } else {
            Some(field)
        }
    });
    kept.collect()
}

/// The fields of a paragraph, each with all of its lines.
fn fields(paragraph: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for line in paragraph.split_inclusive('\n') {
        if !line.starts_with([' ', '\t']) && end > begin {
            fields.extend(paragraph.get(begin..end));
            begin = end;
        }
        end += line.len();
    }
    fields.extend(paragraph.get(begin..end).filter(|rest| !rest.is_empty()));
    fields
}

/// The value of a field, if that is its name.
fn value<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let (own, value) = field.split_once(':')?;
    let value = value.trim_start_matches([' ', '\t']).trim_end_matches('\n');
    own.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn md5(text: &str) -> String {
        format!("md5-{}", text.len())
    }

    fn entry(fields: &str) -> Entry {
        let text = format!("Package: hello\nVersion: 1\nArchitecture: amd64\nFilename: pool/hello\n{fields}");
        Index::parse(&text).unwrap().take().remove(0)
    }

    #[test]
    fn a_package_says_the_first_line_and_the_list_says_all() {
        let mut descriptions = Descriptions::default();
        let whole = entry("Description: greets\n the world\n .\n  for ever\nHomepage: x\n");
        let apart = descriptions.split(whole.clone(), md5);
        assert!(
            apart
                .text
                .ends_with("Description: greets\nDescription-md5: md5-32\nHomepage: x\n"),
            "{}",
            apart.text
        );
        let list = descriptions.cut();
        assert_eq!(list.len(), 1);
        assert_eq!(
            list[0].text,
            "Package: hello\nDescription-md5: md5-32\nDescription-en: greets\n the world\n .\n  for ever\n\n"
        );
        assert_eq!(Descriptions::parse(&list[0].text), descriptions);
        let index = Index::parse(&apart.text).unwrap();
        assert_eq!(descriptions.join(index).take(), [whole]);
        // To part what is apart changes nothing, and a package without a description has none.
        assert_eq!(descriptions.split(apart.clone(), md5), apart);
        let silent = entry("Homepage: x\n");
        assert_eq!(descriptions.split(silent.clone(), md5), silent);
        assert_eq!(descriptions.texts.len(), 1);
    }

    #[test]
    fn names_of_lists_are_recognised() {
        let index = IndexName::from_path("main/binary-amd64/Packages").unwrap();
        let name = TranslationName::of(&index).unwrap().to_string();
        assert_eq!(name, "main/i18n/Translation-en");
        assert!(TranslationName::is_one(&name) && TranslationName::is_one("main/i18n/Translation-en.gz"));
        assert!(
            !TranslationName::is_one("main/i18n/Translation-en_GB")
                && !TranslationName::is_one("main/x/Translation-en")
        );
        for path in ["main/source/Sources", "main/debian-installer/binary-amd64/Packages"] {
            assert_eq!(TranslationName::of(&IndexName::from_path(path).unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn apart_and_joined_it_is_what_it_was(
            first in "[a-z:]([a-z: ]{0,5}[a-z:])?", more in prop::collection::vec("( [^\\pC\n]{0,8}[a-z.])", 0..4),
        ) {
            let more: String = more.iter().map(|line| format!("\n{line}")).collect();
            let whole = entry(&format!("Description: {first}{more}\nTag: x,\n y\n"));
            let mut descriptions = Descriptions::default();
            let apart = descriptions.split(whole.clone(), md5);
            let list: String = descriptions.cut().into_iter().map(|piece| piece.text).collect();
            let read = Descriptions::parse(&list);
            prop_assert_eq!(&read, &descriptions);
            prop_assert_eq!(read.join(Index::parse(&apart.text).unwrap()).take(), [whole]);
        }

        #[test]
        fn any_text_is_read(text in "(\\PC|[\n: ]){0,200}") {
            let _ = Descriptions::parse(&text);
        }
    }
}
