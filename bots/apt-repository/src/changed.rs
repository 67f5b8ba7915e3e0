//! What follows from a changed index: the list of contents beside it.

use crate::contents::{ContentsName, Moves};
use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::{Splice, Spliced};
use crate::index::{Entry, IndexName};
use crate::operate;
use crate::pieces::Difference;
use crate::suite::Update;

/// An index that was written.
pub(crate) struct Changed {
    pub(crate) spliced: Spliced,
    /// What came and went, if that is known.
    pub(crate) difference: Option<Difference>,
}

impl Changed {
    /// One that was written as a whole.
    pub(crate) fn anew(spliced: Spliced) -> Option<Self> {
        Some(Self {
            spliced,
            difference: None,
        })
    }
}

impl Update<'_> {
    /// Bring the list of contents beside an index up to date. None if there is none, or it stays as it is.
    pub(crate) fn contents(
        &self,
        existing: &Existing<'_>,
        name: &IndexName,
        changed: Option<&Changed>,
    ) -> Result<Option<(ContentsName, Spliced)>, Failure> {
        let Some(contents) = ContentsName::beside(name).filter(|_| self.settings.contents) else {
            return Ok(None);
        };
        let path = existing.path(&contents.to_string());
        let release = existing.release.as_ref();
        let listed = release.and_then(|release| release.files.get(&contents.to_string()));
        let text = self.transaction.text(&path)?;
        let sound = text
            .as_ref()
            .filter(|text| existing.records.is_some() && listed.is_some_and(|it| it.sha256 == text.checksum.sha256));
        let offered = existing.offers(&contents.to_string(), self.settings);
        let difference = match (sound, changed) {
            (Some(_), None) if offered => return Ok(None),
            (Some(_), None) => Some(Difference::default()),
            (Some(_), Some(Changed { difference, .. })) => difference.clone(),
            (None, _) => None,
        };
        // What a package has in it is found where the index says that the package is.
        let files = |entry: &Entry| {
            let package = operate::files(entry).into_iter().next();
            package.map_or(Ok(Vec::new()), |package| self.transaction.package_files(&package.path))
        };
        let splices = match (sound, &difference) {
            (Some(text), Some(difference)) => Moves::of(difference, files)?.edit(&text.pieces, |number| {
                let piece = self.transaction.read_piece(&path, number)?;
                Ok(String::from_utf8_lossy(&piece).into_owned())
            })?,
            _ => {
                let all = Difference {
                    come: existing.index(name)?.unwrap_or_default().take(),
                    ..Difference::default()
                };
                let pieces = Moves::of(&all, files)?.edit(&[], |_| Ok(String::new()))?;
                self.transaction.remove(&path)?;
                vec![Splice {
                    first: 0,
                    count: self.transaction.text(&path)?.map_or(0, |text| text.pieces.len()),
                    pieces: pieces.into_iter().flat_map(|splice| splice.pieces).collect(),
                }]
            }
        };
        if splices.is_empty() && offered {
            return Ok(None);
        }
        let spliced = self.transaction.splice(&path, self.settings.extras, splices)?;
        Ok(Some((contents, spliced)))
    }
}
