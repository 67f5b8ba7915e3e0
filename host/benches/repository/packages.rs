//! Synthetic packages: small, all different, with control files as long as those of Debian's archive are on average.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

const WORDS: [&str; 24] = [
    "library", "shared", "tools", "runtime", "network", "parser", "daemon", "common", "python3", "plugin", "headers",
    "compiler", "graphics", "font", "utility", "kernel", "driver", "archive", "signal", "matrix", "editor", "server",
    "client", "format",
];

/// Build packages number `first` to `first + count` into a directory.
pub fn build(directory: &Path, first: usize, count: usize) -> Vec<PathBuf> {
    fs::create_dir_all(directory).unwrap();
    (first..first + count)
        .map(|number| build_one(directory, number))
        .collect()
}

fn build_one(directory: &Path, number: usize) -> PathBuf {
    // Scattered over the alphabet, so that what comes later doesn't come last.
    let mut seed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut word = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        WORDS[(seed % WORDS.len() as u64) as usize]
    };
    let name = format!("{}-{}-{number}", word(), word());
    let mut words = |count: usize, between: &str| (0..count).map(|_| word()).collect::<Vec<_>>().join(between);
    let control = format!(
        "Package: {name}\nVersion: 1.{number}-1\nArchitecture: amd64\nMaintainer: Bench <bench@example.org>\nInstalled-Size: \
         12\nDepends: {}\nRecommends: {}\nSection: misc\nPriority: optional\nHomepage: https://example.org/{name}\nDescription: \
         {}\n {}\n {}\n {}\n",
        words(5, ", "),
        words(3, ", "),
        words(5, " "),
        words(9, " "),
        words(9, " "),
        words(6, " ")
    );
    let content = format!("{name}\n");
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", tar("./control", control.as_bytes())),
        (
            "data.tar.gz",
            tar(&format!("./usr/share/doc/{name}/README"), content.as_bytes()),
        ),
    ];
    let path = directory.join(format!("{name}_1.{number}-1_amd64.deb"));
    fs::write(&path, ar(&members)).unwrap();
    path
}

fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::new(6)));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, path, content).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

fn ar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(
            archive,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            100_644,
            content.len()
        )
        .unwrap();
        archive.extend_from_slice(content);
        if content.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}
