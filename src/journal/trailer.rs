//! The end of a segment's file: facts about the segment that do not depend on its last record.
//!
//! ```text
//! trailer (128 bytes, the file's last) = mark 32 | reserved 32 | copy of the segment header 64
//! mark = end u64 | next_seq u64 | kind u8 | reserved 11 | crc u32 over all before it, seeded as the records are
//! ```
//! A mark says that the records before `end`, with all numbers below `next_seq`, were on the disk when it was written.
//! This stays true when records are appended later. A *stop* is written when the process ends in order. A *seal* is
//! written when the next segment is on the disk: a newest segment with a seal has lost its successor.
//!
//! The trailer is in one sector, so that a mark cannot be lost without the copy beside it.

use std::io;

use super::FsFile;
use super::fs::{READ_PIECE_BYTES, read_full};
use super::record::{self, RECORD_ALIGN, RECORD_HEADER_LEN};
use super::scan::Scanner;
use super::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::message::Seq;

pub(super) const TRAILER_LEN: u64 = 128;
const MARK_LEN: usize = 32;
const MARK_CRC_AT: usize = MARK_LEN - 4;

/// Where the copy of the header lies, from the file's end.
pub(super) const COPY_FROM_END: u64 = SEGMENT_HEADER_LEN as u64;

/// A copy of the header that differs in more bytes was not hit by a flipped bit: the sector is gone, and what else it
/// held.
const COPY_BYTES_OFF_MAX: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum MarkKind {
    Stop = 1,
    Seal = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) kind: MarkKind,
    /// Records before were on the disk.
    pub(super) end: u64,
    /// Their numbers are below.
    pub(super) next_seq: Seq,
}

impl Mark {
    fn encode(self, salt: u64) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        bytes[..8].copy_from_slice(&self.end.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.next_seq.0.to_le_bytes());
        bytes[16] = self.kind as u8;
        let crc = crc32c::crc32c_append(record::seed(salt), &bytes[..MARK_CRC_AT]);
        bytes[MARK_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for anything but a mark that can be true of a segment with this header.
    fn decode(bytes: &[u8], header: &SegmentHeader) -> Option<Mark> {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let crc = crc32c::crc32c_append(record::seed(header.salt), &bytes[..MARK_CRC_AT]);
        let kind = match bytes[16] {
            1 => MarkKind::Stop,
            2 => MarkKind::Seal,
            _ => return None,
        };
        let mark = Mark { kind, end: u64_at(0), next_seq: Seq(u64_at(8)) };
        let is_possible = mark.end <= header.records_end()
            && mark.end.is_multiple_of(RECORD_ALIGN)
            && mark.end >= SEGMENT_HEADER_LEN as u64
            && mark.next_seq >= header.base;
        (crc.to_le_bytes() == bytes[MARK_CRC_AT..] && is_possible).then_some(mark)
    }

    /// Writes the mark into its segment, which is not synced by that.
    pub(super) fn write(self, file: &impl FsFile, records_end: u64, salt: u64) -> io::Result<()> {
        file.write_all_at(&self.encode(salt), records_end)
    }
}

/// What the end of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) mark: Option<Mark>,
    /// The copy of the header is as it was written.
    pub(super) is_sound: bool,
    /// What the sector held is gone, the mark too if there was one.
    pub(super) is_lost: bool,
    /// The file is shorter than it was made, which no crash can do.
    pub(super) is_cut: bool,
    /// Up to where records can be read.
    pub(super) records_len: u64,
}

impl Trailer {
    /// Everything before was once whole.
    pub(super) fn proven_len(&self) -> u64 {
        match self.mark {
            // Its end was perhaps not looked for, and a segment is sealed when all of it is durable.
            Some(Mark { kind: MarkKind::Seal, .. }) => self.records_len,
            Some(Mark { kind: MarkKind::Stop, end, .. }) => end,
            None => 0,
        }
    }
}

/// Reads what the end of the file says. What cannot be read is lost.
pub(super) fn read(file: &impl FsFile, header: &SegmentHeader) -> io::Result<Trailer> {
    let len = file.len()?;
    let (is_cut, records_len) = (len < header.size, header.records_end().min(len));
    let mut bytes = [0; TRAILER_LEN as usize];
    let at = header.records_end();
    let read = read_full(file, &mut bytes, at).or_else(|_| read_full(file, &mut bytes, at)).unwrap_or(0);
    if is_cut || read < bytes.len() {
        return Ok(Trailer { mark: None, is_sound: false, is_lost: true, is_cut, records_len });
    }
    let mark = Mark::decode(&bytes[..MARK_LEN], header);
    let copy = &bytes[bytes.len() - SEGMENT_HEADER_LEN..];
    let off = copy.iter().zip(header.encode()).filter(|&(&read, written)| read != written).count();
    let is_lost = mark.is_none() && off > COPY_BYTES_OFF_MAX;
    Ok(Trailer { mark, is_sound: off == 0, is_lost, is_cut, records_len })
}

/// The bytes after the last valid record of the newest segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing that was acknowledged, as far as the bytes can tell.
    Plain,
    /// Up to `end` there were messages, or may have been: all numbers below `next`.
    Damaged { end: u64, next: Seq },
    /// There were messages, or may have been, in unknown number: as far as is known, `next` was never assigned.
    Lost { next: Seq, why: &'static str },
}

/// Judges the newest segment's end; `scanner` has come to its end, and `trailer` was read before it began.
pub(super) fn judge<File: FsFile>(
    scanner: &mut Scanner<File>,
    header: &SegmentHeader,
    trailer: &Trailer,
) -> io::Result<Tail> {
    let (offset, expected, limit) = (scanner.offset(), scanner.expected(), trailer.records_len);
    let lost = |next: Seq, why| Ok(Tail::Lost { next: next.max(expected.next()), why });
    let mark = trailer.mark.filter(|mark| mark.next_seq < expected || scanner.is_plausible(mark.next_seq));
    if let Some(Mark { kind: MarkKind::Seal, next_seq, .. }) = mark {
        return lost(next_seq.next(), "the segment that followed it is gone");
    }
    if trailer.is_cut {
        return lost(scanner.seeming_end(limit)?, "the file is shorter than it was made");
    }
    if let Some(mark) = mark.filter(|mark| mark.end > offset) {
        return Ok(Tail::Damaged { end: mark.end, next: mark.next_seq.max(expected) });
    }
    let nonzero_end = scanner.end_of_nonzero(offset, limit)?;
    let is_blank = scanner.is_blank_here(limit)?;
    // Records are written one after the other, so there is no blank space before the records of the lost piece.
    let lost_from = last_piece(header);
    let reaches = offset + RECORD_HEADER_LEN as u64 > lost_from;
    if trailer.is_lost && (reaches || !is_blank && nonzero_end.is_some_and(|end| end > lost_from)) {
        return lost(scanner.seeming_end(limit)?, "its end is damaged");
    }
    // Bytes after the last valid record that cannot be read, or were not searched, may have been messages if anything
    // was written there. This is not a torn tail, but damage of unknown extent.
    let Some(end) = nonzero_end else { return Ok(Tail::Plain) };
    let is_uncertain = scanner.has_given_up() || scanner.is_unreadable_in(offset, end);
    if is_uncertain && !is_blank {
        let next = scanner.seeming_end(limit)?.max(expected.next());
        return Ok(Tail::Damaged { end: end.next_multiple_of(RECORD_ALIGN), next });
    }
    Ok(Tail::Plain)
}

/// Where the last piece of the file begins that is lost or kept as a whole.
pub(super) fn last_piece(header: &SegmentHeader) -> u64 {
    (header.size - 1) / READ_PIECE_BYTES * READ_PIECE_BYTES
}

/// Writes the copy of the header again. If the sector was lost, with all around it that no record is in (they end at
/// `end`): the disk replaces a block that it cannot read when all of it is written.
pub(super) fn mend(file: &impl FsFile, header: &SegmentHeader, trailer: &Trailer, end: u64) -> io::Result<()> {
    let copy_at = header.size - COPY_FROM_END;
    let from = if trailer.is_lost { last_piece(header).max(end) } else { copy_at };
    let mut bytes = vec![0; (copy_at - from) as usize];
    bytes.extend_from_slice(&header.encode());
    file.write_all_at(&bytes, from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::journal_id::JournalId;

    fn header() -> SegmentHeader {
        SegmentHeader { id: JournalId([1; 16]), base: Seq(5), created_at: Timestamp(0), salt: 77, size: 4096 }
    }

    #[test]
    fn a_mark_comes_back_in_its_own_segment_and_no_flipped_bit_passes() {
        let mark = Mark { kind: MarkKind::Seal, end: 640, next_seq: Seq(9) };
        let bytes = mark.encode(77);
        assert_eq!(Mark::decode(&bytes, &header()), Some(mark));
        assert_eq!(Mark::decode(&bytes, &SegmentHeader { salt: 78, ..header() }), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&damaged, &header()), None, "bit {bit}");
        }
        assert_eq!(Mark::decode(&[0; MARK_LEN], &header()), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: [u8; MARK_LEN]) {
            let _ = Mark::decode(&bytes, &header());
        }
    }
}
