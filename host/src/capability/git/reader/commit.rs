//! What is known of a commit.

use git2::Oid;

use super::objects::Objects;
use crate::capability::git::{CommitInfo, Failure, RawSignature};

/// Read a commit, and its signature as it is.
pub(super) fn read(objects: &Objects<'_>, id: Oid) -> Result<CommitInfo, Failure> {
    let commit = objects.commit(id)?;
    let signature = objects.signature(id)?.map(|(signature, payload)| RawSignature {
        signature: signature.to_vec(),
        payload: payload.to_vec(),
    });
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(CommitInfo {
        id: id.to_string(),
        time: u64::try_from(commit.time().seconds()).unwrap_or(0),
        author: format!("{} <{}>", text(author.name_bytes()), text(author.email_bytes())),
        summary: text(commit.message_bytes())
            .trim_start()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
        signature,
    })
}
