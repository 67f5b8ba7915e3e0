//! Packages that dpkg did not make, some of them hostile.

use std::io::Read;

use super::debs::sign;
use super::*;
use crate::keys::DebError;
use crate::keys::ar::{self, ArError};

type Member = (&'static str, &'static [u8]);

/// An archive with these members.
fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ar::Writer::new(&mut bytes).unwrap();
    for (name, content) in members {
        let header = ar::Header::new(name, 0, content.len() as u64).unwrap();
        writer.header(&header).unwrap();
        writer.content().write_all(content).unwrap();
        writer.end_member(&header).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

const VERSION: Member = ("debian-binary", b"2.0\n");
const CONTROL: Member = ("control.tar.xz", b"odd");
const DATA: Member = ("data.tar.zst", b"even");

#[test]
fn packages_with_members_missing_doubled_or_misplaced_are_refused() {
    let bench = Bench::new();
    let (signer, _) = signer_and_trust(&bench, Role::Packages);
    assert!(sign(&signer, &archive(&[VERSION, CONTROL, DATA])).is_ok());
    assert!(
        sign(
            &signer,
            &archive(&[VERSION, ("_hint", b""), CONTROL, ("_x", b"1"), DATA, ("_y", b"")])
        )
        .is_ok()
    );
    let cases: &[(&[Member], &str)] = &[
        (&[], "it has no debian-binary"),
        (&[VERSION], "it has no control.tar"),
        (&[VERSION, CONTROL], "it has no data.tar"),
        (
            &[VERSION, DATA, CONTROL],
            "member data.tar.zst is where control.tar is expected",
        ),
        (
            &[DATA, VERSION, CONTROL],
            "member data.tar.zst is where debian-binary is expected",
        ),
        (
            &[("_gpgorigin", b""), VERSION, CONTROL, DATA],
            "member _gpgorigin is where debian-binary is expected",
        ),
        (
            &[VERSION, CONTROL, CONTROL, DATA],
            "member control.tar.xz is where data.tar is expected",
        ),
        (
            &[VERSION, CONTROL, DATA, DATA],
            "member data.tar.zst is where the end of the package is expected",
        ),
        (
            &[VERSION, CONTROL, DATA, ("extra", b"")],
            "member extra is where the end of the package is expected",
        ),
        (
            &[VERSION, ("control.tar.bad", b""), DATA],
            "member control.tar.bad is where control.tar is expected",
        ),
        (
            &[("debian-binary", b"3.0\n"), CONTROL, DATA],
            "its format version is \"3.0\", not 2.x",
        ),
        (&[("debian-binary", &[b'2'; 500]), CONTROL, DATA], "not 2.x"),
        (
            &[("debian-binary", b""), CONTROL, DATA],
            "its format version is \"\", not 2.x",
        ),
    ];
    for (members, expected) in cases {
        let refused = sign(&signer, &archive(members)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused} (expected {expected})");
    }
}

#[test]
fn a_truncated_package_is_refused_wherever_it_ends() {
    let bench = Bench::new();
    let (signer, _) = signer_and_trust(&bench, Role::Packages);
    let whole = archive(&[VERSION, CONTROL, DATA]);
    for length in 0..whole.len() {
        let refused = sign(&signer, &whole[..length]).unwrap_err();
        assert!(
            matches!(
                refused,
                DebError::Archive(_) | DebError::Missing { .. } | DebError::Version { .. }
            ),
            "{length}: {refused}"
        );
    }
}

#[test]
fn hostile_archive_headers_are_refused() {
    let bench = Bench::new();
    let (signer, _) = signer_and_trust(&bench, Role::Packages);
    let whole = archive(&[VERSION, CONTROL, DATA]);
    let size_at = 8 + 48;
    for size in [
        "-1        ",
        "99999999999",
        "9999999999",
        "0x10      ",
        "          ",
        " 4        ",
        "4 4       ",
    ] {
        let mut hostile = whole.clone();
        hostile[size_at..size_at + 10].copy_from_slice(&size.as_bytes()[..10]);
        let refused = sign(&signer, &hostile).unwrap_err();
        assert!(
            matches!(refused, DebError::Archive(_) | DebError::Version { .. }),
            "{size}: {refused}"
        );
    }
    for name in [
        "//              ",
        "/               ",
        "#1/20           ",
        "../../etc/passwd",
        "                ",
        "a\0b             ",
    ] {
        let mut hostile = whole.clone();
        hostile[8..24].copy_from_slice(name.as_bytes().get(..16).unwrap());
        assert!(
            matches!(
                sign(&signer, &hostile).unwrap_err(),
                DebError::Archive(ArError::Header { offset: 8, .. })
            ),
            "{name:?}"
        );
    }
    let mut hostile = whole.clone();
    hostile[8 + 58] = b'x';
    assert!(matches!(
        sign(&signer, &hostile).unwrap_err(),
        DebError::Archive(ArError::Header { .. })
    ));
    assert!(matches!(
        sign(&signer, b"!<arch>x").unwrap_err(),
        DebError::Archive(ArError::NotAnArchive)
    ));
}

#[test]
fn a_large_package_is_signed_as_a_stream() {
    let bench = Bench::new();
    let (signer, _) = signer_and_trust(&bench, Role::Packages);
    let size: u64 = 64 << 20;
    let front = archive(&[VERSION, CONTROL]);
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", "data.tar", 0, 0, 0, 100644);
    let package = front.chain(header.as_bytes()).chain(std::io::repeat(7).take(size));
    let mut counted = Counted(0);
    signer.sign_deb(package, &mut counted).unwrap();
    assert!(counted.0 > size);
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0 += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
