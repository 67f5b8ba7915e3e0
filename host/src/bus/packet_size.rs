//! How large a packet becomes, to know before it is sent whether the broker takes it.

/// Bytes of a QoS 1 PUBLISH with at most one user property (MQTT 5, section 3.3).
pub(super) fn packet_size(topic: &str, payload: usize, property: Option<(&str, &str)>) -> usize {
    let properties = property.map_or(0, |(name, value)| 1 + 2 + name.len() + 2 + value.len());
    let rest = 2 + topic.len() + 2 + variable(properties) + properties + payload;
    1 + variable(rest) + rest
}

/// Bytes of a variable byte integer.
fn variable(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_measured_as_rumqttc_writes_them() {
        use bytes::BytesMut;
        use rumqttc::v5::mqttbytes::QoS;
        use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
        for (payload, property) in [
            (0, None),
            (100, None),
            (200, Some(("name", "1"))),
            (40_000, Some(("n", ""))),
        ] {
            let properties = property.map(|(name, value): (&str, &str)| PublishProperties {
                user_properties: vec![(name.to_owned(), value.to_owned())],
                ..PublishProperties::default()
            });
            let mut publish = Publish::new("a/topic", QoS::AtLeastOnce, vec![0; payload], properties);
            publish.pkid = 1;
            let mut bytes = BytesMut::new();
            publish.write(&mut bytes).unwrap();
            assert_eq!(packet_size("a/topic", payload, property), bytes.len());
        }
    }
}
