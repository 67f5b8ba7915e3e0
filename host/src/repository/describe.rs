//! Descriptions that are apart from their packages' index: whether they are there, and where they come from if not.

use std::fs::File;

use apt_repository::control::Paragraph;
use apt_repository::descriptions::{self, Topic, TranslationName};
use apt_repository::existing::Existing;
use apt_repository::index::{Entry, Index, IndexName};
use apt_repository::operate;

use super::Desk;
use super::check::Findings;
use crate::package;

/// What the list of an index's descriptions lacks.
pub(super) fn undescribed(existing: &Existing<'_>, name: &IndexName, index: &Index) -> Findings {
    let list = TranslationName::of(name).filter(|_| existing.splits(name));
    let lacking = list.into_iter().flat_map(|list| {
        // What is still apart was not found there.
        let apart = index.entries().iter().filter(|entry| Topic::of(entry).is_some());
        apart.map(move |Entry { package, version, .. }| {
            let what = format!("it lacks the description of {package} {version}");
            (existing.path(&list.to_string()), what)
        })
    });
    lacking.collect()
}

impl Desk {
    /// A package with the description that its file has; none if it has its description, or the file doesn't say.
    pub(super) fn described(&self, entry: &Entry) -> Option<Entry> {
        Topic::of(entry)?;
        let file = operate::files(entry).into_iter().next()?;
        let package = File::open(self.directory.join(file.path)).ok()?;
        let read = package::control(&package).inspect_err(|error| {
            tracing::warn!("cannot read the description of {}: {error}", entry.package);
        });
        let control = Paragraph::parse(&read.ok()?).ok()?;
        let description = control.get("Description")?;
        Some(descriptions::whole(entry.clone(), description))
    }
}
