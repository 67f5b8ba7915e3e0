//! `state`: the bot's own key-value state, in the host's ledger.
//!
//! What a message saw of it is compared when the message is settled. If another message has changed it meanwhile, this one is handled
//! again: so `get`, add one, `set` counts right, however many instances of a bot there are.

use crate::ledger::LONGEST_KEY;
use crate::runtime::{Invocation, MAX_HELD, Seen, Sight, TooMuch, wit};

use wit::state::Error;

impl wit::state::Host for Invocation {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        if let Some(written) = self.effects.written(&key) {
            return Ok(Ok(written.clone()));
        }
        let read = self.bot.services.ledger.state(&self.bot.name, &key).await;
        let value = match read {
            Ok(value) => value,
            Err(e) => return Ok(Err(Error::Unavailable(e.to_string()))),
        };
        let bytes = value.as_ref().map_or(0, Vec::len);
        let noted = self
            .effects
            .saw(Sight::Value(key), bytes, || Seen::value(value.as_deref()));
        Ok(noted
            .map(|()| value)
            .map_err(|too_much| Error::Unavailable(too_much.to_string())))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Ok(Err(Error::BadKey));
        }
        let limit = self.bot.state_limit;
        let kept = match self.bot.services.ledger.state_size(&self.bot.name).await {
            Ok(size) => size,
            Err(e) => return Ok(Err(Error::Unavailable(e.to_string()))),
        };
        let pending: usize = self
            .effects
            .writes()
            .map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len))
            .sum();
        // An upper bound: values that are about to be replaced count twice until the message is done.
        if kept + (pending + key.len() + value.len()) as u64 > limit {
            return Ok(Err(Error::TooLarge(limit)));
        }
        Ok(self.effects.write(key, Some(value)).map_err(Error::from))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Ok(Err(Error::BadKey));
        }
        Ok(self.effects.write(key, None).map_err(Error::from))
    }

    async fn keys(&mut self, prefix: String) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let mut keys = match self.bot.services.ledger.state_keys(&self.bot.name, &prefix).await {
            Ok(keys) => keys,
            Err(e) => return Ok(Err(Error::Unavailable(e.to_string()))),
        };
        let bytes = keys.iter().map(|key| key.len() + 64).sum();
        let noted = self
            .effects
            .saw(Sight::Keys(prefix.clone()), bytes, || Seen::keys(&keys));
        if let Err(too_much) = noted {
            return Ok(Err(Error::Unavailable(too_much.to_string())));
        }
        for (key, value) in self.effects.writes() {
            keys.retain(|k| k != key);
            if value.is_some() && key.starts_with(&prefix) {
                keys.push(key.clone());
            }
        }
        keys.sort_unstable();
        Ok(Ok(keys))
    }
}

impl From<TooMuch> for Error {
    fn from(_: TooMuch) -> Self {
        Self::TooLarge(MAX_HELD as u64)
    }
}
