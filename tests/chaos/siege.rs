//! What hosts have to bear beside their work: bots that misbehave, garbage on every topic, strangers at the door, bots that are replaced.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::support::signed_as;
use crate::world::World;

/// Bots for each host that works, which do what they are told.
pub fn bots() -> String {
    let hostile = foundry_test_guests::path("hostile");
    format!(
        "[bots.hostile]\nuse = {hostile:?}\nendpoint = \"hostile\"\ngrants.read = [\"hostile-in\"]\n\
         grants.publish = [\"hostile-out\"]\ngrants.artifacts = true\ntimeout = \"2s\"\n\n"
    )
}

/// What they are told, often. After each they are told to do something ordinary.
const MISDEEDS: [&str; 8] = [
    "flood",
    "delete for ever",
    "read for ever",
    "publish for ever",
    "big event",
    "big state",
    "bad build",
    "artifact name",
];

/// What is tried again for a while, since the bot failed: seldom, so that what waits does not pile up.
const FAILURES: [&str; 4] = ["panic", "recurse", "write, then panic", "memory"];

/// Between two orders.
const ORDERS: Duration = Duration::from_secs(1);

/// One in so many orders has the bot fail.
const FAILS: u64 = 15;

/// Where garbage goes, without prefix: to bots, to who records, and to nobody. Not where the broker keeps a backlog: that fills up, to its bound.
const TOPICS: [&str; 7] = ["t1", "t2", "t3", "done", "failures", "hostile-in", "logs/left"];

/// Bytes of the largest piece of garbage.
const LARGEST: u64 = 16 * 1024;

/// Messages between two looks at the world.
const VOLLEY: usize = 40;

pub struct Siege {
    runtime: Runtime,
    dice: Dice,
    /// A connection that lasts.
    client: Option<(AsyncClient, rumqttc::v5::EventLoop)>,
    source: PathBuf,
    port: u16,
    told: u64,
    ordered: Instant,
    /// Messages that the broker has acknowledged.
    pub messages: Arc<AtomicU64>,
    /// Times that a bot was replaced.
    pub reloads: u64,
    /// Bots that were refused.
    pub refused: u64,
}

impl Siege {
    pub fn of(world: &World, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            runtime,
            dice: Dice::new(seed),
            client: None,
            source: world.state("source"),
            port: world.port(),
            told: 0,
            ordered: Instant::now(),
            messages: Arc::default(),
            reloads: 0,
            refused: 0,
        }
    }

    /// A volley of messages, and a few strangers.
    pub fn step(&mut self) {
        let mut volley: Vec<_> = (0..VOLLEY).map(|_| self.garbage()).collect();
        volley.extend(self.orders());
        self.publish(volley);
        self.strangers();
    }

    fn garbage(&mut self) -> (String, Vec<u8>) {
        let topic = format!("foundry/{}", self.dice.pick(&TOPICS));
        let length = self.dice.between(0, LARGEST) as usize;
        let payload = match self.dice.between(0, 3) {
            0 => vec![0xff; length],
            1 => format!("{{\"id\":\"{}\",\"data\":\"{}\"}}", self.told, "x".repeat(length)).into_bytes(),
            2 => "[".repeat(length).into_bytes(),
            // Of the right form, and signed by nobody.
            _ => json!({
                "specversion": "1.0", "id": format!("{:032x}", self.dice.between(0, u64::MAX - 1)), "source": "right/stage1",
                "type": "test.relay.v1", "time": "2026-11-30T12:00:00Z", "data": { "n": 1, "pad": "x".repeat(length) },
            })
            .to_string()
            .into_bytes(),
        };
        (topic, payload)
    }

    /// A misdeed for the hostile bots, and something ordinary.
    fn orders(&mut self) -> Vec<(String, Vec<u8>)> {
        if self.ordered.elapsed() < ORDERS {
            return Vec::new();
        }
        self.ordered = Instant::now();
        let misdeed = match self.dice.one_in(FAILS) {
            true => *self.dice.pick(&FAILURES),
            false => *self.dice.pick(&MISDEEDS),
        };
        self.told += 1;
        [misdeed, "done"]
            .into_iter()
            .map(|what| {
                let name = format!("{}-{}", self.told, what.len());
                let order = signed_as(
                    "source",
                    &self.source,
                    "hostile-in",
                    &name,
                    "test.order.v1",
                    json!({ "do": what }),
                );
                ("foundry/hostile-in".to_owned(), order)
            })
            .collect()
    }

    /// Publish, and wait until the broker has it all. A broker that is away for a moment gets it the next time.
    fn publish(&mut self, messages: Vec<(String, Vec<u8>)>) {
        let port = self.port;
        let (client, mut events) = self.client.take().unwrap_or_else(|| {
            let mut options = MqttOptions::new("besieger", "127.0.0.1", port);
            options.set_max_packet_size(Some(4 * 1024 * 1024));
            AsyncClient::new(options, 2 * VOLLEY)
        });
        let count = messages.len();
        let done = self.runtime.block_on(async {
            for (topic, payload) in messages {
                client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
            }
            let mut left = count;
            while left > 0 {
                match tokio::time::timeout(Duration::from_secs(120), events.poll()).await {
                    Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => left -= 1,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return false,
                }
            }
            true
        });
        if done {
            self.messages.fetch_add(count as u64, Ordering::Relaxed);
            // Now and then it is another connection.
            if !self.dice.one_in(20) {
                self.client = Some((client, events));
            }
        }
    }

    /// Connections that say nothing, nonsense, or half a packet.
    fn strangers(&mut self) {
        for said in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            &[0x10, 0xff, 0xff, 0xff, 0x7f],
            &[0x10, 0x20, 0, 4],
        ] {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                let _ = stream.write_all(said);
            }
        }
    }

    /// A bot comes in the place of another one, and one that asks for too much is refused.
    pub fn reload(&mut self, world: &World) {
        let load = |guest: &str, name: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_foundry-host"));
            command
                .args(["load", "--replace", "--allow-read", &format!("{guest}-in")])
                .arg(foundry_test_guests::path(guest))
                .args(["--as", name])
                .env("FOUNDRY_STATE", world.state("left"))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().unwrap().success()
        };
        self.reloads += u64::from(load("noop", "victim"));
        self.refused += u64::from(!load("greedy", "greedy"));
    }
}
