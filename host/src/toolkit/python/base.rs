//! Bases: interpreters that have read the SDK and what a bot imports, kept between builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::build::Job;
use super::super::error::{Attempt, BuildError};
use super::componentize;
use super::modules::Module;

/// The module of the SDK that lets a base read a bot.
const READER: &str = "foundry_sdk/_base.py";

/// The base's own module, which componentize-py is given.
const MAIN: &str = "foundry_base";

/// How many are kept. Each takes some 20 MB.
const MOST: usize = 8;

/// Whether the SDK that a project has can be part of a base.
pub(super) fn is_possible(sdk: &Path) -> bool {
    sdk.join(READER).is_file()
}

/// What a base is told by its first tick: the module that is the bot, and the modules that it may import. JSON, which
/// the SDK reads.
pub(super) fn order(main: &str, modules: &[Module]) -> String {
    let modules: Vec<_> = modules
        .iter()
        .map(|module| json!([module.name, module.path, module.text]))
        .collect();
    json!({ "main": main, "modules": modules }).to_string()
}

/// The base for what a bot imports: one that was made before, or a new one.
pub(super) fn find_or_make(
    job: &Job<'_>,
    tool: &Path,
    wit: &Path,
    sdk: &Path,
    imports: &BTreeSet<String>,
    kept: &Path,
) -> Result<PathBuf, BuildError> {
    let directory = kept.join("python");
    let path = directory.join(format!("{}.wasm", key(tool, sdk, wit, imports)?));
    if let Ok(file) = std::fs::File::open(&path) {
        if let Err(error) = file.set_modified(SystemTime::now()) {
            tracing::debug!(path = %path.display(), %error, "cannot note a use");
        }
        return Ok(path);
    }
    std::fs::create_dir_all(&directory).attempt("create", &directory)?;
    let workplace = tempfile::tempdir_in(&directory).attempt("create a directory in", &directory)?;
    let main = workplace.path().join(format!("{MAIN}.py"));
    std::fs::write(&main, main_module(imports)).attempt("write", &main)?;
    let unfinished = workplace.path().join("base.wasm");
    componentize(
        job,
        tool,
        wit,
        MAIN,
        &[workplace.path().to_owned(), sdk.to_owned()],
        &unfinished,
    )?;
    std::fs::rename(&unfinished, &path).attempt("write", &path)?;
    make_room(&directory).attempt("tidy", &directory)?;
    Ok(path)
}

/// The statements, each passed over if it fails: whether the bot can do without is for the bot to say.
fn main_module(imports: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "from foundry_sdk._base import WitWorld, absent\nfrom foundry_sdk._traceback import remember_sources\n",
    );
    for statement in imports {
        text.push_str(&format!(
            "try:\n    {statement}\nexcept ModuleNotFoundError as error:\n    absent.add(error.name)\n\
             except Exception:\n    pass\n"
        ));
    }
    text.push_str("remember_sources()\n");
    text
}

/// A name for everything that a base depends on.
fn key(tool: &Path, sdk: &Path, wit: &Path, imports: &BTreeSet<String>) -> Result<String, BuildError> {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(bytes);
    };
    // The program is a script; its version shows in the path of the environment, and its time.
    let meta = std::fs::metadata(tool).attempt("find", tool)?;
    let modified = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default();
    add(tool.as_os_str().as_encoded_bytes());
    add(&modified.as_nanos().to_le_bytes());
    for directory in [wit, sdk] {
        for file in files(directory).attempt("read", directory)? {
            add(file.as_os_str().as_encoded_bytes());
            add(&std::fs::read(&file).attempt("read", &file)?);
        }
    }
    for statement in imports {
        add(statement.as_bytes());
    }
    Ok(hex::encode(digest.finalize()))
}

/// All files below a directory that can be part of a base, sorted.
fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if name != "__pycache__" {
                    directories.push(entry.path());
                }
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Remove the bases that were not used for longest.
fn make_room(directory: &Path) -> std::io::Result<()> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().extension() == Some("wasm".as_ref()) {
            bases.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    bases.sort_unstable_by(|a, b| b.cmp(a));
    bases
        .into_iter()
        .skip(MOST)
        .try_for_each(|(_, path)| std::fs::remove_file(path))
}
