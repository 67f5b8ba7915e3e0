//! Real builds in real sandboxes. They need what docs/building.md says a build needs.

mod dependencies;
mod fixture;
mod formats;
mod hostile;
mod limits;
mod machine;
mod ordinary;
mod pages;
mod probes;
mod repository;
