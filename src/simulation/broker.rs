//! A broker that follows the MQTT specification, with habits of real brokers: it keeps a session with a window of
//! messages in flight, sends them again after a reconnect, loses the session, and cuts the connection after any byte.
//!
//! It checks that acknowledgements arrive in the order of their packets, on the connection that delivered these
//! packets (I13).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::link::{End, Network, Wire};
use super::messages::{Messages, Number, payload_of, topic_of};
use super::packets::{self, FromClient};
use super::process::is_delivered;
use super::random::Random;
use super::trace::Trace;
use crate::config::{Config, MqttVersion};

pub(super) struct Broker {
    version: MqttVersion,
    /// A PUBCOMP may overtake acknowledgements of messages.
    completes_early: bool,
    pub(super) network: Arc<Network>,
    random: Random,
    session: Option<Session>,
    connection: Option<Connection>,
    /// Messages in flight at most.
    window: usize,
    /// Takes the lowest free packet identifier instead of the next.
    reuses_ids: bool,
    /// Counts from 1 with each connection.
    begins_anew: bool,
    /// Sends again with DUP; FlashMQ and aedes do not.
    marks_redelivery: bool,
    /// After a reconnect, sends a PUBLISH again although its PUBREL went out, as Mosquitto does.
    repeats_released: bool,
    /// Nothing goes wrong any more.
    pub(super) is_calm: bool,
    /// The next filters are refused.
    pub(super) refuses_filters: bool,
    pub(super) connections: u64,
    pub(super) redelivered: u64,
}

#[derive(Default)]
struct Session {
    /// The granted QoS by filter.
    filters: BTreeMap<String, u8>,
    queue: VecDeque<Number>,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
}

struct InFlight {
    id: u16,
    number: Number,
    qos: u8,
    /// QoS 2: the bridge has taken it, PUBREL is due or sent.
    is_released: bool,
}

struct Connection {
    wire: Arc<Wire>,
    inbox: Vec<u8>,
    /// Sent, and not arrived.
    outbox: VecDeque<u8>,
    is_accepted: bool,
    /// The acknowledgements that the bridge owes, as (first byte, packet identifier).
    owed: VecDeque<(u8, u16)>,
    /// Does not answer PINGREQ, SUBSCRIBE and the like.
    is_mute: bool,
}

impl Broker {
    pub(super) fn new(config: &Config, network: Arc<Network>, mut random: Random) -> Broker {
        Broker {
            version: config.mqtt.version,
            completes_early: is_delivered(config),
            network,
            session: None,
            connection: None,
            window: random.pick(&[1, 2, 5, 20]),
            reuses_ids: random.once_in(4),
            begins_anew: random.once_in(4),
            marks_redelivery: !random.once_in(4),
            repeats_released: random.once_in(3),
            is_calm: false,
            refuses_filters: false,
            connections: 0,
            redelivered: 0,
            random,
        }
    }

    /// A publisher's message comes in.
    pub(super) fn publish(&mut self, number: Number, messages: &mut Messages) {
        let Some(session) = &mut self.session else { return };
        let message = &mut messages[number as usize];
        let granted = session.filters.iter().filter(|(filter, _)| matches(filter, &message.topic)).map(|(_, &qos)| qos);
        let Some(granted) = granted.max() else { return };
        let qos = message.qos.min(granted);
        if qos == 0 && self.connection.as_ref().is_none_or(|connection| !connection.is_accepted) {
            return;
        }
        message.due = Some(qos);
        session.queue.push_back(number);
    }

    /// Whether the session is connected, subscribed to all of `filters`, and nothing is left to send or to hear.
    pub(super) fn is_settled(&self, filters: &[&str]) -> bool {
        let Some(session) = &self.session else { return false };
        let Some(connection) = &self.connection else { return false };
        connection.is_accepted
            && connection.outbox.is_empty()
            && connection.owed.is_empty()
            && session.queue.is_empty()
            && session.in_flight.is_empty()
            && filters.iter().all(|&filter| session.filters.contains_key(filter))
    }

    /// Takes the newest connection, reads some of what has come and answers it.
    pub(super) fn step(&mut self, messages: &mut Messages, trace: &mut Trace) {
        self.accept(messages, trace);
        let max = if self.is_calm { usize::MAX } else { self.random.pick(&[1, 3, 4, 30, usize::MAX]) };
        let Some(connection) = &mut self.connection else { return };
        connection.inbox.extend(connection.wire.read(max));
        while let Some(packet) = self.connection.as_mut().and_then(|on| packets::take(self.version, &mut on.inbox)) {
            trace.note("broker takes", packet_code(&packet), 0);
            self.answer(packet, messages, trace);
        }
        if self.connection.as_ref().is_some_and(|on| on.wire.is_left() && on.wire.unread() == 0) {
            self.connection = None;
        }
        self.fill(messages, trace);
    }

    fn accept(&mut self, messages: &mut Messages, trace: &mut Trace) {
        let Some(wire) = self.network.accept() else { return };
        // What the old connection still holds may or may not be read before the new one is met.
        if self.connection.is_some() && self.random.once_in(2) {
            let rest = self.connection.as_ref().map_or_else(Vec::new, |old| old.wire.read(usize::MAX));
            self.connection.iter_mut().for_each(|old| old.inbox.extend(&rest));
            while let Some(packet) = self.connection.as_mut().and_then(|on| packets::take(self.version, &mut on.inbox))
            {
                self.answer(packet, messages, trace);
            }
        }
        self.cut(End::Closed);
        self.connections += 1;
        trace.note("accepted", self.connections, 0);
        let is_mute = !self.is_calm && self.random.once_in(12);
        self.connection = Some(Connection {
            wire,
            inbox: Vec::new(),
            outbox: VecDeque::new(),
            is_accepted: false,
            owed: VecDeque::new(),
            is_mute,
        });
    }

    fn answer(&mut self, packet: FromClient, messages: &mut Messages, trace: &mut Trace) {
        let version = self.version;
        let is_mute = self.connection.as_ref().is_some_and(|on| on.is_mute);
        match packet {
            FromClient::Connect => self.connected(messages, trace),
            FromClient::PubAck(id) => self.acknowledged(0x40, id, messages),
            FromClient::PubRec(id) => self.acknowledged(0x50, id, messages),
            FromClient::PubComp(id) => self.acknowledged(0x70, id, messages),
            FromClient::Disconnect => self.connection = None,
            FromClient::PingReq if is_mute => {}
            FromClient::PingReq => self.send(&packets::PINGRESP),
            FromClient::Subscribe(id, filters) => {
                let session = self.session.as_mut().expect("CONNECT made a session");
                let refused = if version == MqttVersion::V5 { 0x87 } else { 0x80 };
                let codes: Vec<u8> =
                    filters.iter().map(|&(_, qos)| if self.refuses_filters { refused } else { qos }).collect();
                self.refuses_filters = false;
                for ((filter, _), &code) in filters.into_iter().zip(&codes) {
                    if code < 0x80 {
                        trace.note("subscribed", u64::from(code), filter.len() as u64);
                        session.filters.insert(filter, code);
                    }
                }
                if !is_mute {
                    self.send(&packets::suback(version, id, &codes));
                }
            }
            FromClient::Unsubscribe(id, filters) => {
                let session = self.session.as_mut().expect("CONNECT made a session");
                filters.iter().for_each(|filter| _ = session.filters.remove(filter));
                self.send(&packets::unsuback(version, id, filters.len()));
            }
        }
    }

    fn connected(&mut self, messages: &mut Messages, trace: &mut Trace) {
        if !self.is_calm && self.random.once_in(15) {
            let code = if self.version == MqttVersion::V5 { 0x88 } else { 3 };
            self.send(&packets::connack(self.version, false, code));
            trace.note("refused", 0, 0);
            return self.finish(End::Closed);
        }
        let is_present = self.session.is_some();
        self.session.get_or_insert_default();
        self.connection.iter_mut().for_each(|on| on.is_accepted = true);
        trace.note("connected", u64::from(is_present), 0);
        self.send(&packets::connack(self.version, is_present, 0));
        let session = self.session.as_mut().expect("made just now");
        if self.begins_anew {
            session.last_id = 0;
        }
        let again: Vec<(u16, Number, u8, bool)> = session
            .in_flight
            .iter_mut()
            .map(|message| {
                if message.is_released && self.repeats_released && !self.is_calm && self.random.once_in(3) {
                    message.is_released = false;
                    // A world is too short for the bridge to learn that this broker numbers in order, if it does.
                    messages[message.number as usize].is_repeated = true;
                }
                (message.id, message.number, message.qos, message.is_released)
            })
            .collect();
        for (id, number, qos, is_released) in again {
            self.redelivered += 1;
            if is_released {
                self.release(id);
            } else {
                self.deliver(id, number, qos, true, trace);
            }
        }
    }

    /// Sends what the window takes.
    fn fill(&mut self, messages: &Messages, trace: &mut Trace) {
        while self.connection.as_ref().is_some_and(|on| on.is_accepted) {
            let Some(session) = &mut self.session else { return };
            let Some(&number) = session.queue.front() else { return };
            let granted = messages[number as usize].due.expect("it was queued");
            if granted > 0 && session.in_flight.len() >= self.window {
                return;
            }
            session.queue.pop_front();
            let mut id = 0;
            if granted > 0 {
                let owed = self.connection.as_ref().map(|on| &on.owed);
                id = session.free_id(self.reuses_ids, owed);
                session.in_flight.push_back(InFlight { id, number, qos: granted, is_released: false });
            }
            self.deliver_to(&messages[number as usize].topic, id, number, granted, false, trace);
        }
    }

    fn deliver(&mut self, id: u16, number: Number, qos: u8, dup: bool, trace: &mut Trace) {
        let topic = topic_of(number);
        self.deliver_to(&topic, id, number, qos, dup && self.marks_redelivery, trace);
    }

    fn deliver_to(&mut self, topic: &str, id: u16, number: Number, qos: u8, dup: bool, trace: &mut Trace) {
        trace.note(["sends", "sends again"][usize::from(dup)], number, u64::from(id));
        let packet = packets::publish(self.version, dup, qos, id, topic, &payload_of(number));
        self.send(&packet);
        let owed = [None, Some(0x40), Some(0x50)][usize::from(qos)];
        if let Some(on) = &mut self.connection {
            on.owed.extend(owed.map(|first| (first, id)));
        }
    }

    fn release(&mut self, id: u16) {
        self.send(&packets::pubrel(id));
        if let Some(on) = &mut self.connection {
            on.owed.push_back((0x70, id));
        }
    }

    fn acknowledged(&mut self, first: u8, id: u16, messages: &mut Messages) {
        let on = self.connection.as_mut().expect("the packet came on it");
        let is_same = |&(other, _): &(u8, u16)| !self.completes_early || (other == 0x70) == (first == 0x70);
        let owed = on.owed.iter().position(is_same).and_then(|at| on.owed.remove(at));
        assert_eq!(owed, Some((first, id)), "an acknowledgement that is not due next on this connection");
        let session = self.session.as_mut().expect("CONNECT made a session");
        let Some(at) = session.in_flight.iter().position(|message| message.id == id) else {
            // What is complete already, of a packet that was sent twice.
            if first == 0x50 {
                self.release(id);
            }
            return;
        };
        let message = &mut session.in_flight[at];
        match (first, message.qos) {
            (0x40, 1) | (0x50, 2) => messages[message.number as usize].is_acknowledged = true,
            (0x70, 2) => {}
            _ => return,
        }
        match first {
            0x50 => {
                message.is_released = true;
                self.release(id);
            }
            // A second PUBCOMP, of a PUBREL that was sent twice.
            0x70 if !message.is_released => {}
            _ => drop(session.in_flight.remove(at)),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(on) = &mut self.connection {
            on.outbox.extend(bytes);
        }
    }

    /// Bytes travel to the bridge.
    pub(super) fn carry(&mut self, max: usize) {
        if let Some(on) = &mut self.connection {
            let len = max.min(on.outbox.len());
            if len > 0 {
                on.wire.arrive(on.outbox.drain(..len));
            }
        }
    }

    /// The broker closes; what it has sent still arrives.
    fn finish(&mut self, end: End) {
        self.carry(usize::MAX);
        self.cut(end);
    }

    /// The connection is over: what has not arrived never will.
    pub(super) fn cut(&mut self, end: End) {
        if let Some(on) = self.connection.take() {
            on.wire.end(end);
        }
    }

    /// Throws the bridge out as though another client had come with its id.
    pub(super) fn take_over(&mut self) {
        if self.version == MqttVersion::V5 {
            self.send(&packets::disconnect(0x8E));
        }
        self.finish(End::Closed);
    }

    /// Bytes that are not MQTT.
    pub(super) fn talk_nonsense(&mut self) {
        self.send(&[0x33, 0x00, 0xFF, 0xFF]);
    }

    /// Sends once more what is in flight, on the same connection, as old brokers do.
    pub(super) fn repeat(&mut self, trace: &mut Trace) {
        if self.connection.as_ref().is_none_or(|on| !on.is_accepted) {
            return;
        }
        let Some(session) = &self.session else { return };
        let Some(first) = session.in_flight.front() else { return };
        let (id, number, qos, is_released) = (first.id, first.number, first.qos, first.is_released);
        if is_released {
            self.release(id);
        } else {
            self.deliver(id, number, qos, true, trace);
        }
    }

    /// The broker restarts without its memory.
    pub(super) fn lose_session(&mut self, messages: &mut Messages) {
        self.cut(End::Reset);
        let Some(session) = self.session.take() else { return };
        let in_flight = session.in_flight.iter().filter(|message| !message.is_released).map(|message| message.number);
        for number in session.queue.into_iter().chain(in_flight) {
            messages[number as usize].is_excused = true;
        }
    }
}

impl Session {
    /// Not one of which an acknowledgement is still to come, as of a packet that was sent twice.
    fn free_id(&mut self, lowest: bool, owed: Option<&VecDeque<(u8, u16)>>) -> u16 {
        if lowest {
            self.last_id = 0;
        }
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let is_owed = owed.is_some_and(|owed| owed.iter().any(|&(_, id)| id == self.last_id));
            if !is_owed && self.in_flight.iter().all(|message| message.id != self.last_id) {
                return self.last_id;
            }
        }
    }
}

fn packet_code(packet: &FromClient) -> u64 {
    match *packet {
        FromClient::Connect => 0x10,
        FromClient::Subscribe(..) => 0x82,
        FromClient::Unsubscribe(..) => 0xA2,
        FromClient::PubAck(id) => 0x40_0000 | u64::from(id),
        FromClient::PubRec(id) => 0x50_0000 | u64::from(id),
        FromClient::PubComp(id) => 0x70_0000 | u64::from(id),
        FromClient::PingReq => 0xC0,
        FromClient::Disconnect => 0xE0,
    }
}

/// For filters of the form `a/#`.
fn matches(filter: &str, topic: &str) -> bool {
    filter.strip_suffix('#').map_or(filter == topic, |front| topic.starts_with(front))
}
