//! Dead letters that are tried again.

use std::process::Command;

use foundry_host::bus::BrokerAddress;
use foundry_host::ledger::{DeadLetterKind, LetterNumber};
use serde_json::json;

use crate::support::{TestHost, eventually, id_of, owner_of, publish, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_given_up_is_handled_once_when_it_is_requeued() {
    let host = TestHost::start().await;
    host.load("hostile").await;
    host.tell("d1", "what nobody knows").await;
    let letter = eventually("a dead letter", async || host.dead_letters().await.pop()).await;
    assert_eq!(letter.number(), LetterNumber::Host(letter.seq));

    // The operator replaces the bot by one that can do it, under the same name.
    host.host.stop("hostile").await.unwrap();
    assert!(host.host.ledger().requeue_dead_letter(letter.seq).await.unwrap());
    assert!(host.dead_letters().await[0].requeued, "it waits for its bot");
    let better = spec("relay")
        .named("hostile")
        .option("watch", "hostile-in")
        .option("endpoint", "hostile");
    host.host.load(better).await.unwrap();
    eventually("it is no dead letter any more", async || {
        host.dead_letters().await.is_empty().then_some(())
    })
    .await;
    let seen = host.host.ledger().state("hostile", "seen").await.unwrap().unwrap();
    assert_eq!(seen, b"1");
    assert!(!host.host.ledger().requeue_dead_letter(letter.seq).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_again_is_a_dead_letter_again() {
    let host = TestHost::start().await;
    host.load("hostile").await;
    host.tell("d1", "what nobody knows").await;
    let first = eventually("a dead letter", async || host.dead_letters().await.pop()).await;
    assert!(host.host.ledger().requeue_dead_letter(first.seq).await.unwrap());
    let second = eventually("another", async || {
        host.dead_letters()
            .await
            .into_iter()
            .find(|letter| letter.seq != first.seq)
    })
    .await;
    let id = id_of("hostile-in", "d1", "test.order.v1");
    assert_eq!((second.id, second.requeued), (Some(id), false));
    assert_eq!(host.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_of_the_broker_has_set_aside_can_be_listed_requeued_and_dropped() {
    let host = TestHost::start().await;
    let address = owner_of(host.directory.path(), host.host.broker().port);
    let (user, password) = address.login.clone().unwrap();
    let port = address.port.to_string();
    let member = Refuser::join(&address).await;
    for n in 0..2 {
        publish(
            &address,
            "jobs",
            json!({ "id": format!("j{n}") }).to_string().into_bytes(),
        )
        .await;
    }
    let letters = eventually("both are set aside", async || {
        let letters = host.host.group_dead_letters(None, None, 10).await;
        (letters.len() == 2).then_some(letters)
    })
    .await;
    member.leave();
    assert_eq!(
        (letters[0].kind, letters[0].bot.as_str()),
        (DeadLetterKind::Group, "workers")
    );
    assert_eq!(
        (letters[0].topic.as_str(), letters[0].id.as_deref()),
        ("jobs", Some("j0"))
    );
    assert!(letters[0].reason.contains("refused"), "{}", letters[0].reason);

    assert!(host.host.requeue_group_dead_letter(letters[0].seq).await);
    assert!(host.host.drop_group_dead_letter(letters[1].seq).await);
    assert!(!host.host.drop_group_dead_letter(letters[1].seq).await);
    assert!(host.host.group_dead_letters(None, None, 10).await.is_empty());
    let output = Command::new("mosquitto_sub")
        .args(["-V", "5", "-u", &user, "-P", &password, "-p", &port, "-q", "1"])
        .args(["-t", "$share/workers/jobs", "-C", "1", "-W", "20"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), r#"{"id":"j0"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dead_letters_of_a_group_are_listed_page_by_page_however_many_there_are() {
    const LETTERS: usize = 1050;
    let host = TestHost::start().await;
    let address = owner_of(host.directory.path(), host.host.broker().port);
    let member = Refuser::join(&address).await;
    let mut publisher = Publisher::connect(&address).await;
    for n in 0..LETTERS {
        publisher
            .publish("jobs", json!({ "id": format!("j{n}") }).to_string())
            .await;
    }
    let operator = host.host.operator().unwrap();
    eventually("all are set aside", async || {
        let groups = operator.groups().await;
        let group = groups.iter().find(|group| group.name == "workers")?;
        (group.dead == LETTERS).then_some(())
    })
    .await;
    member.leave();
    let mut numbers = Vec::new();
    loop {
        let page = host
            .host
            .group_dead_letters(Some("workers"), numbers.last().copied(), 100)
            .await;
        assert!(
            page.iter()
                .all(|letter| letter.payload.is_empty() && letter.id.is_some())
        );
        numbers.extend(page.iter().map(|letter| letter.seq));
        if page.len() < 100 {
            break;
        }
    }
    assert!(numbers.is_sorted_by(|one, next| one < next));
    assert_eq!(numbers.len(), LETTERS);
    assert!(host.host.group_dead_letters(Some("others"), None, 100).await.is_empty());
    let last = numbers[LETTERS - 1];
    let letter = host.host.group_dead_letter(last).await.unwrap();
    assert_eq!(letter.seq, last);
    assert!(letter.payload.starts_with(b"{\"id\":\"j"));
    assert!(host.host.group_dead_letter(last + 1).await.is_none());
    assert!(host.host.drop_group_dead_letter(last).await && !host.host.drop_group_dead_letter(last).await);
}

/// A client that publishes one message after the other on one connection.
struct Publisher {
    client: rumqttc::v5::AsyncClient,
    events: rumqttc::v5::EventLoop,
}

impl Publisher {
    async fn connect(broker: &BrokerAddress) -> Self {
        let mut options = rumqttc::v5::MqttOptions::new("publisher", &broker.host, broker.port);
        let (user, password) = broker.login.clone().unwrap();
        options.set_credentials(user, password);
        let (client, events) = rumqttc::v5::AsyncClient::new(options, 10);
        Self { client, events }
    }

    /// Returns once the broker has it.
    async fn publish(&mut self, topic: &str, payload: String) {
        use rumqttc::v5::mqttbytes::{QoS, v5::Packet};
        self.client
            .publish(topic, QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
        while !matches!(
            self.events.poll().await.unwrap(),
            rumqttc::v5::Event::Incoming(Packet::PubAck(_))
        ) {}
    }
}

/// A member of a group that will never take what it gets.
struct Refuser(tokio::task::JoinHandle<()>);

impl Refuser {
    async fn join(broker: &BrokerAddress) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect((broker.host.as_str(), broker.port))
            .await
            .unwrap();
        let (user, password) = broker.login.clone().unwrap();
        let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        let packet = |kind: u8, body: Vec<u8>| {
            assert!(body.len() < 128);
            [vec![kind, body.len() as u8], body].concat()
        };
        // CONNECT with user, password and clean start (MQTT 5, section 3.1), and SUBSCRIBE (3.8) with QoS 1.
        let connect = [
            text("MQTT"),
            vec![5, 0xc2, 0, 60, 0],
            text("refuser"),
            text(&user),
            text(&password),
        ]
        .concat();
        let subscribe = [vec![0, 1, 0], text("$share/workers/jobs"), vec![1]].concat();
        socket.write_all(&packet(0x10, connect)).await.unwrap();
        socket.write_all(&packet(0x82, subscribe)).await.unwrap();
        let mut next = async move || {
            let (kind, length) = (socket.read_u8().await.unwrap(), socket.read_u8().await.unwrap());
            assert!(length < 128);
            let mut body = vec![0; usize::from(length)];
            socket.read_exact(&mut body).await.unwrap();
            if kind >> 4 == 3 {
                // PUBACK with 0x99, payload format invalid.
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let answer = [0x40, 3, body[2 + topic], body[3 + topic], 0x99];
                socket.write_all(&answer).await.unwrap();
            }
            kind
        };
        assert_eq!((next().await, next().await), (0x20, 0x90));
        Self(tokio::spawn(async move {
            loop {
                next().await;
            }
        }))
    }

    fn leave(self) {
        self.0.abort();
    }
}
