//! A broker for a test, and clients that do exactly what the test says, on the packet codecs of rumqttc.

#![allow(dead_code, reason = "every test binary uses another part")]

pub mod process;
pub mod v4;
pub mod v5;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use foundry_broker::{Access, Broker, Config, GroupStatus, Operator};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to believe that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(300);

/// A broker in this process.
pub struct TestBroker {
    runtime: Runtime,
    broker: Option<Broker>,
    config: Config,
    pub address: SocketAddr,
    _directory: TempDir,
}

impl TestBroker {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// Everybody may do everything, unless the configuration says otherwise.
    pub fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().join("data"),
            access: Access::open("host"),
            ..Config::default()
        };
        configure(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let broker = runtime.block_on(Broker::start(config.clone())).unwrap();
        Self {
            address: broker.address(),
            runtime,
            broker: Some(broker),
            config,
            _directory: directory,
        }
    }

    pub fn groups(&self) -> Vec<GroupStatus> {
        self.runtime.block_on(self.operator().groups())
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> GroupStatus {
        self.groups().into_iter().find(|group| group.name == name).unwrap()
    }

    pub fn operator(&self) -> Operator {
        self.broker().operator()
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn stop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.stop());
        }
    }

    /// Stops it and starts another on the same data, at another address.
    pub fn restart(&mut self) {
        self.stop();
        let broker = self.runtime.block_on(Broker::start(self.config.clone())).unwrap();
        self.address = broker.address();
        self.broker = Some(broker);
    }
}

/// Waits until `done` is true.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A TCP connection with a buffer.
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Wire {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        // The broker may have closed already; what it said before is what the test looks at.
        drop(self.stream.write_all(bytes));
    }

    /// Reads until `parse` makes something of the buffer; `None` at the end of the stream or after `patience`.
    pub fn read<T>(&mut self, patience: Duration, mut parse: impl FnMut(&mut BytesMut) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = parse(&mut self.buffer) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => return None,
            }
        }
    }

    /// Does the broker close the connection?
    pub fn is_closed(&mut self) -> bool {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    /// Ends the connection without a word, as a crash does.
    pub fn die(self) {
        drop(self);
    }
}
