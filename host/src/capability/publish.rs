//! `publish`: events that take effect with the outcome.

use foundry_broker::killpoint;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::capability::topic_grants::NotAllowed;
use crate::event::{COMMIT, OutgoingEvent, Place, is_type, schema};
use crate::runtime::{Invocation, wit};

use wit::publish::{Error, Event};

/// Bytes that one event's data and subject may have together, as they are sent. Bytes belong into the artifact store.
const MAX_DATA: usize = 256 * 1024;

/// The same of an event that announces a commit. With its envelope it has to stay below
/// [`MAX_ANNOUNCEMENT`](crate::event::MAX_ANNOUNCEMENT).
const MAX_COMMIT_DATA: usize = 24 * 1024;

/// Longest key of an event, in bytes: it is in the envelope.
const MAX_KEY: usize = 1024;

impl wit::publish::Host for Invocation {
    async fn send(&mut self, event: Event) -> wasmtime::Result<Result<String, Error>> {
        let bytes = event.data.len()
            + event.subject.as_ref().map_or(0, String::len)
            + event.key.as_ref().map_or(0, String::len);
        let event = match self.accept(event) {
            Ok(event) => event,
            Err(error) => return Ok(Err(error)),
        };
        let id = event.id.clone();
        killpoint::pass("handle");
        let sent = self.effects.send(event, bytes);
        Ok(sent
            .map(|()| id)
            .map_err(|too_much| Error::Invalid(too_much.to_string())))
    }
}

impl From<NotAllowed> for Error {
    fn from(why: NotAllowed) -> Self {
        Self::NotGranted(why.to_string())
    }
}

impl Invocation {
    fn accept(&self, event: Event) -> Result<OutgoingEvent, Error> {
        let outlets = &self.bot.outlets;
        let topic = outlets.topic(&event.topic)?.to_owned();
        if event.data.len() > MAX_DATA {
            return Err(Error::TooLarge(MAX_DATA as u64));
        }
        if event.key.as_ref().is_some_and(|key| key.len() > MAX_KEY) {
            return Err(Error::Invalid(format!("its key is longer than {MAX_KEY} bytes")));
        }
        let data = match serde_json::from_str(&event.data) {
            Ok(Value::Object(data)) => data,
            Ok(_) => return Err(Error::Invalid("the data is not a JSON object".to_owned())),
            Err(error) => return Err(Error::Invalid(format!("the data is not JSON: {error}"))),
        };
        check_size(&event, &data)?;
        outlets.check(&topic, &event.event_type, &data)?;
        if !is_type(&event.event_type) {
            return Err(Error::Invalid(
                "its type is not made of 1 to 128 letters, digits, dots, hyphens and underscores".to_owned(),
            ));
        }
        schema::check(&event.event_type, &data).map_err(|e| Error::Invalid(e.to_string()))?;
        let place = match event.key {
            Some(key) => Place::Key(key),
            None => Place::Position(u32::try_from(self.effects.events.len()).unwrap_or(u32::MAX)),
        };
        let origin = self
            .origin(place)
            .ok_or_else(|| Error::Invalid("an event of a timer needs a key".to_owned()))?;
        let id = origin.id(&[&event.event_type, &topic]);
        let run = match &self.message {
            Some(message) => message.run.clone(),
            None => id.get(..12).unwrap_or(&id).to_owned(),
        };
        let cause = self.message.as_ref().map(|message| message.id.clone());
        Ok(OutgoingEvent {
            id,
            topic,
            event_type: event.event_type,
            subject: event.subject,
            run,
            cause,
            origin,
            data,
        })
    }
}

/// JSON may grow when it is written anew: `1e15` has 4 bytes, and 18 as it is sent.
fn check_size(event: &Event, data: &Map<String, Value>) -> Result<(), Error> {
    let most = match event.event_type == COMMIT {
        true => MAX_COMMIT_DATA,
        false => MAX_DATA,
    };
    match written(data).saturating_add(written(&event.subject)) > most {
        true => Err(Error::TooLarge(most as u64)),
        false => Ok(()),
    }
}

/// Bytes of a value as JSON.
fn written(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An event of a type whose data is a JSON object.
    fn checked(event_type: &str, subject: Option<String>, data: &Value) -> Result<(), Error> {
        let event = Event {
            topic: String::new(),
            event_type: event_type.to_owned(),
            subject,
            data: data.to_string(),
            key: None,
        };
        check_size(&event, data.as_object().unwrap())
    }

    fn is_too_large(checked: &Result<(), Error>, most: u64) -> bool {
        matches!(checked, Err(Error::TooLarge(found)) if *found == most)
    }

    #[test]
    fn the_size_of_an_event_is_what_it_has_when_it_is_sent() {
        let text = |length: usize| json!({ "t": "x".repeat(length) });
        let (around, most) = (json!({ "t": "" }).to_string().len() + "null".len(), 256 * 1024);
        assert!(checked("test.x.v1", None, &text(most - around)).is_ok());
        assert!(is_too_large(
            &checked("test.x.v1", None, &text(most - around + 1)),
            most as u64
        ));
        let subject = Some("\u{1}".repeat(most / 6 + 1));
        assert!(is_too_large(&checked("test.x.v1", subject, &json!({})), most as u64));
        let numbers: Value = serde_json::from_str(&format!("{{\"n\":[1e15{}]}}", ",1e15".repeat(20_000))).unwrap();
        assert!(is_too_large(&checked("test.x.v1", None, &numbers), most as u64));
    }

    #[test]
    fn an_announcement_may_have_less_than_other_events() {
        let data = json!({ "t": "x".repeat(24 * 1024) });
        assert!(is_too_large(&checked(COMMIT, None, &data), 24 * 1024));
        assert!(checked("foundry.commit.v2", None, &data).is_ok());
        assert!(checked(COMMIT, None, &json!({ "t": "x".repeat(23 * 1024) })).is_ok());
    }
}
