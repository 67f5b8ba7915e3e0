//! `signing`: OpenPGP signatures with the host's keys. Keys never enter a bot.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::Arc;

use crate::keys::ar::ArError;
use crate::keys::{Believed, Dated, DebError, Encoding, KeyError, Role, SignError, Signer, VerifyError};
use crate::runtime::{BotContext, Invocation, MessageContext, wit};

use super::packages_keys::OfRing;
use super::{Artifact, ArtifactError, Services};
use wit::signing::Error;

/// What a key may be for, if it is to sign a repository's metadata or any other text. Which role is asked for first decides
/// which part of a key with subkeys signs, if the key has both roles or none, as those of GnuPG.
const TEXTS: [Role; 2] = [Role::Repository, Role::Packages];

/// What a key may be for, if it is to sign what belongs to a package.
const PACKAGES: [Role; 2] = [Role::Packages, Role::Repository];

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl wit::signing::Host for Invocation {
    async fn fingerprint(&mut self, key: String) -> Answer<String> {
        Ok(self
            .bot
            .signer(&key, &PACKAGES)
            .await
            .map(|signer| signer.fingerprint().to_string()))
    }

    async fn sign_package(&mut self, key: String, artifact: wit::types::Artifact) -> Answer<wit::types::Artifact> {
        let signed = self.bot.package_signed(&key, artifact.into(), Dated::Now).await;
        Ok(signed.map(Into::into))
    }

    async fn sign_package_dated(
        &mut self,
        key: String,
        artifact: wit::types::Artifact,
        source_time: Option<u64>,
    ) -> Answer<wit::types::Artifact> {
        let signed = self.bot.package_signed(&key, artifact.into(), dated(source_time)).await;
        Ok(signed.map(Into::into))
    }

    async fn clear_sign(&mut self, key: String, text: Vec<u8>) -> Answer<Vec<u8>> {
        let sign = move |signer: &Signer| signer.clear_sign(&text);
        Ok(self.bot.signed(&key, &TEXTS, sign).await)
    }

    async fn clear_sign_dated(&mut self, key: String, text: Vec<u8>, source_time: Option<u64>) -> Answer<Vec<u8>> {
        let sign = move |signer: &Signer| signer.clear_sign_dated(&text, dated(source_time));
        Ok(self.bot.signed(&key, &PACKAGES, sign).await)
    }

    async fn detach_sign(&mut self, key: String, bytes: Vec<u8>) -> Answer<Vec<u8>> {
        let sign = move |signer: &Signer| signer.detach_sign_armored(bytes.as_slice());
        Ok(self.bot.signed(&key, &TEXTS, sign).await)
    }

    async fn expires(&mut self, key: String) -> Answer<Option<u64>> {
        if !self.bot.grants.allow_sign(&key) {
            return Ok(Err(Error::NotGranted(key)));
        }
        let keys = Arc::clone(&self.bot.services.keys);
        let found = blocking(move || keys.find_any(&key).map_err(no_key)).await;
        Ok(found.map(|key| key.expires_millis()))
    }

    async fn verify_clear_signed(&mut self, keys: Vec<String>, document: Vec<u8>) -> Answer<(String, Vec<u8>)> {
        let services = Arc::clone(&self.bot.services);
        let message = self.message.clone();
        Ok(blocking(move || verified(&services, &keys, &document, message.as_ref())).await)
    }

    async fn public_key(&mut self, key: String) -> Answer<String> {
        if !self.bot.grants.allow_sign(&key) {
            return Ok(Err(Error::NotGranted(key)));
        }
        let keys = Arc::clone(&self.bot.services.keys);
        let exported = blocking(move || keys.export_public(&key, Encoding::Armored).map_err(no_key)).await;
        Ok(exported.map(|armoured| String::from_utf8_lossy(&armoured).into_owned()))
    }
}

impl BotContext {
    /// The signer of a granted key that has one of some roles.
    async fn signer(&self, key: &str, roles: &'static [Role]) -> Result<Arc<Signer>, Error> {
        if !self.grants.allow_sign(key) {
            return Err(Error::NotGranted(key.to_owned()));
        }
        let services = Arc::clone(&self.services);
        let key = key.to_owned();
        blocking(move || {
            let mut refusal = None;
            for role in roles {
                match services.keys.signer(&key, *role, &services.passphrases) {
                    Ok(signer) => return Ok(signer),
                    // That it has another role says less than what is wrong with it in this one.
                    Err(error @ KeyError::WrongRole { .. }) => refusal = refusal.or(Some(error)),
                    // The same in any role, and not worth waiting for twice.
                    Err(error @ (KeyError::NotFound { .. } | KeyError::Gnupg(_) | KeyError::KeptByGnupg { .. })) => {
                        return Err(no_key(error));
                    }
                    Err(error) => refusal = Some(error),
                }
            }
            Err(refusal.map_or_else(|| Error::NoKey(key), no_key))
        })
        .await
    }

    async fn signed(
        &self,
        key: &str,
        roles: &'static [Role],
        sign: impl FnOnce(&Signer) -> Result<Vec<u8>, SignError> + Send + 'static,
    ) -> Result<Vec<u8>, Error> {
        let signer = self.signer(key, roles).await?;
        blocking(move || sign(&signer).map_err(bad_input)).await
    }

    /// A signed copy of a package, in the store.
    async fn package_signed(&self, key: &str, artifact: Artifact, dated: Dated) -> Result<Artifact, Error> {
        let signer = self.signer(key, &[Role::Packages]).await?;
        let store = &self.services.artifacts;
        let directory = tempfile::tempdir().map_err(|e| Error::Unavailable(e.to_string()))?;
        let (unsigned, signed) = (directory.path().join("unsigned"), directory.path().join("signed"));
        store.copy_to(&artifact, &unsigned).await.map_err(unavailable)?;
        let target = signed.clone();
        blocking(move || {
            let package = BufReader::new(File::open(unsigned).map_err(|e| Error::Unavailable(e.to_string()))?);
            let copy = BufWriter::new(File::create(target).map_err(|e| Error::Unavailable(e.to_string()))?);
            signer.sign_deb_dated(package, copy, dated).map_err(bad_package)
        })
        .await?;
        store
            .put_file(&artifact.name, &artifact.media_type, &signed)
            .await
            .map_err(unavailable)
    }
}

/// Who signed a text, and what, by the keys that are named or those that count for packages here.
fn verified(
    services: &Services,
    keys: &[String],
    document: &[u8],
    message: Option<&MessageContext>,
) -> Result<(String, Vec<u8>), Error> {
    let believed = if keys.is_empty() {
        of_packages(services)?
    } else {
        let keys = services.keys.trusted_by_name(keys).map_err(no_verifier)?;
        let unknown = Vec::new();
        Believed { keys, unknown }
    };
    let error = match believed.keys.verify_clear_signed(document) {
        Ok(verified) => return Ok((verified.signer.to_string(), verified.text)),
        Err(error) => error,
    };
    let is_by_stranger = matches!(
        error,
        VerifyError::UnknownSigner { .. } | VerifyError::KeyExpired { .. }
    );
    if let (true, Some(message)) = (is_by_stranger, message) {
        services.packages_keys.note_stranger(&message.group, &message.id);
    }
    Err(match (error, believed.unknown.first()) {
        (VerifyError::UnknownSigner { .. }, Some(why)) => Error::Unavailable(why.clone()),
        (VerifyError::UnknownSigner { issuer, allowed }, None) => Error::BadInput(format!(
            "the signature is by key {issuer}, which is none of the {allowed} keys that count here (if it is to be one, `foundry-host \
             key import --role packages FILE` with its public key; what was refused for want of it is then tried again)"
        )),
        (error, _) => Error::BadInput(error.to_string()),
    })
}

/// The keys that count for packages on this host.
fn of_packages(services: &Services) -> Result<Believed, Error> {
    let OfRing { keys, unknown } = services.packages_keys.of_ring(&services.keys);
    let believed = services.keys.trusted_with_gnupg(Role::Packages, &keys);
    // The role's keys need no name, so that none can be missing: it is the store that can't be read.
    let mut believed = believed.map_err(|error| Error::Unavailable(error.to_string()))?;
    believed.unknown.extend(unknown);
    Ok(believed)
}

/// OpenPGP counts seconds.
fn dated(source_time: Option<u64>) -> Dated {
    Dated::Source(source_time.map(|millis| millis / 1000))
}

/// Signing is computation, and reading keys is I/O: both stay off the threads that carry messages.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
}

fn no_key(error: KeyError) -> Error {
    Error::NoKey(error.to_string())
}

/// Whether a key that is to check something is missing, or whether that can't be told now.
fn no_verifier(error: KeyError) -> Error {
    if error.may_pass() {
        Error::Unavailable(error.to_string())
    } else {
        no_key(error)
    }
}

fn bad_input(error: SignError) -> Error {
    match error {
        SignError::AlreadySigned => Error::BadInput(error.to_string()),
        SignError::Read(_) => Error::Unavailable(error.to_string()),
        other => Error::NoKey(other.to_string()),
    }
}

fn bad_package(error: DebError) -> Error {
    match error {
        DebError::Sign(error) => bad_input(error),
        DebError::Write(_) | DebError::Archive(ArError::Read(_)) => Error::Unavailable(error.to_string()),
        other => Error::BadInput(other.to_string()),
    }
}

fn unavailable(error: ArtifactError) -> Error {
    Error::Unavailable(error.to_string())
}
