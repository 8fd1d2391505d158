//! Which QoS 2 messages have been taken, so that a redelivery after a crash is recognised.
//!
//! A pure function of the record stream: the writer keeps one copy (snapshotted at the start of each segment), the
//! session another that runs ahead of the disk.
//!
//! ```text
//! snapshot = count u32 | entries, oldest first: packet_id u16 | released u8 | age u32 | content_hash u64
//! ```
//! `age` is how many ids have been taken since.

use std::collections::{HashMap, VecDeque};

use super::record::{self, Kind};

/// How many newer ids must have been taken before a released one is forgotten. Half of all packet ids: a broker that
/// numbers in turn is then half a round away from using the id again.
const RELEASED_KEPT: u64 = 32_768;

/// Bytes of an entry in a snapshot.
const ENTRY_LEN: usize = 2 + 1 + 4 + 8;

/// Packet ids known to this session, with the hash of what they carried. At most 65,535 entries of 24 bytes, and as
/// many in the queue that ages them; nothing is allocated until the first QoS 2 message.
#[derive(Debug, Clone, Default)]
pub struct Qos2Table {
    entries: HashMap<u16, Taken>,
    /// The last [`RELEASED_KEPT`] takes, oldest first: packet id and number of the take. An id taken again is in it
    /// twice; the older number is then stale.
    order: VecDeque<(u16, u64)>,
    /// How many ids were ever taken.
    takes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    content_hash: u64,
    number: u64,
    released: bool,
}

/// What an inbound QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos2Verdict {
    /// Never seen: store it.
    New,
    /// Already taken: do not store it again, acknowledge it.
    Duplicate,
}

impl Qos2Table {
    /// `dup=0` is always new; `dup=1` with a known id and the same content hash is a duplicate.
    pub fn verdict(&self, packet_id: u16, dup: bool, content_hash: u64) -> Qos2Verdict {
        match self.entries.get(&packet_id) {
            Some(taken) if dup && taken.content_hash == content_hash => Qos2Verdict::Duplicate,
            _ => Qos2Verdict::New,
        }
    }

    /// A message with this id was taken.
    pub fn take(&mut self, packet_id: u16, content_hash: u64) {
        self.takes += 1;
        self.insert(packet_id, Taken { content_hash, number: self.takes, released: false });
        self.forget_aged();
    }

    /// The broker released the id (PUBREL). Kept until 32,768 newer ids have been taken, because Mosquitto sends a
    /// PUBLISH again even after its PUBREL when reconnects follow each other quickly.
    pub fn release(&mut self, packet_id: u16) {
        let Some(taken) = self.entries.get_mut(&packet_id) else { return };
        taken.released = true;
        if is_aged(self.takes, taken.number) {
            self.entries.remove(&packet_id);
        }
    }

    /// The broker lost the session.
    pub fn clear(&mut self) {
        *self = Qos2Table::default();
    }

    /// What a record, of whatever kind, does to the table.
    pub(super) fn apply(&mut self, kind: Kind, flags: u8, body: &[u8]) {
        match kind {
            Kind::Message => {
                if let Some((Some((packet_id, content_hash)), _)) = record::message_body(flags, body) {
                    self.take(packet_id, content_hash);
                }
            }
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
        out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for (packet_id, taken) in entries {
            let age = u32::try_from(self.takes - taken.number).unwrap_or(u32::MAX);
            out.extend_from_slice(&packet_id.to_le_bytes());
            out.push(u8::from(taken.released));
            out.extend_from_slice(&age.to_le_bytes());
            out.extend_from_slice(&taken.content_hash.to_le_bytes());
        }
    }

    /// Bytes that [`Qos2Table::encode`] appends.
    pub(super) fn encoded_len(&self) -> usize {
        4 + self.entries.len() * ENTRY_LEN
    }

    /// Reads a snapshot back; `None` if the bytes are not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Qos2Table> {
        let (count, entries) = bytes.split_at_checked(4)?;
        let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
        if count > usize::from(u16::MAX) + 1 || entries.len() != count * ENTRY_LEN {
            return None;
        }
        // A fresh count large enough that no age reaches below zero.
        let mut table = Qos2Table { takes: u64::from(u32::MAX), ..Qos2Table::default() };
        for entry in entries.chunks_exact(ENTRY_LEN) {
            let age = u32::from_le_bytes([entry[3], entry[4], entry[5], entry[6]]);
            let content_hash = u64::from_le_bytes(entry[7..].try_into().ok()?);
            let number = table.takes - u64::from(age);
            table.insert(
                u16::from_le_bytes([entry[0], entry[1]]),
                Taken { content_hash, number, released: entry[2] != 0 },
            );
        }
        Some(table)
    }

    fn insert(&mut self, packet_id: u16, taken: Taken) {
        self.entries.insert(packet_id, taken);
        if !is_aged(self.takes, taken.number) {
            self.order.push_back((packet_id, taken.number));
        }
    }

    /// Drops from the queue what is old enough, and from the table if it was released. An old id that was not released
    /// leaves the table when it is.
    fn forget_aged(&mut self) {
        while let Some(&(packet_id, number)) = self.order.front() {
            if !is_aged(self.takes, number) {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&packet_id).is_some_and(|taken| taken.released && taken.number == number) {
                self.entries.remove(&packet_id);
            }
        }
    }
}

fn is_aged(takes: u64, number: u64) -> bool {
    takes - number >= RELEASED_KEPT
}

/// Two tables are equal when they answer every question alike, now and after the same further records.
impl PartialEq for Qos2Table {
    fn eq(&self, other: &Qos2Table) -> bool {
        let age = |table: &Qos2Table, taken: &Taken| (table.takes - taken.number).min(RELEASED_KEPT);
        self.entries.len() == other.entries.len()
            && self.entries.iter().all(|(packet_id, mine)| {
                other.entries.get(packet_id).is_some_and(|theirs| {
                    mine.content_hash == theirs.content_hash
                        && mine.released == theirs.released
                        && age(self, mine) == age(other, theirs)
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_redelivery_of_the_same_content_is_a_duplicate() {
        let mut table = Qos2Table::default();
        table.take(5, 100);
        assert_eq!(table.verdict(5, true, 100), Qos2Verdict::Duplicate);
        assert_eq!(table.verdict(5, false, 100), Qos2Verdict::New);
        assert_eq!(table.verdict(5, true, 101), Qos2Verdict::New);
        assert_eq!(table.verdict(6, true, 100), Qos2Verdict::New);
        table.release(5);
        assert_eq!(table.verdict(5, true, 100), Qos2Verdict::Duplicate, "Mosquitto repeats even after PUBREL");
        table.clear();
        assert_eq!(table.verdict(5, true, 100), Qos2Verdict::New);
    }

    #[test]
    fn released_ids_age_out_and_unreleased_ones_stay() {
        let mut table = Qos2Table::default();
        table.take(1, 1);
        table.take(2, 2);
        table.release(1);
        for id in 0..RELEASED_KEPT as u16 {
            table.take(1000 + id, 9);
        }
        assert_eq!(table.verdict(1, true, 1), Qos2Verdict::New);
        assert_eq!(table.verdict(2, true, 2), Qos2Verdict::Duplicate);
        table.release(2);
        assert_eq!(table.verdict(2, true, 2), Qos2Verdict::New);
    }

    #[test]
    fn memory_stays_bounded_over_many_rounds_of_ids() {
        let mut table = Qos2Table::default();
        for round in 0..5u64 {
            for id in 1..=u16::MAX {
                table.take(id, round);
                table.release(id);
            }
        }
        assert!(table.len() <= RELEASED_KEPT as usize);
        assert!(table.order.len() <= RELEASED_KEPT as usize);
    }

    proptest! {
        #[test]
        fn a_snapshot_restores_the_table(ops in prop::collection::vec((0u8..10, 0u16..50, 0u64..4), 0..300)) {
            let mut table = Qos2Table::default();
            for (op, id, hash) in ops {
                match op {
                    0..6 => table.take(id, hash),
                    6..9 => table.release(id),
                    _ if hash == 0 => table.clear(),
                    _ => {}
                }
                let mut bytes = Vec::new();
                table.encode(&mut bytes);
                prop_assert_eq!(bytes.len(), table.encoded_len());
                prop_assert_eq!(Qos2Table::decode(&bytes), Some(table.clone()));
            }
        }

        #[test]
        fn hostile_snapshots_never_panic(bytes: Vec<u8>) {
            let _ = Qos2Table::decode(&bytes);
        }
    }
}
