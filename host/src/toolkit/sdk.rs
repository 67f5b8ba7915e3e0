//! The SDKs, their templates and the contract, as they were when this program was built. They travel inside it, so
//! that a new project needs no network and fits the host that made it.

/// A file below `sdk/` or `wit/` of this repository.
pub(super) struct SdkFile {
    /// Path relative to the repository.
    pub(super) path: &'static str,
    /// Text.
    pub(super) text: &'static str,
}

/// All of them, sorted. Written by the build script.
const FILES: &[SdkFile] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// The files below a directory, by their paths relative to it.
pub(super) fn below(directory: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |file| {
        let path = file.path.strip_prefix(directory)?.strip_prefix('/')?;
        Some((path, file.text))
    })
}
