//! What the judges say of what is published: apt, gpgv, and whoever compares digests.

use std::process::Command;

use foundry_host::capability::site::Digest;

use crate::apt::{Apt, Web};
use crate::package::{Deb, run, source};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_every_compression_are_installed_from_files_and_over_http() {
    let world = World::new().await;
    let distbot = world.distbot(&[("arch", &["amd64", "arm64"])]).await;
    let packages = [
        Deb::new("hello-gzip", "1.0-1", "amd64"),
        Deb::new("hello-xz", "2:1.0~rc1", "amd64").compression("xz"),
        Deb::new("libhello", "1.0", "all").compression("zstd"),
        Deb::new("hello-none", "1.0+b1", "amd64")
            .compression("none")
            .fields("Source: hello (1.0)\n"),
        Deb::new("hello-arm", "1.0", "arm64"),
    ];
    let dists = distbot.publish("main", &world.build(&packages).await).await;
    assert_eq!(dists.len(), 1);
    assert_eq!(dists[0]["distribution"], "stable");
    assert_eq!(dists[0]["name"], "deb.example.org");
    assert_eq!(dists[0]["packages"].as_array().unwrap().len(), 5);
    let web = Web::serve(&world.repository());
    for apt in [
        Apt::local(&world.repository(), "stable"),
        Apt::new(&web.uri(), "stable", &world.repository()),
    ] {
        apt.update();
        assert_eq!(
            apt.knows(),
            [
                "hello-gzip=1.0-1",
                "hello-none=1.0+b1",
                "hello-xz=2:1.0~rc1",
                "libhello=1.0"
            ]
        );
        let simulated = apt.run(
            "apt-get",
            &[
                "--simulate",
                "install",
                "hello-gzip",
                "hello-none",
                "hello-xz",
                "libhello",
            ],
        );
        assert!(
            simulated.contains("Inst hello-xz (2:1.0~rc1 deb.example.org:stable [amd64])"),
            "{simulated}"
        );
        for package in ["hello-gzip", "hello-none", "hello-xz", "libhello"] {
            assert!(apt.content(package).starts_with(package));
        }
    }
    assert!(
        world
            .repository()
            .join("pool/main/h/hello/hello-none_1.0+b1_amd64.deb")
            .exists()
    );
    assert!(
        world
            .repository()
            .join("pool/main/libh/libhello/libhello_1.0_all.deb")
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_symbols_are_for_those_who_ask_for_them() {
    let world = World::new().await;
    let distbot = world
        .distbot(&[("debug-component", &["debug"]), ("arch", &["amd64", "arm64"])])
        .await;
    let symbols = "Section: debug\nAuto-Built-Package: debug-symbols\n";
    let packages = [
        Deb::new("hello", "1", "amd64"),
        Deb::new("hello-dbgsym", "1", "amd64").fields(symbols),
        // Others' debug packages are made by hand, and stay.
        Deb::new("hello-dbg", "1", "amd64").fields("Section: debug\n"),
    ];
    let packages = world.build(&packages).await;
    distbot.publish("main", &packages).await;
    let client = |components: &str| {
        let apt = Apt::with(&format!(
            "Types: deb\nURIs: file:{0}\nSuites: stable\nComponents: {components}\nSigned-By: {0}/key.asc\n",
            world.repository().display()
        ));
        apt.update();
        apt
    };
    assert_eq!(client("main").knows(), ["hello-dbg=1", "hello=1"]);
    let apt = client("main debug");
    assert_eq!(apt.knows(), ["hello-dbg=1", "hello-dbgsym=1", "hello=1"]);
    assert_eq!(apt.content("hello-dbgsym"), "hello-dbgsym 1\n");
    let pool = world
        .repository()
        .join("pool/debug/h/hello-dbgsym/hello-dbgsym_1_amd64.deb");
    assert!(pool.exists());
    let release = world.read("dists/stable/Release");
    assert!(release.contains("\nComponents: debug main\n"), "{release}");
    assert!(release.contains(" debug/binary-arm64/Packages.gz\n"), "{release}");
    // What is there goes on when nothing new is, and to publish it again changes nothing.
    let before = world.everything();
    distbot.publish("main", &packages[..1]).await;
    distbot.refresh().await;
    assert!(world.everything() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_finds_indices_by_their_digests() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let web = Web::serve(&world.repository());
    Apt::new(&web.uri(), "stable", &world.repository()).update();
    let requests = web.requests();
    let indices: Vec<_> = requests.iter().filter(|path| !path.ends_with("InRelease")).collect();
    assert!(!indices.is_empty(), "{requests:?}");
    assert!(
        indices.iter().all(|path| path.contains("/by-hash/SHA256/")),
        "{requests:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gpgv_accepts_both_signatures() {
    let world = World::new().await;
    world.distbot(&[]).await.refresh().await;
    let keyring = world.files.path().join("keyring.gpg");
    run(Command::new("gpg")
        .args(["--batch", "--dearmor", "--output"])
        .arg(&keyring)
        .arg(world.repository().join("key.asc")));
    let suite = world.repository().join("dists/stable");
    let gpgv = || {
        let mut gpgv = Command::new("gpgv");
        gpgv.arg("--keyring").arg(&keyring);
        gpgv
    };
    run(gpgv().arg(suite.join("InRelease")));
    run(gpgv().arg(suite.join("Release.gpg")).arg(suite.join("Release")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_release_lists_every_index_with_the_digest_that_it_has() {
    let world = World::new().await;
    let distbot = world.distbot(&[("arch", &["amd64", "arm64"])]).await;
    let udeb = Deb::new("hello-udeb", "1", "amd64").installer();
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64"), udeb]).await)
        .await;
    let release = world.read("dists/stable/Release");
    let (_, digests) = release.split_once("SHA256:\n").unwrap();
    std::fs::write(
        world.files.path().join("sums"),
        digests
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                format!("{}  {}\n", words[0], words[2])
            })
            .collect::<String>(),
    )
    .unwrap();
    let suite = world.repository().join("dists/stable");
    // As in Debian's archive, the uncompressed indices are listed, for whoever has unpacked one, but not there.
    for path in ["main/binary-amd64/Packages", "main/source/Sources"] {
        assert!(!suite.join(path).exists());
        std::fs::write(suite.join(path), world.index(&format!("dists/stable/{path}"))).unwrap();
    }
    let listed = run(Command::new("sha256sum")
        .args(["--check", "--ignore-missing"])
        .arg(world.files.path().join("sums"))
        .current_dir(suite));
    for path in [
        "main/binary-amd64/Packages",
        "main/binary-amd64/Packages.gz",
        "main/binary-arm64/Packages.zst",
        "main/binary-arm64/Release",
        "main/debian-installer/binary-amd64/Packages.gz",
        "main/source/Sources",
    ] {
        assert!(listed.contains(&format!("{path}: OK")), "{listed}");
    }
    let installer = world.index("dists/stable/main/debian-installer/binary-amd64/Packages");
    assert!(installer.starts_with("Package: hello-udeb\n"), "{installer}");
    assert!(!world.index("dists/stable/main/binary-amd64/Packages").contains("udeb"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_an_index_or_a_package_is_refused_by_apt() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    let flip = |path: &str| {
        let path = world.repository().join(path);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip("pool/main/h/hello/hello_1_amd64.deb");
    let refused = apt.refuse("apt-get", &["download", "hello"]);
    assert!(refused.contains("Hash Sum mismatch"), "{refused}");

    flip("dists/stable/InRelease");
    let apt = Apt::local(&world.repository(), "stable");
    apt.refuse("apt-get", &["update", "--error-on=any"]);
    flip("dists/stable/InRelease");
    apt.update();

    let index: Vec<_> = world
        .everything()
        .into_keys()
        .filter(|path| path.ends_with("Packages.zst"))
        .collect();
    for path in index {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        let digests = path.parent().unwrap().join("by-hash/SHA256");
        for file in std::fs::read_dir(digests).unwrap().map(|entry| entry.unwrap().path()) {
            // Every way to the packages, so that apt can't get around the damage.
            std::fs::write(file, &bytes).unwrap();
        }
        for suffix in ["", ".gz", ".zst"] {
            std::fs::write(
                path.with_extension("").with_file_name(format!("Packages{suffix}")),
                &bytes,
            )
            .unwrap();
        }
    }
    let apt = Apt::local(&world.repository(), "stable");
    let refused = apt.refuse("apt-get", &["update", "--error-on=any"]);
    assert!(
        refused.contains("Hash Sum mismatch") || refused.contains("unexpected size"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn source_packages_are_downloaded_and_unpacked_by_apt() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let first = source(directory.path(), "hello", "2.0", "1");
    let dists = distbot.publish("main", &world.store(&first).await).await;
    assert_eq!(dists[0]["artifacts"].as_array().unwrap().len(), 3);
    // Its upstream tarball came with the first revision.
    let second = source(directory.path(), "hello", "2.0", "2");
    distbot.publish("main", &world.store(&second[1..]).await).await;
    let apt = Apt::local(&world.repository(), "stable");
    apt.update();
    for version in ["2.0-1", "2.0-2"] {
        // dpkg-source unpacks it, and checks every digest.
        apt.run("apt-get", &["source", &format!("hello={version}")]);
        assert_eq!(
            std::fs::read_to_string(apt.work().join("hello-2.0/hello")).unwrap(),
            "hello\n"
        );
        std::fs::remove_dir_all(apt.work().join("hello-2.0")).unwrap();
    }

    let lacking = source(directory.path(), "world", "1.0", "1");
    let failure = distbot.refuse("main", &world.store(&lacking[1..]).await).await;
    assert_eq!(
        failure["reason"],
        "world_1.0-1.dsc: it lists world_1.0.orig.tar.gz, which neither the build nor the repository has"
    );
    std::fs::write(&lacking[0], "another tarball").unwrap();
    let failure = distbot.refuse("main", &world.store(&lacking).await).await;
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("world_1.0-1.dsc: it lists world_1.0.orig.tar.gz with SHA-256 "),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_package_says_of_a_tarball_that_only_the_pool_has_is_compared_with_it() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let first = source(directory.path(), "hello", "2.0", "1");
    distbot.publish("main", &world.store(&first).await).await;
    let before = world.everything();
    let second = source(directory.path(), "hello", "2.0", "2");
    let (orig, dsc) = (&second[0], &second[2]);
    let bytes = std::fs::read(orig).unwrap();
    let Digest { size, md5, .. } = Digest::of(&bytes);
    let said = std::fs::read_to_string(dsc).unwrap();
    for (wrong, what) in [
        (said.replace(&md5, &"0".repeat(32)), "MD5"),
        (
            said.replace(
                &format!(" {size} hello_2.0.orig"),
                &format!(" {} hello_2.0.orig", size + 1),
            ),
            "bytes",
        ),
    ] {
        assert_ne!(wrong, said);
        std::fs::write(dsc, wrong).unwrap();
        let failure = distbot.refuse("main", &world.store(&second[1..]).await).await;
        assert_eq!(failure["phase"], "packages", "{failure}");
        let reason = failure["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("hello_2.0-2.dsc: it lists hello_2.0.orig.tar.gz with ") && reason.contains(what),
            "{reason}"
        );
        assert!(world.everything() == before);
    }
    std::fs::write(dsc, said).unwrap();
    distbot.publish("main", &world.store(&second[1..]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_apt_needs_and_what_is_there() {
    let world = World::new().await;
    let url = format!("file:{}", world.repository().display());
    let distbot = world.distbot(&[("url", &[&url])]).await;
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "1", "amd64")]).await)
        .await;
    let page = world.read("index.html");
    assert!(
        page.contains("<tr><td>hello</td><td>1</td><td>amd64</td></tr>"),
        "{page}"
    );
    assert!(page.contains(&world.key) && !page.contains("<script"), "{page}");
    let (_, sources) = page.split_once("<pre class=\"deb822\">").unwrap();
    let (sources, _) = sources.split_once("</pre>").unwrap();
    // The key is where its reader would have put it.
    let key = world.repository().join("key.asc");
    let sources = sources.replace("/etc/apt/keyrings/deb.example.org.asc", &key.display().to_string());
    let apt = Apt::with(&format!("{sources}\n"));
    apt.update();
    assert_eq!(apt.knows(), ["hello=1"]);

    // One that its owner made stays.
    std::fs::write(world.repository().join("index.html"), "<h1>Mine</h1>\n").unwrap();
    distbot
        .publish("main", &world.build(&[Deb::new("hello", "2", "amd64")]).await)
        .await;
    assert_eq!(world.read("index.html"), "<h1>Mine</h1>\n");
}
