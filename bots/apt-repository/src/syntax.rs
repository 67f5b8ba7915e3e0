//! What names and versions may look like (Debian Policy 5.6). They become paths and lines of files that users trust.

/// Longest name or version.
const MAX_LENGTH: usize = 200;

/// A package's or source package's name.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    (2..=MAX_LENGTH).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// A version, `[epoch:]upstream[-revision]`.
#[must_use]
pub fn is_version(version: &str) -> bool {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+.~".contains(&byte);
    version.len() <= MAX_LENGTH
        && (1..=9).contains(&epoch.len())
        && epoch.bytes().all(|byte| byte.is_ascii_digit())
        && upstream.starts_with(|first: char| first.is_ascii_digit())
        && upstream.bytes().all(|byte| plain(byte) || byte == b'-')
        && !revision.is_empty()
        && revision.bytes().all(plain)
}

/// A version without its epoch, as file names have it.
#[must_use]
pub fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// A Debian architecture, or `all`.
#[must_use]
pub fn is_architecture(architecture: &str) -> bool {
    (2..=63).contains(&architecture.len())
        && architecture.starts_with(|first: char| first.is_ascii_lowercase())
        && architecture
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The source package that the value of a field `Source` names, and its version where that differs: `name`, or `name (version)`
/// (Debian Policy 5.6.1). The name is as it stands there, sound or not.
#[must_use]
pub fn named_source(value: &str) -> (&str, Option<&str>) {
    let end = value.find([' ', '\t', '(']).unwrap_or(value.len());
    let (name, rest) = value.split_at_checked(end).unwrap_or((value, ""));
    let version = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    (name, version.map(|(version, _)| version.trim()))
}

/// A suite's codename, or a component: one directory below `dists`.
#[must_use]
pub fn is_suite_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._~".contains(&byte))
}

/// A plain file name, as a source package lists them.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._~:=".contains(&byte))
}

/// The value of a field that has one line.
#[must_use]
pub fn is_one_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 255 && !text.chars().any(char::is_control)
}

/// A SHA-256, lower-case hex.
#[must_use]
pub fn is_sha256(digest: &str) -> bool {
    is_hex(digest, 64)
}

/// A SHA-512, lower-case hex.
#[must_use]
pub fn is_sha512(digest: &str) -> bool {
    is_hex(digest, 128)
}

fn is_hex(digest: &str, length: usize) -> bool {
    digest.len() == length && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_policy_has_them() {
        for name in ["a1", "libstdc++6", "0ad", "python3.11", "x-y"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in [
            "",
            "a",
            "-a",
            "+a",
            "Hello",
            "a/b",
            "..",
            "a_b",
            "a b",
            "a\nb",
            "ä1",
            &"a".repeat(201),
        ] {
            assert!(!is_package_name(name), "{name:?}");
        }
    }

    #[test]
    fn versions_are_as_policy_has_them() {
        for version in ["1", "1.0-1", "2:1.0~rc1-1+b1", "1.0-rc-1", "2024a+dfsg-0ubuntu1.1", "0"] {
            assert!(is_version(version), "{version}");
        }
        for version in [
            "",
            "a",
            "1:",
            ":1",
            "a:1",
            "1.0-",
            "1/0",
            "1 0",
            "1\n",
            "1:2:3",
            "../1",
            "1.0_1",
            "9999999999:1",
        ] {
            assert!(!is_version(version), "{version:?}");
        }
        assert_eq!(without_epoch("2:1.0-1"), "1.0-1");
        assert_eq!(without_epoch("1.0-1"), "1.0-1");
    }

    #[test]
    fn a_source_is_named_with_its_version_or_without() {
        for (value, name, version) in [
            ("hello", "hello", None),
            ("hello (1:2.0-1)", "hello", Some("1:2.0-1")),
            ("hello(2)", "hello", Some("2")),
            ("hello\t( 2 )", "hello", Some("2")),
            ("hello (2", "hello", None),
        ] {
            assert_eq!(named_source(value), (name, version), "{value:?}");
        }
        // Names that are none stay none.
        for value in [
            "",
            "Hello",
            "hello:amd64",
            "hello\n evil",
            "\n evil",
            "hello,evil",
            "(1)",
        ] {
            assert!(!is_package_name(named_source(value).0), "{value:?}");
        }
    }

    #[test]
    fn nothing_that_becomes_a_path_leads_elsewhere() {
        for bad in ["", ".", "..", "/", "a/b", "../a", "a\0", "a b", "a\n"] {
            assert!(!is_suite_name(bad), "{bad:?}");
            assert!(!is_file_name(bad), "{bad:?}");
            assert!(!is_architecture(bad), "{bad:?}");
        }
        assert!(is_suite_name("bookworm-backports") && is_suite_name("12.1") && is_architecture("kfreebsd-amd64"));
        assert!(is_file_name("hello_1.0.orig.tar.gz"));
    }

    #[test]
    fn descriptions_are_one_line() {
        assert!(is_one_line("Packages of Ümläut GmbH"));
        assert!(!is_one_line("a\nSigned-By: b") && !is_one_line(" ") && !is_one_line("a\tb\r"));
    }
}
