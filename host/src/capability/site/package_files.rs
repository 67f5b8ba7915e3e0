//! The files in a Debian package, as the lists of a suite's contents have them.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::keys::ar::Reader;

/// Most bytes of names that one package may have.
const MAX_NAMES: usize = 256 * 1024 * 1024;

/// What a package unpacks to, without directories, sorted. Names that no list could hold are left out.
pub(super) fn list(package: impl Read) -> io::Result<Vec<String>> {
    let mut archive = Reader::new(package).map_err(io::Error::other)?;
    while let Some(member) = archive.next_member().map_err(io::Error::other)? {
        if let Some(suffix) = member.name().strip_prefix("data.tar") {
            return list_tar(decompress(suffix, archive)?);
        }
    }
    Err(io::Error::other("it has no data archive"))
}

fn decompress<'a>(suffix: &str, data: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match suffix {
        "" => Box::new(data),
        ".gz" => Box::new(MultiGzDecoder::new(data)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(data)),
        ".zst" => Box::new(zstd::stream::read::Decoder::new(data)?),
        other => {
            let why = format!("the compression {other} of its files is not supported (gz, xz and zst are)");
            return Err(io::Error::other(why));
        }
    })
}

fn list_tar(data: impl Read) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in tar::Archive::new(data).entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = entry.path_bytes();
        let Ok(path) = std::str::from_utf8(&path) else { continue };
        let path = path.trim_start_matches("./").trim_start_matches('/');
        if path.is_empty() || path.chars().any(char::is_control) {
            continue;
        }
        bytes += path.len();
        if bytes > MAX_NAMES {
            return Err(io::Error::other("it has too many files"));
        }
        files.push(path.to_owned());
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn files_and_links_of_packages_of_every_compression_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let long = "usr/share/".to_owned() + &"long/".repeat(60) + "name";
        for file in ["DEBIAN/control", "usr/bin/hello", "usr/share/with blank", &long] {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let control = "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b>\nDescription: x\n";
            std::fs::write(file, control).unwrap();
        }
        std::os::unix::fs::symlink("hello", root.join("usr/bin/link")).unwrap();
        for compression in ["none", "gzip", "xz", "zstd"] {
            let deb = directory.path().join("hello.deb");
            let built = Command::new("dpkg-deb")
                .args([
                    "--root-owner-group",
                    "--uniform-compression",
                    "-Z",
                    compression,
                    "--build",
                ])
                .args([&root, &deb])
                .output()
                .unwrap();
            assert!(built.status.success(), "{built:?}");
            let files = list(std::fs::File::open(&deb).unwrap()).unwrap();
            let expected = ["usr/bin/hello", "usr/bin/link", &long, "usr/share/with blank"];
            assert_eq!(files, expected, "{compression}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for bytes in [&b""[..], b"!<arch>\n", b"hello"] {
            assert!(list(bytes).is_err());
        }
    }
}
