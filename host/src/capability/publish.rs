//! `publish`: events that take effect with the outcome.

use foundry_broker::killpoint;

use crate::event::{FAILURES, OutgoingEvent, schema};
use crate::runtime::{Invocation, wit};

use wit::publish::{Error, Event};

/// Largest data of one event. Bytes belong into the artifact store.
const MAX_DATA: usize = 256 * 1024;

impl wit::publish::Host for Invocation {
    async fn send(&mut self, event: Event) -> wasmtime::Result<Result<String, Error>> {
        let event = match self.accept(event) {
            Ok(event) => event,
            Err(error) => return Ok(Err(error)),
        };
        let id = event.id.clone();
        killpoint::pass("handle");
        self.effects.events.push(event);
        Ok(Ok(id))
    }
}

impl Invocation {
    fn accept(&self, event: Event) -> Result<OutgoingEvent, Error> {
        let topic = match self.bot.outputs.get(&event.topic) {
            Some(topic) => topic.clone(),
            None if event.topic == FAILURES => event.topic.clone(),
            None => return Err(Error::NotGranted(event.topic)),
        };
        if event.data.len() > MAX_DATA {
            return Err(Error::TooLarge(MAX_DATA as u64));
        }
        let data = match serde_json::from_str(&event.data) {
            Ok(serde_json::Value::Object(data)) => data,
            Ok(_) => return Err(Error::Invalid("the data is not a JSON object".to_owned())),
            Err(error) => return Err(Error::Invalid(format!("the data is not JSON: {error}"))),
        };
        schema::check(&event.event_type, &data).map_err(|e| Error::Invalid(e.to_string()))?;
        let (work, what) = (self.work(), [event.event_type.as_str(), topic.as_str()]);
        let id = match &event.key {
            Some(key) => work.keyed(&what, key),
            None => work
                .positioned(&what, self.effects.events.len())
                .ok_or_else(|| Error::Invalid("an event of a timer needs a key".to_owned()))?,
        };
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
            data,
        })
    }
}
