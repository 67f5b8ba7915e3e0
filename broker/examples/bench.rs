//! Messages per second and latency of this broker beside Mosquitto and bare rumqttd, in one run:
//! `benches/broker [MESSAGES]`.
//!
//! QoS 1, 256 bytes. Publishers keep 100 publishes under way; subscribers acknowledge each message. Every broker is
//! a process of its own, and all clients are the same code, so that the numbers compare.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PAYLOAD: usize = 256;
const WINDOW: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that speaks just enough MQTT 5.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    /// With a session that lasts an hour, or ends with the connection.
    fn connect(address: SocketAddr, id: &str, lasting: bool) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        };
        // Clean start, a minute of keep alive (rumqttd refuses to go without), receive maximum 100.
        let properties: &[u8] = match lasting {
            true => b"\x08\x21\0\x64\x11\0\0\x0e\x10",
            false => b"\x03\x21\0\x64",
        };
        let mut packet = [b"\0\x04MQTT\x05\x02\0\x3c", properties].concat();
        packet.extend((id.len() as u16).to_be_bytes());
        packet.extend(id.as_bytes());
        client.stream.write_all(&framed(0x10, &packet))?;
        match client.packet()? {
            (0x20, body) if body.get(1) == Some(&0) => Ok(client),
            other => Err(format!("not connected: {other:?}").into()),
        }
    }

    fn subscribe(&mut self, filter: &str) -> Result<()> {
        let mut packet = vec![0, 1, 0];
        packet.extend((filter.len() as u16).to_be_bytes());
        packet.extend(filter.as_bytes());
        packet.push(1);
        self.stream.write_all(&framed(0x82, &packet))?;
        match self.packet()? {
            (0x90, body) if body.last() == Some(&1) => Ok(()),
            other => Err(format!("not subscribed: {other:?}").into()),
        }
    }

    /// A packet that is in the buffer already.
    fn buffered(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = self.buffer.get(self.start..)?;
        let header = *bytes.first()?;
        let mut length = 0;
        let mut used = 1;
        loop {
            let byte = *bytes.get(used)?;
            length |= usize::from(byte & 0x7f) << (7 * (used - 1));
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = bytes.get(used..used + length)?.to_vec();
        self.start += used + length;
        Some((header, body))
    }

    fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = self.buffered() {
                return Ok(packet);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 32 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err("the broker closed the connection".into()),
                count => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            }
        }
    }
}

fn framed(header: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![header];
    let mut rest = body.len();
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        packet.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn publish(mut client: Client, messages: usize, epoch: Instant) -> Result<()> {
    let (mut sent, mut acknowledged) = (0, 0);
    let mut out = Vec::new();
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < WINDOW {
            let mut body = b"\0\x05bench".to_vec();
            body.extend(((sent % 60_000 + 1) as u16).to_be_bytes());
            body.push(0);
            let mut payload = [0; PAYLOAD];
            let now = epoch.elapsed().as_nanos() as u64;
            payload
                .iter_mut()
                .zip(now.to_be_bytes())
                .for_each(|(to, from)| *to = from);
            body.extend(payload);
            out.extend(framed(0x32, &body));
            sent += 1;
        }
        client.stream.write_all(&out)?;
        out.clear();
        let mut next = Some(client.packet()?);
        while let Some((header, body)) = next {
            match (header, body.get(2)) {
                (0x40, None | Some(&0)) => acknowledged += 1,
                other => return Err(format!("not acknowledged: {other:?}").into()),
            }
            next = client.buffered();
        }
    }
    Ok(())
}

/// Takes messages until all subscribers together have `total`; returns latencies.
fn take(mut client: Client, taken: &AtomicUsize, total: usize, epoch: Instant) -> Result<Vec<u64>> {
    let mut latencies = Vec::with_capacity(total);
    client.stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut acks = Vec::new();
    let mut idle = Instant::now();
    while taken.load(Ordering::Relaxed) < total {
        let mut next = match client.packet() {
            Ok(packet) => Some(packet),
            Err(_) if idle.elapsed() < PATIENCE => None,
            Err(error) => return Err(error),
        };
        while let Some((header, body)) = next {
            idle = Instant::now();
            if header >> 4 == 3 {
                let topic = usize::from(body.get(1).copied().unwrap_or(0));
                if header & 0x06 != 0 {
                    let id = body.get(2 + topic..4 + topic).unwrap_or_default();
                    acks.extend([0x40, 2]);
                    acks.extend(id);
                }
                let stamp = body.len().checked_sub(PAYLOAD).and_then(|at| body.get(at..at + 8));
                let sent = stamp
                    .and_then(|stamp| stamp.try_into().ok())
                    .map_or(0, u64::from_be_bytes);
                latencies.push((epoch.elapsed().as_nanos() as u64).saturating_sub(sent));
                taken.fetch_add(1, Ordering::Relaxed);
            }
            next = client.buffered();
        }
        client.stream.write_all(&acks)?;
        acks.clear();
    }
    Ok(latencies)
}

struct Outcome {
    rate: f64,
    median: Duration,
    p99: Duration,
}

/// Who talks to whom.
struct Scenario {
    name: &'static str,
    filter: &'static str,
    publishers: usize,
    subscribers: usize,
    /// Subscribers' sessions outlive their connections.
    lasting: bool,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "one to one",
        filter: "bench",
        publishers: 1,
        subscribers: 1,
        lasting: false,
    },
    Scenario {
        name: "one to a lasting session",
        filter: "bench",
        publishers: 1,
        subscribers: 1,
        lasting: true,
    },
    Scenario {
        name: "group of four",
        filter: "$share/g/bench",
        publishers: 1,
        subscribers: 4,
        lasting: false,
    },
    Scenario {
        name: "group of four, 8 publishers",
        filter: "$share/g/bench",
        publishers: 8,
        subscribers: 4,
        lasting: false,
    },
];

fn measure(address: SocketAddr, scenario: &Scenario, messages: usize) -> Result<Outcome> {
    let &Scenario {
        filter,
        publishers,
        subscribers,
        lasting,
        ..
    } = scenario;
    let epoch = Instant::now();
    let total = messages / publishers * publishers;
    let taken = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(publishers + 1));
    let mut subscriber_threads = Vec::new();
    for number in 0..subscribers {
        let mut client = Client::connect(address, &format!("sub{number}"), lasting)?;
        client.subscribe(filter)?;
        let taken = Arc::clone(&taken);
        subscriber_threads.push(thread::spawn(move || take(client, &taken, total, epoch)));
    }
    let mut publisher_threads = Vec::new();
    for number in 0..publishers {
        let client = Client::connect(address, &format!("pub{number}"), false)?;
        let barrier = Arc::clone(&barrier);
        publisher_threads.push(thread::spawn(move || {
            barrier.wait();
            publish(client, total / publishers, epoch)
        }));
    }
    barrier.wait();
    let started = Instant::now();
    let joined = |_| Box::<dyn Error + Send + Sync>::from("a client panicked");
    for publisher in publisher_threads {
        publisher.join().map_err(joined)??;
    }
    let mut latencies = Vec::new();
    for subscriber in subscriber_threads {
        latencies.extend(subscriber.join().map_err(joined)??);
    }
    // A reader that waits in vain at the end sees the end up to 200 ms late, so the last message tells the time.
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share) as usize;
        Duration::from_nanos(latencies.get(index).copied().unwrap_or(0))
    };
    Ok(Outcome {
        rate: total as f64 / elapsed.as_secs_f64(),
        median: at(0.5),
        p99: at(0.99),
    })
}

struct Process(Child);

impl Process {
    /// Processor time that it has used, in its own code and in the system's.
    fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // After the name in parentheses, the 12th and 13th fields are ticks of a hundredth of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_for(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(format!("no broker at {address}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// This broker, with these topics in its backlog.
fn ours(directory: &Path, backlog: &[&str]) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let program: PathBuf = std::env::current_exe()?
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("foundry-broker"))
        .ok_or("no target directory")?;
    let child = Command::new(program)
        .arg(address.to_string())
        .arg(directory.join("ours"))
        .arg("host")
        .args(backlog)
        .stdout(Stdio::null())
        .spawn()?;
    let process = Process(child);
    wait_for(address)?;
    Ok((process, address))
}

/// rumqttd by itself, as its own listener serves it.
fn bare_rumqttd() -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--rumqttd", &address.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Process(child);
    wait_for(address)?;
    Ok((process, address))
}

/// What the process of [`bare_rumqttd`] does.
fn serve_rumqttd(address: SocketAddr) -> Result<()> {
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "bench".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = rumqttd::RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 200,
        max_segment_size: 100 << 20,
        max_segment_count: 10,
        ..rumqttd::RouterConfig::default()
    };
    let config = rumqttd::Config {
        router,
        v5: Some([("v5".to_owned(), server)].into()),
        ..rumqttd::Config::default()
    };
    Ok(rumqttd::Broker::new(config).start()?)
}

fn mosquitto(directory: &Path, persistence: bool) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let config = directory.join("mosquitto.conf");
    let location = directory.display();
    let mut text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n",
        address.port()
    );
    if persistence {
        text += &format!("persistence true\npersistence_location {location}/\nautosave_interval 1\n");
    }
    if std::env::var("USER").is_ok_and(|user| user == "root") || std::fs::metadata("/root").is_ok() {
        text += "user root\n";
    }
    std::fs::write(&config, text)?;
    let child = Command::new("mosquitto")
        .args(["-c".as_ref(), config.as_os_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Process(child);
    wait_for(address)?;
    Ok((process, address))
}

const BROKERS: [&str; 5] = [
    "foundry",
    "foundry, backlog",
    "rumqttd",
    "mosquitto",
    "mosquitto, persistent",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages: usize = match arguments.as_slice() {
        [flag, address] if flag == "--rumqttd" => return serve_rumqttd(address.parse()?),
        [messages] => messages.parse()?,
        _ => 100_000,
    };
    let directory = tempfile::tempdir()?;
    println!("{messages} messages of {PAYLOAD} bytes, QoS 1, {WINDOW} under way per publisher");
    println!(
        "{:<30} {:<24} {:>12} {:>9} {:>9} {:>9}",
        "scenario", "broker", "messages/s", "median", "p99", "cpu us"
    );
    for scenario in &SCENARIOS {
        for broker in BROKERS {
            let (process, address) = match broker {
                "foundry" => ours(directory.path(), &[])?,
                "foundry, backlog" => ours(directory.path(), &["bench"])?,
                "rumqttd" => bare_rumqttd()?,
                "mosquitto" => mosquitto(directory.path(), false)?,
                _ => mosquitto(directory.path(), true)?,
            };
            let before = process.processor_time()?;
            let outcome = measure(address, scenario, messages)?;
            let spent = (process.processor_time()? - before).as_secs_f64() * 1e6 / messages as f64;
            println!(
                "{:<30} {broker:<24} {:>12.0} {:>9.2?} {:>9.2?} {spent:>9.1}",
                scenario.name, outcome.rate, outcome.median, outcome.p99
            );
        }
    }
    Ok(())
}
