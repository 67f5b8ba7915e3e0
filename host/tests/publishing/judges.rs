//! Other programs that people trust with repositories.

use std::path::Path;
use std::process::Command;

use crate::apt::{Web, text};
use crate::package::{Deb, run};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn mmdebstrap_makes_a_root_with_a_package_of_ours() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let library = Deb::new("libhello", "2.0", "all");
    let hello = Deb::new("hello", "1.0-1", "amd64").fields("Depends: libhello (>= 2)\n");
    let unwanted = Deb::new("unwanted", "1", "amd64");
    distbot
        .publish("main", &world.build(&[library, hello, unwanted]).await)
        .await;
    let web = Web::serve(&world.repository());
    let root = world.files.path().join("root.tar");
    let key = world.repository().join("key.asc");
    run(Command::new("mmdebstrap")
        .env("TMPDIR", world.files.path())
        // Nothing but what is asked for: a whole Debian would have to come from elsewhere.
        .args([
            "--variant=extract",
            "--architectures=amd64",
            "--include=hello",
            "stable",
        ])
        .arg(&root)
        .arg(format!("deb [signed-by={}] {} stable main", key.display(), web.uri())));
    let files = run(Command::new("tar").arg("-tf").arg(&root));
    for file in ["./usr/share/hello/content", "./usr/share/libhello/content"] {
        assert!(files.lines().any(|line| line == file), "{files}");
    }
    assert!(!files.contains("usr/share/unwanted"), "{files}");
    let content = run(Command::new("tar")
        .arg("-xOf")
        .arg(&root)
        .arg("./usr/share/hello/content"));
    assert_eq!(content, "hello 1.0-1\n");
}

/// Where this machine has its Debian from, and which.
fn debian() -> (String, String) {
    let indices = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages",
        "Origin: Debian",
    ]));
    let mut main = indices.lines().filter_map(|line| line.strip_suffix(" main"));
    // Updates and backports have codenames of several words.
    let found =
        main.find(|line| !line.ends_with("-updates") && !line.ends_with("-security") && !line.ends_with("-backports"));
    let (mirror, codename) = found
        .and_then(|line| line.split_once(' '))
        .unwrap_or_else(|| panic!("apt knows no mirror of Debian (apt-get update): {indices}"));
    (mirror.to_owned(), codename.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mirror of Debian; `make test-real` runs it"]
async fn a_debian_with_a_package_of_ours_runs_its_program() {
    let (mirror, codename) = debian();
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let greeter = Deb::new("greeter", "1.0-1", "amd64")
        .fields("Depends: libgreeting, debianutils\n")
        .program("#!/bin/sh\nset -e\nwhich greeter\ncat /usr/share/libgreeting/content\n");
    let packages = [greeter, Deb::new("libgreeting", "2", "all")];
    distbot.publish("main", &world.build(&packages).await).await;
    let web = Web::serve(&world.repository());
    let said = world.files.path().join("said");
    let key = world.repository().join("key.asc");
    run(Command::new("mmdebstrap")
        .env("TMPDIR", world.files.path())
        .args([
            "--variant=essential",
            "--architectures=amd64",
            "--include=greeter",
            "--format=null",
        ])
        .arg(format!("--customize-hook=chroot \"$1\" greeter >{}", said.display()))
        .args([&codename, "/dev/null"])
        .arg(format!("deb {mirror} {codename} main"))
        .arg(format!("deb [signed-by={}] {} stable main", key.display(), web.uri())));
    assert_eq!(
        std::fs::read_to_string(said).unwrap(),
        "/usr/bin/greeter\nlibgreeting 2\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lintian_says_of_what_is_served_what_it_says_of_what_was_built() {
    let world = World::new().await;
    let built = tempfile::tempdir().unwrap();
    let deb = Deb::new("hello", "1.0-1", "amd64").build(built.path());
    let distbot = world.distbot(&[]).await;
    distbot
        .publish("main", &world.store(std::slice::from_ref(&deb)).await)
        .await;
    let served = world.repository().join("pool/main/h/hello/hello_1.0-1_amd64.deb");
    let lintian = |file: &Path| {
        let output = Command::new("lintian").arg("--allow-root").arg(file).output().unwrap();
        // Two is for errors found in the package, one for lintian's own.
        assert_ne!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = lintian(&deb);
    assert!(said.contains("hello: "), "{said}");
    assert_eq!(lintian(&served), said);
    run(Command::new("dpkg-deb").arg("--contents").arg(&served));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_shown_by_a_browser_and_needs_nothing_but_itself() {
    let world = World::new().await;
    let distbot = world.distbot(&[]).await;
    let packages = [
        Deb::new("hello", "1.0~rc1-1", "amd64"),
        Deb::new("libhello", "2:3+b1", "all"),
    ];
    distbot.publish("main", &world.build(&packages).await).await;
    let web = Web::serve(&world.repository());
    let chromium = |arguments: &[&str]| {
        let profile = tempfile::tempdir().unwrap();
        run(Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--window-size=1000,1200",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments))
    };
    let dom = chromium(&["--dump-dom", &web.uri()]);
    for shown in ["1.0~rc1-1", "2:3+b1", "libhello", "Types: deb deb-src", "key.asc"] {
        assert!(dom.contains(shown), "no {shown} in {dom}");
    }
    assert!(!dom.contains("<script"), "{dom}");
    // Everything that it asks for is here: the page alone.
    let asked = web.requests();
    assert!(
        asked.iter().all(|path| path == "/" || path == "/favicon.ico"),
        "{asked:?}"
    );
    let shot = |name: &str, uri: &str| {
        let file = world.files.path().join(name);
        chromium(&[&format!("--screenshot={}", file.display()), uri]);
        std::fs::read(file).unwrap()
    };
    let (page, blank) = (shot("page.png", &web.uri()), shot("blank.png", "about:blank"));
    assert!(
        page.starts_with(b"\x89PNG") && page.len() > 3 * blank.len(),
        "{} {}",
        page.len(),
        blank.len()
    );
}
