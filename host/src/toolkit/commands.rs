//! Finding and running the programs of a language.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BuildError;

/// Names a directory in whose `bin` tools are looked for before `PATH`; several, separated by colons.
const TOOLS: &str = "FOUNDRY_TOOLS";

/// A program: in one of the project's own places, in those that the environment names, or in `PATH`.
pub(super) fn find(project: &Path, own: &[&str], name: &str) -> Option<PathBuf> {
    let own = own.iter().map(|place| project.join(place));
    own.chain(search_path())
        .map(|directory| directory.join(name))
        .find(|program| is_executable(program))
}

/// The directories that the environment names, then those of `PATH`.
fn search_path() -> Vec<PathBuf> {
    let list = |variable| std::env::var_os(variable).unwrap_or_default();
    let mut directories: Vec<_> = std::env::split_paths(&list(TOOLS))
        .map(|place| place.join("bin"))
        .collect();
    directories.extend(std::env::split_paths(&list("PATH")));
    directories
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Run a program in the project and hold back what it says unless it fails.
pub(super) fn run(bot: &str, project: &Path, command: &mut Command) -> Result<String, BuildError> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(OsStr::new("?"))
        .to_string_lossy()
        .into_owned();
    // Tools that are scripts find their interpreter among the tools as well.
    if let Ok(path) = std::env::join_paths(search_path()) {
        command.env("PATH", path);
    }
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
