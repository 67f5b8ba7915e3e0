//! What follows from changed indices: the list of their component's descriptions, if those are apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::changed::Changed;
use crate::descriptions::{Descriptions, Topic, TranslationName};
use crate::existing::Existing;
use crate::failure::Failure;
use crate::host::{Piece, Splice, Spliced};
use crate::index::{Entry, Index, IndexName};
use crate::pieces::{Difference, Edits, place};
use crate::suite::Update;

/// What a change of a component's indices means for its descriptions.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Those that came with packages.
    pub(crate) new: Descriptions,
    /// Of packages that came.
    come: BTreeSet<Topic>,
    /// Of packages that went, and of which none is left in the same index.
    gone: BTreeSet<Topic>,
    /// Of packages in the changed indices that stay, as far as they matter.
    left: BTreeSet<Topic>,
    /// Indices of which all of that is known.
    changed: BTreeSet<IndexName>,
    /// Whether there is one of which it is not.
    anew: bool,
}

impl Told {
    /// An index was written.
    pub(crate) fn note(&mut self, name: &IndexName, changed: &Changed) {
        let Some(difference) = &changed.difference else {
            self.anew = true;
            return;
        };
        let topics = |entries: &'_ [Entry]| -> Vec<Topic> { entries.iter().filter_map(Topic::of).collect() };
        self.come.extend(topics(&difference.come));
        self.gone.extend(topics(&difference.gone));
        self.left.extend(topics(&difference.left));
        self.changed.insert(name.clone());
    }
}

impl Update<'_> {
    /// Whether the packages of an index are to have their descriptions apart.
    pub(crate) fn splits(&self, name: &IndexName) -> bool {
        self.settings.split_descriptions && TranslationName::of(name).is_some()
    }

    /// A package as an index is to have it.
    fn published(&self, entry: Entry, told: &mut Told) -> Entry {
        told.new.split(entry, |text| self.host.digest(text.as_bytes()).md5)
    }

    /// Edits with packages as an index is to have them.
    pub(crate) fn published_edits(&self, name: &IndexName, mut edits: Edits, told: &mut Told) -> Edits {
        if self.splits(name) {
            let insert = edits.insert.into_iter();
            edits.insert = insert.map(|entry| self.published(entry, told)).collect();
        }
        edits
    }

    /// An index as it is to be.
    pub(crate) fn published_index(&self, name: &IndexName, index: Index, told: &mut Told) -> Index {
        if !self.splits(name) {
            return index;
        }
        index.map(|entry| self.published(entry, told))
    }

    /// Have the descriptions of an index's packages apart, or with them again. What is seen of the packages is the same.
    pub(crate) fn convert(
        &self,
        existing: &Existing<'_>,
        name: &IndexName,
        edits: Edits,
        told: &mut Told,
    ) -> Result<Option<Changed>, Failure> {
        let before = existing.whole(name)?.unwrap_or_default();
        let mut after = before.clone();
        edits.apply(&mut after)?;
        let difference = Difference::between(before.entries(), after.entries());
        let index = self.published_index(name, after, told);
        let spliced = self.write_whole(&existing.path(&name.to_string()), &index)?;
        Ok(Some(Changed {
            spliced,
            difference: Some(difference),
        }))
    }

    /// Bring the list of a component's descriptions up to date. None if it stays as it is.
    pub(crate) fn translation(
        &self,
        existing: &Existing<'_>,
        name: &TranslationName,
        indices: &[&IndexName],
        told: Told,
    ) -> Result<Option<Spliced>, Failure> {
        let file = name.to_string();
        let path = existing.path(&file);
        let listed = existing.release.as_ref().and_then(|release| release.files.get(&file));
        let text = self.transaction.text(&path)?;
        let sound = text
            .as_ref()
            .filter(|text| existing.records.is_some() && listed.is_some_and(|it| it.sha256 == text.checksum.sha256));
        let offered = existing.offers(&file, self.settings);
        let splices = match sound.filter(|_| !told.anew) {
            Some(text) => {
                let gone = self.gone(existing, indices, &told)?;
                edit(&text.pieces, &told, &gone, |number| {
                    let piece = self.transaction.read_piece(&path, number)?;
                    Ok(String::from_utf8_lossy(&piece).into_owned())
                })?
            }
            None => {
                let pieces = self.all(existing, name, indices, told)?.cut();
                self.transaction.remove(&path)?;
                let count = self.transaction.text(&path)?.map_or(0, |text| text.pieces.len());
                let first = 0;
                vec![Splice { first, count, pieces }]
            }
        };
        if splices.is_empty() && offered {
            return Ok(None);
        }
        let spliced = self.transaction.splice(&path, self.settings.extras, splices)?;
        Ok(Some(spliced))
    }

    /// The descriptions that no package of any index has any more.
    fn gone(&self, existing: &Existing<'_>, indices: &[&IndexName], told: &Told) -> Result<BTreeSet<Topic>, Failure> {
        let still = |topic: &&Topic| told.come.contains(topic) || told.left.contains(topic);
        let mut gone: BTreeSet<Topic> = told.gone.iter().filter(|topic| !still(topic)).cloned().collect();
        for name in indices.iter().filter(|name| !told.changed.contains(name)) {
            if gone.is_empty() {
                break;
            }
            let names: BTreeSet<String> = gone.iter().map(|topic| topic.package.clone()).collect();
            let names = names.iter().map(String::as_str).collect();
            for topic in self
                .packages(existing, name, &names)?
                .entries()
                .iter()
                .filter_map(Topic::of)
            {
                gone.remove(&topic);
            }
        }
        Ok(gone)
    }

    /// All descriptions that the indices as they are now need, from wherever they are known.
    fn all(
        &self,
        existing: &Existing<'_>,
        name: &TranslationName,
        indices: &[&IndexName],
        told: Told,
    ) -> Result<Descriptions, Failure> {
        let mut known = existing.descriptions(name)?;
        known.texts.extend(told.new.texts);
        let mut all = Descriptions::default();
        for index in indices {
            for topic in existing
                .index(index)?
                .unwrap_or_default()
                .entries()
                .iter()
                .filter_map(Topic::of)
            {
                if let Some((topic, description)) = known.texts.remove_entry(&topic) {
                    all.texts.insert(topic, description);
                }
            }
        }
        Ok(all)
    }
}

/// The splices that a list in pieces takes.
fn edit(
    pieces: &[Piece],
    told: &Told,
    gone: &BTreeSet<Topic>,
    mut read: impl FnMut(usize) -> Result<String, Failure>,
) -> Result<Vec<Splice>, Failure> {
    let mut touched: BTreeMap<usize, Vec<(&Topic, Option<&String>)>> = BTreeMap::new();
    // What is not known was apart where it came from, and stays unknown.
    let come = told
        .come
        .iter()
        .filter_map(|topic| Some((topic, Some(told.new.texts.get(topic)?))));
    for (topic, description) in come.chain(gone.iter().map(|topic| (topic, None))) {
        let number = place(pieces, &topic.package);
        touched.entry(number).or_default().push((topic, description));
    }
    let mut splices = Vec::new();
    for (number, moves) in touched {
        let there = number < pieces.len();
        let before = if there {
            Descriptions::parse(&read(number)?)
        } else {
            Descriptions::default()
        };
        let mut after = before.clone();
        for (topic, description) in moves {
            match description {
                Some(description) => after.texts.insert(topic.clone(), description.clone()),
                None => after.texts.remove(topic),
            };
        }
        if after != before {
            splices.push(Splice {
                first: number,
                count: usize::from(there),
                pieces: after.cut(),
            });
        }
    }
    Ok(splices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::NewPiece;
    use crate::pieces::TARGET;

    /// A list in pieces, as a site keeps it.
    #[derive(Default)]
    struct Pieces(Vec<NewPiece>);

    impl Pieces {
        fn edit(&mut self, told: &Told, gone: &BTreeSet<Topic>) {
            let piece = |piece: &NewPiece| Piece {
                label: piece.label.clone(),
                size: piece.text.len() as u64,
            };
            let seen: Vec<_> = self.0.iter().map(piece).collect();
            let splices = edit(&seen, told, gone, |number| Ok(self.0[number].text.clone())).unwrap();
            for splice in splices.into_iter().rev() {
                self.0.splice(splice.first..splice.first + splice.count, splice.pieces);
            }
        }

        fn text(&self) -> String {
            self.0.iter().map(|piece| piece.text.as_str()).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_say_what_a_list_from_scratch_says(
            steps in prop::collection::vec(prop::collection::btree_set(("[a-d][a-d]", "[0-3]"), 0..12), 1..6),
        ) {
            let mut pieces = Pieces::default();
            let mut before = BTreeSet::new();
            for step in steps {
                let topic = |(package, md5): (String, String)| Topic { package, md5 };
                let after: BTreeSet<Topic> = step.into_iter().map(topic).collect();
                // So long that a few fill a piece.
                let texts = after.iter().map(|topic| (topic.clone(), format!("{}\n {}", topic.md5, "x".repeat(TARGET / 3))));
                let all = Descriptions { texts: texts.collect() };
                let told = Told {
                    come: after.difference(&before).cloned().collect(),
                    new: all.clone(),
                    ..Told::default()
                };
                let gone: BTreeSet<Topic> = before.difference(&after).cloned().collect();
                pieces.edit(&told, &gone);
                let whole: String = all.cut().into_iter().map(|piece| piece.text).collect();
                prop_assert!(pieces.text() == whole);
                // Labels find every package.
                prop_assert!(pieces.0.is_sorted_by(|a, b| a.label < b.label));
                before = after;
            }
        }
    }
}
