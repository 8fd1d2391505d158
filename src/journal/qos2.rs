//! The QoS 2 messages that were taken, so that a second copy is recognised, also after a crash.
//!
//! The table is a pure function of the record stream. The writer keeps one copy (snapshotted at the start of each
//! segment), the session another copy that runs ahead of the disk.
//!
//! An identifier is in one of three states (MQTT 3.1.1 and 5, section 4.3.3):
//!
//! - *Unreleased*: the message was taken, and no PUBREL has arrived. Another PUBLISH with this identifier and content
//!   is a second copy, with or without DUP ([MQTT-4.3.3-10]). With other content it is another message: the broker gave
//!   up the first one.
//! - *Released*: PUBREL arrived, and our PUBCOMP may be lost. A broker then sends PUBREL again, so a PUBLISH is a new
//!   message with a reused identifier. Only Mosquitto sends a PUBLISH again, with DUP, after quick reconnects. This can
//!   be recognised as a second copy only from a broker that assigns identifiers in order ([`super::numbering`]),
//!   because there the identifier returns 65,535 messages later. From any other broker it is taken as a new message:
//!   stored twice rather than lost.
//! - *Forgotten*: PUBCOMP certainly arrived, because the broker has answered a later packet. A PUBLISH is a new
//!   message.
//!
//! ```text
//! snapshot = count u32 | entries, oldest first: packet_id u16 | released u8 | age u32 | content_hash u64
//! ```
//! `age` is the number of QoS 1 and 2 messages recorded since the identifier was taken, or since it was released. The
//! entry of packet id 0, which MQTT does not have, holds the age of the last confirmation and how the broker numbers.

use std::collections::{HashMap, VecDeque};

use super::numbering::Numbering;
use super::record::{self, Kind};

/// After so many messages a released id is forgotten, even if nothing said that PUBCOMP arrived. A broker that numbers in
/// order is then three quarters of a round away from giving the id out again.
const RELEASED_KEPT: u64 = 16_384;

/// More elements than this in the queue of releases, and those that mean nothing any more are swept out.
const QUEUE_LEN_MAX: usize = 2 * 65_536;

/// Bytes of an entry in a snapshot.
const ENTRY_LEN: usize = 2 + 1 + 4 + 8;

/// The packet id under which a snapshot holds what is no entry.
const NO_PACKET_ID: u16 = 0;

/// Packet ids known to this session, with the hash of what they carried. At most 65,535 entries of 24 bytes; nothing is
/// allocated until the first QoS 2 message.
#[derive(Debug, Clone, Default)]
pub struct Qos2Table {
    entries: HashMap<u16, Taken>,
    /// Releases, oldest first: packet id and number. One that its entry does not agree with means nothing any more.
    released: VecDeque<(u16, u64)>,
    /// How many messages of QoS 1 and 2 were recorded.
    takes: u64,
    /// Every acknowledgement that answers what was recorded before this number, has arrived at the broker.
    confirmed: u64,
    numbering: Numbering,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    content_hash: u64,
    /// `takes` after it was taken; once it is released, `takes` at that time.
    number: u64,
    released: bool,
}

/// What an inbound QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos2Verdict {
    /// Never seen: store it.
    New,
    /// Taken and not released: do not store it again, acknowledge it.
    Duplicate,
    /// Taken and released: as a duplicate, and its release is recorded once more, because the broker holds it still.
    Repeated,
}

impl Qos2Table {
    /// Released in place of an id that MQTT does not have: the broker gave ids to messages that are not recorded. What is
    /// recorded then says nothing of how it numbers.
    pub const UNRECORDED: u16 = NO_PACKET_ID;

    /// Whether a PUBLISH with this id and content is a second copy. See the head of this file.
    pub fn verdict(&self, packet_id: u16, dup: bool, content_hash: u64) -> Qos2Verdict {
        match self.entries.get(&packet_id) {
            Some(taken) if taken.content_hash != content_hash => Qos2Verdict::New,
            Some(taken) if !taken.released => Qos2Verdict::Duplicate,
            Some(_) if dup && self.numbering.is_in_order() => Qos2Verdict::Repeated,
            _ => Qos2Verdict::New,
        }
    }

    /// A QoS 2 message with this id was recorded.
    pub fn take(&mut self, packet_id: u16, dup: bool, content_hash: u64) {
        let known = self.entries.get(&packet_id);
        // A copy that could not be told from a new message says nothing of how the broker numbers.
        if !(dup && known.is_some_and(|taken| taken.content_hash == content_hash)) {
            self.numbering.took(packet_id, dup, self.in_flight_max());
        }
        self.takes += 1;
        self.entries.insert(packet_id, Taken { content_hash, number: self.takes, released: false });
        self.forget();
    }

    /// `messages` QoS 1 messages were recorded: the broker gives them ids out of the same numbers.
    pub fn pass(&mut self, messages: u64) {
        if messages > 0 {
            self.takes += messages;
            self.numbering.passed(messages);
            self.forget();
        }
    }

    /// The broker released the id (PUBREL). As it answers our PUBREC with it, all that was acknowledged before that
    /// PUBREC has arrived. For an id that is released already: our PUBCOMP may be lost from now on again.
    pub fn release(&mut self, packet_id: u16) {
        if packet_id == Qos2Table::UNRECORDED {
            return self.numbering = Numbering::default();
        }
        let Some(taken) = self.entries.get_mut(&packet_id) else { return };
        if !taken.released {
            self.confirmed = self.confirmed.max(taken.number);
        }
        if !taken.released || taken.number != self.takes {
            *taken = Taken { number: self.takes, released: true, ..*taken };
            self.released.push_back((packet_id, self.takes));
        }
        self.forget();
    }

    /// The broker lost the session.
    pub fn clear(&mut self) {
        *self = Qos2Table::default();
    }

    /// Applies a record, of any kind, to the table.
    pub(super) fn apply(&mut self, kind: Kind, flags: u8, body: &[u8]) {
        match kind {
            Kind::Message => match record::message_body(flags, body) {
                Some((Some((packet_id, content_hash)), _)) => {
                    self.take(packet_id, record::is_dup(flags), content_hash);
                }
                _ => self.pass(u64::from(record::is_at_least_once(flags))),
            },
            Kind::Release => record::release_body(body).for_each(|packet_id| self.release(packet_id)),
            Kind::Clear => self.clear(),
            Kind::Snapshot => {
                if let Some(table) = Qos2Table::decode(body) {
                    *self = table;
                }
            }
            Kind::Gap | Kind::Void => {}
        }
    }

    /// How many ids are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the snapshot of the table.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut entries: Vec<(&u16, &Taken)> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(_, taken)| taken.number);
        out.extend_from_slice(&(entries.len() as u32 + 1).to_le_bytes());
        let (flags, numbering) = self.numbering.encode();
        self.encode_entry(NO_PACKET_ID, flags, self.confirmed, numbering, out);
        for (packet_id, taken) in entries {
            self.encode_entry(*packet_id, u8::from(taken.released), taken.number, taken.content_hash, out);
        }
    }

    fn encode_entry(&self, packet_id: u16, flags: u8, number: u64, rest: u64, out: &mut Vec<u8>) {
        let age = u32::try_from(self.takes - number).unwrap_or(u32::MAX);
        out.extend_from_slice(&packet_id.to_le_bytes());
        out.push(flags);
        out.extend_from_slice(&age.to_le_bytes());
        out.extend_from_slice(&rest.to_le_bytes());
    }

    /// Bytes that [`Qos2Table::encode`] appends.
    pub(super) fn encoded_len(&self) -> usize {
        4 + (1 + self.entries.len()) * ENTRY_LEN
    }

    /// Reads a snapshot back; `None` if the bytes are not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Qos2Table> {
        let (count, entries) = bytes.split_at_checked(4)?;
        let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
        if count > usize::from(u16::MAX) + 1 || entries.len() != count * ENTRY_LEN {
            return None;
        }
        // A fresh count large enough that no age reaches below zero. Nothing is confirmed unless the bytes say so: earlier
        // builds wrote nothing of it.
        let mut table = Qos2Table { takes: u64::from(u32::MAX), ..Qos2Table::default() };
        for entry in entries.chunks_exact(ENTRY_LEN) {
            let packet_id = u16::from_le_bytes([entry[0], entry[1]]);
            let age = u32::from_le_bytes([entry[3], entry[4], entry[5], entry[6]]);
            let number = table.takes - u64::from(age);
            let rest = u64::from_le_bytes(entry[7..].try_into().ok()?);
            if packet_id == NO_PACKET_ID {
                (table.confirmed, table.numbering) = (number, Numbering::decode(entry[2], rest));
                continue;
            }
            let released = entry[2] != 0;
            table.entries.insert(packet_id, Taken { content_hash: rest, number, released });
            if released {
                table.released.push_back((packet_id, number));
            }
        }
        // Entries of earlier builds, or from damaged bytes, may be out of order.
        table.released.make_contiguous().sort_by_key(|&(_, number)| number);
        table.forget();
        Some(table)
    }

    /// How many messages the broker has in flight at most, of those that were recorded.
    fn in_flight_max(&self) -> u64 {
        // Of what was recorded before the last confirmation only what is still an entry; of the rest all.
        (self.takes - self.confirmed) + self.entries.len() as u64
    }

    /// Drops the released ids whose PUBCOMP arrived for certain, and those released long ago.
    fn forget(&mut self) {
        while let Some(&(packet_id, number)) = self.released.front() {
            let is_current = is_release(&self.entries, packet_id, number);
            if is_current && number >= self.confirmed && self.takes - number < RELEASED_KEPT {
                break;
            }
            self.released.pop_front();
            if is_current {
                self.entries.remove(&packet_id);
            }
        }
        if self.released.len() > QUEUE_LEN_MAX {
            let Qos2Table { entries, released, .. } = self;
            released.retain(|&(packet_id, number)| is_release(entries, packet_id, number));
        }
    }
}

/// Whether an element of the queue is its id's last release.
fn is_release(entries: &HashMap<u16, Taken>, packet_id: u16, number: u64) -> bool {
    entries.get(&packet_id).is_some_and(|taken| taken.released && taken.number == number)
}

/// Two tables are equal when they answer every question alike, now and after the same further records.
impl PartialEq for Qos2Table {
    fn eq(&self, other: &Qos2Table) -> bool {
        let age = |table: &Qos2Table, number: u64| (table.takes - number).min(u64::from(u32::MAX));
        self.numbering == other.numbering
            && age(self, self.confirmed) == age(other, other.confirmed)
            && self.entries.len() == other.entries.len()
            && self.entries.iter().all(|(packet_id, mine)| {
                other.entries.get(packet_id).is_some_and(|theirs| {
                    mine.content_hash == theirs.content_hash
                        && mine.released == theirs.released
                        && age(self, mine.number) == age(other, theirs.number)
                })
            })
    }
}

#[cfg(test)]
#[path = "qos2_tests.rs"]
mod tests;
