//! Finding and running the programs of a language.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BuildError;

/// Names directories in whose `bin` tools are looked for before `PATH`, separated by colons.
const TOOLS: &str = "FOUNDRY_TOOLS";

/// Where the programs of the languages are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    places: Vec<PathBuf>,
    kept: Option<PathBuf>,
}

impl Tools {
    /// In the `bin` of each of these directories, then in `PATH`.
    pub fn at(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            places: directories.into_iter().map(|directory| directory.join("bin")).collect(),
            kept: None,
        }
    }

    /// Keep what takes long to make in a directory that only this user can write: compilations are run from it.
    #[must_use]
    pub fn keeping(mut self, directory: impl Into<PathBuf>) -> Self {
        self.kept = Some(directory.into());
        self
    }

    /// Where what takes long to make is kept, if anywhere.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }

    /// In the directories that `FOUNDRY_TOOLS` names, then in `PATH`.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::at(std::env::split_paths(&std::env::var_os(TOOLS).unwrap_or_default()))
    }

    /// A program: in one of the project's own places, in ours, or in `PATH`.
    pub(super) fn find(&self, project: &Path, own: &[&str], name: &str) -> Option<PathBuf> {
        own.iter()
            .map(|place| project.join(place))
            .chain(self.search_path())
            .map(|directory| directory.join(name))
            .find(|program| is_executable(program))
    }

    fn search_path(&self) -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.places
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path))
            .collect()
    }

    /// Run a program in the project, and hold back what it says unless it fails.
    pub(super) fn run(&self, bot: &str, project: &Path, command: &mut Command) -> Result<String, BuildError> {
        // Tools that are scripts find their interpreter among the tools as well.
        if let Ok(path) = std::env::join_paths(self.search_path()) {
            command.env("PATH", path);
        }
        run(bot, project, command)
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn run(bot: &str, project: &Path, command: &mut Command) -> Result<String, BuildError> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(OsStr::new("?"))
        .to_string_lossy()
        .into_owned();
    let output = command
        .current_dir(project)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BuildError::Run {
            program: program.clone(),
            source,
        })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(BuildError::Failed {
        bot: bot.to_owned(),
        program,
        status: output.status,
        output: text(&output.stdout) + &text(&output.stderr),
    })
}
