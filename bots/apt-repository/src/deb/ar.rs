//! The archive around a package, as `ar` makes it.

use super::{Bytes, DebError, format_error};

/// First bytes of an archive.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Length of a member's header.
const HEADER: u64 = 60;
/// Packages have three members, and a few for signatures.
const MAX_MEMBERS: usize = 32;

/// One file of the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name.
    pub(super) name: String,
    /// Where its bytes begin.
    pub(super) offset: u64,
    /// How many they are.
    pub(super) size: u64,
}

/// The members, all of which lie inside of the archive.
pub(super) fn members<B: Bytes>(bytes: &mut B) -> Result<Vec<Member>, DebError<B::Error>> {
    let end = bytes.size();
    if bytes.read(0, MAGIC.len() as u64).map_err(DebError::Read)? != MAGIC {
        return Err(format_error("it is not an ar archive"));
    }
    let mut members = Vec::new();
    let mut offset = MAGIC.len() as u64;
    while offset < end {
        if members.len() == MAX_MEMBERS {
            return Err(format_error("its archive has too many members"));
        }
        let header = bytes.read(offset, HEADER).map_err(DebError::Read)?;
        let member =
            member(&header, offset + HEADER).ok_or_else(|| format_error("its archive has a damaged header"))?;
        let after = member.offset.checked_add(member.size).filter(|after| *after <= end);
        // The last member's padding may be missing.
        offset = after.ok_or_else(|| format_error("it is cut off"))?.next_multiple_of(2);
        members.push(member);
    }
    Ok(members)
}

fn member(header: &[u8], offset: u64) -> Option<Member> {
    let text = |from: usize, to: usize| std::str::from_utf8(header.get(from..to)?).ok();
    if header.get(58..60)? != b"`\n" {
        return None;
    }
    // GNU's ar ends names with a slash, dpkg-deb doesn't.
    let name = text(0, 16)?.trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name);
    let size = text(48, 58)?.trim_end_matches(' ');
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if !plain || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Member {
        name: name.to_owned(),
        offset,
        size: size.parse().ok()?,
    })
}
