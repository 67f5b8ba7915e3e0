//! Takes from the build's directory what its `.changes` lists, and nothing else.
//!
//! The directory was in the build's hands: any name in it may be a trap. So names are checked before they are
//! used, files are opened without following links, and what is moved out is what was hashed.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::changes::{Changes, Listed, is_plain_name};
use super::package::SourcePackage;
use super::request::{Artifact, ArtifactKind, BuildKind};

/// The largest `.changes` that is read.
const LONGEST_CHANGES: u64 = 4 << 20;

/// The name of the one `.changes` that belongs to this build.
pub(super) fn find(dir: &Path, package: &SourcePackage) -> Result<String, String> {
    let stem = format!("{}_", package.file_stem());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| format!("the build's directory cannot be read: {error}"))? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let Some(name) = name.to_str() else { continue };
        let architecture = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(".changes"));
        if architecture.is_some_and(|one| !one.is_empty() && is_plain_name(one)) {
            found.push(name.to_owned());
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("the build made no {stem}*.changes")),
        several => Err(format!("the build made several: {}", several.join(", "))),
    }
}

/// How many bytes artifacts may have together, by their lengths: holes count, as copies have none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The build's limit on disk.
    pub limit: u64,
    /// What is free where they go.
    pub free: u64,
}

/// Why nothing was collected.
#[derive(Debug)]
pub(super) enum Refused {
    /// The build did not make what it says, or more than it may.
    Wrong(String),
    /// There is no room on the host's disk for what it made.
    Full,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// Moves the `.changes` and what it lists from `from` to `to`, everything checked on the way. Only if all of it is
/// right does anything appear in `to`. Lengths are checked before anything is copied.
pub(super) fn collect(
    from: &Path,
    to: &Path,
    package: &SourcePackage,
    kind: BuildKind,
    bounds: Bounds,
) -> Result<(Vec<String>, Vec<Artifact>), Refused> {
    let name = find(from, package)?;
    let mut text = String::new();
    let (file, size) = open(&from.join(&name)).map_err(|error| format!("{name}: {error}"))?;
    if size > LONGEST_CHANGES {
        return Err(format!("{name} is {size} bytes long").into());
    }
    file.take(LONGEST_CHANGES)
        .read_to_string(&mut text)
        .map_err(|error| format!("{name}: {error}"))?;
    let changes = Changes::parse(&text, package)?;
    check_lengths(from, &changes.files, size, bounds)?;
    check_kind(&changes, kind)?;

    let staging = tempfile::Builder::new()
        .prefix(".incoming")
        .tempdir_in(to)
        .map_err(|error| format!("{}: {error}", to.display()))?;
    let own = Listed {
        name,
        size,
        sha256: Sha256::digest(&text).into(),
    };
    let mut artifacts = Vec::new();
    for listed in std::iter::once(&own).chain(&changes.files) {
        take(from, &staging.path().join(&listed.name), listed)?;
        artifacts.push(Artifact {
            path: to.join(&listed.name),
            name: listed.name.clone(),
            kind: kind_of(&listed.name),
            size: listed.size,
            sha256: listed.sha256,
        });
    }
    for artifact in &artifacts {
        fs::rename(staging.path().join(&artifact.name), &artifact.path)
            .map_err(|error| format!("{}: {error}", artifact.path.display()))?;
    }
    Ok((changes.architectures, artifacts))
}

/// Checks the lengths of the listed files against what is listed and against the bounds. `own` is that of the `.changes`.
fn check_lengths(from: &Path, files: &[Listed], own: u64, bounds: Bounds) -> Result<(), Refused> {
    let (mut total, mut taken) = (own, own);
    for listed in files {
        let file = open_listed(from, listed)?;
        let blocks = file.metadata().map_or(0, |kind| kind.blocks());
        total = total.saturating_add(listed.size);
        taken = taken.saturating_add(blocks.saturating_mul(512));
    }
    if total > bounds.limit {
        return Err(format!("the artifacts are {total} bytes long together, more than the limit on disk").into());
    }
    if total <= bounds.free {
        return Ok(());
    }
    if taken > bounds.free {
        return Err(Refused::Full);
    }
    let free = bounds.free;
    Err(format!(
        "the artifacts are {total} bytes long together and take {taken}, so they have holes, and there is room for {free}"
    )
    .into())
}

fn check_kind(changes: &Changes, kind: BuildKind) -> Result<(), String> {
    let has = |wanted: fn(ArtifactKind) -> bool| changes.files.iter().any(|file| wanted(kind_of(&file.name)));
    if kind.has_source() && !has(|kind| kind == ArtifactKind::Dsc) {
        return Err("the .changes lists no .dsc".to_owned());
    }
    if kind.has_binaries() && !has(|kind| matches!(kind, ArtifactKind::Deb | ArtifactKind::Udeb)) {
        return Err("the .changes lists no .deb".to_owned());
    }
    Ok(())
}

/// Opens a regular file that has no other name, and never a link.
fn open(path: &Path) -> io::Result<(File, u64)> {
    // Non-blocking, so that a named pipe in the file's place can't make us wait for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?;
    if !kind.is_file() || kind.nlink() != 1 {
        return Err(io::Error::other("it is not a regular file with one name"));
    }
    Ok((file, kind.len()))
}

/// Opens a file that is as long as the `.changes` says.
fn open_listed(from: &Path, listed: &Listed) -> Result<File, String> {
    let fault = |why: String| format!("{}: {why}", listed.name);
    let (file, size) = open(&from.join(&listed.name)).map_err(|error| fault(error.to_string()))?;
    if size != listed.size {
        return Err(fault(format!(
            "it is {size} bytes long, and the .changes says {}",
            listed.size
        )));
    }
    Ok(file)
}

/// Copies one file while hashing it, so that what arrives is what was checked, and no longer than it.
fn take(from: &Path, to: &Path, listed: &Listed) -> Result<(), String> {
    let fault = |why: String| format!("{}: {why}", listed.name);
    let mut file = open_listed(from, listed)?.take(listed.size);
    let mut copy = || -> io::Result<[u8; 32]> {
        let mut out = File::create_new(to)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = file.read(&mut buffer)?;
            let Some(bytes @ [_, ..]) = buffer.get(..count) else {
                break;
            };
            hash.update(bytes);
            out.write_all(bytes)?;
        }
        Ok(hash.finalize().into())
    };
    match copy() {
        Ok(digest) if digest == listed.sha256 => Ok(()),
        Ok(_) => Err(fault("its SHA-256 is not the one in the .changes".to_owned())),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// What a file is, by its name.
fn kind_of(name: &str) -> ArtifactKind {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("changes") => ArtifactKind::Changes,
        Some("buildinfo") => ArtifactKind::Buildinfo,
        Some("dsc") => ArtifactKind::Dsc,
        Some("deb") => ArtifactKind::Deb,
        Some("ddeb") => ArtifactKind::Ddeb,
        Some("udeb") => ArtifactKind::Udeb,
        _ if name.contains(".tar.") || name.ends_with(".diff.gz") => ArtifactKind::Source,
        _ => ArtifactKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const CONTENT: &[u8] = b"content";

    fn package() -> SourcePackage {
        SourcePackage::parse("Source: demo\n", "demo (1.0) unstable; urgency=low\n", None).unwrap()
    }

    fn changes(name: &str, size: usize, digest: &str) -> String {
        format!("Source: demo\nArchitecture: amd64\nVersion: 1.0\nChecksums-Sha256:\n {digest} {size} {name}\n")
    }

    /// Collects a directory that holds `demo_1.0_amd64.deb` and a `.changes` that claims `claim` about it.
    fn collect_claim(claim: &str, prepare: impl Fn(&Path)) -> (Result<Vec<Artifact>, String>, usize) {
        let bounds = Bounds {
            limit: 1 << 20,
            free: 1 << 20,
        };
        collect_within(bounds, claim, prepare)
    }

    fn collect_within(bounds: Bounds, claim: &str, prepare: impl Fn(&Path)) -> (Result<Vec<Artifact>, String>, usize) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("demo_1.0_amd64.changes"), claim).unwrap();
        fs::write(from.path().join("demo_1.0_amd64.deb"), CONTENT).unwrap();
        prepare(from.path());
        let result = collect(from.path(), to.path(), &package(), BuildKind::Binary, bounds);
        let left = fs::read_dir(to.path()).unwrap().count();
        let result = result.map(|(_, artifacts)| artifacts).map_err(|refused| match refused {
            Refused::Wrong(why) => why,
            Refused::Full => "full".to_owned(),
        });
        (result, left)
    }

    fn digest() -> String {
        hex::encode(Sha256::digest(CONTENT))
    }

    #[test]
    fn what_matches_is_taken() {
        let claim = changes("demo_1.0_amd64.deb", CONTENT.len(), &digest());
        let (result, left) = collect_claim(&claim, |_| {});
        let kinds: Vec<_> = result.unwrap().iter().map(|artifact| artifact.kind).collect();
        assert_eq!(kinds, [ArtifactKind::Changes, ArtifactKind::Deb]);
        assert_eq!(left, 2);
    }

    #[test]
    fn a_false_size_or_digest_leaves_nothing_behind() {
        let other = hex::encode(Sha256::digest(b"other"));
        for claim in [
            changes("demo_1.0_amd64.deb", CONTENT.len(), &other),
            changes("demo_1.0_amd64.deb", 8, &digest()),
            changes("demo_1.0_amd64.deb", CONTENT.len(), "abc"),
            changes("absent_1.0_amd64.deb", CONTENT.len(), &digest()),
        ] {
            let (result, left) = collect_claim(&claim, |_| {});
            assert!(result.is_err());
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn a_file_of_holes_is_refused_before_a_byte_of_it_is_read() {
        const LONG: u64 = 1 << 40;
        let claim = changes("demo_1.0_amd64.deb", 1 << 40, &digest());
        let stretch = |dir: &Path| {
            let file = File::options()
                .write(true)
                .open(dir.join("demo_1.0_amd64.deb"))
                .unwrap();
            file.set_len(LONG).unwrap();
        };
        for (limit, free, expected) in [
            (1 << 30, LONG * 2, "more than the limit on disk"),
            (LONG * 2, 1 << 30, "they have holes"),
            (LONG * 2, 0, "full"),
        ] {
            let (result, left) = collect_within(Bounds { limit, free }, &claim, stretch);
            let why = result.unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn a_name_that_is_no_plain_name_is_refused() {
        for name in ["../demo.deb", "/etc/passwd", ".hidden.deb", "-x.deb", "a/b.deb"] {
            let (result, _) = collect_claim(&changes(name, CONTENT.len(), &digest()), |_| {});
            assert!(result.unwrap_err().contains("no plain file name"), "{name}");
        }
    }

    #[test]
    fn a_link_in_an_artifacts_place_is_refused() {
        let claim = changes("demo_1.0_amd64.deb", CONTENT.len(), &digest());
        let (result, _) = collect_claim(&claim, |dir| {
            fs::rename(dir.join("demo_1.0_amd64.deb"), dir.join("elsewhere")).unwrap();
            symlink("elsewhere", dir.join("demo_1.0_amd64.deb")).unwrap();
        });
        assert!(result.is_err());
        let (result, _) = collect_claim(&claim, |dir| {
            fs::hard_link(dir.join("demo_1.0_amd64.deb"), dir.join("second name")).unwrap();
        });
        assert!(result.unwrap_err().contains("regular file with one name"));
    }

    #[test]
    fn a_changes_of_another_package_or_version_is_refused() {
        let good = changes("demo_1.0_amd64.deb", CONTENT.len(), &digest());
        for claim in [
            good.replace("Source: demo", "Source: sudo"),
            good.replace("Version: 1.0", "Version: 9"),
        ] {
            let (result, _) = collect_claim(&claim, |_| {});
            assert!(result.unwrap_err().contains("is about"));
        }
    }

    #[test]
    fn two_changes_are_one_too_many() {
        let claim = changes("demo_1.0_amd64.deb", CONTENT.len(), &digest());
        let (result, _) = collect_claim(&claim, |dir| {
            fs::write(dir.join("demo_1.0_i386.changes"), &claim).unwrap()
        });
        assert!(result.unwrap_err().contains("several"));
    }
}
