//! A source package: what its .dsc says, and its paragraph in an index.

use std::collections::BTreeMap;

use crate::host::Digest;

use crate::armour::{self, ArmourError};
use crate::control::{ControlError, Paragraph};
use crate::index::{Entry, IndexName, Key};
use crate::pool;
use crate::syntax::{is_file_name, is_package_name, is_sha256, is_version, without_epoch};

/// Largest .dsc.
pub const MAX_DSC: u64 = 1024 * 1024;

/// More files than any source package has.
const MAX_FILES: usize = 100;

/// Why a source package isn't published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Its signature's frame is broken.
    #[error(transparent)]
    Armour(#[from] ArmourError),
    /// It is no paragraph.
    #[error("it is damaged: {0}")]
    Control(#[from] ControlError),
    /// It isn't text.
    #[error("it is not UTF-8")]
    NotText,
    /// A field isn't as Debian Policy has it.
    #[error("its {field} is {value:?}")]
    BadField {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// It is named as another package or version would be.
    #[error("its fields ask for the name {0}")]
    Misnamed(String),
}

/// A file that a source package consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// SHA-512, lower-case hex, if it was asked for. What the .dsc says of it is not believed unseen.
    pub sha512: Option<String>,
    md5: Option<String>,
}

impl SourceFile {
    /// What the .dsc says of the file that isn't so, and what is; none if all is. An index repeats what it says.
    #[must_use]
    pub fn contradicted(&self, found: &Digest) -> Option<String> {
        let differs = |what: &str, said: &str, is: &str| Some(format!("{what} {said}, and it has {is}"));
        if self.sha256 != found.sha256 {
            return differs("SHA-256", &self.sha256, &found.sha256);
        }
        if self.size != found.size {
            return Some(format!("{} bytes, and it has {}", self.size, found.size));
        }
        let md5 = self.md5.as_ref().filter(|md5| !md5.eq_ignore_ascii_case(&found.md5))?;
        differs("MD5", md5, &found.md5)
    }
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name.
    pub package: String,
    /// Version, with its epoch.
    pub version: String,
    /// The .dsc's name.
    pub dsc: String,
    /// The other files, by name.
    pub files: BTreeMap<String, SourceFile>,
    fields: Paragraph,
}

impl Source {
    /// A source package with this .dsc, in a file of this name.
    ///
    /// # Errors
    /// [`SourceError`] if it isn't sound, or the name isn't the package's.
    pub fn new(dsc: Vec<u8>, file: &str) -> Result<Self, SourceError> {
        let text = String::from_utf8(dsc).map_err(|_| SourceError::NotText)?;
        let fields = Paragraph::parse(&armour::strip(&text)?)?;
        let checked = |field: &'static str, sound: fn(&str) -> bool| {
            let value = fields.require(field)?;
            if sound(value) {
                Ok(value.to_owned())
            } else {
                Err(SourceError::BadField {
                    field,
                    value: value.to_owned(),
                })
            }
        };
        let package = checked("Source", is_package_name)?;
        let version = checked("Version", is_version)?;
        let dsc = format!("{package}_{}.dsc", without_epoch(&version));
        if dsc != file {
            return Err(SourceError::Misnamed(dsc));
        }
        let files = files(&fields, &package)?;
        Ok(Self {
            package,
            version,
            dsc,
            files,
            fields,
        })
    }

    /// By what an index has it.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            package: self.package.clone(),
            version: self.version.clone(),
            architecture: "source".to_owned(),
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self, component: &str) -> String {
        pool::directory(component, &self.package)
    }

    /// Whether an index lists it.
    #[must_use]
    pub fn belongs_to(&self, index: &IndexName) -> bool {
        matches!(index, IndexName::Source { .. })
    }

    /// Its paragraph in an index.
    #[must_use]
    pub fn entry(&self, component: &str, dsc: &Digest) -> Entry {
        let mut paragraph = Paragraph::default();
        paragraph.push("Package", &self.package);
        for field in self.fields.fields() {
            let named = |name: &str| field.name.eq_ignore_ascii_case(name);
            let about_files =
                named("Files") || named("Directory") || field.name.to_ascii_lowercase().starts_with("checksums-");
            if !about_files && !named("Source") && !named("Package") {
                paragraph.push(&field.name, &field.value);
            }
        }
        paragraph.push("Directory", self.directory(component));
        let md5s = self
            .files
            .iter()
            .filter_map(|(name, file)| Some((name, file.size, file.md5.as_ref()?)));
        let sha256s = self.files.iter().map(|(name, file)| (name, file.size, &file.sha256));
        paragraph.push("Files", lines(md5s.chain([(&self.dsc, dsc.size, &dsc.md5)])));
        paragraph.push(
            "Checksums-Sha256",
            lines(sha256s.chain([(&self.dsc, dsc.size, &dsc.sha256)])),
        );
        let sha512s = self
            .files
            .iter()
            .map(|(name, file)| Some((name, file.size, file.sha512.as_ref()?)));
        let own = dsc.sha512.as_ref().map(|sha512| (&self.dsc, dsc.size, sha512));
        // Of all files, or of none.
        let sha512s: Option<Vec<_>> = sha512s.chain([own]).collect();
        if let Some(sha512s) = sha512s {
            paragraph.push("Checksums-Sha512", lines(sha512s.into_iter()));
        }
        Entry {
            package: self.package.clone(),
            version: self.version.clone(),
            architecture: "source".to_owned(),
            sha256: Some(dsc.sha256.clone()),
            text: paragraph.to_string(),
        }
    }
}

fn lines<'a>(files: impl Iterator<Item = (&'a String, u64, &'a String)>) -> String {
    files
        .map(|(name, size, digest)| format!("\n {digest} {size} {name}"))
        .collect()
}

/// What the .dsc says about the other files.
fn files(fields: &Paragraph, package: &str) -> Result<BTreeMap<String, SourceFile>, SourceError> {
    let bad = |field: &'static str, value: &str| SourceError::BadField {
        field,
        value: value.to_owned(),
    };
    let mut files = BTreeMap::new();
    for line in checksums(fields.require("Checksums-Sha256")?) {
        let (sha256, size, name) = listed(line).ok_or_else(|| bad("Checksums-Sha256", line))?;
        // Its own name in front keeps a package from claiming another's files.
        let own = is_file_name(name) && name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_'));
        if !own || !is_sha256(sha256) || name.ends_with(".dsc") || files.len() == MAX_FILES {
            return Err(bad("Checksums-Sha256", line));
        }
        let file = SourceFile {
            size,
            sha256: sha256.to_owned(),
            sha512: None,
            md5: None,
        };
        if files.insert(name.to_owned(), file).is_some() {
            return Err(bad("Checksums-Sha256", line));
        }
    }
    for line in checksums(fields.get("Files").unwrap_or_default()) {
        let file = listed(line).and_then(|(md5, size, name)| {
            let file: &mut SourceFile = files.get_mut(name).filter(|file| file.size == size)?;
            file.md5 = Some(md5.to_owned());
            (md5.len() == 32 && md5.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())
        });
        file.ok_or_else(|| bad("Files", line))?;
    }
    Ok(files)
}

fn checksums(value: &str) -> impl Iterator<Item = &str> {
    value.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Digest, size and name.
fn listed(line: &str) -> Option<(&str, u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let listed = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    words.next().is_none().then_some(listed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dsc() -> String {
        format!(
            "Format: 3.0 (quilt)\nSource: hello\nBinary: hello, libhello1\nArchitecture: any all\nVersion: 1:2.0-1\n\
             Maintainer: A <a@b>\nPackage-List:\n hello deb devel optional arch=any\nChecksums-Sha1:\n \
             0000000000000000000000000000000000000000 5 hello_2.0.orig.tar.gz\nChecksums-Sha256:\n {} 5 \
             hello_2.0.orig.tar.gz\n {} 6 hello_2.0-1.debian.tar.xz\nFiles:\n {} 5 hello_2.0.orig.tar.gz\n {} 6 \
             hello_2.0-1.debian.tar.xz\n",
            "a".repeat(64),
            "b".repeat(64),
            "a".repeat(32),
            "b".repeat(32)
        )
    }

    #[test]
    fn a_paragraph_lists_every_file_with_the_dsc() {
        let source = Source::new(dsc().into_bytes(), "hello_2.0-1.dsc").unwrap();
        let digest = Digest {
            size: 9,
            md5: "m".to_owned(),
            sha256: "s".to_owned(),
            sha512: None,
        };
        assert_eq!(
            source.entry("main", &digest).text,
            format!(
                "Package: hello\nFormat: 3.0 (quilt)\nBinary: hello, libhello1\nArchitecture: any all\nVersion: 1:2.0-1\n\
                 Maintainer: A <a@b>\nPackage-List:\n hello deb devel optional arch=any\nDirectory: pool/main/h/hello\nFiles:\n \
                 {} 6 hello_2.0-1.debian.tar.xz\n {} 5 hello_2.0.orig.tar.gz\n m 9 hello_2.0-1.dsc\nChecksums-Sha256:\n {} 6 \
                 hello_2.0-1.debian.tar.xz\n {} 5 hello_2.0.orig.tar.gz\n s 9 hello_2.0-1.dsc\n",
                "b".repeat(32),
                "a".repeat(32),
                "b".repeat(64),
                "a".repeat(64)
            )
        );
    }

    #[test]
    fn what_is_said_of_a_file_is_compared_with_it() {
        let source = Source::new(dsc().into_bytes(), "hello_2.0-1.dsc").unwrap();
        let said = source.files.get("hello_2.0.orig.tar.gz").unwrap();
        let found = |size, md5: char, sha256: char| Digest {
            size,
            md5: String::from(md5).repeat(32),
            sha256: String::from(sha256).repeat(64),
            sha512: None,
        };
        assert_eq!(said.contradicted(&found(5, 'a', 'a')), None);
        assert_eq!(said.contradicted(&found(6, 'a', 'a')).unwrap(), "5 bytes, and it has 6");
        let md5 = said.contradicted(&found(5, 'b', 'a')).unwrap();
        assert_eq!(md5, format!("MD5 {}, and it has {}", "a".repeat(32), "b".repeat(32)));
        assert!(said.contradicted(&found(5, 'a', 'b')).unwrap().starts_with("SHA-256 "));
    }

    #[test]
    fn files_of_other_packages_and_paths_are_refused() {
        for name in [
            "../x",
            "/etc/passwd",
            "world_1.tar.gz",
            "hello-dev_1.tar.gz",
            "hello_1.dsc",
            "hello_2.0-1.debian.tar.xz",
        ] {
            let changed = dsc().replace("hello_2.0.orig.tar.gz", name);
            assert!(Source::new(changed.into_bytes(), "hello_2.0-1.dsc").is_err(), "{name}");
        }
        for (from, to) in [
            ("aaaa 5 ", "aaaa 6 "),
            ("Checksums-Sha256", "Checksums-Sha512"),
            ("bbbb 6 ", "bbbb six "),
        ] {
            assert!(
                Source::new(dsc().replacen(from, to, 1).into_bytes(), "hello_2.0-1.dsc").is_err(),
                "{from}"
            );
        }
        assert_eq!(
            Source::new(dsc().into_bytes(), "hello_2.0-2.dsc"),
            Err(SourceError::Misnamed("hello_2.0-1.dsc".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Source::new(bytes, "hello_1.dsc");
        }
    }
}
