//! Real builds in real sandboxes. They need what docs/building.md says a build needs.

mod fixture;
mod formats;
mod hostile;
mod limits;
