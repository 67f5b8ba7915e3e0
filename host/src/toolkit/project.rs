//! New projects.

use std::path::{Path, PathBuf};

use super::manifest::{BAD_NAME, Language, is_project_name};
use super::sdk;

/// A project that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its directory.
    pub directory: PathBuf,
    /// Its files, relative to the directory, without those of the SDK.
    pub files: Vec<PathBuf>,
}

/// Why there is no new project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The name doesn't do.
    #[error("{0:?} can't be a bot's name: {BAD_NAME}")]
    BadName(String),
    /// There is something already.
    #[error("{} exists already and is not empty (choose another name or directory)", .0.display())]
    Exists(PathBuf),
    /// A file can't be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Make a project for a bot: its template, the SDK, and the contract.
///
/// # Errors
/// [`ProjectError`]. Nothing that exists is changed.
pub fn create(language: Language, name: &str, directory: &Path) -> Result<Created, ProjectError> {
    if !is_project_name(name) {
        return Err(ProjectError::BadName(name.to_owned()));
    }
    if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) || directory.is_file() {
        return Err(ProjectError::Exists(directory.to_owned()));
    }
    let mut files = Vec::new();
    for (path, text) in template(language) {
        let path = path
            .strip_prefix("dot-")
            .map_or(path.to_owned(), |rest| format!(".{rest}"));
        write(&directory.join(&path), &text.replace("{{name}}", name))?;
        files.push(PathBuf::from(path));
    }
    for (path, text) in library(language) {
        write(&directory.join(path), text)?;
    }
    for (path, text) in sdk::below("wit") {
        write(&directory.join("wit").join(path), text)?;
    }
    files.sort_unstable();
    Ok(Created {
        directory: directory.to_owned(),
        files,
    })
}

/// The files that are the author's own from now on.
fn template(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    sdk::below(match language {
        Language::Rust => "sdk/rust/template",
        Language::Python => "sdk/python/template",
        Language::Javascript => "sdk/javascript/template",
        Language::Typescript => "sdk/javascript/template-typescript",
        Language::C => "sdk/c/template",
    })
}

/// The SDK's files, and where a project has them.
fn library(language: Language) -> Vec<(String, &'static str)> {
    let (directory, place) = match language {
        Language::Rust => ("sdk/rust/src", "vendor/foundry-sdk/src"),
        Language::Python => ("sdk/python", "vendor"),
        Language::Javascript | Language::Typescript => ("sdk/javascript", "vendor/foundry-sdk"),
        Language::C => ("sdk/c", "vendor/foundry-sdk"),
    };
    sdk::below(directory)
        .filter(|(path, _)| !path.starts_with("template") && !path.starts_with("tests/") && *path != "README.md")
        .map(|(path, text)| (format!("{place}/{path}"), text))
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), ProjectError> {
    let failed = |source| ProjectError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
