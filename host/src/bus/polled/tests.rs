//! A broker that does what the test says, over a real socket, and clients in front of it.

use std::sync::Arc;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Messages that no socket has room for together.
const MESSAGES: usize = 128;
const BYTES: usize = 256 * 1024;

/// Whatever a test waits for comes much sooner.
const LONG: Duration = Duration::from_secs(180);

/// The next packet's type, its contents read; none at the end.
async fn packet(stream: &mut TcpStream) -> Option<u8> {
    let first = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(first >> 4)
}

/// Accept one client, and have it keep alive a connection by a packet in so many seconds.
async fn accept(listener: &TcpListener, keep_alive: u8) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(packet(&mut stream).await, Some(CONNECT));
    // Its one property is Server Keep Alive (MQTT 5, section 3.2.2.3.14).
    stream
        .write_all(&[0x20, 6, 0, 0, 3, 0x13, 0, keep_alive])
        .await
        .unwrap();
    stream
}

async fn client(places: usize) -> (TcpListener, AsyncClient, EventLoop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = MqttOptions::new("c", "127.0.0.1", listener.local_addr().unwrap().port());
    let (client, events) = AsyncClient::new(options, places);
    (listener, client, events)
}

/// A broker that reads nothing until it is told to, and then counts messages to the end.
fn slow_broker(listener: TcpListener, keep_alive: u8, go_on: Arc<Notify>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut stream = accept(&listener, keep_alive).await;
        go_on.notified().await;
        let mut messages = 0;
        while let Some(kind) = packet(&mut stream).await.filter(|kind| *kind != DISCONNECT) {
            messages += usize::from(kind == PUBLISH);
            if kind == PINGREQ {
                let _ = stream.write_all(&[0xd0, 0]).await;
            }
        }
        messages
    })
}

/// A broker that answers pings, and nothing else.
fn silent_broker(listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        while let Some(kind) = packet(&mut stream).await {
            if kind == PINGREQ {
                let _ = stream.write_all(&[0xd0, 0]).await;
            }
        }
    })
}

fn publish_all(client: &AsyncClient) {
    for _ in 0..MESSAGES {
        client.try_publish("t", QoS::AtMostOnce, false, vec![0; BYTES]).unwrap();
    }
}

fn patient() -> Patience {
    Patience {
        answer: LONG,
        socket: LONG,
    }
}

/// Gives a packet up that is not answered soon.
fn impatient() -> Patience {
    Patience {
        answer: Duration::from_millis(100),
        ..patient()
    }
}

/// A broker that lets a client in, and from then on takes what it says, until it has gone.
async fn listen(listener: TcpListener) {
    let mut stream = accept(&listener, 1).await;
    while packet(&mut stream).await.is_some() {}
}

/// The error that ends a connection.
async fn end(events: &mut Polled) -> String {
    let end = async {
        loop {
            if let Err(error) = events.next().await {
                return error.to_string();
            }
        }
    };
    timeout(LONG, end).await.unwrap()
}

/// Why the module is there. If this fails, the library has been mended, and the module may go.
#[tokio::test]
async fn a_poll_that_is_dropped_loses_the_packet_that_it_was_writing() {
    let (listener, client, mut events) = client(2 * MESSAGES).await;
    let go_on = Arc::new(Notify::new());
    let broker = slow_broker(listener, 250, Arc::clone(&go_on));
    events.poll().await.unwrap();
    publish_all(&client);
    for _ in 0..20 {
        while timeout(Duration::from_millis(20), events.poll()).await.is_ok() {}
    }
    go_on.notify_one();
    client.try_disconnect().unwrap();
    timeout(LONG, async { while events.poll().await.is_ok() {} })
        .await
        .unwrap();
    let came = timeout(LONG, broker).await.unwrap().unwrap();
    assert!(came < MESSAGES, "all {came} messages came");
}

#[tokio::test]
async fn an_owner_that_stops_waiting_for_an_event_loses_no_packet() {
    let (listener, client, events) = client(2 * MESSAGES).await;
    let go_on = Arc::new(Notify::new());
    let broker = slow_broker(listener, 250, Arc::clone(&go_on));
    let mut events = Polled::with(events, ROOM, patient());
    events.next().await.unwrap();
    publish_all(&client);
    for _ in 0..20 {
        while timeout(Duration::from_millis(20), events.next()).await.is_ok() {}
    }
    go_on.notify_one();
    client.try_disconnect().unwrap();
    end(&mut events).await;
    assert_eq!(timeout(LONG, broker).await.unwrap().unwrap(), MESSAGES);
}

/// Each packet leaves an event that nobody takes.
#[tokio::test]
async fn a_full_channel_stops_polling_between_two_packets_and_is_no_silence_of_the_broker() {
    let (listener, client, events) = client(2 * MESSAGES).await;
    let go_on = Arc::new(Notify::new());
    go_on.notify_one();
    let broker = slow_broker(listener, 5, go_on);
    let mut events = Polled::with(events, 2, patient());
    events.next().await.unwrap();
    for _ in 0..MESSAGES {
        client.try_publish("t", QoS::AtMostOnce, false, "x").unwrap();
    }
    while events.events.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Longer than the keep-alive: pings are due.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(events.events.len(), 2, "events wait, and no more are made");
    client.try_disconnect().unwrap();
    let mut left = 0;
    let ended = async {
        while let Ok(event) = events.next().await {
            left += usize::from(matches!(event, Event::Outgoing(Outgoing::Publish(_))));
            if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                return true;
            }
        }
        false
    };
    assert!(timeout(LONG, ended).await.unwrap(), "it ended in order");
    assert_eq!(left, MESSAGES);
    drop(events);
    assert_eq!(timeout(LONG, broker).await.unwrap().unwrap(), MESSAGES);
}

#[tokio::test]
async fn a_publication_that_is_not_acknowledged_ends_the_connection() {
    let (listener, client, events) = client(10).await;
    let _broker = silent_broker(listener);
    let mut events = Polled::with(events, ROOM, impatient());
    client.try_publish("t", QoS::AtLeastOnce, false, "x").unwrap();
    let said = end(&mut events).await;
    assert!(said.contains("does not answer") && said.contains("PUBLISH"), "{said}");
    assert!(events.next().await.is_err(), "it has ended for good");
}

#[tokio::test]
async fn a_subscription_that_is_not_acknowledged_ends_the_connection() {
    let (listener, client, events) = client(10).await;
    let _broker = silent_broker(listener);
    let mut events = Polled::with(events, ROOM, impatient());
    client.try_subscribe("t", QoS::AtLeastOnce).unwrap();
    let said = end(&mut events).await;
    assert!(said.contains("a SUBSCRIBE packet"), "{said}");
}

#[tokio::test]
async fn a_ping_that_is_not_answered_ends_the_connection() {
    let (listener, _client, events) = client(10).await;
    let broker = tokio::spawn(listen(listener));
    let mut events = Polled::with(events, ROOM, patient());
    let said = end(&mut events).await;
    assert!(said.contains("pingreq"), "{said}");
    timeout(LONG, broker).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_that_takes_nothing_out_of_the_socket_ends_the_connection() {
    let (listener, client, events) = client(2 * MESSAGES).await;
    // It is never told to read.
    let _broker = slow_broker(listener, 5, Arc::default());
    let patience = Patience {
        answer: LONG,
        socket: Duration::ZERO,
    };
    let mut events = Polled::with(events, ROOM, patience);
    publish_all(&client);
    let said = end(&mut events).await;
    assert!(said.contains("takes nothing"), "{said}");
}

#[tokio::test]
async fn a_connection_ends_with_its_owner() {
    let (listener, _client, events) = client(10).await;
    let broker = tokio::spawn(listen(listener));
    let mut events = Polled::start(events);
    events.next().await.unwrap();
    drop(events);
    timeout(LONG, broker).await.unwrap().unwrap();
}

#[test]
fn an_answer_is_that_of_its_packet() {
    let now = Instant::now();
    let later = now + Duration::from_secs(2);
    let second = Duration::from_secs(1);
    let mut unanswered = Unanswered::default();
    unanswered.note(&Event::Outgoing(Outgoing::Publish(0)), now);
    unanswered.note(&Event::Outgoing(Outgoing::Subscribe(7)), now);
    unanswered.note(&Event::Outgoing(Outgoing::Publish(7)), later);
    let ack = rumqttc::v5::mqttbytes::v5::PubAck::new(7, None);
    unanswered.note(&Event::Incoming(Packet::PubAck(ack)), later);
    assert!(unanswered.check(now + second, second).is_ok(), "the time is not over");
    let error = unanswered.check(later, second).unwrap_err().to_string();
    assert!(error.contains("a SUBSCRIBE packet for 1 s"), "{error}");
}
