//! The parts of `capability/git` that read what a server advertises.

#[path = "../../src/capability/git/advertisement.rs"]
mod refs;

/// As in `capability/git/names.rs`, which has errors of the whole client.
mod names {
    pub(super) fn is_commit_id(text: &str) -> bool {
        matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

pub(crate) use refs::Ref;

/// The refs in an answer of each protocol, as far as it is one.
pub(crate) fn read(bytes: &[u8]) -> Vec<Vec<Ref>> {
    let smart = [true, false].map(|service| refs::read_smart(&mut &*bytes, service).ok());
    let dumb = std::str::from_utf8(bytes).ok();
    let dumb = dumb.and_then(|text| refs::parse_dumb(text).ok());
    smart.into_iter().chain([dumb]).flatten().collect()
}
