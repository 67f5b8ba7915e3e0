//! Transactions on real directories, whole and cut off.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::*;

/// Every published file, by path.
pub(super) fn published(site: &Path) -> BTreeMap<String, String> {
    fn walk(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if path == PRIVATE {
            } else if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), files);
            } else {
                files.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(site, "", &mut files);
    files
}

pub(super) fn files<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
    files
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

pub(super) async fn add(transaction: &mut Transaction, path: &str, text: &str) -> Result<Digest, SiteError> {
    let file = transaction.reserve().await?;
    std::fs::write(file.path(), text).unwrap();
    transaction.add(path, file).await
}

async fn write(transaction: &mut Transaction, path: &str, text: &str) {
    transaction.write(path, text.as_bytes().to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_commit_makes_everything_visible_and_nothing_before_it() {
    let site = tempfile::tempdir().unwrap();
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    let digest = add(&mut transaction, "pool/main/h/hello.deb", "package").await.unwrap();
    assert_eq!(digest, Digest::of(b"package"));
    write(&mut transaction, "dists/stable/InRelease", "one").await;
    assert_eq!(
        transaction.read("dists/stable/InRelease").await.unwrap().unwrap(),
        b"one"
    );
    assert_eq!(published(site.path()), files([]));
    transaction
        .commit(&["dists/stable/InRelease".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        published(site.path()),
        files([("dists/stable/InRelease", "one"), ("pool/main/h/hello.deb", "package")])
    );

    let mut transaction = sites.begin(site.path()).await.unwrap();
    write(&mut transaction, "dists/stable/InRelease", "two").await;
    transaction.remove("pool/main/h/hello.deb").unwrap();
    transaction.remove("pool/never/was").unwrap();
    assert_eq!(transaction.read("pool/main/h/hello.deb").await.unwrap(), None);
    let listed = transaction.list("").await.unwrap();
    assert_eq!(
        listed,
        ["dists/stable/InRelease", "pool/main/h/hello.deb"],
        "as before the transaction"
    );
    transaction.commit(&[]).await.unwrap();
    assert_eq!(published(site.path()), files([("dists/stable/InRelease", "two")]));
}

#[tokio::test]
async fn web_servers_may_read_what_is_published_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    write(&mut transaction, "dists/stable/InRelease", "").await;
    write(&mut transaction, ".foundry/suites/stable.json", "").await;
    add(&mut transaction, "pool/a", "").await.unwrap();
    transaction.commit(&[]).await.unwrap();
    let mode = |path: &str| std::fs::metadata(site.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("dists/stable"), 0o755);
    assert_eq!(mode("dists/stable/InRelease"), 0o644);
    assert_eq!(mode("pool/a"), 0o644);
    assert_eq!(mode(".foundry"), 0o700);
}

#[tokio::test]
async fn dropped_transaction_leaves_nothing() {
    let site = tempfile::tempdir().unwrap();
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    write(&mut transaction, "a", "1").await;
    add(&mut transaction, "b", "2").await.unwrap();
    drop(transaction);
    let transaction = sites.begin(site.path()).await.unwrap();
    assert_eq!(transaction.list("").await.unwrap(), Vec::<String>::new());
    assert!(!site.path().join(apply::STAGING).exists());
}

#[tokio::test]
async fn added_file_with_other_bytes_is_a_conflict_and_with_the_same_bytes_is_not() {
    let site = tempfile::tempdir().unwrap();
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    add(&mut transaction, "pool/a.deb", "one").await.unwrap();
    // Against what this transaction adds.
    assert!(matches!(
        add(&mut transaction, "pool/a.deb", "two").await,
        Err(SiteError::Conflict { .. })
    ));
    transaction.commit(&[]).await.unwrap();
    // Against what is published.
    let mut transaction = sites.begin(site.path()).await.unwrap();
    assert_eq!(
        add(&mut transaction, "pool/a.deb", "one").await.unwrap(),
        Digest::of(b"one")
    );
    let conflict = add(&mut transaction, "pool/a.deb", "two").await.unwrap_err();
    let (one, two) = (Digest::of(b"one").sha256, Digest::of(b"two").sha256);
    assert_eq!(
        conflict.to_string(),
        format!("pool/a.deb is there already with other bytes: it has SHA-256 {one}, the new one has {two}")
    );
    assert_eq!(
        transaction.present("pool/a.deb", &one).await.unwrap(),
        Some(Digest::of(b"one"))
    );
    assert_eq!(transaction.present("pool/b.deb", &one).await.unwrap(), None);
}

#[tokio::test]
async fn a_transaction_is_over_after_its_commit() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    write(&mut transaction, "a", "1").await;
    transaction.commit(&[]).await.unwrap();
    assert!(matches!(transaction.read("a").await, Err(SiteError::Over)));
    assert!(matches!(transaction.commit(&[]).await, Err(SiteError::Over)));
}

#[tokio::test]
async fn a_commit_that_names_an_unwritten_file_changes_nothing() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    write(&mut transaction, "a", "1").await;
    assert!(matches!(
        transaction.commit(&["InRelease".to_owned()]).await,
        Err(SiteError::NotWritten(_))
    ));
    drop(transaction);
    assert_eq!(published(site.path()), files([]));
}

#[tokio::test]
async fn symbolic_links_do_not_lead_out_of_the_site() {
    let (site, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    std::fs::create_dir(site.path().join("dists")).unwrap();
    std::os::unix::fs::symlink(outside.path(), site.path().join("dists/out")).unwrap();
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    assert!(matches!(
        transaction.read("dists/out/secret").await,
        Err(SiteError::BadPath(_))
    ));
    assert!(matches!(
        transaction.list("dists/out").await,
        Err(SiteError::BadPath(_))
    ));
    assert!(matches!(
        transaction.present("dists/out/secret", "").await,
        Err(SiteError::BadPath(_))
    ));
    write(&mut transaction, "dists/out/new/file", "1").await;
    assert!(matches!(transaction.commit(&[]).await, Err(SiteError::BadPath(_))));
    drop(transaction);
    let mut transaction = sites.begin(site.path()).await.unwrap();
    write(&mut transaction, "dists/out/new", "1").await;
    assert!(transaction.commit(&[]).await.is_err());
    assert_eq!(published(outside.path()), files([("secret", "s")]));
}

#[tokio::test]
async fn a_directory_with_something_else_in_it_is_refused_untouched() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("thesis.tex"), "").unwrap();
    std::fs::write(home.path().join(".bashrc"), "").unwrap();
    let refused = Sites::new().begin(home.path()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} is not empty and holds no APT repository: it has .bashrc",
            home.path().display()
        )
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    assert!(matches!(
        Sites::new().begin(Path::new("/etc")).await,
        Err(SiteError::Foreign { .. })
    ));
    assert!(!Path::new("/etc/.foundry").exists());
}

#[tokio::test]
async fn repositories_of_other_programs_are_taken() {
    // reprepro's, before its first package: no dists, no pool.
    let empty = tempfile::tempdir().unwrap();
    for name in ["conf", "incoming", "failed"] {
        std::fs::create_dir(empty.path().join(name)).unwrap();
    }
    Sites::new().begin(empty.path()).await.unwrap();
    // Any, with files beside it.
    let used = tempfile::tempdir().unwrap();
    std::fs::create_dir(used.path().join("dists")).unwrap();
    std::fs::write(used.path().join("update.sh"), "").unwrap();
    Sites::new().begin(used.path()).await.unwrap();
    // A file that may lie in any web root.
    let web = tempfile::tempdir().unwrap();
    std::fs::write(web.path().join("index.html"), "").unwrap();
    std::fs::write(web.path().join("example.asc"), "").unwrap();
    Sites::new().begin(&web.path().join("deb/ian")).await.unwrap();
    Sites::new().begin(web.path()).await.unwrap_err();
}

#[tokio::test]
async fn writers_queue_in_one_process_and_in_several() {
    let site = tempfile::tempdir().unwrap();
    // A second `Sites` sees only the lock file, as another process would.
    let (sites, other) = (Sites::new(), Sites::new());
    let mut first = sites.begin(site.path()).await.unwrap();
    write(&mut first, "a", "1").await;
    for waiting in [&sites, &other] {
        tokio::time::timeout(Duration::from_millis(100), waiting.begin(site.path()))
            .await
            .unwrap_err();
    }
    let (second, ()) = tokio::join!(other.begin(site.path()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        first.commit(&[]).await.unwrap();
    });
    assert_eq!(second.unwrap().read("a").await.unwrap().unwrap(), b"1");
    // Another path to the same directory is the same site.
    let link = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(site.path(), link.path().join("deb")).unwrap();
    let _held = sites.begin(site.path()).await.unwrap();
    tokio::time::timeout(Duration::from_millis(100), sites.begin(&link.path().join("deb")))
        .await
        .unwrap_err();
}

/// A site with one file of each kind of change, and the plan to change it.
fn interrupted_commit(site: &Path) -> (Dir, apply::Plan) {
    for directory in ["dists", apply::STAGING] {
        std::fs::create_dir_all(site.join(directory)).unwrap();
    }
    for (path, text) in [
        ("dists/Packages", "old"),
        ("dists/InRelease", "old"),
        ("dists/gone", "old"),
    ] {
        std::fs::write(site.join(path), text).unwrap();
    }
    let mut plan = apply::Plan {
        removals: vec!["dists/gone".to_owned()],
        ..Default::default()
    };
    for (staged, path) in ["pool/main/a.deb", "dists/Packages", "dists/Release", "dists/InRelease"]
        .into_iter()
        .enumerate()
    {
        let staged = staged as u64;
        std::fs::write(site.join(apply::staged_path(apply::STAGING, staged)), "new").unwrap();
        let placement = apply::Placement {
            staged,
            path: path.to_owned(),
        };
        if path.ends_with("Release") {
            plan.last.push(placement)
        } else {
            plan.first.push(placement)
        }
    }
    (Dir::open_ambient_dir(site, ambient_authority()).unwrap(), plan)
}

#[tokio::test]
async fn killed_after_any_step_of_a_commit_the_next_writer_finishes_it() {
    let new = files([
        ("dists/InRelease", "new"),
        ("dists/Packages", "new"),
        ("dists/Release", "new"),
        ("pool/main/a.deb", "new"),
    ]);
    let mut killed_after = 0;
    loop {
        let site = tempfile::tempdir().unwrap();
        let (root, plan) = interrupted_commit(site.path());
        plan.commit(&root, site.path(), &(0..9).collect()).unwrap();
        let steps = plan.steps();
        for step in steps.iter().take(killed_after) {
            step.carry_out(&root, site.path()).unwrap();
        }
        let transaction = Sites::new().begin(site.path()).await.unwrap();
        assert_eq!(published(site.path()), new, "killed after {killed_after} steps");
        assert!(!site.path().join(apply::COMMITTED).exists());
        drop(transaction);
        if killed_after == steps.len() {
            break;
        }
        killed_after += 1;
    }
    assert!(killed_after > 6);
}

#[test]
fn what_refers_to_other_files_comes_after_them_and_removals_at_the_end() {
    let site = tempfile::tempdir().unwrap();
    let (_, plan) = interrupted_commit(site.path());
    let order: Vec<_> = plan
        .steps()
        .into_iter()
        .map(|step| match step {
            apply::Step::Place(placement) => format!("place {}", placement.path),
            apply::Step::Sync(paths) => format!("sync {}", Vec::from_iter(paths).join(" ")),
            apply::Step::Remove(path) => format!("remove {path}"),
        })
        .collect();
    assert_eq!(
        order,
        [
            "place pool/main/a.deb",
            "place dists/Packages",
            "sync dists pool/main",
            "place dists/Release",
            "place dists/InRelease",
            "sync dists",
            "remove dists/gone",
        ]
    );
}

#[tokio::test]
async fn killed_before_the_commit_nothing_has_happened() {
    let site = tempfile::tempdir().unwrap();
    let (_, _) = interrupted_commit(site.path());
    let before = published(site.path());
    Sites::new().begin(site.path()).await.unwrap();
    assert_eq!(published(site.path()), before);
    assert!(!site.path().join(apply::STAGING).exists());
}

#[tokio::test]
async fn no_space_for_the_directories_leaves_the_site_as_it_was() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    // A file where a directory has to be refuses the commit at the same point as a full disk.
    write(&mut transaction, "pool", "a file").await;
    transaction.commit(&[]).await.unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    write(&mut transaction, "InRelease", "new").await;
    write(&mut transaction, "pool/a/b", "new").await;
    transaction.commit(&["InRelease".to_owned()]).await.unwrap_err();
    assert_eq!(published(site.path()), files([("pool", "a file")]));
    // And the next transaction works.
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    write(&mut transaction, "InRelease", "new").await;
    transaction.commit(&["InRelease".to_owned()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_come_to_an_empty_directory_at_once_are_all_let_in() {
    for _ in 0..200 {
        let site = tempfile::tempdir().unwrap();
        // Each with its own `Sites`, as writers in processes of their own have it.
        let writers = (0..4).map(|_| {
            let directory = site.path().to_owned();
            tokio::spawn(async move { Sites::new().begin(&directory).await.map(drop) })
        });
        for writer in futures::future::join_all(writers).await {
            writer.unwrap().unwrap();
        }
    }
}
