//! The bot of the conformance suite, in each language.

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry_host::toolkit::{self, Language};

pub const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The component, built in a directory if it isn't built with the other test guests.
pub fn component(language: Language, project: &Path) -> PathBuf {
    match language {
        Language::Rust => foundry_test_guests::path("conformer"),
        _ => build(language, project),
    }
}

/// The tools of a language, installed if need be.
pub fn tools(language: Language) -> toolkit::Tools {
    toolkit::Tools::at(places(language))
}

/// Where they are, in `bin` of each.
pub fn places(language: Language) -> Vec<PathBuf> {
    let tools = match language {
        Language::Typescript => "javascript",
        other => other.name(),
    };
    let installed = Command::new(Path::new(REPOSITORY).join("scripts/language-tools"))
        .arg(tools)
        .output()
        .unwrap();
    assert!(
        installed.status.success(),
        "{}",
        String::from_utf8_lossy(&installed.stderr)
    );
    let directories = String::from_utf8(installed.stdout).unwrap();
    std::env::split_paths(directories.trim()).collect()
}

/// Make a project as an author does, put the bot into it, and build it. What its language keeps is beside the project.
fn build(language: Language, project: &Path) -> PathBuf {
    toolkit::create(language, "conformer", project).unwrap();
    let bots = Path::new(REPOSITORY)
        .join("tests/languages/conformance")
        .join(language.name());
    for entry in std::fs::read_dir(bots).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), project.join(entry.file_name())).unwrap();
    }
    let tools = tools(language).keeping(project.parent().unwrap());
    toolkit::build(project, &tools).unwrap().component
}
