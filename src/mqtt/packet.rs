//! Packets from a broker, MQTT 3.1.1 and 5 alike, decoded in place.
//!
//! rumqttc's decoder has three faults for this purpose. It copies each PUBLISH's topic and freezes its payload. It
//! takes the legal short forms of DISCONNECT and CONNACK, which Mosquitto sends, for "need more bytes". It turns an
//! unknown SUBACK code into an error that would reconnect for ever. So incoming packets are decoded here, directly from
//! the read buffer. Outgoing packets are encoded by rumqttc ([`super::outgoing`]), which also serves as the reference
//! in the tests.

use super::limits::Limits;
use super::outgoing::AckKind;
use super::publish::Publish;
use super::wire::{Cursor, Malformed, varint};
use crate::config::MqttVersion;

/// The fixed header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FixedHeader {
    /// Packet type and flags.
    pub(crate) first: u8,
    /// Bytes of the header itself, 2 to 5.
    pub(crate) len: usize,
    /// Bytes that follow it.
    pub(crate) body_len: usize,
}

impl FixedHeader {
    /// Reads the header at the front of `bytes`; `None` if more bytes are needed.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<FixedHeader>, Malformed> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        Ok(varint(rest)?.map(|(body_len, len)| FixedHeader { first, len: 1 + len, body_len: body_len as usize }))
    }

    /// Bytes of the whole packet.
    pub(crate) fn packet_len(&self) -> usize {
        self.len + self.body_len
    }

    pub(crate) fn is_publish(&self) -> bool {
        self.first >> 4 == 3
    }
}

/// What a broker may send.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming<'a> {
    Publish(Publish<'a>),
    Control(Control),
}

/// Everything but PUBLISH. Borrows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    ConnAck(ConnAck),
    PubRel { packet_id: u16 },
    Answer(Answer),
    SubAck(SubAck),
    UnsubAck { packet_id: u16 },
    PingResp,
    Disconnect(Disconnect),
}

/// The broker's answer to CONNECT. What MQTT 3.1.1 lacks is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    /// 0 = accepted.
    pub(crate) code: u8,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) limits: Limits,
    pub(crate) reason: Option<String>,
    pub(crate) server_reference: Option<String>,
}

/// One code per filter of the SUBSCRIBE: the granted QoS, or 0x80 and above for a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubAck {
    pub(crate) packet_id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) reason: Option<String>,
}

/// What the broker says to a message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: AckKind,
    pub(crate) packet_id: u16,
    /// 0x80 and above for a refusal (MQTT 5).
    pub(crate) code: u8,
    pub(crate) reason: Option<String>,
}

/// The broker's farewell (MQTT 5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disconnect {
    pub(crate) code: u8,
    pub(crate) reason: Option<String>,
    pub(crate) server_reference: Option<String>,
}

impl<'a> Incoming<'a> {
    /// Decodes a whole packet. `first` is its first byte, `body` what follows the fixed header.
    pub(crate) fn decode(version: MqttVersion, first: u8, body: &'a [u8]) -> Result<Incoming<'a>, Malformed> {
        let mut cursor = Cursor::new(body);
        // PUBLISH is tested first, because it is by far the most frequent packet.
        let control = match (first >> 4, first & 0x0F) {
            (3, flags) => return Publish::decode(version, flags, body).map(Incoming::Publish),
            (6, 2) => Control::PubRel { packet_id: packet_id(&mut cursor)? },
            (4, 0) => Control::Answer(Answer::decode(AckKind::PubAck, &mut cursor)?),
            (5, 0) => Control::Answer(Answer::decode(AckKind::PubRec, &mut cursor)?),
            (7, 0) => Control::Answer(Answer::decode(AckKind::PubComp, &mut cursor)?),
            (13, 0) => Control::PingResp,
            (2, 0) => Control::ConnAck(ConnAck::decode(version, &mut cursor)?),
            (9, 0) => Control::SubAck(SubAck::decode(version, &mut cursor)?),
            (11, 0) => Control::UnsubAck { packet_id: packet_id(&mut cursor)? },
            (14, 0) => Control::Disconnect(Disconnect::decode(&mut cursor)?),
            (2 | 4 | 5 | 6 | 7 | 9 | 11 | 13 | 14, _) => return Err(Malformed("reserved flags are set")),
            (15, _) => return Err(Malformed("AUTH, which Rowbridge never asked for")),
            _ => return Err(Malformed("a packet type that no broker may send")),
        };
        Ok(Incoming::Control(control))
    }
}

impl ConnAck {
    fn decode(version: MqttVersion, cursor: &mut Cursor<'_>) -> Result<ConnAck, Malformed> {
        let session_present = cursor.u8()? & 1 == 1;
        let mut connack = ConnAck { session_present, code: cursor.u8()?, ..ConnAck::default() };
        // A broker that speaks only 3.1.1 answers a version 5 CONNECT in its own form, without properties.
        if version == MqttVersion::V3 || cursor.is_empty() {
            return Ok(connack);
        }
        each_property(cursor.section()?, |property| match property {
            (17, Value::Number(seconds)) => connack.session_expiry_s = Some(seconds),
            (19, Value::Number(seconds)) => connack.server_keep_alive_s = u16::try_from(seconds).ok(),
            (31, Value::Bytes(text)) => connack.reason = Some(printable(text)),
            (28, Value::Bytes(text)) => connack.server_reference = Some(printable(text)),
            (property, Value::Number(value)) => connack.limits.read(property, value),
            _ => {}
        })?;
        Ok(connack)
    }
}

impl SubAck {
    fn decode(version: MqttVersion, cursor: &mut Cursor<'_>) -> Result<SubAck, Malformed> {
        let packet_id = packet_id(cursor)?;
        let mut reason = None;
        if version == MqttVersion::V5 {
            each_property(cursor.section()?, |property| {
                if let (31, Value::Bytes(text)) = property {
                    reason = Some(printable(text));
                }
            })?;
        }
        if cursor.is_empty() {
            return Err(Malformed("a SUBACK without a code"));
        }
        Ok(SubAck { packet_id, codes: cursor.rest().to_vec(), reason })
    }

    /// Lowers what is granted to the maximum that the broker announced: some grant more, and deliver no more than
    /// they announced.
    pub(crate) fn limit(&mut self, maximum_qos: u8) {
        self.codes.iter_mut().filter(|code| **code < 0x80).for_each(|code| *code = (*code).min(maximum_qos));
    }
}

impl Answer {
    /// The code may be left out (0x00), and so may the properties.
    fn decode(kind: AckKind, cursor: &mut Cursor<'_>) -> Result<Answer, Malformed> {
        let mut answer = Answer { kind, packet_id: packet_id(cursor)?, code: 0, reason: None };
        if cursor.is_empty() {
            return Ok(answer);
        }
        answer.code = cursor.u8()?;
        if !cursor.is_empty() {
            each_property(cursor.section()?, |property| {
                if let (31, Value::Bytes(text)) = property {
                    answer.reason = Some(printable(text));
                }
            })?;
        }
        Ok(answer)
    }
}

/// What a packet is called, by its first byte.
pub(crate) fn name(first: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "a packet of type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES[usize::from(first >> 4)]
}

impl Disconnect {
    /// The code may be left out (0x00), and so may the properties: Mosquitto sends `E0 01 rc`.
    fn decode(cursor: &mut Cursor<'_>) -> Result<Disconnect, Malformed> {
        let mut disconnect = Disconnect::default();
        if cursor.is_empty() {
            return Ok(disconnect);
        }
        disconnect.code = cursor.u8()?;
        if !cursor.is_empty() {
            each_property(cursor.section()?, |property| match property {
                (31, Value::Bytes(text)) => disconnect.reason = Some(printable(text)),
                (28, Value::Bytes(text)) => disconnect.server_reference = Some(printable(text)),
                _ => {}
            })?;
        }
        Ok(disconnect)
    }
}

/// A property's value, as far as its identifier tells the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u32),
    Bytes(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

/// Calls `visit` with each property of a section. An identifier that MQTT 5 does not know ends it: its length is unknown.
pub(crate) fn each_property<'a>(section: &'a [u8], mut visit: impl FnMut((u32, Value<'a>))) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(section);
    while !cursor.is_empty() {
        let id = cursor.varint()?;
        let value = match id {
            1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => Value::Number(u32::from(cursor.u8()?)),
            19 | 33 | 34 | 35 => Value::Number(u32::from(cursor.u16()?)),
            2 | 17 | 24 | 39 => Value::Number(cursor.u32()?),
            11 => Value::Number(cursor.varint()?),
            3 | 8 | 9 | 18 | 21 | 22 | 26 | 28 | 31 => Value::Bytes(cursor.field()?),
            38 => Value::Pair(cursor.field()?, cursor.field()?),
            _ => return Err(Malformed("a property that MQTT 5 does not define")),
        };
        visit((id, value));
    }
    Ok(())
}

pub(crate) fn packet_id(cursor: &mut Cursor<'_>) -> Result<u16, Malformed> {
    match cursor.u16()? {
        0 => Err(Malformed("packet identifier 0")),
        id => Ok(id),
    }
}

/// Text of the broker's for a log line: what cannot be printed is replaced, and it ends somewhere.
fn printable(text: &[u8]) -> String {
    const REASON_CHARS_MAX: usize = 200;
    String::from_utf8_lossy(text).chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
