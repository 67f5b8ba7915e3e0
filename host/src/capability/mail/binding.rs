//! The interface as bots see it.

use std::sync::Arc;

use super::letter::MAX_TEXT;
use super::{Letter, MailError};
use crate::capability::tape::{self, Answer, Exchange, MailFailure};
use crate::event::{Origin, Place};
use crate::runtime::{Invocation, wit};

use wit::mail::{Error, Message};

impl wit::mail::Host for Invocation {
    async fn send(&mut self, message: Message) -> wasmtime::Result<Result<String, Error>> {
        let letter = match self.letter(message) {
            Ok(letter) => letter,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Err(too_much) = self.effects.budget.pass(letter.size()) {
            return Ok(Err(Error::BadRequest(too_much.to_string())));
        }
        let asked = tape::MailAsked {
            to: letter.to.clone(),
            subject: letter.subject.clone(),
            text: letter.text.clone(),
        };
        let bot = Arc::clone(&self.bot);
        let tape = &bot.services.tape;
        if tape.is_playing()
            && let Err(error) = letter.check(&bot.grants.mail)
        {
            return Ok(Err(error.into()));
        }
        let id = bot.services.mail.message_id(&letter);
        if let Some(answer) = tape.play::<tape::Mail>(&asked)? {
            return Ok(match answer {
                Answer::Answer(_) => Ok(id),
                Answer::Error(failure) => Err(MailError::from(failure).into()),
            });
        }
        let asking = Arc::clone(&bot);
        // Has a deadline of its own, so that a bot that is stopped meanwhile leaves no thread behind for long.
        let sent =
            tokio::task::spawn_blocking(move || asking.services.mail.send(&asking.name, &letter, &asking.grants.mail))
                .await?;
        let answer = match &sent {
            Ok(said) => Some(Answer::Answer(said.clone())),
            Err(error) => failure(error).map(Answer::Error),
        };
        if let Some(answer) = answer {
            tape.record::<tape::Mail>(|| Exchange { asked, answer });
        }
        Ok(sent.map(|_| id).map_err(Into::into))
    }
}

impl Invocation {
    /// The mail, with an id that the next attempt at it has again, whichever member of the group makes it.
    fn letter(&mut self, message: Message) -> Result<Letter, MailError> {
        let position = self.mails;
        self.mails = self.mails.saturating_add(1);
        let place = match message.key {
            Some(key) => Place::Key(key),
            None => Place::Position(position),
        };
        let origin = match self.origin(place) {
            // Each bot writes its own mails at its own times: a daily report of two hosts is two mails.
            Some(Origin::StockTimer { key, .. } | Origin::Timer { key, .. }) => Some(Origin::Timer {
                bot: self.bot.source.clone(),
                key,
            }),
            origin => origin,
        };
        let origin = origin.ok_or_else(|| MailError::BadRequest("a mail of a timer needs a key".to_owned()))?;
        Ok(Letter {
            id: origin.id(&["mail"]),
            to: message.to,
            subject: message.subject,
            text: message.text,
        })
    }
}

impl From<MailError> for Error {
    fn from(error: MailError) -> Self {
        match error {
            MailError::NotGranted(address) => Self::NotGranted(address),
            MailError::BadRequest(why) => Self::BadRequest(why),
            MailError::TooLarge => Self::TooLarge(MAX_TEXT as u64),
            MailError::TooMany(seconds) => Self::TooMany(seconds),
            MailError::RefusedAddress { address, said } => Self::RefusedAddress((address, said)),
            MailError::Refused(said) => Self::Refused(said),
            MailError::TryLater(said) => Self::TryLater(said),
            MailError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// A failure that the world outside is to blame for.
fn failure(error: &MailError) -> Option<MailFailure> {
    Some(match error.clone() {
        MailError::NotGranted(_) | MailError::BadRequest(_) | MailError::TooLarge => return None,
        MailError::TooMany(seconds) => MailFailure::TooMany(seconds),
        MailError::RefusedAddress { address, said } => MailFailure::RefusedAddress(address, said),
        MailError::Refused(said) => MailFailure::Refused(said),
        MailError::TryLater(said) => MailFailure::TryLater(said),
        MailError::Unavailable(why) => MailFailure::Unavailable(why),
    })
}

impl From<MailFailure> for MailError {
    fn from(failure: MailFailure) -> Self {
        match failure {
            MailFailure::TooMany(seconds) => Self::TooMany(seconds),
            MailFailure::RefusedAddress(address, said) => Self::RefusedAddress { address, said },
            MailFailure::Refused(said) => Self::Refused(said),
            MailFailure::TryLater(said) => Self::TryLater(said),
            MailFailure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
