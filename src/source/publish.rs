//! PUBLISH, the one packet that comes by the million: decoded without a copy, strict about what is malformed.

use super::packet::{Value, each_property, packet_id};
use super::wire::{Cursor, Malformed};
use crate::config::MqttVersion;
use crate::message::{Property, Qos};

/// A message as it lies in the read buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Publish<'a> {
    pub(super) dup: bool,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// As the broker sent it: not checked, and empty where MQTT 5 uses an alias.
    pub(super) topic: &'a [u8],
    /// 0 for QoS 0.
    pub(super) packet_id: u16,
    /// The property section of MQTT 5 without its length; empty in 3.1.1.
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// `flags` are the low four bits of the first byte, `body` what follows the fixed header.
    pub(super) fn decode(version: MqttVersion, flags: u8, body: &'a [u8]) -> Result<Publish<'a>, Malformed> {
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
    pub(super) fn decode_head(version: MqttVersion, flags: u8, head: &'a [u8]) -> Result<Publish<'a>, Malformed> {
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
pub(super) fn translate_properties(section: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, Malformed> {
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

/// The topics that the broker has given short numbers on this connection (MQTT 5 topic aliases).
#[derive(Debug, Default)]
pub(super) struct TopicAliases {
    /// Index = alias - 1. An empty topic is an alias never announced: a topic is at least one byte.
    topics: Vec<Vec<u8>>,
}

impl TopicAliases {
    /// How many aliases the broker may use towards us. A hundred frequent topics cover most of a busy broker's
    /// traffic; at 64 KiB a topic the table cannot pass 6.4 MiB.
    pub(super) const MAX: u16 = 100;

    /// Remembers that `alias` means `topic` from now on. Numbers outside what we allowed are not remembered.
    pub(super) fn announce(&mut self, alias: u16, topic: &[u8]) {
        if alias == 0 || alias > Self::MAX {
            return;
        }
        let index = usize::from(alias) - 1;
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, Vec::new);
        }
        let known = &mut self.topics[index];
        known.clear();
        known.extend_from_slice(topic);
    }

    /// The topic that `alias` stands for.
    pub(super) fn resolve(&self, alias: u16) -> Option<&[u8]> {
        let topic = self.topics.get(usize::from(alias).checked_sub(1)?)?;
        (!topic.is_empty()).then_some(topic.as_slice())
    }
}
