//! Large indices: what is new in them goes to their end.
//!
//! Clients want the digest of the whole text, and a digest is of one byte after the other: a package in the middle of an index
//! costs a look at half of it. So an index from some size on has a second sorted part behind the first, for what came since,
//! and only that part is hashed for each publication. When it has become a certain share of the whole, its packages go to
//! where they belong. Whoever reads an index sorts it, and clients don't care.
//!
//! The pieces of the second part are known by their labels, which begin as no package's name does.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Failure;
use crate::host::{Piece, Splice};
use crate::index::{Entry, Index, Key};
use crate::pieces::{self, Difference, Edits, Sizes, place};

/// With what the labels of new packages' pieces begin. A field's value never does.
const MARK: char = ' ';

/// An index in pieces, as it is published.
pub trait Pieces {
    /// A piece of it, by the number that it had before any splice.
    ///
    /// # Errors
    /// The host's.
    fn read(&mut self, number: usize) -> Result<Index, Failure>;

    /// Of a piece, the packages of some names.
    ///
    /// # Errors
    /// The host's.
    fn read_only(&mut self, number: usize, names: &BTreeSet<&str>) -> Result<Index, Failure>;

    /// Change some pieces.
    ///
    /// # Errors
    /// The host's.
    fn splice(&mut self, splices: Vec<Splice>) -> Result<(), Failure>;
}

/// Carry out edits on an index in pieces. Returns which packages came or went; none if nothing changed.
///
/// # Errors
/// [`Failure::Conflict`] if a version is there with other bytes, and those of `text`.
pub fn edit(seen: &[Piece], edits: Edits, sizes: Sizes, text: &mut dyn Pieces) -> Result<Option<Difference>, Failure> {
    let parts = Parts::of(seen, sizes);
    if parts.recent.is_empty() && bytes(seen) < sizes.large {
        let (splices, difference) = pieces::edit(seen, edits, sizes.piece, |number| text.read(number))?;
        if splices.is_empty() {
            return Ok(None);
        }
        text.splice(splices)?;
        return Ok(Some(difference));
    }
    parts.edit(edits, text)
}

/// The packages of some names in an index in pieces.
///
/// # Errors
/// Those of `text`.
pub fn only(seen: &[Piece], names: &BTreeSet<&str>, text: &mut dyn Pieces) -> Result<Index, Failure> {
    let parts = Parts::of(seen, Sizes::default());
    let mut index = read_only(parts.sorted, 0, names, text)?;
    index.merge(read_only(&parts.recent, parts.sorted.len(), names, text)?.take())?;
    Ok(index)
}

/// An index of two parts.
struct Parts<'a> {
    sorted: &'a [Piece],
    /// With labels as those of the others.
    recent: Vec<Piece>,
    sizes: Sizes,
}

impl<'a> Parts<'a> {
    fn of(seen: &'a [Piece], sizes: Sizes) -> Self {
        let first = seen.iter().take_while(|piece| !piece.label.starts_with(MARK)).count();
        let (sorted, recent) = seen.split_at_checked(first).unwrap_or((seen, &[]));
        let recent = recent.iter().map(|piece| Piece {
            label: piece.label.trim_start_matches(MARK).to_owned(),
            size: piece.size,
        });
        Self {
            sorted,
            recent: recent.collect(),
            sizes,
        }
    }

    fn edit(&self, edits: Edits, text: &mut dyn Pieces) -> Result<Option<Difference>, Failure> {
        let inserted = edits.insert.iter().map(|entry| entry.package.as_str());
        let removed = edits.remove.iter().map(|key| key.package.as_str());
        let names: BTreeSet<&str> = inserted.chain(removed).collect();
        let old = read_only(self.sorted, 0, &names, text)?;
        let new = read_only(&self.recent, self.sorted.len(), &names, text)?;
        let mut before = old.clone();
        before.merge(new.take())?;
        let mut after = before.clone();
        if !edits.apply(&mut after)? {
            return Ok(None);
        }
        let difference = Difference::between(before.entries(), after.entries());
        // What is in the first part is changed there. All else is in the second one, or goes there.
        let gone = difference.gone.iter().map(Entry::key).filter(|key| !after.has(key));
        let (remove_sorted, remove_recent): (Vec<Key>, Vec<Key>) = gone.partition(|key| old.has(key));
        let come = difference.come.iter().cloned();
        let (insert_sorted, insert_recent): (Vec<Entry>, Vec<Entry>) = come.partition(|entry| old.has(&entry.key()));
        let in_sorted = changes(insert_sorted, remove_sorted);
        let in_recent = changes(insert_recent, remove_recent);
        let come: u64 = in_recent.insert.iter().map(|entry| entry.text.len() as u64 + 1).sum();
        if (bytes(&self.recent) + come).saturating_mul(self.sizes.share) > bytes(self.sorted) {
            self.merge(in_sorted, in_recent, text)?;
        } else {
            let (first, target) = (self.sorted.len(), self.sizes.piece);
            let (mut splices, _) = pieces::edit(self.sorted, in_sorted, target, |number| text.read(number))?;
            let (recent, _) = pieces::edit(&self.recent, in_recent, target, |number| text.read(first + number))?;
            splices.extend(recent.into_iter().map(|splice| marked(splice, first)));
            text.splice(splices)?;
        }
        Ok(Some(difference))
    }

    /// Have one part again, with everything where it belongs.
    fn merge(&self, in_sorted: Edits, in_recent: Edits, text: &mut dyn Pieces) -> Result<(), Failure> {
        let first = self.sorted.len();
        let mut recent = Index::default();
        for number in 0..self.recent.len() {
            recent.append(text.read(first + number)?);
        }
        in_recent.apply(&mut recent)?;
        let mut touched: BTreeMap<usize, Edits> = BTreeMap::new();
        for entry in recent.take().into_iter().chain(in_sorted.insert) {
            let edits = touched.entry(place(self.sorted, &entry.package)).or_default();
            edits.insert.push(entry);
        }
        for key in in_sorted.remove {
            let edits = touched.entry(place(self.sorted, &key.package)).or_default();
            edits.remove.push(key);
        }
        // From the end on, so that the pieces that are still to come keep their numbers.
        let mut batch = vec![Splice {
            first,
            count: self.recent.len(),
            pieces: Vec::new(),
        }];
        let mut size = 0;
        for (number, edits) in touched.into_iter().rev() {
            let there = number < first;
            let mut index = if there { text.read(number)? } else { Index::default() };
            edits.apply(&mut index)?;
            let pieces = pieces::cut(&index, self.sizes.piece);
            size += pieces.iter().map(|piece| piece.text.len()).sum::<usize>();
            batch.push(Splice {
                first: number,
                count: usize::from(there),
                pieces,
            });
            if size >= self.sizes.batch {
                hand_over(&mut batch, text)?;
                size = 0;
            }
        }
        hand_over(&mut batch, text)
    }
}

/// Splices that were collected from the end on.
fn hand_over(batch: &mut Vec<Splice>, text: &mut dyn Pieces) -> Result<(), Failure> {
    let mut splices = std::mem::take(batch);
    splices.reverse();
    if splices.is_empty() {
        Ok(())
    } else {
        text.splice(splices)
    }
}

fn changes(insert: Vec<Entry>, remove: Vec<Key>) -> Edits {
    Edits {
        insert,
        remove,
        ..Edits::default()
    }
}

/// A splice of the second part as one of the whole.
fn marked(mut splice: Splice, first: usize) -> Splice {
    splice.first += first;
    for piece in &mut splice.pieces {
        piece.label.insert(0, MARK);
    }
    splice
}

fn bytes(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.size).sum()
}

/// The packages of some names in a part, whose first piece has this number.
fn read_only(part: &[Piece], first: usize, names: &BTreeSet<&str>, text: &mut dyn Pieces) -> Result<Index, Failure> {
    let mut touched: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for name in names {
        touched.entry(place(part, name)).or_default().insert(name);
    }
    let mut index = Index::default();
    for (number, names) in touched.into_iter().filter(|(number, _)| *number < part.len()) {
        index.append(text.read_only(first + number, &names)?);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::host::NewPiece;

    /// Small enough that a few packages make an index large.
    const SMALL: Sizes = Sizes {
        piece: 600,
        large: 2000,
        share: 4,
        batch: 1500,
    };

    /// An index in pieces, as a site keeps it.
    #[derive(Default)]
    struct Site {
        pieces: Vec<NewPiece>,
        reads: BTreeSet<usize>,
        splices: Vec<Splice>,
    }

    impl Site {
        fn seen(&self) -> Vec<Piece> {
            let piece = |piece: &NewPiece| Piece {
                label: piece.label.clone(),
                size: piece.text.len() as u64,
            };
            self.pieces.iter().map(piece).collect()
        }

        fn edit(&mut self, edits: Edits, sizes: Sizes) -> Option<Difference> {
            let seen = self.seen();
            (self.reads, self.splices) = (BTreeSet::new(), Vec::new());
            edit(&seen, edits, sizes, self).unwrap()
        }

        fn text(&self) -> String {
            self.pieces.iter().map(|piece| piece.text.as_str()).collect()
        }

        fn parts(&self) -> (&[NewPiece], &[NewPiece]) {
            let first = self.pieces.iter().take_while(|piece| !piece.label.starts_with(MARK));
            self.pieces.split_at(first.count())
        }
    }

    impl Pieces for Site {
        fn read(&mut self, number: usize) -> Result<Index, Failure> {
            self.reads.insert(number);
            Ok(Index::parse(&self.pieces[number].text).unwrap())
        }

        fn read_only(&mut self, number: usize, names: &BTreeSet<&str>) -> Result<Index, Failure> {
            self.reads.insert(number);
            Ok(Index::parse_only(&self.pieces[number].text, names).unwrap())
        }

        fn splice(&mut self, splices: Vec<Splice>) -> Result<(), Failure> {
            assert!(splices.is_sorted_by(|a, b| a.first + a.count <= b.first));
            for splice in splices.iter().rev() {
                let range = splice.first..splice.first + splice.count;
                self.pieces.splice(range, splice.pieces.clone());
            }
            self.splices.extend(splices);
            Ok(())
        }
    }

    fn entry(package: &str, version: &str, length: usize) -> Entry {
        let index = Index::parse(&format!(
            "Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{package}_{version}.deb\nSHA256: \
             {}\nDescription: {}\n",
            "a".repeat(64),
            "x".repeat(length)
        ));
        index.unwrap().take().remove(0)
    }

    fn insert(packages: &[(String, String)], length: usize) -> Edits {
        let entries = packages
            .iter()
            .map(|(package, version)| entry(package, version, length));
        changes(entries.collect(), Vec::new())
    }

    /// What happens to an index at a time.
    #[derive(Debug, Clone)]
    struct Step {
        insert: Vec<(String, String)>,
        /// Of the packages that are there.
        remove: Vec<prop::sample::Index>,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let packages = |most| prop::collection::vec(("[a-h][a-h]?", "[0-9](\\.[0-9])?"), 0..most);
        let removed = |most| prop::collection::vec(any::<prop::sample::Index>(), 0..most);
        let step = prop_oneof![
            6 => (packages(5), removed(3)),
            2 => (packages(12), removed(1)),
            2 => (packages(2), removed(12)),
            1 => (packages(1), removed(80)),
        ];
        let step = step.prop_map(|(insert, remove)| Step { insert, remove });
        prop::collection::vec(step, 1..60)
    }

    impl Step {
        fn edits(&self, whole: &Index) -> Edits {
            let there = whole.entries();
            let removed = self.remove.iter().filter(|_| !there.is_empty());
            Edits {
                remove: removed.map(|which| which.get(there).key()).collect(),
                ..insert(&self.insert, 100)
            }
        }
    }

    /// What has to have happened for the steps to be worth something.
    #[derive(Debug, Default)]
    struct Seen {
        begun: Cell<u64>,
        merged: Cell<u64>,
        split_by_a_merge: Cell<u64>,
        split_at_the_end: Cell<u64>,
        shrunk: Cell<u64>,
        emptied: Cell<u64>,
    }

    impl Seen {
        /// By the numbers of pieces in both parts.
        fn step(&self, before: (usize, usize), after: (usize, usize)) {
            let happened = |what: &Cell<u64>, did: bool| what.set(what.get() + u64::from(did));
            let merged = before.1 > 0 && after.1 == 0 && after.0 > 0;
            happened(&self.begun, before.1 == 0 && after.1 > 0);
            happened(&self.merged, merged);
            happened(&self.split_by_a_merge, merged && after.0 > before.0);
            happened(&self.split_at_the_end, before.1 > 0 && after.1 > before.1);
            happened(&self.shrunk, before.1 > 0 && after.1 > 0 && after.0 < before.0);
            happened(&self.emptied, before.0 > 1 && after.0 <= 1);
        }

        fn least(&self) -> u64 {
            let merges = [&self.begun, &self.merged, &self.split_by_a_merge];
            let others = [&self.split_at_the_end, &self.shrunk, &self.emptied];
            let all = merges.into_iter().chain(others);
            all.map(Cell::get).min().unwrap_or_default()
        }
    }

    fn assert_says(site: &Site, whole: &Index) -> Result<(), TestCaseError> {
        // The same paragraphs, each once; byte for byte the same as from scratch when they are put in their order.
        prop_assert_eq!(site.text().len(), whole.to_string().len());
        prop_assert_eq!(Index::parse(&site.text()).unwrap().to_string(), whole.to_string());
        let (sorted, recent) = site.parts();
        let mut versions = BTreeSet::new();
        for part in [sorted, recent] {
            let text: String = part.iter().map(|piece| piece.text.as_str()).collect();
            let index = Index::parse(&text).unwrap();
            prop_assert_eq!(index.to_string(), text);
            prop_assert!(part.is_sorted_by(|a, b| a.label < b.label));
            for entry in index.entries() {
                prop_assert!(
                    versions.insert(format!("{:?}", entry.key())),
                    "{:?} is twice there",
                    entry.key()
                );
            }
        }
        if recent.is_empty() {
            prop_assert_eq!(site.text(), whole.to_string());
        }
        Ok(())
    }

    /// Thousands of steps: an index grows, gets its second part, has both split, merged, and taken away again.
    #[test]
    fn two_parts_say_what_a_whole_index_says() {
        let seen = Seen::default();
        let bytes = |part: &[NewPiece]| part.iter().map(|piece| piece.text.len() as u64).sum::<u64>();
        let mut runner = TestRunner::new(ProptestConfig::with_source_file(file!()));
        let judged = runner.run(&steps(), |steps| {
            let (mut site, mut whole) = (Site::default(), Index::default());
            for step in steps {
                let edits = step.edits(&whole);
                let before = whole.clone();
                let (sorted, recent) = site.parts();
                let (sizes, pieces) = ((bytes(sorted), bytes(recent)), (sorted.len(), recent.len()));
                let changed = edits.clone().apply(&mut whole).unwrap();
                let difference = site.edit(edits, SMALL);
                prop_assert_eq!(difference.is_some(), changed);
                if let Some(difference) = difference {
                    let expected = Difference::between(before.entries(), whole.entries());
                    prop_assert_eq!((difference.come, difference.gone), (expected.come, expected.gone));
                }
                assert_says(&site, &whole)?;
                let (sorted, recent) = site.parts();
                let is_small = bytes(recent) * SMALL.share <= sizes.0 || bytes(recent) <= sizes.1;
                prop_assert!(is_small, "{} beside {}", bytes(recent), bytes(sorted));
                seen.step(pieces, (sorted.len(), recent.len()));
            }
            Ok(())
        });
        if let Err(why) = judged {
            panic!("{why}\n{runner}");
        }
        assert!(seen.least() > 20, "{seen:?}");
    }

    /// Some thousand packages in pieces of the usual size.
    fn large() -> Site {
        let packages: Vec<_> = (0..2000)
            .map(|number| (format!("p{number:04}"), "1".to_owned()))
            .collect();
        let mut site = Site::default();
        site.edit(insert(&packages, 1000), Sizes::default());
        assert!(site.pieces.len() > 10);
        site
    }

    const MEDIUM: Sizes = Sizes {
        piece: pieces::TARGET,
        large: 1 << 20,
        share: 8,
        batch: 1 << 20,
    };

    #[test]
    fn a_new_package_of_a_large_index_is_written_at_its_end_alone() {
        let mut site = large();
        let pieces = site.pieces.len();
        for (number, name) in ["p0100a", "p1500a", "a"].into_iter().enumerate() {
            site.edit(insert(&[(name.to_owned(), "1".to_owned())], 1000), MEDIUM);
            let [splice] = site.splices.as_slice() else {
                panic!("{:?}", site.splices)
            };
            assert_eq!((splice.first, splice.count), (pieces, usize::from(number > 0)));
            // Where it would be, and where it goes.
            assert!(site.reads.len() <= 2, "{:?}", site.reads);
        }
    }

    #[test]
    fn what_is_there_changes_where_it_is_and_conflicts_wherever_it_is() {
        let mut site = large();
        site.edit(insert(&[("p0100".to_owned(), "2".to_owned())], 1000), MEDIUM);
        let other = |version: &str| Entry {
            sha256: Some("b".repeat(64)),
            ..entry("p0100", version, 0)
        };
        for version in ["1", "2"] {
            let seen = site.seen();
            let refused = edit(&seen, changes(vec![other(version)], Vec::new()), MEDIUM, &mut site);
            assert!(matches!(refused, Err(Failure::Conflict { .. })), "{refused:?}");
        }
        // The third one takes both others out of their parts.
        let mut third = insert(&[("p0100".to_owned(), "3".to_owned())], 1000);
        third.remove = ["1", "2"].map(|version| entry("p0100", version, 0).key()).to_vec();
        let difference = site.edit(third, MEDIUM).unwrap();
        let gone: Vec<_> = difference.gone.iter().map(|entry| entry.version.as_str()).collect();
        assert_eq!(gone, ["1", "2"]);
        assert_eq!(site.text().matches("Package: p0100\n").count(), 1);
    }

    #[test]
    fn a_large_merge_is_handed_over_in_batches() {
        let mut site = large();
        let packages: Vec<_> = (0..2000)
            .map(|number| (format!("p{number:04}"), "2".to_owned()))
            .collect();
        site.edit(insert(&packages, 1000), MEDIUM);
        let (_, recent) = site.parts();
        assert!(recent.is_empty());
        let whole = Index::parse(&site.text()).unwrap();
        assert_eq!((whole.entries().len(), whole.to_string()), (4000, site.text()));
    }
}
