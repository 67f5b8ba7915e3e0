//! The edge to rumqttd's router.
//!
//! The router finds the filters that a topic matches and says so; it never sees a client. There is one link to it
//! for the broker's whole life, since connections that come and go are what makes rumqttd 0.20 panic, and it
//! carries tickets instead of payloads, since its logs keep the last messages of every filter for ever.
//!
//! Topics and filters get a prefix, `n/` or `d/` for those that begin with `$`: rumqttd refuses `$` filters,
//! panics on topics whose first character is longer than a byte, and with a prefix the rule that `#` does not
//! match `$SYS` holds by construction. docs/adr/0006-front-door.md tells the whole story.

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{
    Filter, Packet, PingReq, Publish, QoS, RetainForwardRule, Subscribe, SubscribeProperties, Unsubscribe,
};
use rumqttd::{Notification, Router, RouterConfig};

use super::routes::FilterId;
use crate::topic::{TopicFilter, TopicName};

/// A message's place in the current round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// What the router says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message belongs to this filter.
    Match(FilterId, Ticket),
    /// Everything up to a fence was looked at.
    Fence,
    /// Nothing that matters.
    Other,
}

/// The router's thread has ended.
#[derive(Debug, thiserror::Error)]
#[error("rumqttd's router is gone: {0}")]
pub struct RouterGone(Box<LinkError>);

impl From<LinkError> for RouterGone {
    fn from(error: LinkError) -> Self {
        Self(Box::new(error))
    }
}

/// The link to a running router.
pub struct RouterLink {
    tx: LinkTx,
    rx: LinkRx,
}

impl std::fmt::Debug for RouterLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterLink").finish_non_exhaustive()
    }
}

impl RouterLink {
    /// Starts a router on a thread of its own, and links to it.
    pub fn start() -> Result<Self, RouterGone> {
        let config = RouterConfig {
            max_connections: 2,
            max_outgoing_packet_count: 1024,
            // Tickets are some 40 bytes and a round is bounded, so a log never overruns its reader.
            max_segment_size: 1024 * 1024,
            max_segment_count: 2,
            ..RouterConfig::default()
        };
        let router = Router::new(0, config).spawn();
        let (tx, rx, _) = LinkBuilder::new("foundry-front-door", router).build()?;
        Ok(Self { tx, rx })
    }

    /// Queues a message; it is looked at with the next fence.
    pub fn publish(&mut self, topic: &TopicName, ticket: Ticket) {
        let ticket = Bytes::copy_from_slice(&ticket.0.to_be_bytes());
        let publish = Publish::new(Bytes::from(prefixed(topic.as_str())), ticket, false);
        self.tx.buffer().push_back(Packet::Publish(publish, None));
    }

    /// Queues a subscription.
    pub fn subscribe(&mut self, id: FilterId, filter: &TopicFilter) {
        let filter = Filter {
            path: prefixed(filter.as_str()),
            qos: QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let subscribe = Subscribe {
            pkid: 0,
            filters: vec![filter],
        };
        let properties = SubscribeProperties {
            id: Some(id.0),
            user_properties: Vec::new(),
        };
        self.tx
            .buffer()
            .push_back(Packet::Subscribe(subscribe, Some(properties)));
    }

    /// Queues the end of a subscription.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        let unsubscribe = Unsubscribe {
            pkid: 0,
            filters: vec![prefixed(filter.as_str())],
        };
        self.tx.buffer().push_back(Packet::Unsubscribe(unsubscribe, None));
    }

    /// Sends what is queued, and asks for an [`Answer::Fence`] after it.
    pub async fn fence(&mut self) -> Result<(), RouterGone> {
        self.tx.send(Packet::PingReq(PingReq)).await?;
        Ok(())
    }

    /// The next answer. Cancel safe.
    pub async fn answer(&mut self) -> Result<Answer, RouterGone> {
        use rumqttd::protocol::Packet as Wire;
        let Some(notification) = self.rx.next().await? else {
            return Ok(Answer::Other);
        };
        match notification {
            Notification::Forward(forward) => {
                let id = forward
                    .properties
                    .and_then(|properties| properties.subscription_identifiers.first().copied());
                let ticket = forward.publish.payload.as_ref().try_into().ok().map(u32::from_be_bytes);
                Ok(match (id, ticket) {
                    (Some(id), Some(ticket)) => Answer::Match(FilterId(id), Ticket(ticket)),
                    _ => Answer::Other,
                })
            }
            // The router pauses a link with 200 notifications in its buffer until it is told to go on.
            Notification::Unschedule => {
                self.rx.wake().await?;
                Ok(Answer::Other)
            }
            other => Ok(match Option::<Wire>::from(other) {
                Some(Wire::PingResp(_)) => Answer::Fence,
                _ => Answer::Other,
            }),
        }
    }
}

/// A topic that kills the router, to see what happens then: without its prefix, `é` is cut in two by rumqttd.
#[cfg(test)]
pub(super) const POISON: &str = "poison";

fn prefixed(text: &str) -> String {
    #[cfg(test)]
    if text == POISON {
        return "é".to_owned();
    }
    let prefix = if text.starts_with('$') { "d/" } else { "n/" };
    [prefix, text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn matches_of(link: &mut RouterLink) -> Vec<(usize, u32)> {
        let mut seen = Vec::new();
        for _ in 0..2 {
            link.fence().await.unwrap();
            loop {
                match link.answer().await.unwrap() {
                    Answer::Match(id, ticket) => seen.push((id.0, ticket.0)),
                    Answer::Fence => break,
                    Answer::Other => {}
                }
            }
        }
        seen.sort_unstable();
        seen
    }

    #[tokio::test]
    async fn router_finds_the_filters_of_a_topic() {
        let mut link = RouterLink::start().unwrap();
        for (id, filter) in ["#", "a/+", "a/b", "$SYS/#", "é/#"].iter().enumerate() {
            link.subscribe(FilterId(id + 1), &TopicFilter::new(filter).unwrap());
        }
        for (ticket, topic) in ["a/b", "$SYS/x", "é", "q"].iter().enumerate() {
            link.publish(&TopicName::new(topic).unwrap(), Ticket(ticket as u32));
        }
        let expected = vec![(1, 0), (1, 2), (1, 3), (2, 0), (3, 0), (4, 1), (5, 2)];
        assert_eq!(matches_of(&mut link).await, expected);
    }

    #[tokio::test]
    async fn unsubscribed_filter_matches_no_more_and_can_come_back() {
        let mut link = RouterLink::start().unwrap();
        let filter = TopicFilter::new("a").unwrap();
        let topic = TopicName::new("a").unwrap();
        link.subscribe(FilterId(1), &filter);
        link.publish(&topic, Ticket(0));
        assert_eq!(matches_of(&mut link).await, vec![(1, 0)]);
        link.unsubscribe(&filter);
        link.publish(&topic, Ticket(1));
        assert_eq!(matches_of(&mut link).await, vec![]);
        link.subscribe(FilterId(2), &filter);
        link.publish(&topic, Ticket(2));
        assert_eq!(matches_of(&mut link).await, vec![(2, 2)]);
    }
}
