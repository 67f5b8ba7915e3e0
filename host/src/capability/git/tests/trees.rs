//! What a checkout holds, and what hostile trees can't do.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use git2::{Oid, Repository};

use super::support::*;
use crate::capability::git::{GitError, Source};

async fn check_out(service: &Service, upstream: &Upstream, commit: &str) -> Result<Source, GitError> {
    service
        .checkout(upstream.bare().to_str().unwrap(), "master", commit)
        .await
}

#[tokio::test]
async fn modes_links_and_times_are_the_commits() {
    let (service, upstream) = (service(), Upstream::new());
    let work = upstream.work();
    std::fs::create_dir_all(work.join("debian/empty")).unwrap();
    std::fs::write(work.join("debian/rules"), "#!/usr/bin/make -f\n").unwrap();
    std::fs::set_permissions(work.join("debian/rules"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("debian/rules", work.join("inside")).unwrap();
    symlink("/etc/passwd", work.join("outside")).unwrap();
    symlink("../../../../../../etc/passwd", work.join("above")).unwrap();
    std::fs::write(
        work.join(".gitattributes"),
        "file filter=lfs text eol=crlf\ndebian export-ignore\n",
    )
    .unwrap();
    std::fs::write(work.join("exact"), "a\nb\n").unwrap();
    let commit = upstream.commit("content");
    let source = check_out(&service, &upstream, &commit).await.unwrap();
    let mode = |name: &str| source.path().join(name).symlink_metadata().unwrap().mode();
    assert_eq!(mode("debian/rules"), 0o100_755);
    assert_eq!(mode("file"), 0o100_644);
    assert_eq!(mode("debian"), 0o040_755);
    assert_eq!(
        std::fs::read_link(source.path().join("outside")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(std::fs::read(source.path().join("exact")).unwrap(), b"a\nb\n");
    assert!(!source.path().join(".git").exists());
    let time = 1_767_323_045; // 2026-01-02T03:04:05Z
    for name in ["", "file", "inside", "debian", "debian/rules"] {
        assert_eq!(
            source.path().join(name).symlink_metadata().unwrap().mtime(),
            time,
            "{name}"
        );
    }
    let info = source.info();
    assert_eq!(
        (info.time, info.author.as_str(), info.summary.as_str()),
        (1_767_323_045, "A U Thor <author@example.org>", "content")
    );
    assert_eq!(info.signature, None);
}

#[tokio::test]
async fn reading_stays_inside_of_the_tree() {
    let (service, upstream) = (service(), Upstream::new());
    let work = upstream.work();
    std::fs::create_dir(work.join("debian")).unwrap();
    std::fs::write(work.join("debian/control"), "Source: x\n").unwrap();
    std::fs::write(work.join("huge"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    std::fs::write(work.join("limit"), vec![b'x'; 1024 * 1024]).unwrap();
    symlink("debian/control", work.join("inside")).unwrap();
    symlink("/etc/passwd", work.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", work.join("above")).unwrap();
    symlink("/etc", work.join("directory")).unwrap();
    symlink("loop", work.join("loop")).unwrap();
    let commit = upstream.commit("content");
    let source = check_out(&service, &upstream, &commit).await.unwrap();
    assert_eq!(source.read("debian/control").unwrap().unwrap(), b"Source: x\n");
    assert_eq!(source.read("inside").unwrap().unwrap(), b"Source: x\n");
    assert_eq!(source.read("limit").unwrap().unwrap().len(), 1024 * 1024);
    for name in [
        "absolute",
        "above",
        "directory/passwd",
        "loop",
        "missing",
        "debian",
        "file/x",
    ] {
        assert_eq!(source.read(name).unwrap(), None, "{name}");
    }
    for name in ["", "/etc/passwd", "../lock", "debian/../file", "./file", "huge"] {
        assert!(matches!(source.read(name), Err(GitError::BadRequest { .. })), "{name}");
    }
}

/// A commit on `master` of the bare repository, with a tree that no git client would make.
fn hostile(upstream: &Upstream, entries: &[(&str, &str, Oid)]) -> String {
    let repository = Repository::open(upstream.bare()).unwrap();
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend(format!("{mode} {name}\0").bytes());
        tree.extend(id.as_bytes());
    }
    let tree = repository.odb().unwrap().write(git2::ObjectType::Tree, &tree).unwrap();
    let text = format!(
        "tree {tree}\nauthor A <a@example.org> 1767323045 +0000\ncommitter A <a@example.org> 1767323045 +0000\n\nx\n"
    );
    let commit = repository
        .odb()
        .unwrap()
        .write(git2::ObjectType::Commit, text.as_bytes())
        .unwrap();
    repository.reference("refs/heads/master", commit, true, "").unwrap();
    commit.to_string()
}

fn blob(upstream: &Upstream, content: &str) -> Oid {
    Repository::open(upstream.bare())
        .unwrap()
        .blob(content.as_bytes())
        .unwrap()
}

fn tree_of(upstream: &Upstream, name: &str, content: &str) -> Oid {
    let commit = hostile(upstream, &[("100644", name, blob(upstream, content))]);
    let repository = Repository::open(upstream.bare()).unwrap();
    repository
        .find_commit(Oid::from_str(&commit).unwrap())
        .unwrap()
        .tree_id()
}

#[tokio::test]
async fn hostile_names_are_refused_and_nothing_is_written_outside() {
    let (service, upstream) = (service(), Upstream::new());
    let file = blob(&upstream, "evil");
    let tree = tree_of(&upstream, "evil", "evil");
    for (mode, name, id) in [
        ("100644", "../evil", file),
        ("100644", "/tmp/evil", file),
        ("100644", "a/b", file),
        ("100644", "..", file),
        ("100644", ".", file),
        ("40000", "..", tree),
        ("40000", ".git", tree),
        ("40000", ".GIT", tree),
        ("100644", ".git", file),
    ] {
        let commit = hostile(&upstream, &[(mode, name, id)]);
        let error = check_out(&service, &upstream, &commit).await.unwrap_err();
        assert!(matches!(error, GitError::BadRequest { .. }), "{name}: {error:?}");
    }
    let checkouts = service.directory.path().join("checkouts");
    assert!(!checkouts.join("evil").exists());
}

#[tokio::test]
async fn a_link_and_a_directory_of_one_name_do_not_lead_outside() {
    let (service, upstream) = (service(), Upstream::new());
    let outside = tempfile::tempdir().unwrap();
    let link = blob(&upstream, outside.path().to_str().unwrap());
    let tree = tree_of(&upstream, "evil", "evil");
    for entries in [
        [("120000", "a", link), ("40000", "a", tree)],
        [("40000", "a", tree), ("120000", "a", link)],
    ] {
        let commit = hostile(&upstream, &entries);
        let error = check_out(&service, &upstream, &commit).await.unwrap_err();
        assert!(matches!(error, GitError::BadRequest { .. }), "{error:?}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn names_and_links_that_are_not_utf8_are_kept_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let (service, upstream) = (service(), Upstream::new());
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(upstream.work().join(odd), "x").unwrap();
    symlink(odd, upstream.work().join("link")).unwrap();
    let commit = upstream.commit("content");
    let source = check_out(&service, &upstream, &commit).await.unwrap();
    assert_eq!(std::fs::read(source.path().join(odd)).unwrap(), b"x");
    assert_eq!(std::fs::read_link(source.path().join("link")).unwrap(), odd);
}

#[tokio::test]
async fn a_submodule_is_an_empty_directory() {
    let (service, upstream) = (service(), Upstream::new());
    let commit = Oid::from_str(&"a".repeat(40)).unwrap();
    let commit = hostile(&upstream, &[("160000", "module", commit)]);
    let source = check_out(&service, &upstream, &commit).await.unwrap();
    assert_eq!(std::fs::read_dir(source.path().join("module")).unwrap().count(), 0);
}

#[tokio::test]
async fn trees_beyond_the_limits_are_refused() {
    let upstream = Upstream::new();
    // A tree of ten trees of ten trees ...: small to store, 10^8 files to write.
    let mut id = tree_of(&upstream, "file", "x");
    let mut commit = String::new();
    for _ in 0..8 {
        let names: Vec<String> = (0..10).map(|i| format!("d{i}")).collect();
        let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_str(), id)).collect();
        commit = hostile(&upstream, &entries);
        let repository = Repository::open(upstream.bare()).unwrap();
        id = repository
            .find_commit(Oid::from_str(&commit).unwrap())
            .unwrap()
            .tree_id();
    }
    let few = service_with(|config| config.limits.files = 1000);
    let error = check_out(&few, &upstream, &commit).await.unwrap_err();
    assert!(error.to_string().contains("more than 1000 files"), "{error}");

    let small = service_with(|config| config.limits.bytes = 10);
    let large = hostile(
        &upstream,
        &[
            ("100644", "a", blob(&upstream, "123456")),
            ("100644", "b", blob(&upstream, "123456")),
        ],
    );
    let error = check_out(&small, &upstream, &large).await.unwrap_err();
    assert!(error.to_string().contains("more than 10 bytes"), "{error}");

    let one = service_with(|config| config.limits.file = 5);
    let error = check_out(&one, &upstream, &large).await.unwrap_err();
    assert!(error.to_string().contains("larger than 5 bytes"), "{error}");

    let mut deep = tree_of(&upstream, "file", "x");
    let mut commit = String::new();
    for _ in 0..200 {
        commit = hostile(&upstream, &[("40000", "d", deep)]);
        let repository = Repository::open(upstream.bare()).unwrap();
        deep = repository
            .find_commit(Oid::from_str(&commit).unwrap())
            .unwrap()
            .tree_id();
    }
    let error = check_out(&service(), &upstream, &commit).await.unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[tokio::test]
async fn a_fetch_that_brings_too_much_is_cut_off() {
    let upstream = Upstream::new();
    std::fs::write(upstream.work().join("noise"), noise(4_000_000)).unwrap();
    let commit = upstream.commit("large");
    let server = git_daemon(upstream.root());
    let service = service_with(|config| config.limits.transfer = 100_000);
    let error = service
        .file(&format!("git://127.0.0.1:{}/x.git", server.port), "master", &commit)
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::BadRequest { .. }), "{error:?}");
}
