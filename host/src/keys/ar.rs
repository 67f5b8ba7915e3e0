//! The `ar` container, as Debian packages use it: read and written as a stream, trusting nothing.

use std::io::{self, Read, Write};

use thiserror::Error;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_LENGTH: usize = 60;

/// Why the data is not an `ar` archive of the kind that packages are.
#[derive(Debug, Error)]
pub enum ArError {
    /// Reading failed.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// Another kind of file.
    #[error("it is not an ar archive (it does not begin with !<arch>)")]
    NotAnArchive,
    /// The file ends inside of a member.
    #[error("the archive is truncated inside of {member}")]
    Truncated {
        /// The member, or `a member header`.
        member: String,
    },
    /// The header of a member makes no sense.
    #[error("the member header at byte {offset} is invalid: {reason}")]
    Header {
        /// Where it is.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The header of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    raw: [u8; HEADER_LENGTH],
    name: String,
    size: u64,
}

impl Header {
    /// A header with mode 100644 and owner root.
    ///
    /// The name has at most 15 characters; the header has no room for a size over 9,999,999,999 or a time before 1970.
    pub fn new(name: &str, modified: i64, size: u64) -> Result<Self, ArError> {
        let refuse = |reason| Err(ArError::Header { offset: 0, reason });
        if name.is_empty() || name.len() > 15 || !name.bytes().all(is_name_byte) {
            return refuse("the name does not fit");
        }
        let text = format!("{name:<16}{modified:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, "100644");
        match text.as_bytes().try_into() {
            Ok(raw) if modified >= 0 => Ok(Self {
                raw,
                name: name.to_owned(),
                size,
            }),
            _ => refuse("a number does not fit"),
        }
    }

    /// The name, without the slash that GNU ar puts behind it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn parse(raw: [u8; HEADER_LENGTH], offset: u64) -> Result<Self, ArError> {
        let refuse = |reason| ArError::Header { offset, reason };
        let Some((fields, b"`\n")) = raw.split_last_chunk::<2>() else {
            return Err(refuse("it does not end with the magic bytes"));
        };
        let (Some(name), Some(size)) = (fields.get(..16), fields.get(48..58)) else {
            return Err(refuse("it is too short"));
        };
        let name = name.trim_ascii_end();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        if name.is_empty() || !name.iter().copied().all(is_name_byte) {
            return Err(refuse("the name is empty, extended or not plain ASCII"));
        }
        let digits = size.trim_ascii_end();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(refuse("the size is not a number"));
        }
        // Ten digits at most: no overflow.
        let size = digits.iter().fold(0, |size, digit| size * 10 + u64::from(digit - b'0'));
        Ok(Self {
            raw,
            name: String::from_utf8_lossy(name).into_owned(),
            size,
        })
    }
}

/// Printable, and none that ar gives a meaning to.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'/'
}

/// Reads an archive member by member. As a [`Read`] it is the content of the current member.
pub struct Reader<R> {
    inner: R,
    /// How far into the archive the reader is.
    offset: u64,
    member: String,
    /// What is left of the current member's content.
    remaining: u64,
    /// Contents of odd length are followed by one byte of padding.
    padded: bool,
}

impl<R: Read> Reader<R> {
    /// Checks the archive's magic bytes.
    pub fn new(mut inner: R) -> Result<Self, ArError> {
        let mut magic = [0; MAGIC.len()];
        match read_full(&mut inner, &mut magic)? {
            8 if &magic == MAGIC => Ok(Self {
                inner,
                offset: 8,
                member: String::new(),
                remaining: 0,
                padded: false,
            }),
            _ => Err(ArError::NotAnArchive),
        }
    }

    /// Goes to the next member, past whatever is left of the current one. `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Header>, ArError> {
        let skipped = io::copy(&mut (&mut self.inner).take(self.remaining), &mut io::sink()).map_err(ArError::Read)?;
        self.offset += skipped;
        if skipped < self.remaining {
            return Err(self.truncated());
        }
        self.remaining = 0;
        if self.padded {
            if read_full(&mut self.inner, &mut [0])? < 1 {
                return Err(self.truncated());
            }
            self.offset += 1;
            self.padded = false;
        }
        let mut raw = [0; HEADER_LENGTH];
        match read_full(&mut self.inner, &mut raw)? {
            0 => return Ok(None),
            HEADER_LENGTH => {}
            _ => {
                return Err(ArError::Truncated {
                    member: "a member header".to_owned(),
                });
            }
        }
        let header = Header::parse(raw, self.offset)?;
        self.offset += HEADER_LENGTH as u64;
        self.member.clone_from(&header.name);
        self.remaining = header.size;
        self.padded = header.size % 2 == 1;
        Ok(Some(header))
    }

    fn truncated(&self) -> ArError {
        ArError::Truncated {
            member: self.member.clone(),
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.inner).take(self.remaining).read(buffer)?;
        if read == 0 && self.remaining > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, self.truncated()));
        }
        self.remaining -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Fills the buffer as far as the data goes.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ArError> {
    let wanted = buffer.len() as u64;
    let mut filled = buffer;
    io::copy(&mut reader.take(wanted), &mut filled)
        .map(|read| read as usize)
        .map_err(ArError::Read)
}

/// Writes an archive.
pub struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    /// Writes the archive's magic bytes.
    pub fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(MAGIC)?;
        Ok(Self { inner })
    }

    /// Writes a member's header as it is; its content, to be written next, must have the length it says.
    pub fn header(&mut self, header: &Header) -> io::Result<()> {
        self.inner.write_all(&header.raw)
    }

    /// Where the content of a member goes.
    pub fn content(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Ends a member whose content is complete.
    pub fn end_member(&mut self, header: &Header) -> io::Result<()> {
        if header.size % 2 == 1 {
            self.inner.write_all(b"\n")
        } else {
            Ok(())
        }
    }

    /// Flushes.
    pub fn finish(mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
