//! A binary package: what its control file says, and its paragraph in an index.

use crate::host::Digest;

use crate::control::{ControlError, Field, Paragraph};
use crate::index::{Entry, IndexName, Key};
use crate::pool;
use crate::syntax::{is_architecture, is_package_name, is_version, named_source, without_epoch};

/// Fields that describe the file in the repository. A package can't speak for itself there.
const ABOUT_THE_FILE: [&str; 8] = [
    "Filename",
    "Size",
    "MD5sum",
    "SHA1",
    "SHA256",
    "SHA512",
    "Description-md5",
    "Status",
];

/// Why a package isn't published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// Its control file is no paragraph.
    #[error("its control file is damaged: {0}")]
    Control(#[from] ControlError),
    /// A field isn't as Debian Policy has it.
    #[error("its {field} is {value:?}")]
    BadField {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// It is named as another package or version would be.
    #[error("its control file asks for the name {0}")]
    Misnamed(String),
}

/// A binary package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Name.
    pub package: String,
    /// Version, with its epoch.
    pub version: String,
    /// Architecture; `all` is one.
    pub architecture: String,
    /// The source package that it was built from.
    pub source: String,
    /// The version of that; mostly its own.
    pub source_version: String,
    /// Whether only the installer uses it.
    pub installer: bool,
    /// Whether it has the debug symbols of another package, as debhelper makes them.
    pub debug_symbols: bool,
    file: String,
    fields: Paragraph,
}

impl Binary {
    /// A package with this control file, in a file of this name.
    ///
    /// # Errors
    /// [`BinaryError`] if the control file isn't sound, or the name isn't the package's.
    pub fn new(control: &str, file: &str) -> Result<Self, BinaryError> {
        let fields = Paragraph::parse(control)?;
        let checked = |field: &'static str, sound: fn(&str) -> bool| {
            let value = fields.require(field)?;
            if sound(value) {
                Ok(value.to_owned())
            } else {
                Err(BinaryError::BadField {
                    field,
                    value: value.to_owned(),
                })
            }
        };
        let package = checked("Package", is_package_name)?;
        let version = checked("Version", is_version)?;
        let architecture = checked("Architecture", is_architecture)?;
        let named = fields.get("Source").filter(|source| !source.is_empty());
        let (source, source_version) = named.map_or((package.as_str(), None), named_source);
        let (source, source_version) = (source.to_owned(), source_version.unwrap_or(&version).to_owned());
        if !is_package_name(&source) {
            return Err(BinaryError::BadField {
                field: "Source",
                value: source,
            });
        }
        if !is_version(&source_version) {
            return Err(BinaryError::BadField {
                field: "Source",
                value: source_version,
            });
        }
        let installer = file.ends_with(".udeb");
        let extension = if installer { "udeb" } else { "deb" };
        let expected = format!("{package}_{}_{architecture}.{extension}", without_epoch(&version));
        if expected != file {
            return Err(BinaryError::Misnamed(expected));
        }
        Ok(Self {
            debug_symbols: is_debug_symbols(&package, &fields),
            package,
            version,
            architecture,
            source,
            source_version,
            installer,
            file: expected,
            fields,
        })
    }

    /// Where its file is.
    #[must_use]
    pub fn path(&self, component: &str) -> String {
        format!("{}/{}", pool::directory(component, &self.source), self.file)
    }

    /// A field of its control file.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// Whether an index lists it: one of its architecture, or any if it is for all.
    #[must_use]
    pub fn belongs_to(&self, index: &IndexName) -> bool {
        match index {
            IndexName::Binary {
                architecture,
                installer,
                ..
            } => *installer == self.installer && (self.architecture == "all" || self.architecture == *architecture),
            IndexName::Source { .. } => false,
        }
    }

    /// By what an index has it.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            package: self.package.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
        }
    }

    /// Its paragraph in an index.
    #[must_use]
    pub fn entry(&self, component: &str, digest: &Digest) -> Entry {
        let (descriptions, fields): (Vec<&Field>, Vec<&Field>) = self
            .fields
            .fields()
            .filter(|field| !ABOUT_THE_FILE.iter().any(|name| field.name.eq_ignore_ascii_case(name)))
            .partition(|field| field.name.eq_ignore_ascii_case("Description"));
        let mut paragraph = Paragraph::default();
        for field in fields {
            paragraph.push(&field.name, &field.value);
        }
        paragraph.push("Filename", self.path(component));
        paragraph.push("Size", digest.size.to_string());
        paragraph.push("MD5sum", &digest.md5);
        paragraph.push("SHA256", &digest.sha256);
        if let Some(sha512) = &digest.sha512 {
            paragraph.push("SHA512", sha512);
        }
        for field in descriptions {
            paragraph.push(&field.name, &field.value);
        }
        Entry {
            package: self.package.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            sha256: Some(digest.sha256.clone()),
            text: paragraph.to_string(),
        }
    }
}

/// debhelper says so in a field; others' tools keep to the name and the section.
fn is_debug_symbols(package: &str, fields: &Paragraph) -> bool {
    let section = fields.get("Section").unwrap_or_default();
    let in_debug = section.rsplit('/').next() == Some("debug");
    fields.get("Auto-Built-Package").map(str::trim) == Some("debug-symbols")
        || (in_debug && package.ends_with("-dbgsym"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &str = "Package: libhello1\nSource: hello (1.0)\nVersion: 1:1.0-1\nArchitecture: amd64\nDepends: libc6\n\
                           Description: greets\n the world\nHomepage: https://example.org\n";

    #[test]
    fn a_paragraph_says_where_the_file_is_and_what_it_is() {
        let binary = Binary::new(CONTROL, "libhello1_1.0-1_amd64.deb").unwrap();
        let digest = Digest {
            size: 7,
            md5: "m".to_owned(),
            sha256: "s".to_owned(),
            sha512: None,
        };
        assert_eq!(
            binary.entry("main", &digest).text,
            "Package: libhello1\nSource: hello (1.0)\nVersion: 1:1.0-1\nArchitecture: amd64\nDepends: libc6\n\
             Homepage: https://example.org\nFilename: pool/main/h/hello/libhello1_1.0-1_amd64.deb\nSize: 7\nMD5sum: m\n\
             SHA256: s\nDescription: greets\n the world\n"
        );
        let strong = Digest {
            sha512: Some("t".to_owned()),
            ..digest
        };
        assert!(binary.entry("main", &strong).text.contains("\nSHA256: s\nSHA512: t\n"));
    }

    #[test]
    fn the_version_of_the_source_is_named_where_it_differs() {
        let of = |control: &str| {
            Binary::new(control, "libhello1_1.0-1_amd64.deb").map(|binary| (binary.source, binary.source_version))
        };
        let named = |source: &str, version: &str| Ok((source.to_owned(), version.to_owned()));
        assert_eq!(of(CONTROL), named("hello", "1.0"));
        assert_eq!(of(&CONTROL.replace("hello (1.0)", "hello")), named("hello", "1:1.0-1"));
        assert_eq!(
            of(&CONTROL.replace("Source: hello (1.0)\n", "")),
            named("libhello1", "1:1.0-1")
        );
        assert_eq!(of(&CONTROL.replace("hello (1.0)", "hello(1.0)")), named("hello", "1.0"));
        assert!(of(&CONTROL.replace("(1.0)", "(../1)")).is_err());
    }

    #[test]
    fn a_package_cannot_say_where_its_file_is() {
        let control = format!("{CONTROL}filename: ../../etc/passwd\nSHA256: 00\nSize: 1\n");
        let binary = Binary::new(&control, "libhello1_1.0-1_amd64.deb").unwrap();
        let digest = Digest {
            size: 7,
            md5: "m".to_owned(),
            sha256: "s".to_owned(),
            sha512: None,
        };
        assert_eq!(
            binary.entry("main", &digest),
            Binary::new(CONTROL, "libhello1_1.0-1_amd64.deb")
                .unwrap()
                .entry("main", &digest)
        );
    }

    #[test]
    fn a_file_named_as_another_package_is_refused() {
        let misnamed = BinaryError::Misnamed("libhello1_1.0-1_amd64.deb".to_owned());
        for file in [
            "libc6_1.0-1_amd64.deb",
            "libhello1_1:1.0-1_amd64.deb",
            "libhello1_1.0-1_i386.deb",
            "libhello1_1.0-2_amd64.deb",
            "x",
        ] {
            assert_eq!(Binary::new(CONTROL, file), Err(misnamed.clone()), "{file}");
        }
    }

    #[test]
    fn fields_that_are_not_as_policy_has_them_are_refused() {
        for (from, to, field) in [
            ("libhello1\n", "../x\n", "Package"),
            ("1:1.0-1", "1.0/../1", "Version"),
            ("amd64", "any amd64", "Architecture"),
            ("hello (1.0)", "../../x (1)", "Source"),
            ("libhello1\n", "Libhello1\n", "Package"),
            ("libhello1\n", "libhello1:amd64\n", "Package"),
            ("hello (1.0)", "Hello", "Source"),
            ("hello (1.0)", "hello:amd64", "Source"),
            ("hello (1.0)", "hello\n evil", "Source"),
            ("Source: hello (1.0)", "Source:\n evil", "Source"),
        ] {
            let error = Binary::new(&CONTROL.replacen(from, to, 1), "libhello1_1.0-1_amd64.deb").unwrap_err();
            assert!(
                matches!(&error, BinaryError::BadField { field: named, .. } if *named == field),
                "{error}"
            );
        }
        assert_eq!(
            Binary::new("Package: aa\nVersion: 1\n", "x"),
            Err(ControlError::Missing("Architecture").into())
        );
    }
}
