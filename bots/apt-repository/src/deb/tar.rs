//! As much of tar as it takes to get one file out, and no more: what programs read in different ways is refused.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// More files than any package has there.
const MAX_ENTRIES: usize = 10_000;

/// The bytes of the only regular file of a name at the top of an archive.
///
/// Programs differ in which of two files of one name they take, so two are refused, however the name is written. So is one of
/// the name further down: on a link to the archive's top it is the same file.
pub(super) fn only_file(mut tar: impl Read, name: &str, max: u64) -> Result<Vec<u8>, String> {
    let mut found = None;
    for _ in 0..MAX_ENTRIES {
        let mut header = [0; BLOCK];
        tar.read_exact(&mut header).map_err(|error| unreadable(&error))?;
        if header.iter().all(|byte| *byte == 0) {
            return found.ok_or_else(|| format!("its control archive has no file {name}"));
        }
        let entry = entry(&header).ok_or("its control archive has a damaged header")?;
        entry.check()?;
        if let Kind::Extension = entry.kind {
            let mut record = Vec::new();
            tar.by_ref()
                .take(entry.size.next_multiple_of(BLOCK as u64))
                .read_to_end(&mut record)
                .map_err(|error| unreadable(&error))?;
            if renames(&record) {
                return Err("its control archive renames its files".to_owned());
            }
            continue;
        }
        if !entry.is_called(name) {
            skip(&mut tar, entry.size.next_multiple_of(BLOCK as u64))?;
            continue;
        }
        if found.is_some() || !entry.is_at_top() || entry.kind != Kind::Regular || entry.size > max {
            return Err(format!(
                "its control archive has an odd file {name}: twice, not at the top, not regular, or too large"
            ));
        }
        let mut bytes = Vec::new();
        tar.by_ref()
            .take(entry.size)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        if bytes.len() as u64 != entry.size {
            return Err("its control archive is cut off or too large".to_owned());
        }
        skip(&mut tar, entry.size.next_multiple_of(BLOCK as u64) - entry.size)?;
        found = Some(bytes);
    }
    Err("its control archive has too many files".to_owned())
}

/// Whether a pax record gives the next file another name or size than its own header says.
fn renames(record: &[u8]) -> bool {
    let keys = [&b"path="[..], b"size=", b"GNU.sparse"];
    let has = |key: &&[u8]| record.windows(key.len()).any(|part| part == *key);
    keys.iter().any(has)
}

struct Entry {
    name: String,
    size: u64,
    kind: Kind,
}

impl Entry {
    /// The parts of its path, as programs that unpack it take them: `./control`, `.//control` and `/control` are one file.
    fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.name.split('/').filter(|part| !matches!(*part, "" | "."))
    }

    fn is_called(&self, name: &str) -> bool {
        self.parts().next_back() == Some(name)
    }

    /// Behind the header of anything else some programs look for bytes and others for the next header, whatever size it says;
    /// or it is about the files that follow, to some.
    fn check(&self) -> Result<(), String> {
        match self.kind {
            Kind::Regular | Kind::Extension => Ok(()),
            Kind::Bare if self.size == 0 => Ok(()),
            Kind::Bare | Kind::Odd => Err(format!(
                "its control archive has an odd member {:?}: neither a file, nor a directory or symbolic link without bytes",
                self.name
            )),
        }
    }

    fn is_at_top(&self) -> bool {
        self.parts().count() == 1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regular,
    /// A pax record, about the files that follow it.
    Extension,
    /// A directory or a symbolic link, which has no bytes.
    Bare,
    /// Hard links, GNU's long names and sparse files, other programs' extensions, and what else there may be.
    Odd,
}

fn entry(header: &[u8; BLOCK]) -> Option<Entry> {
    let claimed = octal(header.get(148..156)?)?;
    // The checksum is counted with blanks in its own place.
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(index, byte)| u64::from(if (148..156).contains(&index) { b' ' } else { *byte }))
        .sum();
    if sum != claimed {
        return None;
    }
    let name = header.get(..100)?.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let kind = match header.get(156)? {
        _ if has_prefix(header) => Kind::Odd,
        // To old programs, and to GNU tar for their sake, a directory is a file with such a name.
        b'0' | 0 if !name.ends_with('/') => Kind::Regular,
        b'0' | 0 | b'2' | b'5' => Kind::Bare,
        b'x' | b'g' => Kind::Extension,
        _ => Kind::Odd,
    };
    Some(Entry {
        name,
        size: octal(header.get(124..136)?)?,
        kind,
    })
}

/// Whether POSIX has the beginning of the name in a place of its own. No name in a control archive is that long.
fn has_prefix(header: &[u8; BLOCK]) -> bool {
    header.get(257..263) == Some(b"ustar\0") && header.get(345).is_some_and(|byte| *byte != 0)
}

/// A number as POSIX has it. GNU tar takes `+10` for a number to the base of 64, and nothing behind two NULs for one.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_start_matches(' ').trim_end_matches([' ', '\0']);
    let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    is_octal.then(|| u64::from_str_radix(text, 8).ok())?
}

fn skip(tar: &mut impl Read, length: u64) -> Result<(), String> {
    let skipped = io::copy(&mut tar.take(length), &mut io::sink()).map_err(|error| unreadable(&error))?;
    if skipped == length {
        Ok(())
    } else {
        Err("its control archive is cut off or too large".to_owned())
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "its control archive is cut off or too large".to_owned(),
        _ => format!("its control archive cannot be unpacked: {error}"),
    }
}
