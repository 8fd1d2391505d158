//! One record, the element of segments. Pure functions of bytes.
//!
//! ```text
//! record = crc u32 | len u32 | seq u64 | kind u8 | flags u8 | group u16 | body (len bytes) | zero padding to 8
//! ```
//! All integers are little-endian. `crc` is CRC-32C, seeded with the segment's salt, over everything after itself with
//! the padding. `group` is the distance, in 8-byte units, back to the start of the commit group that the record was
//! written in. Everything before that start was durable before the record was written, so a valid record proves that
//! the bytes before its group were once complete. Recovery uses this to distinguish damage from a write that a crash
//! cut.
//!
//! | kind | body | sequence numbers |
//! |---|---|---|
//! | 1 message | `message.rs`; with [`FLAG_PACKET_ID`]: packet id u16, content hash u64 before it | takes one |
//! | 2 release | packet ids, u16 each; 0 = messages that are not recorded had ids too | takes none |
//! | 3 clear | empty | takes none |
//! | 4 gap | end u64 (exclusive), reason u8, filling | takes `seq..end` |
//! | 5 snapshot | QoS 2 table | takes none |
//! | 6 void | anything; ignored | takes none |
//!
//! A record that takes no number carries the number of the next record that takes one.

use crate::message::{Message, Seq};

/// Bytes before the body.
pub(super) const RECORD_HEADER_LEN: usize = 20;

/// Records begin at multiples of this, which is what makes the search after damage cheap.
pub(super) const RECORD_ALIGN: u64 = 8;

/// Bytes of one body: an MQTT packet is at most 256 MiB, and its properties may grow by less than a factor of two when
/// they are encoded. Checked before anything is allocated.
pub(super) const BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The farthest a record may begin behind its group's start, because `group` is a u16 of 8-byte units: 512 KiB, which
/// at one fdatasync in 20 ms (a slow SD card) is still 25 MiB/s.
pub(super) const GROUP_SPAN_MAX: u64 = u16::MAX as u64 * RECORD_ALIGN;

/// In a message's flags: the body begins with a QoS 2 packet id and content hash.
pub(super) const FLAG_PACKET_ID: u8 = 0b1_0000;

/// The bits of a message's flags that `message.rs` owns.
pub(super) const MESSAGE_FLAGS: u8 = 0b1111;

/// Packet id and content hash.
const QOS2_PREFIX_LEN: usize = 2 + 8;

/// Body of a gap before the filling.
const GAP_BODY_LEN: usize = 8 + 1;

/// Bytes of a gap record without filling.
pub(super) const GAP_RECORD_LEN: u64 = record_len(GAP_BODY_LEN as u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Message = 1,
    Release = 2,
    Clear = 3,
    Gap = 4,
    Snapshot = 5,
    Void = 6,
}

impl Kind {
    fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Message,
            2 => Kind::Release,
            3 => Kind::Clear,
            4 => Kind::Gap,
            5 => Kind::Snapshot,
            6 => Kind::Void,
            _ => return None,
        })
    }
}

/// Why a range of sequence numbers has no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum GapReason {
    /// `when_full: drop_newest`.
    Full = 1,
    /// Recovery put the gap where damaged records were.
    Damage = 2,
}

impl GapReason {
    pub(super) fn describe(self) -> &'static str {
        match self {
            GapReason::Full => "dropped: the journal was full",
            GapReason::Damage => "damaged in the journal; the bytes are in its quarantine folder",
        }
    }
}

/// A record's fixed part, checked as far as it can be alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) crc: u32,
    /// Bytes of the body.
    pub(super) len: u32,
    pub(super) seq: Seq,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) group: u16,
}

impl RecordHeader {
    /// `None` for bytes that no record begins with (zeros among them).
    pub(super) fn parse(bytes: &[u8; RECORD_HEADER_LEN]) -> Option<RecordHeader> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = RecordHeader {
            crc: u32_at(0),
            len: u32_at(4),
            seq: Seq(u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32),
            kind: Kind::from_code(bytes[16])?,
            flags: bytes[17],
            group: u16::from_le_bytes([bytes[18], bytes[19]]),
        };
        (u64::from(header.len) <= BODY_BYTES_MAX && header.seq >= Seq::FIRST && header.seq.0 < u64::MAX)
            .then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) fn record_len(&self) -> u64 {
        record_len(u64::from(self.len))
    }

    /// The number that follows this record. `None` if a gap's body makes no sense.
    pub(super) fn following_seq(&self, body: &[u8]) -> Option<Seq> {
        match self.kind {
            Kind::Message => Some(self.seq.next()),
            Kind::Gap => gap_body(body).map(|(end, _)| end).filter(|&end| end > self.seq),
            Kind::Release | Kind::Clear | Kind::Snapshot | Kind::Void => Some(self.seq),
        }
    }
}

/// Bytes of a record with a body of `body_len` bytes.
pub(super) const fn record_len(body_len: u64) -> u64 {
    (RECORD_HEADER_LEN as u64 + body_len).next_multiple_of(RECORD_ALIGN)
}

/// The checksum's start value in a segment: records of another segment never validate here.
pub(super) fn seed(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

/// The checksum of a whole record.
pub(super) fn checksum(seed: u32, record: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, &record[4..])
}

/// Appends an unsealed record: complete but for sequence number, group and checksum.
fn stage(out: &mut Vec<u8>, kind: Kind, flags: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
    body(out);
    let len = out.len() - start - RECORD_HEADER_LEN;
    assert!(len as u64 <= BODY_BYTES_MAX, "an MQTT packet is at most 256 MiB");
    out[start + 4..start + 8].copy_from_slice(&(len as u32).to_le_bytes());
    out[start + 16] = kind as u8;
    out[start + 17] = flags;
    out.resize(start + record_len(len as u64) as usize, 0);
}

pub(super) fn stage_message(out: &mut Vec<u8>, message: &Message<'_>, qos2: Option<(u16, u64)>) {
    let flags = message.flags() | if qos2.is_some() { FLAG_PACKET_ID } else { 0 };
    out.reserve(record_len((QOS2_PREFIX_LEN + message.encoded_len()) as u64) as usize);
    stage(out, Kind::Message, flags, |out| {
        if let Some((packet_id, content_hash)) = qos2 {
            out.extend_from_slice(&packet_id.to_le_bytes());
            out.extend_from_slice(&content_hash.to_le_bytes());
        }
        message.encode(out);
    });
}

/// Appends a release of `packet_ids`.
pub(super) fn stage_release(out: &mut Vec<u8>, packet_ids: &[u16]) {
    stage(out, Kind::Release, 0, |out| packet_ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes())));
}

pub(super) fn stage_clear(out: &mut Vec<u8>) {
    stage(out, Kind::Clear, 0, |_| {});
}

pub(super) fn stage_snapshot(out: &mut Vec<u8>, table: impl FnOnce(&mut Vec<u8>)) {
    stage(out, Kind::Snapshot, 0, table);
}

/// Appends a void record of `len` bytes in all: at least [`RECORD_HEADER_LEN`] rounded up, and a multiple of 8.
pub(super) fn stage_void(out: &mut Vec<u8>, len: usize) {
    stage(out, Kind::Void, 0, |out| out.resize(out.len() + len - RECORD_HEADER_LEN, 0));
}

/// Appends a gap record that ends before `end`, of `len` bytes in all: at least [`GAP_RECORD_LEN`], a multiple of 8.
pub(super) fn stage_gap(out: &mut Vec<u8>, end: Seq, reason: GapReason, len: usize) {
    stage(out, Kind::Gap, 0, |out| {
        out.extend_from_slice(&end.0.to_le_bytes());
        out.push(reason as u8);
        out.resize(out.len() + len - RECORD_HEADER_LEN - GAP_BODY_LEN, 0);
    });
}

/// Completes a staged record in place.
pub(super) fn seal(record: &mut [u8], seq: Seq, group: u16, seed: u32) {
    record[8..16].copy_from_slice(&seq.0.to_le_bytes());
    record[18..20].copy_from_slice(&group.to_le_bytes());
    let crc = checksum(seed, record);
    record[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Length and kind of the staged record that `bytes` begin with. The bytes are ours, never read from a disk.
pub(super) fn staged(bytes: &[u8]) -> (usize, Kind) {
    let len = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    (record_len(u64::from(len)) as usize, Kind::from_code(bytes[16]).expect("staged by this module"))
}

/// Whether a staged message carries a QoS 2 packet id.
pub(super) fn has_packet_id(record: &[u8]) -> bool {
    record[17] & FLAG_PACKET_ID != 0
}

/// Whether a message with these flags came at QoS 1.
pub(super) fn is_at_least_once(flags: u8) -> bool {
    flags & 0b11 == 1
}

/// Whether a message with these flags came with DUP.
pub(super) fn is_dup(flags: u8) -> bool {
    flags & 0b1000 != 0
}

/// How many pushes a staged record holds: each id of a release was one.
pub(super) fn ordinals(kind: Kind, record: &[u8]) -> u64 {
    match kind {
        Kind::Release => (body(record).len() / 2) as u64,
        _ => 1,
    }
}

/// The body of a staged or valid record.
pub(super) fn body(record: &[u8]) -> &[u8] {
    let len = u32::from_le_bytes([record[4], record[5], record[6], record[7]]) as usize;
    &record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + len]
}

/// A QoS 2 packet id and the hash of what it carried.
pub(super) type PacketMark = (u16, u64);

/// Splits a message's body into its mark, if it has one, and what `message.rs` reads.
pub(super) fn message_body(flags: u8, body: &[u8]) -> Option<(Option<PacketMark>, &[u8])> {
    if flags & FLAG_PACKET_ID == 0 {
        return Some((None, body));
    }
    let (prefix, rest) = body.split_at_checked(QOS2_PREFIX_LEN)?;
    let packet_id = u16::from_le_bytes([prefix[0], prefix[1]]);
    let content_hash = u64::from_le_bytes(prefix[2..].try_into().ok()?);
    Some((Some((packet_id, content_hash)), rest))
}

/// The packet ids of a release.
pub(super) fn release_body(body: &[u8]) -> impl Iterator<Item = u16> {
    body.chunks_exact(2).map(|id| u16::from_le_bytes([id[0], id[1]]))
}

/// End (exclusive) and reason of a gap.
pub(super) fn gap_body(body: &[u8]) -> Option<(Seq, GapReason)> {
    let (end, rest) = body.split_at_checked(8)?;
    let reason = match rest.first()? {
        1 => GapReason::Full,
        2 => GapReason::Damage,
        _ => return None,
    };
    Some((Seq(u64::from_le_bytes(end.try_into().ok()?)), reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::message::{Properties, Qos};

    fn message(payload: &[u8]) -> Message<'_> {
        Message {
            topic: "a/b",
            payload,
            qos: Qos::ExactlyOnce,
            retain: true,
            dup: false,
            properties: Properties::NONE,
            received_at: Timestamp(5),
            fault: None,
            seq: Seq(0),
        }
    }

    fn parse(record: &[u8]) -> Option<RecordHeader> {
        RecordHeader::parse(record.first_chunk()?)
    }

    #[test]
    fn messages_of_every_small_size_come_back_and_are_padded_to_eight() {
        for len in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 4096] {
            let payload = vec![0xA5; len];
            let mut record = Vec::new();
            stage_message(&mut record, &message(&payload), Some((7, 99)));
            assert_eq!(staged(&record), (record.len(), Kind::Message));
            seal(&mut record, Seq(3), 12, seed(1));
            let header = parse(&record).unwrap();
            assert_eq!((header.seq, header.group, header.record_len()), (Seq(3), 12, record.len() as u64));
            assert_eq!(record.len() % 8, 0);
            assert_eq!(header.crc, checksum(seed(1), &record));
            let (qos2, rest) = message_body(header.flags, body(&record)).unwrap();
            assert_eq!(qos2, Some((7, 99)));
            let decoded = Message::decode(header.seq, header.flags & MESSAGE_FLAGS, rest).unwrap();
            assert_eq!(decoded, Message { seq: Seq(3), ..message(&payload) });
        }
    }

    #[test]
    fn a_record_of_another_segment_does_not_validate() {
        let mut record = Vec::new();
        stage_clear(&mut record);
        seal(&mut record, Seq(1), 0, seed(1));
        assert_ne!(checksum(seed(2), &record), parse(&record).unwrap().crc);
    }

    #[test]
    fn gaps_and_voids_fill_any_room_exactly() {
        for len in (GAP_RECORD_LEN as usize..200).step_by(8) {
            let mut record = Vec::new();
            stage_gap(&mut record, Seq(9), GapReason::Damage, len);
            seal(&mut record, Seq(4), 0, 0);
            let header = parse(&record).unwrap();
            assert_eq!((record.len(), header.record_len()), (len, len as u64));
            assert_eq!(gap_body(body(&record)), Some((Seq(9), GapReason::Damage)));
            assert_eq!(header.following_seq(body(&record)), Some(Seq(9)));
        }
        for len in (24..200).step_by(8) {
            let mut record = Vec::new();
            stage_void(&mut record, len);
            assert_eq!(record.len(), len);
        }
    }

    #[test]
    fn a_gap_that_ends_before_it_begins_is_refused() {
        let mut record = Vec::new();
        stage_gap(&mut record, Seq(4), GapReason::Full, GAP_RECORD_LEN as usize);
        seal(&mut record, Seq(4), 0, 0);
        assert_eq!(parse(&record).unwrap().following_seq(body(&record)), None);
    }

    #[test]
    fn zeros_are_no_record_and_lengths_are_bounded() {
        assert_eq!(RecordHeader::parse(&[0; RECORD_HEADER_LEN]), None);
        let mut record = Vec::new();
        stage_clear(&mut record);
        seal(&mut record, Seq(1), 0, 0);
        record[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&record), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: [u8; RECORD_HEADER_LEN], rest: Vec<u8>, flags: u8) {
            if let Some(header) = RecordHeader::parse(&bytes) {
                prop_assert!(header.record_len() >= u64::from(header.len));
                let _ = header.following_seq(&rest);
            }
            let _ = (gap_body(&rest), message_body(flags, &rest), release_body(&rest).count());
        }
    }
}
