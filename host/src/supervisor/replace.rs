//! What is in force for a loaded bot, and a new component in its place.

use super::admission::is_bot_name;
use super::error::LoadFailure;
use super::host::Host;
use super::spec::{BotSpec, BotStatus, InForce};

impl Host {
    /// A bot's rights and limits.
    ///
    /// # Errors
    /// [`LoadFailure::NoSuchBot`].
    pub fn in_force(&self, name: &str) -> Result<InForce, LoadFailure> {
        let in_force = self.inner.bots.of(name, |bot| bot.in_force().clone());
        in_force.ok_or_else(|| LoadFailure::NoSuchBot(name.to_owned()))
    }

    /// Load a bot in the place of the one that has its name, or load it if there is none. All that can fail is done
    /// while the old one still works: it is stopped only when its successor is ready to start. Messages in its hands are
    /// finished, as far as they are in time; the others go back to the broker, which brings them again.
    ///
    /// # Errors
    /// [`LoadFailure`]; the old one goes on then.
    pub async fn replace(&self, spec: BotSpec) -> Result<BotStatus, LoadFailure> {
        let name = match &spec.name {
            Some(name) => name.clone(),
            None => self.inspect(&spec.source).await?.1.name,
        };
        if !is_bot_name(&name) {
            return Err(LoadFailure::BadName(name));
        }
        let host = self.clone();
        // Between the old one's end and the new one's start the name has no bot: whoever asks for this may go away then.
        let replaced = tokio::spawn(async move {
            let turn = host.inner.bots.turn(&name).await;
            host.fill(&turn, &spec.named(&name)).await
        });
        replaced.await.unwrap_or(Err(LoadFailure::Stopping))
    }
}
