//! Suspicions that another host has this one's name: its sessions are taken over, or its presence is somebody else's.
//!
//! A suspicion is no proof, and ends nothing: it is a reason to ask. A line that breaks gives none, since a connection that is
//! given up is not read any more: the broker tells that one alone, and not the one that follows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use rumqttc::v5::{ConnectionError, StateError};
use tokio::sync::watch;

/// Two take-overs of one session within this time are suspicious. One alone may be an operator's, who tries something.
const WITHIN: Duration = Duration::from_secs(60);

/// The take-overs of a host's sessions. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct TakeOvers {
    last: Arc<Mutex<HashMap<String, Instant>>>,
    /// How many suspicions there have been.
    suspicions: watch::Sender<u64>,
}

impl TakeOvers {
    /// Note why the connection of a client identifier ended. Returns whether it was a take-over.
    pub(super) fn note(&self, client_id: &str, error: &ConnectionError) -> bool {
        let taken_over = is_take_over(error);
        if taken_over && self.is_second(client_id, Instant::now()) {
            tracing::warn!(client_id, "another client takes this session over again and again");
            self.suspect();
        }
        taken_over
    }

    /// Somebody else shows himself under the host's name.
    pub(super) fn suspect(&self) {
        self.suspicions.send_modify(|suspicions| *suspicions += 1);
    }

    /// How many suspicions there have been, as it grows.
    #[must_use]
    pub fn suspicions(&self) -> watch::Receiver<u64> {
        self.suspicions.subscribe()
    }

    fn is_second(&self, client_id: &str, now: Instant) -> bool {
        // Nothing panics while it holds this.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_duration_since(*at) < WITHIN);
        last.insert(client_id.to_owned(), now).is_some()
    }
}

fn is_take_over(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disconnected(reason_code: DisconnectReasonCode) -> ConnectionError {
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string: None,
        })
    }

    #[test]
    fn the_second_take_over_of_a_session_within_a_minute_is_suspicious() {
        let take_overs = TakeOvers::default();
        let now = Instant::now();
        assert!(!take_overs.is_second("a", now));
        assert!(!take_overs.is_second("b", now), "another session");
        assert!(take_overs.is_second("a", now + WITHIN - Duration::from_secs(1)));
        assert!(!take_overs.is_second("a", now + 3 * WITHIN), "a minute later");
        assert_eq!(
            take_overs.last.lock().unwrap().len(),
            1,
            "what is long ago is forgotten"
        );
    }

    #[test]
    fn only_the_brokers_word_for_it_is_a_take_over() {
        let take_overs = TakeOvers::default();
        let suspicions = take_overs.suspicions();
        for _ in 0..5 {
            let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            assert!(!take_overs.note("a", &ConnectionError::Io(broken)));
            assert!(!take_overs.note("a", &disconnected(DisconnectReasonCode::ServerShuttingDown)));
            assert!(!take_overs.note("a", &disconnected(DisconnectReasonCode::KeepAliveTimeout)));
        }
        assert!(!suspicions.has_changed().unwrap());
        for _ in 0..2 {
            assert!(take_overs.note("a", &disconnected(DisconnectReasonCode::SessionTakenOver)));
        }
        assert!(suspicions.has_changed().unwrap());
    }
}
