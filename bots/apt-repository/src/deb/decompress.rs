//! Decompressors in Rust, since what they read is hostile. Output is unlimited: callers take as much as they allow.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Memory that an xz stream may ask for, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 80 * 1024;

/// Window that a zstd frame may ask for: that of `zstd --ultra -22`.
const ZSTD_WINDOW: u64 = 128 * 1024 * 1024;

/// A reader of what a compressed file unpacks to, by the suffix of its name.
///
/// # Errors
/// A sentence if the suffix is unknown or the first bytes aren't right.
pub fn decompress<'a>(suffix: &str, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, String> {
    Ok(match suffix {
        "" => Box::new(bytes),
        ".gz" => Box::new(MultiGzDecoder::new(bytes)),
        ".xz" => Box::new(XzReader::new_mem_limit(bytes, true, XZ_MEMORY)),
        ".zst" => Box::new(ZstdFrames {
            frame: zstd_frame(bytes).map_err(|error| error.to_string())?,
        }),
        other => return Err(format!("its compression {other} is not supported (gz, xz and zst are)")),
    })
}

/// All frames of a file, one after the other.
struct ZstdFrames<'a> {
    frame: StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>,
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.frame.read(buffer)?;
            let rest = *self.frame.get_ref();
            if read > 0 || buffer.is_empty() || rest.is_empty() {
                return Ok(read);
            }
            self.frame = zstd_frame(rest)?;
        }
    }
}

fn zstd_frame(bytes: &[u8]) -> io::Result<StreamingDecoder<&[u8], ruzstd::decoding::FrameDecoder>> {
    StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW).map_err(io::Error::other)
}
