//! The interface `git` of the contract, on top of the service.

use futures::future::join_all;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Git, GitError, Location, RawSignature, Ref, Source};
use crate::keys::{KeyStore, Role, VerifyError};
use crate::runtime::{Invocation, wit};

use wit::git::{CommitInfo, Error, Signature};

impl From<GitError> for Error {
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        match error {
            GitError::NotFound { .. } => Self::NotFound(text),
            GitError::NoSuchRef { .. } => Self::NoSuchRef(text),
            GitError::TimedOut { .. } => Self::TimedOut(text),
            GitError::BadRequest { .. } => Self::BadRequest(text),
            GitError::Unavailable { .. } => Self::Unavailable(text),
        }
    }
}

impl From<Ref> for wit::git::Ref {
    fn from(r: Ref) -> Self {
        Self {
            name: r.name,
            commit: r.commit,
        }
    }
}

impl Invocation {
    fn git(&self) -> Git {
        self.bot.services.git.clone()
    }

    /// Grants are for URLs as they were written; the refusal shows them without credentials.
    fn check_granted(&self, url: &str) -> std::result::Result<(), Error> {
        let location = Location::parse(url)?;
        match self.bot.grants.allow_git(url) {
            true => Ok(()),
            false => Err(Error::NotGranted(format!(
                "{location} is not granted to this bot (add --allow-git {location})"
            ))),
        }
    }
}

/// Who signed a commit. Keys are read anew: one that was imported a moment ago counts.
fn judge(keys: &KeyStore, signature: Option<&RawSignature>) -> Signature {
    let Some(RawSignature { signature, payload }) = signature else {
        return Signature::Unsigned;
    };
    let trusted = match keys.trusted(Role::Commits) {
        Ok(trusted) => trusted,
        Err(error) => return Signature::Untrusted(format!("the trusted keys can't be read: {error}")),
    };
    match trusted.verify_commit(payload, &String::from_utf8_lossy(signature)) {
        Ok(fingerprint) => Signature::Trusted(fingerprint.to_string()),
        Err(VerifyError::Unsigned) => Signature::Unsigned,
        Err(error) => Signature::Untrusted(error.to_string()),
    }
}

impl wit::git::Host for Invocation {
    async fn refs(&mut self, urls: Vec<String>) -> Result<Vec<std::result::Result<Vec<wit::git::Ref>, Error>>> {
        let git = self.git();
        // The grants first: a bot's store can't be shared between threads, so the futures have nothing of it.
        let granted: Vec<_> = urls
            .into_iter()
            .map(|url| self.check_granted(&url).map(|()| url))
            .collect();
        let answers = granted.into_iter().map(async |url| {
            let refs = git.refs(&url?).await?;
            Ok(refs.into_iter().map(Into::into).collect())
        });
        Ok(join_all(answers).await)
    }

    async fn checkout(
        &mut self,
        url: String,
        branch: String,
        commit: String,
    ) -> Result<std::result::Result<Resource<Source>, Error>> {
        if let Err(error) = self.check_granted(&url) {
            return Ok(Err(error));
        }
        match self.git().checkout(&url, &branch, &commit).await {
            Ok(source) => Ok(Ok(self.table.push(source)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl wit::git::HostSource for Invocation {
    async fn info(&mut self, source: Resource<Source>) -> Result<CommitInfo> {
        let info = self.table.get(&source)?.info().clone();
        let services = std::sync::Arc::clone(&self.bot.services);
        let raw = info.signature;
        let signature = tokio::task::spawn_blocking(move || judge(&services.keys, raw.as_ref())).await?;
        Ok(CommitInfo {
            id: info.id,
            time: info.time,
            author: info.author,
            summary: info.summary,
            signature,
        })
    }

    async fn read(
        &mut self,
        source: Resource<Source>,
        path: String,
    ) -> Result<std::result::Result<Option<Vec<u8>>, Error>> {
        Ok(self.table.get(&source)?.read(&path).map_err(Into::into))
    }

    async fn drop(&mut self, source: Resource<Source>) -> Result<()> {
        self.table.delete(source)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::capability::git::tests::support::{Upstream, service};

    /// A key in a keyring of its own.
    struct Committer(tempfile::TempDir);

    impl Committer {
        fn new() -> Self {
            let committer = Self(tempfile::tempdir().unwrap());
            committer.gpg(&[
                "--quick-generate-key",
                "C O Mitter <committer@example.org>",
                "ed25519",
                "sign",
            ]);
            committer
        }

        fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
            let mut gpg = Command::new("gpg");
            gpg.arg("--homedir")
                .arg(self.0.path())
                .args(["--batch", "--passphrase", ""])
                .args(arguments);
            let output = gpg.stderr(Stdio::null()).output().unwrap();
            assert!(output.status.success());
            output.stdout
        }
    }

    impl Drop for Committer {
        fn drop(&mut self) {
            let _ = Command::new("gpgconf")
                .arg("--homedir")
                .arg(self.0.path())
                .args(["--kill", "all"])
                .status();
        }
    }

    #[tokio::test]
    async fn a_commits_signature_is_judged_by_the_trusted_keys() {
        let (service, upstream, committer) = (service(), Upstream::new(), Committer::new());
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(directory.path().join("keys")).unwrap();
        let url = upstream.bare().display().to_string();
        let judged = async |commit: &str| {
            let source = service.git.checkout(&url, "master", commit).await.unwrap();
            judge(&keys, source.info().signature.as_ref())
        };
        let unsigned = upstream.git(&["rev-parse", "HEAD"]);
        assert!(matches!(judged(&unsigned).await, Signature::Unsigned));

        let home = committer.0.path().display().to_string();
        let wrapper = directory.path().join("gpg");
        std::fs::write(&wrapper, format!("#!/bin/sh\nexec gpg --homedir {home} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = format!("gpg.program={}", wrapper.display());
        upstream.git(&["-c", &program, "commit", "-q", "--allow-empty", "-S", "-m", "signed"]);
        upstream.push();
        let signed = upstream.git(&["rev-parse", "HEAD"]);
        assert!(matches!(judged(&signed).await, Signature::Untrusted(_)));

        let key = keys
            .import(&committer.gpg(&["--export"]), &[Role::Commits])
            .unwrap()
            .remove(0);
        match judged(&signed).await {
            Signature::Trusted(fingerprint) => assert_eq!(fingerprint, key.fingerprint.to_string()),
            other => panic!("{other:?}"),
        }

        // The signature of that commit on another one.
        let object = upstream
            .git(&["cat-file", "commit", "HEAD"])
            .replace("\n\nsigned", "\n\nforged")
            + "\n";
        std::fs::write(directory.path().join("object"), object).unwrap();
        let object = directory.path().join("object").display().to_string();
        let forged = upstream.git(&["hash-object", "-t", "commit", "-w", &object]);
        upstream.git(&["reset", "-q", "--hard", &forged]);
        upstream.push();
        assert!(matches!(judged(&forged).await, Signature::Untrusted(_)));
    }
}
