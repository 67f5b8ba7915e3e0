//! An MQTT 3.1.1 client that sends and expects single packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, QoS, Subscribe,
    SubscribeReasonCode,
};

use super::{PATIENCE, SILENCE, Wire};

const LIMIT: usize = 1 << 24;

pub struct V4 {
    pub wire: Wire,
    last_id: u16,
    /// Messages that came before an answer: the broker may send either first.
    early: VecDeque<Packet>,
}

pub fn connect(id: &str, clean: bool) -> Connect {
    let mut connect = Connect::new(id);
    connect.keep_alive = 0;
    connect.clean_session = clean;
    connect
}

impl V4 {
    pub fn new(address: SocketAddr, id: &str) -> Self {
        Self::with(address, connect(id, true)).0
    }

    pub fn with(address: SocketAddr, connect: Connect) -> (Self, ConnAck) {
        let mut client = Self {
            wire: Wire::open(address),
            last_id: 0,
            early: VecDeque::new(),
        };
        client.send(Packet::Connect(connect));
        match client.recv() {
            Packet::ConnAck(ack) => {
                assert_eq!(ack.code, ConnectReturnCode::Success);
                (client, ack)
            }
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, LIMIT).unwrap();
        self.wire.write(&bytes);
    }

    pub fn try_recv(&mut self, patience: Duration) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read(patience),
        }
    }

    fn read(&mut self, patience: Duration) -> Option<Packet> {
        self.wire.read(patience, |buffer| Packet::read(buffer, LIMIT).ok())
    }

    /// The next packet that is no message; those are for [`V4::recv`].
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

    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<SubscribeReasonCode> {
        self.last_id += 1;
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = self.last_id;
        self.send(Packet::Subscribe(subscribe));
        match self.answer() {
            Packet::SubAck(ack) => ack.return_codes,
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    #[track_caller]
    pub fn publish(&mut self, topic: &str, qos: QoS, payload: &str) {
        self.last_id += 1;
        let mut publish = Publish::new(topic, qos, payload);
        publish.pkid = if qos == QoS::AtMostOnce { 0 } else { self.last_id };
        let pkid = publish.pkid;
        self.send(Packet::Publish(publish));
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert_eq!(self.answer(), Packet::PubAck(PubAck::new(pkid))),
            QoS::ExactlyOnce => {
                assert_eq!(self.answer(), Packet::PubRec(PubRec::new(pkid)));
                self.send(Packet::PubRel(PubRel::new(pkid)));
                assert_eq!(self.answer(), Packet::PubComp(PubComp::new(pkid)));
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

    /// Receives a message, sees the exchange through, and returns it.
    #[track_caller]
    pub fn take(&mut self) -> Publish {
        let publish = self.recv_publish();
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(publish.pkid))),
            QoS::ExactlyOnce => {
                self.send(Packet::PubRec(PubRec::new(publish.pkid)));
                assert_eq!(self.answer(), Packet::PubRel(PubRel::new(publish.pkid)));
                self.send(Packet::PubComp(PubComp::new(publish.pkid)));
            }
        }
        publish
    }

    #[track_caller]
    pub fn expect_silence(&mut self) {
        if let Some(packet) = self.try_recv(SILENCE) {
            panic!("{packet:?} came");
        }
    }

    #[track_caller]
    pub fn ping(&mut self) {
        self.send(Packet::PingReq);
        assert_eq!(self.recv(), Packet::PingResp);
    }

    pub fn die(self) {
        self.wire.die();
    }
}
