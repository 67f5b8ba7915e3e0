//! The task that knows all sessions by client identifier.
//!
//! It hands a session to the connection that asks for it, takes it from an older connection first when there is
//! one, keeps it while nobody is connected, and publishes last wills when their time comes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};

use super::{MailboxLimits, Session};
use crate::archive::{ArchiveHandle, Change};
use crate::codec::reason;
use crate::group::MemberId;
use crate::message::{Message, SessionId, Timestamp};
use crate::publisher::Publisher;

enum Command {
    Attach(AttachRequest),
    Detach(Box<Session>, MemberId, Ending),
    Lost(String, MemberId),
    Stop(oneshot::Sender<()>),
}

struct AttachRequest {
    client_id: String,
    user: Option<String>,
    clean_start: bool,
    expiry: u32,
    reply: oneshot::Sender<Result<Attached, u8>>,
}

/// How a connection ended.
#[derive(Debug, Default)]
pub struct Ending {
    /// The will to publish, with the seconds to wait before; `None` after an orderly DISCONNECT.
    pub will: Option<(Message, u32)>,
}

/// A session for a connection.
#[derive(Debug)]
pub struct Attached {
    /// The session.
    pub session: Box<Session>,
    /// There was earlier state.
    pub present: bool,
    /// The connection's number, which is also its membership in groups.
    pub member: MemberId,
    /// Fires with a reason code when the connection has to end.
    pub stop: oneshot::Receiver<u8>,
}

/// How connections talk to the registry.
#[derive(Debug, Clone)]
pub struct RegistryHandle(mpsc::UnboundedSender<Command>);

// Not bounded itself: each connection has at most one command in it.
impl RegistryHandle {
    /// Waits for the session of a client identifier, or a reason code: a session belongs to the user who made it.
    /// It will outlive its connection by `expiry` seconds.
    /// `None` when a newer connection came in between, or the broker stops.
    pub async fn attach(
        &self,
        client_id: String,
        user: Option<String>,
        clean_start: bool,
        expiry: u32,
    ) -> Option<Result<Attached, u8>> {
        let (reply, attached) = oneshot::channel();
        let request = AttachRequest {
            client_id,
            user,
            clean_start,
            expiry,
            reply,
        };
        drop(self.0.send(Command::Attach(request)));
        attached.await.ok()
    }

    /// Gives a session back.
    pub fn detach(&self, session: Box<Session>, member: MemberId, ending: Ending) {
        drop(self.0.send(Command::Detach(session, member, ending)));
    }

    /// The connection is gone and its session with it.
    pub fn lost(&self, client_id: String, member: MemberId) {
        drop(self.0.send(Command::Lost(client_id, member)));
    }

    /// Tells all connections to end, and waits until they have.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        drop(self.0.send(Command::Stop(done)));
        drop(stopped.await);
    }
}

enum Entry {
    Live {
        user: Option<String>,
        member: MemberId,
        stop: Option<oneshot::Sender<u8>>,
        next: Option<AttachRequest>,
    },
    Parked {
        session: Box<Session>,
        ends: Option<Instant>,
        will: Option<(Message, Instant)>,
    },
}

/// The last will of a session's client, and the seconds to wait with it.
pub type Will = (SessionId, Message, u32);

/// The registry's state.
pub struct Registry {
    commands: mpsc::UnboundedReceiver<Command>,
    entries: HashMap<String, Entry>,
    /// When to look at which parked session; entries may be out of date.
    deadlines: BinaryHeap<Reverse<(Instant, String)>>,
    publisher: Publisher,
    archive: ArchiveHandle,
    limits: MailboxLimits,
    sessions: usize,
    last_session: u64,
    last_member: u64,
    stopping: Option<oneshot::Sender<()>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("sessions", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry for up to `sessions` sessions, and how to talk to it.
    pub fn new(
        publisher: Publisher,
        archive: ArchiveHandle,
        limits: MailboxLimits,
        sessions: usize,
    ) -> (Self, RegistryHandle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let registry = Self {
            commands,
            entries: HashMap::new(),
            deadlines: BinaryHeap::new(),
            publisher,
            archive,
            limits,
            sessions,
            last_session: 0,
            last_member: 0,
            stopping: None,
        };
        (registry, RegistryHandle(sender))
    }

    /// Takes up the sessions from before the broker's start, and publishes the wills of clients that did not say
    /// goodbye to the broker that died. A will that is to wait does so, and is dropped if its client comes back.
    pub fn restore(&mut self, sessions: Vec<Session>, ends: &HashMap<SessionId, Timestamp>, wills: Vec<Will>) {
        let now = (Instant::now(), Timestamp::now());
        let instant = |at: Timestamp| now.0 + Duration::from_millis(at.0.saturating_sub(now.1.0));
        let mut wills: HashMap<SessionId, (Message, u32)> = wills
            .into_iter()
            .map(|(session, message, delay)| (session, (message, delay)))
            .collect();
        self.last_session = wills.keys().map(|id| id.0).max().unwrap_or(0);
        for session in sessions {
            self.last_session = self.last_session.max(session.id.0);
            let ends = ends.get(&session.id).map(|at| instant(*at));
            let will = match wills.remove(&session.id) {
                Some((message, delay)) if delay > 0 => {
                    let due = now.0 + Duration::from_secs(u64::from(delay));
                    Some((message, ends.map_or(due, |ends| ends.min(due))))
                }
                Some(immediate) => {
                    wills.insert(session.id, immediate);
                    None
                }
                None => None,
            };
            self.keep(Box::new(session), ends, will);
        }
        let mut wills: Vec<_> = wills.into_iter().collect();
        wills.sort_by_key(|(session, _)| *session);
        for (session, (message, _)) in wills {
            self.publish_will(session, message);
        }
    }

    /// Works until it is stopped and all connections have given their sessions back.
    pub async fn run(mut self) {
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            let deadline = self.deadlines.peek().map_or(far, |Reverse((at, _))| *at);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Attach(request)) => self.attach(request),
                    Some(Command::Detach(session, member, ending)) => self.detach(session, member, ending),
                    Some(Command::Lost(client_id, member)) => self.lost(client_id, member),
                    Some(Command::Stop(done)) => self.stop(done),
                    None => return,
                },
                () = sleep_until(deadline) => self.look_at_deadlines(Instant::now()),
            }
            if self.stopping.is_some() && !self.entries.values().any(|entry| matches!(entry, Entry::Live { .. })) {
                return;
            }
        }
    }

    fn stop(&mut self, done: oneshot::Sender<()>) {
        for entry in self.entries.values_mut() {
            if let Entry::Live { stop, next, .. } = entry {
                *next = None;
                if let Some(stop) = stop.take() {
                    stop.send(reason::SHUTTING_DOWN).ok();
                }
            }
        }
        self.stopping = Some(done);
    }

    fn attach(&mut self, request: AttachRequest) {
        if self.stopping.is_some() {
            return;
        }
        let owner = match self.entries.get(&request.client_id) {
            Some(Entry::Live { user, .. }) => Some(user),
            Some(Entry::Parked { session, .. }) => Some(&session.user),
            None => None,
        };
        if owner.is_some_and(|owner| *owner != request.user) {
            tracing::info!(
                client = request.client_id,
                user = request.user,
                "client identifier is another user's"
            );
            request.reply.send(Err(reason::CLIENT_ID_INVALID)).ok();
            return;
        }
        match self.entries.remove(&request.client_id) {
            Some(Entry::Live { member, stop, user, .. }) => {
                // Its connection gives the session back first. A request that already waits is outdated by this one.
                if let Some(stop) = stop {
                    stop.send(reason::TAKEN_OVER).ok();
                }
                let client_id = request.client_id.clone();
                let live = Entry::Live {
                    user,
                    member,
                    stop: None,
                    next: Some(request),
                };
                self.entries.insert(client_id, live);
            }
            Some(Entry::Parked { session, will, .. }) => {
                let will = will.map(|(message, _)| (session.id, message, true));
                self.hand_over(request, Some(session), will);
            }
            None => self.hand_over(request, None, None),
        }
    }

    /// Gives the session to the new connection, or a new one if it asked for a clean start. A will that still waits
    /// for its delay is dropped when the session goes on (MQTT 5 section 3.1.3.2.2).
    fn hand_over(
        &mut self,
        request: AttachRequest,
        found: Option<Box<Session>>,
        will: Option<(SessionId, Message, bool)>,
    ) {
        let continues = !request.clean_start && found.is_some();
        match will {
            // Behind the wills of earlier connections, and before that of the next one.
            Some((session, _, true)) if continues => self.publisher.note(Change::NoWill(session)),
            Some((session, message, _)) => self.publish_will(session, message),
            None => {}
        }
        if !continues && self.entries.len() >= self.sessions {
            tracing::warn!(limit = self.sessions, "too many sessions");
            request.reply.send(Err(reason::QUOTA_EXCEEDED)).ok();
            if let Some(old) = found {
                self.end(*old);
            }
            return;
        }
        let mut session = match found {
            Some(session) if continues => {
                self.archive.note(Change::Resume(session.id, request.expiry));
                session
            }
            found => {
                if let Some(old) = found {
                    self.end(*old);
                }
                self.begin(&request)
            }
        };
        session.expiry = request.expiry;
        self.last_member += 1;
        let member = MemberId(self.last_member);
        let (stop, stopped) = oneshot::channel();
        let attached = Attached {
            session,
            present: continues,
            member,
            stop: stopped,
        };
        match request.reply.send(Ok(attached)) {
            Ok(()) => {
                let live = Entry::Live {
                    user: request.user,
                    member,
                    stop: Some(stop),
                    next: None,
                };
                self.entries.insert(request.client_id, live);
            }
            // The connection is gone already.
            Err(Ok(attached)) => self.park(attached.session, Ending::default()),
            Err(Err(_)) => {}
        }
    }

    fn begin(&mut self, request: &AttachRequest) -> Box<Session> {
        self.last_session += 1;
        let id = SessionId(self.last_session);
        let (client_id, lasting) = (request.client_id.clone(), request.expiry > 0);
        let mut session = Box::new(Session::new(id, client_id, self.limits, lasting));
        session.user.clone_from(&request.user);
        if lasting {
            self.archive.note(Change::Open {
                session: id,
                client_id: request.client_id.clone(),
                user: request.user.clone(),
                expiry: request.expiry,
            });
        }
        session
    }

    fn detach(&mut self, session: Box<Session>, member: MemberId, ending: Ending) {
        let client_id = session.client_id.clone();
        match self.entries.remove(&client_id) {
            Some(Entry::Live {
                member: current, next, ..
            }) if current == member => match next {
                Some(request) => {
                    let will = ending.will.map(|(message, delay)| (session.id, message, delay > 0));
                    let found = match session.expiry {
                        // It ends with its connection, however that ends: else its subscriptions would go on.
                        0 => {
                            self.end(*session);
                            None
                        }
                        _ => Some(session),
                    };
                    self.hand_over(request, found, will);
                }
                None => self.park(session, ending),
            },
            other => {
                // Cannot happen: an entry is live until its own connection detaches.
                tracing::error!(client_id, "a session was given back twice");
                if let Some(entry) = other {
                    self.entries.insert(client_id, entry);
                }
                self.end(*session);
            }
        }
    }

    fn lost(&mut self, client_id: String, member: MemberId) {
        match self.entries.remove(&client_id) {
            Some(Entry::Live {
                member: current, next, ..
            }) if current == member => next.into_iter().for_each(|request| self.hand_over(request, None, None)),
            Some(entry) => drop(self.entries.insert(client_id, entry)),
            None => {}
        }
    }

    fn park(&mut self, session: Box<Session>, ending: Ending) {
        if session.expiry == 0 {
            if let Some((message, _)) = ending.will {
                self.publish_will(session.id, message);
            }
            self.end(*session);
            return;
        }
        let now = Instant::now();
        let ends = (session.expiry != u32::MAX).then(|| now + Duration::from_secs(u64::from(session.expiry)));
        let will = match ending.will {
            Some((message, 0)) => {
                self.publish_will(session.id, message);
                None
            }
            // The will comes at the latest with the session's end.
            Some((message, delay)) => Some((message, now + Duration::from_secs(u64::from(delay.min(session.expiry))))),
            None => None,
        };
        let wall = (session.expiry != u32::MAX).then(|| Timestamp::now().plus_seconds(session.expiry));
        self.archive.note(Change::Park(session.id, session.expiry, wall));
        self.keep(session, ends, will);
    }

    fn keep(&mut self, session: Box<Session>, ends: Option<Instant>, will: Option<(Message, Instant)>) {
        let client_id = session.client_id.clone();
        for at in ends.iter().chain(will.as_ref().map(|(_, at)| at)) {
            self.deadlines.push(Reverse((*at, client_id.clone())));
        }
        self.entries.insert(client_id, Entry::Parked { session, ends, will });
    }

    fn look_at_deadlines(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.deadlines.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((_, client_id))) = self.deadlines.pop() else {
                return;
            };
            let Some(Entry::Parked { ends, will, session }) = self.entries.get_mut(&client_id) else {
                continue;
            };
            let ended = ends.is_some_and(|at| at <= now);
            let due = will
                .take_if(|(_, at)| *at <= now)
                .map(|(message, _)| (session.id, message));
            if let Some((session, message)) = due {
                self.publish_will(session, message);
            }
            if ended && let Some(Entry::Parked { session, .. }) = self.entries.remove(&client_id) {
                tracing::debug!(client_id, "session expired");
                self.end(*session);
            }
        }
    }

    fn publish_will(&self, session: SessionId, mut message: Message) {
        // Its expiry interval counts from now: see `Connection::will_message`.
        if let Some(interval) = message.expires {
            message.expires = Some(Timestamp(Timestamp::now().0.saturating_add(interval.0)));
        }
        self.publisher.publish(&Arc::new(message));
        self.publisher.note(Change::NoWill(session));
    }

    fn end(&self, session: Session) {
        let (id, lasting) = (session.id, session.is_lasting());
        self.publisher.forget(id, session.subscriptions.into_keys().collect());
        if lasting {
            self.publisher.note(Change::End(id));
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::message::QoS;
    use crate::routing::{SubscribeRequest, SubscriptionOptions};
    use crate::session::Mailbox;
    use crate::topic::TopicFilter;
    use crate::{Access, Broker, Config};

    async fn attached(registry: &RegistryHandle, client_id: &str) -> Attached {
        let attached = registry.attach(client_id.to_owned(), None, true, 0).await;
        attached.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_session_that_is_taken_over_and_does_not_last_gets_no_more_mail() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: directory.path().join("broker"),
            access: Access::open("host"),
            ..Config::default()
        };
        let broker = Broker::start(config).await.unwrap();
        let context = Arc::clone(broker.context());
        let filter = TopicFilter::new("t/#").unwrap();
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        let mut mailboxes: Vec<Arc<Mailbox>> = Vec::new();
        let mut holder = attached(&context.registry, "same").await;
        for _ in 0..3 {
            holder.session.subscriptions.insert(filter.clone(), options);
            let request = SubscribeRequest {
                session: holder.session.id,
                mailbox: Arc::clone(&holder.session.mailbox),
                filters: vec![(filter.clone(), options, 0)],
            };
            context.hub.subscribe(request).await;
            mailboxes.push(Arc::clone(&holder.session.mailbox));
            let next = tokio::spawn({
                let context = Arc::clone(&context);
                async move { attached(&context.registry, "same").await }
            });
            assert_eq!(holder.stop.await, Ok(reason::TAKEN_OVER));
            context
                .registry
                .detach(holder.session, holder.member, Ending::default());
            holder = next.await.unwrap();
        }
        let message = Arc::new(Message {
            publisher: SessionId(0),
            ..Message::empty("t/x")
        });
        let waits = Arc::clone(&holder.session.mailbox);
        let receipt = context.publisher.publish_for(&message, &waits);
        while receipt.outcome().is_none() {
            waits.woken().await;
        }
        for mailbox in mailboxes {
            assert!(mailbox.take(|_| true).is_none());
            assert_eq!(Arc::strong_count(&mailbox), 1, "nobody else knows it any more");
        }
        broker.stop().await;
    }
}
