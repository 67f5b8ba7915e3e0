//! Packages as dpkg-deb makes them, and as a stranger does, read by a helper.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::names::Bounds;
use super::*;
use crate::confine::{Helper, Limits};

const CONTROL: &str = "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b>\nDescription: x\n";

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A package as dpkg-deb makes it of some files.
fn built(directory: &Path, files: &[&str], compression: &str) -> File {
    let (root, deb) = (directory.join("root"), directory.join("hello.deb"));
    for file in [&["DEBIAN/control"], files].concat() {
        let file = root.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, CONTROL).unwrap();
    }
    let link = root.join("usr/bin/link");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink("hello", link).unwrap();
    let options = [
        "--root-owner-group",
        "--uniform-compression",
        "-Z",
        compression,
        "--build",
    ];
    run(Command::new("dpkg-deb").args(options).args([&root, &deb]));
    File::open(deb).unwrap()
}

/// A package whose data archive a script leaves on its standard output.
fn scripted(directory: &Path, suffix: &str, data: &str) -> PathBuf {
    let script = format!(
        "set -e; printf '2.0\\n' > debian-binary; tar czf control.tar.gz --files-from /dev/null; rm -f odd.deb; \
         {{ {data}; }} > data.tar{suffix}; ar qc odd.deb debian-binary control.tar.gz data.tar{suffix}"
    );
    run(Command::new("bash").arg("-c").arg(script).current_dir(directory));
    directory.join("odd.deb")
}

/// A member of a tar archive that is longer than this test wants to hold: its header.
fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn refusal(deb: &Path) -> String {
    let error = files(&File::open(deb).unwrap()).unwrap_err();
    assert!(error.is_by_package(), "{error}");
    error.to_string()
}

#[test]
fn files_and_links_of_packages_of_every_compression_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let long = "usr/share/".to_owned() + &"long/".repeat(60) + "name";
    for compression in ["none", "gzip", "xz", "zstd"] {
        let deb = built(
            directory.path(),
            &["usr/bin/hello", "usr/share/with blank", &long],
            compression,
        );
        let expected = ["usr/bin/hello", "usr/bin/link", &long, "usr/share/with blank"];
        assert_eq!(files(&deb).unwrap(), expected, "{compression}");
        assert_eq!(control(&deb).unwrap(), CONTROL, "{compression}");
    }
}

#[test]
fn names_in_attributes_of_posix_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let long = "l".repeat(200);
    let data = format!("mkdir -p d; touch d/{long}; tar cf - --format=posix ./d");
    let deb = scripted(directory.path(), "", &data);
    assert_eq!(files(&File::open(deb).unwrap()).unwrap(), [format!("d/{long}")]);
}

#[test]
fn what_is_no_package_is_refused() {
    for bytes in [&b""[..], b"!<arch>\n", b"hello"] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let error = files(&file).unwrap_err();
        assert!(matches!(error, PackageError::Refused(_)), "{error}");
        assert!(matches!(control(&file).unwrap_err(), PackageError::Refused(_)));
    }
}

/// 60 KB of gzip: the name of one file has two gigabytes.
#[test]
fn a_file_name_of_gigabytes_is_refused_by_its_length() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("header"), header("././@LongLink", b'L', 2 << 30)).unwrap();
    let data = "{ cat header; head -c 300M /dev/zero | tr '\\0' a; } | gzip -1";
    let deb = scripted(directory.path(), ".gz", data);
    assert_eq!(refusal(&deb), "it has a file name or attributes of 2147483648 bytes");
}

/// What is said of a package within narrower bounds, without a helper.
fn refusal_within(deb: &Path, bounds: &Bounds) -> String {
    names::list_within(File::open(deb).unwrap(), bounds)
        .unwrap_err()
        .to_string()
}

const NARROW: Bounds = Bounds {
    unpacked: 4 << 20,
    names: 1000,
    files: 100,
};

#[test]
fn an_archive_of_more_than_is_allowed_for_is_refused_while_it_is_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("header"), header("bomb", b'0', 64 << 30)).unwrap();
    for (suffix, program) in [("", "cat"), (".gz", "gzip"), (".xz", "xz -0"), (".zst", "zstd -q -c")] {
        let data = format!("{{ cat header; head -c 8M /dev/zero; }} | {program}");
        let deb = scripted(directory.path(), suffix, &data);
        assert_eq!(
            refusal_within(&deb, &NARROW),
            "its files are more than 4 MiB",
            "{suffix}"
        );
    }
}

#[test]
fn more_files_or_longer_names_than_are_allowed_for_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, kind, count) in [
        ("f", b'0', 101),
        ("long", b'0', 300),
        ("d", b'5', 300),
        ("././@LongLink", b'L', 300),
    ] {
        let long = "long/".repeat(19) + name;
        let name = if name == "long" { &long } else { name };
        std::fs::write(directory.path().join("block"), header(name, kind, 0)).unwrap();
        let data = format!("for i in $(seq {count}); do cat block; done");
        let deb = scripted(directory.path(), "", &data);
        assert_eq!(refusal_within(&deb, &NARROW), "it has too many files", "{name}");
    }
}

#[test]
fn a_dictionary_of_gigabytes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let deb = scripted(directory.path(), ".xz", "printf x | xz --lzma2=preset=0,dict=1536MiB");
    let refused = refusal(&deb);
    assert!(refused.contains("more than 80 MiB of memory to unpack"), "{refused}");
}

#[test]
fn a_window_of_gigabytes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // A frame of unknown length with a window of two gigabytes.
    let deb = scripted(
        directory.path(),
        ".zst",
        "printf '\\x28\\xb5\\x2f\\xfd\\x00\\xa8\\x01\\x00\\x00'",
    );
    let refused = refusal(&deb);
    assert!(refused.to_lowercase().contains("memory"), "{refused}");
}

#[test]
fn what_dpkg_does_not_unpack_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("header"), header("sparse", b'S', 0)).unwrap();
    let deb = scripted(directory.path(), "", "cat header; head -c 1024 /dev/zero");
    assert_eq!(refusal(&deb), "it has a sparse file, which dpkg does not unpack");
    let size = "12 size=100\n";
    let mut attributes = header("pax", b'x', size.len() as u64);
    attributes.extend(size.as_bytes());
    attributes.resize(1024, 0);
    std::fs::write(directory.path().join("header"), attributes).unwrap();
    let deb = scripted(directory.path(), "", "cat header; head -c 1024 /dev/zero");
    assert_eq!(
        refusal(&deb),
        "it has a file with a second size, which dpkg does not unpack"
    );
}

#[test]
fn a_package_that_takes_too_much_memory_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let data = "tar cf - header | xz --lzma2=preset=0,dict=64MiB";
    std::fs::write(directory.path().join("header"), CONTROL).unwrap();
    let deb = File::open(scripted(directory.path(), ".xz", data)).unwrap();
    let grants = Grants {
        limits: Some(Limits {
            memory: 32 << 20,
            ..TASK.limits
        }),
        descriptors: vec![deb.as_fd()],
        ..Grants::default()
    };
    let error = Helper::start(&TASK, grants)
        .and_then(|mut helper| {
            helper.send(&Question::Files)?;
            helper.receive::<Answer<Vec<String>>>()
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "it takes more than 32 MiB of memory");
}

#[test]
fn a_package_that_was_cut_off_or_changed_is_read_or_refused_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let deb = directory.path().join("hello.deb");
    for compression in ["gzip", "xz", "zstd"] {
        drop(built(directory.path(), &["usr/bin/hello"], compression));
        let bytes = std::fs::read(&deb).unwrap();
        for index in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[index] ^= 0x41;
            let _ = names::list(changed.as_slice());
            let cut = names::list(&bytes[..index]);
            assert!(
                cut.is_err() || index > bytes.len() / 2,
                "{index} of {} bytes",
                bytes.len()
            );
        }
    }
}
