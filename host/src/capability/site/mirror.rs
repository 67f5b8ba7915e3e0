//! A copy of the site in a bucket, which follows every change.
//!
//! The copy changes in the order in which the site did: what nothing refers to yet, then what refers to it, removals last. So
//! its readers never meet an index that names files which aren't there. A change that can't be copied stays committed in
//! the site; the next writer copies it before it does anything else.
//!
//! The last object of each suite is put under a condition: that it is still the one that this site put there. Two sites that
//! were told to use one bucket notice each other that way, instead of taking turns in breaking the copy.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::apply::Plan;
use super::{PRIVATE, SiteError};
use crate::objects::{Bucket, Credentials, Location, parse_endpoint};

/// What the host knows of the copy.
const RECORD: &str = ".foundry/mirror.json";

/// How many objects are put or removed at the same time.
const AT_ONCE: usize = 8;

/// Larger files are put in parts of this size, in bytes. S3 allows no parts under 5 MiB.
const PART: usize = 8 << 20;

/// Where a site's copy is, and how to get in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// `s3://BUCKET/PREFIX`.
    pub url: String,
    /// The S3 service, if it isn't Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// File with the credentials; none for those of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// File with the authorities to believe, in PEM form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A mirror and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorState {
    /// Where.
    pub mirror: Mirror,
    /// Whether it has everything that the site had when the mirror was set.
    pub complete: bool,
    /// Versions of the objects that others must not replace, by path.
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

/// What a service calls the version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    e_tag: Option<String>,
    version: Option<String>,
}

impl Mirror {
    /// The mirror of the site in a directory; none if it has none, or nobody can tell.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        let root = Dir::open_ambient_dir(directory, cap_std::ambient_authority()).ok()?;
        Some(state(&root, directory).ok()??.mirror)
    }

    /// The place that it names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn location(&self) -> Result<Location, String> {
        let Location::Bucket(bucket) = Location::parse(&self.url)? else {
            return Err("a copy is kept in a bucket: write s3://BUCKET/PREFIX".to_owned());
        };
        let credentials = self.credentials.as_deref().map(Credentials::read).transpose();
        Ok(Location::Bucket(Box::new(Bucket {
            endpoint: self.endpoint.as_deref().map(parse_endpoint).transpose()?,
            region: self.region.clone(),
            credentials: credentials.map_err(|error| error.to_string())?,
            ca: self.ca.clone(),
            ..*bucket
        })))
    }
}

/// What is known of the site's mirror; none if it has none.
pub(super) fn state(root: &Dir, directory: &Path) -> Result<Option<MirrorState>, SiteError> {
    match root.read(RECORD) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| SiteError::Damaged {
                path: directory.join(RECORD),
                why: error.to_string(),
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SiteError::io("read", directory.join(RECORD))(error)),
    }
}

/// Let the site have this mirror from now on, or none; with all that the site has.
pub(super) fn set(root: &Dir, directory: &Path, mirror: Option<Mirror>) -> Result<(), SiteError> {
    let before = state(root, directory)?;
    let Some(mirror) = mirror else {
        return forget(root, directory);
    };
    let same = before.as_ref().filter(|state| state.mirror.url == mirror.url);
    let now = MirrorState {
        versions: same.map(|state| state.versions.clone()).unwrap_or_default(),
        mirror,
        complete: false,
    };
    save(root, directory, &now)?;
    follow(root, directory, &Plan::default()).inspect_err(|_| {
        // The caller is told the first error; if this one fails as well, the next writer meets it.
        let _ = match &before {
            Some(before) => save(root, directory, before),
            None => forget(root, directory),
        };
    })
}

fn forget(root: &Dir, directory: &Path) -> Result<(), SiteError> {
    match root.remove_file(RECORD) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SiteError::io("remove", directory.join(RECORD))(error))
        }
        _ => Ok(()),
    }
}

fn save(root: &Dir, directory: &Path, state: &MirrorState) -> Result<(), SiteError> {
    let new = format!("{RECORD}.new");
    let json = serde_json::to_vec(state).map_err(io::Error::from);
    json.and_then(|json| root.write(&new, json))
        .and_then(|()| root.open(&new)?.sync_all())
        .and_then(|()| root.rename(&new, root, RECORD))
        .map_err(SiteError::io("write", directory.join(RECORD)))
}

/// Bring the mirror, if there is one, where the site is after these changes; everything, if it isn't complete. The caller
/// has the site's lock, and may wait for the network.
pub(super) fn follow(root: &Dir, directory: &Path, plan: &Plan) -> Result<(), SiteError> {
    let Some(mut state) = state(root, directory)? else {
        return Ok(());
    };
    // The caller is on a thread of the runtime's that is meant for waiting.
    let runtime = Handle::try_current().map_err(|_| SiteError::NoRuntime {
        url: state.mirror.url.clone(),
    })?;
    let failed = |why: String| SiteError::Mirror {
        url: state.mirror.url.clone(),
        why,
    };
    let location = state.mirror.location().map_err(failed)?;
    let store = location.open().map_err(|error| failed(error.to_string()))?;
    let changes = if state.complete {
        Changes::of(plan)
    } else {
        let everything = Changes::everything(root, directory)?;
        tracing::info!(
            files = everything.first.len() + everything.last.len(),
            "copying the repository to {}",
            state.mirror.url
        );
        Changes {
            removals: Changes::of(plan).removals,
            ..everything
        }
    };
    let url = state.mirror.url.clone();
    let mut copy = Copy {
        root,
        store,
        versions: &mut state.versions,
    };
    let copied = runtime.block_on(copy.make(&changes));
    // What was put is remembered, also if the rest failed: its condition would not hold the next time.
    state.complete |= copied.is_ok();
    save(root, directory, &state)?;
    copied.map_err(|why| SiteError::Mirror { url, why })
}

/// What the copy needs, by path, in the order of its doing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    first: Vec<String>,
    last: Vec<String>,
    removals: Vec<String>,
}

impl Changes {
    fn of(plan: &Plan) -> Self {
        let public = |path: &&str| !Path::new(path).starts_with(PRIVATE);
        let paths = |paths: &mut dyn Iterator<Item = &str>| paths.filter(public).map(str::to_owned).collect();
        Self {
            first: paths(&mut plan.first.iter().map(|placement| placement.path.as_str())),
            last: paths(&mut plan.last.iter().map(|placement| placement.path.as_str())),
            removals: paths(&mut plan.removals.iter().map(String::as_str)),
        }
    }

    fn everything(root: &Dir, directory: &Path) -> Result<Self, SiteError> {
        let mut files = Vec::new();
        super::transaction::list(root, "", &mut files).map_err(SiteError::io("read", directory))?;
        files.retain(|path| !Path::new(path).starts_with(PRIVATE));
        files.sort_unstable();
        let (mut last, first): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| rank(path) > 0);
        last.sort_by_key(|path| rank(path));
        Ok(Self {
            first,
            last,
            removals: Vec::new(),
        })
    }
}

/// Files that refer to others come after them; 0 for those that refer to none.
fn rank(path: &str) -> u8 {
    match path.rsplit('/').next() {
        Some("index.html") => 1,
        Some("Release") => 2,
        Some("Release.gpg") => 3,
        Some("InRelease") => 4,
        _ => 0,
    }
}

struct Copy<'a> {
    root: &'a Dir,
    store: Arc<dyn ObjectStore>,
    versions: &'a mut BTreeMap<String, Version>,
}

impl Copy<'_> {
    async fn make(&mut self, changes: &Changes) -> Result<(), String> {
        for path in changes.last.iter().filter(|path| rank(path) == rank("InRelease")) {
            self.still_ours(path).await?;
        }
        let (root, store) = (self.root, &self.store);
        stream::iter(&changes.first)
            .map(|path| async move { put(root, store.as_ref(), path).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for path in &changes.last {
            if rank(path) == rank("InRelease") {
                self.put_if_ours(path).await?;
            } else {
                put(self.root, self.store.as_ref(), path).await?;
            }
        }
        let store = &self.store;
        stream::iter(&changes.removals)
            .map(|path| async move { remove(store.as_ref(), path).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Look before anything is changed whether an object is still the one that we put there.
    async fn still_ours(&mut self, path: &str) -> Result<(), String> {
        let found = match self.store.head(&key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                self.versions.remove(path);
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        let known = self.versions.get(path);
        if known.is_none_or(|known| known.e_tag != found.e_tag) {
            let version = self.version_of_the_same(path).await?;
            self.versions.insert(path.to_owned(), version);
        }
        Ok(())
    }

    /// Put an object, if the one that is there is the one that we put last.
    async fn put_if_ours(&mut self, path: &str) -> Result<(), String> {
        let mode = match self.versions.get(path) {
            Some(Version { e_tag, version }) => PutMode::Update(UpdateVersion {
                e_tag: e_tag.clone(),
                version: version.clone(),
            }),
            None => PutMode::Create,
        };
        let options = PutOptions {
            mode,
            attributes: attributes(path),
            ..PutOptions::default()
        };
        let bytes = PutPayload::from(read(self.root, path)?);
        let version = match self.store.put_opts(&key(path)?, bytes, options).await {
            Ok(put) => Version {
                e_tag: put.e_tag,
                version: put.version,
            },
            Err(
                object_store::Error::Precondition { .. }
                | object_store::Error::AlreadyExists { .. }
                | object_store::Error::NotFound { .. },
            ) => self.version_of_the_same(path).await?,
            Err(error) => return Err(error.to_string()),
        };
        self.versions.insert(path.to_owned(), version);
        Ok(())
    }

    /// The version of an object that is not the one we know of: it may still be our own, if an answer was lost.
    async fn version_of_the_same(&self, path: &str) -> Result<Version, String> {
        let strange = || {
            format!(
                "{path} is not what this repository put there: another one publishes to the same place, or did (give each                  its own prefix, or remove the object and try again)"
            )
        };
        let found = self.store.get(&key(path)?).await.map_err(|_| strange())?;
        let version = Version {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        };
        let theirs = found.bytes().await.map_err(|error| error.to_string())?;
        if theirs == read(self.root, path)? {
            Ok(version)
        } else {
            Err(strange())
        }
    }
}

async fn put(root: &Dir, store: &dyn ObjectStore, path: &str) -> Result<(), String> {
    let key = key(path)?;
    let mut file = root
        .open(path)
        .map_err(|error| format!("cannot read {path}: {error}"))?;
    let first = part(&mut file, path)?;
    if first.len() < PART {
        let options = PutOptions::from(attributes(path));
        let put = store.put_opts(&key, first.into(), options).await;
        return put.map(drop).map_err(|error| error.to_string());
    }
    let options = PutMultipartOptions::from(attributes(path));
    let mut upload = store
        .put_multipart_opts(&key, options)
        .await
        .map_err(|error| error.to_string())?;
    match put_parts(upload.as_mut(), first, &mut file, path).await {
        Ok(()) => Ok(()),
        Err(why) => {
            // Parts that are left behind cost money; what can't be removed now is for the bucket's own rules.
            let _ = upload.abort().await;
            Err(why)
        }
    }
}

async fn put_parts(
    upload: &mut dyn MultipartUpload,
    first: Vec<u8>,
    file: &mut cap_std::fs::File,
    path: &str,
) -> Result<(), String> {
    let mut bytes = first;
    while !bytes.is_empty() {
        upload.put_part(bytes.into()).await.map_err(|error| error.to_string())?;
        bytes = part(file, path)?;
    }
    upload.complete().await.map(drop).map_err(|error| error.to_string())
}

/// The next part of a file; shorter at its end.
fn part(file: &mut cap_std::fs::File, path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.take(PART as u64).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(bytes)
}

async fn remove(store: &dyn ObjectStore, path: &str) -> Result<(), String> {
    match store.delete(&key(path)?).await {
        Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn read(root: &Dir, path: &str) -> Result<Vec<u8>, String> {
    root.read(path).map_err(|error| format!("cannot read {path}: {error}"))
}

fn key(path: &str) -> Result<Key, String> {
    Key::parse(path).map_err(|error| error.to_string())
}

/// What browsers and caches are told: files that never change may be kept, all others have to be asked for.
fn attributes(path: &str) -> Attributes {
    let for_ever = path.starts_with("pool/") || path.contains("/by-hash/");
    let cache = if for_ever {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let kind = match path.rsplit('/').next() {
        Some(name) if name.ends_with(".html") => "text/html; charset=utf-8",
        Some(name) if name.ends_with(".asc") || rank(name) > 0 => "text/plain; charset=utf-8",
        Some(name) if name.ends_with(".deb") => "application/vnd.debian.binary-package",
        _ => "application/octet-stream",
    };
    Attributes::from_iter([(Attribute::CacheControl, cache), (Attribute::ContentType, kind)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_to_others_is_copied_after_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority()).unwrap();
        for path in [
            "dists/stable/InRelease",
            "dists/stable/Release",
            "dists/stable/Release.gpg",
            "dists/stable/main/binary-amd64/Packages.gz",
            "index.html",
            "pool/main/a/a/a.deb",
            ".foundry/lock",
        ] {
            root.create_dir_all(Path::new(path).parent().unwrap()).unwrap();
            root.write(path, path).unwrap();
        }
        let changes = Changes::everything(&root, directory.path()).unwrap();
        assert_eq!(
            changes.first,
            ["dists/stable/main/binary-amd64/Packages.gz", "pool/main/a/a/a.deb"]
        );
        assert_eq!(
            changes.last,
            [
                "index.html",
                "dists/stable/Release",
                "dists/stable/Release.gpg",
                "dists/stable/InRelease"
            ]
        );
    }

    #[test]
    fn without_a_runtime_a_copy_is_refused_and_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority()).unwrap();
        root.create_dir(PRIVATE).unwrap();
        follow(&root, directory.path(), &Plan::default()).unwrap();
        let there = MirrorState {
            mirror: Mirror {
                url: "s3://packages/debian".to_owned(),
                endpoint: None,
                region: None,
                credentials: None,
                ca: None,
            },
            complete: false,
            versions: BTreeMap::new(),
        };
        save(&root, directory.path(), &there).unwrap();
        let refused = follow(&root, directory.path(), &Plan::default());
        assert!(
            matches!(&refused, Err(SiteError::NoRuntime { url }) if url == "s3://packages/debian"),
            "{refused:?}"
        );
        assert_eq!(state(&root, directory.path()).unwrap(), Some(there));
    }
}
