//! The control file of a package, by distbot's own reader: what this host says of a package is what distbot says.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use apt_repository::deb::{self, Bytes};

/// A package's file, of which nothing but its bytes can be asked here.
struct Package<'a> {
    file: &'a File,
    size: u64,
}

/// Reads it.
///
/// # Errors
/// A sentence that says why it is no package.
pub(super) fn read(package: &mut File) -> Result<String, String> {
    let size = package.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    let mut package = Package { file: package, size };
    deb::control(&mut package).map_err(|error| error.to_string())
}

impl Bytes for Package<'_> {
    type Error = io::Error;

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let there = offset.checked_add(length).is_some_and(|end| end <= self.size);
        let length = usize::try_from(length).ok().filter(|_| there);
        let mut bytes = vec![0; length.ok_or(io::ErrorKind::UnexpectedEof)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
