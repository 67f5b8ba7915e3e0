//! Packages that the fuzzing of what reads them begins with.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use crate::keys::ar::{Header, Writer};

/// Where the first inputs go; set by `scripts/fuzz`.
const CORPUS: &str = "FOUNDRY_FUZZ_CORPUS";

/// Puts a package of each compression into the corpus.
pub fn sow_packages() {
    let Some(corpus) = std::env::var_os(CORPUS).map(PathBuf::from) else {
        return;
    };
    for suffix in ["", ".gz", ".xz", ".zst"] {
        std::fs::write(corpus.join(format!("seed{suffix}.deb")), package_of(suffix))
            .expect("the corpus can be written");
    }
}

fn package_of(suffix: &str) -> Vec<u8> {
    let control = b"Package: hello\nVersion: 1\n";
    let long = "long/".repeat(40) + "name";
    let control = packed(suffix, &archive(&[("./control", control)]));
    let data = packed(suffix, &archive(&[("./usr/bin/hello", b"hello"), (&long, b"")]));
    let mut writer = Writer::new(Vec::new()).expect("memory can be written");
    for (name, bytes) in [
        ("debian-binary".to_owned(), b"2.0\n".to_vec()),
        (format!("control.tar{suffix}"), control),
        (format!("data.tar{suffix}"), data),
    ] {
        let header = Header::new(&name, 0, bytes.len() as u64).expect("the name fits");
        writer.header(&header).expect("memory can be written");
        writer.content().write_all(&bytes).expect("memory can be written");
        writer.end_member(&header).expect("memory can be written");
    }
    std::mem::take(writer.content())
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, *bytes)
            .expect("memory can be written");
    }
    archive.into_inner().expect("memory can be written")
}

fn packed(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let level = flate2::Compression::new(6);
    match suffix {
        ".gz" => flate2::read::GzEncoder::new(bytes, level)
            .read_to_end(&mut packed)
            .map(drop),
        ".xz" => liblzma::read::XzEncoder::new(bytes, 6)
            .read_to_end(&mut packed)
            .map(drop),
        ".zst" => zstd::stream::copy_encode(bytes, &mut packed, 3),
        _ => packed.write_all(bytes),
    }
    .expect("memory can be written");
    packed
}
