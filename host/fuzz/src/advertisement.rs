//! What git servers say of their refs.

use crate::git;

/// An answer of a server: its refs are branches and tags, sorted, each once, with names that refs can have.
pub fn advertisement(bytes: &[u8]) {
    for refs in git::read(bytes) {
        assert!(refs.windows(2).all(|two| two[0].name < two[1].name));
        for git::Ref { name, commit } in &refs {
            assert!(
                name.starts_with("refs/heads/") || name.starts_with("refs/tags/"),
                "{name}"
            );
            assert!(name.len() <= 300 && git2::Reference::is_valid_name(name), "{name}");
            assert!(
                matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit()),
                "{commit}"
            );
        }
    }
}
