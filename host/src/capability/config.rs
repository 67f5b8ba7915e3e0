//! `config`: the bot's options.

use crate::runtime::{Invocation, wit};

impl wit::config::Host for Invocation {
    async fn get(&mut self, option: String) -> wasmtime::Result<Vec<String>> {
        Ok(self.bot.options.get(&option).cloned().unwrap_or_default())
    }
}
