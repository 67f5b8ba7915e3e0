//! Signing with a secret that gpg-agent keeps: on disk, or on a smartcard.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::types::{
    KeyDetails, KeyId, KeyVersion, Mpi, Password, PublicParams, SignatureBytes, SigningKey, Timestamp, VerifyingKey,
};
use zeroize::Zeroizing;

use super::super::info::KeyInfo;
use super::super::passphrase::{PassphraseError, PassphraseSource};
use super::assuan::{AssuanError, Connection, LONGEST, Refusal, word_of_at_most};
use super::error::GnupgError;
use super::listing::Keygrip;
use super::ring::Ring;
use super::sexp::signature_numbers;
use super::socket::ANSWER;

/// How long a signature may take: somebody may have to find the card and type its PIN.
const SIGNATURE: Duration = Duration::from_secs(120);

/// Reasons of refusals, as in gpg-error.h.
mod reason {
    pub const BAD_PASSPHRASE: u32 = 11;
    pub const NO_SECRET_KEY: u32 = 17;
    pub const NOT_FOUND: u32 = 27;
    pub const TIMEOUT: u32 = 62;
    pub const NO_PINENTRY: u32 = 85;
    pub const BAD_PIN: u32 = 87;
    pub const CANCELED: u32 = 99;
    pub const NO_CARD_DAEMON: u32 = 119;
    pub const PIN_BLOCKED: u32 = 130;
    pub const NO_PASSPHRASE: u32 = 177;
    pub const FULLY_CANCELED: u32 = 198;
    pub const FORBIDDEN: u32 = 251;
}

/// The number of the program pinentry in refusals.
const PINENTRY: u32 = 5;

/// A key whose secret the agent has.
pub(in super::super) struct AgentKey {
    ring: Arc<Ring>,
    grip: Keygrip,
    /// The public half.
    public: Box<dyn VerifyingKey + Send + Sync>,
    /// Whose it is.
    info: KeyInfo,
    passphrases: PassphraseSource,
}

/// Where the agent has a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Disk,
    /// With the card's number.
    Card(String),
    /// The agent does not say: one that is forwarded from another machine.
    Somewhere,
}

/// What came of asking a file for the passphrase.
#[derive(Debug, Default)]
enum FromFile {
    /// None was asked, or none has it.
    #[default]
    Nothing,
    Given {
        origin: String,
    },
    Unreadable(PassphraseError),
}

impl Ring {
    /// Whether the agent has a secret. Asks for no passphrase and no card.
    ///
    /// # Errors
    /// [`GnupgError`] if there is no agent.
    pub fn has_secret(&self, grip: &Keygrip) -> Result<bool, GnupgError> {
        let (_, place) = self.talk(|connection| place(connection, grip))?;
        let place = place.map_err(|error| self.broken(&error, ANSWER))?;
        Ok(place.is_some())
    }
}

impl AgentKey {
    /// The key, if the agent has its secret. Asks for no passphrase and no card.
    ///
    /// # Errors
    /// [`GnupgError`] if there is no agent.
    pub fn find(
        ring: &Arc<Ring>,
        grip: &Keygrip,
        public: Box<dyn VerifyingKey + Send + Sync>,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
    ) -> Result<Option<Self>, GnupgError> {
        Ok(ring.has_secret(grip)?.then(|| Self {
            ring: Arc::clone(ring),
            grip: grip.clone(),
            public,
            info: info.clone(),
            passphrases: passphrases.clone(),
        }))
    }

    fn numbers(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<SignatureBytes, GnupgError> {
        let from_file = RefCell::default();
        let exchange = |connection: &mut Connection| self.exchange(connection, hash, digest, &from_file);
        let (mut connection, signed) = self.ring.talk(exchange)?;
        let value = match signed {
            Ok(value) => value,
            Err(AssuanError::Refused(refusal)) => {
                return Err(self.explain(&mut connection, refusal, from_file.into_inner()));
            }
            Err(error) => return Err(self.ring.broken(&error, SIGNATURE)),
        };
        let numbers = signature_numbers(&value).ok_or(GnupgError::Answer {
            reason: "it is not a signature",
        })?;
        let signature = SignatureBytes::Mpis(numbers.into_iter().map(Mpi::from_slice).collect());
        // A secret that does not belong to its public key (a doctored ring), or a card with a fault.
        self.public
            .verify(hash, digest, &signature)
            .map_err(|_| GnupgError::Answer {
                reason: "the signature does not fit the public key, or that is none of RSA, Ed25519 and ECDSA on NIST's curves",
            })?;
        Ok(signature)
    }

    /// As gpg does it, in the same order.
    fn exchange(
        &self,
        connection: &mut Connection,
        hash: HashAlgorithm,
        digest: &[u8],
        from_file: &RefCell<FromFile>,
    ) -> Result<Vec<u8>, AssuanError> {
        for option in prompt_options() {
            // A forwarded agent forbids some, and asks where it runs.
            refusal_is_fine(connection.command(&format!("OPTION {option}")))?;
        }
        // A card is blocked after three wrong PINs, which a file would give it in three attempts; and an agent that does not
        // say where the secret is may have it on one.
        let on_disk = place(connection, &self.grip)? == Some(Place::Disk);
        // An agent that does not allow it asks by its own means, and is answered nothing should it inquire all the same.
        let may_answer = on_disk
            && self.passphrases.has_file(&self.info)
            && is_allowed(connection.command("OPTION pinentry-mode=loopback"))?;
        connection.command(&format!("SIGKEY {}", self.grip.as_str()))?;
        let description = format!("Foundry signs with the OpenPGP key\n{}", self.info);
        let command = "SETKEYDESC ";
        // The fingerprint goes first; what is left out is the end of a long user id.
        let description = word_of_at_most(&description, LONGEST - command.len());
        connection.command(&format!("{command}{description}"))?;
        let name = hash.to_string().to_lowercase();
        connection.command(&format!("SETHASH --hash={name} {}", hex::encode_upper(digest)))?;
        connection.allow(SIGNATURE);
        let mut inquiry = |what: &str| {
            if !may_answer || !what.starts_with("PASSPHRASE") {
                return None;
            }
            // Read no sooner: a key that needs no passphrase signs without the file.
            let (answer, outcome) = match self.passphrases.without_prompt(&self.info) {
                Ok(Some((passphrase, origin))) => {
                    let bytes = Zeroizing::new(passphrase.expose().as_bytes().to_vec());
                    (Some(bytes), FromFile::Given { origin })
                }
                Ok(None) => (None, FromFile::Nothing),
                Err(error) => (None, FromFile::Unreadable(error)),
            };
            from_file.replace(outcome);
            answer
        };
        let answer = connection.command_answering("PKSIGN", &mut inquiry)?;
        Ok(answer.data)
    }

    /// What the agent's refusal means, and what helps.
    fn explain(&self, connection: &mut Connection, refusal: Refusal, from_file: FromFile) -> GnupgError {
        connection.allow(ANSWER);
        let key = self.info.to_string();
        let origin = match from_file {
            FromFile::Unreadable(source) => {
                return GnupgError::PassphraseFile {
                    key,
                    fingerprint: self.info.fingerprint,
                    source: Box::new(source),
                };
            }
            FromFile::Given { origin } => origin,
            FromFile::Nothing => "the prompt".to_owned(),
        };
        if let Ok(Some(Place::Card(serial))) = place(connection, &self.grip) {
            return self.explain_card(connection, refusal, serial);
        }
        match refusal.reason() {
            reason::NO_SECRET_KEY | reason::NOT_FOUND => GnupgError::PublicOnly {
                key,
                home: self.ring.home(),
            },
            reason::BAD_PASSPHRASE => GnupgError::WrongPassphrase {
                key,
                fingerprint: self.info.fingerprint,
                origin,
            },
            _ if is_of_prompt(&refusal) => self.needs_passphrase(refusal.text),
            _ => GnupgError::Refused {
                key,
                fingerprint: self.info.fingerprint,
                reason: refusal.text,
            },
        }
    }

    fn explain_card(&self, connection: &mut Connection, refusal: Refusal, serial: String) -> GnupgError {
        let key = self.info.to_string();
        match refusal.reason() {
            reason::NO_CARD_DAEMON => return GnupgError::NoCardDaemon { key, serial },
            reason::BAD_PIN | reason::PIN_BLOCKED => {
                let reason = refusal.text;
                return GnupgError::Card { key, serial, reason };
            }
            _ => {}
        }
        // The agent asks for the card at a prompt, and what it says of that prompt says nothing of the card.
        match connection.command("SCD SERIALNO") {
            Ok(answer) if answer.status.iter().any(|line| line.contains(&serial)) && is_of_prompt(&refusal) => {
                GnupgError::Pin {
                    key: key.into(),
                    fingerprint: self.info.fingerprint,
                    serial: serial.into(),
                    reason: refusal.text.into(),
                }
            }
            Ok(answer) if answer.status.iter().any(|line| line.contains(&serial)) => GnupgError::Card {
                key,
                serial,
                reason: refusal.text,
            },
            Ok(_) => GnupgError::CardMissing {
                key,
                serial,
                reason: "another card is".to_owned(),
            },
            Err(AssuanError::Refused(said)) => GnupgError::CardMissing {
                key,
                serial,
                reason: said.text,
            },
            Err(error) => self.ring.broken(&error, ANSWER),
        }
    }

    fn needs_passphrase(&self, reason: String) -> GnupgError {
        GnupgError::Passphrase {
            key: self.info.to_string(),
            fingerprint: self.info.fingerprint,
            reason,
        }
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentKey")
            .field("key", &self.info.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Nobody has answered the agent's question, or could be asked.
fn is_of_prompt(refusal: &Refusal) -> bool {
    let reasons = [
        reason::NO_PINENTRY,
        reason::TIMEOUT,
        reason::CANCELED,
        reason::FULLY_CANCELED,
        reason::NO_PASSPHRASE,
    ];
    refusal.source() == PINENTRY || reasons.contains(&refusal.reason())
}

/// Where the agent has the secret, if anywhere.
fn place(connection: &mut Connection, grip: &Keygrip) -> Result<Option<Place>, AssuanError> {
    let answer = match connection.command(&format!("KEYINFO {}", grip.as_str())) {
        Err(AssuanError::Refused(refusal)) => match refusal.reason() {
            reason::NOT_FOUND | reason::NO_SECRET_KEY => return Ok(None),
            reason::FORBIDDEN => return has_key(connection, grip),
            _ => return Err(AssuanError::Refused(refusal)),
        },
        answer => answer?,
    };
    // KEYINFO GRIP TYPE SERIAL IDSTR …
    let words = answer.status.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(words
        .filter(|words| words.get(1) == Some(&grip.as_str()))
        .find_map(|words| match (words.get(2)?, words.get(3)) {
            (&"T", Some(serial)) => Some(Place::Card((*serial).to_owned())),
            (&"D", _) => Some(Place::Disk),
            _ => None,
        }))
}

/// What an agent tells everybody: whether it has the secret.
fn has_key(connection: &mut Connection, grip: &Keygrip) -> Result<Option<Place>, AssuanError> {
    match connection.command(&format!("HAVEKEY {}", grip.as_str())) {
        Err(AssuanError::Refused(refusal)) if refusal.reason() == reason::NO_SECRET_KEY => Ok(None),
        answer => answer.map(|_| Some(Place::Somewhere)),
    }
}

/// What a prompt needs to appear where the host's user sees it: what gpg itself passes on.
fn prompt_options() -> Vec<String> {
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty() && !value.contains(['\n', '\r']))
    };
    let terminal = || {
        use std::io::IsTerminal as _;
        let terminal = io::stdin()
            .is_terminal()
            .then(|| std::fs::read_link("/proc/self/fd/0").ok())??;
        terminal.to_str().map(ToOwned::to_owned)
    };
    let options = [
        ("ttyname", variable("GPG_TTY").or_else(terminal)),
        ("ttytype", variable("TERM")),
        ("display", variable("DISPLAY")),
        ("putenv=WAYLAND_DISPLAY", variable("WAYLAND_DISPLAY")),
        ("putenv=XDG_SESSION_TYPE", variable("XDG_SESSION_TYPE")),
        ("putenv=DBUS_SESSION_BUS_ADDRESS", variable("DBUS_SESSION_BUS_ADDRESS")),
        ("putenv=PINENTRY_USER_DATA", variable("PINENTRY_USER_DATA")),
        ("xauthority", variable("XAUTHORITY")),
        (
            "lc-ctype",
            variable("LC_ALL")
                .or_else(|| variable("LC_CTYPE"))
                .or_else(|| variable("LANG")),
        ),
    ];
    options
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
        .collect()
}

fn refusal_is_fine<T>(answer: Result<T, AssuanError>) -> Result<(), AssuanError> {
    is_allowed(answer).map(drop)
}

fn is_allowed<T>(answer: Result<T, AssuanError>) -> Result<bool, AssuanError> {
    match answer {
        Ok(_) => Ok(true),
        Err(AssuanError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// So that crate pgp makes the same packets around the agent's numbers as around those of a key in memory.
impl SigningKey for AgentKey {
    fn sign(&self, _: &Password, hash: HashAlgorithm, digest: &[u8]) -> pgp::errors::Result<SignatureBytes> {
        // The backend takes the reason out again.
        self.numbers(hash, digest).map_err(|why| io::Error::other(why).into())
    }

    fn hash_alg(&self) -> HashAlgorithm {
        self.public_params().hash_alg()
    }
}

impl KeyDetails for AgentKey {
    fn version(&self) -> KeyVersion {
        self.public.version()
    }

    fn legacy_key_id(&self) -> KeyId {
        self.public.legacy_key_id()
    }

    fn fingerprint(&self) -> pgp::types::Fingerprint {
        self.public.fingerprint()
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        self.public.algorithm()
    }

    fn created_at(&self) -> Timestamp {
        self.public.created_at()
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.public.legacy_v3_expiration_days()
    }

    fn public_params(&self) -> &PublicParams {
        self.public.public_params()
    }
}
