//! What a broker's answer to a publish means (MQTT 5, section 3.4.2.1).

use rumqttc::v5::mqttbytes::v5::PubAckReason;

/// The classes of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The broker has the message.
    Accepted,
    /// It has it, and nobody subscribes to the topic.
    Nobody,
    /// It does not take it now, and may take it later.
    NotNow(&'static str),
    /// It will never take it: a repetition would get the same answer.
    Never(&'static str),
}

impl From<PubAckReason> for Reply {
    /// A code that is none of these is a protocol error: the client ends the connection over it, and the message is
    /// sent again over the next one.
    fn from(reason: PubAckReason) -> Self {
        use PubAckReason as R;
        match reason {
            R::Success => Self::Accepted,
            R::NoMatchingSubscribers => Self::Nobody,
            R::QuotaExceeded => Self::NotNow("a quota is exceeded"),
            // "The receiver is not willing to accept it", for reasons that the code does not tell; and a packet
            // identifier is another one at the next attempt.
            R::UnspecifiedError | R::ImplementationSpecificError | R::PacketIdentifierInUse => {
                Self::NotNow("the broker cannot take it now")
            }
            R::NotAuthorized => Self::Never("the broker does not allow this host to publish there"),
            R::TopicNameInvalid => Self::Never("the broker does not accept the topic's name"),
            R::PayloadFormatInvalid => Self::Never("the broker does not accept the payload"),
        }
    }
}
