//! `artifacts`: content-addressed bytes that events refer to.

mod chunks;
mod retention;

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::chunks::{Chunks, Seen};
use crate::objects::{Bucket, Location, OpenError, Reached};
use crate::runtime::{Invocation, wit};

/// Longest range that a bot may read at once.
const MAX_RANGE: u32 = 16 * 1024 * 1024;

/// Bytes of a file that is stored by one request. Larger ones go in parts, so that no more than a few of them are in memory.
const SMALL: u64 = 4 * 1024 * 1024;

/// Digests of chunks that are kept in memory, 32 bytes each: of 32 GiB. Beyond this many all are forgotten, and artifacts are checked
/// again.
const MAX_CHUNKS: usize = 512 * 1024;

/// An artifact, by reference, as events carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Plain file name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Media type.
    pub media_type: String,
}

/// Why an artifact could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The store doesn't have it.
    #[error("no artifact has the digest {0}")]
    NotFound(String),
    /// The bytes are others.
    #[error("the stored bytes of {0} do not have its digest")]
    Corrupt(String),
    /// Not a plain file name.
    #[error("{0:?} is not a plain file name")]
    BadName(String),
    /// Not a SHA-256.
    #[error("{0:?} is not a SHA-256 digest")]
    BadDigest(String),
    /// Outside of the artifact, or too long.
    #[error("the range is outside of the artifact, or longer than 16 MiB")]
    BadRange,
    /// A local file could not be read or written.
    #[error("artifact file: {0}")]
    File(#[from] std::io::Error),
    /// The store can't be used.
    #[error("artifact store: {0}")]
    Open(#[from] OpenError),
    /// The store failed.
    #[error("artifact store: {0}")]
    Store(object_store::Error),
}

/// What was read whole, by its digest.
#[derive(Default)]
struct Verified {
    chunks: HashMap<String, Chunks>,
    /// Of all of them.
    count: usize,
}

impl Verified {
    /// An entry takes as much as eight digests besides its own.
    fn weight(chunks: &Chunks) -> usize {
        chunks.count() + 8
    }

    fn keep(&mut self, sha256: &str, chunks: Chunks) {
        self.forget(sha256);
        if self.count + Self::weight(&chunks) > MAX_CHUNKS {
            *self = Self::default();
        }
        self.count += Self::weight(&chunks);
        self.chunks.insert(sha256.to_owned(), chunks);
    }

    fn forget(&mut self, sha256: &str) {
        if let Some(gone) = self.chunks.remove(sha256) {
            self.count -= Self::weight(&gone);
        }
    }
}

/// The store. Bytes are kept once per digest and never change.
pub struct ArtifactStore {
    store: Arc<dyn ObjectStore>,
    /// Where its files are, if they are on this machine.
    directory: Option<PathBuf>,
    /// Where they are otherwise.
    bucket: Option<Box<Bucket>>,
    /// Whether no other host uses it.
    is_own: bool,
    /// What was stored lately, so that it is not swept before an event refers to it.
    leases: retention::Leases,
    /// By digest: what this process has read whole, and what its chunks were.
    verified: Mutex<Verified>,
}

impl ArtifactStore {
    /// A store in a local directory that no other host uses, which is made if need be.
    ///
    /// # Errors
    /// [`ArtifactError`] if the directory can't be made or used.
    pub fn local(directory: &Path) -> Result<Self, ArtifactError> {
        let store = Self::open(&Location::Directory(directory.to_owned()))?;
        Ok(Self { is_own: true, ..store })
    }

    /// A store wherever objects can be kept, which other hosts may use.
    ///
    /// # Errors
    /// [`ArtifactError::Open`]; an S3 service that can't be reached is no error yet.
    pub fn open(location: &Location) -> Result<Self, ArtifactError> {
        Ok(Self {
            store: location.open()?,
            directory: match location {
                Location::Directory(directory) => Some(directory.clone()),
                Location::Bucket(_) => None,
            },
            bucket: match location {
                Location::Directory(_) => None,
                Location::Bucket(bucket) => Some(bucket.clone()),
            },
            is_own: false,
            leases: retention::Leases::default(),
            verified: Mutex::default(),
        })
    }

    /// Whether artifacts can be stored here, as far as that can be known without storing one.
    pub async fn reach(&self) -> Reached {
        match (&self.bucket, &self.directory) {
            (Some(bucket), _) => bucket.reach().await,
            (None, Some(directory)) => match tempfile::tempfile_in(directory) {
                Ok(_) => Reached::Usable,
                Err(error) => Reached::Refused(format!("{}: {error}", directory.display())),
            },
            (None, None) => Reached::Usable,
        }
    }

    /// The file that an artifact is kept in, if the store is on this machine: on disk for certain, and not to be written
    /// to. Whether it is there, and has its digest, is for the caller to see.
    ///
    /// # Errors
    /// [`ArtifactError`] if the artifact's digest isn't one.
    pub fn local_file(&self, artifact: &Artifact) -> Result<Option<PathBuf>, ArtifactError> {
        let key = key_of(&artifact.sha256)?;
        Ok(self.directory.as_ref().map(|directory| directory.join(key.as_ref())))
    }

    /// Store bytes.
    ///
    /// # Errors
    /// [`ArtifactError`] if the name isn't a plain file name, or the store fails.
    pub async fn put(&self, name: &str, media_type: &str, bytes: Bytes) -> Result<Artifact, ArtifactError> {
        check_name(name)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let key = key_of(&sha256)?;
        let artifact = Artifact {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256,
            media_type: media_type.to_owned(),
        };
        if !self.has(&artifact, &key).await {
            self.store
                .put(&key, PutPayload::from_bytes(bytes))
                .await
                .map_err(ArtifactError::Store)?;
        }
        Ok(artifact)
    }

    /// Store a local file.
    ///
    /// # Errors
    /// [`ArtifactError`] if the name isn't a plain file name, or the file or the store fails.
    pub async fn put_file(&self, name: &str, media_type: &str, path: &Path) -> Result<Artifact, ArtifactError> {
        check_name(name)?;
        let mut file = tokio::fs::File::open(path).await?;
        let mut hasher = Sha256::new();
        let mut size = 0u64;
        let mut buffer = BytesMut::with_capacity(1 << 20);
        while file.read_buf(&mut buffer).await? > 0 {
            hasher.update(&buffer);
            size += buffer.len() as u64;
            buffer.clear();
        }
        let sha256 = hex::encode(hasher.finalize());
        let key = key_of(&sha256)?;
        let artifact = Artifact {
            name: name.to_owned(),
            size,
            sha256,
            media_type: media_type.to_owned(),
        };
        if self.has(&artifact, &key).await {
            return Ok(artifact);
        }
        if size <= SMALL {
            let bytes = tokio::fs::read(path).await?;
            // It was hashed in another reading.
            if hex::encode(Sha256::digest(&bytes)) != artifact.sha256 {
                return Err(io::Error::other(format!("{} changes while it is stored", path.display())).into());
            }
            let put = self.store.put(&key, PutPayload::from_bytes(bytes.into())).await;
            put.map_err(ArtifactError::Store)?;
        } else {
            let mut file = tokio::fs::File::open(path).await?;
            let upload = self.store.put_multipart(&key).await.map_err(ArtifactError::Store)?;
            let mut writer = WriteMultipart::new(upload);
            loop {
                let mut buffer = BytesMut::with_capacity(1 << 20);
                if file.read_buf(&mut buffer).await? == 0 {
                    break;
                }
                writer.wait_for_capacity(4).await.map_err(ArtifactError::Store)?;
                writer.put(buffer.freeze());
            }
            writer.finish().await.map_err(ArtifactError::Store)?;
        }
        Ok(artifact)
    }

    /// All bytes of an artifact, checked against its digest.
    ///
    /// # Errors
    /// [`ArtifactError`] if it's missing or not what its digest says.
    pub async fn get(&self, artifact: &Artifact) -> Result<Bytes, ArtifactError> {
        let key = key_of(&artifact.sha256)?;
        let found = self.store.get(&key).await.map_err(|e| not_found(e, artifact))?;
        let bytes = found.bytes().await.map_err(ArtifactError::Store)?;
        if hex::encode(Sha256::digest(&bytes)) == artifact.sha256 {
            Ok(bytes)
        } else {
            Err(ArtifactError::Corrupt(artifact.sha256.clone()))
        }
    }

    /// Copy an artifact into a new local file, checked against its digest.
    ///
    /// # Errors
    /// [`ArtifactError`] if it's missing or not what its digest says; the file is not to be used then.
    pub async fn copy_to(&self, artifact: &Artifact, path: &Path) -> Result<(), ArtifactError> {
        let key = key_of(&artifact.sha256)?;
        let found = self.store.get(&key).await.map_err(|e| not_found(e, artifact))?;
        let mut chunks = found.into_stream();
        let mut file = tokio::fs::File::create(path).await?;
        let mut hasher = Sha256::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(ArtifactError::Store)?;
            hasher.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        if hex::encode(hasher.finalize()) == artifact.sha256 {
            Ok(())
        } else {
            Err(ArtifactError::Corrupt(artifact.sha256.clone()))
        }
    }

    /// A part of an artifact; shorter at its end. The whole is checked against its digest when it is read first, and each part that
    /// is read later against what was there then: whoever can write to the store can't change it in between.
    ///
    /// # Errors
    /// [`ArtifactError`] if it's missing, not what its digest says, or the range is out of bounds.
    pub async fn read(&self, artifact: &Artifact, offset: u64, length: u32) -> Result<Bytes, ArtifactError> {
        let key = key_of(&artifact.sha256)?;
        if length > MAX_RANGE || offset > artifact.size {
            return Err(ArtifactError::BadRange);
        }
        let range = offset..artifact.size.min(offset + u64::from(length));
        let Some(chunks) = self.verified_chunks(artifact) else {
            return self.verify(artifact, &key, range).await;
        };
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if artifact.size != chunks.size() {
            return Err(ArtifactError::Corrupt(artifact.sha256.clone()));
        }
        let whole = chunks.around(&range);
        let found = self.store.get_range(&key, whole.clone()).await;
        let bytes = found.map_err(|e| not_found(e, artifact))?;
        let part = (range.start - whole.start) as usize..(range.end - whole.start) as usize;
        if !chunks.are(whole.start, &bytes) || bytes.len() < part.end {
            self.forget(artifact);
            return Err(ArtifactError::Corrupt(artifact.sha256.clone()));
        }
        Ok(bytes.slice(part))
    }

    /// Check an artifact against its digest. Returns a part of it, which need not be read once more.
    async fn verify(&self, artifact: &Artifact, key: &Key, range: Range<u64>) -> Result<Bytes, ArtifactError> {
        let found = self.store.get(key).await.map_err(|e| not_found(e, artifact))?;
        let mut seen = Seen::new(range);
        let seen = match found.payload {
            // In one go: a small file costs less to read than to hand from thread to thread.
            GetResultPayload::File(mut file, _) => {
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        match file.read(&mut buffer) {
                            Ok(0) => return Ok(seen),
                            Ok(read) => seen.see(buffer.get(..read).unwrap_or_default()),
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => return Err(error),
                        }
                    }
                });
                read.await.map_err(io::Error::other)??
            }
            GetResultPayload::Stream(mut chunks) => {
                while let Some(chunk) = chunks.next().await {
                    seen.see(&chunk.map_err(ArtifactError::Store)?);
                }
                seen
            }
        };
        let (part, chunks) = match seen.end() {
            (sha256, size, part, chunks) if sha256 == artifact.sha256 && size == artifact.size => (part, chunks),
            _ => return Err(ArtifactError::Corrupt(artifact.sha256.clone())),
        };
        if let Ok(mut verified) = self.verified.lock() {
            verified.keep(&artifact.sha256, chunks);
        }
        Ok(part.into())
    }

    fn verified_chunks(&self, artifact: &Artifact) -> Option<Chunks> {
        self.verified.lock().ok()?.chunks.get(&artifact.sha256).cloned()
    }

    fn forget(&self, artifact: &Artifact) {
        if let Ok(mut verified) = self.verified.lock() {
            verified.forget(&artifact.sha256);
        }
    }

    /// Whether the store has it, as it should be, and keeps it until an event refers to it: what has rotted is stored again.
    async fn has(&self, artifact: &Artifact, key: &Key) -> bool {
        let file = self.directory.as_ref().filter(|_| self.is_own);
        let file = file.map(|directory| directory.join(key.as_ref()));
        self.leases.take(&artifact.sha256, file.as_deref());
        let is_there = self.store.head(key).await.is_ok_and(|meta| meta.size == artifact.size);
        is_there && self.verify(artifact, key, 0..0).await.is_ok()
    }
}

fn not_found(error: object_store::Error, artifact: &Artifact) -> ArtifactError {
    match error {
        object_store::Error::NotFound { .. } => ArtifactError::NotFound(artifact.sha256.clone()),
        other => ArtifactError::Store(other),
    }
}

/// `sha256/ab/abcd…`; the digest comes from events, so it is checked before it becomes a path.
fn key_of(sha256: &str) -> Result<Key, ArtifactError> {
    let lower_hex = sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match sha256.get(..2) {
        Some(shard) if sha256.len() == 64 && lower_hex => Ok(Key::from(format!("sha256/{shard}/{sha256}"))),
        _ => Err(ArtifactError::BadDigest(sha256.to_owned())),
    }
}

/// Names are joined to directories later on: only a plain file name will do.
fn check_name(name: &str) -> Result<(), ArtifactError> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._~:=".contains(&b));
    if plain {
        Ok(())
    } else {
        Err(ArtifactError::BadName(name.to_owned()))
    }
}

impl From<wit::types::Artifact> for Artifact {
    fn from(a: wit::types::Artifact) -> Self {
        Self {
            name: a.name,
            size: a.size,
            sha256: a.sha256,
            media_type: a.media_type,
        }
    }
}

impl From<Artifact> for wit::types::Artifact {
    fn from(a: Artifact) -> Self {
        Self {
            name: a.name,
            size: a.size,
            sha256: a.sha256,
            media_type: a.media_type,
        }
    }
}

impl From<ArtifactError> for wit::artifacts::Error {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::NotFound(digest) => Self::NotFound(digest),
            ArtifactError::Corrupt(digest) => Self::Corrupt(digest),
            ArtifactError::BadName(name) => Self::BadName(name),
            ArtifactError::BadDigest(digest) => Self::NotFound(digest),
            ArtifactError::BadRange => Self::BadRange,
            ArtifactError::File(_) | ArtifactError::Open(_) | ArtifactError::Store(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl wit::artifacts::Host for Invocation {
    async fn read(
        &mut self,
        artifact: wit::types::Artifact,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::artifacts::Error>> {
        let read = self.bot.services.artifacts.read(&artifact.into(), offset, length).await;
        Ok(read.map(Vec::from).map_err(Into::into))
    }

    async fn store(
        &mut self,
        name: String,
        media_type: String,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<wit::types::Artifact, wit::artifacts::Error>> {
        if let Err(too_much) = self.effects.budget.pass(bytes.len()) {
            return Ok(Err(wit::artifacts::Error::Unavailable(too_much.to_string())));
        }
        let stored = self.bot.services.artifacts.put(&name, &media_type, bytes.into()).await;
        Ok(stored.map(Into::into).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests;
