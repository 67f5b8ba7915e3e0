//! The contract as one bot sees it: a world that imports what the bot uses, and no more.
//!
//! The tools for Python and JavaScript make a component import all that its world names, used or not, and a host
//! refuses what isn't granted. So they get a world of the bot's own.
//!
//! A project has the contract that its SDK is for in `wit/`, and is built for that one, also by a newer host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Attempt, BuildError};
use super::manifest::{Language, Manifest};
use super::sdk;
use crate::capability::Interface;
use crate::runtime::CONTRACT;

/// The name of the narrowed world: no file of the bot's should have it.
pub(super) const WORLD: &str = "component";

/// The file that replaces `world.wit`.
const WORLD_FILE: &str = "world.wit";

/// What Python's and C's libraries import by themselves, and JavaScript's does not: numbers for its SDK's `Math.random`.
pub(super) const RANDOM: &str = "wasi:random/random@0.2.0";

/// The interface, as far as the SDK uses it.
const RANDOM_WIT: &str = "package wasi:random@0.2.0;\n\ninterface random {\n    get-random-u64: func() -> u64;\n}\n";

/// The contract that a bot is built for.
pub(super) struct Contract {
    /// Texts by file name.
    files: BTreeMap<String, String>,
    version: String,
}

impl Contract {
    /// The project's own, or else this host's.
    pub(super) fn of_project(manifest: &Manifest, project: &Path) -> Result<Self, BuildError> {
        let own = project.join("wit");
        let files = match own.is_dir() {
            true => wit_files(&own)?,
            false => sdk::below("wit")
                .filter(|(name, _)| name.ends_with(".wit"))
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
        };
        let failed = |why: String| BuildError::Component {
            bot: manifest.name.clone(),
            why,
        };
        let version = files
            .get(WORLD_FILE)
            .and_then(|text| version(text))
            .ok_or_else(|| {
                failed(format!(
                    "{} is not the contract {CONTRACT}",
                    own.join(WORLD_FILE).display()
                ))
            })?
            .to_owned();
        let contract = Self { files, version };
        match manifest.uses.iter().find(|interface| !contract.has(**interface)) {
            None => Ok(contract),
            Some(missing) => Err(failed(format!(
                "uses = [{:?}]: {CONTRACT} {}, which the project has in wit/, has no such interface (take wit/ and vendor/ \
                 from a project that `foundry-host new` makes)",
                missing.name(),
                contract.version
            ))),
        }
    }

    fn has(&self, interface: Interface) -> bool {
        let line = format!("interface {} {{", interface.name());
        self.files.values().any(|text| text.lines().any(|other| other == line))
    }

    /// The full name of an interface: `foundry:bot/http@0.1.0`.
    pub(super) fn import(&self, interface: Interface) -> String {
        format!("{CONTRACT}/{}@{}", interface.name(), self.version)
    }
}

/// The contract's files in a directory.
fn wit_files(directory: &Path) -> Result<BTreeMap<String, String>, BuildError> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).attempt("read", directory)? {
        let path = entry.attempt("read", directory)?.path();
        if path.extension().is_some_and(|extension| extension == "wit")
            && let Some(name) = path.file_name()
        {
            let text = std::fs::read_to_string(&path).attempt("read", &path)?;
            files.insert(name.to_string_lossy().into_owned(), text);
        }
    }
    Ok(files)
}

/// The version in `package foundry:bot@0.1.0;`.
fn version(text: &str) -> Option<&str> {
    text.strip_prefix("package ")?
        .strip_prefix(CONTRACT)?
        .strip_prefix('@')?
        .split_once(';')
        .map(|(version, _)| version)
}

/// Write the contract with the bot's own world into `wit` in the directory of what is built, and return that.
pub(super) fn write(manifest: &Manifest, build: &Path) -> Result<PathBuf, BuildError> {
    let contract = Contract::of_project(manifest, build.parent().unwrap_or(build))?;
    let directory = build.join("wit");
    std::fs::create_dir_all(&directory).attempt("create", &directory)?;
    for old in wit_files(&directory)?.into_keys() {
        if !contract.files.contains_key(&old) {
            let path = directory.join(old);
            std::fs::remove_file(&path).attempt("remove", &path)?;
        }
    }
    for (name, text) in &contract.files {
        let own;
        let text = if name == WORLD_FILE {
            own = world(manifest, &contract.version);
            &own
        } else {
            text
        };
        write_if_new(&directory.join(name), text)?;
    }
    if has_random(manifest) {
        let dependency = directory.join("deps/random");
        std::fs::create_dir_all(&dependency).attempt("create", &dependency)?;
        write_if_new(&dependency.join("random.wit"), RANDOM_WIT)?;
    }
    Ok(directory)
}

/// Tools and make look at times.
fn write_if_new(path: &Path, text: &str) -> Result<(), BuildError> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).attempt("write", path)
}

fn has_random(manifest: &Manifest) -> bool {
    matches!(manifest.language, Language::Javascript | Language::Typescript)
}

/// The interfaces that the bot's component may import.
pub(super) fn interfaces(manifest: &Manifest) -> Vec<Interface> {
    Interface::ALL
        .into_iter()
        .filter(|interface| interface.is_for_all() || manifest.uses.contains(interface))
        .collect()
}

fn world(manifest: &Manifest, version: &str) -> String {
    let mut text = format!(
        "package {CONTRACT}@{version};\n\nworld {WORLD} {{\n    use types.{{message, outcome, description}};\n    \
         import types;\n"
    );
    for interface in interfaces(manifest) {
        text.push_str(&format!("    import {};\n", interface.name()));
    }
    if has_random(manifest) {
        text.push_str(&format!("    import {RANDOM};\n"));
    }
    text.push_str(
        "    export describe: func() -> description;\n    export configure: func() -> result<_, string>;\n    \
         export handle: func(message: message) -> outcome;\n    export tick: func(timer: string) -> outcome;\n}\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(uses: &[Interface]) -> Manifest {
        Manifest {
            name: "greeter".to_owned(),
            language: Language::C,
            source: "bot.c".into(),
            sdk: "vendor".into(),
            uses: uses.to_vec(),
        }
    }

    #[test]
    fn a_project_is_built_for_the_contract_that_it_has() {
        let project = tempfile::tempdir().unwrap();
        let build = project.path().join("build");
        let written = |uses: &[Interface]| {
            let directory = write(&manifest(uses), &build).map_err(|error| error.to_string())?;
            Ok::<_, String>(std::fs::read_to_string(directory.join(WORLD_FILE)).unwrap())
        };
        assert!(
            written(&[Interface::Mail])
                .unwrap()
                .starts_with("package foundry:bot@0.1.1;\n")
        );

        std::fs::create_dir(project.path().join("wit")).unwrap();
        let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/released/0.1.0");
        for (name, text) in wit_files(&released).unwrap() {
            std::fs::write(project.path().join("wit").join(name), text).unwrap();
        }
        let world = written(&[Interface::Http]).unwrap();
        assert!(world.starts_with("package foundry:bot@0.1.0;\n") && world.contains("import http;"));
        assert!(!build.join("wit/mail.wit").exists(), "the other version's file is gone");
        let error = written(&[Interface::Mail]).unwrap_err();
        assert!(
            error.contains("foundry:bot 0.1.0") && error.contains("\"mail\""),
            "{error}"
        );

        std::fs::write(project.path().join("wit").join(WORLD_FILE), "package other:bot@0.1.0;").unwrap();
        assert!(
            written(&[])
                .unwrap_err()
                .contains("world.wit is not the contract foundry:bot")
        );
    }
}
