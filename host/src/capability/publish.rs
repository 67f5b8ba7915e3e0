//! `publish`: events that take effect with the outcome.

use foundry_broker::killpoint;

use crate::capability::topic_grants::NotAllowed;
use crate::event::{OutgoingEvent, Place, is_type, schema};
use crate::runtime::{Invocation, wit};

use wit::publish::{Error, Event};

/// Largest data of one event. Bytes belong into the artifact store.
const MAX_DATA: usize = 256 * 1024;

impl wit::publish::Host for Invocation {
    async fn send(&mut self, event: Event) -> wasmtime::Result<Result<String, Error>> {
        let bytes = event.data.len();
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
        let data = match serde_json::from_str(&event.data) {
            Ok(serde_json::Value::Object(data)) => data,
            Ok(_) => return Err(Error::Invalid("the data is not a JSON object".to_owned())),
            Err(error) => return Err(Error::Invalid(format!("the data is not JSON: {error}"))),
        };
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
