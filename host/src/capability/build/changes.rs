//! What a build's `.changes` says. Its text was in the build's hands, and so were the names in it: they are checked before
//! they are used.

use super::package::{SourcePackage, first_paragraph};

/// What a `.changes` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    pub architectures: Vec<String>,
    pub files: Vec<Listed>,
}

/// A file that a `.changes` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: String,
    pub size: u64,
    pub sha256: [u8; 32],
}

impl Changes {
    /// Parses the text of a `.changes` of this very package, or says what is wrong with it.
    pub fn parse(text: &str, package: &SourcePackage) -> Result<Self, String> {
        let fields = first_paragraph(text);
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
                .ok_or_else(|| format!("the .changes has no field {name}"))
        };
        // A binNMU's source carries the source's own version in parentheses.
        let source = field("Source")?;
        if source.split(' ').next() != Some(package.name.as_str()) {
            return Err(format!(
                "the .changes is about `{}`, not about `{}`",
                source.escape_debug(),
                package.name
            ));
        }
        let version = field("Version")?;
        if version != package.version.as_str() {
            return Err(format!(
                "the .changes is about version `{}`, the changelog about `{}`",
                version.escape_debug(),
                package.version.as_str()
            ));
        }
        let words: Vec<&str> = field("Checksums-Sha256")?.split_whitespace().collect();
        let files = words
            .chunks(3)
            .map(|chunk| match chunk {
                [digest, size, name] => Listed::parse(digest, size, name),
                _ => Err("the .changes has a truncated list of checksums".to_owned()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if files.is_empty() {
            return Err("the .changes lists no file".to_owned());
        }
        Ok(Self {
            architectures: field("Architecture")?.split_whitespace().map(str::to_owned).collect(),
            files,
        })
    }
}

impl Listed {
    fn parse(digest: &str, size: &str, name: &str) -> Result<Self, String> {
        if !is_plain_name(name) {
            return Err(format!(
                "the .changes lists `{}`, which is no plain file name",
                name.escape_debug()
            ));
        }
        let mut sha256 = [0; 32];
        hex::decode_to_slice(digest, &mut sha256).map_err(|_| format!("the .changes has no SHA-256 for {name}"))?;
        let size = size
            .parse()
            .map_err(|_| format!("the .changes has no size for {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            size,
            sha256,
        })
    }
}

/// Whether a name is one that dpkg's tools give to files: no slash, no leading dot or dash, nothing exotic.
pub(super) fn is_plain_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '~'))
}
