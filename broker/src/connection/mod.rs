//! One client's connection, from CONNECT to its end.

mod aliases;
mod handshake;
mod incoming;
mod outgoing;
mod seat;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout, timeout_at};

use self::aliases::{InAliases, OutAliases};
use self::seat::Seat;
use crate::access::{Access, Gate, Permissions};
use crate::archive::{ArchiveHandle, Change};
use crate::codec::{Encoder, Version, decode, next_frame, reason};
use crate::config::Limits;
use crate::group::{EngineHandle, EntryId, Leaving, MemberId};
use crate::listen::Peer;
use crate::message::Message;
use crate::publisher::Publisher;
use crate::receipt::Receipt;
use crate::routing::HubHandle;
use crate::session::{Ending, RegistryHandle, Session};

/// Above this many bytes to send, no more deliveries are encoded: they wait in the mailbox.
const OUT_HIGH: usize = 64 * 1024;
/// Above this many bytes to send, nothing more is read from the client either.
const OUT_FULL: usize = 1024 * 1024;
/// Publishes that may wait for their receipts before nothing more is read.
const RECEIPTS: usize = 2048;
/// A farewell must not wait for a client that does not read.
const FAREWELL: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
pub struct Context {
    /// Where messages enter.
    pub publisher: Publisher,
    /// Ordinary subscriptions.
    pub hub: HubHandle,
    /// Group memberships.
    pub groups: EngineHandle,
    /// What outlives the process.
    pub archive: ArchiveHandle,
    /// Sessions.
    pub registry: RegistryHandle,
    /// Who may do what.
    pub gate: Gate,
    /// Limits.
    pub limits: Limits,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client said goodbye; with its will all the same?
    Disconnected { will: bool },
    /// The stream ended or failed.
    Lost,
    /// The broker ends it, telling an MQTT 5 client why.
    Closed(u8, &'static str),
}

/// An answer that is owed to the client once something is on disk, in the order of what it answers.
#[derive(Debug)]
enum Owed {
    Nothing,
    PubAck(u16),
    PubRec(u16),
    /// With whether the packet id was known, like the next one.
    PubRel(u16, bool),
    PubComp(u16, bool),
}

/// The state of a connection after its handshake.
struct Connection<S> {
    context: Arc<Context>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    input: BytesMut,
    out: BytesMut,
    version: Version,
    encoder: Encoder,
    session: Box<Session>,
    member: MemberId,
    /// What others hold for this connection.
    seat: Seat,
    /// Deliveries that the client takes unacknowledged.
    window: usize,
    /// Leases that it takes over all groups.
    capacity: usize,
    /// Largest packet that the client takes.
    packet_limit: Option<u32>,
    keep_alive: Option<Duration>,
    heard: Instant,
    /// When the client last took something, or there was nothing to take.
    progressed: Instant,
    in_aliases: InAliases,
    out_aliases: OutAliases,
    owed: VecDeque<(Owed, Receipt)>,
    /// The packet id of the first of them, when it is a PUBREC that waits for it to be on disk.
    remembered: Option<u16>,
    /// The next message gets another packet id, which is on its way to disk.
    renumbered: Option<Receipt>,
    /// How many PUBACKs are among them.
    unanswered: usize,
    /// QoS 0 leases that are finished when `out` is sent.
    unsent_leases: Vec<EntryId>,
    /// Is everything that was written out of the stream's own buffers?
    flushed: bool,
    /// Is it a member of any group?
    is_member: bool,
    will: Option<(Message, u32)>,
    permissions: Permissions,
    /// Replacements of the rules that let the client in.
    rules: watch::Receiver<Arc<Access>>,
}

/// Serves one client until its connection ends.
pub async fn serve<S>(stream: S, peer: Peer, context: Arc<Context>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let wait = context.limits.connect_timeout();
    let Ok(Some(admitted)) = timeout(wait, handshake::admit(reader, writer, &peer, &context)).await else {
        return;
    };
    if let Some((connection, stop)) = admitted.attach(context).await {
        connection.run(stop).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Connection<S> {
    async fn run(mut self, mut stop: oneshot::Receiver<u8>) {
        let end = match self.resume().await {
            Ok(()) => self.talk(&mut stop).await,
            Err(end) => end,
        };
        self.finish(end).await;
    }

    /// Reads, writes and delivers until something ends the connection.
    async fn talk(&mut self, stop: &mut oneshot::Receiver<u8>) -> End {
        // They may have been replaced since it was let in.
        self.rules.mark_changed();
        loop {
            if let Err(end) = self.take_frames().await {
                return end;
            }
            if let Err(end) = self.acknowledge_publishes().and_then(|()| self.drain_mailbox()) {
                return end;
            }
            let may_read = self.owed.len() < RECEIPTS && self.out.len() < OUT_FULL;
            let pending = !self.out.is_empty() || !self.flushed;
            if !pending {
                self.progressed = Instant::now();
            }
            let stalled = self.progressed + self.context.limits.stall_timeout();
            let silent = self.keep_alive.map(|interval| self.heard + interval);
            let deadline = silent.map_or(stalled, |silent| silent.min(stalled));
            tokio::select! {
                read = self.reader.read_buf(&mut self.input), if may_read => match read {
                    Ok(0) | Err(_) => return End::Lost,
                    Ok(_) => self.heard = Instant::now(),
                },
                sent = send_some(&mut self.writer, &mut self.out, &mut self.flushed),
                    if pending =>
                {
                    if sent.is_err() {
                        return End::Lost;
                    }
                    self.progressed = Instant::now();
                    if self.flushed {
                        self.finish_unsent_leases();
                    }
                }
                () = self.session.mailbox.woken() => {}
                Ok(()) = self.rules.changed() => {
                    if !self.context.gate.still_admits(&self.permissions) {
                        return End::Closed(reason::ADMINISTRATIVE_ACTION, "the rules of access have changed");
                    }
                }
                code = &mut *stop => return End::Closed(code.unwrap_or(reason::SHUTTING_DOWN), "asked to end"),
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    if pending && now >= stalled {
                        return End::Closed(reason::UNSPECIFIED, "client does not read");
                    }
                    // While nothing is read from the client for the broker's own reasons, it is not at fault.
                    if !may_read {
                        self.heard = now;
                    } else if silent.is_some_and(|silent| now >= silent) {
                        return End::Closed(reason::KEEP_ALIVE_TIMEOUT, "keep alive timeout");
                    }
                }
            }
        }
    }

    /// Handles all whole packets in the input, as long as there is room for their consequences.
    async fn take_frames(&mut self) -> Result<(), End> {
        let limit = self.context.limits.packet_bytes as usize;
        while self.owed.len() < RECEIPTS && self.out.len() < OUT_FULL {
            let frame = match next_frame(&mut self.input, limit) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(crate::codec::FrameError::BadLength) => {
                    return Err(End::Closed(reason::MALFORMED, "malformed remaining length"));
                }
                Err(crate::codec::FrameError::TooLarge { .. }) => {
                    return Err(End::Closed(reason::PACKET_TOO_LARGE, "packet too large"));
                }
            };
            let packet = decode(self.version, frame.header, &frame.body)
                .map_err(|error| End::Closed(error.reason, error.what))?;
            self.handle(packet).await?;
        }
        Ok(())
    }

    /// Says farewell, ends leases, and gives the session back.
    async fn finish(mut self, end: End) {
        let (how, will) = match end {
            End::Disconnected { will } => (Leaving::Orderly, will),
            End::Lost => (Leaving::Died, true),
            End::Closed(code, why) => {
                tracing::debug!(client = self.session.client_id, code, why, "closing connection");
                // That the broker goes down, that the client is back on another connection, or that it may be here no more, says nothing
                // about the messages that it holds.
                let how = match code {
                    reason::SHUTTING_DOWN | reason::TAKEN_OVER | reason::ADMINISTRATIVE_ACTION => Leaving::Orderly,
                    _ => Leaving::Died,
                };
                if self.encoder.disconnect(code, &mut self.out).is_ok() {
                    drop(timeout(FAREWELL, self.writer.write_all_buf(&mut self.out)).await);
                }
                (how, true)
            }
        };
        drop(timeout(FAREWELL, self.writer.shutdown()).await);
        if self.is_member {
            self.context.groups.leave(self.member, how);
        }
        self.answer_for_inbound().await;
        self.session.mailbox.offline();
        self.session.outbound.drop_leases();
        let had_will = self.will.is_some();
        let ending = Ending {
            will: self.will.take().filter(|_| will),
        };
        if had_will && ending.will.is_none() {
            self.context.publisher.note(Change::NoWill(self.session.id));
        }
        self.seat.leave();
        self.context.registry.detach(self.session, self.member, ending);
    }
}

impl<S> Connection<S> {
    /// A QoS 2 publish whose fate the client has not learned will be sent again. Its packet id is remembered if the
    /// message was taken, and must not be if it was not: then the repetition is all there is.
    async fn answer_for_inbound(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        for (owed, receipt) in std::mem::take(&mut self.owed) {
            let Owed::PubRec(id) = owed else { continue };
            while receipt.outcome().is_none() && timeout_at(deadline, self.session.mailbox.woken()).await.is_ok() {}
            if receipt.outcome() != Some(reason::SUCCESS) {
                self.session.inbound.remove(&id);
            } else if self.session.is_lasting() {
                self.context.archive.note(Change::Took(self.session.id, id));
            }
        }
    }
}

/// Writes what there is to write, or flushes when all is written. Cancel safe.
async fn send_some<W: AsyncWrite + Unpin>(
    writer: &mut W,
    out: &mut BytesMut,
    flushed: &mut bool,
) -> std::io::Result<()> {
    if out.is_empty() {
        writer.flush().await?;
        *flushed = true;
    } else {
        writer.write_buf(out).await?;
        *flushed = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::{Access, Broker, Config};

    /// Connects with the client identifier `x`, subscribes to a group, and says more.
    async fn client(broker: &Broker, more: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream
            .write_all(b"\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01x")
            .await
            .unwrap();
        stream.write_all(b"\x82\x0f\0\x01\0\x0a$share/g/t\x01").await.unwrap();
        let mut answers = [0; 9];
        stream.read_exact(&mut answers).await.unwrap();
        assert_eq!(answers, *b"\x20\x02\0\0\x90\x03\0\x01\x01");
        stream.write_all(more).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn connection_that_panics_gives_back_its_leases_and_its_client_identifier() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().to_owned(),
            access: Access::open("host"),
            ..Config::default()
        };
        let broker = Broker::start(config).await.unwrap();
        // It publishes to its own group, is leased the message, and dies of the next.
        let mut first = client(&broker, b"\x32\x06\0\x01t\0\x05!").await;
        let mut lease = [0; 12];
        first.read_exact(&mut lease).await.unwrap();
        assert_eq!(broker.operator().groups().await[0].leased, 1);
        let length = incoming::POISON.len() as u8;
        let poison = [&[0x30, 2 + length, 0, length], incoming::POISON.as_bytes()].concat();
        first.write_all(&poison).await.unwrap();
        assert!(matches!(first.read(&mut lease).await, Ok(0) | Err(_)));
        let mut second = client(&broker, b"").await;
        let mut again = [0; 8];
        second.read_exact(&mut again).await.unwrap();
        // Its session lasts, so the lower packet ids are for what is on disk.
        assert_eq!(again, *b"\x3a\x06\0\x01t\x80\0!");
        broker.stop().await;
    }
}
