//! An index as it is published, for the engine that changes it piece by piece.

use std::collections::BTreeSet;

use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::{Splice, Spliced};
use crate::index::{Index, IndexName};
use crate::recent::Pieces;
use crate::suite::Update;

/// An index as the transaction has it.
pub(crate) struct Published<'a> {
    update: &'a Update<'a>,
    existing: &'a Existing<'a>,
    name: &'a IndexName,
    pub(crate) path: String,
    /// What the last splice made.
    pub(crate) spliced: Option<Spliced>,
}

impl<'a> Published<'a> {
    pub(crate) fn new(update: &'a Update<'a>, existing: &'a Existing<'a>, name: &'a IndexName) -> Self {
        Self {
            update,
            existing,
            name,
            path: existing.path(&name.to_string()),
            spliced: None,
        }
    }

    fn text(&self, number: usize) -> Result<String, Failure> {
        let piece = self.update.transaction.read_piece(&self.path, number)?;
        Ok(String::from_utf8(piece).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }
}

impl Pieces for Published<'_> {
    fn read(&mut self, number: usize) -> Result<Index, Failure> {
        self.existing.parsed(self.name, Index::parse(&self.text(number)?))
    }

    fn read_only(&mut self, number: usize, names: &BTreeSet<&str>) -> Result<Index, Failure> {
        self.existing
            .parsed(self.name, Index::parse_only(&self.text(number)?, names))
    }

    fn splice(&mut self, splices: Vec<Splice>) -> Result<(), Failure> {
        let Update {
            transaction, settings, ..
        } = self.update;
        self.spliced = Some(transaction.splice(&self.path, settings.extras, splices)?);
        Ok(())
    }
}
