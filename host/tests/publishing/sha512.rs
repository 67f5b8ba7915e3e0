//! SHA-512 beside SHA-256, for those who want it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::apt::{Apt, Web};
use crate::operator::{done, refused};
use crate::package::{Deb, run, source};
use crate::world::World;

const FORCED: [&str; 2] = ["-o", "Acquire::By-Hash=force"];

/// What `Release` lists under one of its digests: by path, digest and size.
fn listed(world: &World, suite: &str, section: &str) -> BTreeMap<String, (String, u64)> {
    let release = world.read(&format!("dists/{suite}/Release"));
    let section = format!("{section}:");
    let lines = release.lines().skip_while(|line| *line != section).skip(1);
    let lines = lines.take_while(|line| line.starts_with(' '));
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[2].to_owned(), (words[0].to_owned(), words[1].parse().unwrap()))
        })
        .collect()
}

/// The program's own word on digests, each before a file of a directory.
fn sha512sum(directory: &Path, sums: &str) {
    let mut check = Command::new("sha512sum")
        .args(["--check", "--strict", "--quiet"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(sums.as_bytes()).unwrap();
    assert!(check.wait().unwrap().success(), "{sums}");
}

/// Every digest in a suite's `Release` is that of its file, by its own name and by that of the digest.
fn check(world: &World, suite: &str) {
    let directory = world.repository().join("dists").join(suite);
    let strong = listed(world, suite, "SHA512");
    let unpacked = tempfile::tempdir().unwrap();
    let (mut sums, mut of_unpacked) = (String::new(), String::new());
    for (path, (digest, size)) in &strong {
        let beside = Path::new(path).parent().unwrap().join("by-hash/SHA512").join(digest);
        if directory.join(path).exists() {
            sums += &format!("{digest}  {path}\n{digest}  {}\n", beside.display());
        } else {
            let text = world.index(&format!("dists/{suite}/{path}"));
            assert_eq!(text.len() as u64, *size, "{path}");
            std::fs::write(unpacked.path().join(digest), text).unwrap();
            of_unpacked += &format!("{digest}  {digest}\n");
        }
    }
    sha512sum(&directory, &sums);
    sha512sum(unpacked.path(), &of_unpacked);
    let paths = |section| listed(world, suite, section).into_keys().collect::<Vec<_>>();
    assert_eq!(paths("SHA512"), paths("SHA256"));
}

/// Which digests apt asked for.
fn asked_for(web: &Web, digest: &str) -> bool {
    let requests = web.requests();
    let indices: Vec<_> = requests.iter().filter(|path| path.contains("/by-hash/")).collect();
    assert!(!indices.is_empty(), "{requests:?}");
    let name = format!("/by-hash/{digest}/");
    indices.iter().all(|path| path.contains(&name))
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_finds_and_checks_everything_by_its_sha512() {
    let world = World::new().await;
    let distbot = world
        .distbot(&[("sha512", &["yes"]), ("xz", &["yes"]), ("contents", &["yes"])])
        .await;
    let built = tempfile::tempdir().unwrap();
    let first = source(built.path(), "world", "2.0", "1");
    distbot.publish("main", &world.store(&first).await).await;
    check(&world, "stable");
    // Large ones, so that there are several pieces.
    let noise = "All work and no play makes Jack a dull boy. ".repeat(2000);
    let many: Vec<_> = (0..8)
        .map(|number| Deb::new(&format!("p{number}"), "1", "amd64").fields(&format!("X-Noise: {number} {noise}\n")))
        .collect();
    distbot.publish("main", &world.build(&many).await).await;
    check(&world, "stable");
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    // An upstream tarball that came with an earlier revision.
    let second = source(built.path(), "world", "2.0", "2");
    distbot.publish("main", &world.store(&second[1..]).await).await;
    check(&world, "stable");
    let before = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == before);

    let web = Web::serve(&world.repository());
    let apt = Apt::new(&web.uri(), "stable", &world.repository());
    apt.run("apt-get", &[&["update", "--error-on=any"], &FORCED[..]].concat());
    assert!(asked_for(&web, "SHA512"), "{:?}", web.requests());
    assert_eq!(apt.content("hello"), "hello 1\n");
    apt.run("apt-get", &["source", "world=2.0-2"]);
    let known = apt.run("apt-cache", &["show", "hello"]);
    let digest = known.lines().find_map(|line| line.strip_prefix("SHA512: ")).unwrap();
    sha512sum(
        &world.repository(),
        &format!("{digest}  pool/main/h/hello/hello_1_amd64.deb\n"),
    );
    let known = apt.run("apt-cache", &["showsrc", "--only-source", "world"]);
    let sums = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sums: Vec<_> = sums
        .filter(|words| words.len() == 3 && words[0].len() == 128)
        .map(|words| format!("{}  {}\n", words[0], words[2]))
        .collect();
    assert_eq!(sums.len(), 6, "{known}");
    sha512sum(&world.repository().join("pool/main/w/world"), &sums.concat());
    assert_eq!(done(&world, &["check", "--deep"]), serde_json::json!([]));

    // A new suite is as the one that its packages come from.
    done(&world, &["promote", "stable", "next", "hello"]);
    check(&world, "next");
    let next = world.index("dists/next/main/binary-amd64/Packages");
    assert!(next.contains(&format!("\nSHA512: {digest}\n")), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sha512_comes_with_the_option_and_goes_without_it() {
    let world = World::new().await;
    let weak = world.distbot(&[]).await;
    weak.publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    assert!(listed(&world, "stable", "SHA512").is_empty());
    let web = Web::serve(&world.repository());
    let apt = || Apt::new(&web.uri(), "stable", &world.repository());

    let strong = world.distbot(&[("sha512", &["yes"])]).await;
    strong.refresh().await;
    check(&world, "stable");
    // What was published before stays as its users know it.
    assert!(
        !world
            .index("dists/stable/main/binary-amd64/Packages")
            .contains("SHA512")
    );
    strong
        .publish("main", &world.build(&[Deb::new("world", "1", "amd64")]).await)
        .await;
    check(&world, "stable");
    let with = apt();
    with.update();
    assert!(asked_for(&web, "SHA512"), "{:?}", web.requests());
    let (digest, _) = &listed(&world, "stable", "SHA512")["main/binary-amd64/Packages.gz"];

    world.distbot(&[]).await.refresh().await;
    assert!(listed(&world, "stable", "SHA512").is_empty());
    assert!(!world.read("dists/stable/InRelease").contains("\nSHA512:"));
    let without = apt();
    without.run("apt-get", &[&["update", "--error-on=any"], &FORCED[..]].concat());
    assert_eq!(without.knows(), ["hello=1", "world=1"]);
    assert_eq!(without.content("world"), "world 1\n");
    // Those who have the Release before still find its indices.
    let by_hash = world.repository().join("dists/stable/main/binary-amd64/by-hash/SHA512");
    assert!(by_hash.join(digest).exists());
    // For an hour at least, which is over.
    forget_when(&world);
    for name in ["a1", "a2"] {
        weak.publish("main", &world.build(&[Deb::new(name, "1", "amd64")]).await)
            .await;
        forget_when(&world);
    }
    let left: Vec<_> = std::fs::read_dir(&by_hash).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Make superseded indices as old as can be.
fn forget_when(world: &World) {
    fn forget(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    if name == "superseded" {
                        *value = 0.into();
                    }
                    forget(value);
                }
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(forget),
            _ => {}
        }
    }
    let path = world.repository().join(".foundry/suites/stable.json");
    let mut records = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    forget(&mut records);
    std::fs::write(path, records.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_sha512_in_another_archive_is_found() {
    let world = World::new().await;
    world.distbot(&[]).await.refresh().await;
    let theirs = world.files.path().join("theirs");
    let binary = "dists/sid/main/binary-amd64";
    std::fs::create_dir_all(theirs.join("pool")).unwrap();
    std::fs::create_dir_all(theirs.join(binary)).unwrap();
    Deb::new("hello", "1", "amd64").build(&theirs.join("pool"));
    let script =
        format!("apt-ftparchive packages pool > {binary}/Packages; apt-ftparchive release dists/sid > Release");
    let publish = |before: &str| {
        run(Command::new("sh")
            .args(["-ec", &format!("{before}; mv Release dists/sid")])
            .current_dir(&theirs));
    };
    publish(&format!(
        "{script}; sed -i 's/^\\(SHA512: \\).*/\\1{}/' {binary}/Packages",
        "0".repeat(128)
    ));
    let archive = theirs.display().to_string();
    let (_, why) = refused(&world, &["import", &archive, "sid", "stable"]);
    assert!(
        why.contains("hello_1_amd64.deb is not what its index says: its SHA-512 is "),
        "{why}"
    );
    publish(&script);
    done(&world, &["import", &archive, "sid", "stable"]);
    let index = world.index("dists/stable/main/binary-amd64/Packages");
    assert!(index.contains("\nSHA512: "), "{index}");
    assert_eq!(done(&world, &["check", "--deep"]), serde_json::json!([]));
}
