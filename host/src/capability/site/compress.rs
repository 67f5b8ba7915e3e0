//! Compression of what is published: the same bytes always give the same bytes.

use std::io::{self, Read};

use flate2::GzBuilder;

/// A compressed format that apt reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, without name or time.
    Gzip,
    /// One stream.
    Xz,
    /// One frame.
    Zstd,
}

/// With pieces of an index this is twice as fast as 9, and makes them no larger.
const ZSTD_LEVEL: i32 = 6;

/// Compress bytes.
///
/// # Errors
/// When the compressor cannot get the memory it needs.
pub fn compress(how: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::with_capacity(bytes.len() / 4);
    match how {
        Compression::Gzip => {
            // No time and an operating system that doesn't tell: what is compressed where leaves no trace.
            GzBuilder::new()
                .mtime(0)
                .operating_system(255)
                .read(bytes, flate2::Compression::new(6))
                .read_to_end(&mut compressed)?;
        }
        Compression::Xz => {
            liblzma::read::XzEncoder::new(bytes, 6).read_to_end(&mut compressed)?;
        }
        Compression::Zstd => {
            zstd::stream::copy_encode(bytes, &mut compressed, ZSTD_LEVEL)?;
        }
    }
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What a program makes of our bytes on its standard input.
    fn decompress_with(program: &str, bytes: Vec<u8>) -> Vec<u8> {
        let mut child = Command::new(program)
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    }

    #[test]
    fn the_usual_programs_decompress_it_and_it_is_the_same_every_time() {
        let text = "Package: hello\nVersion: 1.0-1\n\n".repeat(5_000).into_bytes();
        for (how, program) in [
            (Compression::Gzip, "gzip"),
            (Compression::Xz, "xz"),
            (Compression::Zstd, "zstd"),
        ] {
            let compressed = compress(how, &text).unwrap();
            assert!(compressed.len() < text.len() / 10, "{program}");
            assert_eq!(compress(how, &text).unwrap(), compressed, "{program}");
            assert_eq!(decompress_with(program, compressed), text, "{program}");
            assert_eq!(decompress_with(program, compress(how, b"").unwrap()), b"", "{program}");
        }
    }
}
