//! CONNECT and CONNACK.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::aliases::{InAliases, OutAliases};
use super::seat::Seat;
use super::{Connection, Context};

use crate::access::{Credentials, Denied, Permissions};
use crate::archive::Change;
use crate::codec::{ConnAck, Connect, Encoder, Version, Will, decode_connect, next_frame, reason};
use crate::listen::Peer;
use crate::message::{Message, SessionId, Timestamp};
use crate::session::Attached;
use crate::topic::TopicName;

/// Topic aliases that the broker uses towards a client, at most.
const OUT_ALIASES: u16 = 64;

/// A CONNECT is small; the will's payload is the largest part of it. Nobody has authenticated yet.
const CONNECT_BYTES: usize = 256 * 1024;

/// A client that was let in, before it has a session.
pub(super) struct Admitted<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    input: BytesMut,
    connect: Connect,
    will: Option<(Message, u32)>,
    assigned: bool,
    permissions: Permissions,
}

/// Reads CONNECT and decides whether to let the client in. `None` when there is nobody to serve.
pub(super) async fn admit<S: AsyncRead + AsyncWrite>(
    mut reader: ReadHalf<S>,
    mut writer: WriteHalf<S>,
    peer: &Peer,
    context: &Context,
) -> Option<Admitted<S>> {
    let mut input = BytesMut::with_capacity(4096);
    let limit = CONNECT_BYTES.min(context.limits.packet_bytes as usize);
    let frame = loop {
        match next_frame(&mut input, limit) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "connection began with garbage");
                return None;
            }
        }
        // A first byte that is no CONNECT shows before its packet is complete.
        if input.first().is_some_and(|&first| first != 0x10) {
            tracing::debug!("connection did not begin with CONNECT");
            return None;
        }
        if matches!(reader.read_buf(&mut input).await, Ok(0) | Err(_)) {
            return None;
        }
    };
    let mut connect = match decode_connect(frame.header, &frame.body) {
        Ok(connect) => connect,
        Err(error) => {
            tracing::debug!(%error, "bad CONNECT");
            let version = match frame.body.get(6) {
                Some(&5) => Version::V5,
                _ => Version::V4,
            };
            refuse(&mut writer, version, error.reason).await;
            return None;
        }
    };
    if let Err(code) = check(&connect) {
        refuse(&mut writer, connect.version, code).await;
        return None;
    }
    let Ok(will) = connect.will.take().map(will_message).transpose() else {
        refuse(&mut writer, connect.version, reason::TOPIC_INVALID).await;
        return None;
    };
    let assigned = connect.client_id.is_empty();
    if assigned {
        connect.client_id = assigned_id();
    }
    let credentials = Credentials {
        peer,
        user: connect.user_name.as_deref(),
        password: connect.password.take(),
    };
    let admitted = tokio::select! {
        admitted = context.gate.admit(credentials, &connect.client_id) => admitted,
        () = hung_up(&mut reader, &mut input, limit) => {
            tracing::debug!(client = connect.client_id, "client hung up before it was let in");
            return None;
        }
    };
    let permissions = match admitted {
        Ok(permissions) => permissions,
        Err(denied) => {
            tracing::info!(client = connect.client_id, user = connect.user_name, %denied, "client not let in");
            let code = match denied {
                Denied::Anonymous | Denied::ReservedClientId => reason::NOT_AUTHORIZED,
                Denied::BadCredentials => reason::BAD_CREDENTIALS,
            };
            refuse(&mut writer, connect.version, code).await;
            return None;
        }
    };
    if will
        .as_ref()
        .is_some_and(|(message, _)| !permissions.may_publish(&message.topic))
    {
        refuse(&mut writer, connect.version, reason::NOT_AUTHORIZED).await;
        return None;
    }
    Some(Admitted {
        reader,
        writer,
        input,
        connect,
        will,
        assigned,
        permissions,
    })
}

/// Waits until the client hangs up and has said nothing more. Passwords are checked one after the other: who is gone must
/// not keep those behind waiting. Cancel safe: what is read stays in `input`.
async fn hung_up<R: AsyncRead + Unpin>(reader: &mut R, input: &mut BytesMut, limit: usize) {
    while input.len() < limit {
        match reader.read_buf(input).await {
            Ok(0) | Err(_) if input.is_empty() => return,
            // It may have sent all that it wants, and be served without hearing of it.
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}

fn check(connect: &Connect) -> Result<(), u8> {
    if connect.wants_auth_method {
        return Err(reason::BAD_AUTH_METHOD);
    }
    // MQTT 3.1.1: a client without an identifier cannot have state (section 3.1.3.1).
    if connect.version == Version::V4 && connect.client_id.is_empty() && !connect.clean_start {
        return Err(reason::CLIENT_ID_INVALID);
    }
    Ok(())
}

async fn refuse<S: AsyncWrite>(writer: &mut WriteHalf<S>, version: Version, code: u8) {
    let mut out = BytesMut::new();
    let ack = ConnAck {
        reason: code,
        ..ConnAck::default()
    };
    if Encoder::new(version).connack(&ack, &mut out).is_ok() {
        // The client may be gone already, and then it does not matter.
        drop(writer.write_all_buf(&mut out).await);
        drop(writer.shutdown().await);
    }
}

/// The will as a message whose `expires` still is the interval: it starts to count when the will is published.
fn will_message(will: Will) -> Result<(Message, u32), crate::topic::TopicError> {
    let message = Message {
        topic: TopicName::new(&will.topic)?,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        expires: will.expiry.map(|seconds| Timestamp(u64::from(seconds) * 1000)),
        properties: will.properties,
        publisher: SessionId(0),
    };
    Ok((message, will.delay))
}

/// Unique among the clients of this broker: time and a random number.
fn assigned_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let now = Timestamp::now().0;
    format!("foundry-{now:x}-{:x}", RandomState::new().hash_one(now))
}

impl<S: AsyncRead + AsyncWrite> Admitted<S> {
    /// Finds the session and answers the CONNECT. Not to be cancelled: a session that was handed over has to be
    /// given back. `None` when there is nobody to serve.
    pub(super) async fn attach(mut self, context: Arc<Context>) -> Option<(Connection<S>, oneshot::Receiver<u8>)> {
        let id = self.connect.client_id.clone();
        let user = self.permissions.user.clone();
        // CONNACK tells the client what became of its wish (section 3.2.2.3.2). A session that ends with its connection
        // has nothing to come back to.
        let lasts = self.permissions.may_last();
        let limit = if lasts { context.limits.session_expiry } else { 0 };
        let expiry = self.connect.session_expiry.min(limit);
        let clean_start = self.connect.clean_start || !lasts;
        // What is begun now would wait for the disk in memory, with all that waits already.
        if (expiry > 0 || self.will.is_some()) && context.archive.is_overdue() {
            tracing::warn!(
                client = id,
                "client not let in: the disk takes nothing, and too much waits for it"
            );
            refuse(&mut self.writer, self.connect.version, reason::QUOTA_EXCEEDED).await;
            return None;
        }
        match context.registry.attach(id, user, clean_start, expiry).await? {
            Ok(attached) => Some(begin(self, attached, context)),
            Err(code) => {
                refuse(&mut self.writer, self.connect.version, code).await;
                None
            }
        }
    }
}

fn begin<S>(
    admitted: Admitted<S>,
    attached: Attached,
    context: Arc<Context>,
) -> (Connection<S>, oneshot::Receiver<u8>) {
    let Admitted {
        reader,
        writer,
        input,
        connect,
        will,
        assigned,
        permissions,
    } = admitted;
    let limits = &context.limits;
    let Attached {
        session,
        present,
        member,
        stop,
    } = attached;
    session.mailbox.online(member);
    let asked = connect.receive_maximum.map(usize::from);
    let window = asked.unwrap_or(usize::from(u16::MAX)).min(limits.window);
    let places = connect.places.map_or(limits.window, usize::from);
    let capacity = asked.unwrap_or(limits.default_leases).min(limits.window).min(places);
    // Only MQTT 5 clients can be told another interval than they asked for.
    let server_keep_alive = match (connect.version, connect.keep_alive, limits.keep_alive_seconds) {
        (Version::V4, _, _) | (_, _, 0) => None,
        (_, asked, limit) => (asked == 0 || asked > limit).then_some(limit),
    };
    let keep_alive = match server_keep_alive.unwrap_or(connect.keep_alive) {
        0 => None,
        seconds => Some(Duration::from_millis(u64::from(seconds) * 1500)),
    };
    let encoder = Encoder::new(connect.version);
    let ack = ConnAck {
        reason: reason::SUCCESS,
        session_present: present,
        assigned_client_id: (assigned && connect.version == Version::V5).then(|| session.client_id.clone()),
        server_keep_alive,
        session_expiry: (session.expiry != connect.session_expiry).then_some(session.expiry),
        receive_maximum: limits.receive_maximum,
        maximum_packet_size: limits.packet_bytes,
        topic_alias_maximum: limits.topic_aliases,
        time: Timestamp::now(),
    };
    let mut out = BytesMut::with_capacity(4096);
    if let Err(error) = encoder.connack(&ack, &mut out) {
        tracing::error!(%error, "cannot encode CONNACK");
    }
    let will = will.map(|(message, delay)| {
        let publisher = session.id;
        (Message { publisher, ..message }, delay)
    });
    if let Some((message, delay)) = &will {
        // All that concerns wills goes one way, so that what becomes of the one before comes before this one.
        let will = Change::Will(session.id, message.clone(), *delay);
        context.publisher.note(will);
    }
    let connection = Connection {
        reader,
        writer,
        input,
        out,
        version: connect.version,
        encoder,
        member,
        seat: Seat::new(Arc::clone(&context), &session, member),
        window,
        capacity,
        packet_limit: connect.maximum_packet_size,
        keep_alive,
        heard: Instant::now(),
        progressed: Instant::now(),
        in_aliases: InAliases::new(context.limits.topic_aliases),
        out_aliases: OutAliases::new(connect.topic_alias_maximum.min(OUT_ALIASES)),
        owed: VecDeque::new(),
        remembered: None,
        renumbered: None,
        unanswered: 0,
        unsent_leases: Vec::new(),
        flushed: true,
        is_member: !session.groups.is_empty(),
        will,
        session,
        rules: context.gate.changes(),
        context,
        permissions,
    };
    (connection, stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{User, hash_password};
    use crate::connection::serve;
    use crate::{Access, Broker, Config};

    #[tokio::test]
    async fn a_client_that_hangs_up_leaves_the_queue_for_passwords() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: directory.path().join("broker"),
            access: Access::open("host"),
            ..Config::default()
        };
        let user = User {
            password: Some(hash_password("secret").unwrap()),
            role: "bot".to_owned(),
        };
        config.access.users.insert("a".to_owned(), user);
        config.limits.connect_seconds = 3600;
        let broker = Broker::start(config).await.unwrap();
        let context = Arc::clone(broker.context());
        let others = context.gate.occupy().await;
        let (mut client, stream) = tokio::io::duplex(1024);
        let peer = Peer {
            local: true,
            certificate: None,
        };
        let served = tokio::spawn(serve(stream, peer, Arc::clone(&context)));
        let connect = b"\x10\x13\0\x04MQTT\x04\xc2\0\0\0\x01x\0\x01a\0\x01b";
        client.write_all(connect).await.unwrap();
        drop(client);
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, served).await.unwrap().unwrap();
        drop(others);
        broker.stop().await;
    }
}
