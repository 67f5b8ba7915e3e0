//! A key as it is in a file of the store: a checked certificate, with secret parts or without.

use std::collections::BTreeSet;
use std::fmt;

use pgp::composed::{
    ArmorOptions, PublicOrSecret, SignedPublicKey, SignedPublicSubKey, SignedSecretKey, SignedSecretSubKey,
};
use pgp::packet::{SecretKey, SecretSubkey, Signature};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, S2kParams, SecretParams, StringToKey, Timestamp};

use super::certificate::{Certificate, Component, moment};
use super::duty::Duties;
use super::error::{KeyError, UnusableKey};
use super::fingerprint::{Fingerprint, KeyQuery};
use super::groups::Groups;
use super::info::{KeyInfo, Location};
use super::passphrase::PassphraseSource;
use super::role::Role;
use super::secret::{SecretBytes, without_logs};

/// Whole keyrings are imported too; more than this is no keyring of a build system.
pub(super) const LONGEST_IMPORT: usize = 32 << 20;

/// The secret part of one key of a certificate.
#[derive(Clone)]
pub(super) enum SecretPart {
    Primary(SecretKey),
    Subkey(SecretSubkey),
}

impl SecretPart {
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Fingerprint::from_pgp(&match self {
            Self::Primary(key) => key.fingerprint(),
            Self::Subkey(key) => key.fingerprint(),
        })
    }

    fn params(&self) -> &SecretParams {
        match self {
            Self::Primary(key) => key.secret_params(),
            Self::Subkey(key) => key.secret_params(),
        }
    }

    /// gpg's mark for a secret that is elsewhere: left out on export, or on a smartcard.
    pub fn is_stub(&self) -> bool {
        let SecretParams::Encrypted(params) = self.params() else {
            return false;
        };
        matches!(
            params.string_to_key_params(),
            S2kParams::Cfb {
                s2k: StringToKey::Private { .. },
                ..
            } | S2kParams::MalleableCfb {
                s2k: StringToKey::Private { .. },
                ..
            }
        )
    }

    pub fn is_protected(&self) -> bool {
        self.params().is_encrypted() && !self.is_stub()
    }

    /// A copy in memory without protection.
    pub fn unlocked(&self, info: &KeyInfo, passphrases: &PassphraseSource) -> Result<Self, KeyError> {
        if self.is_stub() {
            return Err(UnusableKey::Stub { key: info.to_string() }.into());
        }
        let mut part = self.clone();
        if part.is_protected() {
            let (passphrase, origin) = passphrases.passphrase(info)?;
            let unlocked = match &mut part {
                Self::Primary(key) => key.remove_password(&passphrase.to_pgp()),
                Self::Subkey(key) => key.remove_password(&passphrase.to_pgp()),
            };
            unlocked.map_err(|_| KeyError::WrongPassphrase {
                key: info.to_string(),
                origin,
            })?;
        }
        Ok(part)
    }
}

impl fmt::Debug for SecretPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A checked key, with secret parts or without.
#[derive(Debug, Clone)]
pub(super) struct StoredKey {
    pub certificate: Certificate,
    pub secrets: Vec<SecretPart>,
}

impl StoredKey {
    /// Reads all keys in the data: armoured (one block or several) or binary.
    pub fn parse_all(data: &[u8]) -> Result<Vec<Self>, KeyError> {
        let refuse = |reason: String| KeyError::Import { reason };
        if data.len() > LONGEST_IMPORT {
            return Err(refuse(format!(
                "{} bytes are more than the {LONGEST_IMPORT} accepted",
                data.len()
            )));
        }
        let mut keys = Vec::new();
        for block in blocks(data) {
            let parsed: Result<Vec<PublicOrSecret>, _> = without_logs(|| {
                let (keys, _) = PublicOrSecret::from_reader_many(block)?;
                keys.collect()
            });
            for key in parsed.map_err(|error| refuse(format!("not OpenPGP keys: {error}")))? {
                keys.push(Self::from_parsed(key)?);
            }
        }
        if keys.is_empty() {
            return Err(refuse("there is no OpenPGP key in the data".to_owned()));
        }
        Ok(keys)
    }

    pub fn from_parsed(key: PublicOrSecret) -> Result<Self, KeyError> {
        let (public, secrets) = match key {
            PublicOrSecret::Public(key) => (key, Vec::new()),
            PublicOrSecret::Secret(key) => {
                let public = key.to_public_key();
                let mut secrets = vec![SecretPart::Primary(key.primary_key)];
                secrets.extend(
                    key.secret_subkeys
                        .into_iter()
                        .map(|subkey| SecretPart::Subkey(subkey.key)),
                );
                (public, secrets)
            }
        };
        let certificate = Certificate::check(public).map_err(|why| KeyError::Import {
            reason: why.to_string(),
        })?;
        Ok(Self { certificate, secrets })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    /// Without the secret parts.
    pub fn into_public(mut self) -> Self {
        self.secrets.clear();
        self
    }

    /// Adds what another copy of the same key knows. Nothing is lost: a revocation, once seen, stays; a secret part
    /// is replaced by the newer copy's (its passphrase may have changed) but never by a stub.
    pub fn merge(self, newer: Self) -> Result<Self, KeyError> {
        let merged = merge_public(self.certificate.public_key(), newer.certificate.public_key());
        let certificate = Certificate::check(merged).map_err(|why| KeyError::Import {
            reason: why.to_string(),
        })?;
        let mut secrets = self.secrets;
        for part in newer.secrets {
            match secrets
                .iter_mut()
                .find(|known| known.fingerprint() == part.fingerprint())
            {
                Some(known) if known.is_stub() || !part.is_stub() => *known = part,
                Some(_) => {}
                None => secrets.push(part),
            }
        }
        Ok(Self { certificate, secrets })
    }

    /// The secret key in armour if there are secret parts, else the public key.
    pub fn to_armored(&self) -> Result<SecretBytes, pgp::errors::Error> {
        let Some(key) = self.to_secret_key() else {
            return Ok(SecretBytes::new(
                self.certificate
                    .public_key()
                    .to_armored_bytes(ArmorOptions::default())?,
            ));
        };
        // Reserved at once, so that no copy is left behind by growing.
        let mut armored = Vec::with_capacity(key.write_len() * 3 / 2 + 1024);
        key.to_armored_writer(&mut armored, ArmorOptions::default())?;
        Ok(SecretBytes::new(armored))
    }

    fn to_secret_key(&self) -> Option<SignedSecretKey> {
        let primary = self.secrets.iter().find_map(|part| match part {
            SecretPart::Primary(key) => Some(key.clone()),
            SecretPart::Subkey(_) => None,
        })?;
        let public = self.certificate.public_key();
        let mut public_subkeys = Vec::new();
        let mut secret_subkeys = Vec::new();
        for subkey in &public.public_subkeys {
            let secret = self.secrets.iter().find_map(|part| match part {
                SecretPart::Subkey(key) if key.fingerprint() == subkey.key.fingerprint() => Some(key.clone()),
                _ => None,
            });
            match secret {
                Some(key) => secret_subkeys.push(SignedSecretSubKey::new(key, subkey.signatures.clone())),
                None => public_subkeys.push(subkey.clone()),
            }
        }
        Some(SignedSecretKey::new(
            primary,
            public.details.clone(),
            public_subkeys,
            secret_subkeys,
        ))
    }

    pub fn matches(&self, query: &KeyQuery) -> bool {
        self.certificate
            .user_ids()
            .iter()
            .any(|user_id| query.matches_user_id(user_id))
            || self
                .certificate
                .components()
                .iter()
                .any(|part| query.matches_fingerprint(&part.fingerprint))
    }

    pub fn info(&self, roles: BTreeSet<Role>, now: Timestamp) -> KeyInfo {
        let primary = self.certificate.primary();
        let signing: Vec<_> = self.signing_secrets().collect();
        KeyInfo {
            fingerprint: primary.fingerprint,
            key_id: primary.fingerprint.key_id(),
            user_ids: self.certificate.user_ids().to_vec(),
            algorithm: primary.algorithm.clone(),
            created: moment(primary.created),
            expires: primary.expires.map(moment),
            expired: primary.expired_at(now).is_some(),
            revoked: primary.revoked.is_some(),
            has_secret: signing.iter().any(|(_, part)| !part.is_stub()),
            kept_by_gnupg: !signing.is_empty() && signing.iter().all(|(_, part)| part.is_stub()),
            protected: signing.iter().any(|(_, part)| part.is_protected()),
            location: Location::Store,
            roles,
            host: None,
            may: Duties::default(),
            groups: Groups::any(),
        }
    }

    fn signing_secrets(&self) -> impl Iterator<Item = (&Component, &SecretPart)> {
        self.certificate
            .components()
            .iter()
            .filter(|component| component.may_sign)
            .filter_map(|component| {
                let part = self
                    .secrets
                    .iter()
                    .find(|part| part.fingerprint() == Some(component.fingerprint))?;
                Some((component, part))
            })
    }

    /// The key to sign with now. As gpg does, the newest valid subkey that may sign goes before the primary key; but
    /// for packages the primary key goes first, since debsig-verify does not know subkeys. A stub, whose secret is with
    /// GnuPG, is the last choice.
    pub fn signing_part(&self, role: Role, now: Timestamp) -> Result<(&Component, &SecretPart), UnusableKey> {
        let key = self.certificate.label();
        let fingerprint = self.fingerprint();
        if self.secrets.is_empty() {
            return Err(UnusableKey::PublicOnly { key });
        }
        check_validity(self.certificate.primary(), &key, fingerprint, now)?;
        let mut refusal = UnusableKey::NotForSigning { key: key.clone() };
        let mut usable = Vec::new();
        for (component, part) in self.signing_secrets() {
            if let Err(why) = check_validity(component, &key, fingerprint, now) {
                refusal = why;
            } else {
                usable.push((component, part));
            }
        }
        let rank =
            |(component, part): &(&Component, &SecretPart)| (!part.is_stub(), preference(component, fingerprint, role));
        usable.into_iter().max_by_key(rank).ok_or(refusal)
    }

    /// The parts that may sign now, in the order in which [`StoredKey::signing_part`] prefers them, whoever has their secrets.
    pub fn signing_components(&self, role: Role, now: Timestamp) -> Result<Vec<&Component>, UnusableKey> {
        let (key, fingerprint) = (self.certificate.label(), self.fingerprint());
        check_validity(self.certificate.primary(), &key, fingerprint, now)?;
        let mut refusal = UnusableKey::NotForSigning { key: key.clone() };
        let mut usable = Vec::new();
        for component in self
            .certificate
            .components()
            .iter()
            .filter(|component| component.may_sign)
        {
            match check_validity(component, &key, fingerprint, now) {
                Ok(()) => usable.push(component),
                Err(why) => refusal = why,
            }
        }
        usable.sort_by_key(|component| std::cmp::Reverse(preference(component, fingerprint, role)));
        if usable.is_empty() { Err(refusal) } else { Ok(usable) }
    }
}

/// As gpg, the newest subkey before the primary key; for packages the primary key first. The greatest is the best.
fn preference(component: &Component, primary: Fingerprint, role: Role) -> (bool, Timestamp) {
    let primary_first = role == Role::Packages;
    ((component.fingerprint == primary) == primary_first, component.created)
}

/// Neither revoked nor expired.
pub(super) fn check_validity(
    component: &Component,
    key: &str,
    fingerprint: Fingerprint,
    now: Timestamp,
) -> Result<(), UnusableKey> {
    if let Some(at) = component.revoked {
        return Err(UnusableKey::Revoked {
            key: key.to_owned(),
            at: moment(at),
        });
    }
    match component.expired_at(now) {
        Some(at) => Err(UnusableKey::Expired {
            key: key.to_owned(),
            fingerprint,
            at: moment(at),
        }),
        None => Ok(()),
    }
}

/// The armoured blocks in the data, or all of it if it is binary.
fn blocks(data: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP ";
    if data.first().is_some_and(|first| first & 0x80 != 0) {
        return vec![data];
    }
    let at_line_start = |at: usize| at == 0 || data.get(at - 1) == Some(&b'\n');
    let starts: Vec<usize> = data
        .windows(BEGIN.len())
        .enumerate()
        .filter_map(|(at, window)| (window == BEGIN && at_line_start(at)).then_some(at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| data.get(*start..end))
        .collect()
}

/// The union of two copies of one certificate.
fn merge_public(old: &SignedPublicKey, new: &SignedPublicKey) -> SignedPublicKey {
    let mut merged = old.clone();
    add_new(
        &mut merged.details.revocation_signatures,
        &new.details.revocation_signatures,
    );
    add_new(&mut merged.details.direct_signatures, &new.details.direct_signatures);
    for user in &new.details.users {
        match merged.details.users.iter_mut().find(|known| known.id == user.id) {
            Some(known) => add_new(&mut known.signatures, &user.signatures),
            None => merged.details.users.push(user.clone()),
        }
    }
    for subkey in &new.public_subkeys {
        let SignedPublicSubKey { key, signatures } = subkey;
        match merged
            .public_subkeys
            .iter_mut()
            .find(|known| known.key.fingerprint() == key.fingerprint())
        {
            Some(known) => add_new(&mut known.signatures, signatures),
            None => merged.public_subkeys.push(subkey.clone()),
        }
    }
    merged
}

fn add_new(known: &mut Vec<Signature>, signatures: &[Signature]) {
    for signature in signatures {
        if !known.contains(signature) {
            known.push(signature.clone());
        }
    }
}
