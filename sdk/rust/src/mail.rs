//! E-mail, sent by the host through its operator's server, to the addresses that `--allow-mail` grants.
//!
//! A mail goes at once, whatever becomes of the message in hand: if that is handled again, so is the mail, with the same
//! `Message-ID`.

pub use crate::bindings::foundry::bot::mail::{Error, Message, send};

impl Error {
    /// Whether another attempt may do better: the outcome for the message in hand is `retry` then, and `reject` otherwise.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooMany(_) | Self::TryLater(_) | Self::Unavailable(_) => true,
            Self::NotGranted(_)
            | Self::BadRequest(_)
            | Self::TooLarge(_)
            | Self::RefusedAddress(_)
            | Self::Refused(_) => false,
        }
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::NotGranted(address) => format!("not granted: {address}"),
            Self::BadRequest(why) | Self::Unavailable(why) => why.clone(),
            Self::TooLarge(limit) => format!("larger than {limit} bytes"),
            Self::TooMany(seconds) => format!("too many mails: the next one may go in {seconds} s"),
            Self::RefusedAddress((address, said)) => format!("the server refuses {address}: {said}"),
            Self::Refused(said) => format!("the server refuses the mail: {said}"),
            Self::TryLater(said) => format!("the server refuses the mail for now: {said}"),
        }
    }
}
