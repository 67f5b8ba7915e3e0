//! The broker that is judged.

use std::any::Any;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::{TestBroker, eventually};

/// What a scenario needs to be bounded.
#[derive(Default)]
pub struct Bounds {
    pub packet_bytes: Option<u32>,
    pub keep_alive_seconds: Option<u16>,
}

/// Foundry's broker, or Mosquitto.
pub struct Tested {
    pub address: SocketAddr,
    /// Ends when it is dropped.
    _broker: Box<dyn Any>,
}

impl Tested {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(bound: impl FnOnce(&mut Bounds)) -> Self {
        let mut bounds = Bounds::default();
        bound(&mut bounds);
        match std::env::var("FOUNDRY_CONFORMANCE").as_deref() {
            Ok("mosquitto") => Self::mosquitto(&bounds),
            Ok(other) => panic!("FOUNDRY_CONFORMANCE is {other}, and can only be mosquitto"),
            Err(_) => Self::foundry(&bounds),
        }
    }

    fn foundry(bounds: &Bounds) -> Self {
        let broker = TestBroker::with(|config| {
            let limits = &mut config.limits;
            limits.packet_bytes = bounds.packet_bytes.unwrap_or(limits.packet_bytes);
            limits.keep_alive_seconds = bounds.keep_alive_seconds.unwrap_or(limits.keep_alive_seconds);
        });
        Self {
            address: broker.address,
            _broker: Box::new(broker),
        }
    }

    fn mosquitto(bounds: &Bounds) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut text = format!("listener {} 127.0.0.1\nallow_anonymous true\n", address.port());
        if let Some(bytes) = bounds.packet_bytes {
            writeln!(text, "max_packet_size {bytes}").unwrap();
        }
        if let Some(seconds) = bounds.keep_alive_seconds {
            writeln!(text, "max_keepalive {seconds}").unwrap();
        }
        let config = directory.path().join("mosquitto.conf");
        std::fs::write(&config, text).unwrap();
        let child = Command::new("mosquitto")
            .args(["-c".as_ref(), config.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto (package mosquitto) runs");
        let running = Mosquitto {
            child,
            _directory: directory,
        };
        eventually("mosquitto listens", || TcpStream::connect(address).is_ok());
        Self {
            address,
            _broker: Box::new(running),
        }
    }
}

struct Mosquitto {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
