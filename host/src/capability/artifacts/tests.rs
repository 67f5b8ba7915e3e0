use super::*;

#[tokio::test]
async fn bytes_come_back_whole_and_in_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::local(directory.path()).unwrap();
    let artifact = store
        .put("a.txt", "text/plain", Bytes::from_static(b"hello world"))
        .await
        .unwrap();
    assert_eq!(store.get(&artifact).await.unwrap(), "hello world");
    assert_eq!(store.read(&artifact, 6, 100).await.unwrap(), "world");
    assert_eq!(store.read(&artifact, 11, 1).await.unwrap(), "");
    assert!(matches!(
        store.read(&artifact, 12, 1).await,
        Err(ArtifactError::BadRange)
    ));
}

#[tokio::test]
async fn the_first_look_at_a_part_sees_that_part_of_a_large_artifact() {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    for (offset, length) in [(0, 10), (65_530, 20), (100_000, 150_000), (299_990, 100), (300_000, 5)] {
        // A store that has verified nothing yet.
        let store = ArtifactStore::local(directory.path()).unwrap();
        let artifact = store.put("a", "text/plain", bytes.clone().into()).await.unwrap();
        let end = bytes.len().min(offset + length);
        for _ in 0..2 {
            let read = store.read(&artifact, offset as u64, length as u32).await.unwrap();
            assert!(read == bytes[offset..end], "{length} bytes at {offset}");
        }
    }
}

#[tokio::test]
async fn a_file_has_the_digest_of_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::local(&directory.path().join("store")).unwrap();
    let file = directory.path().join("f");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let artifact = store
        .put_file("f.bin", "application/octet-stream", &file)
        .await
        .unwrap();
    assert_eq!(artifact.sha256, hex::encode(Sha256::digest(&bytes)));
    let copy = directory.path().join("copy");
    store.copy_to(&artifact, &copy).await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), bytes);
}

#[tokio::test]
async fn a_flipped_byte_in_the_store_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::local(directory.path()).unwrap();
    let artifact = store
        .put("a.txt", "text/plain", Bytes::from_static(b"hello"))
        .await
        .unwrap();
    let path = directory
        .path()
        .join("sha256")
        .join(&artifact.sha256[..2])
        .join(&artifact.sha256);
    std::fs::write(path, b"hellp").unwrap();
    assert!(matches!(store.get(&artifact).await, Err(ArtifactError::Corrupt(_))));
    assert!(matches!(
        store.read(&artifact, 0, 1).await,
        Err(ArtifactError::Corrupt(_))
    ));
}

#[tokio::test]
async fn names_and_digests_that_are_paths_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::local(directory.path()).unwrap();
    for name in ["../x", "a/b", "", ".hidden", "a\nb"] {
        assert!(
            matches!(store.put(name, "", Bytes::new()).await, Err(ArtifactError::BadName(_))),
            "{name:?}"
        );
    }
    let sha256 = "../../../../etc/passwd".to_owned();
    let artifact = Artifact {
        name: "x".into(),
        size: 1,
        sha256,
        media_type: String::new(),
    };
    assert!(matches!(store.get(&artifact).await, Err(ArtifactError::BadDigest(_))));
}

fn file_of(directory: &Path, artifact: &Artifact) -> PathBuf {
    directory
        .join("sha256")
        .join(&artifact.sha256[..2])
        .join(&artifact.sha256)
}

#[tokio::test]
async fn a_part_that_has_changed_since_the_first_look_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::local(directory.path()).unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let artifact = store.put("a", "text/plain", bytes.clone().into()).await.unwrap();
    assert!(store.read(&artifact, 0, 1).await.is_ok());
    for (at, length) in [(0, 1), (150_000, 100_000), (299_999, 1)] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(file_of(directory.path(), &artifact), &changed).unwrap();
        assert!(
            matches!(
                store.read(&artifact, at as u64, length).await,
                Err(ArtifactError::Corrupt(_))
            ),
            "{length} bytes at {at}"
        );
        std::fs::write(file_of(directory.path(), &artifact), &bytes).unwrap();
        assert!(
            store.read(&artifact, at as u64, length).await.is_ok(),
            "it is well again"
        );
    }
    std::fs::write(file_of(directory.path(), &artifact), &bytes[..200_000]).unwrap();
    assert!(store.read(&artifact, 199_990, 20).await.is_err(), "it was cut off");
}

#[tokio::test]
async fn what_has_rotted_is_stored_again() {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("a.txt");
    std::fs::write(&local, "hello").unwrap();
    let store = ArtifactStore::local(&directory.path().join("store")).unwrap();
    let artifact = store
        .put("a.txt", "text/plain", Bytes::from_static(b"hello"))
        .await
        .unwrap();
    let kept = file_of(&directory.path().join("store"), &artifact);
    for rotten in ["hellp", "hell", ""] {
        std::fs::write(&kept, rotten).unwrap();
        store
            .put("a.txt", "text/plain", Bytes::from_static(b"hello"))
            .await
            .unwrap();
        assert_eq!(store.get(&artifact).await.unwrap(), "hello", "after {rotten:?}");
        std::fs::write(&kept, rotten).unwrap();
        store.put_file("a.txt", "text/plain", &local).await.unwrap();
        assert_eq!(store.get(&artifact).await.unwrap(), "hello", "after {rotten:?}");
    }
}
