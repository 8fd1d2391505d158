//! PUBLISH, the most frequent packet: decoded without a copy, and strict about malformed bytes.

use super::packet::{Value, each_property, packet_id};
use super::wire::{Cursor, Malformed};
use crate::config::MqttVersion;
use crate::message::{Property, Qos};

/// A message as it lies in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Publish<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// As the broker sent it: not checked, and empty where MQTT 5 uses an alias.
    pub(crate) topic: &'a [u8],
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// The property section of MQTT 5 without its length; empty in 3.1.1.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// `flags` are the low four bits of the first byte, `body` what follows the fixed header.
    pub(crate) fn decode(version: MqttVersion, flags: u8, body: &'a [u8]) -> Result<Publish<'a>, Malformed> {
        let qos = Qos::from_level(flags >> 1 & 0b11).ok_or(Malformed("QoS 3"))?;
        let mut cursor = Cursor::new(body);
        let topic = cursor.field()?;
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { packet_id(&mut cursor)? };
        let properties = if version == MqttVersion::V5 { cursor.section()? } else { &[] };
        Ok(Publish {
            dup: flags & 0b1000 != 0,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            properties,
            payload: cursor.rest(),
        })
    }

    /// Decodes the head of a packet whose payload was passed over: `head` may end anywhere after the packet identifier.
    /// Properties that are not there as a whole are left out.
    pub(crate) fn decode_head(version: MqttVersion, flags: u8, head: &'a [u8]) -> Result<Publish<'a>, Malformed> {
        match Publish::decode(version, flags, head) {
            Ok(publish) => Ok(Publish { payload: &[], ..publish }),
            // Only the properties can reach past the head: 3.1.1 has none, and takes this path for real damage alone.
            Err(_) => Publish::decode(MqttVersion::V3, flags, head).map(|publish| Publish { payload: &[], ..publish }),
        }
    }
}

/// Writes a PUBLISH's properties in the form of [`crate::message::Properties`] to `out` and returns the topic alias, which
/// is the session's own affair. A subscription of an earlier configuration may bring an identifier that no rule uses any
/// more: the mapping passes over it.
pub(crate) fn translate_properties(section: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, Malformed> {
    let mut topic_alias = None;
    each_property(section, |property| match property {
        (35, Value::Number(alias)) => topic_alias = u16::try_from(alias).ok(),
        (1, Value::Number(format)) => Property::PayloadFormat(u8::from(format != 0)).encode(out),
        (2, Value::Number(seconds)) => Property::MessageExpiry(seconds).encode(out),
        (3, Value::Bytes(text)) => Property::ContentType(text).encode(out),
        (8, Value::Bytes(text)) => Property::ResponseTopic(text).encode(out),
        (9, Value::Bytes(data)) => Property::CorrelationData(data).encode(out),
        (11, Value::Number(id)) => Property::SubscriptionId(id).encode(out),
        (38, Value::Pair(key, value)) => Property::User(key, value).encode(out),
        _ => {}
    })?;
    Ok(topic_alias)
}

/// Why a PUBLISH is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Malformed(Malformed),
    /// Its topic alias is one that the broker may not use, or has not announced on this connection.
    Alias(u16),
}

impl From<Malformed> for NotTaken {
    fn from(malformed: Malformed) -> NotTaken {
        NotTaken::Malformed(malformed)
    }
}

/// The topics that the broker has given short numbers on this connection (MQTT 5 topic aliases).
#[derive(Debug)]
pub(crate) struct TopicAliases {
    /// Index = alias - 1. An empty topic is an alias never announced: a topic is at least one byte.
    topics: Vec<Vec<u8>>,
    /// `mqtt.topic_alias_maximum`.
    max: u16,
    /// The last connection ended over an alias: take messages that have a topic, and pass on the others without one.
    /// Otherwise the broker might send the same packet for ever.
    is_lenient: bool,
    /// An alias that did not hold on this connection.
    misused: Option<u16>,
}

impl TopicAliases {
    pub(crate) fn new(max: u16, is_lenient: bool) -> TopicAliases {
        TopicAliases { topics: Vec::new(), max, is_lenient, misused: None }
    }

    /// The topic of a message that came with this topic and alias. Empty only for an empty one without alias, or where
    /// misuse is put up with.
    pub(crate) fn topic<'t>(&'t mut self, topic: &'t [u8], alias: Option<u16>) -> Result<&'t [u8], NotTaken> {
        let Some(alias) = alias else { return Ok(topic) };
        let index = usize::from(alias).wrapping_sub(1);
        let is_allowed = (1..=self.max).contains(&alias);
        if is_allowed && !topic.is_empty() {
            self.announce(index, topic);
            return Ok(topic);
        }
        if is_allowed && self.topics.get(index).is_some_and(|known| !known.is_empty()) {
            return Ok(&self.topics[index]);
        }
        self.misused = Some(alias);
        if self.is_lenient { Ok(topic) } else { Err(NotTaken::Alias(alias)) }
    }

    /// An alias that did not hold, told once.
    pub(crate) fn take_misused(&mut self) -> Option<u16> {
        self.misused.take()
    }

    fn announce(&mut self, index: usize, topic: &[u8]) {
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, Vec::new);
        }
        let known = &mut self.topics[index];
        known.clear();
        known.extend_from_slice(topic);
    }
}
