//! A mail of a bot: checked before anything is sent, then written as RFC 5322 has it.

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};

use super::{MailError, MailPattern};

/// Largest text of a mail, in bytes.
pub(super) const MAX_TEXT: usize = 256 * 1024;

/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 400;

/// Most recipients of one mail.
const MAX_RECIPIENTS: usize = 50;

/// Characters besides letters and digits that stand before an `@` without quotes (RFC 5322, atext and the dot).
const ATEXT: &str = "!#$%&'*+-/=?^_`{|}~.";

/// A mail that a bot wants sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Addresses of the recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// What tells this mail from others; the same for each attempt at it.
    pub id: String,
}

impl Letter {
    /// Bytes of what the bot says in it, to all of its recipients.
    #[must_use]
    pub fn size(&self) -> usize {
        let to = self.to.iter().map(String::len).sum::<usize>();
        to.saturating_add(self.subject.len()).saturating_add(self.text.len())
    }

    /// Check everything that needs no server. Returns the recipients.
    ///
    /// # Errors
    /// [`MailError`].
    pub fn check(&self, granted: &[MailPattern]) -> Result<Vec<Address>, MailError> {
        let bad = |why: String| Err(MailError::BadRequest(why));
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return bad(format!(
                "a mail has 1 to {MAX_RECIPIENTS} recipients, not {}",
                self.to.len()
            ));
        }
        // A line break would begin another header field.
        if self.subject.chars().any(char::is_control) || self.subject.len() > MAX_SUBJECT {
            return bad(format!(
                "a subject is one line of at most {MAX_SUBJECT} bytes, without control characters"
            ));
        }
        if self.text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c)) {
            return bad("a mail's text has no control characters".to_owned());
        }
        if self.text.len() > MAX_TEXT {
            return Err(MailError::TooLarge);
        }
        self.to.iter().map(|address| recipient(address, granted)).collect()
    }

    /// The mail as it is sent.
    pub(super) fn compose(&self, from: &Mailbox, recipients: &[Address]) -> Result<Vec<u8>, lettre::error::Error> {
        let mut mail = Message::builder()
            .from(from.clone())
            .subject(&self.subject)
            .message_id(Some(message_id(&self.id, from.email.domain())))
            // So that nobody's holiday notice answers it (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN);
        for address in recipients {
            mail = mail.to(Mailbox::new(None, address.clone()));
        }
        Ok(mail.body(self.text.clone())?.formatted())
    }
}

/// The `Message-ID` of a mail, by which mail systems know that they have it already.
pub(super) fn message_id(id: &str, domain: &str) -> String {
    format!("<{id}@{domain}>")
}

/// An address that is granted. Only plain ones are taken: what would need quotes, comments or SMTPUTF8 is none.
fn recipient(text: &str, granted: &[MailPattern]) -> Result<Address, MailError> {
    let bad = || MailError::BadRequest(format!("{text:?} is not an address, such as jo@example.org"));
    let (user, _) = text.split_once('@').ok_or_else(bad)?;
    if !text.is_ascii() || !user.chars().all(|c| c.is_ascii_alphanumeric() || ATEXT.contains(c)) {
        return Err(bad());
    }
    let address: Address = text.parse().map_err(|_| bad())?;
    if granted.iter().any(|pattern| pattern.allows(&address)) {
        Ok(address)
    } else {
        Err(MailError::NotGranted(text.to_owned()))
    }
}
