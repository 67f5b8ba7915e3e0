//! Whoever runs a builder that is not his: he has its key for messages, its certificate and so its account at the broker, and
//! speaks MQTT with Mosquitto's clients, which do whatever they are told.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use foundry_host::event::Event;
use serde_json::Value;

use crate::farm::Farm;
use crate::machine::Machine;
use crate::support::{changed, event, signer};

/// What the broker says to a message: taken, or taken and nobody reads it (MQTT 5, section 3.4.2.1).
const TAKEN: [u8; 2] = [0x00, 0x10];

/// Not authorized, in every packet that has reason codes.
pub const NOT_AUTHORIZED: u8 = 0x87;

/// The thief, at his machine.
pub struct Thief<'a> {
    farm: &'a Farm,
    machine: &'a Machine,
    listener: Child,
}

impl<'a> Thief<'a> {
    /// He sits down at a machine, and listens to all that its account may hear of events.
    pub fn at(farm: &'a Farm, machine: &'a Machine) -> Self {
        let heard = File::create(machine.file("heard")).unwrap();
        // Presence is retained: once it is there, the subscription is.
        let topics = ["hosts/+", "commits", "builds", "signs", "dists", "failures"];
        let topics = topics
            .iter()
            .flat_map(|topic| ["-t".to_owned(), format!("foundry/{topic}")]);
        let listener = client(farm, machine, "mosquitto_sub")
            .args(["-q", "1", "-F", "%t %p"])
            .args(topics)
            .stdout(heard)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let thief = Self {
            farm,
            machine,
            listener,
        };
        farm.eventually("the thief hears something", || thief.heard("hosts/head").pop());
        thief
    }

    /// What he heard on a topic, as it came.
    pub fn heard(&self, topic: &str) -> Vec<String> {
        let all = fs::read_to_string(self.machine.file("heard")).unwrap();
        let beginning = format!("foundry/{topic} ");
        let heard = all.lines().filter_map(|line| line.strip_prefix(&beginning));
        heard.map(ToOwned::to_owned).collect()
    }

    /// The first event that he heard on a topic of a host.
    pub fn heard_of(&self, topic: &str, host: &str) -> Value {
        self.farm.eventually(&format!("an event of {host} on {topic}"), || {
            let events = self.heard(topic).into_iter();
            let mut events = events.filter_map(|text| serde_json::from_str::<Value>(&text).ok());
            events.find(|event| event["source"].as_str().is_some_and(|source| source.starts_with(host)))
        })
    }

    /// An event of this machine's host, signed with its key, with whatever he changes in it.
    pub fn says(&self, topic: &str, id: &str, kind: &str, data: Value, change: impl FnOnce(&mut Event)) -> Vec<u8> {
        let event = changed(event(topic, id, kind, data), |event| {
            event.source = format!("{}/build", self.machine.name);
            change(event);
        });
        event.sign(&signer(&self.machine.state())).unwrap()
    }

    /// Publishes on a topic, retained or not; returns whether the broker took it.
    pub fn publish(&self, topic: &str, payload: &[u8], retained: bool) -> Result<(), u8> {
        let file = self.payload(payload);
        let mut publish = client(self.farm, self.machine, "mosquitto_pub");
        publish.args(["-d", "-q", "1", "-t", topic]).arg("-f").arg(&file);
        let output = publish.args(retained.then_some("-r")).output().unwrap();
        match code(&output, "RC:") {
            Some(code) if TAKEN.contains(&code) => Ok(()),
            Some(code) => Err(code),
            None => panic!("no answer: {output:?}"),
        }
    }

    fn payload(&self, bytes: &[u8]) -> PathBuf {
        let file = self.machine.file("payload");
        fs::write(&file, bytes).unwrap();
        file
    }

    /// What the broker says to a subscription: the quality of service that it grants, or why it does not.
    pub fn subscribe(&self, filter: &str) -> u8 {
        let mut subscribe = client(self.farm, self.machine, "mosquitto_sub");
        let output = subscribe.args(["-d", "-q", "1", "-E", "-t", filter]).output().unwrap();
        code(&output, "Subscribed (mid: 1): ").unwrap_or_else(|| panic!("no answer: {output:?}"))
    }

    /// What the broker says to a client with those arguments.
    pub fn connect(&self, arguments: &[&str]) -> u8 {
        let mut connect = client(self.farm, self.machine, "mosquitto_pub");
        connect.args(["-d", "-t", "foundry/jobs", "-n"]).args(arguments);
        let output = connect.output().unwrap();
        code(&output, "received CONNACK (").unwrap_or_else(|| panic!("no answer: {output:?}"))
    }

    /// Whether anybody lets him in at a port of the head's, with those arguments of a client.
    pub fn gets_in(&self, port: &str, arguments: &[&str]) -> bool {
        let mut connect = self.machine.command("mosquitto_pub");
        let head = self.farm.head.address.to_string();
        connect.args([
            "-V",
            "mqttv5",
            "-d",
            "-h",
            &head,
            "-p",
            port,
            "-t",
            "foundry/jobs",
            "-n",
        ]);
        let output = connect.args(arguments).output().unwrap();
        code(&output, "received CONNACK (") == Some(0)
    }
}

impl Drop for Thief<'_> {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

/// A client with the machine's account.
fn client(farm: &Farm, machine: &Machine, program: &str) -> Command {
    let mut client = machine.command(program);
    let (certificate, key) = (format!("{}.pem", machine.name), format!("{}.key", machine.name));
    client
        .args(["-V", "mqttv5", "-p", "8883", "-h", &farm.head.address.to_string()])
        .args(["--cafile", "ca.pem", "--cert", &certificate, "--key", &key]);
    client
}

/// The number after a text in what a client printed.
fn code(output: &Output, before: &str) -> Option<u8> {
    let said = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = said.split_once(before)?;
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    number.parse().ok()
}
