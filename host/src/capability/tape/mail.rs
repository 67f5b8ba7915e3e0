//! What a bot sends by mail.

use serde::{Deserialize, Serialize};

use super::world::{Exchange, Reel, World};

/// A mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail;

/// What is sent, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailAsked {
    /// Recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Text.
    pub text: String,
}

/// Why a mail was not sent: the contract's `mail.error`. What isn't granted or malformed never gets as far as here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailFailure {
    /// The bot has sent its share; seconds until it may send another.
    TooMany(u32),
    /// The server refuses an address: the address, and what it said.
    RefusedAddress(String, String),
    /// The server refuses the mail.
    Refused(String),
    /// The server refuses it for now.
    TryLater(String),
    /// No server, or it can't be reached.
    Unavailable(String),
}

impl Reel for Mail {
    const WHAT: &'static str = "mail";
    type Asked = MailAsked;
    /// What the server said when it took the mail.
    type Answer = String;
    type Error = MailFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.mails
    }
}
