//! Decompression with bounds: on what comes out, and on the memory that it takes.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::confine;

/// Memory that an xz stream may ask for, in bytes: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 80 << 20;
/// The logarithm of the window that a zstd frame may ask for: that of `zstd --ultra -22`, 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A reader of what an archive unpacks to, by the suffix of its name: of at most so many bytes.
pub(super) fn unpack<'a>(suffix: &str, data: impl Read + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    let unpacked: Box<dyn Read> = match suffix {
        "" => Box::new(data),
        ".gz" => Box::new(MultiGzDecoder::new(data)),
        ".xz" => Box::new(XzDecoder::new_stream(data, xz()?)),
        ".zst" => {
            let mut decoder = zstd::stream::read::Decoder::new(data)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        other => {
            let why = format!("the compression {other} of its files is not supported (gz, xz and zst are)");
            return Err(io::Error::other(why));
        }
    };
    Ok(Box::new(Bounded::new(unpacked, limit)))
}

fn xz() -> io::Result<Stream> {
    Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::from)
}

/// What is read, up to a bound; from there on, errors.
struct Bounded<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R, limit: u64) -> Self {
        let left = limit;
        Self { inner, limit, left }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(named)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let limit = self.limit >> 20;
            io::Error::other(format!("its files are more than {limit} MiB"))
        })?;
        Ok(read)
    }
}

/// In words that say what is wrong with the package. A library without memory ends this process, whose owner is told why.
fn named(error: io::Error) -> io::Error {
    let lzma = error.get_ref().and_then(|inner| inner.downcast_ref());
    match lzma {
        Some(liblzma::stream::Error::MemLimit) => {
            let limit = XZ_MEMORY >> 20;
            io::Error::other(format!(
                "its files take more than {limit} MiB of memory to unpack (xz -9 takes 65)"
            ))
        }
        Some(liblzma::stream::Error::Mem) => confine::out_of_memory(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_the_bound_is_an_error_and_what_is_as_much_is_not() {
        let read = |size: usize| io::read_to_string(Bounded::new(vec![b' '; size].as_slice(), 1 << 20));
        assert_eq!(read(1 << 20).unwrap().len(), 1 << 20);
        assert_eq!(
            read((1 << 20) + 1).unwrap_err().to_string(),
            "its files are more than 1 MiB"
        );
    }
}
