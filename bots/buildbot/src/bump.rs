//! A version for every commit: text in, text out.
//!
//! The version grows with the commit's time and names the commit, so it is the same at every attempt. The addition
//! goes into the *upstream* part: with a revision, the tarball is named after that part alone, and two commits must
//! not share a tarball's name; without one (native packages), that part is all there is.

/// What the new entry says.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The commit's id.
    pub commit: &'a str,
    /// `Name <mail>`.
    pub author: &'a str,
    /// First line of the commit's message.
    pub summary: &'a str,
    /// The commit's time, RFC 3339 in UTC.
    pub stamp: &'a str,
    /// The commit's time, RFC 5322.
    pub date: &'a str,
}

/// The new version, and the changelog with a new first entry; or why the old one is of no use.
pub fn bump(changelog: &[u8], entry: &Entry<'_>) -> Result<(String, Vec<u8>), String> {
    let head = changelog
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or("debian/changelog is empty, or not text")?;
    let (name, version, distribution) = parse(head)
        .ok_or_else(|| format!("debian/changelog starts with {head:?}, not with `name (version) distribution; ...`"))?;
    let version = bumped(version, entry);
    let text = format!(
        "{name} ({version}) {distribution}; urgency=medium\n\n  * Automatic build of commit {}:\n    {}\n\n -- {}  {}\n\n",
        entry.commit,
        plain(entry.summary),
        signature(entry.author),
        entry.date
    );
    let mut new = text.into_bytes();
    new.extend_from_slice(changelog);
    Ok((version, new))
}

/// `1.0-1` becomes `1.0+20250701120000.gabc1234-1`, and `1.0` becomes `1.0+20250701120000.gabc1234`.
fn bumped(version: &str, entry: &Entry<'_>) -> String {
    // 2025-07-01T12:00:00Z, down to the second.
    let time: String = entry.stamp.chars().filter(char::is_ascii_digit).take(14).collect();
    let short: String = entry.commit.chars().take(7).collect();
    let (upstream, revision) = match version.rsplit_once('-') {
        Some((upstream, revision)) => (upstream, format!("-{revision}")),
        None => (version, String::new()),
    };
    format!("{upstream}+{time}.g{short}{revision}")
}

fn parse(head: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = head.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    let (distribution, _) = rest.split_once(';')?;
    let distribution = distribution.trim();
    (!name.is_empty() && !version.is_empty() && !distribution.is_empty()).then_some((name, version, distribution))
}

/// Text that can't end its line or look like a trailer.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A name and an address as a trailer needs them.
fn signature(author: &str) -> String {
    let author = plain(author);
    match author.rsplit_once(" <") {
        Some((name, mail)) if mail.ends_with('>') && mail.contains('@') && !name.trim().is_empty() => author,
        _ => "Foundry <foundry@localhost>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'static> = Entry {
        commit: "abc1234def5678900000000000000000000000ff",
        author: "Eve Author <eve@example.org>",
        summary: "Fix it",
        stamp: "2025-07-01T12:00:00.000Z",
        date: "Tue, 01 Jul 2025 12:00:00 +0000",
    };

    #[test]
    fn the_new_entry_comes_first_and_the_old_ones_stay() {
        let old = "\nhello (1.0-1) unstable; urgency=low\n\n  * Old.\n";
        let (version, new) = bump(old.as_bytes(), &ENTRY).unwrap();
        assert_eq!(version, "1.0+20250701120000.gabc1234-1");
        assert_eq!(
            String::from_utf8(new).unwrap(),
            format!(
                "hello ({version}) unstable; urgency=medium\n\n  * Automatic build of commit {}:\n    Fix it\n\n -- Eve Author <eve@example.org>  Tue, 01 Jul 2025 12:00:00 +0000\n\n{old}",
                ENTRY.commit
            )
        );
    }

    #[test]
    fn a_native_version_stays_native_and_an_epoch_stays_in_front() {
        assert_eq!(bumped("1.0", &ENTRY), "1.0+20250701120000.gabc1234");
        assert_eq!(bumped("2:1.0-rc1-3", &ENTRY), "2:1.0-rc1+20250701120000.gabc1234-3");
    }

    #[test]
    fn a_commit_cannot_write_its_own_trailer() {
        let entry = Entry {
            summary: "x\n\n -- Eve <e@x>  now",
            author: "a\nb <c>",
            ..ENTRY
        };
        let (_, new) = bump(b"hello (1) sid; urgency=low\n", &entry).unwrap();
        let text = String::from_utf8(new).unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with(" -- ")).count(),
            1,
            "{text}"
        );
        assert!(text.contains(" -- Foundry <foundry@localhost>  "), "{text}");
    }

    #[test]
    fn what_is_no_changelog_is_quoted() {
        assert!(bump(b"what?\n", &ENTRY).unwrap_err().contains("\"what?\""));
        assert!(bump(b"\n\n", &ENTRY).is_err());
    }
}
