//! Ways in for the fuzzer (`broker/fuzz`).

mod seeds;

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::time::Duration;

use crate::codec::{Version, decode as decode_packet, decode_connect, next_frame};
use crate::connection;
use crate::listen::{Door, Peer};
use crate::{Access, Broker, Config};

pub use seeds::sow;

/// Decodes as many packets as there are in `bytes`.
pub fn decode(bytes: &[u8]) {
    for version in [Version::V4, Version::V5] {
        let mut buffer = BytesMut::from(bytes);
        while let Ok(Some(frame)) = next_frame(&mut buffer, 1 << 20) {
            drop(decode_connect(frame.header, &frame.body));
            drop(decode_packet(version, frame.header, &frame.body));
        }
    }
}

const LOCAL: Peer = Peer {
    local: true,
    certificate: None,
};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A broker to talk to.
#[derive(Debug)]
pub struct Conversations {
    runtime: Runtime,
    broker: Broker,
}

impl Default for Conversations {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::expect_used, reason = "a fuzzer without a broker has nothing to do")]
impl Conversations {
    /// Starts a broker in a directory for temporary files.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the runtime starts");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: std::env::temp_dir().join(format!("foundry-fuzz-{}", std::process::id())),
            access: Access::open("host"),
            ..Config::default()
        };
        let broker = runtime.block_on(Broker::start(config)).expect("the broker starts");
        Self { runtime, broker }
    }

    /// Says all of `bytes` but the first, which chooses a CONNECT to say before, and hangs up. A panic of the
    /// connection is a panic here.
    pub fn hold(&self, bytes: &[u8]) {
        let Some((choice, rest)) = bytes.split_first() else {
            return;
        };
        let connect: &[u8] = match choice % 3 {
            0 => b"",
            1 => b"\x10\x0e\0\x04MQTT\x04\x00\0\0\0\x02v4",
            _ => b"\x10\x14\0\x04MQTT\x05\x00\0\0\x05\x11\0\0\0\x3c\0\x02v5",
        };
        let context = Arc::clone(self.broker.context());
        self.say(&[connect, rest].concat(), |server| {
            connection::serve(server, LOCAL, context)
        });
    }

    /// The same through the door for WebSockets: the first byte chooses whether to ask for a WebSocket before, and
    /// whether to send a CONNECT in it.
    pub fn hold_by_websocket(&self, bytes: &[u8]) {
        let Some((choice, rest)) = bytes.split_first() else {
            return;
        };
        let before: &[&[u8]] = match choice % 3 {
            0 => &[],
            1 => &[UPGRADE],
            // A binary message, masked with zeros.
            _ => &[UPGRADE, b"\x82\x90\0\0\0\0\x10\x0e\0\x04MQTT\x04\x00\0\0\0\x02ws"],
        };
        let context = Arc::clone(self.broker.context());
        let door = Door::of_websockets();
        self.say(&[before.concat().as_slice(), rest].concat(), |server| async move {
            door.converse(server, LOCAL, context).await;
        });
    }

    fn say<F: Future<Output = ()>>(&self, bytes: &[u8], serve: impl FnOnce(DuplexStream) -> F) {
        self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let serving = serve(server);
            let talking = async {
                drop(client.write_all(bytes).await);
                let mut answers = Vec::new();
                let listen = client.read_to_end(&mut answers);
                drop(tokio::time::timeout(Duration::from_millis(2), listen).await);
                drop(client);
            };
            tokio::join!(serving, talking);
        });
    }
}
