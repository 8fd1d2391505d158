//! A hostile broker: any bytes, cut anywhere, through the packet reader, the decoder and the store.
//!
//! Input: a byte of settings, a seed for the cuts, then blocks that make the stream: a length up to 254 and as many
//! bytes, or 255, a count of two bytes and one byte, which is repeated four times the count. So a short input can be a
//! long packet.

use std::sync::Mutex;

use bytes::BytesMut;
use rowbridge::config::MqttVersion;
use rowbridge::journal::Qos2Table;
use rowbridge::message::{Message, Properties, Property};
use rowbridge::source;
use rowbridge::source::fuzzing::{Packet, Reading, read};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

const STREAM_BYTES_MAX: usize = 1 << 20;
/// What the reader allocates at first, and for control packets.
const BUFFER_BYTES: usize = 128 * 1024;

pub fn check(bytes: &[u8]) {
    let [settings, seed, blocks @ ..] = bytes else { return };
    let version = if settings & 1 == 0 { MqttVersion::V5 } else { MqttVersion::V3 };
    let packet_bytes_max = [64, 4_096, 150_000, 1 << 28][usize::from(settings >> 1 & 3)];
    let stream = unfold(blocks);
    let whole = read(version, packet_bytes_max, Pushed::default(), std::iter::once(&stream[..]));
    let cut = read(version, packet_bytes_max, Pushed::default(), Cuts::new(&stream, *seed));
    assert_eq!(whole.packets, cut.packets, "the packets depend on how they were cut");
    assert_eq!(whole.refusal, cut.refusal, "the refusal depends on how the stream was cut");
    assert_eq!(whole.owed, cut.owed, "the acknowledgements depend on how the packets were cut");
    assert_eq!(whole.journal.records, cut.journal.records, "the records depend on how the packets were cut");
    for reading in [&whole, &cut] {
        let bytes_max = BUFFER_BYTES.max(2 * stream.len()).max(2 * BUFFER_BYTES);
        assert!(reading.buffer_bytes <= bytes_max, "{} bytes for a stream of {}", reading.buffer_bytes, stream.len());
        check_owed(reading);
    }
    for packet in &whole.packets {
        check_against_rumqttc(version, packet);
    }
}

fn unfold(mut blocks: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [len, rest @ ..] = blocks {
        if let ([high, low, byte, after @ ..], 255) = (rest, *len) {
            let count = 4 * usize::from(u16::from_be_bytes([*high, *low]));
            stream.resize(stream.len() + count, *byte);
            blocks = after;
        } else {
            let (now, after) = rest.split_at(rest.len().min(usize::from(*len)));
            stream.extend_from_slice(now);
            blocks = after;
        }
        if stream.len() > STREAM_BYTES_MAX {
            stream.truncate(STREAM_BYTES_MAX);
            break;
        }
    }
    stream
}

/// Pieces of sizes that a seed decides: mostly small ones, so that every boundary is met.
struct Cuts<'s> {
    rest: &'s [u8],
    state: u64,
}

impl<'s> Cuts<'s> {
    fn new(stream: &'s [u8], seed: u8) -> Cuts<'s> {
        Cuts { rest: stream, state: u64::from(seed) }
    }
}

impl<'s> Iterator for Cuts<'s> {
    type Item = &'s [u8];

    fn next(&mut self) -> Option<&'s [u8]> {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (self.state >> 33) as usize;
        // Long streams go in larger pieces: their length is what counts.
        let len_max = if self.rest.len() > 4_096 { 40_000 } else { [1, 2, 7, 300][draw & 3] };
        let len = (1 + (draw >> 2) % len_max).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(len);
        self.rest = rest;
        (!piece.is_empty()).then_some(piece)
    }
}

/// A journal that remembers what was pushed and makes it durable at once.
#[derive(Default)]
struct Pushed {
    records: Vec<Record>,
    qos2: Mutex<Qos2Table>,
}

#[derive(Debug, PartialEq)]
enum Record {
    Message { flags: u8, body: Vec<u8>, qos2: Option<(u16, u64)> },
    Release(u16),
    Clear,
}

impl Pushed {
    fn push(&mut self, record: Record) -> u64 {
        self.records.push(record);
        self.records.len() as u64
    }
}

impl source::Journal for Pushed {
    fn qos2(&self) -> Qos2Table {
        self.qos2.lock().unwrap().clone()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64 {
        assert!(message.topic.len() <= 65_535 && !message.topic.contains('\0'), "no topic for a record");
        assert!(!message.topic.is_empty() || message.fault.is_some(), "an empty topic without a fault");
        let mut body = Vec::new();
        message.encode(&mut body);
        assert_eq!(Message::decode(message.seq, message.flags(), &body).as_ref(), Ok(message));
        self.push(Record::Message { flags: message.flags(), body, qos2 })
    }

    fn push_release(&mut self, packet_id: u16) -> u64 {
        self.push(Record::Release(packet_id))
    }

    fn push_clear(&mut self) -> u64 {
        self.push(Record::Clear)
    }

    fn submit(&mut self) {}

    fn discard(&mut self) {}

    fn is_backlogged(&self) -> bool {
        false
    }

    fn durable(&self) -> u64 {
        self.records.len() as u64
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

/// Every QoS 1 and 2 message and every release is acknowledged once, in order, after a record that covers it; every
/// QoS 0 and QoS 1 message has a record of its own.
fn check_owed(reading: &Reading<Pushed>) {
    let mut owed = reading.owed.iter();
    let (mut at_least_once, mut exactly_once) = (0, 0);
    for packet in &reading.packets {
        let expected = match packet {
            Packet::Message { qos: 0, .. } => {
                at_least_once += 1;
                continue;
            }
            Packet::Message { qos: 1, packet_id, .. } => {
                at_least_once += 1;
                (0x40, *packet_id)
            }
            Packet::Message { packet_id, .. } => {
                exactly_once += 1;
                (0x50, *packet_id)
            }
            Packet::Release(packet_id) => (0x70, *packet_id),
            Packet::Control(_) => continue,
        };
        let (ordinal, kind, packet_id) = *owed.next().unwrap();
        assert!(ordinal <= reading.journal.records.len() as u64 && packet_id != 0);
        assert_eq!((kind, packet_id), expected);
    }
    assert_eq!(owed.next(), None, "an acknowledgement for nothing");
    let messages = reading.journal.records.iter().filter(|record| matches!(record, Record::Message { .. })).count();
    assert!((at_least_once..=at_least_once + exactly_once).contains(&messages), "{messages} records");
    let mut ordinals = reading.owed.iter().map(|(ordinal, ..)| ordinal);
    assert!(ordinals.clone().zip(ordinals.by_ref().skip(1)).all(|(one, next)| one <= next), "out of order");
}

/// Where rumqttc takes a PUBLISH too, it must have read the same message.
fn check_against_rumqttc(version: MqttVersion, packet: &Packet) {
    let Packet::Message { first, body, too_large: false, dup, qos, retain, topic, packet_id, properties, payload } =
        packet
    else {
        return;
    };
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&[*first]);
    let mut len = body.len();
    while len >= 128 {
        bytes.extend_from_slice(&[(len % 128) as u8 | 0x80]);
        len /= 128;
    }
    bytes.extend_from_slice(&[len as u8]);
    bytes.extend_from_slice(body);
    let ours = (*dup, *qos, *retain, &topic[..], *packet_id, &payload[..]);
    match version {
        MqttVersion::V3 => {
            let Ok(v4::Packet::Publish(theirs)) = v4::Packet::read(&mut bytes, usize::MAX) else { return };
            let topic = theirs.topic.as_bytes();
            let seen = (theirs.dup, theirs.qos as u8, theirs.retain, topic, theirs.pkid, &theirs.payload[..]);
            assert_eq!(seen, ours);
        }
        MqttVersion::V5 => {
            // rumqttc counts a subscription identifier one byte too long, and takes properties for payload.
            let is_misread = |property| matches!(property, Property::SubscriptionId(_));
            if Properties::from_encoded(properties).iter().any(is_misread) {
                return;
            }
            let Ok(v5::Packet::Publish(theirs)) = v5::Packet::read(&mut bytes, None) else { return };
            let topic = &theirs.topic[..];
            let seen = (theirs.dup, theirs.qos as u8, theirs.retain, topic, theirs.pkid, &theirs.payload[..]);
            assert_eq!(seen, ours);
            check_properties(&theirs.properties.unwrap_or_default(), properties);
        }
    }
}

fn check_properties(theirs: &v5::PublishProperties, ours: &[u8]) {
    let ours: Vec<Property<'_>> = Properties::from_encoded(ours).iter().collect();
    let last = |pick: fn(&Property<'_>) -> Option<Vec<u8>>| ours.iter().rev().find_map(pick);
    let text = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    let content_type = last(|property| match property {
        Property::ContentType(text) => Some(text.to_vec()),
        _ => None,
    });
    assert_eq!(content_type, text(&theirs.content_type));
    let response_topic = last(|property| match property {
        Property::ResponseTopic(text) => Some(text.to_vec()),
        _ => None,
    });
    assert_eq!(response_topic, text(&theirs.response_topic));
    let correlation_data = last(|property| match property {
        Property::CorrelationData(bytes) => Some(bytes.to_vec()),
        _ => None,
    });
    assert_eq!(correlation_data, theirs.correlation_data.as_ref().map(|bytes| bytes.to_vec()));
    let expiry = last(|property| match property {
        Property::MessageExpiry(seconds) => Some(seconds.to_be_bytes().to_vec()),
        _ => None,
    });
    assert_eq!(expiry, theirs.message_expiry_interval.map(|seconds| seconds.to_be_bytes().to_vec()));
    let user: Vec<(&[u8], &[u8])> = ours
        .iter()
        .filter_map(|property| match property {
            Property::User(key, value) => Some((*key, *value)),
            _ => None,
        })
        .collect();
    let expected: Vec<(&[u8], &[u8])> =
        theirs.user_properties.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
    assert_eq!(user, expected);
}
