//! The interface `git` of the contract, on top of the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Checkout, GitError, Granted, RawSignature, Ref, Refused, Source};
use crate::capability::Services;
use crate::capability::tape::{self, Answer, Content, Exchange};
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

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(error) => error.into(),
            Refused::NotGranted { .. } => Self::NotGranted(refused.to_string()),
        }
    }
}

/// Who signed a commit. Keys are read anew: one that was imported a moment ago counts. That they can't be read says nothing of
/// the commit.
fn judge(keys: &KeyStore, signature: Option<&RawSignature>) -> std::result::Result<Signature, Error> {
    let Some(RawSignature { signature, payload }) = signature else {
        return Ok(Signature::Unsigned);
    };
    let unreadable = |error| Error::Unavailable(format!("the keys of committers can't be read: {error}"));
    let trusted = keys.trusted(Role::Commits).map_err(unreadable)?;
    Ok(
        match trusted.verify_commit(payload, &String::from_utf8_lossy(signature)) {
            Ok(fingerprint) => Signature::Trusted(fingerprint.to_string()),
            Err(VerifyError::Unsigned) => Signature::Unsigned,
            Err(error) => Signature::Untrusted(error.to_string()),
        },
    )
}

/// How many repositories one call asks for.
const MAX_URLS: usize = 10_000;

/// How many branches and tags one call answers with, of all its repositories together.
const MAX_REFS: usize = 500_000;

/// What one call has been answered so far.
#[derive(Default)]
struct Answered(AtomicUsize);

impl Answered {
    /// Let go of a list that is too much.
    fn take<T>(&self, refs: Vec<T>) -> std::result::Result<Vec<T>, Error> {
        let before = self.0.fetch_add(refs.len(), Ordering::Relaxed);
        match before.saturating_add(refs.len()) <= MAX_REFS {
            true => Ok(refs),
            false => {
                // A list that is let go takes no room from the others.
                self.0.fetch_sub(refs.len(), Ordering::Relaxed);
                Err(Error::BadRequest(format!(
                    "more than {MAX_REFS} branches and tags in one call"
                )))
            }
        }
    }
}

impl wit::git::Host for Invocation {
    async fn refs(&mut self, urls: Vec<String>) -> Result<Vec<std::result::Result<Vec<wit::git::Ref>, Error>>> {
        if urls.len() > MAX_URLS {
            let why = format!("more than {MAX_URLS} repositories in one call");
            return Ok(urls.iter().map(|_| Err(Error::BadRequest(why.clone()))).collect());
        }
        let services = Arc::clone(&self.bot.services);
        // The grants first: a bot's store can't be shared between threads, so the futures have nothing of it.
        let permits = self.bot.grants.git_permits();
        let granted: Vec<_> = urls
            .into_iter()
            .map(|url| Granted::check(&url, &permits).map(|granted| (url, granted)))
            .collect();
        let answered = Answered::default();
        let answers = granted.into_iter().map(async |asked| match asked {
            Ok((url, granted)) => Ok(refs(&services, url, &granted)
                .await?
                .and_then(|refs| answered.take(refs))),
            Err(refused) => Ok(Err(refused.into())),
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn checkout(
        &mut self,
        url: String,
        branch: String,
        commit: String,
    ) -> Result<std::result::Result<Resource<Checkout>, Error>> {
        let granted = match Granted::check(&url, &self.bot.grants.git_permits()) {
            Ok(granted) => granted,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let services = Arc::clone(&self.bot.services);
        let asked = tape::Commit { url, branch, commit };
        let checkout = match services.tape.play::<tape::Checkout>(&asked)? {
            Some(Answer::Answer(tree)) => Checkout::Recorded {
                commit: asked.commit,
                tree,
            },
            Some(Answer::Error(failure)) => return Ok(Err(failure.into())),
            None => match services.git.checkout(&granted, &asked.branch, &asked.commit).await {
                Ok(source) => {
                    let signature = match judged(&services, source.info().signature.clone()).await? {
                        Ok(signature) => signature,
                        Err(error) => return Ok(Err(error)),
                    };
                    if services.tape.is_recording() {
                        let tree = described(&source, &signature);
                        services.tape.record::<tape::Checkout>(|| Exchange {
                            asked,
                            answer: Answer::Answer(tree),
                        });
                    }
                    Checkout::Live(source, signature)
                }
                Err(error) => {
                    let error = Error::from(error);
                    record_failure::<tape::Checkout>(&services.tape, asked, &error);
                    return Ok(Err(error));
                }
            },
        };
        Ok(Ok(self.table.push(checkout)?))
    }
}

/// A repository's refs: the real ones, or those that were recorded.
async fn refs(
    services: &Services,
    url: String,
    granted: &Granted,
) -> Result<std::result::Result<Vec<wit::git::Ref>, Error>> {
    let asked = tape::Repository { url };
    if let Some(answer) = services.tape.play::<tape::Refs>(&asked)? {
        return Ok(match answer {
            Answer::Answer(refs) => Ok(refs
                .into_iter()
                .map(|(name, commit)| wit::git::Ref { name, commit })
                .collect()),
            Answer::Error(failure) => Err(failure.into()),
        });
    }
    match services.git.refs(granted).await {
        Ok(refs) => {
            services.tape.record::<tape::Refs>(|| Exchange {
                asked,
                answer: Answer::Answer(refs.iter().map(|r| (r.name.clone(), r.commit.clone())).collect()),
            });
            Ok(Ok(refs.into_iter().map(Into::into).collect()))
        }
        Err(error) => {
            let error = Error::from(error);
            record_failure::<tape::Refs>(&services.tape, asked, &error);
            Ok(Err(error))
        }
    }
}

/// A commit as it is written down, before any of its files was read.
fn described(source: &Source, signature: &Signature) -> tape::Tree {
    let info = source.info();
    tape::Tree {
        time: info.time,
        author: info.author.clone(),
        summary: info.summary.clone(),
        signature: match signature {
            Signature::Unsigned => tape::Signed::Unsigned,
            Signature::Trusted(fingerprint) => tape::Signed::Trusted(fingerprint.clone()),
            Signature::Untrusted(why) => tape::Signed::Untrusted(why.clone()),
        },
        files: BTreeMap::new(),
    }
}

async fn judged(services: &Arc<Services>, raw: Option<RawSignature>) -> Result<std::result::Result<Signature, Error>> {
    let services = Arc::clone(services);
    Ok(tokio::task::spawn_blocking(move || judge(&services.keys, raw.as_ref())).await?)
}

fn record_failure<R: tape::Reel<Error = tape::GitFailure>>(tape: &tape::Tape, asked: R::Asked, error: &Error) {
    let failure = match error.clone() {
        // Never asked.
        Error::NotGranted(_) => return,
        Error::NotFound(why) => tape::GitFailure::NotFound(why),
        Error::NoSuchRef(why) => tape::GitFailure::NoSuchRef(why),
        Error::TimedOut(why) => tape::GitFailure::TimedOut(why),
        Error::BadRequest(why) => tape::GitFailure::BadRequest(why),
        Error::Unavailable(why) => tape::GitFailure::Unavailable(why),
    };
    tape.record::<R>(|| Exchange {
        asked,
        answer: Answer::Error(failure),
    });
}

impl From<tape::GitFailure> for Error {
    fn from(failure: tape::GitFailure) -> Self {
        match failure {
            tape::GitFailure::NotFound(why) => Self::NotFound(why),
            tape::GitFailure::NoSuchRef(why) => Self::NoSuchRef(why),
            tape::GitFailure::TimedOut(why) => Self::TimedOut(why),
            tape::GitFailure::BadRequest(why) => Self::BadRequest(why),
            tape::GitFailure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl wit::git::HostSource for Invocation {
    async fn info(&mut self, source: Resource<Checkout>) -> Result<CommitInfo> {
        match self.table.get(&source)? {
            Checkout::Live(source, signature) => {
                let info = source.info().clone();
                Ok(CommitInfo {
                    id: info.id,
                    time: info.time,
                    author: info.author,
                    summary: info.summary,
                    signature: signature.clone(),
                })
            }
            Checkout::Recorded { commit, tree } => Ok(CommitInfo {
                id: commit.clone(),
                time: tree.time,
                author: tree.author.clone(),
                summary: tree.summary.clone(),
                signature: match tree.signature.clone() {
                    tape::Signed::Unsigned => Signature::Unsigned,
                    tape::Signed::Trusted(fingerprint) => Signature::Trusted(fingerprint),
                    tape::Signed::Untrusted(why) => Signature::Untrusted(why),
                },
            }),
        }
    }

    async fn read(
        &mut self,
        source: Resource<Checkout>,
        path: String,
    ) -> Result<std::result::Result<Option<Vec<u8>>, Error>> {
        let checkout = self.table.get(&source)?;
        let content = checkout.read(&path);
        if let Ok(Some(bytes)) = &content {
            self.bot
                .services
                .tape
                .amend(|world| world.add_file(checkout.commit(), path, Content(bytes.clone())));
        }
        Ok(content.map_err(Into::into))
    }

    async fn drop(&mut self, source: Resource<Checkout>) -> Result<()> {
        self.table.delete(source)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::capability::git::tests::support::{Upstream, granted, service};

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

    #[test]
    fn the_lists_that_one_call_is_answered_with_are_bounded_together() {
        let answered = Answered::default();
        let take = |length| answered.take(vec![(); length]);
        assert!(take(200_000).is_ok() && take(200_000).is_ok());
        match take(200_000) {
            Err(Error::BadRequest(why)) => assert_eq!(why, "more than 500000 branches and tags in one call"),
            other => panic!("{:?}", other.map(|refs| refs.len())),
        }
        // What was let go takes no room from the others.
        assert!(take(100_000).is_ok());
        assert!(take(1).is_err());
    }

    #[tokio::test]
    async fn a_commits_signature_is_judged_by_the_trusted_keys() {
        let (service, upstream, committer) = (service(), Upstream::new(), Committer::new());
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(directory.path().join("keys")).unwrap();
        let url = upstream.bare().display().to_string();
        let judged = async |commit: &str| {
            let source = service.git.checkout(&granted(&url), "master", commit).await.unwrap();
            judge(&keys, source.info().signature.as_ref())
        };
        let unsigned = upstream.git(&["rev-parse", "HEAD"]);
        assert!(matches!(judged(&unsigned).await, Ok(Signature::Unsigned)));

        let home = committer.0.path().display().to_string();
        let wrapper = directory.path().join("gpg");
        std::fs::write(&wrapper, format!("#!/bin/sh\nexec gpg --homedir {home} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = format!("gpg.program={}", wrapper.display());
        upstream.git(&["-c", &program, "commit", "-q", "--allow-empty", "-S", "-m", "signed"]);
        upstream.push();
        let signed = upstream.git(&["rev-parse", "HEAD"]);
        assert!(matches!(judged(&signed).await, Ok(Signature::Untrusted(_))));

        let key = keys
            .import(&committer.gpg(&["--export"]), &[Role::Commits])
            .unwrap()
            .remove(0);
        match judged(&signed).await {
            Ok(Signature::Trusted(fingerprint)) => assert_eq!(fingerprint, key.fingerprint.to_string()),
            other => panic!("{other:?}"),
        }

        // That the keys can't be read says nothing of the commit.
        let file = keys.directory().join(format!("{}.asc", key.fingerprint));
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        match judged(&signed).await {
            Err(Error::Unavailable(why)) => assert!(why.contains("is damaged"), "{why}"),
            other => panic!("{other:?}"),
        }
        std::fs::write(&file, whole).unwrap();
        assert!(matches!(judged(&signed).await, Ok(Signature::Trusted(_))));

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
        assert!(matches!(judged(&forged).await, Ok(Signature::Untrusted(_))));
    }
}
