//! What is compared.

use std::path::PathBuf;

use crate::measure::Cost;

/// A program that keeps a repository, and one repository of it.
pub trait Contender {
    /// Publish packages, signed. What is published already stays as it is.
    fn add(&mut self, packages: &[PathBuf]) -> Cost;
}
