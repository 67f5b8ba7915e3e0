//! Binary packages, read as hostile input: they come from whoever may push to a repository.

mod ar;
mod decompress;
mod tar;

use std::io::Read;

pub use decompress::decompress;

/// Largest `control` file.
const MAX_CONTROL: u64 = 1024 * 1024;

/// Largest compressed archive of control files.
const MAX_CONTROL_ARCHIVE: u64 = 16 * 1024 * 1024;

/// Largest archive of control files; there the md5sums of a package's files are.
const MAX_CONTROL_TAR: u64 = 64 * 1024 * 1024;

/// Why a file isn't a Debian package.
#[derive(Debug, thiserror::Error)]
pub enum DebError<E> {
    /// It could not be read at all.
    #[error(transparent)]
    Read(E),
    /// It isn't what dpkg-deb makes.
    #[error("it is not a Debian package: {0}")]
    Format(String),
}

/// Bytes that are read in pieces.
pub trait Bytes {
    /// Why they can't be read.
    type Error;

    /// How many there are.
    fn size(&self) -> u64;

    /// `length` bytes at `offset`.
    ///
    /// # Errors
    /// If there aren't so many, or they can't be read.
    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Self::Error>;
}

/// The `control` file of a .deb or .udeb.
///
/// # Errors
/// [`DebError`] if it isn't one, or can't be read.
pub fn control<B: Bytes>(bytes: &mut B) -> Result<String, DebError<B::Error>> {
    let members = ar::members(bytes)?;
    // dpkg skips members whose name begins with an underscore before the ones that it knows.
    let mut known = members.iter().filter(|member| !member.name.starts_with('_'));
    let version = known
        .next()
        .filter(|member| member.name == "debian-binary" && member.size <= 64);
    let version = version.ok_or_else(|| format_error("its first member is not debian-binary"))?;
    if !bytes
        .read(version.offset, version.size)
        .map_err(DebError::Read)?
        .starts_with(b"2.")
    {
        return Err(format_error("its format is not 2.x"));
    }
    let control = known.next().ok_or_else(|| format_error("it has no control archive"))?;
    let Some(suffix) = control.name.strip_prefix("control.tar") else {
        return Err(format_error(format!(
            "its second member is {}, not control.tar",
            control.name
        )));
    };
    if !known.next().is_some_and(|member| member.name.starts_with("data.tar")) {
        return Err(format_error("its third member is not data.tar"));
    }
    if control.size > MAX_CONTROL_ARCHIVE {
        return Err(format_error(format!("its control archive has {} bytes", control.size)));
    }
    let archive = bytes.read(control.offset, control.size).map_err(DebError::Read)?;
    let tar = decompress(suffix, archive.as_slice()).map_err(format_error)?;
    let file = tar::only_file(tar.take(MAX_CONTROL_TAR), "control", MAX_CONTROL).map_err(format_error)?;
    String::from_utf8(file).map_err(|_| format_error("its control file is not UTF-8"))
}

fn format_error<E>(why: impl Into<String>) -> DebError<E> {
    DebError::Format(why.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    impl Bytes for Vec<u8> {
        type Error = Infallible;

        fn size(&self) -> u64 {
            self.len() as u64
        }

        fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Infallible> {
            let start = self.len().min(offset as usize);
            let end = self.len().min(start + length as usize);
            Ok(self[start..end].to_vec())
        }
    }

    /// A package as dpkg-deb makes it.
    fn built(options: &[&str], control: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(root.join("usr/share/doc/hello")).unwrap();
        std::fs::write(root.join("DEBIAN/control"), control).unwrap();
        std::fs::write(
            root.join("DEBIAN/md5sums"),
            "0 usr/share/doc/hello/readme\n".repeat(500),
        )
        .unwrap();
        std::fs::write(root.join("usr/share/doc/hello/readme"), "hello").unwrap();
        let deb = directory.path().join("hello.deb");
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args(options)
            .arg(&root)
            .arg(&deb));
        std::fs::read(deb).unwrap()
    }

    fn run(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    const CONTROL: &str =
        "Package: hello\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: A <a@b>\nDescription: ä\n long\n";

    #[test]
    fn every_compression_of_dpkg_deb_is_read() {
        for options in [
            ["-Zgzip", "--uniform-compression"],
            ["-Zxz", "--uniform-compression"],
            ["-Zzstd", "--uniform-compression"],
            ["-Znone", "--uniform-compression"],
            ["-Zxz", "-z9"],
            ["-Zzstd", "-z22"],
        ] {
            assert_eq!(control(&mut built(&options, CONTROL)).unwrap(), CONTROL, "{options:?}");
        }
    }

    #[test]
    fn a_signed_package_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let deb = directory.path().join("hello.deb");
        std::fs::write(&deb, built(&[], CONTROL)).unwrap();
        std::fs::write(directory.path().join("_gpgorigin"), "signature").unwrap();
        run(Command::new("ar")
            .arg("q")
            .arg(&deb)
            .arg("_gpgorigin")
            .current_dir(Path::new(directory.path())));
        assert_eq!(control(&mut std::fs::read(deb).unwrap()).unwrap(), CONTROL);
    }

    #[test]
    fn a_package_that_was_cut_off_is_refused_wherever_it_was() {
        let deb = built(&[], CONTROL);
        for length in 0..deb.len() {
            assert!(
                control(&mut deb[..length].to_vec()).is_err(),
                "{length} of {} bytes",
                deb.len()
            );
        }
    }

    /// A member of a control archive: its name, its type and what a link leads to, and its bytes.
    fn member(name: &str, (kind, link): (u8, &str), bytes: &[u8]) -> Vec<u8> {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let padding = vec![0; bytes.len().next_multiple_of(512) - bytes.len()];
        with_field([&header[..], bytes, &padding].concat(), 0, b"")
    }

    /// The same member with other bytes at a place of its header.
    fn with_field(mut member: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        member[at..at + bytes.len()].copy_from_slice(bytes);
        member[148..156].copy_from_slice(b"        ");
        let sum: u32 = member[..512].iter().map(|byte| u32::from(*byte)).sum();
        member[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        member
    }

    /// One of GNU's old sparse files with more of its map in a block of its own, behind which are its 512 bytes.
    fn sparse(blocks: &[u8]) -> Vec<u8> {
        let mut member = member("sparse", (b'S', ""), &[0; 512]);
        member = with_field(member, 257, b"ustar  \0");
        for (index, (offset, length)) in [(0, 512), (512, 0), (512, 0), (512, 0)].into_iter().enumerate() {
            let part = format!("{offset:011o}\0{length:011o}\0");
            member = with_field(member, 386 + 24 * index, part.as_bytes());
        }
        member = with_field(member, 482, &[1]);
        [
            with_field(member, 483, format!("{:011o}\0", 512).as_bytes()),
            blocks.to_vec(),
        ]
        .concat()
    }

    /// A package with these members in its control archive.
    fn with_members(members: &[Vec<u8>], directory: &Path) -> std::path::PathBuf {
        let deb = directory.join("odd.deb");
        let _ = std::fs::remove_file(&deb);
        std::fs::write(directory.join("debian-binary"), "2.0\n").unwrap();
        std::fs::write(
            directory.join("control.tar"),
            [members.concat(), vec![0; 1024]].concat(),
        )
        .unwrap();
        std::fs::write(directory.join("data.tar"), vec![0; 10240]).unwrap();
        run(Command::new("ar")
            .args(["qc", "odd.deb", "debian-binary", "control.tar", "data.tar"])
            .current_dir(directory));
        deb
    }

    /// The package that dpkg takes a file for.
    fn name_to_dpkg(deb: &Path) -> String {
        let output = Command::new("dpkg-deb")
            .args(["-f"])
            .arg(deb)
            .arg("Package")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_second_control_file_by_another_way_of_writing_its_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = ((b'0', ""), (b'2', "."));
        let hello = member("./control", file, CONTROL.as_bytes());
        let other = CONTROL.replace("hello", "sudo");
        let sudo = |name: &str| member(name, file, other.as_bytes());
        let plain = with_members(std::slice::from_ref(&hello), directory.path());
        assert_eq!(control(&mut std::fs::read(plain).unwrap()).unwrap(), CONTROL);
        for members in [
            vec![hello.clone(), sudo(".//control")],
            vec![hello.clone(), sudo("/control")],
            vec![hello.clone(), sudo("././control")],
            vec![hello.clone(), member("top", link, b""), sudo("top/control")],
        ] {
            let deb = with_members(&members, directory.path());
            assert_eq!(name_to_dpkg(&deb), "sudo", "what dpkg would install");
            let refused = control(&mut std::fs::read(deb).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("an odd file control"), "{refused}");
        }
    }

    #[test]
    fn a_member_that_programs_read_in_different_ways_is_refused_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let hello = member("./control", (b'0', ""), CONTROL.as_bytes());
        let other = CONTROL.replace("hello", "sudo");
        let sudo = member("control", (b'0', ""), other.as_bytes());
        let renamed = member("renamed", (b'0', ""), other.as_bytes());
        for (name, odd) in [
            ("hard", member("hard", (b'1', "control"), &sudo)),
            ("top", member("top", (b'5', ""), &sudo)),
            ("top/", member("top/", (b'0', ""), &sudo)),
            (
                "solaris",
                [member("solaris", (b'X', ""), b"16 path=control\n"), renamed.clone()].concat(),
            ),
            (
                "././@LongLink",
                [member("././@LongLink", (b'L', ""), b"control\0"), renamed].concat(),
            ),
            ("sparse", sparse(&member("filler", (b'0', ""), &sudo))),
        ] {
            let deb = with_members(&[hello.clone(), odd], directory.path());
            assert_eq!(name_to_dpkg(&deb), "sudo", "what dpkg would install, with {name}");
            let refused = control(&mut std::fs::read(deb).unwrap()).unwrap_err().to_string();
            assert!(refused.contains(&format!("an odd member {name:?}")), "{refused}");
        }
        for (name, odd) in [
            ("device", member("device", (b'3', ""), b"")),
            ("link", member("link", (b'2', "control"), b"bytes")),
            ("hard", member("hard", (b'1', "control"), b"")),
            ("long", with_field(member("long", (b'0', ""), b""), 345, b"directory")),
        ] {
            let deb = with_members(&[hello.clone(), odd], directory.path());
            let refused = control(&mut std::fs::read(deb).unwrap()).unwrap_err().to_string();
            assert!(refused.contains(&format!("an odd member {name:?}")), "{refused}");
        }
        for size in [b"+0000000010\0", b"\x00\x00000002000\x00"] {
            let odd = with_field(member("file", (b'0', ""), b""), 124, size);
            let deb = with_members(&[hello.clone(), odd], directory.path());
            let refused = control(&mut std::fs::read(deb).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("a damaged header"), "{refused}");
        }
    }

    #[test]
    fn what_dpkg_deb_puts_beside_the_control_file_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("DEBIAN/scripts")).unwrap();
        std::fs::write(root.join("DEBIAN/control"), CONTROL).unwrap();
        std::fs::write(root.join("DEBIAN/scripts/common"), "true\n").unwrap();
        std::os::unix::fs::symlink("scripts/common", root.join("DEBIAN/alias")).unwrap();
        let deb = directory.path().join("hello.deb");
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&root)
            .arg(&deb));
        assert_eq!(control(&mut std::fs::read(deb).unwrap()).unwrap(), CONTROL);
    }

    #[test]
    fn a_control_archive_that_unpacks_to_gigabytes_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (compressor, suffix) in [("gzip", ".gz"), ("xz", ".xz"), ("zstd", ".zst")] {
            let script = format!(
                "printf '2.0\\n' > debian-binary; : > data.tar; rm -f bomb.deb control.tar*; \
                 truncate -s 300M md5sums; : > control; tar cf - md5sums control | {compressor} -1 > control.tar{suffix}; \
                 ar qc bomb.deb debian-binary control.tar{suffix} data.tar"
            );
            run(Command::new("sh").arg("-c").arg(script).current_dir(directory.path()));
            let bomb = control(&mut std::fs::read(directory.path().join("bomb.deb")).unwrap()).unwrap_err();
            assert!(bomb.to_string().contains("too large"), "{bomb}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(control(&mut bytes).is_err());
        }

        #[test]
        fn random_compressed_bytes_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..400), suffix in "(\\.(gz|xz|zst|lzma))?", magic in any::<bool>(),
        ) {
            let start: &[u8] = match suffix.as_str() {
                ".gz" => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0],
                ".xz" => &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0, 0xff, 0x12, 0xd9, 0x41],
                ".zst" => &[0x28, 0xb5, 0x2f, 0xfd],
                _ => &[],
            };
            let bytes = if magic { [start, &bytes].concat() } else { bytes };
            if let Ok(reader) = decompress(&suffix, bytes.as_slice()) {
                let _ = tar::only_file(reader.take(1 << 20), "control", 1 << 16);
            }
        }
    }

    #[test]
    fn flipped_bytes_never_panic() {
        for options in [["-Zgzip"], ["-Zxz"], ["-Zzstd"], ["-Znone"]] {
            let deb = built(&[options[0], "--uniform-compression"], CONTROL);
            for index in (0..deb.len()).step_by(3) {
                let mut flipped = deb.clone();
                flipped[index] ^= 0x41;
                let _ = control(&mut flipped);
            }
        }
    }
}
