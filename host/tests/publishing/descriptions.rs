//! Long descriptions apart from the indices, in `Translation-en`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::apt::{Apt, Web};
use crate::operator::{done, refused};
use crate::package::{Deb, run};
use crate::world::World;

const SPLIT: (&str, &[&str]) = ("split-descriptions", &["yes"]);
const LIST: &str = "dists/stable/main/i18n/Translation-en";
const INDEX: &str = "dists/stable/main/binary-amd64/Packages";

/// A package that has more to say than that it is a test.
fn deb(name: &str, version: &str, architecture: &str, description: &str) -> Deb {
    Deb::new(name, version, architecture).description(description)
}

/// The paragraphs of a list, in some order.
fn paragraphs(text: &str) -> BTreeSet<String> {
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.trim_matches('\n').to_owned());
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}

/// An archive that apt-ftparchive makes of the pool, as suite `sid`.
fn archive(world: &World) -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(work.path().join("dists/sid/main/binary-amd64")).unwrap();
    std::fs::create_dir_all(work.path().join("dists/sid/main/i18n")).unwrap();
    let conf = format!(
        "Dir {{ ArchiveDir \"{0}\"; CacheDir \"{0}\"; }};\nDefault {{ Packages::Compress \".\"; Translation::Compress \".\"; \
         LongDescription \"false\"; }};\nTreeDefault {{ Directory \"pool\"; SrcDirectory \"pool\"; BinCacheDB \"\"; Contents \" \"; \
         }};\nTree \"dists/sid\" {{ Sections \"main\"; Architectures \"amd64\"; }};\n",
        work.path().display()
    );
    std::fs::write(work.path().join("conf"), conf).unwrap();
    std::os::unix::fs::symlink(world.repository().join("pool"), work.path().join("pool")).unwrap();
    run(Command::new("apt-ftparchive")
        .args(["generate", "conf"])
        .current_dir(work.path()));
    work
}

/// Its list, and the descriptions' digests in its index.
fn of_ftparchive(world: &World) -> (BTreeSet<String>, BTreeSet<String>) {
    let work = archive(world);
    let read = |path: &str| std::fs::read_to_string(work.path().join("dists/sid/main").join(path)).unwrap();
    (
        paragraphs(&read("i18n/Translation-en")),
        digests(&read("binary-amd64/Packages")),
    )
}

/// Which package has which description.
fn digests(index: &str) -> BTreeSet<String> {
    let wanted = ["Package: ", "Description: ", "Description-md5: "];
    let of_package = |paragraph: &str| -> String {
        let lines = paragraph
            .lines()
            .filter(|line| wanted.iter().any(|field| line.starts_with(field)));
        lines.collect::<Vec<_>>().join("\n")
    };
    paragraphs(index)
        .iter()
        .map(|paragraph| of_package(paragraph))
        .collect()
}

/// What apt says of a package, with the lists that it wants for its language.
fn shown(apt: &Apt, package: &str) -> String {
    apt.run("apt-cache", &["-o", "Acquire::Languages=en", "show", package])
}

fn update(apt: &Apt) {
    apt.run("apt-get", &["-o", "Acquire::Languages=en", "update", "--error-on=any"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_shows_what_the_list_says_and_the_list_is_that_of_apt_ftparchive() {
    let world = World::new().await;
    let distbot = world.distbot(&[SPLIT, ("xz", &["yes"]), ("sha512", &["yes"])]).await;
    let greets = "greets\n the whole world\n .\n  * and more";
    let first = [
        deb("hello", "1", "amd64", greets),
        deb("short", "1", "amd64", "says little"),
        deb("data", "1", "all", "data\n for all: of them"),
    ];
    distbot.publish("main", &world.build(&first).await).await;
    let second = [
        deb("hello", "2", "amd64", greets),
        deb("hello", "3", "amd64", "greets otherwise\n and longer"),
        deb("a-first", "1", "amd64", "comes first\n in the list"),
    ];
    distbot.publish("main", &world.build(&second).await).await;
    let (list, of_packages) = of_ftparchive(&world);
    assert_eq!(paragraphs(&world.index(LIST)), list);
    assert_eq!(list.len(), 5);
    assert_eq!(digests(&world.index(INDEX)), of_packages);
    let order: Vec<_> = world
        .index(LIST)
        .lines()
        .filter_map(|line| line.strip_prefix("Package: ").map(str::to_owned))
        .collect();
    assert!(order.is_sorted() && order.len() == 5, "{order:?}");
    let xz = run(Command::new("xz")
        .arg("-dc")
        .arg(world.repository().join(format!("{LIST}.xz"))));
    assert_eq!(xz, world.index(LIST));

    let web = Web::serve(&world.repository());
    for apt in [
        Apt::new(&web.uri(), "stable", &world.repository()),
        Apt::local(&world.repository(), "stable"),
    ] {
        update(&apt);
        let said = shown(&apt, "hello=2");
        assert!(
            said.contains("Description-en: greets\n the whole world\n .\n  * and more\n"),
            "{said}"
        );
        let said = shown(&apt, "hello=3");
        assert!(
            said.contains("Description-en: greets otherwise\n and longer\n"),
            "{said}"
        );
        assert!(shown(&apt, "data").contains("\n for all: of them\n"));
        assert_eq!(apt.content("hello=2"), "hello 2\n");
    }
    let before = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == before, "the same again changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_come_apart_and_together_again_and_stay_with_their_packages() {
    let world = World::new().await;
    let arches: (&str, &[&str]) = ("arch", &["amd64", "arm64"]);
    let whole = world.distbot(&[arches]).await;
    let greets = "greets\n the whole world";
    let debs = [
        deb("hello", "1", "amd64", greets),
        deb("hello", "1", "arm64", greets),
        deb("other", "1", "amd64", "another\n package"),
        deb("data", "1", "all", "data\n for all"),
    ];
    whole.publish("main", &world.build(&debs).await).await;
    let before = world.index(INDEX);
    let there = || {
        let listed = world
            .read("dists/stable/Release")
            .contains(" main/i18n/Translation-en.gz\n");
        assert_eq!(world.repository().join(format!("{LIST}.gz")).exists(), listed);
        listed
    };
    assert!(!there());

    world.distbot(&[arches, SPLIT]).await.refresh().await;
    assert!(there());
    assert!(!world.index(INDEX).contains("whole world"));
    assert_eq!(paragraphs(&world.index(LIST)), of_ftparchive(&world).0);
    let apt = Apt::local(&world.repository(), "stable");
    update(&apt);
    assert!(shown(&apt, "hello").contains("\n the whole world\n"));

    // An operator sees packages whole, and takes them elsewhere with what they say.
    let output = done(&world, &["show", "stable", "hello", "--arch", "amd64"]);
    assert!(output.to_string().contains("the whole world"), "{output}");
    done(&world, &["promote", "stable", "next", "hello"]);
    assert!(
        world
            .index("dists/next/main/i18n/Translation-en")
            .contains(" the whole world\n")
    );
    done(&world, &["snapshot", "stable", "monday"]);
    let monday = world.index(LIST);
    // What one architecture has is still said, until it goes there as well.
    done(&world, &["remove", "stable", "hello", "--arch", "amd64"]);
    assert_eq!(world.index(LIST), monday);
    done(&world, &["remove", "stable", "hello"]);
    assert!(!world.index(LIST).contains("hello"), "{}", world.index(LIST));
    done(&world, &["rollback", "stable", "monday"]);
    assert_eq!(world.index(LIST), monday);
    assert_eq!(done(&world, &["check", "--deep"]), json!([]));

    // An architecture that comes later has what is for all, and its descriptions are there already.
    let more: (&str, &[&str]) = ("arch", &["amd64", "arm64", "riscv64"]);
    world.distbot(&[more, SPLIT]).await.refresh().await;
    assert_eq!(world.index(LIST), monday);
    let later = digests(&world.index("dists/stable/main/binary-riscv64/Packages"));
    assert_eq!(later.len(), 1);
    assert!(later.is_subset(&digests(&world.index(INDEX))), "{later:?}");

    whole.refresh().await;
    assert!(!there());
    assert_eq!(world.index(INDEX), before);
    let apt = Apt::local(&world.repository(), "stable");
    update(&apt);
    assert!(shown(&apt, "hello").contains("\n the whole world\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_descriptions_are_missed_and_come_back_from_the_packages() {
    let world = World::new().await;
    let distbot = world.distbot(&[SPLIT]).await;
    let debs = [deb("hello", "1", "amd64", "greets\n the whole world")];
    distbot.publish("main", &world.build(&debs).await).await;
    let list = world.index(LIST);
    // By all of its names.
    std::fs::remove_dir_all(world.repository().join("dists/stable/main/i18n")).unwrap();
    let (code, found) = refused(&world, &["check"]);
    assert_eq!(code, 1);
    assert!(found.contains(&format!("{LIST}.gz: it is missing")), "{found}");
    assert!(
        found.contains(&format!("{LIST}: it lacks the description of hello 1")),
        "{found}"
    );
    let mended = done(&world, &["repair", "stable"]);
    assert_eq!(mended["added"], json!([]));
    assert_eq!(world.index(LIST), list);
    assert_eq!(done(&world, &["check", "--deep"]), json!([]));
    let apt = Apt::local(&world.repository(), "stable");
    update(&apt);
    assert!(shown(&apt, "hello").contains("\n the whole world\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_an_archive_with_descriptions_apart_are_imported_whole() {
    let theirs = World::new().await;
    let distbot = theirs.distbot(&[]).await;
    let debs = [
        deb("hello", "1", "amd64", "greets\n the whole world"),
        deb("data", "1", "all", "data\n for all"),
    ];
    distbot.publish("main", &theirs.build(&debs).await).await;
    let whole = theirs.index(INDEX);
    let made = archive(&theirs);
    run(Command::new("sh")
        .args([
            "-ec",
            "apt-ftparchive release dists/sid > Release; mv Release dists/sid",
        ])
        .current_dir(made.path()));
    let made_path = made.path().display().to_string();
    for (option, apart) in [("no", false), ("yes", true)] {
        let world = World::new().await;
        let distbot = world.distbot(&[("split-descriptions", &[option])]).await;
        distbot.refresh().await;
        done(&world, &["import", &made_path, "sid", "stable"]);
        let described = |index: &str| -> Vec<String> {
            let lines = index.lines().skip_while(|line| !line.starts_with("Description: "));
            lines.take(2).map(str::to_owned).collect()
        };
        if apart {
            let (list, of_packages) = of_ftparchive(&theirs);
            assert_eq!(paragraphs(&world.index(LIST)), list);
            assert_eq!(digests(&world.index(INDEX)), of_packages);
        } else {
            assert_eq!(described(&world.index(INDEX)), described(&whole));
            assert!(!world.index(INDEX).contains("Description-md5"));
        }
        assert_eq!(done(&world, &["check", "--deep"]), json!([]));
    }
}
