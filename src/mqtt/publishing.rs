//! Outgoing PUBLISH: encoded when a message is queued; the packet identifier is filled in when it is sent.

use thiserror::Error;

use crate::config::MqttVersion;
use crate::message::{Message, Qos};
use crate::rule::{TopicFault, check_topic, is_text};

/// A string of MQTT: two bytes of length.
const FIELD_BYTES_MAX: usize = u16::MAX as usize;
/// What follows the fixed header: a length of four bytes.
const BODY_BYTES_MAX: usize = 268_435_455;

/// A message for the broker. What is of MQTT 5 is left out in 3.1.1.
#[derive(Debug, Clone, Copy)]
pub struct ToPublish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    /// MQTT 5.
    pub content_type: Option<&'a str>,
    /// MQTT 5.
    pub response_topic: Option<&'a str>,
    /// MQTT 5.
    pub correlation_data: Option<&'a [u8]>,
    /// MQTT 5: seconds after which the broker need not deliver it any more.
    pub expiry_s: Option<u32>,
    /// MQTT 5, name and value.
    pub user_properties: &'a [(String, String)],
}

impl<'a> ToPublish<'a> {
    /// A message without properties, of QoS 1, not retained.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> ToPublish<'a> {
        ToPublish {
            topic,
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            expiry_s: None,
            user_properties: &[],
        }
    }
}

/// Why a message cannot be sent to any broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unsendable {
    #[error(transparent)]
    Topic(#[from] TopicFault),
    #[error("{0} is longer than the 65,535 bytes that MQTT allows")]
    FieldTooLong(&'static str),
    #[error("{0} holds a control character or one that Unicode reserves: brokers end the connection for it")]
    NotText(&'static str),
    #[error("the message has {0} bytes; MQTT allows 268,435,455")]
    TooLarge(usize),
}

/// Appends the PUBLISH, with packet identifier 0 if it has one; returns where in the packet that lies, 0 if it has none.
/// On an error nothing is appended.
pub(crate) fn encode(version: MqttVersion, publish: &ToPublish<'_>, out: &mut Vec<u8>) -> Result<u32, Unsendable> {
    check_topic(publish.topic)?;
    let properties_len = match version {
        MqttVersion::V3 => None,
        MqttVersion::V5 => Some(properties_len(publish)?),
    };
    let has_id = publish.qos != Qos::AtMostOnce;
    let properties_len_len = properties_len.map_or(0, |len| varint_len(len) + len);
    let body_len = 2 + publish.topic.len() + 2 * usize::from(has_id) + properties_len_len + publish.payload.len();
    if body_len > BODY_BYTES_MAX {
        return Err(Unsendable::TooLarge(body_len));
    }
    let start = out.len();
    out.reserve(1 + varint_len(body_len) + body_len);
    out.push(0x30 | publish.qos.level() << 1 | u8::from(publish.retain));
    put_varint(body_len, out);
    put_field(publish.topic.as_bytes(), out);
    let id_at = if has_id { out.len() - start } else { 0 };
    if has_id {
        out.extend_from_slice(&[0, 0]);
    }
    if let Some(len) = properties_len {
        put_varint(len, out);
        put_properties(publish, out);
    }
    out.extend_from_slice(publish.payload);
    debug_assert_eq!(out.len() - start, 1 + varint_len(body_len) + body_len, "the length is that of the packet");
    Ok(id_at as u32)
}

/// Appends an encoded PUBLISH of QoS 1 or 2, whose identifier lies at `id_at`, as one of QoS 0.
pub(crate) fn append_at_most_once(packet: &[u8], id_at: usize, out: &mut Vec<u8>) {
    let header_len = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    out.push(packet[0] & !0b1110);
    put_varint(packet.len() - header_len - 2, out);
    out.extend_from_slice(&packet[header_len..id_at]);
    out.extend_from_slice(&packet[id_at + 2..]);
}

fn properties_len(publish: &ToPublish<'_>) -> Result<usize, Unsendable> {
    let field = |name, len: usize| {
        if len > FIELD_BYTES_MAX { Err(Unsendable::FieldTooLong(name)) } else { Ok(2 + len) }
    };
    let text = |name, text: &str| if is_text(text) { field(name, text.len()) } else { Err(Unsendable::NotText(name)) };
    let mut len = 0;
    if let Some(content_type) = publish.content_type {
        len += 1 + text("the content type", content_type)?;
    }
    if let Some(topic) = publish.response_topic {
        len += 1 + text("the response topic", topic)?;
    }
    if let Some(data) = publish.correlation_data {
        len += 1 + field("the correlation data", data.len())?;
    }
    if publish.expiry_s.is_some() {
        len += 1 + 4;
    }
    for (name, value) in publish.user_properties {
        len += 1 + text("a user property's name", name)? + text("a user property", value)?;
    }
    Ok(len)
}

fn put_properties(publish: &ToPublish<'_>, out: &mut Vec<u8>) {
    let fields = [
        (3, publish.content_type.map(str::as_bytes)),
        (8, publish.response_topic.map(str::as_bytes)),
        (9, publish.correlation_data),
    ];
    for (id, bytes) in fields {
        if let Some(bytes) = bytes {
            out.push(id);
            put_field(bytes, out);
        }
    }
    if let Some(seconds) = publish.expiry_s {
        out.push(2);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    for (name, value) in publish.user_properties {
        out.push(38);
        put_field(name.as_bytes(), out);
        put_field(value.as_bytes(), out);
    }
}

/// `bytes` has at most 65,535.
fn put_field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes of the PUBLISH by which a message comes.
pub(crate) fn packet_bytes(version: MqttVersion, message: &Message<'_>) -> usize {
    let with_len = |len: usize| varint_len(len) + len;
    let properties = match version {
        MqttVersion::V3 => 0,
        MqttVersion::V5 => with_len(message.properties.encoded_len()),
    };
    let id = 2 * usize::from(message.qos != Qos::AtMostOnce);
    1 + with_len(2 + message.topic.len() + id + properties + message.payload.len())
}

fn varint_len(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Properties, Property};
    use crate::mqtt::packet::{FixedHeader, Incoming};
    use crate::mqtt::publish::{Publish, translate_properties};

    fn decode(version: MqttVersion, packet: &[u8]) -> Publish<'_> {
        let header = FixedHeader::read(packet).unwrap().unwrap();
        assert_eq!(header.packet_len(), packet.len());
        // A packet identifier of 0 is for packets that were not sent yet.
        match Incoming::decode(version, header.first, &packet[header.len..]).unwrap() {
            Incoming::Publish(publish) => publish,
            Incoming::Control(control) => panic!("{control:?}"),
        }
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_encoded(
            topic in "[a-zé/]{1,200}", payload in prop::collection::vec(any::<u8>(), 0..40_000), qos in 0u8..3,
            retain: bool, v5: bool, content_type in prop::option::of("[a-z/]{0,9}"),
            data in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), expiry_s: Option<u32>,
            user in prop::collection::vec(("[a-z]{0,90}", "[a-zé]{0,90}"), 0..3),
        ) {
            let version = if v5 { MqttVersion::V5 } else { MqttVersion::V3 };
            let publish = ToPublish {
                qos: Qos::from_level(qos).unwrap(), retain, content_type: content_type.as_deref(),
                correlation_data: data.as_deref(), expiry_s, user_properties: &user, response_topic: Some("a/b"),
                ..ToPublish::new(&topic, &payload)
            };
            let mut packet = b"before".to_vec();
            let id_at = encode(version, &publish, &mut packet).unwrap() as usize;
            let mut packet = packet.split_off(6);
            prop_assert_eq!(id_at == 0, qos == 0);
            if qos > 0 {
                packet[id_at..id_at + 2].copy_from_slice(&[1, 2]);
            }
            let mut lowered = packet.clone();
            if qos > 0 {
                lowered.clear();
                append_at_most_once(&packet, id_at, &mut lowered);
            }
            for (packet, qos, id) in [(&packet, qos, if qos == 0 { 0 } else { 258 }), (&lowered, 0, 0)] {
                let read = decode(version, packet);
                prop_assert_eq!((read.topic, read.payload), (topic.as_bytes(), &payload[..]));
                prop_assert_eq!((read.qos.level(), read.retain, read.dup, read.packet_id), (qos, retain, false, id));
                let mut translated = Vec::new();
                translate_properties(read.properties, &mut translated).unwrap();
                let seen: Vec<Property<'_>> = Properties::from_encoded(&translated).iter().collect();
                let mut expected = Vec::new();
                if v5 {
                    expected.extend(content_type.as_deref().map(|text| Property::ContentType(text.as_bytes())));
                    expected.push(Property::ResponseTopic(b"a/b"));
                    expected.extend(data.as_deref().map(Property::CorrelationData));
                    expected.extend(expiry_s.map(Property::MessageExpiry));
                    expected.extend(user.iter().map(|(name, value)| Property::User(name.as_bytes(), value.as_bytes())));
                }
                prop_assert_eq!(seen, expected);
            }
        }
    }

    #[test]
    fn what_no_broker_takes_is_refused_and_leaves_nothing() {
        let long = "x".repeat(65_536);
        let mut out = Vec::new();
        for (topic, error) in [
            ("", TopicFault::Empty),
            ("a/+/b", TopicFault::Wildcard),
            ("#", TopicFault::Wildcard),
            ("a\0", TopicFault::Nul),
            (&long, TopicFault::TooLong),
        ] {
            assert_eq!(encode(MqttVersion::V5, &ToPublish::new(topic, b""), &mut out), Err(error.into()));
        }
        let publish = ToPublish { content_type: Some(&long), ..ToPublish::new("a", b"") };
        assert!(encode(MqttVersion::V5, &publish, &mut out).is_err());
        assert!(out.is_empty());
        assert!(encode(MqttVersion::V3, &publish, &mut out).is_ok(), "3.1.1 has no properties");
    }
}
