//! What can go wrong between a component's file and a message's outcome.

use std::path::PathBuf;
use std::time::Duration;

use super::contract::{PACKAGE, offered};

/// Why a component could not be read or compiled.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The component's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes aren't a component, nor a core module of which one can be made.
    #[error("{name} is not a WebAssembly component: {why}")]
    NotAComponent {
        /// The component's name or path.
        name: String,
        /// What the engine or the encoder said.
        why: String,
    },
    /// The engine could not be set up on this machine.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
}

/// Why a component may not run here.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// An import that exists, but isn't granted.
    #[error("cannot load {name}: it imports {import}, which is not granted (add {flag}, or remove the import)")]
    NotGranted {
        /// The component.
        name: String,
        /// The import's full name.
        import: String,
        /// The option that grants it.
        flag: &'static str,
    },
    /// An import that this host doesn't have.
    #[error("cannot load {name}: it imports {import}, which this host does not offer")]
    Unknown {
        /// The component.
        name: String,
        /// The import's full name.
        import: String,
    },
    /// Built for a version of the contract that this host doesn't have.
    #[error(
        "cannot load {name}: it was built for {PACKAGE} {version}, and this host has {} (build it with the SDK that \
         `foundry-host new` writes, or use a host that has {version})",
        offered()
    )]
    OtherVersion {
        /// The component.
        name: String,
        /// Its version of the contract.
        version: String,
    },
    /// Not a bot: an export of the world is missing.
    #[error(
        "cannot load {name}: it does not export `{export}`, so it is no bot of {PACKAGE} {} (build it with a Foundry SDK)",
        offered()
    )]
    OtherWorld {
        /// The component.
        name: String,
        /// The export that is missing.
        export: &'static str,
    },
    /// Imports or exports have other types than the contract says.
    #[error("cannot load {name}: it does not fit {PACKAGE}: {why}")]
    Mismatch {
        /// The component.
        name: String,
        /// What the linker said.
        why: String,
    },
}

/// How a bot's code failed. None of these harms the host or another message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The code trapped: a panic, an uncaught exception, an unreachable instruction, a division by zero. What the bot
    /// said of it, with the place in its source, if it did.
    #[error("trapped: {0}")]
    Trap(String),
    /// The code ended itself, as programs do that have a process of their own. WASI does not tell with which code.
    #[error("called exit{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Exit {
        /// What it said of it on standard error.
        why: Option<String>,
    },
    /// The code computed for too long.
    #[error("computed for more than {}", human(.0))]
    GuestTime(Duration),
    /// The message took too long, host calls included.
    #[error("took more than {}", human(.0))]
    TimedOut(Duration),
    /// The code wanted more memory than it may have.
    #[error("wanted more than {} MiB of memory", .0 / (1024 * 1024))]
    Memory(usize),
    /// The code called what it has no right to now.
    #[error("{0}")]
    Acts(String),
    /// The host could not do its part.
    #[error("host failure: {0}")]
    Host(String),
    /// The host has no room for another instance now. It says nothing of the bot.
    #[error("found no room for another instance: {0}")]
    NoRoom(String),
}

fn human(duration: &Duration) -> String {
    if duration.as_secs() == 0 {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_secs_f32())
    }
}
