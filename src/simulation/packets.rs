//! MQTT as the broker writes and reads it, 3.1.1 and 5.

use crate::config::MqttVersion;

/// What a client sends.
#[derive(Debug, PartialEq)]
pub(super) enum FromClient {
    Connect,
    /// Filters with the QoS asked for.
    Subscribe(u16, Vec<(String, u8)>),
    Unsubscribe(u16, Vec<String>),
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    PingReq,
    Disconnect,
}

/// Takes the packet at the front of `inbox`, once it is whole.
pub(super) fn take(version: MqttVersion, inbox: &mut Vec<u8>) -> Option<FromClient> {
    let (mut len, mut at) = (0, 1);
    loop {
        let byte = usize::from(*inbox.get(at)?);
        len |= (byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if inbox.len() < at + len {
        return None;
    }
    let packet: Vec<u8> = inbox.drain(..at + len).collect();
    let body = &packet[at..];
    let id = || u16::from_be_bytes([body[0], body[1]]);
    Some(match packet[0] {
        0x10 => FromClient::Connect,
        0x40 => FromClient::PubAck(id()),
        0x50 => FromClient::PubRec(id()),
        0x70 => FromClient::PubComp(id()),
        0x82 => FromClient::Subscribe(id(), filters(version, body, 1)),
        0xA2 => {
            FromClient::Unsubscribe(id(), filters(version, body, 0).into_iter().map(|(filter, _)| filter).collect())
        }
        0xC0 => FromClient::PingReq,
        0xE0 => FromClient::Disconnect,
        first => panic!("a client does not send a packet that begins with {first:#x}"),
    })
}

fn filters(version: MqttVersion, body: &[u8], options_len: usize) -> Vec<(String, u8)> {
    let mut rest = &body[2..];
    if version == MqttVersion::V5 {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    let mut filters = Vec::new();
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let filter = String::from_utf8(rest[2..2 + len].to_vec()).unwrap();
        filters.push((filter, if options_len > 0 { rest[2 + len] & 0b11 } else { 0 }));
        rest = &rest[2 + len + options_len..];
    }
    filters
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        packet.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// An empty property section, where the version has one.
fn properties(version: MqttVersion) -> &'static [u8] {
    if version == MqttVersion::V5 { &[0] } else { &[] }
}

pub(super) fn connack(version: MqttVersion, session_present: bool, code: u8) -> Vec<u8> {
    packet(0x20, &[&[u8::from(session_present), code][..], properties(version)].concat())
}

pub(super) fn suback(version: MqttVersion, id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes()[..], properties(version), codes].concat())
}

pub(super) fn unsuback(version: MqttVersion, id: u16, count: usize) -> Vec<u8> {
    let codes = if version == MqttVersion::V5 { vec![0; count] } else { Vec::new() };
    packet(0xB0, &[&id.to_be_bytes()[..], properties(version), &codes].concat())
}

pub(super) fn publish(version: MqttVersion, dup: bool, qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(properties(version));
    body.extend_from_slice(payload);
    packet(0x30 | u8::from(dup) << 3 | qos << 1, &body)
}

pub(super) fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

pub(super) const PINGRESP: [u8; 2] = [0xD0, 0];

/// MQTT 5 alone has it.
pub(super) fn disconnect(code: u8) -> Vec<u8> {
    packet(0xE0, &[code, 0])
}
