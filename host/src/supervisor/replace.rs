//! What is in force for a loaded bot, and a new component in its place.

use super::error::LoadFailure;
use super::host::{Host, Slot};
use super::spec::{BotSpec, BotStatus, InForce};

impl Host {
    /// A bot's rights and limits.
    ///
    /// # Errors
    /// [`LoadFailure::NoSuchBot`].
    pub fn in_force(&self, name: &str) -> Result<InForce, LoadFailure> {
        self.with_bots(|bots| match bots.get(name) {
            Some(Slot::Running(bot)) => Ok(bot.in_force().clone()),
            Some(Slot::Loading) | None => Err(LoadFailure::NoSuchBot(name.to_owned())),
        })
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
        if self.status(&name).is_err() {
            return self.load(spec.named(&name)).await;
        }
        let successor = self.inner.prepare(&spec, &name).await?;
        let old = self.with_bots(|bots| match bots.insert(name.clone(), Slot::Loading) {
            Some(Slot::Running(bot)) => Some(bot),
            // Somebody else replaces or stops it at this moment; the last to come is the one that stays.
            Some(Slot::Loading) | None => None,
        });
        if let Some(old) = old {
            old.stop(self.inner.drain).await;
        }
        self.begin(&name, successor, &spec.source).await
    }
}
