//! Repositories that are damaged: what `foundry-host repo check` says of each damage, and what is whole again after `repair`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use foundry_host::capability::site::Digest;
use serde_json::{Value, json};

use crate::apt::{Apt, text};
use crate::operator::{done, knows, packages, refused, repo, testing_with};
use crate::package::Deb;
use crate::world::{Options, World};

const SUITE: &str = "dists/testing";
const INDEX: &str = "dists/testing/main/binary-amd64/Packages";
const ALL: [&str; 3] = ["data=1", "hello=1", "hello=2"];
const OPTIONS: Options<'_> = &[("xz", &["yes"]), ("contents", &["yes"])];

/// What may happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flipped,
    Cut,
    Lost,
}

const DAMAGES: [Damage; 3] = [Damage::Flipped, Damage::Cut, Damage::Lost];

impl Damage {
    /// What is said of a file that `Release` or an index lists.
    fn said(self) -> &'static str {
        match self {
            Self::Flipped => "its SHA-256 is ",
            Self::Cut => " are promised",
            Self::Lost => "it is missing",
        }
    }

    /// Damage a file, under all of its names.
    fn strike(self, world: &World, path: &str) {
        let path = world.repository().join(path);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Flipped => bytes[middle] ^= 1,
            Self::Cut => bytes.truncate(middle),
            Self::Lost => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }

    /// Damage a file under this name alone.
    fn strike_name(self, world: &World, path: &str) {
        let file = world.repository().join(path);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(file, bytes).unwrap();
        self.strike(world, path);
    }
}

/// A repository with some packages, of which all indices are there in all formats.
async fn testing() -> World {
    testing_with(OPTIONS).await
}

/// What a check finds, which has to be something; by paths, with what is wrong.
fn found(world: &World, arguments: &[&str]) -> Vec<(String, String)> {
    let output = repo(world, &[&["check", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let field = |problem: &Value, name: &str| problem[name].as_str().unwrap().to_owned();
    let problems = problems.iter();
    problems
        .map(|problem| (field(problem, "path"), field(problem, "what")))
        .collect()
}

/// These files, and no others, with what is wrong with each.
fn assert_found(world: &World, expected: &[(&str, &str)]) {
    let found = found(world, &["--deep"]);
    let paths =
        |found: &[(String, String)]| -> BTreeSet<String> { found.iter().map(|(path, _)| path.clone()).collect() };
    let named: BTreeSet<String> = expected.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(paths(&found), named, "{found:#?}");
    for (path, what) in expected {
        let said = |(at, said): &(String, String)| at == path && said.contains(what);
        assert!(found.iter().any(said), "{path}: {what}: {found:#?}");
    }
}

fn assert_sound(world: &World) {
    assert_eq!(done(world, &["check", "--deep"]), Value::Array(Vec::new()));
}

/// Mend it. Everything has to be there afterwards; returns what is said of it.
fn mend(world: &World) -> Value {
    let mended = done(world, &["repair", "testing"]);
    assert_sound(world);
    assert_eq!(knows(world, "testing"), ALL);
    assert_eq!(packages(&mended["removed"]), Vec::<String>::new());
    mended
}

fn names(of: &Value, path: &str) -> bool {
    of.as_array().unwrap().iter().any(|named| named == path)
}

/// Where a listed file is found by its digest.
fn by_hash(world: &World, path: &str) -> String {
    let bytes = fs::read(world.repository().join(path)).unwrap();
    let (directory, _) = path.rsplit_once('/').unwrap();
    format!("{directory}/by-hash/SHA256/{}", Digest::of(&bytes).sha256)
}

fn all_copies(world: &World, index: &str) -> Vec<String> {
    let files = ["gz", "zst", "xz"].map(|suffix| format!("{index}.{suffix}"));
    let copies = files.iter().map(|file| by_hash(world, file)).collect::<Vec<_>>();
    files.into_iter().chain(copies).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_damaged_in_one_format_is_written_anew_from_another() {
    let world = testing().await;
    assert_sound(&world);
    for suffix in ["gz", "zst", "xz"] {
        for damage in DAMAGES {
            let path = format!("{INDEX}.{suffix}");
            let whole = fs::read(world.repository().join(&path)).unwrap();
            damage.strike_name(&world, &path);
            assert_found(&world, &[(&path, damage.said())]);
            let mended = mend(&world);
            assert!(names(&mended["mended"], &path), "{damage:?}: {mended}");
            assert!(fs::read(world.repository().join(&path)).unwrap() == whole, "{path}");
        }
    }
    // Under both of its names: they are one file.
    let path = format!("{INDEX}.gz");
    let digest = by_hash(&world, &path);
    Damage::Flipped.strike(&world, &path);
    assert_found(&world, &[(&path, "its SHA-256 is "), (&digest, "its SHA-256 is ")]);
    mend(&world);
    let contents = format!("{SUITE}/main/Contents-amd64.gz");
    Damage::Cut.strike_name(&world, &contents);
    assert_found(&world, &[(&contents, " are promised")]);
    mend(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_by_its_digest_is_what_that_says_or_goes() {
    let world = testing().await;
    for (path, damage) in [
        (format!("{INDEX}.zst"), Damage::Flipped),
        (format!("{INDEX}.gz"), Damage::Lost),
        (format!("{SUITE}/main/binary-amd64/Release"), Damage::Lost),
        (format!("{SUITE}/main/binary-amd64/Release"), Damage::Cut),
    ] {
        let digest = by_hash(&world, &path);
        damage.strike_name(&world, &digest);
        assert_found(&world, &[(&digest, damage.said())]);
        assert!(names(&mend(&world)["mended"], &digest));
    }
    // One that only clients with an older InRelease ask for.
    let directory = world.repository().join(SUITE).join("main/binary-amd64/by-hash/SHA256");
    let release = world.read("dists/testing/Release");
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let superseded = files.into_iter().find(|name| !release.contains(name)).unwrap();
    let path = format!("{SUITE}/main/binary-amd64/by-hash/SHA256/{superseded}");
    Damage::Flipped.strike(&world, &path);
    assert_eq!(
        done(&world, &["check"]),
        Value::Array(Vec::new()),
        "it takes a deep look"
    );
    assert_found(&world, &[(&path, "its SHA-256 is ")]);
    assert!(names(&mend(&world)["files"], &path));
    assert!(!world.repository().join(&path).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn indices_of_which_all_formats_are_damaged_come_from_their_other_names() {
    let world = testing().await;
    for damage in DAMAGES {
        let copies = all_copies(&world, INDEX);
        let named = copies.iter().take(3);
        for path in named.clone() {
            damage.strike_name(&world, path);
        }
        let expected: Vec<_> = named.map(|path| (path.as_str(), damage.said())).collect();
        assert_found(&world, &expected);
        mend(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_is_left_of_is_said_and_comes_back_from_a_snapshot() {
    let world = testing().await;
    for damage in [Damage::Cut, Damage::Lost] {
        let copies = all_copies(&world, INDEX);
        let backup = fs::read(world.repository().join(format!("{INDEX}.xz"))).unwrap();
        for path in &copies[3..] {
            damage.strike(&world, path);
        }
        for path in copies[..3].iter().filter(|path| world.repository().join(path).exists()) {
            // Those by their digests may have been the same files.
            fs::remove_file(world.repository().join(path)).unwrap();
        }
        let problems = found(&world, &[]);
        let unreadable = problems
            .iter()
            .any(|(path, what)| path == INDEX && what.starts_with("cannot read "));
        assert!(unreadable, "{problems:#?}");
        // Neither the operator nor distbot goes on as if there had been no packages.
        let before = world.everything();
        let (code, said) = refused(&world, &["repair", "testing"]);
        assert!(
            code == 5 && said.contains("nothing is left") && said.contains("Packages"),
            "{code} {said}"
        );
        let (code, said) = refused(&world, &["gc"]);
        assert!(code == 5 && said.contains(INDEX), "{code} {said}");
        let distbot = world.distbot(&[OPTIONS, &[("codename", &["testing"])]].concat()).await;
        let new = world.build(&[Deb::new("new", "1", "amd64")]).await;
        let why = distbot.postpone_about(&json!({}), "main", &new).await;
        assert!(why.contains("the suite testing can't be read: "), "{why}");
        let known = world.build(&[Deb::new("hello", "3", "amd64")]).await;
        let failure = distbot.refuse("main", &known).await;
        assert_eq!(failure["phase"], "repository", "{failure}");
        assert!(world.everything() == before);

        if damage == Damage::Cut {
            // One of the files comes back.
            fs::write(world.repository().join(format!("{INDEX}.xz")), backup).unwrap();
            mend(&world);
            done(&world, &["snapshot", "testing", "monday"]);
        } else {
            let (_, said) = refused(&world, &["repair", "testing"]);
            assert!(
                said.contains("foundry-host repo rollback, of which there are: monday"),
                "{said}"
            );
            done(&world, &["rollback", "testing", "monday"]);
            assert_sound(&world);
            assert_eq!(knows(&world, "testing"), ALL);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_files_are_written_anew_from_each_other() {
    let world = testing().await;
    let [signed, release, detached] = ["InRelease", "Release", "Release.gpg"].map(|file| format!("{SUITE}/{file}"));
    for (path, damage, said) in [
        (&signed, Damage::Cut, "it can't be read: it is not a Release file"),
        (&signed, Damage::Flipped, "its signature does not hold: "),
        (&signed, Damage::Lost, "it is missing"),
        (&release, Damage::Lost, "it is missing"),
        (&detached, Damage::Cut, "it is not the signature of Release: "),
        (&detached, Damage::Flipped, "it is not the signature of Release: "),
        (&detached, Damage::Lost, "it is missing"),
    ] {
        damage.strike(&world, path);
        assert_found(&world, &[(path, said)]);
        assert!(names(&mend(&world)["mended"], path), "{path} {damage:?}");
    }
    // Its end alone, in which there is nothing but the signature.
    let whole = fs::read(world.repository().join(&signed)).unwrap();
    fs::write(world.repository().join(&signed), &whole[..whole.len() - 100]).unwrap();
    assert_found(&world, &[(&signed, "it can't be read")]);
    mend(&world);
    // Neither of them alone can be told from a whole one.
    Damage::Cut.strike(&world, &release);
    let expected = [
        (release.as_str(), "it says something else than InRelease"),
        (detached.as_str(), "it is not the signature of Release"),
    ];
    assert_found(&world, &expected);
    mend(&world);

    Damage::Cut.strike(&world, &signed);
    Damage::Cut.strike(&world, &release);
    let before = world.everything();
    let (code, said) = refused(&world, &["repair", "testing"]);
    assert!(
        code == 5 && said.contains("neither dists/testing/InRelease nor"),
        "{code} {said}"
    );
    assert!(world.everything() == before);
    // As it says.
    for path in [&signed, &release] {
        fs::remove_file(world.repository().join(path)).unwrap();
    }
    let lost = found(&world, &[]);
    assert!(lost.contains(&(signed.clone(), "it is missing".to_owned())), "{lost:?}");
    let distbot = world.distbot(&[OPTIONS, &[("codename", &["testing"])]].concat()).await;
    distbot.refresh().await;
    assert_sound(&world);
    assert_eq!(knows(&world, "testing"), ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_read_need_only_the_key() {
    let world = testing().await;
    let records = ".foundry/suites/testing.json";
    Damage::Cut.strike(&world, records);
    assert_found(&world, &[(records, "it can't be read: ")]);
    let (code, said) = refused(&world, &["repair", "testing"]);
    assert!(code == 5 && said.contains("--gpg-key"), "{code} {said}");
    done(&world, &["repair", "testing", "--gpg-key", &world.key]);
    assert_sound(&world);
    assert_eq!(knows(&world, "testing"), ALL);
    // No one knows any more since when older indices are superseded.
    let collected = done(&world, &["gc"]);
    let files = collected["files"].as_array().unwrap();
    let is_index = |file: &Value| file.as_str().unwrap().contains("/by-hash/");
    assert!(!files.is_empty() && files.iter().all(is_index), "{collected}");
    assert_sound(&world);
    assert_eq!(knows(&world, "testing"), ALL);
    let distbot = world.distbot(&[OPTIONS, &[("codename", &["testing"])]].concat()).await;
    distbot
        .publish("main", &world.build(&[Deb::new("new", "1", "amd64")]).await)
        .await;
    assert_eq!(
        done(&world, &["gc"])["files"],
        Value::Array(Vec::new()),
        "these have records"
    );
}

/// Where it is written down how an index came to be.
fn table(world: &World) -> PathBuf {
    world.repository().join(format!(".foundry/texts/{INDEX}.json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lies_is_found_and_one_that_is_damaged_counts_as_lost() {
    let world = testing().await;
    let publish = async |name: &str| {
        let distbot = world.distbot(&[OPTIONS, &[("codename", &["testing"])]].concat()).await;
        distbot
            .publish("main", &world.build(&[Deb::new(name, "1", "amd64")]).await)
            .await;
    };
    let written = fs::read_to_string(table(&world)).unwrap();
    let (_, json) = written.split_once('\n').unwrap();
    // With the right digest, as whoever forges it would do.
    let lie = json.replacen("\"label\":\"data\"", "\"label\":\"zzz\"", 1);
    assert_ne!(lie, json);
    let digest = Digest::of(lie.as_bytes()).sha256;
    fs::write(table(&world), format!("{digest}\n{lie}")).unwrap();
    let path = format!(".foundry/texts/{INDEX}.json");
    assert_found(&world, &[(&path, "piece 0 begins with \"data\", not with \"zzz\"")]);
    assert!(names(&mend(&world)["mended"], &path));
    publish("later").await;
    assert_sound(&world);

    // Without it, no one believes it.
    let written = fs::read_to_string(table(&world)).unwrap();
    fs::write(
        table(&world),
        written.replacen("\"label\":\"data\"", "\"label\":\"zzz\"", 1),
    )
    .unwrap();
    assert_sound(&world);
    publish("more").await;
    assert_sound(&world);
    assert_eq!(
        knows(&world, "testing"),
        ["data=1", "hello=1", "hello=2", "later=1", "more=1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_whose_files_are_damaged_are_taken_out_and_no_others() {
    let world = testing().await;
    let path = "pool/main/h/hello/hello_1_amd64.deb";
    Damage::Cut.strike_name(&world, path);
    assert_found(&world, &[(path, " are promised")]);
    let would = done(&world, &["repair", "testing", "--dry-run"]);
    assert_eq!(packages(&would["removed"]), ["hello=1"]);
    assert_found(&world, &[(path, " are promised")]);
    let mended = done(&world, &["repair", "testing"]);
    assert_eq!(packages(&mended["removed"]), ["hello=1"]);
    assert_sound(&world);
    assert_eq!(knows(&world, "testing"), ["data=1", "hello=2"]);
    let apt = Apt::local(&world.repository(), "testing");
    apt.update();
    assert_eq!(apt.content("hello"), "hello 2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_into_an_index_that_ends_between_two_pieces_keeps_all_packages() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot.publish("main", &world.build(&crate::xz::many("1")).await).await;
    let path = world.repository().join("dists/stable/main/binary-amd64/Packages.gz");
    let bytes = fs::read(&path).unwrap();
    // Each piece is a member of its own: what is left unpacks without a word.
    let second = (1..bytes.len())
        .find(|at| bytes[*at..].starts_with(&bytes[..4]))
        .unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes[..second]).unwrap();
    assert!(
        world
            .index("dists/stable/main/binary-amd64/Packages")
            .matches("Package: ")
            .count()
            < 40
    );
    distbot
        .publish("main", &world.build(&[Deb::new("new", "1", "amd64")]).await)
        .await;
    assert_eq!(knows(&world, "stable").len(), 41);
    assert_sound(&world);
}
