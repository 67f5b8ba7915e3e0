//! `bot.toml`: what `foundry-host build` has to know of a bot.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::capability::Interface;

/// The manifest's file name.
pub const MANIFEST: &str = "bot.toml";

/// A language that there is an SDK for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, with cargo.
    Rust,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with jco and QuickJS.
    Javascript,
    /// TypeScript, which is JavaScript to jco.
    Typescript,
    /// C, with zig.
    C,
}

impl Language {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Typescript => "typescript",
            Self::C => "c",
        }
    }

    /// Where `foundry-host new` puts the SDK.
    fn usual_sdk(self) -> &'static str {
        match self {
            Self::Python => "vendor",
            Self::Rust | Self::Javascript | Self::Typescript | Self::C => "vendor/foundry-sdk",
        }
    }

    /// Where a bot's source is unless its manifest says otherwise.
    fn usual_source(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "bot.py",
            Self::Javascript => "bot.js",
            Self::Typescript => "bot.ts",
            Self::C => "bot.c",
        }
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The bot's name; the component is `build/NAME.wasm`.
    pub name: String,
    /// The language.
    pub language: Language,
    /// The file with the bot, relative to the manifest.
    pub source: PathBuf,
    /// Where the SDK is, relative to the manifest.
    pub sdk: PathBuf,
    /// Interfaces that it uses, beyond those that every bot has.
    pub uses: Vec<Interface>,
}

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is none.
    #[error("{} is no bot's project: it has no {MANIFEST} (make one with `foundry-host new`)", .0.display())]
    None(PathBuf),
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It isn't what a manifest is.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    language: Language,
    source: Option<PathBuf>,
    sdk: Option<PathBuf>,
    #[serde(default)]
    uses: Vec<String>,
}

impl Manifest {
    /// Read a project's manifest.
    ///
    /// # Errors
    /// [`ManifestError`], which names the file and the line.
    pub fn read(project: &Path) -> Result<Self, ManifestError> {
        let path = project.join(MANIFEST);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ManifestError::None(project.to_owned()));
            }
            Err(source) => return Err(ManifestError::Read { path, source }),
        };
        Self::parse(&text).map_err(|why| ManifestError::Malformed { path, why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if !is_project_name(&raw.name) {
            return Err(format!("name = {:?}: {BAD_NAME}", raw.name));
        }
        let uses = raw
            .uses
            .iter()
            .map(|name| {
                Interface::from_name(name).ok_or_else(|| {
                    let known: Vec<_> = Interface::ALL
                        .iter()
                        .filter(|interface| !interface.is_for_all())
                        .map(|interface| interface.name())
                        .collect();
                    format!("uses = [{name:?}]: no such interface (there are {})", known.join(", "))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            source: raw.source.unwrap_or_else(|| raw.language.usual_source().into()),
            sdk: raw.sdk.unwrap_or_else(|| raw.language.usual_sdk().into()),
            name: raw.name,
            language: raw.language,
            uses,
        })
    }
}

/// What the user is told of a name that [`is_project_name`] refuses.
pub(super) const BAD_NAME: &str = "use 1 to 64 lower-case letters, digits and '-', beginning with a letter";

/// Whether a name does for a crate, an npm package, a Python project and a bot alike.
pub(super) fn is_project_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_language_and_what_the_bot_uses() {
        let manifest = Manifest::parse("name = \"x\"\nlanguage = \"python\"\nuses = [\"artifacts\"]").unwrap();
        assert_eq!(manifest.source, Path::new("bot.py"));
        assert_eq!(manifest.uses, [Interface::Artifacts]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Manifest::parse(text).unwrap_err();
        assert!(error("name = \"x\"\nlanguage = \"cobol\"").contains("cobol"));
        assert!(error("name = \"X\"\nlanguage = \"c\"").contains("lower-case"));
        assert!(error("name = \"x\"\nlanguage = \"c\"\nuses = [\"root\"]").contains("artifacts, git"));
        assert!(error("name = \"x\"\nlanguage = \"c\"\nuse = []").contains("use"));
    }
}
