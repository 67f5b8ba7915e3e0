//! OpenPGP keys: who signs what, and whose signatures are believed.
//!
//! A [`KeyStore`] is a directory of keys with [`Role`]s, and behind it the GnuPG ring of the host's user, whose keys sign where
//! the store has none of the name. From it come a [`Signer`], an unlocked key as an opaque handle,
//! and [`TrustedKeys`], the public keys against which signatures are checked. All of it is synchronous; both handles
//! are `Send + Sync`. gpg, gpgv and debsig-verify of Debian 12 (GnuPG 2.2) accept what is made here, and what they make
//! is accepted here; the tests run them.
//!
//! ```no_run
//! # use foundry_host::keys::{KeyStore, NewKey, PassphraseSource, Role};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = KeyStore::open("/var/lib/foundry/keys")?;
//! let key = store.generate(Role::Repository, &NewKey::new("Example archive <archive@example.org>"))?;
//! let signer = store.signer(&key.fingerprint.to_string(), Role::Repository, &PassphraseSource::from_environment())?;
//! let in_release = signer.clear_sign(b"Origin: Example\n")?;
//! let release_gpg = signer.detach_sign_armored(&b"Origin: Example\n"[..])?;
//! # Ok(())
//! # }
//! ```

pub mod ar;
mod backend;
mod binding;
mod certificate;
mod claims;
mod cleartext;
mod commit_signature;
mod deb;
mod duty;
mod entry;
mod error;
mod event_signature;
mod farm;
mod files;
mod fingerprint;
mod generate;
mod gnupg;
mod groups;
mod info;
mod locate;
mod passphrase;
mod remembered;
mod renew;
mod role;
mod secret;
mod signer;
mod stamp;
mod store;
mod stored_key;
mod trust;
mod verify;

#[cfg(test)]
mod tests;

pub use binding::{Binding, NotAHost, Whose};
pub use claims::Claims;
pub use cleartext::NotClearSigned;
pub use deb::{DebError, ORIGIN_MEMBER};
pub use duty::{Duties, Duty, NotADuty};
pub use error::{KeyError, Looked, SignError, UnusableKey};
pub use event_signature::{NotCanonical, SIGNATURE_MEMBER, SIGNER_MEMBER, canonical_event};
pub use fingerprint::{Fingerprint, KeyId, NotAFingerprint};
pub use generate::{Algorithm, NewKey};
pub use gnupg::{GnupgError, GnupgKey};
pub(crate) use groups::is_plain as is_plain_group;
pub use groups::{Groups, NotAGroup};
pub use info::{KeyInfo, Location};
pub use locate::Believed;
pub use passphrase::{PASSPHRASE_FILE_VARIABLE, PassphraseError, PassphraseSource, Prompt};
pub use renew::RevocationReason;
pub use role::{NotARole, Role};
pub use secret::{Passphrase, SecretBytes};
pub use signer::{Dated, Signer, strip_clear_signature};
pub use store::{Encoding, KeyStore};
pub use trust::Trust;
pub use verify::{TrustedKeys, VerifiedText, VerifyError};
