//! The task that owns ordinary routing: subscriptions, retained messages, and the link to rumqttd's router.
//!
//! Subscriptions of sessions that outlive their connections are matched here, and their mail goes by way of the
//! [archive](crate::archive); the publisher is acknowledged when it is on disk. The others are rumqttd's:
//!
//! It works in rounds. What waits in the channel is one round: its messages go to the router as tickets, followed
//! by a fence; when the fence is back, the publishers are acknowledged; when a whole fence brought no more matches,
//! the round's messages are let go. A router that dies is started anew, learns all filters again, and the round
//! is repeated; what was delivered in it is not delivered twice.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::handle::{self, Command, HubHandle};
use super::retained::Retained;
use super::router::{Answer, RouterGone, RouterLink, Ticket};
use super::routes::{FilterId, Routes};
use crate::archive::{ArchiveHandle, Change};
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::receipt::Completion;
use crate::session::{Mailbox, Ordinary, Session};
use crate::topic::TopicFilter;
use crate::topic_tree::FilterTree;

/// Commands taken into one round.
const ROUND: usize = 1024;
/// rumqttd keeps an entry for every topic and every filter that it ever saw. Beyond this many the hub matches for
/// itself, so that a client which invents names cannot fill the memory.
const KNOWN_TOPICS: usize = 50_000;
const KNOWN_FILTERS: usize = 5_000;
/// A round that kills the router this often is routed without it.
const DEATHS: u32 = 2;
const TICK: Duration = Duration::from_secs(1);

/// The hub's state.
#[derive(Debug)]
pub struct Hub {
    commands: mpsc::UnboundedReceiver<Command>,
    routes: Routes,
    /// The subscriptions of sessions that outlive their connections; the router does not know them.
    lasting: Routes,
    retained: Retained,
    archive: ArchiveHandle,
    link: Option<RouterLink>,
    hasher: RandomState,
    known_topics: HashSet<u64>,
    known_filters: HashSet<TopicFilter>,
    /// Filters beyond the router's budget.
    unrouted: FilterTree<FilterId>,
    /// The round's messages, by ticket.
    round: Vec<Arc<Message>>,
    /// The last ticket that each filter got, to recognise repetitions.
    delivered: HashMap<FilterId, Ticket>,
    waiting: Vec<Completion>,
    running: bool,
}

impl Hub {
    /// A hub, and how to talk to it.
    pub fn new(retained_bytes: usize, archive: ArchiveHandle) -> (Self, HubHandle) {
        let (handle, commands) = handle::channel();
        let hub = Self {
            commands,
            routes: Routes::default(),
            lasting: Routes::default(),
            retained: Retained::new(retained_bytes),
            archive,
            link: None,
            hasher: RandomState::new(),
            known_topics: HashSet::new(),
            known_filters: HashSet::new(),
            unrouted: FilterTree::default(),
            round: Vec::new(),
            delivered: HashMap::new(),
            waiting: Vec::new(),
            running: true,
        };
        (hub, handle)
    }

    /// Takes up what there was before the broker's start.
    pub fn restore(&mut self, retained: &[Arc<Message>], sessions: &[Session]) {
        for message in retained {
            self.retained.store(message);
        }
        for session in sessions {
            for (filter, options) in &session.subscriptions {
                self.lasting.add(session.id, &session.mailbox, filter, *options);
            }
        }
    }

    /// Routes until it is told to stop.
    pub async fn run(mut self) {
        self.start_router();
        let mut commands = Vec::with_capacity(ROUND);
        let mut tick = tokio::time::interval(TICK);
        while self.running {
            tokio::select! {
                count = self.commands.recv_many(&mut commands, ROUND) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = tick.tick() => {
                    for topic in self.retained.expire(Timestamp::now()) {
                        self.archive.note(Change::Unretain(topic));
                    }
                    if self.link.is_none() {
                        self.start_router();
                    }
                    continue;
                }
            }
            for command in commands.drain(..) {
                self.take_in(command);
            }
            self.finish_round().await;
        }
    }

    fn start_router(&mut self) {
        self.known_topics.clear();
        self.known_filters.clear();
        self.unrouted = FilterTree::default();
        match RouterLink::start() {
            Ok(mut link) => {
                for (id, filter) in self.routes.filters() {
                    if self.known_filters.len() < KNOWN_FILTERS {
                        self.known_filters.insert(filter.clone());
                        link.subscribe(id, filter);
                    } else {
                        self.unrouted.insert(filter, id);
                    }
                }
                self.link = Some(link);
            }
            Err(error) => {
                tracing::error!(%error, "cannot start the router, matching without it");
                self.link = None;
            }
        }
    }

    fn take_in(&mut self, command: Command) {
        match command {
            Command::Publish(message, completion) => {
                if message.retain {
                    self.retain(&message, completion.as_ref());
                }
                if !self.lasting.is_empty() {
                    for (session, mailbox, mail) in self.lasting.deliveries(&message) {
                        let completion = completion.as_ref().map(Completion::another);
                        self.deliver(session, mailbox, mail, completion);
                    }
                }
                self.waiting.extend(completion);
                self.route(message);
            }
            Command::Subscribe(request, done) => {
                let now = Timestamp::now();
                let lasting = request.mailbox.is_lasting();
                for (filter, options, handling) in request.filters {
                    let routes = if lasting { &mut self.lasting } else { &mut self.routes };
                    let added = routes.add(request.session, &request.mailbox, &filter, options);
                    if lasting {
                        let change = Change::Subscribe(request.session, filter.clone(), options);
                        self.archive.note(change);
                    } else if let Some(id) = added.new_filter {
                        self.learn_filter(id, &filter);
                    }
                    if handling == 2 || (handling == 1 && added.replaced) {
                        continue;
                    }
                    for message in self.retained.matching(&filter, now) {
                        let mail = Ordinary {
                            qos: options.qos.min(message.qos),
                            message,
                            retain: true,
                            subscription: options.identifier,
                            kept: None,
                        };
                        self.deliver(request.session, &request.mailbox, mail, None);
                    }
                }
                done.send(()).ok();
            }
            Command::Unsubscribe(session, filters, done) => {
                let existed = filters.iter().map(|filter| self.unsubscribe(session, filter)).collect();
                done.send(existed).ok();
            }
            Command::Forget(session, filters) => {
                for filter in &filters {
                    self.unsubscribe(session, filter);
                }
            }
            Command::ForgetAll(session) => {
                let mut filters = self.routes.filters_of(session);
                filters.extend(self.lasting.filters_of(session));
                for filter in filters {
                    self.unsubscribe(session, &filter);
                }
                self.archive.note(Change::End(session));
                self.archive.note(Change::NoWill(session));
            }
            Command::Note(change) => self.archive.note(change),
            Command::Stop => self.running = false,
        }
    }

    fn retain(&mut self, message: &Arc<Message>, completion: Option<&Completion>) {
        let kept = self.retained.store(message);
        if !kept {
            tracing::warn!(topic = %message.topic, "retained messages are full, not keeping this one");
        }
        let change = match kept && !message.payload.is_empty() {
            true => Change::Retain(Arc::clone(message)),
            false => Change::Unretain(message.topic.clone()),
        };
        match completion {
            Some(completion) => self.archive.write(change, completion.another()),
            None => self.archive.note(change),
        }
    }

    /// Gives a session its mail, by way of the disk if the session lasts and the mail has to arrive.
    fn deliver(&self, session: SessionId, mailbox: &Arc<Mailbox>, mail: Ordinary, completion: Option<Completion>) {
        if mailbox.is_lasting() && mail.qos > QoS::AtMostOnce {
            self.archive.deliver(session, mailbox, mail, completion);
        } else {
            mailbox.put(mail);
            if let Some(completion) = completion {
                completion.done();
            }
        }
    }

    fn unsubscribe(&mut self, session: SessionId, filter: &TopicFilter) -> bool {
        if self.lasting.remove(session, filter).0 {
            self.archive.note(Change::Unsubscribe(session, filter.clone()));
            return true;
        }
        let (existed, unwanted) = self.routes.remove(session, filter);
        if let Some(id) = unwanted {
            self.unrouted.remove(filter, &id);
            if let Some(link) = &mut self.link {
                link.unsubscribe(filter);
            }
        }
        existed
    }

    fn learn_filter(&mut self, id: FilterId, filter: &TopicFilter) {
        let Some(link) = &mut self.link else { return };
        if self.known_filters.contains(filter) || self.known_filters.len() < KNOWN_FILTERS {
            self.known_filters.insert(filter.clone());
            link.subscribe(id, filter);
        } else {
            self.unrouted.insert(filter, id);
        }
    }

    /// Gives a message to the router, or matches it here when the router should not or cannot.
    fn route(&mut self, message: Arc<Message>) {
        let topic = self.hasher.hash_one(&message.topic);
        let known = self.known_topics.contains(&topic) || self.known_topics.len() < KNOWN_TOPICS;
        match &mut self.link {
            Some(link) if known => {
                let ticket = Ticket(u32::try_from(self.round.len()).unwrap_or(u32::MAX));
                for id in self.unrouted.matching(&message.topic) {
                    self.delivered.insert(id, ticket);
                    self.routes.fan_out(id, &message);
                }
                self.known_topics.insert(topic);
                link.publish(&message.topic, ticket);
                self.round.push(message);
            }
            _ => {
                for id in self.routes.matching(&message) {
                    self.routes.fan_out(id, &message);
                }
            }
        }
    }

    /// Sees the round through the router, over its death if need be.
    async fn finish_round(&mut self) {
        let mut deaths = 0;
        while let Some(mut link) = self.link.take() {
            match self.drain(&mut link).await {
                Ok(()) => {
                    self.link = Some(link);
                    break;
                }
                Err(error) => {
                    deaths += 1;
                    tracing::error!(%error, deaths, "starting the router anew");
                    self.start_router();
                    if deaths >= DEATHS {
                        // Something in this round kills it: the round goes without.
                        for (index, message) in self.round.iter().enumerate() {
                            let ticket = Ticket(u32::try_from(index).unwrap_or(u32::MAX));
                            for id in self.routes.matching(message) {
                                if self.delivered.get(&id).is_none_or(|last| *last < ticket) {
                                    self.routes.fan_out(id, message);
                                }
                            }
                        }
                        break;
                    }
                    if let Some(link) = &mut self.link {
                        for (index, message) in self.round.iter().enumerate() {
                            link.publish(&message.topic, Ticket(u32::try_from(index).unwrap_or(u32::MAX)));
                        }
                    }
                }
            }
        }
        for completion in self.waiting.drain(..) {
            completion.done();
        }
        self.round.clear();
        self.delivered.clear();
    }

    async fn drain(&mut self, link: &mut RouterLink) -> Result<(), RouterGone> {
        // The router answers a fence before it sends the matches of what came with it, so the round is over when
        // two fences have nothing between them.
        let mut first = true;
        loop {
            let mut quiet = true;
            link.fence().await?;
            loop {
                match link.answer().await? {
                    Answer::Match(id, ticket) => {
                        quiet = false;
                        let repeated = self.delivered.get(&id).is_some_and(|last| *last >= ticket);
                        if let (false, Some(message)) = (repeated, self.round.get(ticket.0 as usize)) {
                            self.delivered.insert(id, ticket);
                            self.routes.fan_out(id, message);
                        }
                    }
                    Answer::Fence => break,
                    Answer::Other => {}
                }
            }
            if first {
                for completion in self.waiting.drain(..) {
                    completion.done();
                }
            } else if quiet {
                return Ok(());
            }
            first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::ArcPayload;

    use super::super::handle::SubscribeRequest;
    use super::super::router::POISON;
    use super::super::routes::SubscriptionOptions;
    use super::*;
    use crate::archive::Archive;
    use crate::group::MemberId;
    use crate::receipt::receipt;
    use crate::session::{Mail, MailboxLimits};
    use crate::topic::TopicName;

    fn message(topic: &str) -> Arc<Message> {
        Arc::new(Message {
            topic: TopicName::new(topic).unwrap(),
            payload: ArcPayload::default(),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: None,
            properties: Vec::new(),
            publisher: SessionId(1),
        })
    }

    fn mailbox() -> Arc<Mailbox> {
        let mailbox = Mailbox::new(
            MailboxLimits {
                messages: 1000,
                bytes: 1 << 20,
            },
            false,
        );
        mailbox.online(MemberId(1));
        mailbox
    }

    async fn subscribed(hub: &HubHandle, filters: &[&str]) -> Arc<Mailbox> {
        let mailbox = mailbox();
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        let filters = filters
            .iter()
            .map(|filter| (TopicFilter::new(filter).unwrap(), options, 0));
        let filters = filters.collect();
        hub.subscribe(SubscribeRequest {
            session: SessionId(1),
            mailbox: Arc::clone(&mailbox),
            filters,
        })
        .await;
        mailbox
    }

    async fn publish_all(hub: &HubHandle, topics: &[&str]) {
        let wakes = mailbox();
        let receipts: Vec<_> = topics
            .iter()
            .map(|topic| {
                let (receipt, completion) = receipt(&wakes);
                hub.publish(message(topic), Some(completion));
                receipt
            })
            .collect();
        for receipt in receipts {
            while receipt.outcome().is_none() {
                wakes.woken().await;
            }
            assert_eq!(receipt.outcome(), Some(0));
        }
    }

    async fn topics_in(mailbox: &Mailbox, count: usize) -> Vec<String> {
        let mut topics = Vec::new();
        while topics.len() < count {
            match mailbox.take(|_| true) {
                Some(Mail::Ordinary(mail)) => topics.push(mail.message.topic.to_string()),
                Some(Mail::Leased(_)) => panic!("a lease"),
                None => tokio::time::timeout(Duration::from_secs(10), mailbox.woken())
                    .await
                    .unwrap(),
            }
        }
        assert!(mailbox.take(|_| true).is_none());
        topics
    }

    #[tokio::test]
    async fn router_killed_in_a_round_loses_nothing_and_repeats_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (archive, _) = Archive::start(directory.path()).unwrap();
        let (hub, handle) = Hub::new(1 << 20, archive.handle());
        let running = tokio::spawn(hub.run());
        let mailbox = subscribed(&handle, &["a", "b", POISON]).await;
        publish_all(&handle, &["a", POISON, "b"]).await;
        let mut topics = topics_in(&mailbox, 3).await;
        topics.sort();
        assert_eq!(topics, ["a", "b", "poison"]);
        // The next router serves on, with the same subscriptions.
        publish_all(&handle, &["b", "c", "a"]).await;
        let mut topics = topics_in(&mailbox, 2).await;
        topics.sort();
        assert_eq!(topics, ["a", "b"]);
        handle.stop();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn messages_of_one_filter_stay_in_order_over_the_death_of_the_router() {
        let directory = tempfile::tempdir().unwrap();
        let (archive, _) = Archive::start(directory.path()).unwrap();
        let (hub, handle) = Hub::new(1 << 20, archive.handle());
        let running = tokio::spawn(hub.run());
        let mailbox = subscribed(&handle, &["t/#"]).await;
        publish_all(&handle, &["t/1", "t/2", POISON, "t/3"]).await;
        publish_all(&handle, &["t/4"]).await;
        assert_eq!(topics_in(&mailbox, 4).await, ["t/1", "t/2", "t/3", "t/4"]);
        handle.stop();
        running.await.unwrap();
    }
}
