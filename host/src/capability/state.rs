//! `state`: the bot's own key-value state, in the host's ledger.

use crate::runtime::{Invocation, wit};

use wit::state::Error;

const MAX_KEY: usize = 1024;

impl wit::state::Host for Invocation {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        if let Some(written) = self.effects.writes.get(&key) {
            return Ok(Ok(written.clone()));
        }
        let read = self.bot.services.ledger.state(&self.bot.name, &key).await;
        Ok(read.map_err(|e| Error::Unavailable(e.to_string())))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Ok(Err(Error::BadKey));
        }
        let limit = self.bot.state_limit;
        let kept = match self.bot.services.ledger.state_size(&self.bot.name).await {
            Ok(size) => size,
            Err(e) => return Ok(Err(Error::Unavailable(e.to_string()))),
        };
        let pending: usize = self
            .effects
            .writes
            .iter()
            .map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len))
            .sum();
        // An upper bound: values that are about to be replaced count twice until the message is done.
        if kept + (pending + key.len() + value.len()) as u64 > limit {
            return Ok(Err(Error::TooLarge(limit)));
        }
        self.effects.writes.insert(key, Some(value));
        Ok(Ok(()))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        self.effects.writes.insert(key, None);
        Ok(Ok(()))
    }

    async fn keys(&mut self, prefix: String) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let mut keys = match self.bot.services.ledger.state_keys(&self.bot.name, &prefix).await {
            Ok(keys) => keys,
            Err(e) => return Ok(Err(Error::Unavailable(e.to_string()))),
        };
        for (key, value) in &self.effects.writes {
            keys.retain(|k| k != key);
            if value.is_some() && key.starts_with(&prefix) {
                keys.push(key.clone());
            }
        }
        keys.sort_unstable();
        Ok(Ok(keys))
    }
}
