//! What the packages key signs beside the packages: one text that names all files of a build, and where they come from.
//!
//! The text is a paragraph of fields as Debian has them (deb822). It follows from the event to the byte, so that nothing in it
//! has to be interpreted: whoever checks one writes what it has to be, and compares.

use crate::events::Sign;

/// The first line. Another form gets another name.
const FORMAT: &str = "Format: foundry-statement-1";

/// What the event does not say: who built it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the host that built it.
    pub builder: String,
    /// Id of the event of the build.
    pub build: String,
}

/// The statement of the files of a `foundry.sign.v1` event.
///
/// # Errors
/// A value that does not fit into one line.
pub fn text(sign: &Sign, origin: &Origin) -> Result<String, String> {
    let mut lines = vec![FORMAT.to_owned()];
    for (name, value) in fields(sign, origin) {
        let fits = !value.is_empty() && value.trim() == value && !value.chars().any(char::is_control);
        if !fits {
            return Err(format!("{name} {value:?} can't be stated: it is not one line of text"));
        }
        lines.push(format!("{name}: {value}"));
    }
    lines.push("Checksums-Sha256:".to_owned());
    lines.extend(files(sign));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// See that a statement is about an event: of this commit and version, and of all of these files, and no others.
///
/// # Errors
/// The first difference.
pub fn check(stated: &str, sign: &Sign) -> Result<Origin, String> {
    let origin = Origin {
        builder: value_of(stated, "Builder")?.to_owned(),
        build: value_of(stated, "Build")?.to_owned(),
    };
    let expected = text(sign, &origin)?;
    let mut lines = (stated.trim_end_matches('\n').lines(), expected.lines());
    loop {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => return Ok(origin),
            (stated, event) if stated == event => {}
            (stated, event) => return Err(difference(stated, event)),
        }
    }
}

fn fields<'a>(sign: &'a Sign, origin: &'a Origin) -> [(&'static str, &'a str); 8] {
    [
        ("Repository", &sign.commit.repository),
        ("Branch", &sign.commit.branch),
        ("Commit", &sign.commit.commit),
        ("Source", &sign.source),
        ("Version", &sign.version),
        ("Architecture", &sign.architecture),
        ("Builder", &origin.builder),
        ("Build", &origin.build),
    ]
}

/// The files by their names, each once.
fn files(sign: &Sign) -> Vec<String> {
    let mut files: Vec<_> = sign.artifacts.iter().collect();
    files.sort_by_key(|file| (&file.name, &file.sha256));
    let mut lines: Vec<_> = files
        .into_iter()
        .map(|file| format!(" {} {} {}", file.sha256, file.size, file.name))
        .collect();
    lines.dedup();
    lines
}

fn value_of<'a>(stated: &'a str, field: &'static str) -> Result<&'a str, String> {
    let value = |line: &'a str| line.strip_prefix(field)?.strip_prefix(": ");
    stated
        .lines()
        .find_map(value)
        .ok_or_else(|| format!("it has no field {field}"))
}

fn difference(stated: Option<&str>, event: Option<&str>) -> String {
    let name = |line: Option<&str>| {
        let name = line?.split_once(':')?.0;
        (!name.starts_with(' ')).then(|| name.to_owned())
    };
    let quoted =
        |line: Option<&str>| line.map_or_else(|| "nothing more".to_owned(), |line| format!("`{}`", line.trim()));
    let what = match (name(stated), name(event)) {
        (Some(stated), Some(event)) if stated == event => format!("it is of another {stated}"),
        (Some(_), _) | (_, Some(_)) => "it has other fields".to_owned(),
        (None, None) => "it is of other files".to_owned(),
    };
    format!("{what}: it says {}, and the event {}", quoted(stated), quoted(event))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail where they are surprised"
    )]

    use super::*;
    use crate::events::{Artifact, Commit};

    type Change = fn(&mut Sign);

    /// As it is sent.
    const STATED: &str = "Format: foundry-statement-1\nRepository: https://example.org/hello.git\nBranch: main\n\
        Commit: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nSource: hello\nVersion: 1.0-1\nArchitecture: amd64\n\
        Builder: builder-1\nBuild: 0198c0de\nChecksums-Sha256:\n \
        bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 20 hello_1.0-1.dsc\n \
        cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc 10 hello_1.0-1_amd64.deb\n";

    fn file(name: &str, size: u64, digest: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            size,
            sha256: digest.repeat(64),
            media_type: "application/octet-stream".to_owned(),
        }
    }

    fn sign() -> Sign {
        Sign {
            commit: Commit {
                repository: "https://example.org/hello.git".to_owned(),
                branch: "main".to_owned(),
                commit: "a".repeat(40),
            },
            source: "hello".to_owned(),
            version: "1.0-1".to_owned(),
            architecture: "amd64".to_owned(),
            key: "d".repeat(40),
            artifacts: vec![file("hello_1.0-1_amd64.deb", 10, "c"), file("hello_1.0-1.dsc", 20, "b")],
            statement: None,
        }
    }

    fn origin() -> Origin {
        Origin {
            builder: "builder-1".to_owned(),
            build: "0198c0de".to_owned(),
        }
    }

    #[test]
    fn a_statement_follows_from_its_event() {
        assert_eq!(text(&sign(), &origin()).unwrap(), STATED);
        assert_eq!(check(STATED, &sign()), Ok(origin()));
        let mut other_order = sign();
        other_order.artifacts.reverse();
        assert_eq!(check(STATED, &other_order), Ok(origin()));
    }

    #[test]
    fn a_statement_of_anything_else_is_told_from_it() {
        let changes: [(Change, &str); 9] = [
            (|sign| sign.commit.repository.push('x'), "it is of another Repository"),
            (|sign| sign.commit.branch.push('x'), "it is of another Branch"),
            (|sign| sign.commit.commit = "e".repeat(40), "it is of another Commit"),
            (|sign| sign.source.push('x'), "it is of another Source"),
            (|sign| sign.version.push('x'), "it is of another Version"),
            (|sign| sign.architecture.push('x'), "it is of another Architecture"),
            (|sign| sign.artifacts[0].size += 1, "it is of other files"),
            (|sign| drop(sign.artifacts.pop()), "it is of other files"),
            (
                |sign| sign.artifacts.push(file("more_1_all.deb", 1, "e")),
                "it is of other files",
            ),
        ];
        for (change, expected) in changes {
            let mut sign = sign();
            change(&mut sign);
            let difference = check(STATED, &sign).unwrap_err();
            assert!(difference.starts_with(expected), "{difference}");
        }
    }

    #[test]
    fn a_statement_that_says_more_is_refused() {
        for (from, to) in [
            ("Format: foundry-statement-1", "Format: foundry-statement-2"),
            ("Build: 0198c0de\n", "Build: 0198c0de\nExtra: x\n"),
            ("Builder: builder-1\n", ""),
            ("Builder: builder-1\n", "Builder: builder-1\nBuilder: builder-2\n"),
            ("Format", "X: y\n\nFormat"),
        ] {
            let stated = STATED.replace(from, to);
            assert!(check(&stated, &sign()).is_err(), "{stated}");
        }
        assert!(check(&format!("{STATED} more\n"), &sign()).is_err());
        assert!(check("", &sign()).is_err());
    }

    #[test]
    fn a_value_that_would_make_more_lines_is_not_stated() {
        let mut sign = sign();
        sign.commit.branch = "main\nSource: sudo".to_owned();
        let why = text(&sign, &origin()).unwrap_err();
        assert!(why.starts_with("Branch "), "{why}");
        let mut other = origin();
        other.builder = String::new();
        sign.commit.branch = "main".to_owned();
        assert!(text(&sign, &other).is_err());
    }
}
