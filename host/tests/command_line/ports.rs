//! A port that another program has.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::home::{Home, eventually, load};
use super::sight::{broker_port, publish};

const DEFAULT: &str = "127.0.0.1:1883";

/// How long to wait for a port that another program has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Debian's Mosquitto.
struct Mosquitto(Child);

impl Mosquitto {
    /// On its usual port. If another program of this machine has that and keeps it, that does as well.
    fn start() -> Self {
        let begun = Instant::now();
        loop {
            let mut mosquitto = Self::on(DEFAULT);
            if mosquitto.0.try_wait().unwrap().is_none() || begun.elapsed() > PATIENCE {
                return mosquitto;
            }
        }
    }

    fn on(address: &str) -> Self {
        let port = address.rsplit(':').next().unwrap();
        let mut command = Command::new("mosquitto");
        command.args(["-p", port]).stdout(Stdio::null()).stderr(Stdio::null());
        let mosquitto = Self(command.spawn().unwrap());
        eventually("the port is taken", || TcpStream::connect(address).is_ok());
        // One that found the port in use ends about now.
        std::thread::sleep(Duration::from_millis(200));
        mosquitto
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A home in which nobody has named a port.
fn home() -> Home {
    let home = Home::bare();
    std::fs::create_dir(home.state()).unwrap();
    std::fs::write(home.state().join("foundry.toml"), "[host]\nname = \"here\"\n").unwrap();
    home
}

#[test]
fn port_1883_is_taken_by_mosquitto() {
    let _mosquitto = Mosquitto::start();
    let homes = [home(), home()];
    let said = homes[0].run(&load(&[&Home::guest("relay")]));
    assert_eq!(said.code, 0, "{}", said.err);
    let port = broker_port(&homes[0]);
    let expected = format!("broker mqtt://127.0.0.1:{port} (another program has {DEFAULT}), log");
    assert!(said.err.contains(&expected), "{}", said.err);
    // Another user of the machine.
    let second = homes[1].start(&["run"]);
    let said = second.read_until("is ready");
    let other = broker_port(&homes[1]);
    let expected = format!("broker mqtt://127.0.0.1:{other} (another program has {DEFAULT}), state");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains("another program listens where the broker would"),
        "{said}"
    );
    homes[1].ok(&load(&[&Home::guest("relay")]));

    assert!(port != "1883" && other != "1883" && port != other);
    for home in &homes {
        let status = home.json(&["status"]);
        assert_eq!(status["broker-displaced"], DEFAULT);
        let shown = home.ok(&["status"]);
        assert!(
            shown.contains(&format!(" (another program has {DEFAULT})\n")),
            "{shown}"
        );
        // Its own bots have found it.
        publish(home, "foundry/relay-in", "no event");
        eventually("the bot has had it", || {
            home.json(&["dead-letters", "list"]).as_array().unwrap().len() == 1
        });
        let checked = home.ok(&["check"]);
        assert!(!checked.contains("1883"), "{checked}");
    }
}

#[test]
fn a_port_that_was_named_is_taken_and_the_host_says_who_named_it() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let _mosquitto = Mosquitto::on(&free);
    let home = home();
    let named = format!("[broker]\nlisten = \"{free}\"\n");
    std::fs::write(home.state().join("foundry.toml"), named).unwrap();
    let said = home.run(&["run"]);
    assert_eq!(said.code, 6, "{}", said.err);
    let expected = format!(
        "cannot listen on {free}: the address is in use (stop the other program, or set `broker.listen` in foundry.toml)"
    );
    assert!(said.err.contains(&expected), "{}", said.err);
}
