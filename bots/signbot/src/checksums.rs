//! The checksum fields of .changes and .buildinfo files (Debian Policy, section 5.6.21 and 5.6.24).

use std::collections::BTreeMap;

/// What the fields say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    pub md5: String,
    /// Lower-case hex.
    pub sha1: String,
    /// Lower-case hex.
    pub sha256: String,
}

/// The same control file, with the checksums and sizes of files that have changed since. All else stays as it is, to
/// the byte.
pub fn update(text: &str, changed: &BTreeMap<String, Checksums>) -> String {
    let mut updated = String::with_capacity(text.len());
    for line in lines(text) {
        match line.listing().and_then(|listing| listing.updated(changed)) {
            Some(new) => updated += &new,
            None => updated += line.text,
        }
    }
    updated
}

/// Why a control file does not describe a build's files: the first that it says something else of.
///
/// `known` has the size and SHA-256 of the build's files. With `complete` it must know all of those that are listed.
pub fn contradiction(text: &str, known: &BTreeMap<String, (u64, String)>, complete: bool) -> Option<String> {
    lines(text).find_map(|line| {
        let Listing {
            kind,
            digest,
            size,
            name,
            ..
        } = line.listing()?;
        match known.get(name) {
            None if complete => Some(format!("it lists {name}, which is not among the build's files")),
            None => None,
            Some((known_size, _)) if size.parse() != Ok(*known_size) => {
                Some(format!("it says that {name} has {size} bytes, and it has {known_size}"))
            }
            Some((_, sha256)) if kind == Kind::Sha256 && digest != sha256 => {
                Some(format!("the SHA-256 that it gives of {name} is not that of the file"))
            }
            Some(_) => None,
        }
    })
}

/// Which digest a field gives of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `Files` gives the section and priority as well.
    Md5,
    Sha1,
    Sha256,
}

impl Kind {
    fn of_field(name: &str) -> Option<Self> {
        match name.trim_end().to_ascii_lowercase().as_str() {
            "files" | "checksums-md5" => Some(Self::Md5),
            "checksums-sha1" => Some(Self::Sha1),
            "checksums-sha256" => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// A line, and the field with checksums that it continues, if any.
struct Line<'a> {
    text: &'a str,
    kind: Option<Kind>,
}

/// What a line says of a file: `digest size [section priority] name`.
struct Listing<'a> {
    kind: Kind,
    digest: &'a str,
    size: &'a str,
    between: Vec<&'a str>,
    name: &'a str,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut kind = None;
    text.split_inclusive('\n').map(move |text| {
        if text.starts_with([' ', '\t']) {
            return Line { text, kind };
        }
        kind = text.split_once(':').and_then(|(field, _)| Kind::of_field(field));
        Line { text, kind: None }
    })
}

impl<'a> Line<'a> {
    fn listing(&self) -> Option<Listing<'a>> {
        let kind = self.kind?;
        let mut words: Vec<&str> = self.text.split_whitespace().collect();
        let name = words.pop()?;
        let mut words = words.into_iter();
        let (digest, size) = (words.next()?, words.next()?);
        Some(Listing {
            kind,
            digest,
            size,
            between: words.collect(),
            name,
        })
    }
}

impl Listing<'_> {
    /// The line for the file as it is now; none if it has not changed.
    fn updated(&self, changed: &BTreeMap<String, Checksums>) -> Option<String> {
        let checksums = changed.get(self.name)?;
        let digest = match self.kind {
            Kind::Md5 => &checksums.md5,
            Kind::Sha1 => &checksums.sha1,
            Kind::Sha256 => &checksums.sha256,
        };
        let mut line = format!(" {digest} {}", checksums.size);
        for word in self.between.iter().chain([&self.name]) {
            line += " ";
            line += word;
        }
        Some(line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: &str = "Format: 1.8\nSource: hello\nDescription:\n hello - says a.deb\n\
        Checksums-Sha1:\n 1111 10 hello.dsc\n 2222 20 a.deb\nChecksums-Sha256:\n 3333 10 hello.dsc\n 4444 20 a.deb\n\
        Files:\n 5555 10 misc optional hello.dsc\n 6666 20 misc optional a.deb\n";

    #[test]
    fn checksums_and_sizes_of_changed_files_are_replaced() {
        let a = Checksums {
            size: 21,
            md5: "m".into(),
            sha1: "s1".into(),
            sha256: "s2".into(),
        };
        let changed = BTreeMap::from([("a.deb".to_owned(), a)]);
        let expected = CHANGES
            .replace("2222 20", "s1 21")
            .replace("4444 20", "s2 21")
            .replace("6666 20", "m 21");
        assert_eq!(update(CHANGES, &changed), expected);
    }

    #[test]
    fn a_file_that_nothing_changed_in_stays_as_it_is() {
        assert_eq!(update(CHANGES, &BTreeMap::new()), CHANGES);
        assert_eq!(
            update("no newline at the end", &BTreeMap::new()),
            "no newline at the end"
        );
    }

    #[test]
    fn a_file_that_is_described_otherwise_is_found() {
        let known = |size, sha256: &str| BTreeMap::from([("a.deb".to_owned(), (size, sha256.to_owned()))]);
        let dsc = ("hello.dsc".to_owned(), (10, "3333".to_owned()));
        let mut all = known(20, "4444");
        all.extend([dsc]);
        assert_eq!(contradiction(CHANGES, &all, true), None);
        assert_eq!(
            contradiction(CHANGES, &known(20, "4444"), false),
            None,
            "a .dsc need not be there"
        );
        let said = |known: &BTreeMap<_, _>, complete| contradiction(CHANGES, known, complete).unwrap();
        assert!(said(&known(20, "4444"), true).contains("hello.dsc"));
        assert!(said(&known(21, "4444"), false).contains("20 bytes"));
        assert!(said(&known(20, "5555"), false).contains("SHA-256"));
    }

    #[test]
    fn fields_are_known_in_any_case_and_lines_may_begin_with_a_tab() {
        let text = "FILES:\n\taaaa 1 x.deb\nOther:\n bbbb 1 x.deb\n";
        let x = Checksums {
            size: 2,
            md5: "cccc".into(),
            sha1: String::new(),
            sha256: String::new(),
        };
        let changed = BTreeMap::from([("x.deb".to_owned(), x)]);
        assert_eq!(update(text, &changed), "FILES:\n cccc 2 x.deb\nOther:\n bbbb 1 x.deb\n");
    }
}
