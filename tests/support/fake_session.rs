//! A session at the fake broker: messages in flight, sent again after a reconnect, with the habits of real brokers, each
//! by name.

use std::collections::VecDeque;

use super::fake_broker::{FakeBroker, Peer, Publish, Version, connack_with, pubrel, suback};

/// How packet identifiers are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Mosquitto: through all numbers, over reconnects too.
    InOrder,
    /// HiveMQ: the lowest that is free.
    LowestFree,
    /// mochi: from 1 with each connection.
    AnewPerConnection,
}

pub(crate) const NUMBERS: [Numbers; 3] = [Numbers::InOrder, Numbers::LowestFree, Numbers::AnewPerConnection];

/// What a broker does in its own way. The default keeps to MQTT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) numbers: Numbers,
    /// FlashMQ and aedes send again without DUP.
    pub(crate) marks_redelivery: bool,
    /// Mosquitto sends a PUBLISH again although its PUBREL went out.
    pub(crate) repeats_released: bool,
    /// mochi: what is sent again has no topic, and the alias that it had on the connection before.
    pub(crate) repeats_aliases: bool,
    /// rumqttd: everything goes under this alias, with its topic or, every other time, without.
    pub(crate) alias_for_all: Option<u16>,
    /// aedes: a message comes before CONNACK, so many times.
    pub(crate) publishes_before_connack: u32,
    /// mochi: a SUBSCRIBE is refused with 0x91 if a message under way has its packet identifier.
    pub(crate) minds_identifiers_in_use: bool,
    /// The Maximum QoS in CONNACK, whatever is granted.
    pub(crate) maximum_qos: Option<u8>,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            numbers: Numbers::InOrder,
            marks_redelivery: true,
            repeats_released: false,
            repeats_aliases: false,
            alias_for_all: None,
            publishes_before_connack: 0,
            minds_identifiers_in_use: false,
            maximum_qos: None,
        }
    }
}

/// At which packet of a message's exchange the link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// PUBLISH was sent, and is lost on the way.
    Publish,
    /// PUBREC, or PUBACK, was sent by the client, and is lost on the way.
    Received,
    /// PUBREL is lost.
    Release,
    /// PUBCOMP is lost.
    Complete,
}

pub(crate) const CUTS: [Cut; 4] = [Cut::Publish, Cut::Received, Cut::Release, Cut::Complete];

/// One client's session.
pub(crate) struct FakeSession {
    pub(crate) habits: Habits,
    pointer: u16,
    sent: u32,
    in_flight: VecDeque<InFlight>,
}

struct InFlight {
    publish: Publish,
    is_released: bool,
}

impl FakeSession {
    pub(crate) fn new(habits: Habits) -> FakeSession {
        FakeSession { habits, pointer: 0, sent: 0, in_flight: VecDeque::new() }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes the next connection and sends again what is in flight; what is subscribed to is granted as it comes.
    pub(crate) async fn welcome(&mut self, broker: &FakeBroker) -> Peer {
        let is_present = self.sent > 0;
        while self.habits.publishes_before_connack > 0 {
            self.habits.publishes_before_connack -= 1;
            let mut peer = broker.accept().await;
            peer.send(&Publish::new(1, 9, "too early").encode(peer.version)).await;
            peer.expect_end().await;
        }
        let mut peer = broker.accept().await;
        let properties = self.habits.maximum_qos.map_or(vec![], |qos| vec![36, qos]);
        peer.send(&connack_with(peer.version, is_present, 0, &properties)).await;
        if self.habits.numbers == Numbers::AnewPerConnection {
            self.pointer = 0;
        }
        for message in &mut self.in_flight {
            message.is_released &= !self.habits.repeats_released;
            if message.is_released {
                peer.send(&pubrel(message.publish.packet_id)).await;
                continue;
            }
            let mut again = message.publish.clone();
            again.dup = self.habits.marks_redelivery;
            if self.habits.repeats_aliases && !again.properties.is_empty() {
                again.topic.clear();
            }
            peer.send(&again.encode(peer.version)).await;
        }
        peer
    }

    /// Gives `publish` a number and sends it; `is_lost` keeps it off the wire.
    pub(crate) async fn publish(&mut self, peer: &mut Peer, mut publish: Publish, is_lost: bool) {
        self.sent += 1;
        publish.packet_id = self.free_id();
        let mut sent = publish.clone();
        if let Some(alias) = self.habits.alias_for_all {
            sent = sent.alias(alias);
            if self.sent.is_multiple_of(2) {
                sent.topic.clear();
            }
        }
        if !is_lost {
            peer.send(&sent.encode(peer.version)).await;
        }
        self.in_flight.push_back(InFlight { publish, is_released: false });
    }

    fn free_id(&mut self) -> u16 {
        if self.habits.numbers == Numbers::LowestFree {
            self.pointer = 0;
        }
        loop {
            self.pointer = self.pointer.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|message| message.publish.packet_id != self.pointer) {
                return self.pointer;
            }
        }
    }

    /// Takes the client's next packet and answers it. Returns true, and neither takes nor answers it, at the packet of
    /// `cut`.
    pub(crate) async fn hear(&mut self, peer: &mut Peer, cut: Option<Cut>) -> bool {
        let packet = peer.receive().await.expect("the connection lives");
        match packet.first {
            0x82 => {
                let filters = subscribed(peer.version, &packet.body);
                let is_in_use = self.in_flight.iter().any(|message| message.publish.packet_id == packet.id());
                let code = if self.habits.minds_identifiers_in_use && is_in_use { 0x91 } else { 2 };
                peer.send(&suback(peer.version, packet.id(), &vec![code; filters])).await;
            }
            0x40 | 0x50 if cut == Some(Cut::Received) => return true,
            0x70 if cut == Some(Cut::Complete) => return true,
            0x50 => {
                if let Some(message) = self.find(packet.id()) {
                    message.is_released = true;
                }
                if cut == Some(Cut::Release) {
                    return true;
                }
                peer.send(&pubrel(packet.id())).await;
            }
            0x40 | 0x70 => self.in_flight.retain(|message| message.publish.packet_id != packet.id()),
            0xC0 => {}
            other => panic!("0x{other:02X} from the client"),
        }
        false
    }

    fn find(&mut self, id: u16) -> Option<&mut InFlight> {
        self.in_flight.iter_mut().find(|message| message.publish.packet_id == id)
    }

    /// Until nothing is in flight.
    pub(crate) async fn settle(&mut self, peer: &mut Peer) {
        while !self.in_flight.is_empty() {
            self.hear(peer, None).await;
        }
    }
}

/// How many filters a SUBSCRIBE has.
fn subscribed(version: Version, body: &[u8]) -> usize {
    let mut rest = &body[2..];
    if version == Version::V5 {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    let mut count = 0;
    while !rest.is_empty() {
        rest = &rest[2 + usize::from(u16::from_be_bytes([rest[0], rest[1]])) + 1..];
        count += 1;
    }
    count
}
