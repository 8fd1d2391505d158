//! The type that every module passes on: an MQTT message as the broker delivered it.
//!
//! A [`Message`] borrows its bytes: from the session's read buffer on its way into the journal, from the journal's read
//! buffer on its way to a database. It is encoded once, as the body of a journal record, and never owned on the data
//! path.
//!
//! ```text
//! body      = received_at i64 | fault u8 | reserved u8 | topic_len u16 | properties_len u32 | topic | properties | payload
//! property  = tag u8 | len u32 | bytes         (tag 1..=8; a user property's bytes are: key_len u32 | key | value)
//! ```
//! All integers are little-endian. QoS, retain and dup are in the record's flags byte (see [`Message::flags`]).

use std::fmt;

use thiserror::Error;

use crate::clock::Timestamp;

/// Position of a message in the journal: 1, 2, 3 …, dense, never used twice under one journal id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The first message of a new journal.
    pub const FIRST: Seq = Seq(1);

    /// The position after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// MQTT quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    /// The level for 0, 1 or 2.
    pub fn from_level(level: u8) -> Option<Qos> {
        match level {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    pub fn level(self) -> u8 {
        self as u8
    }
}

/// Why a message that the broker sent can never become a row. It is journaled all the same, so that it can be
/// acknowledged, and ends as a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Larger than `mqtt.max_packet_size`; the payload was cut off.
    TooLarge = 1,
    /// The topic is not UTF-8 or holds a NUL; the topic holds a lossy rendering.
    TopicNotUtf8 = 2,
    /// A topic alias that the broker never announced; the topic is empty.
    UnknownAlias = 3,
}

impl Fault {
    /// The dead letter's reason, and a sentence.
    pub fn reason(self) -> (&'static str, &'static str) {
        match self {
            Fault::TooLarge => ("size", "the message is larger than mqtt.max_packet_size; its payload was not kept"),
            Fault::TopicNotUtf8 => ("topic", "the topic is not valid UTF-8, or holds a NUL character"),
            Fault::UnknownAlias => {
                ("topic", "the broker sent it without a topic, under a topic alias that it never announced")
            }
        }
    }

    fn from_code(code: u8) -> Option<Fault> {
        match code {
            1 => Some(Fault::TooLarge),
            2 => Some(Fault::TopicNotUtf8),
            3 => Some(Fault::UnknownAlias),
            _ => None,
        }
    }
}

/// A message, borrowed from whichever buffer holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    /// The DUP flag as the broker sent it.
    pub dup: bool,
    pub properties: Properties<'a>,
    /// When the session read it.
    pub received_at: Timestamp,
    /// `Some` for a message that can only become a dead letter.
    pub fault: Option<Fault>,
    /// Its journal position; [`Seq`] 0 before it has one.
    pub seq: Seq,
}

/// A journal body that is not a message: only damage that a checksum cannot see, or a newer format, produces one.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the record's body is not a message: {0}")]
pub struct DecodeError(&'static str);

const BODY_FIXED_LEN: usize = 8 + 1 + 1 + 2 + 4;

impl<'a> Message<'a> {
    /// QoS, retain and dup as the journal record's flags byte: bits 0-1 QoS, bit 2 retain, bit 3 dup.
    pub fn flags(&self) -> u8 {
        self.qos.level() | u8::from(self.retain) << 2 | u8::from(self.dup) << 3
    }

    /// Bytes that [`Message::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        BODY_FIXED_LEN + self.topic.len() + self.properties.encoded.len() + self.payload.len()
    }

    /// Appends the record body. The topic is at most 65,535 bytes (an MQTT string) and the properties at most 4 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let topic_len = u16::try_from(self.topic.len()).expect("an MQTT topic is at most 65,535 bytes");
        let properties_len = u32::try_from(self.properties.encoded.len()).expect("an MQTT packet is at most 256 MiB");
        out.extend_from_slice(&self.received_at.as_micros().to_le_bytes());
        out.push(self.fault.map_or(0, |fault| fault as u8));
        out.push(0);
        out.extend_from_slice(&topic_len.to_le_bytes());
        out.extend_from_slice(&properties_len.to_le_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(self.properties.encoded);
        out.extend_from_slice(self.payload);
    }

    /// All of the message but its payload and its position, for a message that waits elsewhere than in the journal: the
    /// flags, then the body that [`Message::encode`] would append without the payload.
    pub fn envelope(&self) -> Vec<u8> {
        let bare = Message { payload: &[], ..*self };
        let mut envelope = Vec::with_capacity(1 + bare.encoded_len());
        envelope.push(self.flags());
        bare.encode(&mut envelope);
        envelope
    }

    /// The message of an [`envelope`](Message::envelope).
    pub fn from_envelope(seq: Seq, envelope: &'a [u8], payload: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let (&flags, body) = envelope.split_first().ok_or(DecodeError("the envelope is empty"))?;
        Ok(Message { payload, ..Message::decode(seq, flags, body)? })
    }

    /// Reads a record body back. Never panics, allocates nothing.
    pub fn decode(seq: Seq, flags: u8, body: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let (fixed, rest) = body.split_at_checked(BODY_FIXED_LEN).ok_or(DecodeError("it is too short"))?;
        let received_at = i64::from_le_bytes(fixed[0..8].try_into().expect("8 bytes"));
        let topic_len = u16::from_le_bytes([fixed[10], fixed[11]]) as usize;
        let properties_len = u32::from_le_bytes(fixed[12..16].try_into().expect("4 bytes")) as usize;
        let (topic, rest) = rest.split_at_checked(topic_len).ok_or(DecodeError("the topic is cut off"))?;
        let (properties, payload) =
            rest.split_at_checked(properties_len).ok_or(DecodeError("the properties are cut off"))?;
        Ok(Message {
            topic: std::str::from_utf8(topic).map_err(|_| DecodeError("the topic is not UTF-8"))?,
            payload,
            qos: Qos::from_level(flags & 0b11).ok_or(DecodeError("there is no QoS 3"))?,
            retain: flags & 0b100 != 0,
            dup: flags & 0b1000 != 0,
            properties: Properties { encoded: properties },
            received_at: Timestamp(received_at),
            fault: match fixed[8] {
                0 => None,
                code => Some(Fault::from_code(code).ok_or(DecodeError("the fault code is unknown"))?),
            },
            seq,
        })
    }
}

/// The MQTT 5 properties of a message, in their encoded form; read only by rules and dead letters that ask.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Properties<'a> {
    encoded: &'a [u8],
}

/// One MQTT 5 property. Text is as the broker sent it and may not be UTF-8, hence bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0 = bytes, 1 = UTF-8 text.
    PayloadFormat(u8),
    /// Seconds left when the broker sent the message.
    MessageExpiry(u32),
    ContentType(&'a [u8]),
    ResponseTopic(&'a [u8]),
    CorrelationData(&'a [u8]),
    /// Identifier of the subscription that the broker matched; several may be present.
    SubscriptionId(u32),
    User(&'a [u8], &'a [u8]),
}

const TAG_PAYLOAD_FORMAT: u8 = 1;
const TAG_MESSAGE_EXPIRY: u8 = 2;
const TAG_CONTENT_TYPE: u8 = 3;
const TAG_RESPONSE_TOPIC: u8 = 4;
const TAG_CORRELATION_DATA: u8 = 5;
const TAG_SUBSCRIPTION_ID: u8 = 6;
const TAG_USER: u8 = 7;

impl<'a> Properties<'a> {
    /// No properties, as in MQTT 3.1.1.
    pub const NONE: Properties<'static> = Properties { encoded: &[] };

    /// Wraps bytes written by [`Property::encode`].
    pub fn from_encoded(encoded: &'a [u8]) -> Properties<'a> {
        Properties { encoded }
    }

    /// Bytes of all of them as they are kept: a few more than in a packet.
    pub fn encoded_len(&self) -> usize {
        self.encoded.len()
    }

    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Every property in the order received. Damage ends the iteration.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut rest = self.encoded;
        std::iter::from_fn(move || {
            loop {
                let (head, tail) = rest.split_at_checked(5)?;
                let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
                let (bytes, tail) = tail.split_at_checked(len)?;
                rest = tail;
                // A tag of a newer version is passed over.
                if let Some(property) = Property::decode(head[0], bytes) {
                    return Some(property);
                }
            }
        })
    }

    /// The first user property of that name; names compare without regard to ASCII case.
    pub fn user(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find_map(|property| match property {
            Property::User(key, value) if key.eq_ignore_ascii_case(name.as_bytes()) => Some(value),
            _ => None,
        })
    }
}

impl<'a> Property<'a> {
    /// Appends the encoded form that [`Properties::iter`] reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |tag: u8, parts: &[&[u8]]| {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            out.push(tag);
            out.extend_from_slice(&u32::try_from(len).expect("an MQTT packet is at most 256 MiB").to_le_bytes());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        match *self {
            Property::PayloadFormat(value) => put(TAG_PAYLOAD_FORMAT, &[&[value]]),
            Property::MessageExpiry(seconds) => put(TAG_MESSAGE_EXPIRY, &[&seconds.to_le_bytes()]),
            Property::ContentType(value) => put(TAG_CONTENT_TYPE, &[value]),
            Property::ResponseTopic(value) => put(TAG_RESPONSE_TOPIC, &[value]),
            Property::CorrelationData(value) => put(TAG_CORRELATION_DATA, &[value]),
            Property::SubscriptionId(id) => put(TAG_SUBSCRIPTION_ID, &[&id.to_le_bytes()]),
            Property::User(key, value) => put(TAG_USER, &[&(key.len() as u32).to_le_bytes(), key, value]),
        }
    }

    fn decode(tag: u8, bytes: &'a [u8]) -> Option<Property<'a>> {
        Some(match tag {
            TAG_PAYLOAD_FORMAT => Property::PayloadFormat(*bytes.first()?),
            TAG_MESSAGE_EXPIRY => Property::MessageExpiry(u32::from_le_bytes(bytes.try_into().ok()?)),
            TAG_CONTENT_TYPE => Property::ContentType(bytes),
            TAG_RESPONSE_TOPIC => Property::ResponseTopic(bytes),
            TAG_CORRELATION_DATA => Property::CorrelationData(bytes),
            TAG_SUBSCRIPTION_ID => Property::SubscriptionId(u32::from_le_bytes(bytes.try_into().ok()?)),
            TAG_USER => {
                let (len, rest) = bytes.split_at_checked(4)?;
                let (key, value) = rest.split_at_checked(u32::from_le_bytes(len.try_into().ok()?) as usize)?;
                Property::User(key, value)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_went_in(
            topic in "[a-zé/]{1,40}", payload: Vec<u8>, qos in 0u8..3, retain: bool, dup: bool, at: i64, key: Vec<u8>,
            value: Vec<u8>, id: u32, fault in 0u8..4,
        ) {
            let mut encoded = Vec::new();
            let properties =
                [Property::User(&key, &value), Property::SubscriptionId(id), Property::ContentType(&value)];
            properties.iter().for_each(|property| property.encode(&mut encoded));
            let message = Message {
                topic: &topic, payload: &payload, qos: Qos::from_level(qos).unwrap(), retain, dup,
                properties: Properties::from_encoded(&encoded), received_at: Timestamp(at),
                fault: Fault::from_code(fault), seq: Seq(7),
            };
            let mut body = Vec::new();
            message.encode(&mut body);
            prop_assert_eq!(body.len(), message.encoded_len());
            let decoded = Message::decode(Seq(7), message.flags(), &body).unwrap();
            prop_assert_eq!(decoded, message);
            let envelope = message.envelope();
            prop_assert_eq!(Message::from_envelope(Seq(7), &envelope, &payload).unwrap(), message);
            prop_assert_eq!(decoded.properties.iter().collect::<Vec<_>>(), properties.to_vec());
        }

        #[test]
        fn arbitrary_bytes_never_panic(flags: u8, body: Vec<u8>) {
            if let Ok(message) = Message::decode(Seq(1), flags, &body) {
                prop_assert!(message.properties.iter().count() <= body.len());
            }
        }
    }
}
