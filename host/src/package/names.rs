//! The names of a package's files, as the lists of a suite's contents have them.

use std::io::{self, Read};

use tar::{Entry, EntryType};

use super::unpack::unpack;
use crate::keys::ar::Reader;

/// How much of a package there may be.
pub(super) struct Bounds {
    /// Bytes that its files are unpacked to, with what the archive adds to them.
    pub unpacked: u64,
    /// Bytes of their names.
    pub names: usize,
    /// Files.
    pub files: usize,
}

/// Five times what Debian's largest packages have.
const BOUNDS: Bounds = Bounds {
    unpacked: 16 << 30,
    names: 32 << 20,
    files: 1_000_000,
};

/// Most bytes of a header that extends another one: a name has 4,095 at most.
const MAX_EXTENSION: u64 = 64 << 10;

/// What a package unpacks to, without directories, sorted. Names that no list could hold are left out.
///
/// # Errors
/// If it is no package, or unpacks to more than is allowed for.
pub(super) fn list(package: impl Read) -> io::Result<Vec<String>> {
    list_within(package, &BOUNDS)
}

/// The same within other bounds.
pub(super) fn list_within(package: impl Read, bounds: &Bounds) -> io::Result<Vec<String>> {
    let mut archive = Reader::new(package).map_err(io::Error::other)?;
    while let Some(member) = archive.next_member().map_err(io::Error::other)? {
        if let Some(suffix) = member.name().strip_prefix("data.tar") {
            return list_tar(unpack(suffix, archive, bounds.unpacked)?, bounds);
        }
    }
    Err(io::Error::other("it has no data archive"))
}

/// Whether a list of contents can hold a name.
pub(super) fn is_listable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.chars().any(char::is_control)
}

/// Entries are taken as they are in the archive: read by the library, an extension is taken into memory however long it is.
fn list_tar(data: impl Read, bounds: &Bounds) -> io::Result<Vec<String>> {
    let mut names = Names::default();
    let mut extended = None;
    for (count, entry) in tar::Archive::new(data).entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if count > 2 * bounds.files {
            return Err(io::Error::other("it has too many files"));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => extended = Some(long_name(&mut entry)?),
            EntryType::XHeader => extended = pax_name(&mut entry)?.or(extended),
            EntryType::GNULongLink | EntryType::XGlobalHeader => drop(extension(&mut entry)?),
            EntryType::GNUSparse => return Err(io::Error::other("it has a sparse file, which dpkg does not unpack")),
            EntryType::Directory => extended = None,
            _ => {
                let name = extended.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                names.add(&name, bounds)?;
            }
        }
    }
    Ok(names.sorted())
}

#[derive(Default)]
struct Names {
    names: Vec<String>,
    bytes: usize,
}

impl Names {
    fn add(&mut self, name: &[u8], bounds: &Bounds) -> io::Result<()> {
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(());
        };
        let name = name.trim_start_matches("./").trim_start_matches('/');
        if !is_listable(name) {
            return Ok(());
        }
        self.bytes += name.len();
        if self.bytes > bounds.names || self.names.len() >= bounds.files {
            return Err(io::Error::other("it has too many files"));
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    fn sorted(mut self) -> Vec<String> {
        self.names.sort_unstable();
        self.names.dedup();
        self.names
    }
}

/// What a header says that extends the next one.
fn extension(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    if entry.size() > MAX_EXTENSION {
        let why = format!("it has a file name or attributes of {} bytes", entry.size());
        return Err(io::Error::other(why));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// GNU's, which ends at the first NUL.
fn long_name(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let mut name = extension(entry)?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    Ok(name)
}

/// The name in POSIX's attributes; none if they don't have one. Sizes other than the header's would make this read another
/// archive than the header tells of.
fn pax_name(entry: &mut Entry<'_, impl Read>) -> io::Result<Option<Vec<u8>>> {
    let attributes = extension(entry)?;
    let mut name = None;
    for attribute in tar::PaxExtensions::new(&attributes) {
        let attribute = attribute?;
        match attribute.key_bytes() {
            b"path" => name = Some(attribute.value_bytes().to_owned()),
            key if key == b"size" || key.starts_with(b"GNU.sparse") => {
                return Err(io::Error::other(
                    "it has a file with a second size, which dpkg does not unpack",
                ));
            }
            _ => {}
        }
    }
    Ok(name)
}
