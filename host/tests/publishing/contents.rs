//! Lists of the packages' files, as apt-file finds them.

use crate::apt::{Apt, Web};
use crate::package::Deb;
use crate::world::World;

/// apt, with the indices that apt-file wants.
struct AptFile {
    apt: Apt,
}

impl AptFile {
    fn new(world: &World, uri: &str) -> Self {
        let apt = Apt::new(uri, "stable", &world.repository());
        apt.update_with_contents();
        Self { apt }
    }

    /// The packages that have a file whose path holds this.
    fn search(&self, pattern: &str) -> Vec<String> {
        let found = self.apt.apt_file(&["search", pattern]);
        let mut lines: Vec<_> = found.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_file_finds_files_of_packages_that_come_and_go() {
    let world = World::new().await;
    let distbot = world
        .distbot(&[("contents", &["yes"]), ("arch", &["amd64", "arm64"]), ("keep", &["1"])])
        .await;
    let first = [
        Deb::new("hello", "1", "amd64").fields("Section: misc\n"),
        Deb::new("docs", "1", "all").compression("xz"),
    ];
    distbot.publish("main", &world.build(&first).await).await;
    let web = Web::serve(&world.repository());
    for uri in [web.uri(), format!("file:{}", world.repository().display())] {
        let apt_file = AptFile::new(&world, &uri);
        assert_eq!(apt_file.search("share/hello/"), ["hello: /usr/share/hello/content"]);
        assert_eq!(apt_file.search("docs/content"), ["docs: /usr/share/docs/content"]);
        assert_eq!(apt_file.search("nowhere"), Vec::<String>::new());
    }
    let list = "dists/stable/main/Contents-amd64";
    assert_eq!(
        world.index(list),
        "usr/share/docs/content docs\nusr/share/hello/content misc/hello\n"
    );
    assert_eq!(
        world.index("dists/stable/main/Contents-arm64"),
        "usr/share/docs/content docs\n"
    );

    // Another package, and a version in the place of the one before: its list stays as it is but for that.
    let second = [
        Deb::new("hello", "2", "amd64").fields("Section: misc\n"),
        Deb::new("world", "1", "amd64"),
    ];
    distbot.publish("main", &world.build(&second).await).await;
    let expected = "usr/share/docs/content docs\nusr/share/hello/content misc/hello\nusr/share/world/content world\n";
    assert_eq!(world.index(list), expected);
    let apt_file = AptFile::new(&world, &web.uri());
    assert_eq!(apt_file.search("world/"), ["world: /usr/share/world/content"]);

    // Twice the same changes nothing, and without the option they are gone.
    let before = world.everything();
    distbot.refresh().await;
    assert!(world.everything() == before);
    world.distbot(&[("arch", &["amd64", "arm64"])]).await.refresh().await;
    assert!(!world.read("dists/stable/Release").contains("Contents"));
    assert!(!world.repository().join("dists/stable/main/Contents-amd64.gz").exists());

    // A suite that has packages gets its lists at once.
    let again = world.distbot(&[("contents", &["yes"])]).await;
    again.refresh().await;
    assert_eq!(world.index(list), expected);
}
