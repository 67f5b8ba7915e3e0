//! Which pieces of an index a change touches.
//!
//! An index is a sorted text in pieces of some size. All paragraphs of one package name are in one piece, and a piece is
//! labelled with its first name. So the pieces that a change concerns are found without reading any.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Failure;
use crate::host::{NewPiece, Piece, Splice};
use crate::index::{Entry, Index, Key};

/// Bytes of a piece when it is cut. Smaller ones are quicker to compress, larger ones compress better.
pub const TARGET: usize = 128 * 1024;

/// How much goes where in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a piece when it is cut.
    pub piece: usize,
    /// Bytes that an index has before it gets a [second part](crate::recent). Less is hashed within a few milliseconds.
    pub large: u64,
    /// The second part is at most one in so many bytes of the first.
    pub share: u64,
    /// Bytes of new text after which it is handed over, so that memory doesn't have to hold a whole index.
    pub batch: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            piece: TARGET,
            large: 8 << 20,
            share: 8,
            batch: 16 << 20,
        }
    }
}

/// What is to happen to an index.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Packages to add.
    pub insert: Vec<Entry>,
    /// Packages to remove; they need not be there.
    pub remove: Vec<Key>,
    /// Whether the index is written anew, even if nothing else happens to it.
    pub rewrite: bool,
}

impl Edits {
    /// Whether nothing is to happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.insert.is_empty() && self.remove.is_empty() && !self.rewrite
    }

    /// Carry them out on a whole index. True if that changed it.
    ///
    /// # Errors
    /// [`Failure::Conflict`] if a version is there with other bytes.
    pub fn apply(self, index: &mut Index) -> Result<bool, Failure> {
        let mut changed = false;
        for key in &self.remove {
            changed |= index.remove(key);
        }
        changed |= index.merge(self.insert)?;
        Ok(changed)
    }
}

/// What came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Packages that weren't there before.
    pub come: Vec<Entry>,
    /// Packages that aren't there any more.
    pub gone: Vec<Entry>,
    /// Those that stay, at least of the names that the others have.
    pub left: Vec<Entry>,
}

impl Difference {
    /// The difference between two lists.
    #[must_use]
    pub fn between(before: &[Entry], after: &[Entry]) -> Self {
        let texts =
            |entries: &'_ [Entry]| -> BTreeSet<String> { entries.iter().map(|entry| entry.text.clone()).collect() };
        let (then, now) = (texts(before), texts(after));
        let missing = |entries: &[Entry], in_which: &BTreeSet<String>| -> Vec<Entry> {
            let missing = entries.iter().filter(|entry| !in_which.contains(&entry.text));
            missing.cloned().collect()
        };
        let left = after.iter().filter(|entry| then.contains(&entry.text));
        Self {
            come: missing(after, &then),
            gone: missing(before, &now),
            left: left.cloned().collect(),
        }
    }

    fn extend(&mut self, other: Self) {
        self.come.extend(other.come);
        self.gone.extend(other.gone);
        self.left.extend(other.left);
    }
}

/// Carry out edits on an index in pieces of some size, which `read` reads. Returns the splices that it takes, none if nothing changes; and
/// the packages that came or went.
///
/// # Errors
/// [`Failure::Conflict`] if a version is there with other bytes, and those of `read`.
pub fn edit(
    pieces: &[Piece],
    edits: Edits,
    target: usize,
    mut read: impl FnMut(usize) -> Result<Index, Failure>,
) -> Result<(Vec<Splice>, Difference), Failure> {
    let mut touched: BTreeMap<usize, Edits> = BTreeMap::new();
    for entry in edits.insert {
        let edits = touched.entry(place(pieces, &entry.package)).or_default();
        edits.insert.push(entry);
    }
    for key in edits.remove {
        touched.entry(place(pieces, &key.package)).or_default().remove.push(key);
    }
    let mut splices = Vec::new();
    let mut difference = Difference::default();
    for (number, edits) in touched {
        let there = number < pieces.len();
        let before = if there { read(number)? } else { Index::default() };
        let mut index = before.clone();
        if edits.apply(&mut index)? {
            // All versions of a package are in one piece.
            difference.extend(Difference::between(before.entries(), index.entries()));
            splices.push(Splice {
                first: number,
                count: usize::from(there),
                pieces: cut(&index, target),
            });
        }
    }
    if is_fragmented(pieces, &splices, target) {
        splices = rewrite(pieces, splices, target, read)?;
    }
    Ok((splices, difference))
}

/// The pieces of a whole index, of some size.
#[must_use]
pub fn cut(index: &Index, target: usize) -> Vec<NewPiece> {
    let total: usize = index.entries().iter().map(|entry| entry.text.len() + 1).sum();
    // One that is touched again and again is not cut again and again.
    let limit = if total <= 2 * target { 2 * target } else { target };
    let mut pieces: Vec<NewPiece> = Vec::new();
    let mut last = None;
    for entry in index.entries() {
        match pieces.last_mut() {
            Some(piece) if last == Some(&entry.package) || piece.text.len() < limit => {
                piece.text.push_str(&entry.text);
                piece.text.push('\n');
            }
            _ => pieces.push(NewPiece {
                label: entry.package.clone(),
                text: format!("{}\n", entry.text),
            }),
        }
        last = Some(&entry.package);
    }
    pieces
}

/// The piece that a name is in, or would be.
#[must_use]
pub fn place(pieces: &[Piece], name: &str) -> usize {
    pieces
        .partition_point(|piece| piece.label.as_str() <= name)
        .saturating_sub(1)
}

/// Whether so much was removed that the pieces have become small on average.
fn is_fragmented(pieces: &[Piece], splices: &[Splice], target: usize) -> bool {
    let before: u64 = pieces.iter().map(|piece| piece.size).sum();
    let gone: u64 = splices
        .iter()
        .flat_map(|splice| pieces.iter().skip(splice.first).take(splice.count))
        .map(|piece| piece.size)
        .sum();
    let new = || splices.iter().flat_map(|splice| &splice.pieces);
    let come: usize = new().map(|piece| piece.text.len()).sum();
    let count = pieces.len() + new().count() - splices.iter().map(|splice| splice.count).sum::<usize>();
    let bytes = (before - gone) as usize + come;
    !splices.is_empty() && count > 8 + 4 * bytes / target
}

/// All pieces anew, evenly cut.
fn rewrite(
    pieces: &[Piece],
    splices: Vec<Splice>,
    target: usize,
    mut read: impl FnMut(usize) -> Result<Index, Failure>,
) -> Result<Vec<Splice>, Failure> {
    let mut changed: BTreeMap<usize, Vec<NewPiece>> = splices
        .into_iter()
        .map(|splice| (splice.first, splice.pieces))
        .collect();
    let mut whole = Index::default();
    for number in 0..pieces.len() {
        match changed.remove(&number) {
            Some(pieces) => {
                for piece in pieces {
                    whole.append(Index::parse(&piece.text)?);
                }
            }
            None => whole.append(read(number)?),
        }
    }
    Ok(vec![Splice {
        first: 0,
        count: pieces.len(),
        pieces: cut(&whole, target),
    }])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An index in pieces, as a site keeps it.
    #[derive(Default)]
    struct Pieces(Vec<NewPiece>);

    impl Pieces {
        fn edit(&mut self, edits: Edits) -> Result<(), Failure> {
            let seen: Vec<_> = self
                .0
                .iter()
                .map(|piece| Piece {
                    label: piece.label.clone(),
                    size: piece.text.len() as u64,
                })
                .collect();
            let (splices, _) = edit(&seen, edits, TARGET, |number| {
                Ok(Index::parse(&self.0[number].text).unwrap())
            })?;
            for splice in splices.into_iter().rev() {
                self.0.splice(splice.first..splice.first + splice.count, splice.pieces);
            }
            Ok(())
        }

        fn text(&self) -> String {
            self.0.iter().map(|piece| piece.text.as_str()).collect()
        }
    }

    /// A paragraph so long that a few of them fill a piece.
    fn entry(package: &str, version: &str) -> Entry {
        let index = Index::parse(&format!(
            "Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{package}_{version}.deb\nSHA256: \
             {}\nDescription: {}\n",
            "a".repeat(64),
            "x".repeat(TARGET / 6)
        ))
        .unwrap();
        index.take().remove(0)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Vec<(String, String)>),
        Remove(Vec<(String, String)>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let packages = || prop::collection::vec(("[a-e][a-e]?", "[0-9](\\.[0-9])?(~rc1)?"), 1..12);
        let step = prop_oneof![
            2 => packages().prop_map(Step::Insert),
            1 => packages().prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 1..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_say_what_a_whole_index_says(steps in steps()) {
            let mut pieces = Pieces::default();
            let mut whole = Index::default();
            for step in steps {
                let edits = match step {
                    Step::Insert(packages) => Edits {
                        insert: packages.iter().map(|(package, version)| entry(package, version)).collect(),
                        ..Edits::default() },
                    Step::Remove(packages) => Edits {
                        remove: packages.iter().map(|(package, version)| entry(package, version).key()).collect(),
                        ..Edits::default()
                    },
                };
                edits.clone().apply(&mut whole).unwrap();
                pieces.edit(edits).unwrap();
                prop_assert_eq!(pieces.text(), whole.to_string());
                // Labels find every name, and pieces stay of a sensible size.
                prop_assert!(pieces.0.is_sorted_by(|a, b| a.label < b.label));
                let bytes: usize = pieces.0.iter().map(|piece| piece.text.len()).sum();
                prop_assert!(pieces.0.len() <= 8 + 4 * bytes / TARGET);
            }
        }
    }

    #[test]
    fn one_package_touches_one_piece() {
        let mut pieces = Pieces::default();
        let insert = (0..200).map(|number| entry(&format!("p{number:03}"), "1")).collect();
        pieces
            .edit(Edits {
                insert,
                ..Edits::default()
            })
            .unwrap();
        assert!(pieces.0.len() > 20);
        let before = pieces.0.clone();
        let insert = vec![entry("p100a", "1")];
        pieces
            .edit(Edits {
                insert,
                ..Edits::default()
            })
            .unwrap();
        let changed = pieces.0.iter().zip(&before).filter(|(new, old)| new != old).count();
        assert_eq!(changed, 1);
    }
}
