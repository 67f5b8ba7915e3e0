//! What bot authors use: new projects, builds, and runs of a bot in a world of its own.

mod build;
mod c;
mod commands;
mod error;
mod javascript;
mod manifest;
mod project;
mod python;
mod rust;
mod sdk;
mod source_map;
mod world;

pub use build::{Built, build};
pub use commands::Tools;
pub use error::BuildError;
pub use manifest::{Language, MANIFEST, Manifest, ManifestError};
pub use project::{Created, ProjectError, create};
