//! An MQTT 5 client that sends and expects single packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::*;

use super::{PATIENCE, SILENCE, Wire};

pub struct V5 {
    pub wire: Wire,
    last_id: u16,
    /// Messages that came before an answer: the broker may send either first.
    early: VecDeque<Packet>,
}

/// CONNECT with a clean start and without keep alive.
pub fn connect(id: &str) -> Connect {
    Connect {
        keep_alive: 0,
        client_id: id.to_owned(),
        clean_start: true,
        properties: None,
    }
}

/// CONNECT that resumes, of a session that lasts.
pub fn resume(id: &str, expiry: u32) -> Connect {
    let properties = ConnectProperties {
        session_expiry_interval: Some(expiry),
        ..ConnectProperties::new()
    };
    Connect {
        clean_start: false,
        properties: Some(properties),
        ..connect(id)
    }
}

/// CONNECT with a receive maximum.
pub fn receiving(id: &str, receive_maximum: u16) -> Connect {
    let properties = ConnectProperties {
        receive_maximum: Some(receive_maximum),
        ..ConnectProperties::new()
    };
    Connect {
        properties: Some(properties),
        ..connect(id)
    }
}

pub fn message(topic: &str, qos: QoS, payload: impl Into<Vec<u8>>) -> Publish {
    Publish::new(topic, qos, payload.into(), None)
}

impl V5 {
    pub fn new(address: SocketAddr, id: &str) -> Self {
        Self::with(address, connect(id)).0
    }

    pub fn with(address: SocketAddr, connect: Connect) -> (Self, ConnAck) {
        Self::with_will(address, connect, None)
    }

    pub fn with_will(address: SocketAddr, connect: Connect, will: Option<LastWill>) -> (Self, ConnAck) {
        let (client, ack) = Self::try_connect(address, connect, will, None);
        assert_eq!(ack.code, ConnectReturnCode::Success);
        (client, ack)
    }

    pub fn try_connect(
        address: SocketAddr,
        connect: Connect,
        will: Option<LastWill>,
        login: Option<Login>,
    ) -> (Self, ConnAck) {
        let mut client = Self {
            wire: Wire::open(address),
            last_id: 0,
            early: VecDeque::new(),
        };
        client.send(Packet::Connect(connect, will, login));
        match client.recv() {
            Packet::ConnAck(ack) => (client, ack),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.wire.write(&bytes);
    }

    pub fn try_recv(&mut self, patience: Duration) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read(patience),
        }
    }

    fn read(&mut self, patience: Duration) -> Option<Packet> {
        self.wire.read(patience, |buffer| Packet::read(buffer, None).ok())
    }

    /// The next packet that is no message; those are for [`V5::recv`].
    #[track_caller]
    fn answer(&mut self) -> Packet {
        loop {
            match self.read(PATIENCE).expect("no answer came") {
                message @ Packet::Publish(_) => self.early.push_back(message),
                answer => return answer,
            }
        }
    }

    #[track_caller]
    pub fn recv(&mut self) -> Packet {
        self.try_recv(PATIENCE).expect("no packet came")
    }

    pub fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<SubscribeReasonCode> {
        self.subscribe_with(vec![Filter::new(filter, qos)], None)
    }

    #[track_caller]
    pub fn subscribe_with(&mut self, filters: Vec<Filter>, identifier: Option<usize>) -> Vec<SubscribeReasonCode> {
        let pkid = self.next_id();
        let properties = identifier.map(|id| SubscribeProperties {
            id: Some(id),
            user_properties: Vec::new(),
        });
        self.send(Packet::Subscribe(Subscribe {
            pkid,
            filters,
            properties,
        }));
        match self.answer() {
            Packet::SubAck(ack) => {
                assert_eq!(ack.pkid, pkid);
                ack.return_codes
            }
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) -> Vec<UnsubAckReason> {
        let pkid = self.next_id();
        self.send(Packet::Unsubscribe(Unsubscribe {
            pkid,
            filters: vec![filter.to_owned()],
            properties: None,
        }));
        match self.answer() {
            Packet::UnsubAck(ack) => ack.reasons,
            other => panic!("{other:?} instead of UNSUBACK"),
        }
    }

    /// Publishes and sees the exchange through; returns the reason code.
    #[track_caller]
    pub fn publish(&mut self, mut publish: Publish) -> PubAckReason {
        match publish.qos {
            QoS::AtMostOnce => {
                self.send(Packet::Publish(publish));
                PubAckReason::Success
            }
            QoS::AtLeastOnce => {
                publish.pkid = self.next_id();
                let pkid = publish.pkid;
                self.send(Packet::Publish(publish));
                match self.answer() {
                    Packet::PubAck(ack) if ack.pkid == pkid => ack.reason,
                    other => panic!("{other:?} instead of PUBACK {pkid}"),
                }
            }
            QoS::ExactlyOnce => {
                publish.pkid = self.next_id();
                let pkid = publish.pkid;
                self.send(Packet::Publish(publish));
                match self.answer() {
                    Packet::PubRec(ack) if ack.pkid == pkid => assert_eq!(ack.reason, PubRecReason::Success),
                    other => panic!("{other:?} instead of PUBREC {pkid}"),
                }
                self.send(Packet::PubRel(PubRel::new(pkid, None)));
                match self.answer() {
                    Packet::PubComp(ack) if ack.pkid == pkid => PubAckReason::Success,
                    other => panic!("{other:?} instead of PUBCOMP {pkid}"),
                }
            }
        }
    }

    #[track_caller]
    pub fn recv_publish(&mut self) -> Publish {
        match self.recv() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// Receives a message, sees the exchange through, and returns the payload.
    #[track_caller]
    pub fn take(&mut self) -> Publish {
        let publish = self.recv_publish();
        self.finish(&publish);
        publish
    }

    #[track_caller]
    pub fn finish(&mut self, publish: &Publish) {
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(publish.pkid, None))),
            QoS::ExactlyOnce => {
                self.send(Packet::PubRec(PubRec::new(publish.pkid, None)));
                match self.answer() {
                    Packet::PubRel(release) => assert_eq!(release.pkid, publish.pkid),
                    other => panic!("{other:?} instead of PUBREL"),
                }
                self.send(Packet::PubComp(PubComp::new(publish.pkid, None)));
            }
        }
    }

    #[track_caller]
    pub fn expect_silence(&mut self) {
        if let Some(packet) = self.try_recv(SILENCE) {
            panic!("{packet:?} came");
        }
    }

    /// The broker says goodbye with this reason and closes.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: DisconnectReasonCode) {
        match self.recv() {
            Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason_code, reason),
            other => panic!("{other:?} instead of DISCONNECT"),
        }
        assert!(self.wire.is_closed());
    }

    pub fn disconnect(mut self) {
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        self.send(Packet::Disconnect(Disconnect {
            reason_code,
            properties: None,
        }));
        assert!(self.wire.is_closed());
    }

    /// Is the connection served? PINGREQ says so.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(Packet::PingReq(PingReq));
        assert_eq!(self.recv(), Packet::PingResp(PingResp));
    }

    pub fn die(self) {
        self.wire.die();
    }
}
