//! What a fuzzer begins with: whole packets of every kind, and short conversations. Without them it would spend its
//! time on finding out that a packet begins with a type and a length.

use std::path::Path;

use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MessageExpiryInterval, PayloadFormat, PayloadFormatIndicator, Properties, Property,
    Qos, ReceiveMaximum, ResponseTopic, SessionExpiryInterval, SubEntry, SubOpts, SubscriptionIdentifier, TopicAlias,
    TopicAliasMaximum, UserProperty, WillDelayInterval, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError, PubackReasonCode};

type Packet = Vec<u8>;

const FILTERS: [&str; 3] = ["a/+", "$share/g/a/#", "#"];

/// Writes a fuzz target's first inputs into the directory that `FOUNDRY_FUZZ_CORPUS` names, if it names one.
#[expect(
    clippy::expect_used,
    reason = "a fuzzer that cannot begin as it should had better say so"
)]
pub fn sow(target: &str) {
    let Some(directory) = std::env::var_os("FOUNDRY_FUZZ_CORPUS") else {
        return;
    };
    let seeds = seeds(target).expect("the packets can be built");
    assert!(!seeds.is_empty(), "there are no seeds for {target}");
    for (number, seed) in seeds.iter().enumerate() {
        let file = Path::new(&directory).join(format!("seed-{number:02}"));
        std::fs::write(file, seed).expect("the corpus can be written");
    }
}

/// Inputs for a fuzz target, by its name; none for a target that is not known.
fn seeds(target: &str) -> Result<Vec<Packet>, MqttError> {
    let (old, new) = (v4_packets()?, v5_packets()?);
    // A first byte that chooses the CONNECT, as the targets take it; then all but that CONNECT.
    let talks = |choice: u8, packets: &[Packet]| {
        let rest = packets.iter().skip(1);
        let mut talks: Vec<Packet> = rest
            .clone()
            .map(|packet| [&[choice], packet.as_slice()].concat())
            .collect();
        talks.push(rest.fold(vec![choice], |talk, packet| [talk, packet.clone()].concat()));
        talks
    };
    Ok(match target {
        "decode" => [old, new].concat(),
        "conversation" => [talks(1, &old), talks(2, &new), vec![[vec![0], new.concat()].concat()]].concat(),
        "websocket" => old
            .iter()
            .skip(1)
            .map(|packet| [vec![2], masked(packet)].concat())
            .collect(),
        _ => Vec::new(),
    })
}

/// A binary WebSocket message, masked with zeros.
fn masked(payload: &[u8]) -> Packet {
    let length = u8::try_from(payload.len()).unwrap_or(125).min(125);
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn entries() -> Result<Vec<SubEntry>, MqttError> {
    let options = SubOpts::new().set_qos(Qos::ExactlyOnce);
    FILTERS
        .iter()
        .map(|filter| SubEntry::new(*filter, options.clone()))
        .collect()
}

fn v4_packets() -> Result<Vec<Packet>, MqttError> {
    use v3_1_1::{Connect, Disconnect, Pingreq, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Unsubscribe};
    let connect = Connect::builder()
        .client_id("old")?
        .clean_session(false)
        .will_message("a/will", b"gone", Qos::AtLeastOnce, true)?
        .user_name("user")?
        .password(b"secret")?
        .keep_alive(60);
    let publish = |qos, id| -> Result<Packet, MqttError> {
        let publish = Publish::builder()
            .topic_name("a/b")?
            .qos(qos)
            .packet_id(id)
            .payload("on");
        Ok(publish.build()?.to_continuous_buffer())
    };
    Ok(vec![
        connect.build()?.to_continuous_buffer(),
        Subscribe::builder()
            .packet_id(1)
            .entries(entries()?)
            .build()?
            .to_continuous_buffer(),
        publish(Qos::AtMostOnce, None)?,
        publish(Qos::AtLeastOnce, Some(2))?,
        publish(Qos::ExactlyOnce, Some(3))?,
        Pubrel::builder().packet_id(3).build()?.to_continuous_buffer(),
        Puback::builder().packet_id(1).build()?.to_continuous_buffer(),
        Pubrec::builder().packet_id(2).build()?.to_continuous_buffer(),
        Pubcomp::builder().packet_id(2).build()?.to_continuous_buffer(),
        Unsubscribe::builder()
            .packet_id(4)
            .entries(FILTERS.to_vec())?
            .build()?
            .to_continuous_buffer(),
        Pingreq::builder().build()?.to_continuous_buffer(),
        Disconnect::builder().build()?.to_continuous_buffer(),
    ])
}

fn v5_packets() -> Result<Vec<Packet>, MqttError> {
    use v5_0::{Connect, Disconnect, Pingreq, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Unsubscribe};
    let connect = Connect::builder()
        .client_id("new")?
        .clean_start(false)
        .will_message("a/will", b"gone", Qos::ExactlyOnce, true)?
        .will_props(vec![Property::WillDelayInterval(WillDelayInterval::new(1)?)])
        .user_name("user")?
        .password(b"secret")?
        .keep_alive(60)
        .props(vec![
            Property::SessionExpiryInterval(SessionExpiryInterval::new(60)?),
            Property::ReceiveMaximum(ReceiveMaximum::new(5)?),
            Property::TopicAliasMaximum(TopicAliasMaximum::new(9)?),
        ]);
    let publish = |topic: &str, qos, id| -> Result<Packet, MqttError> {
        let publish = Publish::builder()
            .topic_name(topic)?
            .qos(qos)
            .packet_id(id)
            .retain(true);
        let publish = publish.props(of_a_message()?).payload("on");
        Ok(publish.build()?.to_continuous_buffer())
    };
    let refusal = Puback::builder()
        .packet_id(1)
        .reason_code(PubackReasonCode::PayloadFormatInvalid);
    let subscribe = Subscribe::builder().packet_id(1).entries(entries()?);
    let subscribe = subscribe.props(vec![Property::SubscriptionIdentifier(SubscriptionIdentifier::new(7)?)]);
    Ok(vec![
        connect.build()?.to_continuous_buffer(),
        subscribe.build()?.to_continuous_buffer(),
        publish("a/b", Qos::AtMostOnce, None)?,
        // By the alias that the first has set.
        publish("", Qos::AtLeastOnce, Some(2))?,
        publish("a/c", Qos::ExactlyOnce, Some(3))?,
        Pubrel::builder().packet_id(3).build()?.to_continuous_buffer(),
        Puback::builder().packet_id(32_768).build()?.to_continuous_buffer(),
        refusal.build()?.to_continuous_buffer(),
        Pubrec::builder().packet_id(2).build()?.to_continuous_buffer(),
        Pubcomp::builder().packet_id(2).build()?.to_continuous_buffer(),
        Unsubscribe::builder()
            .packet_id(4)
            .entries(FILTERS.to_vec())?
            .build()?
            .to_continuous_buffer(),
        Pingreq::builder().build()?.to_continuous_buffer(),
        Disconnect::builder()
            .reason_code(DisconnectReasonCode::DisconnectWithWillMessage)
            .props(vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(1)?)])
            .build()?
            .to_continuous_buffer(),
    ])
}

fn of_a_message() -> Result<Properties, MqttError> {
    Ok(vec![
        Property::PayloadFormatIndicator(PayloadFormatIndicator::new(PayloadFormat::String)?),
        Property::MessageExpiryInterval(MessageExpiryInterval::new(60)?),
        Property::TopicAlias(TopicAlias::new(1)?),
        Property::ResponseTopic(ResponseTopic::new("a/r")?),
        Property::CorrelationData(CorrelationData::new(b"c")?),
        Property::ContentType(ContentType::new("text/plain")?),
        Property::UserProperty(UserProperty::new("foundry-priority", "9")?),
    ])
}
