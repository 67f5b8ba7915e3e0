//! Where a package's files are, as Debian's own archive has it.

/// The directory of a source package's files: `pool/main/h/hello`, `pool/main/libf/libfoo`.
#[must_use]
pub fn directory(component: &str, source: &str) -> String {
    format!("pool/{component}/{}/{source}", prefix(source))
}

/// The beginning of a name that many share: its first letter, or four of a library.
pub(crate) fn prefix(name: &str) -> &str {
    let letters = if name.starts_with("lib") { 4 } else { 1 };
    name.get(..letters).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_have_four_letters() {
        assert_eq!(directory("main", "hello"), "pool/main/h/hello");
        assert_eq!(directory("contrib", "libfoo"), "pool/contrib/libf/libfoo");
        assert_eq!(directory("main", "lib"), "pool/main/lib/lib");
        assert_eq!(directory("main", "0ad"), "pool/main/0/0ad");
    }
}
