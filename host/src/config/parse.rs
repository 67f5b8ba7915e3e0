//! The forms of values, shared by the configuration and the command line.

use std::path::{Path, PathBuf};

use crate::runtime::wit::types::OptionKind;
use crate::supervisor::BotSource;

/// A size in bytes: a number, or one with `K`, `M` or `G` (powers of 1024; `MiB` and `MB` mean the same).
#[must_use]
pub fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: usize = digits.trim_end().parse().ok()?;
    let unit = text.get(digits.len()..)?;
    let factor = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A bot as an operator names it: a stock bot, or a component's file. Relative paths begin at `base`.
#[must_use]
pub fn parse_bot_source(text: &str, base: &Path) -> BotSource {
    if text.contains('/') || text.ends_with(".wasm") {
        BotSource::File(absolute(text, base))
    } else {
        BotSource::Stock(text.to_owned())
    }
}

/// A path, made independent of the current directory.
#[must_use]
pub fn absolute(path: impl AsRef<Path>, base: &Path) -> PathBuf {
    let path = base.join(path);
    let mut plain = PathBuf::new();
    // `.` goes; `..` stays, since what it means depends on symbolic links.
    plain.extend(path.components());
    plain
}

/// An option's value as the host gets it: paths, also those of repositories, made independent of the current directory.
#[must_use]
pub fn absolute_option(kind: OptionKind, value: &str, base: &Path) -> String {
    let local = |path: &str| absolute(path, base).display().to_string();
    match kind {
        OptionKind::Site | OptionKind::File if !value.is_empty() => local(value),
        OptionKind::GitUrl => {
            let (url, branch) = match value.split_once('#') {
                Some((url, branch)) => (url, Some(branch)),
                None => (value, None),
            };
            if url.is_empty() || !is_local(url) {
                return value.to_owned();
            }
            match branch {
                Some(branch) => format!("{}#{branch}", local(url)),
                None => local(url),
            }
        }
        _ => value.to_owned(),
    }
}

/// Whether git would take a repository's address for a path: it has no scheme, and no host before a colon.
#[must_use]
pub fn is_local(url: &str) -> bool {
    let before_colon = url.split_once(':').map(|(before, _)| before);
    before_colon.is_none_or(|before| before.contains('/'))
}

/// What a digest that [`parse_digest`] refuses is answered with.
pub const BAD_DIGEST: &str = "write sha256: and 64 hexadecimal digits, as `foundry-host inspect` shows them";

/// A component's digest: `sha256:` and hex, or the hex alone; in lower case.
#[must_use]
pub fn parse_digest(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_sha256 = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then(|| format!("sha256:{}", hex.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1048576"), Some(1 << 20));
        assert_eq!(parse_size("64M"), Some(64 << 20));
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("2GB"), Some(2 << 30));
        for bad in ["", "M", "1.5G", "-1", "10T", "99999999999999999999G"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_a_stock_bot_and_anything_like_a_path_a_file() {
        let base = Path::new("/etc/foundry");
        assert_eq!(parse_bot_source("watchbot", base), BotSource::Stock("watchbot".into()));
        assert_eq!(
            parse_bot_source("./lint.wasm", base),
            BotSource::File("/etc/foundry/lint.wasm".into())
        );
        assert_eq!(
            parse_bot_source("lint.wasm", base),
            BotSource::File("/etc/foundry/lint.wasm".into())
        );
        assert_eq!(parse_bot_source("/opt/lint", base), BotSource::File("/opt/lint".into()));
    }

    #[test]
    fn local_repositories_become_absolute_and_others_stay() {
        let base = Path::new("/srv");
        let absolute = |value| absolute_option(OptionKind::GitUrl, value, base);
        assert_eq!(absolute("hello#main"), "/srv/hello#main");
        assert_eq!(absolute("./hello"), "/srv/hello");
        for other in [
            "https://example.org/x.git#main",
            "git@example.org:x.git",
            "file:///srv/x",
            "/srv/x#y",
        ] {
            assert_eq!(absolute(other), other);
        }
        assert_eq!(absolute_option(OptionKind::Site, "out", base), "/srv/out");
        assert_eq!(absolute_option(OptionKind::Text, "out", base), "out");
    }
}
