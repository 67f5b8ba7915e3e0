//! The task that owns ordinary routing: subscriptions and retained messages.
//!
//! It works in rounds. What waits in the channel is one round; its publishers are acknowledged together at its end,
//! so that each of them is woken once for many messages. Mail of sessions that outlive their connections goes by way
//! of the [archive](crate::archive), and its publisher is acknowledged when it is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::handle::{self, Command, HubHandle, SubscribeRequest};
use super::retained::Retained;
use super::routes::{Routes, SubscriptionOptions};
use crate::archive::{ArchiveHandle, Change};
use crate::codec::reason;
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::receipt::Completion;
use crate::session::{Mailbox, Ordinary, Session};
use crate::topic::TopicFilter;

/// Commands taken into one round.
const ROUND: usize = 1024;
const TICK: Duration = Duration::from_secs(1);

/// The hub's state.
#[derive(Debug)]
pub struct Hub {
    commands: mpsc::UnboundedReceiver<Command>,
    routes: Routes,
    retained: Retained,
    archive: ArchiveHandle,
    /// Publishers that are acknowledged at the end of the round.
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
            retained: Retained::new(retained_bytes),
            archive,
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
                self.routes.add(session.id, &session.mailbox, filter, *options);
            }
        }
    }

    /// Routes until it is told to stop.
    pub async fn run(mut self) {
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
                    continue;
                }
            }
            for command in commands.drain(..) {
                self.take_in(command);
            }
            for completion in self.waiting.drain(..) {
                completion.done();
            }
        }
    }

    fn take_in(&mut self, command: Command) {
        match command {
            Command::Publish(message, completion) => {
                if message.retain {
                    self.retain(&message, completion.as_ref());
                }
                for (session, mailbox, mail) in self.routes.deliveries(&message) {
                    self.deliver(session, mailbox, mail, completion.as_ref());
                }
                self.waiting.extend(completion);
            }
            Command::Subscribe(request, done) => {
                let now = Timestamp::now();
                let filters = request.filters.iter();
                let taken = filters.map(|filter| self.subscribe(&request, filter, now)).collect();
                done.send(taken).ok();
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
                for filter in self.routes.filters_of(session) {
                    self.unsubscribe(session, &filter);
                }
                self.archive.note(Change::End(session));
                self.archive.note(Change::NoWill(session));
            }
            Command::Note(change) => self.archive.note(change),
            Command::Stop => self.running = false,
        }
    }

    /// Makes a subscription, which begins with the retained messages that it matches: all of them or none, and then there
    /// is no subscription.
    fn subscribe(
        &mut self,
        request: &SubscribeRequest,
        (filter, options, handling): &(TopicFilter, SubscriptionOptions, u8),
        now: Timestamp,
    ) -> bool {
        let (session, mailbox) = (request.session, &request.mailbox);
        let unwanted = *handling == 2 || (*handling == 1 && self.routes.has(session, filter));
        let retained = match unwanted {
            true => Vec::new(),
            false => self.retained.matching(filter, now),
        };
        let bytes = retained.iter().map(|message| message.size()).sum();
        if !retained.is_empty() && !mailbox.grant(retained.len(), bytes) {
            tracing::warn!(%filter, messages = retained.len(), "no room for the retained messages of a subscription: refused");
            return false;
        }
        self.routes.add(session, mailbox, filter, *options);
        if mailbox.is_lasting() {
            self.archive.note(Change::Subscribe(session, filter.clone(), *options));
        }
        for message in retained {
            let mail = Ordinary {
                qos: options.qos.min(message.qos),
                message,
                retain: true,
                subscription: options.identifier,
                kept: None,
            };
            self.deliver(session, mailbox, mail, None);
        }
        true
    }

    /// Keeps a message for those who subscribe later. Where there is no room the publisher is told, and the topic's earlier message stays.
    fn retain(&mut self, message: &Arc<Message>, completion: Option<&Completion>) {
        if !self.retained.store(message) {
            tracing::warn!(topic = %message.topic, "retained messages are full, not keeping this one");
            if let Some(completion) = completion {
                completion.another().refuse(reason::QUOTA_EXCEEDED);
            }
            return;
        }
        let change = match message.payload.is_empty() {
            true => Change::Unretain(message.topic.clone()),
            false => Change::Retain(Arc::clone(message)),
        };
        match completion {
            Some(completion) => self.archive.write(change, completion.another()),
            None => self.archive.note(change),
        }
    }

    /// Gives a session its mail, by way of the disk if the session lasts and the mail has to arrive; `completion` is
    /// the publisher's, who waits for the disk then.
    fn deliver(&self, session: SessionId, mailbox: &Arc<Mailbox>, mail: Ordinary, completion: Option<&Completion>) {
        if mailbox.is_lasting() && mail.qos > QoS::AtMostOnce {
            let completion = completion.map(Completion::another);
            self.archive.deliver(session, mailbox, mail, completion);
        } else {
            let expired = mailbox.put(mail);
            expired.into_iter().for_each(|row| self.archive.note(Change::Done(row)));
        }
    }

    fn unsubscribe(&mut self, session: SessionId, filter: &TopicFilter) -> bool {
        let Some(mailbox) = self.routes.remove(session, filter) else {
            return false;
        };
        if mailbox.is_lasting() {
            self.archive.note(Change::Unsubscribe(session, filter.clone()));
        }
        true
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::archive::Archive;
    use crate::group::MemberId;
    use crate::receipt::receipt;
    use crate::session::{Mail, MailboxLimits};

    fn message(topic: &str) -> Arc<Message> {
        Arc::new(Message::empty(topic))
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
    async fn messages_come_in_order_over_several_filters_and_each_filter_brings_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (archive, _) = Archive::start(directory.path()).unwrap();
        let (hub, handle) = Hub::new(1 << 20, archive.handle());
        let running = tokio::spawn(hub.run());
        let mailbox = subscribed(&handle, &["t/+", "t/2", "é/#"]).await;
        publish_all(&handle, &["t/1", "nobody", "t/2", "é", "t/3"]).await;
        assert_eq!(topics_in(&mailbox, 5).await, ["t/1", "t/2", "t/2", "é", "t/3"]);
        let gone = handle
            .unsubscribe(
                SessionId(1),
                ["t/+", "t/+"].map(|filter| TopicFilter::new(filter).unwrap()).into(),
            )
            .await;
        assert_eq!(gone, [true, false]);
        publish_all(&handle, &["t/1", "t/2"]).await;
        assert_eq!(topics_in(&mailbox, 1).await, ["t/2"]);
        handle.stop();
        running.await.unwrap();
    }
}
