//! The checksum fields of .changes and .buildinfo files (Debian Policy, section 5.6.21 and 5.6.24).

use std::collections::BTreeMap;

/// What the fields say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    pub md5: String,
    /// Lower-case hex.
    pub sha1: String,
    /// Lower-case hex.
    pub sha256: String,
}

/// The same control file, with the checksums and sizes of files that have changed since. All else stays as it is, to
/// the byte.
pub fn update(text: &str, changed: &BTreeMap<String, Checksums>) -> String {
    let mut digest: Option<fn(&Checksums) -> &str> = None;
    let mut updated = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let Some(continuation) = line.strip_prefix(' ') else {
            digest = line.split_once(':').and_then(|(field, _)| digest_of(field));
            updated.push_str(line);
            continue;
        };
        match digest.and_then(|digest| updated_line(continuation, digest, changed)) {
            Some(new) => updated.push_str(&new),
            None => updated.push_str(line),
        }
    }
    updated
}

/// Which digest the lines of a field begin with. `Files` gives the MD5, section and priority as well.
fn digest_of(field: &str) -> Option<fn(&Checksums) -> &str> {
    match field.to_ascii_lowercase().as_str() {
        "files" | "checksums-md5" => Some(|checksums| &checksums.md5),
        "checksums-sha1" => Some(|checksums| &checksums.sha1),
        "checksums-sha256" => Some(|checksums| &checksums.sha256),
        _ => None,
    }
}

/// `digest size [section priority] name`; none if the file has not changed.
fn updated_line(line: &str, digest: fn(&Checksums) -> &str, changed: &BTreeMap<String, Checksums>) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, rest @ ..] = words.as_slice() else {
        return None;
    };
    let checksums = changed.get(*rest.last()?)?;
    Some(format!(
        " {} {} {}\n",
        digest(checksums),
        checksums.size,
        rest.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: &str = "Format: 1.8\nSource: hello\nDescription:\n hello - says a.deb\n\
        Checksums-Sha1:\n 1111 10 hello.dsc\n 2222 20 a.deb\nChecksums-Sha256:\n 3333 10 hello.dsc\n 4444 20 a.deb\n\
        Files:\n 5555 10 misc optional hello.dsc\n 6666 20 misc optional a.deb\n";

    #[test]
    fn checksums_and_sizes_of_changed_files_are_replaced() {
        let a = Checksums {
            size: 21,
            md5: "m".into(),
            sha1: "s1".into(),
            sha256: "s2".into(),
        };
        let changed = BTreeMap::from([("a.deb".to_owned(), a)]);
        let expected = CHANGES
            .replace("2222 20", "s1 21")
            .replace("4444 20", "s2 21")
            .replace("6666 20", "m 21");
        assert_eq!(update(CHANGES, &changed), expected);
    }

    #[test]
    fn a_file_that_nothing_changed_in_stays_as_it_is() {
        assert_eq!(update(CHANGES, &BTreeMap::new()), CHANGES);
        assert_eq!(
            update("no newline at the end", &BTreeMap::new()),
            "no newline at the end"
        );
    }
}
