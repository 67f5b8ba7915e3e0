//! `Contents`: which packages a file is in, for those who look for a file that they don't have (as `apt-file` does).
//!
//! A list of contents is a text in pieces like an index, sorted by path. What changes in it follows from what changes in
//! the index beside it: only the files of packages that came or went are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::failure::Failure;
use crate::host::{NewPiece, Piece, Splice};
use crate::index::{Entry, IndexName};
use crate::pieces::{Difference, TARGET, place};

/// The list of an architecture's contents in a component: `main/Contents-amd64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentsName {
    component: String,
    architecture: String,
}

impl ContentsName {
    /// The list beside an index; none for sources and for the installer's packages.
    #[must_use]
    pub fn beside(index: &IndexName) -> Option<Self> {
        match index {
            IndexName::Binary {
                component,
                architecture,
                installer: false,
            } => Some(Self {
                component: component.clone(),
                architecture: architecture.clone(),
            }),
            _ => None,
        }
    }

    /// Whether a path below `dists/<codename>` is a list, or a compressed one.
    #[must_use]
    pub fn is_one(path: &str) -> bool {
        let file = path.split_once('/').map(|(_, file)| file);
        file.is_some_and(|file| file.starts_with("Contents-") && !file.contains('/'))
    }
}

impl fmt::Display for ContentsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/Contents-{}", self.component, self.architecture)
    }
}

/// Which packages files come to be in, and which they are in no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    files: BTreeMap<String, Move>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Move {
    into: BTreeSet<String>,
    out_of: BTreeSet<String>,
}

impl Moves {
    /// What follows from a change of the index; `files` says what is in a package.
    ///
    /// # Errors
    /// Those of `files`.
    pub fn of(
        difference: &Difference,
        files: impl Fn(&Entry) -> Result<Vec<String>, Failure>,
    ) -> Result<Self, Failure> {
        let mut moves = Self::default();
        for entry in &difference.come {
            for file in files(entry)? {
                moves.files.entry(file).or_default().into.insert(located(entry));
            }
        }
        // Another version may have the file under the same name.
        let gone: BTreeSet<_> = difference.gone.iter().map(|entry| &entry.package).collect();
        let mut still: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in difference.left.iter().filter(|entry| gone.contains(&entry.package)) {
            still.entry(located(entry)).or_default().extend(files(entry)?);
        }
        for entry in &difference.gone {
            let package = located(entry);
            for file in files(entry)? {
                if !still.get(&package).is_some_and(|still| still.contains(&file)) {
                    moves.files.entry(file).or_default().out_of.insert(package.clone());
                }
            }
        }
        Ok(moves)
    }

    /// Carry them out on a list in pieces, which `read` reads. Returns the splices that it takes.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn edit(
        self,
        pieces: &[Piece],
        mut read: impl FnMut(usize) -> Result<String, Failure>,
    ) -> Result<Vec<Splice>, Failure> {
        let mut touched: BTreeMap<usize, Vec<(String, Move)>> = BTreeMap::new();
        for (file, moved) in self.files {
            touched.entry(place(pieces, &file)).or_default().push((file, moved));
        }
        let mut splices = Vec::new();
        for (number, moves) in touched {
            let there = number < pieces.len();
            let before = if there { parse(&read(number)?) } else { Lines::new() };
            let mut lines = before.clone();
            for (file, Move { into, out_of }) in moves {
                let packages = lines.entry(file.clone()).or_default();
                packages.retain(|package| !out_of.contains(package));
                packages.extend(into);
                if packages.is_empty() {
                    lines.remove(&file);
                }
            }
            if lines != before {
                splices.push(Splice {
                    first: number,
                    count: usize::from(there),
                    pieces: cut(&lines),
                });
            }
        }
        Ok(splices)
    }
}

/// Packages by file.
type Lines = BTreeMap<String, BTreeSet<String>>;

/// Section and name, as lists of contents have them.
fn located(entry: &Entry) -> String {
    match entry.field("Section") {
        Some(section) => format!("{section}/{}", entry.package),
        None => entry.package.clone(),
    }
}

fn parse(text: &str) -> Lines {
    // A path may have blanks, the list of packages has none.
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines
        .map(|(file, packages)| {
            let packages = packages.split(',').map(str::to_owned).collect();
            (file.to_owned(), packages)
        })
        .collect()
}

fn cut(lines: &Lines) -> Vec<NewPiece> {
    let written: Vec<_> = lines
        .iter()
        .map(|(file, packages)| {
            let packages: Vec<_> = packages.iter().map(String::as_str).collect();
            (file, format!("{file} {}\n", packages.join(",")))
        })
        .collect();
    let total: usize = written.iter().map(|(_, line)| line.len()).sum();
    let limit = if total <= 2 * TARGET { 2 * TARGET } else { TARGET };
    let mut pieces: Vec<NewPiece> = Vec::new();
    for (file, line) in written {
        match pieces.last_mut() {
            Some(piece) if piece.text.len() < limit => piece.text.push_str(&line),
            _ => pieces.push(NewPiece {
                label: file.clone(),
                text: line,
            }),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::Index;

    /// A package that says itself what is in it.
    fn entry(package: &str, version: &str, files: &[String]) -> Entry {
        let index = Index::parse(&format!(
            "Package: {package}\nVersion: {version}\nArchitecture: amd64\nSection: misc\nFilename: pool/{package}\nX-Files: {}\n",
            files.join(",")
        ));
        index.unwrap().take().remove(0)
    }

    fn files(entry: &Entry) -> Result<Vec<String>, Failure> {
        let listed = entry.field("X-Files").unwrap_or_default();
        let files = listed.split(',').filter(|file| !file.is_empty());
        Ok(files.map(str::to_owned).collect())
    }

    /// The whole list, from scratch.
    fn scratch(entries: &[Entry]) -> String {
        let mut lines = Lines::new();
        for entry in entries {
            for file in files(entry).unwrap() {
                lines.entry(file).or_default().insert(located(entry));
            }
        }
        cut(&lines).into_iter().map(|piece| piece.text).collect()
    }

    #[derive(Default)]
    struct Pieces(Vec<NewPiece>);

    impl Pieces {
        fn edit(&mut self, moves: Moves) {
            let piece = |piece: &NewPiece| Piece {
                label: piece.label.clone(),
                size: piece.text.len() as u64,
            };
            let seen: Vec<_> = self.0.iter().map(piece).collect();
            let splices = moves.edit(&seen, |number| Ok(self.0[number].text.clone())).unwrap();
            for splice in splices.into_iter().rev() {
                self.0.splice(splice.first..splice.first + splice.count, splice.pieces);
            }
        }

        fn text(&self) -> String {
            self.0.iter().map(|piece| piece.text.as_str()).collect()
        }
    }

    #[test]
    fn a_file_with_blanks_keeps_them() {
        let lines = parse("usr/share/a b misc/x,misc/y\n");
        assert_eq!(lines["usr/share/a b"].len(), 2);
        assert_eq!(cut(&lines)[0].text, "usr/share/a b misc/x,misc/y\n");
    }

    #[test]
    fn names_of_lists_are_recognised() {
        let index = IndexName::from_path("main/binary-amd64/Packages").unwrap();
        let name = ContentsName::beside(&index).unwrap().to_string();
        assert_eq!(name, "main/Contents-amd64");
        assert!(ContentsName::is_one(&name) && ContentsName::is_one("main/Contents-amd64.gz"));
        assert!(!ContentsName::is_one("main/source/Sources") && !ContentsName::is_one("main/x/Contents-amd64"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_say_what_a_list_from_scratch_says(
            suites in prop::collection::vec(
                prop::collection::btree_map(("[ab]", "[12]"), prop::collection::btree_set("[a-c]{1,2}", 0..6), 0..4),
                1..6,
            ),
        ) {
            // Long paths, so that a few fill a piece.
            let long = |file: &String| format!("usr/{file}/{}", "x".repeat(TARGET / 3));
            let mut pieces = Pieces::default();
            let mut before: Vec<Entry> = Vec::new();
            for suite in suites {
                let entries = suite.iter().map(|((package, version), files)| {
                    let files: Vec<_> = files.iter().map(long).collect();
                    entry(package, version, &files)
                });
                let after: Vec<Entry> = entries.collect();
                let difference = Difference::between(&before, &after);
                pieces.edit(Moves::of(&difference, files).unwrap());
                prop_assert_eq!(pieces.text(), scratch(&after));
                prop_assert!(pieces.0.is_sorted_by(|a, b| a.label < b.label));
                before = after;
            }
        }
    }
}
