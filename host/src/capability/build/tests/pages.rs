//! What `docs/package-builds.md` claims of sandboxes and limits has a test or a probe that exists.

use std::fs;
use std::path::{Path, PathBuf};

const PROBES: &str = include_str!("probes.pl");

/// A line of a table whose second column names what shows the first.
struct Claim {
    what: String,
    shown_by: Vec<String>,
}

fn claims() -> Vec<Claim> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/package-builds.md");
    let text = fs::read_to_string(page).unwrap();
    let mut claims = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        match line.strip_prefix('|') {
            None => is_inside = false,
            Some(row) if row.trim_end_matches('|').ends_with(" is shown by ") => is_inside = true,
            Some(row) if is_inside && !row.starts_with("---") => {
                let (what, names) = row.split_once('|').unwrap();
                claims.push(Claim {
                    what: what.trim().to_owned(),
                    shown_by: names.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect(),
                });
            }
            Some(_) => {}
        }
    }
    claims
}

/// The text of all programs of the builds' tests.
fn programs(dir: &Path) -> String {
    let mut pending: Vec<PathBuf> = vec![dir.to_owned()];
    let mut text = String::new();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

/// Whether a probe has this name: as it is written, or of a list: `probe("write to $_", …) for qw(/ /usr …)`.
fn is_probe(name: &str) -> bool {
    let mut names = PROBES.lines().filter_map(|line| {
        let (_, rest) = line
            .split_once("probe(")
            .filter(|(before, _)| !before.contains("sub "))?;
        let (quote, rest) = rest.split_at_checked(1)?;
        Some(rest.split_once(quote)?.0)
    });
    names.any(|written| match written.split_once("$_") {
        None => written == name,
        Some((before, _)) => name.strip_prefix(before).is_some_and(|rest| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
            PROBES.split(|c| !is_part(c)).any(|word| word == rest)
        }),
    })
}

#[test]
fn every_claim_of_the_page_has_a_test_or_a_probe_that_exists() {
    let claims = claims();
    assert!(claims.len() > 20, "{}", claims.len());
    let tests = programs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capability/build"));
    for claim in &claims {
        assert!(!claim.shown_by.is_empty(), "nothing shows: {}", claim.what);
        for name in &claim.shown_by {
            // A claim may have words of a program in it, and its own column has none of them.
            let is_test = tests.contains(&format!("#[test]\nfn {name}() {{"))
                || tests.contains(&format!("#[test]\n    fn {name}() {{"));
            assert!(is_test || is_probe(name), "{name}, which is to show: {}", claim.what);
        }
    }
}

#[test]
fn a_probe_that_does_not_exist_is_not_found() {
    for name in [
        "AF_VSOCK",
        "write to /usr",
        "keyctl",
        "own place /build",
        "capability SYS_ADMIN",
    ] {
        assert!(is_probe(name), "{name}");
    }
    for name in ["AF_NOTHING", "write to /there", "keyctl2", "content of", ""] {
        assert!(!is_probe(name), "{name}");
    }
}
