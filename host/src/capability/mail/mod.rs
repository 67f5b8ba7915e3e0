//! `mail`: e-mail that the host sends for bots, to the addresses that the operator grants, through the operator's server.

mod allowance;
mod binding;
mod letter;
mod pattern;
mod server;
mod settings;
mod smtp;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use allowance::Allowance;
pub use letter::Letter;
pub use pattern::{BadMailPattern, MailPattern};
pub use server::{BadServer, Encryption, MailServer};
pub use settings::{Login, MailSettings, MailSetupError, Password};

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// An address isn't granted.
    #[error("{0}")]
    NotGranted(String),
    /// Malformed.
    #[error("{0}")]
    BadRequest(String),
    /// Too large.
    #[error("larger than {} bytes", letter::MAX_TEXT)]
    TooLarge,
    /// The bot has sent its share.
    #[error("too many mails: the next one may go in {0} s")]
    TooMany(u32),
    /// The server refuses an address for good.
    #[error("{address}: {said}")]
    RefusedAddress {
        /// The address.
        address: String,
        /// What the server said.
        said: String,
    },
    /// The server refuses the mail for good.
    #[error("{0}")]
    Refused(String),
    /// The server refuses it for now.
    #[error("{0}")]
    TryLater(String),
    /// There is no server, it can't be reached, or it doesn't let the host in.
    #[error("{0}")]
    Unavailable(String),
}

/// Sends mail for the bots of a host.
pub struct Mail {
    sender: Option<smtp::Sender>,
    hourly: u32,
    /// What each bot may still send.
    allowances: Mutex<BTreeMap<String, Allowance>>,
}

impl Mail {
    /// Through the server that the operator names; without one, every mail fails.
    ///
    /// # Errors
    /// [`MailSetupError`].
    pub fn new(settings: Option<&MailSettings>) -> Result<Self, MailSetupError> {
        Ok(Self {
            sender: settings.map(smtp::Sender::new).transpose()?,
            hourly: settings.map_or(0, |settings| settings.hourly),
            allowances: Mutex::default(),
        })
    }

    /// Send a mail of a bot to addresses that the patterns allow. Returns what the server said. Blocks.
    ///
    /// All of the recipients get it, or none does. If the connection breaks after the server has taken the mail, the mail
    /// counts as not sent, and the next attempt sends it again with the same `Message-ID`.
    ///
    /// # Errors
    /// [`MailError`].
    pub fn send(&self, bot: &str, letter: &Letter, granted: &[MailPattern]) -> Result<String, MailError> {
        let recipients = letter.check(granted)?;
        let Some(sender) = &self.sender else {
            let why = "this host sends no mail (its operator names a server under [mail] in foundry.toml)";
            return Err(MailError::Unavailable(why.to_owned()));
        };
        self.take(bot, Instant::now())?;
        sender.send(letter, &recipients)
    }

    /// The `Message-ID` that a mail has.
    #[must_use]
    pub fn message_id(&self, letter: &Letter) -> String {
        let domain = self.sender.as_ref().map_or("localhost", smtp::Sender::domain);
        letter::message_id(&letter.id, domain)
    }

    fn take(&self, bot: &str, now: Instant) -> Result<(), MailError> {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        let allowance = allowances
            .entry(bot.to_owned())
            .or_insert_with(|| Allowance::new(self.hourly, now));
        allowance.take(now).map_err(|wait| {
            let seconds = wait.as_secs().saturating_add(1);
            MailError::TooMany(u32::try_from(seconds).unwrap_or(u32::MAX))
        })
    }
}
