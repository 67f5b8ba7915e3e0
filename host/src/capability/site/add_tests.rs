//! Files that never change: those that are kept elsewhere, and those that are there already.

use std::path::Path;

use super::tests::{add, files, published};
use super::*;

/// Files of some content, as an artifact store keeps them: not readable for everyone.
fn kept(store: &Path, files: &[(&str, &str)]) -> Vec<Kept> {
    let keep = |(number, (path, text)): (usize, &(&str, &str))| {
        let file = store.join(number.to_string());
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Kept {
            path: (*path).to_owned(),
            sha256: Digest::of(text.as_bytes()).sha256,
            file,
        }
    };
    files.iter().enumerate().map(keep).collect()
}

#[tokio::test]
async fn kept_files_get_another_name_and_are_readable_then() {
    use std::os::unix::fs::MetadataExt as _;
    let (site, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    let given = kept(
        store.path(),
        &[("pool/b", "b"), ("pool/a", "a"), ("pool/b", "b"), ("pool/c/d/e", "e")],
    );
    let digests = transaction.add_kept(given.clone()).await.unwrap();
    assert_eq!(digests, ["b", "a", "b", "e"].map(|text| Digest::of(text.as_bytes())));
    transaction.commit(&[]).await.unwrap();
    let there = files([("pool/a", "a"), ("pool/b", "b"), ("pool/c/d/e", "e")]);
    assert_eq!(published(site.path()), there);
    let published_file = std::fs::metadata(site.path().join("pool/a")).unwrap();
    assert_eq!(
        published_file.ino(),
        std::fs::metadata(store.path().join("1")).unwrap().ino()
    );
    assert_eq!(published_file.mode() & 0o777, 0o644);

    // Once more, with what is there already.
    let mut transaction = sites.begin(site.path()).await.unwrap();
    let again = transaction.add_kept(given).await.unwrap();
    assert_eq!(again, digests);
    transaction.commit(&[]).await.unwrap();
    assert_eq!(published(site.path()), there);
}

#[tokio::test]
async fn kept_files_that_are_not_what_they_should_be_are_refused() {
    let (site, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    add(&mut transaction, "pool/there", "there").await.unwrap();
    transaction.commit(&[]).await.unwrap();

    let mut transaction = sites.begin(site.path()).await.unwrap();
    let conflict = transaction
        .add_kept(kept(store.path(), &[("pool/there", "else")]))
        .await;
    assert!(matches!(conflict, Err(SiteError::Conflict { path, .. }) if path == "pool/there"));
    let twice = transaction
        .add_kept(kept(store.path(), &[("pool/x", "1"), ("pool/x", "2")]))
        .await;
    assert!(matches!(twice, Err(SiteError::Conflict { path, .. }) if path == "pool/x"));
    let mut damaged = kept(store.path(), &[("pool/y", "y")]);
    std::fs::write(&damaged[0].file, "z").unwrap();
    let refused = transaction.add_kept(damaged.clone()).await;
    assert!(matches!(refused, Err(SiteError::NotAsPromised { .. })), "{refused:?}");
    damaged[0].file = store.path().join("missing");
    assert!(matches!(transaction.add_kept(damaged).await, Err(SiteError::Io { .. })));
    let outside = transaction.add_kept(kept(store.path(), &[("../x", "x")])).await;
    assert!(matches!(outside, Err(SiteError::BadPath(_))));
    drop(transaction);
    sites.begin(site.path()).await.unwrap();
    assert_eq!(published(site.path()), files([("pool/there", "there")]));
}

#[tokio::test]
async fn files_are_added_where_there_are_none_and_stay_where_there_are() {
    let (site, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sites = Sites::new();
    let mut transaction = sites.begin(site.path()).await.unwrap();
    add(&mut transaction, "pool/same", "same").await.unwrap();
    add(&mut transaction, "pool/other", "first").await.unwrap();
    transaction.commit(&[]).await.unwrap();

    let mut transaction = sites.begin(site.path()).await.unwrap();
    // What this transaction has added is there, too.
    add(&mut transaction, "pool/staged", "staged").await.unwrap();
    let given = kept(
        store.path(),
        &[
            ("pool/other", "second"),
            ("pool/new", "new"),
            ("pool/same", "same"),
            ("pool/staged", "else"),
        ],
    );
    let placed = transaction.add_missing(given.clone()).await.unwrap();
    let expected = [("first", false), ("new", true), ("same", false), ("staged", false)];
    assert_eq!(
        placed,
        expected.map(|(text, is_new)| Placed {
            digest: Digest::of(text.as_bytes()),
            is_new
        })
    );
    let others = tempfile::tempdir().unwrap();
    let twice = transaction
        .add_missing(kept(others.path(), &[("pool/x", "1"), ("pool/x", "2")]))
        .await;
    assert!(matches!(twice, Err(SiteError::Conflict { path, .. }) if path == "pool/x"));
    transaction.commit(&[]).await.unwrap();
    assert_eq!(
        published(site.path()),
        files([
            ("pool/same", "same"),
            ("pool/other", "first"),
            ("pool/new", "new"),
            ("pool/staged", "staged")
        ])
    );
}

#[tokio::test]
async fn a_file_is_read_in_parts() {
    let site = tempfile::tempdir().unwrap();
    let mut transaction = Sites::new().begin(site.path()).await.unwrap();
    add(&mut transaction, "pool/file", "0123456789").await.unwrap();
    let part = async |path: &str, offset, length| transaction.read_part(path, offset, length).await;
    for (offset, length, expected) in [(0, 4, "0123"), (8, 4, "89"), (10, 1, ""), (u64::from(u32::MAX), 9, "")] {
        let read = part("pool/file", offset, length).await.unwrap();
        assert_eq!(read.as_deref(), Some(expected.as_bytes()), "{offset} {length}");
    }
    assert_eq!(part("pool/none", 0, 4).await.unwrap(), None);
    assert!(matches!(part("../x", 0, 4).await, Err(SiteError::BadPath(_))));
}
