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
    /// `None` when a newer connection came in between, or the broker stops.
    pub async fn attach(
        &self,
        client_id: String,
        user: Option<String>,
        clean_start: bool,
    ) -> Option<Result<Attached, u8>> {
        let (reply, attached) = oneshot::channel();
        let request = AttachRequest {
            client_id,
            user,
            clean_start,
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

/// The registry's state.
pub struct Registry {
    commands: mpsc::UnboundedReceiver<Command>,
    entries: HashMap<String, Entry>,
    /// When to look at which parked session; entries may be out of date.
    deadlines: BinaryHeap<Reverse<(Instant, String)>>,
    publisher: Publisher,
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
    pub fn new(publisher: Publisher, limits: MailboxLimits, sessions: usize) -> (Self, RegistryHandle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let registry = Self {
            commands,
            entries: HashMap::new(),
            deadlines: BinaryHeap::new(),
            publisher,
            limits,
            sessions,
            last_session: 0,
            last_member: 0,
            stopping: None,
        };
        (registry, RegistryHandle(sender))
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
                let will = will.map(|(message, _)| (message, true));
                self.hand_over(request, Some(session), will);
            }
            None => self.hand_over(request, None, None),
        }
    }

    /// Gives the session to the new connection, or a new one if it asked for a clean start. A will that still waits
    /// for its delay is dropped when the session goes on (MQTT 5 section 3.1.3.2.2).
    fn hand_over(&mut self, request: AttachRequest, found: Option<Box<Session>>, will: Option<(Message, bool)>) {
        let continues = !request.clean_start && found.is_some();
        if let Some((message, delayed)) = will
            && !(continues && delayed)
        {
            self.publish_will(message);
        }
        if !continues && self.entries.len() >= self.sessions {
            tracing::warn!(limit = self.sessions, "too many sessions");
            request.reply.send(Err(reason::QUOTA_EXCEEDED)).ok();
            if let Some(old) = found {
                self.end(*old);
            }
            return;
        }
        let session = match found {
            Some(session) if continues => session,
            found => {
                if let Some(old) = found {
                    self.end(*old);
                }
                self.last_session += 1;
                let mut session = Box::new(Session::new(
                    SessionId(self.last_session),
                    request.client_id.clone(),
                    self.limits,
                ));
                session.user.clone_from(&request.user);
                session
            }
        };
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

    fn detach(&mut self, session: Box<Session>, member: MemberId, ending: Ending) {
        let client_id = session.client_id.clone();
        match self.entries.remove(&client_id) {
            Some(Entry::Live {
                member: current, next, ..
            }) if current == member => match next {
                Some(request) => {
                    let will = ending.will.map(|(message, delay)| (message, delay > 0));
                    let found = (session.expiry > 0).then_some(session);
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
                self.publish_will(message);
            }
            self.end(*session);
            return;
        }
        let now = Instant::now();
        let ends = (session.expiry != u32::MAX).then(|| now + Duration::from_secs(u64::from(session.expiry)));
        let will = match ending.will {
            Some((message, 0)) => {
                self.publish_will(message);
                None
            }
            // The will comes at the latest with the session's end.
            Some((message, delay)) => Some((message, now + Duration::from_secs(u64::from(delay.min(session.expiry))))),
            None => None,
        };
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
            let Some(Entry::Parked { ends, will, .. }) = self.entries.get_mut(&client_id) else {
                continue;
            };
            let ended = ends.is_some_and(|at| at <= now);
            let due = will.take_if(|(_, at)| *at <= now);
            if let Some((message, _)) = due {
                self.publish_will(message);
            }
            if ended && let Some(Entry::Parked { session, .. }) = self.entries.remove(&client_id) {
                tracing::debug!(client_id, "session expired");
                self.end(*session);
            }
        }
    }

    fn publish_will(&self, mut message: Message) {
        // Its expiry interval counts from now: see `Connection::will_message`.
        if let Some(interval) = message.expires {
            message.expires = Some(Timestamp(Timestamp::now().0.saturating_add(interval.0)));
        }
        self.publisher.publish(&Arc::new(message));
    }

    fn end(&self, session: Session) {
        self.publisher
            .forget(session.id, session.subscriptions.into_keys().collect());
    }
}
