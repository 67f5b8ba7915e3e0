//! The contract's side of sites: what a bot calls.

use std::path::Path;

use wasmtime::component::Resource;

use super::{
    Checksum, Compression, Digest, Extras, Kept, NewPiece, Placed, SiteError, Splice, Spliced, Text, Transaction,
    compress,
};
use crate::capability::{Artifact, ArtifactError, ArtifactStore, Level};
use crate::runtime::{Invocation, wit};

use wit::site::Error;

impl Transaction {
    /// Add artifacts as files that never change: the same bytes may be there. Returns their digests, in the same order.
    ///
    /// # Errors
    /// [`AddError`] if other bytes are there, or an artifact can't be had.
    pub async fn add_artifacts(
        &mut self,
        files: Vec<(String, Artifact)>,
        store: &ArtifactStore,
    ) -> Result<Vec<Digest>, AddError> {
        let mut kept = Vec::with_capacity(files.len());
        let mut digests = Vec::new();
        for (path, artifact) in files {
            if let Some(file) = store.local_file(&artifact)? {
                let sha256 = artifact.sha256;
                kept.push(Kept { path, sha256, file });
            } else if let Some(there) = self.present(&path, &artifact.sha256).await? {
                digests.push(there);
            } else {
                let file = self.reserve().await?;
                store.copy_to(&artifact, file.path()).await?;
                digests.push(self.add(&path, file).await?);
            }
        }
        // A store has all of its files here, or none.
        digests.extend(self.add_kept(kept).await?);
        Ok(digests)
    }

    /// Add those of the artifacts whose paths have no file yet; what is there stays. Returns what has each path then, in the
    /// same order.
    ///
    /// # Errors
    /// [`AddError`] if an artifact can't be had.
    pub async fn add_missing_artifacts(
        &mut self,
        files: Vec<(String, Artifact)>,
        store: &ArtifactStore,
    ) -> Result<Vec<Placed>, AddError> {
        let mut kept = Vec::with_capacity(files.len());
        let mut placed = Vec::new();
        for (path, artifact) in files {
            if let Some(file) = store.local_file(&artifact)? {
                let sha256 = artifact.sha256;
                kept.push(Kept { path, sha256, file });
            } else if let Some(digest) = self.digest_of(&path).await? {
                placed.push(Placed { digest, is_new: false });
            } else {
                let file = self.reserve().await?;
                store.copy_to(&artifact, file.path()).await?;
                let digest = self.add(&path, file).await?;
                placed.push(Placed { digest, is_new: true });
            }
        }
        // A store has all of its files here, or none.
        placed.extend(self.add_missing(kept).await?);
        Ok(placed)
    }
}

impl Invocation {
    /// Tell in the bot's log that other users can't reach what it publishes. Its publication goes on: whoever serves the
    /// directory may be the same user.
    fn warn_if_closed(&self, directory: &Path) {
        let services = &self.bot.services;
        if let Some(closed) = services.sites.newly_closed(directory) {
            let line = format!("{closed} ({})", closed.remedy());
            let run = self.message.as_ref().map(|message| message.run.as_str());
            services.logs.write(&self.bot.name, run, Level::Warn, &line);
        }
    }
}

/// Why an artifact could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The site refused it.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// It could not be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl wit::site::Host for Invocation {
    async fn begin(&mut self, directory: String) -> wasmtime::Result<Result<Resource<Transaction>, Error>> {
        if !self.bot.grants.allow_site(directory.as_ref()) {
            return Ok(Err(Error::NotGranted(directory)));
        }
        match self.bot.services.sites.begin(directory.as_ref()).await {
            Ok(transaction) => {
                self.warn_if_closed(directory.as_ref());
                Ok(Ok(self.table.push(transaction)?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn compress(&mut self, how: wit::site::Compression, bytes: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        // Seconds of work for a large index: not on a thread that serves other bots.
        Ok(tokio::task::spawn_blocking(move || compress(how.into(), &bytes)).await??)
    }

    async fn digest_of(&mut self, bytes: Vec<u8>) -> wasmtime::Result<wit::site::Digest> {
        Ok(tokio::task::spawn_blocking(move || Digest::of(&bytes)).await?.into())
    }
}

impl wit::site::HostTransaction for Invocation {
    async fn read(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.table.get(&transaction)?.read(&path).await.map_err(Error::from))
    }

    async fn list(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.table.get(&transaction)?.list(&path).await.map_err(Error::from))
    }

    async fn write(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self
            .table
            .get_mut(&transaction)?
            .write(&path, bytes)
            .await
            .map_err(Error::from))
    }

    async fn add(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        artifact: wit::types::Artifact,
    ) -> wasmtime::Result<Result<wit::site::Digest, Error>> {
        let added = self.add_all(transaction, vec![(path, artifact)]).await?;
        Ok(added.and_then(|digests| {
            let missing = || Error::Unavailable("the file was not added".to_owned());
            digests.into_iter().next().ok_or_else(missing)
        }))
    }

    async fn add_all(
        &mut self,
        transaction: Resource<Transaction>,
        files: Vec<(String, wit::types::Artifact)>,
    ) -> wasmtime::Result<Result<Vec<wit::site::Digest>, Error>> {
        let files = files
            .into_iter()
            .map(|(path, artifact)| (path, artifact.into()))
            .collect();
        let transaction = self.table.get_mut(&transaction)?;
        let added = transaction.add_artifacts(files, &self.bot.services.artifacts).await;
        let digests = added.map(|digests| digests.into_iter().map(Into::into).collect());
        Ok(digests.map_err(Error::from))
    }

    async fn add_missing(
        &mut self,
        transaction: Resource<Transaction>,
        files: Vec<(String, wit::types::Artifact)>,
    ) -> wasmtime::Result<Result<Vec<(wit::site::Digest, bool)>, Error>> {
        let files = files
            .into_iter()
            .map(|(path, artifact)| (path, artifact.into()))
            .collect();
        let transaction = self.table.get_mut(&transaction)?;
        let placed = transaction
            .add_missing_artifacts(files, &self.bot.services.artifacts)
            .await;
        let placed = placed.map(|placed| {
            let placed = placed.into_iter();
            placed.map(|placed| (placed.digest.into(), placed.is_new)).collect()
        });
        Ok(placed.map_err(Error::from))
    }

    async fn read_part(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let part = self.table.get(&transaction)?.read_part(&path, offset, length).await;
        Ok(part.map_err(Error::from))
    }

    async fn package_files(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let files = self.table.get(&transaction)?.package_files(&path).await;
        Ok(files.map_err(Error::from))
    }

    async fn modified(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<Option<u64>, Error>> {
        let modified = self.table.get(&transaction)?.modified(&path).await;
        Ok(modified.map_err(Error::from))
    }

    async fn remove(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get_mut(&transaction)?.remove(&path).map_err(Error::from))
    }

    async fn text(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
    ) -> wasmtime::Result<Result<Option<wit::site::Text>, Error>> {
        let text = self.table.get(&transaction)?.text(&path).await;
        Ok(text.map(|text| text.map(Into::into)).map_err(Error::from))
    }

    async fn read_piece(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        number: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let piece = self.table.get(&transaction)?.read_piece(&path, number as usize).await;
        Ok(piece.map_err(Error::from))
    }

    async fn splice(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        changes: Vec<wit::site::Splice>,
    ) -> wasmtime::Result<Result<wit::site::Spliced, Error>> {
        self.splice_with(transaction, path, Vec::new(), changes).await
    }

    async fn splice_with(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        also: Vec<wit::site::Compression>,
        changes: Vec<wit::site::Splice>,
    ) -> wasmtime::Result<Result<wit::site::Spliced, Error>> {
        let extras = Extras {
            xz: also.contains(&wit::site::Compression::Xz),
        };
        let changes = changes.into_iter().map(Into::into).collect();
        let spliced = self.table.get_mut(&transaction)?.splice(&path, extras, changes).await;
        Ok(spliced.map(Into::into).map_err(Error::from))
    }

    async fn sha512(
        &mut self,
        transaction: Resource<Transaction>,
        paths: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Option<String>>, Error>> {
        let digests = self.table.get_mut(&transaction)?.sha512(&paths).await;
        Ok(digests.map_err(Error::from))
    }

    async fn link(
        &mut self,
        transaction: Resource<Transaction>,
        path: String,
        name: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        let linked = self.table.get_mut(&transaction)?.link(&path, &name).await;
        Ok(linked.map_err(Error::from))
    }

    async fn commit(
        &mut self,
        transaction: Resource<Transaction>,
        last: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self
            .table
            .get_mut(&transaction)?
            .commit(&last)
            .await
            .map_err(Error::from))
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

impl From<SiteError> for Error {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::BadPath(path) => Self::BadPath(path),
            SiteError::Conflict { path, existing, new } => Self::Conflict((path, existing, new)),
            // It will be the same the next time.
            SiteError::Foreign { .. } => Self::Foreign(error.to_string()),
            SiteError::NotAPackage { .. } if error.is_by_package() => Self::Foreign(error.to_string()),
            SiteError::NotAPackage { .. }
            | SiteError::NotWritten(_)
            | SiteError::NotAsPromised { .. }
            | SiteError::BadSplice
            | SiteError::Over
            | SiteError::Io { .. }
            | SiteError::Damaged { .. }
            | SiteError::Mirror { .. }
            | SiteError::NoRuntime { .. }
            | SiteError::Stopping => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<AddError> for Error {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Site(error) => error.into(),
            AddError::Artifact(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<Digest> for wit::site::Digest {
    fn from(digest: Digest) -> Self {
        Self {
            size: digest.size,
            md5: digest.md5,
            sha256: digest.sha256,
        }
    }
}

impl From<wit::site::Compression> for Compression {
    fn from(how: wit::site::Compression) -> Self {
        match how {
            wit::site::Compression::Gzip => Self::Gzip,
            wit::site::Compression::Xz => Self::Xz,
            wit::site::Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<Checksum> for wit::site::Checksum {
    fn from(Checksum { size, sha256 }: Checksum) -> Self {
        Self { size, sha256 }
    }
}

impl From<Text> for wit::site::Text {
    fn from(text: Text) -> Self {
        let pieces = text.pieces.into_iter();
        Self {
            checksum: text.checksum.into(),
            pieces: pieces
                .map(|piece| wit::site::Piece {
                    label: piece.label,
                    size: piece.size,
                })
                .collect(),
        }
    }
}

impl From<wit::site::Splice> for Splice {
    fn from(splice: wit::site::Splice) -> Self {
        let pieces = splice.pieces.into_iter();
        Self {
            first: splice.first as usize,
            count: splice.count as usize,
            pieces: pieces
                .map(|piece| NewPiece {
                    label: piece.label,
                    text: piece.text,
                })
                .collect(),
        }
    }
}

impl From<Spliced> for wit::site::Spliced {
    fn from(spliced: Spliced) -> Self {
        let files = spliced.files.into_iter();
        Self {
            text: spliced.text.into(),
            files: files
                .map(|(suffix, checksum)| (suffix.to_owned(), checksum.into()))
                .collect(),
        }
    }
}
