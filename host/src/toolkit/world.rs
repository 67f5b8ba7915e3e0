//! The contract as one bot sees it: a world that imports what the bot uses, and no more.
//!
//! The tools for Python and JavaScript make a component import all that its world names, used or not, and a host
//! refuses what isn't granted. So they get a world of the bot's own.

use std::path::{Path, PathBuf};

use super::error::{Attempt, BuildError};
use super::manifest::Manifest;
use super::sdk;
use crate::capability::Interface;

/// The name of the narrowed world: no file of the bot's should have it.
pub(super) const WORLD: &str = "component";

/// The file that replaces `world.wit`.
const WORLD_FILE: &str = "world.wit";

/// Write the contract with the bot's own world into a directory, and return the directory.
pub(super) fn write(manifest: &Manifest, build: &Path) -> Result<PathBuf, BuildError> {
    let directory = build.join("wit");
    std::fs::create_dir_all(&directory).attempt("create", &directory)?;
    for (name, text) in sdk::below("wit").filter(|(name, _)| name.ends_with(".wit")) {
        let path = directory.join(name);
        let own;
        let text = if name == WORLD_FILE {
            own = world(manifest);
            own.as_str()
        } else {
            text
        };
        // Tools and make look at times.
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        std::fs::write(&path, text).attempt("write", &path)?;
    }
    Ok(directory)
}

/// The interfaces that the bot's component may import.
pub(super) fn interfaces(manifest: &Manifest) -> Vec<Interface> {
    Interface::ALL
        .into_iter()
        .filter(|interface| interface.is_for_all() || manifest.uses.contains(interface))
        .collect()
}

fn world(manifest: &Manifest) -> String {
    let mut text = format!(
        "package foundry:bot@0.1.0;\n\nworld {WORLD} {{\n    use types.{{message, outcome, description}};\n    \
         import types;\n"
    );
    for interface in interfaces(manifest) {
        text.push_str(&format!("    import {};\n", interface.name()));
    }
    text.push_str(
        "    export describe: func() -> description;\n    export configure: func() -> result<_, string>;\n    \
         export handle: func(message: message) -> outcome;\n    export tick: func(timer: string) -> outcome;\n}\n",
    );
    text
}
