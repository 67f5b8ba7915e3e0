//! What keeps bots from taking work.

use std::sync::Arc;

use tokio::sync::watch;

/// Something that keeps bots from taking work, while there is such a thing: a clock that is wrong, a disk that is full. Clones share it.
///
/// A member of groups is not connected meanwhile, so that the broker gives the messages to others. What it has in hand goes on.
#[derive(Debug, Clone)]
pub struct Obstacle {
    found: Arc<watch::Sender<Option<String>>>,
}

impl Default for Obstacle {
    fn default() -> Self {
        Self {
            found: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Obstacle {
    /// Note what it is, or that it is gone. Returns what it was before.
    pub fn set(&self, found: Option<String>) -> Option<String> {
        self.found.send_replace(found)
    }

    /// What it is, for people.
    #[must_use]
    pub fn found(&self) -> Option<String> {
        self.found.borrow().clone()
    }

    /// Wait until it is gone.
    pub async fn gone(&self) {
        // Whoever has a clone can set it, so it has a sender.
        let _ = self.found.subscribe().wait_for(Option::is_none).await;
    }
}

/// The first of several that is there.
pub(super) fn first(obstacles: &[Obstacle]) -> Option<String> {
    obstacles.iter().find_map(Obstacle::found)
}

/// Wait until none of several is there.
pub(super) async fn all_gone(obstacles: &[Obstacle]) {
    while first(obstacles).is_some() {
        for obstacle in obstacles {
            obstacle.gone().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_goes_on_when_the_last_obstacle_is_gone() {
        let obstacles = [Obstacle::default(), Obstacle::default()];
        all_gone(&obstacles).await;
        obstacles[0].set(Some("one".to_owned()));
        obstacles[1].set(Some("two".to_owned()));
        assert_eq!(first(&obstacles).as_deref(), Some("one"));
        let waits = tokio::spawn({
            let obstacles = obstacles.clone();
            async move { all_gone(&obstacles).await }
        });
        obstacles[0].set(None);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(first(&obstacles).as_deref(), Some("two"));
        assert_eq!(obstacles[1].set(None).as_deref(), Some("two"));
        waits.await.unwrap();
    }
}
