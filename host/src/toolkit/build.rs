//! From a project to a component.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::commands::Tools;
use super::error::{Attempt, BuildError};
use super::manifest::{Language, Manifest};
use super::{c, javascript, python, rust};
use crate::runtime::Said;

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The bot.
    pub name: String,
    /// The component's file.
    pub component: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What the bot's code said while it was read, if that is a part of the build.
    pub said: Vec<Said>,
}

/// A build: what is built, and where the parts go.
pub(super) struct Job<'a> {
    pub(super) manifest: &'a Manifest,
    /// The project's directory, absolute.
    pub(super) project: &'a Path,
    /// Where the language's programs are.
    pub(super) tools: &'a Tools,
    /// Where everything that is made goes.
    pub(super) build: &'a Path,
    /// The component.
    pub(super) output: &'a Path,
}

impl Job<'_> {
    /// The file with the bot.
    pub(super) fn source(&self) -> PathBuf {
        self.project.join(&self.manifest.source)
    }

    /// The program of this name, if it is somewhere.
    pub(super) fn find(&self, own: &[&str], name: &str) -> Option<PathBuf> {
        self.tools.find(self.project, own, name)
    }

    /// Run a program in the project; its output.
    pub(super) fn run(&self, command: &mut Command) -> Result<String, BuildError> {
        self.tools.run(&self.manifest.name, self.project, command)
    }

    /// A tool isn't there.
    pub(super) fn missing(&self, tool: &'static str, remedy: &'static str) -> BuildError {
        BuildError::Missing {
            bot: self.manifest.name.clone(),
            tool,
            remedy,
        }
    }

    /// What was made is no component.
    pub(super) fn failed(&self, why: impl std::fmt::Display) -> BuildError {
        BuildError::Component {
            bot: self.manifest.name.clone(),
            why: why.to_string(),
        }
    }
}

/// Build the project in a directory. Runs the tools of its language, and installs nothing. Blocks.
///
/// The component appears by a rename, so that whoever watches the file never sees half of it.
///
/// # Errors
/// [`BuildError`], with what the tool said.
pub fn build(project: &Path, tools: &Tools) -> Result<Built, BuildError> {
    let manifest = Manifest::read(project)?;
    let project = project.canonicalize().attempt("find", project)?;
    let build = project.join("build");
    std::fs::create_dir_all(&build).attempt("create", &build)?;
    let unfinished = build.join(format!(".{}.wasm.new", manifest.name));
    let job = Job {
        manifest: &manifest,
        project: &project,
        tools,
        build: &build,
        output: &unfinished,
    };
    let mut said = Vec::new();
    match manifest.language {
        Language::Rust => rust::build(&job)?,
        Language::Python => said = python::build(&job)?,
        Language::Javascript | Language::Typescript => javascript::build(&job)?,
        Language::C => c::build(&job)?,
    }
    let component = build.join(format!("{}.wasm", manifest.name));
    let size = std::fs::metadata(&unfinished).attempt("find", &unfinished)?.len();
    std::fs::rename(&unfinished, &component).attempt("write", &component)?;
    Ok(Built {
        name: manifest.name,
        component,
        size,
        said,
    })
}
