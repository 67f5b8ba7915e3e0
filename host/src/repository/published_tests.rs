//! Indices as they are published, whatever happened to them, beside those that are made from scratch.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use apt_repository::existing::Existing;
use apt_repository::host::{Extras, Transaction as _};
use apt_repository::index::{Entry, Index, IndexName};
use apt_repository::operate::{self, Changes, Contents, Selection};
use apt_repository::pieces::{Edits, Sizes};
use apt_repository::release::Automatic;
use apt_repository::settings::Settings;
use apt_repository::suite::Update;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::native::{Native, SiteTransaction};
use crate::capability::site::{Digest, Sites, sha512_of};
use crate::keys::{KeyStore, NewKey, PassphraseSource, Role};

/// Small enough that a few packages have several pieces, and a second part.
const SMALL: Sizes = Sizes {
    piece: 600,
    large: 2000,
    share: 4,
    batch: 1500,
};

const INDEX: &str = "main/binary-amd64/Packages";

fn name() -> IndexName {
    IndexName::from_path(INDEX).unwrap()
}

/// What has the keys, for all repositories of a test.
pub(super) struct Office {
    pub(super) runtime: Runtime,
    native: Native,
    pub(super) settings: Settings,
    fingerprint: String,
    _keys: tempfile::TempDir,
}

impl Office {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(directory.path().join("keys")).unwrap();
        let key = keys
            .generate(Role::Repository, &NewKey::new("test <test@example.org>"))
            .unwrap();
        Self::of(keys, key.fingerprint.to_string(), directory)
    }

    /// With a key that is there, in the directory or elsewhere.
    pub(super) fn of(keys: KeyStore, fingerprint: String, directory: tempfile::TempDir) -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            native: Native {
                keys,
                passphrases: PassphraseSource::none(),
            },
            settings: Settings {
                key: fingerprint.clone(),
                older_keys: Vec::new(),
                architectures: vec!["amd64".to_owned()],
                description: "Packages of the tests".to_owned(),
                component: "main".to_owned(),
                debug_component: None,
                origin: "test".to_owned(),
                label: "test".to_owned(),
                suite: None,
                automatic: Automatic::Yes,
                valid_for: None,
                keep: None,
                superseded_limit: 0,
                contents: false,
                split_descriptions: false,
                extras: Extras { xz: true },
                sha512: true,
            },
            fingerprint,
            _keys: directory,
        }
    }

    fn begin(&self, site: &Path) -> SiteTransaction {
        let transaction = self.runtime.block_on(Sites::new().begin(site)).unwrap();
        SiteTransaction::new(self.runtime.handle().clone(), transaction)
    }

    fn contents(&self, site: &Path, suite: &str) -> Contents {
        operate::contents(&Existing::read(&self.begin(site), suite).unwrap()).unwrap()
    }

    pub(super) fn change(&self, site: &Path, suite: &str, changes: &Changes) {
        let transaction = self.begin(site);
        let update = Update {
            host: &self.native,
            transaction: &transaction,
            settings: &self.settings,
            fingerprint: &self.fingerprint,
            codename: suite,
            sizes: SMALL,
        };
        let needed = changes.keys().cloned().collect();
        let last = update.change(&needed, |name| changes.get(name).cloned().unwrap_or_default());
        transaction.commit(&last.unwrap()).unwrap();
    }

    /// How many bytes the first part of a suite's index has.
    fn first_part(&self, site: &Path, suite: &str) -> usize {
        let text = self
            .begin(site)
            .text(&format!("dists/{suite}/{INDEX}"))
            .unwrap()
            .unwrap();
        let sorted = text.pieces.iter().take_while(|piece| !piece.label.starts_with(' '));
        sorted.map(|piece| piece.size as usize).sum()
    }
}

/// What happens to a repository of two suites at a time.
#[derive(Debug, Clone)]
enum Step {
    Add(Vec<(String, String)>),
    Remove(usize, Vec<prop::sample::Index>),
    /// The newest versions of packages, from the first suite to the second.
    Promote(Vec<String>),
    /// All versions of packages, back to the first suite.
    Copy(Vec<String>),
}

const SUITES: [&str; 2] = ["testing", "stable"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packages = |most| prop::collection::vec(("[a-e][a-e]?", "[0-9](\\.[0-9])?"), 1..most);
    let removed = |most| prop::collection::vec(any::<prop::sample::Index>(), 1..most);
    let step = prop_oneof![
        3 => packages(5).prop_map(Step::Add),
        2 => packages(15).prop_map(Step::Add),
        2 => (0..2usize, removed(4)).prop_map(|(suite, which)| Step::Remove(suite, which)),
        1 => (0..2usize, removed(40)).prop_map(|(suite, which)| Step::Remove(suite, which)),
        2 => prop::collection::vec("[a-e]", 1..4).prop_map(Step::Promote),
        1 => Just(Step::Promote(Vec::new())),
        1 => prop::collection::vec("[a-e]", 1..3).prop_map(Step::Copy),
    ];
    prop::collection::vec(step, 5..25)
}

impl Step {
    /// Which suite it changes, and how.
    fn changes(&self, suites: [&Contents; 2]) -> (usize, Changes) {
        let [testing, stable] = suites;
        let select = |first_letters: &Vec<String>, from: &Contents| Selection {
            packages: from
                .values()
                .flat_map(Index::entries)
                .map(|entry| entry.package.clone())
                .filter(|package| first_letters.is_empty() || first_letters.contains(&package[..1].to_owned()))
                .chain(["none".to_owned()])
                .collect(),
            ..Selection::default()
        };
        match self {
            Self::Add(packages) => {
                let insert = packages.iter().map(|(package, version)| entry(package, version));
                let edits = Edits {
                    insert: insert.collect(),
                    ..Edits::default()
                };
                (0, [(name(), edits)].into())
            }
            Self::Remove(suite, which) => {
                let index = suites[*suite].get(&name()).cloned().unwrap_or_default();
                let there = index.entries();
                let which = which.iter().filter(|_| !there.is_empty());
                let edits = Edits {
                    remove: which.map(|which| which.get(there).key()).collect(),
                    ..Edits::default()
                };
                (*suite, [(name(), edits)].into())
            }
            Self::Promote(which) => (1, operate::promote(testing, stable, &select(which, testing))),
            Self::Copy(which) => (0, operate::copy(stable, testing, &select(which, stable))),
        }
    }
}

fn entry(package: &str, version: &str) -> Entry {
    let paragraph = format!(
        "Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{package}_{version}.deb\nSize: 5\nSHA256: \
         {}\nDescription: {}\n",
        Digest::of(format!("{package} {version}").as_bytes()).sha256,
        "All work and no play ".repeat(5),
    );
    Index::parse(&paragraph).unwrap().take().remove(0)
}

/// The text of a suite's index, of which all published files say the same, as the signed `Release` promises.
fn published(office: &Office, site: &Path, suite: &str) -> Result<String, TestCaseError> {
    let transaction = office.begin(site);
    let existing = Existing::read(&transaction, suite).unwrap();
    let listed = existing.release.unwrap().files;
    let mut texts = BTreeSet::new();
    for (program, suffix) in [("gzip", ".gz"), ("zstd", ".zst"), ("xz", ".xz")] {
        let path = format!("{INDEX}{suffix}");
        let file = site.join("dists").join(suite).join(&path);
        let bytes = std::fs::read(&file).unwrap();
        let digest = Digest::of(&bytes);
        prop_assert_eq!(
            (digest.size, &digest.sha256),
            (listed[&path].size, &listed[&path].sha256)
        );
        let by_hash = file.with_file_name("by-hash").join("SHA256").join(&digest.sha256);
        prop_assert!(std::fs::read(by_hash).unwrap() == bytes);
        let sha512 = sha512_of(bytes.as_slice()).unwrap();
        prop_assert_eq!(Some(&sha512), listed[&path].sha512.as_ref());
        let by_hash = file.with_file_name("by-hash").join("SHA512").join(sha512);
        prop_assert!(std::fs::read(by_hash).unwrap() == bytes);
        let unpacked = Command::new(program).args(["-q", "-dc"]).arg(&file).output().unwrap();
        prop_assert!(unpacked.status.success(), "{:?}", unpacked);
        let digest = Digest::of(&unpacked.stdout);
        prop_assert_eq!(
            (digest.size, &digest.sha256),
            (listed[INDEX].size, &listed[INDEX].sha256)
        );
        texts.insert(String::from_utf8(unpacked.stdout).unwrap());
    }
    prop_assert_eq!(texts.len(), 1);
    Ok(texts.pop_first().unwrap())
}

/// Two sorted parts, or one, of which no version is in both; and the same as from scratch when they are put in order.
fn assert_says(text: &str, first_part: usize, expected: &Index) -> Result<(), TestCaseError> {
    let (sorted, recent) = text.split_at(first_part);
    let mut versions = BTreeSet::new();
    for part in [sorted, recent] {
        let index = Index::parse(part).unwrap();
        prop_assert_eq!(index.to_string(), part);
        for entry in index.entries() {
            prop_assert!(versions.insert(entry.key()), "{:?} is twice there", entry.key());
        }
    }
    prop_assert_eq!(Index::parse(text).unwrap().to_string(), expected.to_string());
    if recent.is_empty() {
        prop_assert_eq!(text, expected.to_string());
    }
    Ok(())
}

#[test]
fn what_is_published_is_what_an_index_from_scratch_says() {
    let office = Office::new();
    let (count, two_parts, merges) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut config = ProptestConfig {
        max_shrink_time: 120_000,
        ..ProptestConfig::with_source_file(file!())
    };
    // `PROPTEST_CASES=100` for a longer look.
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 10;
    }
    let mut runner = TestRunner::new(config);
    let judged = runner.run(&steps(), |steps| {
        let site = tempfile::tempdir().unwrap();
        let mut expected: BTreeMap<&str, Index> = SUITES.map(|suite| (suite, Index::default())).into();
        for suite in SUITES {
            office.change(site.path(), suite, &Changes::new());
        }
        for step in steps {
            let contents = SUITES.map(|suite| office.contents(site.path(), suite));
            let (which, changes) = step.changes([&contents[0], &contents[1]]);
            let suite = SUITES[which];
            for edits in changes.values() {
                edits.clone().apply(expected.get_mut(suite).unwrap()).unwrap();
            }
            let was_one = office.first_part(site.path(), suite) == published(&office, site.path(), suite)?.len();
            office.change(site.path(), suite, &changes);
            let text = published(&office, site.path(), suite)?;
            let first_part = office.first_part(site.path(), suite);
            assert_says(&text, first_part, &expected[suite])?;
            let is_one = first_part == text.len();
            count.set(count.get() + 1);
            two_parts.set(two_parts.get() + u32::from(!is_one));
            merges.set(merges.get() + u32::from(!was_one && is_one));
        }
        Ok(())
    });
    if let Err(why) = judged {
        panic!("{why}\n{runner}");
    }
    println!(
        "{} steps, {} with two parts, {} merges",
        count.get(),
        two_parts.get(),
        merges.get()
    );
    assert!(two_parts.get() > 10 && merges.get() > 2);
}
