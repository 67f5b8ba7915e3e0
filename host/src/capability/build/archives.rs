//! Packages that apt has fetched: a directory for each set of package sources. Those who install see it and can't change
//! it, and what they install is compared with the index that apt has verified, to the last byte, each time anew.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::error::{Attempt as _, BuildError};
use super::keeper::Keeper;

/// The longest list of packages that is read, in bytes: a line for each of 100,000.
const LONGEST_LIST: u64 = 32 << 20;

/// A package that apt wants to install, as the signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The name of its file among the fetched ones.
    name: String,
    size: u64,
    sha256: [u8; 32],
}

/// How a fetched file compares with the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Right,
    Missing,
    /// Of that name, and with other bytes.
    Wrong,
}

/// Reads the list that `apt-get --print-uris` has written.
pub(super) fn read_list(path: &Path) -> Result<Vec<Wanted>, BuildError> {
    let file = open_plain(path).attempt("read", path)?;
    let text = io::read_to_string(io::Read::take(file, LONGEST_LIST)).attempt("read", path)?;
    text.lines()
        .filter(|line| line.starts_with('\''))
        .map(|line| parse(line).ok_or_else(|| without_digest(line)))
        .collect()
}

/// One line: `'URI' NAME SIZE SHA256:DIGEST`.
fn parse(line: &str) -> Option<Wanted> {
    let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split_whitespace();
    let name = words.next().filter(|name| is_file_name(name))?.to_owned();
    let size = words.next()?.parse().ok()?;
    let digest = words.next()?.strip_prefix("SHA256:")?;
    let mut sha256 = [0; 32];
    hex::decode_to_slice(digest, &mut sha256).ok()?;
    Some(Wanted { name, size, sha256 })
}

fn is_file_name(name: &str) -> bool {
    name.ends_with(".deb") && !name.starts_with('.') && !name.contains('/')
}

fn without_digest(line: &str) -> BuildError {
    BuildError::Dependencies {
        missing: vec![format!(
            "the index of its APT source has no SHA-256 of a package: {line}"
        )],
        unreachable: false,
        tail: Box::default(),
    }
}

/// Removes files that are not what the index says, and returns the names of those that are to be fetched.
pub(super) fn lacking(dir: &Path, wanted: &[Wanted], keeper: &Keeper) -> Result<Vec<String>, BuildError> {
    let mut lacking = Vec::new();
    for one in wanted {
        let path = dir.join(&one.name);
        match compare(&path, one).attempt("read", &path)? {
            Found::Right => continue,
            Found::Missing => {}
            Found::Wrong => {
                tracing::warn!(path = %path.display(), "removed a fetched package that is not what the signed index says");
                keeper.remove(slice::from_ref(&path)).attempt("remove", &path)?;
            }
        }
        lacking.push(one.name.clone());
    }
    Ok(lacking)
}

fn compare(path: &Path, wanted: &Wanted) -> io::Result<Found> {
    let mut file = match open_plain(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) if is_no_plain_file(&error) => return Ok(Found::Wrong),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != wanted.size {
        return Ok(Found::Wrong);
    }
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    let digest: [u8; 32] = hash.finalize().into();
    Ok(if digest == wanted.sha256 {
        Found::Right
    } else {
        Found::Wrong
    })
}

/// Opens a file that is no link.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn is_no_plain_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// The directory of a set of sources below `archives`.
pub(super) fn dir_of(archives: &Path, sources: &[impl AsRef<[u8]>]) -> PathBuf {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(Sha256::digest(source));
    }
    archives.join(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_list_of_apt_is_read_and_a_package_without_a_digest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        let line =
            |digest: &str| format!("Reading package lists...\n'http://m/pool/a%3a1.deb' a_1%3a2_all.deb 7 {digest}\n");
        fs::write(&list, line(&format!("SHA256:{EMPTY}"))).unwrap();
        let wanted = read_list(&list).unwrap();
        assert_eq!((wanted[0].name.as_str(), wanted[0].size), ("a_1%3a2_all.deb", 7));
        for digest in ["", "MD5Sum:d41d8cd98f00b204e9800998ecf8427e", "SHA256:00"] {
            fs::write(&list, line(digest)).unwrap();
            assert!(
                matches!(read_list(&list), Err(BuildError::Dependencies { .. })),
                "{digest}"
            );
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_package() {
        for name in ["../a.deb", "/a.deb", ".a.deb", "a"] {
            assert_eq!(parse(&format!("'http://m/x' {name} 0 SHA256:{EMPTY}")), None, "{name}");
        }
    }

    #[test]
    fn only_the_bytes_of_the_index_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let one = |name: &str| Wanted {
            name: name.to_owned(),
            size: 3,
            sha256: Sha256::digest("abc").into(),
        };
        fs::write(dir.path().join("right"), "abc").unwrap();
        fs::write(dir.path().join("forged"), "abd").unwrap();
        fs::write(dir.path().join("longer"), "abcd").unwrap();
        std::os::unix::fs::symlink("right", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        let wanted = ["right", "forged", "longer", "link", "missing"].map(one);
        assert_eq!(
            lacking(dir.path(), &wanted, &Keeper::new(None)).unwrap(),
            ["forged", "longer", "link", "missing"]
        );
        assert!(dir.path().join("right").exists() && !dir.path().join("forged").exists());
        assert!(!dir.path().join("link").is_symlink());
        assert!(matches!(
            compare(&dir.path().join("directory"), &one("x")),
            Ok(Found::Wrong)
        ));
    }
}
