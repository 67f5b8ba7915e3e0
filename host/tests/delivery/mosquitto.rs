//! Debian's Mosquitto as a broker elsewhere, configured as the documentation says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foundry_host::bus::BrokerAddress;
use rustix::process::{Pid, Signal, kill_process};

#[path = "../../../tests/chaos/mosquitto.rs"]
pub mod documented;

pub struct Mosquitto {
    pub directory: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// With further lines in its configuration.
    pub fn start(directory: &Path, more: &str) -> Self {
        Self::configured(directory, |data, port| documented::configuration(data, port) + more)
    }

    /// With a configuration for a directory and a port.
    pub fn configured(directory: &Path, conf: impl FnOnce(&Path, u16) -> String) -> Self {
        let mut mosquitto = Self {
            directory: directory.join("mosquitto"),
            port: free_port(),
            child: None,
        };
        std::fs::create_dir(&mosquitto.directory).unwrap();
        let conf = conf(&mosquitto.directory, mosquitto.port);
        std::fs::write(mosquitto.conf(), conf).unwrap();
        mosquitto.run();
        mosquitto
    }

    fn conf(&self) -> PathBuf {
        self.directory.join("mosquitto.conf")
    }

    pub fn run(&mut self) {
        let program = Path::new("/usr/sbin/mosquitto");
        let program = if program.exists() {
            program
        } else {
            Path::new("mosquitto")
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(self.conf())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// End it in order, as a service manager does.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn address(&self) -> BrokerAddress {
        BrokerAddress::local(([127, 0, 0, 1], self.port).into())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
