//! One connection to a broker, to see whether it lets this host in.

use std::error::Error;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{ConnectionError, Event};
use tokio_rustls::rustls;

use super::client_id::client_id_of_part;
use super::concerns::Concerns;
use super::connection::{BrokerAddress, ConnectionOptions, why};
use super::take_overs::TakeOvers;
use crate::tls::{ClientTlsError, ReadTls};

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of the connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// The broker lets the host in. What in its settings, or in this machine's clock, is not as it should be.
    Welcome(Vec<String>),
    /// One of both does not accept the other, and will not later either: why.
    Refused(String),
    /// There was no answer: why.
    Away(String),
}

/// Connect as a host of that name does, or under another client identifier without one, and disconnect. No session is kept.
///
/// # Errors
/// [`ClientTlsError`] if TLS can't be set up.
pub async fn contact(broker: &BrokerAddress, host: Option<&str>) -> Result<Contact, ClientTlsError> {
    let number = std::process::id();
    let options = ConnectionOptions {
        broker: broker.clone(),
        client_id: host.map_or_else(
            || format!("foundry-check-{number}"),
            |host| client_id_of_part(host, &format!("check-{number}")),
        ),
        persistent: false,
        receive_maximum: 1,
        tls: broker.tls.as_ref().map(ReadTls::of).transpose()?,
        keep_alive: PATIENCE,
        concerns: Concerns::default(),
        take_overs: TakeOvers::default(),
    };
    let answer = tokio::time::timeout(PATIENCE, answer(&options)).await;
    let silent = format!("it does not answer within {} s", PATIENCE.as_secs());
    Ok(answer.unwrap_or(Contact::Away(silent)))
}

async fn answer(options: &ConnectionOptions) -> Contact {
    let (client, mut events) = options.client();
    loop {
        match events.next().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                options.concerns.note(&connack, options.session_expiry());
                let _ = client.try_disconnect();
                events.ends_within(GOODBYE).await;
                let clock = options.concerns.clock().trouble();
                return Contact::Welcome(options.concerns.all().into_iter().chain(clock).collect());
            }
            Ok(_) => {}
            Err(error) if is_refusal(&error) => return Contact::Refused(why(&error)),
            Err(error) => return Contact::Away(why(&error)),
        }
    }
}

/// Whether the broker, or TLS on either side, has said no. With TLS 1.3 a client learns only after its handshake that its certificate is not
/// accepted, when it reads.
fn is_refusal(error: &ConnectionError) -> bool {
    if matches!(error, ConnectionError::ConnectionRefused(_)) {
        return true;
    }
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inside.is_some_and(|inside| inside.is::<rustls::Error>()) {
            return true;
        }
        next = error.source();
    }
    false
}
