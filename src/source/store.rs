//! From a PUBLISH to the journal: topic alias, topic, faults, and whether a QoS 2 message was taken before.
//!
//! This side runs ahead of the disk: its copy of the QoS 2 table knows a message as soon as it is staged. If the
//! journal loses records that were not durable (its generation changes), the copy is discarded together with the
//! connection.

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::copies::Copies;
use super::intake::Journal;
use super::stand_ins::StandIns;
use super::subscriptions::Sieve;
use crate::clock::Timestamp;
use crate::journal::{Qos2Table, Qos2Verdict};
use crate::message::{Fault, Message, Properties, Qos, Seq};
use crate::mqtt::outgoing::AckKind;
use crate::mqtt::publish::{NotTaken, Publish, TopicAliases, translate_properties};
use crate::telemetry::Metrics;

/// The longest topic that a record can carry, as in MQTT.
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// The most messages that are acknowledged unrecorded before the journal learns that there were any: an eighth of a
/// broker's identifiers.
const UNRECORDED_MAX: u64 = 8_192;

/// The journal as the session sees it, over all its connections.
pub(super) struct Store<J> {
    pub(super) journal: J,
    /// Where a wider filter brings more than the rules take.
    pub(super) sieve: Option<Sieve>,
    /// Where the broker lacks a filter that others can stand in for.
    pub(super) stand_ins: Option<StandIns>,
    pub(super) copies: Copies,
    qos2: Qos2Table,
    /// Where acknowledgements wait for the databases: the last QoS 1 message of each packet identifier.
    waiting: Option<HashMap<u16, Waiting>>,
    generation: u64,
    /// The ordinal of what was pushed last; 0 = everything before is durable.
    last_ordinal: u64,
    /// The ordinal of what was submitted last.
    submitted_ordinal: u64,
    /// Properties of the message in hand; kept for its allocation.
    properties: Vec<u8>,
    received: [u64; 3],
    deduplicated: u64,
    unwanted: u64,
    /// Messages of QoS 1 and 2 that were acknowledged and not recorded, since the journal was last informed.
    unrecorded: u64,
}

/// A QoS 1 message on its way into the databases. As long as it is, its identifier means no other message, and a broker
/// that reconnects in between sends it again with DUP; during an outage of a database, once for each connection.
struct Waiting {
    content_hash: u64,
    ordinal: u64,
}

/// A message's outcome: what is to be acknowledged, after which ordinal.
pub(super) type Owed = (u64, AckKind, u16);

impl<J: Journal> Store<J> {
    pub(super) fn new(journal: J) -> Store<J> {
        Store {
            generation: journal.generation(),
            qos2: journal.qos2(),
            waiting: journal.awaits_delivery().then(HashMap::new),
            journal,
            sieve: None,
            stand_ins: None,
            copies: Copies::default(),
            last_ordinal: 0,
            submitted_ordinal: 0,
            properties: Vec::new(),
            received: [0; 3],
            deduplicated: 0,
            unwanted: 0,
            unrecorded: 0,
        }
    }

    /// Whether the journal lost what was pushed and not durable. Then nothing more may be acknowledged on this
    /// connection. To be asked *after* [`Journal::durable`]: an ordinal pushed later may cover a lost one.
    pub(super) fn is_stale(&self) -> bool {
        self.journal.generation() != self.generation
    }

    /// Starts again with the disk's state. The connection of the old state must be closed; the journal discards its
    /// records that are not durable.
    pub(super) fn renew(&mut self) {
        // In this order: should the generation change in between, the store is stale at once and renewed again.
        self.generation = self.journal.generation();
        self.qos2 = self.journal.qos2();
        self.waiting.iter_mut().for_each(HashMap::clear);
        (self.last_ordinal, self.submitted_ordinal) = (0, 0);
    }

    /// Forgets what was taken since the last [`Store::submit`]. Nothing may be taken before [`Store::renew`], and that
    /// only once the store is settled: until then the disk may lack what this side knows.
    pub(super) fn discard(&mut self) {
        self.journal.discard();
        self.last_ordinal = self.submitted_ordinal;
        (self.received, self.deduplicated, self.unwanted) = ([0; 3], 0, 0);
    }

    /// Whether everything pushed may be acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.journal.durable() >= self.last_ordinal
    }

    /// Whether the journal has everything pushed.
    pub(super) fn is_recorded(&self) -> bool {
        self.journal.recorded() >= self.last_ordinal
    }

    /// Stages a message. `None` = nothing is owed for it (QoS 0).
    pub(super) fn take(
        &mut self,
        publish: &Publish<'_>,
        aliases: &mut TopicAliases,
        received_at: Timestamp,
        too_large: bool,
    ) -> Result<Option<Owed>, NotTaken> {
        self.properties.clear();
        let alias = if publish.properties.is_empty() {
            None
        } else {
            translate_properties(publish.properties, &mut self.properties)?
        };
        let topic_bytes = aliases.topic(publish.topic, alias)?;
        let (topic, fault) = checked_topic(topic_bytes);
        let fault = if too_large { Some(Fault::TooLarge) } else { fault };
        if self.copies.is_watching && !self.properties.is_empty() {
            let properties = Properties::from_encoded(&self.properties);
            self.copies.look(publish, topic_bytes, properties, received_at);
        }
        if let Some(stand_ins) = self.stand_ins.as_mut().filter(|_| !self.properties.is_empty()) {
            stand_ins.add_to(&topic, &mut self.properties);
        }
        self.received[usize::from(publish.qos.level())] += 1;
        if self.sieve.as_mut().is_some_and(|sieve| sieve.drops(&topic)) {
            self.unwanted += 1;
            if publish.qos > Qos::AtMostOnce {
                self.pass_unrecorded();
            }
            return Ok(self.unwanted_owes(publish));
        }
        if publish.qos == Qos::ExactlyOnce {
            self.tell_unrecorded();
        }
        let message = Message {
            topic: &topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            properties: Properties::from_encoded(&self.properties),
            received_at,
            fault,
            seq: Seq(0),
        };
        let packet_id = publish.packet_id;
        Ok(match publish.qos {
            Qos::AtMostOnce => {
                self.last_ordinal = self.journal.push_message(&message, None);
                None
            }
            Qos::AtLeastOnce => {
                let hash = self.waiting.as_ref().map(|_| content_hash(topic_bytes, publish.payload));
                if publish.dup && self.is_waiting(packet_id, hash) {
                    self.deduplicated += 1;
                    // Whatever was pushed last covers it.
                    return Ok(Some((self.last_ordinal, AckKind::PubAck, packet_id)));
                }
                self.last_ordinal = self.journal.push_message(&message, None);
                self.qos2.pass(1);
                if let (Some(waiting), Some(content_hash)) = (&mut self.waiting, hash) {
                    waiting.insert(packet_id, Waiting { content_hash, ordinal: self.last_ordinal });
                }
                Some((self.last_ordinal, AckKind::PubAck, packet_id))
            }
            Qos::ExactlyOnce => {
                let hash = content_hash(topic_bytes, publish.payload);
                match self.qos2.verdict(packet_id, publish.dup, hash) {
                    Qos2Verdict::New => {
                        self.last_ordinal = self.journal.push_message(&message, Some((packet_id, hash)));
                        self.qos2.take(packet_id, publish.dup, hash);
                    }
                    // Its record may still be on the way to the disk: the last pushed record covers it.
                    Qos2Verdict::Duplicate => self.deduplicated += 1,
                    Qos2Verdict::Repeated => {
                        self.deduplicated += 1;
                        self.release(packet_id);
                    }
                }
                Some((self.last_ordinal, AckKind::PubRec, packet_id))
            }
        })
    }

    /// Whether this is the message that has the identifier, and it is not acknowledged: it may be in no database yet.
    fn is_waiting(&self, packet_id: u16, hash: Option<u64>) -> bool {
        let Some(waiting) = self.waiting.as_ref().and_then(|waiting| waiting.get(&packet_id)) else { return false };
        Some(waiting.content_hash) == hash && waiting.ordinal > self.journal.durable()
    }

    /// A message of QoS 1 or 2 is not recorded, though it uses up an identifier.
    fn pass_unrecorded(&mut self) {
        self.unrecorded += 1;
        if self.unrecorded >= UNRECORDED_MAX {
            self.tell_unrecorded();
        }
    }

    /// Has the journal know of what was not recorded, before it draws conclusions from identifiers.
    fn tell_unrecorded(&mut self) {
        if std::mem::take(&mut self.unrecorded) > 0 {
            self.release(Qos2Table::UNRECORDED);
        }
    }

    /// The acknowledgement of a message that is not stored. It waits for the last pushed record, to keep the order.
    fn unwanted_owes(&self, publish: &Publish<'_>) -> Option<Owed> {
        let kind = match publish.qos {
            Qos::AtMostOnce => return None,
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => AckKind::PubRec,
        };
        Some((self.last_ordinal, kind, publish.packet_id))
    }

    /// Stages a PUBREL's release, of a known or unknown identifier: MQTT wants PUBCOMP for both.
    pub(super) fn release(&mut self, packet_id: u16) -> Owed {
        self.last_ordinal = self.journal.push_release(packet_id);
        self.qos2.release(packet_id);
        (self.last_ordinal, AckKind::PubComp, packet_id)
    }

    /// Stages "this is another session" and returns the ordinal.
    pub(super) fn clear(&mut self) -> u64 {
        self.last_ordinal = self.journal.push_clear();
        self.qos2.clear();
        self.waiting.iter_mut().for_each(HashMap::clear);
        self.journal.submit();
        self.submitted_ordinal = self.last_ordinal;
        self.last_ordinal
    }

    /// Hands over what one read brought, and counts it.
    pub(super) fn submit(&mut self, metrics: &Metrics) {
        self.journal.submit();
        self.submitted_ordinal = self.last_ordinal;
        for (counter, received) in metrics.messages_received.iter().zip(&mut self.received) {
            if *received > 0 {
                counter.inc_by(std::mem::take(received));
            }
        }
        if self.deduplicated > 0 {
            metrics.messages_deduplicated.inc_by(std::mem::take(&mut self.deduplicated));
        }
        if self.unwanted > 0 {
            metrics.messages_unwanted.inc_by(std::mem::take(&mut self.unwanted));
        }
    }
}

fn content_hash(topic: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64(topic))
}

/// The topic as text, and what is wrong with it. An empty one is an alias that did not hold.
fn checked_topic(bytes: &[u8]) -> (Cow<'_, str>, Option<Fault>) {
    if bytes.is_empty() {
        return (Cow::Borrowed(""), Some(Fault::UnknownAlias));
    }
    match std::str::from_utf8(bytes) {
        Ok(topic) if memchr::memchr(0, bytes).is_none() => (Cow::Borrowed(topic), None),
        _ => {
            // No database takes a NUL, and each replaced byte becomes three.
            let mut lossy = String::from_utf8_lossy(bytes).replace('\0', "\u{FFFD}");
            let end = (0..=lossy.len().min(TOPIC_BYTES_MAX)).rev().find(|&end| lossy.is_char_boundary(end));
            lossy.truncate(end.unwrap_or(0));
            (Cow::Owned(lossy), Some(Fault::TopicNotUtf8))
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
