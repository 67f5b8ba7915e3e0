//! Texts in pieces: what their files unpack to, and what is left of them when something goes wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const PATH: &str = "dists/stable/main/binary-amd64/Packages";

fn piece(label: &str, text: &str) -> NewPiece {
    NewPiece {
        label: label.to_owned(),
        text: text.as_bytes().to_vec(),
    }
}

fn splice(first: usize, count: usize, pieces: Vec<NewPiece>) -> Splice {
    Splice { first, count, pieces }
}

const NO_EXTRAS: Extras = Extras { xz: false };

async fn change(site: &Path, changes: Vec<Splice>) -> Spliced {
    change_with(site, NO_EXTRAS, changes).await
}

async fn change_with(site: &Path, extras: Extras, changes: Vec<Splice>) -> Spliced {
    let mut transaction = Sites::new().begin(site).await.unwrap();
    let spliced = transaction.splice(PATH, extras, changes).await.unwrap();
    transaction.commit(&[]).await.unwrap();
    spliced
}

/// What the usual programs make of the published files.
fn unpacked(site: &Path, extras: Extras) -> Vec<Vec<u8>> {
    // The last one as apt reads xz: nothing behind the first stream.
    let programs = [
        ("gzip -dc", "gz"),
        ("zstd -dc", "zst"),
        ("xz -dc --single-stream", "xz"),
    ];
    let programs = programs.into_iter().filter(|(_, suffix)| *suffix != "xz" || extras.xz);
    let unpack = |(program, suffix): (&str, &str)| {
        let file = site.join(format!("{PATH}.{suffix}"));
        let mut words = program.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).arg(file).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        output.stdout
    };
    programs.map(unpack).collect()
}

fn checksum(bytes: &[u8]) -> Checksum {
    let Digest { size, sha256, .. } = Digest::of(bytes);
    Checksum { size, sha256 }
}

/// The checksums are those of the files, and of what they unpack to.
fn assert_sound(site: &Path, spliced: &Spliced, expected: &[u8]) {
    assert_sound_with(site, NO_EXTRAS, spliced, expected);
}

fn assert_sound_with(site: &Path, extras: Extras, spliced: &Spliced, expected: &[u8]) {
    assert_eq!(spliced.files.len(), if extras.xz { 3 } else { 2 });
    assert_eq!(site.join(format!("{PATH}.xz")).exists(), extras.xz);
    assert_eq!(spliced.text, checksum(expected));
    for (suffix, listed) in &spliced.files {
        assert_eq!(
            *listed,
            checksum(&fs::read(site.join(format!("{PATH}{suffix}"))).unwrap()),
            "{suffix}"
        );
    }
    for text in unpacked(site, extras) {
        assert!(text == expected);
    }
}

#[tokio::test]
async fn a_changed_piece_leaves_the_others_as_they_are() {
    let site = tempfile::tempdir().unwrap();
    let first = change(
        site.path(),
        vec![splice(0, 0, vec![piece("a", "one\n"), piece("b", "two\n")])],
    )
    .await;
    assert_sound(site.path(), &first, b"one\ntwo\n");
    let second = change(
        site.path(),
        vec![splice(1, 1, vec![piece("b", "zwei\n"), piece("c", "drei\n")])],
    )
    .await;
    assert_sound(site.path(), &second, b"one\nzwei\ndrei\n");
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    let text = transaction.text(PATH).await.unwrap().unwrap();
    assert_eq!(text.checksum, second.text);
    let labels: Vec<_> = text
        .pieces
        .iter()
        .map(|piece| (piece.label.as_str(), piece.size))
        .collect();
    assert_eq!(labels, [("a", 4), ("b", 5), ("c", 5)]);
    assert_eq!(transaction.read_piece(PATH, 2).await.unwrap(), b"drei\n");

    // Twice in one transaction, and none of it if that is dropped.
    transaction
        .splice(PATH, NO_EXTRAS, vec![splice(0, 1, Vec::new())])
        .await
        .unwrap();
    let text = transaction.text(PATH).await.unwrap().unwrap();
    assert_eq!(text.pieces.len(), 2);
    transaction
        .splice(PATH, NO_EXTRAS, vec![splice(2, 0, vec![piece("d", "vier\n")])])
        .await
        .unwrap();
    assert_eq!(transaction.read_piece(PATH, 2).await.unwrap(), b"vier\n");
    drop(transaction);
    assert_sound(site.path(), &second, b"one\nzwei\ndrei\n");
}

#[tokio::test]
async fn extras_come_and_go_without_another_change() {
    let site = tempfile::tempdir().unwrap();
    change(
        site.path(),
        vec![splice(0, 0, vec![piece("a", "one\n"), piece("b", "two\n")])],
    )
    .await;
    for xz in [true, false, true] {
        let extras = Extras { xz };
        let spliced = change_with(site.path(), extras, Vec::new()).await;
        assert_sound_with(site.path(), extras, &spliced, b"one\ntwo\n");
    }
    let with_xz = Extras { xz: true };
    let spliced = change_with(site.path(), with_xz, vec![splice(0, 2, Vec::new())]).await;
    assert_sound_with(site.path(), with_xz, &spliced, b"");
}

/// The digests of the text and its files are what `sha512sum` says of them, for now and when they have been written down.
async fn assert_strong(site: &Path, expected: &[u8]) {
    let paths = ["", ".gz", ".zst", ".xz", ".bz2"].map(|suffix| format!("{PATH}{suffix}"));
    let mut transaction = Sites::new().begin(site).await.unwrap();
    let digests = transaction.sha512(&paths).await.unwrap();
    assert_eq!(transaction.sha512(&paths).await.unwrap(), digests);
    transaction.commit(&[]).await.unwrap();
    let plain = tempfile::NamedTempFile::new().unwrap();
    fs::write(plain.path(), expected).unwrap();
    for (number, (path, digest)) in paths.iter().zip(digests).enumerate() {
        let file = if number == 0 {
            plain.path().to_owned()
        } else {
            site.join(path)
        };
        let output = Command::new("sha512sum").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            digest.as_deref(),
            said.split(' ').next().filter(|_| file.exists()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn sha512_is_of_what_is_there_after_the_transaction() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    transaction.write("a", b"abc".to_vec()).await.unwrap();
    let asked = ["a", "b"].map(str::to_owned);
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(transaction.sha512(&asked).await.unwrap(), [Some(abc.to_owned()), None]);
    transaction.remove("a").unwrap();
    assert_eq!(transaction.sha512(&asked).await.unwrap(), [None, None]);
    let outside = transaction.sha512(&["../a".to_owned()]).await;
    assert!(matches!(outside, Err(SiteError::BadPath(_))), "{outside:?}");

    // A text that was dropped takes its digests with it.
    let text = |text: &str| vec![splice(0, 0, vec![piece("a", text)])];
    transaction.splice(PATH, NO_EXTRAS, text("one\n")).await.unwrap();
    transaction.sha512(&[PATH.to_owned()]).await.unwrap();
    drop(transaction);
    change(site.path(), text("two\n")).await;
    assert_strong(site.path(), b"two\n").await;
}

#[tokio::test]
async fn files_that_something_else_changed_are_no_text_of_ours() {
    let site = tempfile::tempdir().unwrap();
    let known = async |expected: bool| {
        let transaction = Sites::new().begin(site.path()).await.unwrap();
        assert_eq!(transaction.text(PATH).await.unwrap().is_some(), expected);
    };
    let whole = || vec![splice(0, 0, vec![piece("a", "one\n")])];
    change(site.path(), whole()).await;
    known(true).await;
    let gz = site.path().join(format!("{PATH}.gz"));
    let bytes = fs::read(&gz).unwrap();
    fs::remove_file(&gz).unwrap();
    known(false).await;
    // The same bytes in another file: a copy from a backup, of which we can't know.
    fs::write(&gz, bytes).unwrap();
    known(false).await;
    change(site.path(), whole()).await;
    known(true).await;
    fs::write(site.path().join(PATH), "uncompressed").unwrap();
    known(false).await;
    fs::remove_file(site.path().join(PATH)).unwrap();
    known(true).await;
    fs::write(site.path().join(format!("{}/{PATH}.json", text::TEXTS)), "{}").unwrap();
    known(false).await;
    let spliced = change(site.path(), whole()).await;
    assert_sound(site.path(), &spliced, b"one\n");
}

#[tokio::test]
async fn splices_that_do_not_fit_are_refused() {
    let site = tempfile::tempdir().unwrap();
    change(
        site.path(),
        vec![splice(0, 0, vec![piece("a", "one\n"), piece("b", "two\n")])],
    )
    .await;
    for changes in [
        vec![splice(1, 2, Vec::new())],
        vec![splice(3, 0, Vec::new())],
        vec![splice(1, 1, Vec::new()), splice(0, 1, Vec::new())],
        vec![splice(0, 2, Vec::new()), splice(1, 1, Vec::new())],
        vec![splice(usize::MAX, usize::MAX, Vec::new())],
    ] {
        let mut transaction = Sites::new().begin(site.path()).await.unwrap();
        let refused = transaction.splice(PATH, NO_EXTRAS, changes).await;
        assert!(matches!(refused, Err(SiteError::BadSplice)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_link_is_the_same_file_until_one_of_them_is_written() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    transaction.write("a", b"one".to_vec()).await.unwrap();
    transaction.link("a", "by-hash/a").await.unwrap();
    assert!(transaction.link("never/was", "b").await.is_err());
    transaction.commit(&[]).await.unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    transaction.write("a", b"two".to_vec()).await.unwrap();
    transaction.commit(&[]).await.unwrap();
    assert_eq!(fs::read(site.path().join("by-hash/a")).unwrap(), b"one");
    assert_eq!(fs::read(site.path().join("a")).unwrap(), b"two");
}

/// Changes of a text of so many pieces, by where they are in it.
fn apply(pieces: &mut Vec<NewPiece>, places: &[(prop::sample::Index, bool)], texts: &[(u8, usize)]) -> Vec<Splice> {
    let mut numbers: Vec<_> = places
        .iter()
        .map(|(place, replace)| (place.index(pieces.len() + 1), *replace))
        .collect();
    numbers.sort_unstable();
    numbers.dedup_by_key(|(number, _)| *number);
    let changes: Vec<_> = numbers
        .into_iter()
        .zip(texts)
        .map(|((number, replace), (byte, size))| {
            let text = vec![*byte; *size];
            let new = NewPiece {
                label: byte.to_string(),
                text,
            };
            let new = if *size == 0 { Vec::new() } else { vec![new] };
            splice(number, usize::from(replace && number < pieces.len()), new)
        })
        .collect();
    for change in changes.iter().rev() {
        pieces.splice(change.first..change.first + change.count, change.pieces.clone());
    }
    if pieces.is_empty() {
        // A text of nothing is a piece of nothing.
        pieces.push(NewPiece::default());
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_is_spliced_it_is_the_text_and_so_are_its_checksums(
        steps in prop::collection::vec(
            (
                prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6),
                // Some so large that marks are between them.
                prop::collection::vec((any::<u8>(), prop_oneof![0usize..50, 400_000usize..900_000]), 6),
                // Mostly as it was before, which is what can go wrong when pieces are copied.
                prop::bool::weighted(0.75),
                // Whether SHA-512 is asked for.
                any::<bool>(),
            ),
            1..5,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let site = tempfile::tempdir().unwrap();
        let mut pieces = Vec::new();
        for (places, texts, xz, strong) in steps {
            let extras = Extras { xz };
            let changes = apply(&mut pieces, &places, &texts);
            let spliced = runtime.block_on(change_with(site.path(), extras, changes));
            let expected: Vec<u8> = pieces.iter().flat_map(|piece| piece.text.iter().copied()).collect();
            assert_sound_with(site.path(), extras, &spliced, &expected);
            if strong {
                runtime.block_on(assert_strong(site.path(), &expected));
            }
        }
    }
}

/// Have the table of the text say something else, and vouch for it.
fn forge(site: &Path, lie: impl Fn(&mut serde_json::Value)) {
    let path = site.join(format!("{}/{PATH}.json", text::TEXTS));
    let written = fs::read_to_string(&path).unwrap();
    let (_, json) = written.split_once('\n').unwrap();
    let mut table = serde_json::from_str(json).unwrap();
    lie(&mut table);
    let json = table.to_string();
    fs::write(path, format!("{}\n{json}", Digest::of(json.as_bytes()).sha256)).unwrap();
}

#[tokio::test]
async fn a_table_that_lies_is_found_out() {
    let site = tempfile::tempdir().unwrap();
    let with_xz = Extras { xz: true };
    let examine = async || {
        let transaction = Sites::new().begin(site.path()).await.unwrap();
        transaction.examine(PATH).await.unwrap()
    };
    // Large enough for marks.
    let text = |number: usize| format!("{number} {}\n", "x".repeat(700_000 + number));
    let pieces = || (0..4).map(|number| piece(&number.to_string(), &text(number))).collect();
    change_with(site.path(), with_xz, vec![splice(0, 0, pieces())]).await;
    assert_eq!(examine().await, None);
    type Lie = fn(&mut serde_json::Value);
    let lies: [(Lie, &str); 4] = [
        (
            |table| table["text"]["sha256"] = "a".repeat(64).into(),
            "the digest of the text is another",
        ),
        (
            |table| table["rows"][2]["mark"][0] = table["rows"][2]["mark"][1].clone(),
            "the digest of the text before piece 2 is another",
        ),
        (
            |table| table["rows"][2]["mark"][3] = table["rows"][2]["mark"][1].clone(),
            "the digest of the .xz file before piece 2 is another",
        ),
        (
            |table| {
                let first = table["rows"][0]["sizes"][0].take();
                table["rows"][0]["sizes"][0] = table["rows"][1]["sizes"][0].take();
                table["rows"][1]["sizes"][0] = first;
            },
            "piece 0 is not where it says",
        ),
    ];
    for (lie, said) in lies {
        forge(site.path(), lie);
        assert_eq!(examine().await.as_deref(), Some(said));
        let spliced = change_with(site.path(), with_xz, vec![splice(0, 4, pieces())]).await;
        let expected: String = (0..4).map(text).collect();
        assert_sound_with(site.path(), with_xz, &spliced, expected.as_bytes());
        assert_eq!(examine().await, None);
    }
    // One that doesn't vouch for itself counts as lost.
    let path = site.path().join(format!("{}/{PATH}.json", text::TEXTS));
    let written = fs::read_to_string(&path).unwrap();
    fs::write(&path, written.replacen("\"label\":\"1\"", "\"label\":\"9\"", 1)).unwrap();
    let transaction = Sites::new().begin(site.path()).await.unwrap();
    assert_eq!(transaction.text(PATH).await.unwrap(), None);
}
