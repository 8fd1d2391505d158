//! Walks the records of one segment and finds the next valid record after damage. Recovery, readers and `verify` all
//! use it, so they cannot disagree about the contents of a segment.

use std::collections::BTreeSet;
use std::io;

use super::FsFile;
use super::fs::{READ_PIECE_BYTES, read_around, read_full};
use super::record::{self, Kind, RECORD_ALIGN, RECORD_HEADER_LEN, RecordHeader};
use crate::message::Seq;

/// Bytes read at a time: large enough that reading is sequential for a disk, small enough to keep one per database.
const BLOCK_BYTES: usize = 256 * 1024;

/// A buffer that one large record made grow goes back to [`BLOCK_BYTES`] above this.
const BUFFER_KEPT_MAX: usize = 2 * 1024 * 1024;

/// The search after damage checks at most this many bytes of candidates for each byte of the segment, so that bytes
/// made to look like many long records cannot keep it busy for hours.
const SEARCH_WORK_PER_BYTE: u64 = 16;

/// Zeros are compared in pieces of this size. Most of a newest segment is blank, and each start looks at all of it.
const BLANK_BYTES: usize = 4096;
static BLANK: [u8; BLANK_BYTES] = [0; BLANK_BYTES];

/// A gap record may jump far; a number farther off than this, or a longer gap, is damage and no record of ours.
const SEQ_JUMP_MAX: u64 = 1 << 40;

/// What comes next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// A valid record with the expected number, at this offset. [`Scanner::body`] lends its body.
    Record { offset: u64, header: RecordHeader },
    /// Damage: `len` bytes (possibly none) that are no record, and the numbers `from..to` (possibly none) with them. A
    /// valid record follows.
    Hole { offset: u64, len: u64, from: Seq, to: Seq },
    /// No valid record up to the limit. The bytes between may be zeros, a torn write or damage.
    End { offset: u64 },
}

/// Reads one segment's records in order, never past `limit`.
pub(super) struct Scanner<File> {
    file: File,
    seed: u32,
    /// The file's bytes from `start` on; `filled` of them.
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    offset: u64,
    expected: Seq,
    /// Every record's following number is at most this: where the next segment begins.
    numbers_end: Seq,
    /// What cannot be read counts as zeros, and so as damage.
    is_tolerant: bool,
    /// Offsets of the pieces of [`READ_PIECE_BYTES`] that could not be read.
    unreadable: BTreeSet<u64>,
    /// A search ended before it had looked everywhere.
    has_given_up: bool,
}

impl<File: FsFile> Scanner<File> {
    /// Begins at `offset`, where the record numbered `expected` should be.
    pub(super) fn new(file: File, seed: u32, offset: u64, expected: Seq) -> Scanner<File> {
        Scanner {
            file,
            seed,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            offset,
            expected,
            numbers_end: Seq(u64::MAX),
            is_tolerant: false,
            unreadable: BTreeSet::new(),
            has_given_up: false,
        }
    }

    /// From now on, takes what cannot be read for damage instead of failing.
    pub(super) fn tolerate_unreadable(&mut self) {
        self.is_tolerant = true;
    }

    /// The next segment begins at `base`: a record that is not before it is damage, whatever its checksum says. Without
    /// this one record could hide segments that are whole.
    pub(super) fn stop_before(&mut self, base: Seq) {
        self.numbers_end = base;
    }

    pub(super) fn has_met_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// Whether valid records may follow [`Item::End`], because the search for them would have taken too long.
    pub(super) fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the next record that takes one.
    pub(super) fn expected(&self) -> Seq {
        self.expected
    }

    /// Gives up what lies before `offset`.
    pub(super) fn skip_to(&mut self, offset: u64, expected: Seq) {
        self.offset = offset;
        self.expected = expected;
    }

    /// The next item below `limit`. An error leaves the scanner where it is.
    pub(super) fn next_item(&mut self, limit: u64) -> io::Result<Item> {
        let offset = self.offset;
        match self.valid_record_at(offset, limit)? {
            Some((header, following)) if header.seq == self.expected => {
                self.offset += header.record_len();
                self.expected = following;
                Ok(Item::Record { offset, header })
            }
            Some((header, _)) if self.is_plausible(header.seq) => {
                let from = std::mem::replace(&mut self.expected, header.seq);
                Ok(Item::Hole { offset, len: 0, from, to: header.seq })
            }
            _ => match self.search(offset + RECORD_ALIGN, limit)? {
                Some((found, seq)) => {
                    let from = std::mem::replace(&mut self.expected, seq);
                    self.offset = found;
                    Ok(Item::Hole { offset, len: found - offset, from, to: seq })
                }
                None => Ok(Item::End { offset }),
            },
        }
    }

    /// The body of the record that [`Item::Record`] just told of.
    pub(super) fn body(&self, offset: u64, header: &RecordHeader) -> &[u8] {
        let at = (offset - self.start) as usize + RECORD_HEADER_LEN;
        &self.buffer[at..at + header.len as usize]
    }

    /// Whether a byte of the range could not be read.
    pub(super) fn is_unreadable_in(&self, from: u64, to: u64) -> bool {
        self.unreadable.range((from + 1).saturating_sub(READ_PIECE_BYTES)..to).next().is_some()
    }

    /// Whether zeros were read where the next record would begin: then none was ever written there.
    pub(super) fn is_blank_here(&mut self, limit: u64) -> io::Result<bool> {
        let (at, end) = (self.offset, (self.offset + RECORD_HEADER_LEN as u64).min(limit));
        let len = self.fill(at, RECORD_HEADER_LEN, limit)?.min(RECORD_HEADER_LEN);
        Ok(!self.is_unreadable_in(at, end) && self.bytes(at, len).iter().all(|&byte| byte == 0))
    }

    /// The highest byte at or after `from` that is not zero or could not be read, as an exclusive end; `None` if all
    /// are zeros.
    pub(super) fn end_of_nonzero(&mut self, from: u64, limit: u64) -> io::Result<Option<u64>> {
        let (mut at, mut end) = (from, None);
        while at < limit {
            let len = self.fill(at, 1, limit)?;
            if len == 0 {
                break;
            }
            let bytes = self.bytes(at, len);
            if let Some(last) = last_nonzero(bytes) {
                end = Some(at + last as u64 + 1);
            }
            at += len as u64;
        }
        let unreadable = self.unreadable.range(from.saturating_sub(READ_PIECE_BYTES - 1)..limit).next_back();
        Ok(end.max(unreadable.map(|piece| (piece + READ_PIECE_BYTES).min(limit))))
    }

    /// The number after the last apparent record in the bytes from here on, where no checksum can decide. Never more
    /// than the bytes have room for, so forged records cannot claim the number space.
    pub(super) fn seeming_end(&mut self, limit: u64) -> io::Result<Seq> {
        let (mut at, mut end) = (self.offset, self.expected);
        let bound = self.expected.0.saturating_add(limit.saturating_sub(at) / record::record_len(0));
        while at + RECORD_HEADER_LEN as u64 <= limit {
            if let Some(header) = self.header_at(at, limit)?
                && at + header.record_len() <= limit
                && header.kind == Kind::Message
                && header.seq.0 < bound
            {
                end = end.max(header.seq.next());
            }
            at += RECORD_ALIGN;
        }
        Ok(end)
    }

    /// For a newest segment whose header cannot be read: the number after what it seems to have held, which was one
    /// message at least.
    pub(super) fn end_without_header(file: File, base: Seq, limit: u64) -> io::Result<Seq> {
        let mut scanner = Scanner::new(file, 0, 0, base);
        scanner.tolerate_unreadable();
        Ok(scanner.seeming_end(limit)?.max(base.next()))
    }

    pub(super) fn is_plausible(&self, seq: Seq) -> bool {
        seq >= self.expected && seq <= self.numbers_end && seq.0 - self.expected.0 <= SEQ_JUMP_MAX
    }

    /// The first valid record at or after `from` with a number that can follow, and that number.
    fn search(&mut self, from: u64, limit: u64) -> io::Result<Option<(u64, Seq)>> {
        let mut work_left = (limit - from.min(limit)).max(BLOCK_BYTES as u64) * SEARCH_WORK_PER_BYTE;
        let mut at = from;
        while at + RECORD_HEADER_LEN as u64 <= limit {
            let Some(header) = self.header_at(at, limit)? else {
                at += self.blank_at(at, limit)?.max(RECORD_ALIGN);
                continue;
            };
            if self.is_plausible(header.seq) && at + header.record_len() <= limit {
                let Some(rest) = work_left.checked_sub(header.record_len()) else {
                    self.has_given_up = true;
                    return Ok(None);
                };
                work_left = rest;
                if self.valid_record_at(at, limit)?.is_some() {
                    return Ok(Some((at, header.seq)));
                }
            }
            at += RECORD_ALIGN;
        }
        Ok(None)
    }

    /// How far the search may go on from `offset`, in whole [`RECORD_ALIGN`]s, as no header begins in zeros: each has
    /// a kind. Each piece is compared once, so bytes that are nearly all zeros do not slow the search.
    fn blank_at(&mut self, offset: u64, limit: u64) -> io::Result<u64> {
        let is_blank = offset.is_multiple_of(BLANK_BYTES as u64)
            && self.fill(offset, BLANK_BYTES, limit)? >= BLANK_BYTES
            && *self.bytes(offset, BLANK_BYTES) == BLANK;
        Ok(if is_blank { (BLANK_BYTES - RECORD_HEADER_LEN) as u64 / RECORD_ALIGN * RECORD_ALIGN } else { 0 })
    }

    fn header_at(&mut self, offset: u64, limit: u64) -> io::Result<Option<RecordHeader>> {
        if self.fill(offset, RECORD_HEADER_LEN, limit)? < RECORD_HEADER_LEN {
            return Ok(None);
        }
        let bytes = self.bytes(offset, RECORD_HEADER_LEN);
        Ok(bytes.first_chunk().and_then(RecordHeader::parse))
    }

    /// The record at `offset`, if its checksum holds and the number that follows it can be. Returns that as well.
    fn valid_record_at(&mut self, offset: u64, limit: u64) -> io::Result<Option<(RecordHeader, Seq)>> {
        let Some(header) = self.header_at(offset, limit)? else { return Ok(None) };
        let len = header.record_len();
        // Checked against the file's end before the buffer grows.
        if offset + len > limit || self.fill(offset, len as usize, limit)? < len as usize {
            return Ok(None);
        }
        let record = self.bytes(offset, len as usize);
        if record::checksum(self.seed, record) != header.crc {
            return Ok(None);
        }
        let can_be = |following: &Seq| *following <= self.numbers_end && following.0 - header.seq.0 <= SEQ_JUMP_MAX;
        Ok(header.following_seq(record::body(record)).filter(can_be).map(|following| (header, following)))
    }

    fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let at = (offset - self.start) as usize;
        &self.buffer[at..at + len]
    }

    /// Brings the bytes from `offset` on into the buffer and returns how many there are: `need` or more, unless the
    /// limit or the file ends before.
    fn fill(&mut self, offset: u64, need: usize, limit: u64) -> io::Result<usize> {
        let buffered_end = self.start + self.filled as u64;
        if offset >= self.start && offset + need as u64 <= buffered_end.min(limit) {
            return Ok((buffered_end.min(limit) - offset) as usize);
        }
        if offset >= limit {
            return Ok(0);
        }
        let want = (limit - offset).min(need.max(BLOCK_BYTES) as u64) as usize;
        if self.buffer.len() > BUFFER_KEPT_MAX && want <= BLOCK_BYTES {
            self.buffer = Vec::new();
        }
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        // Nothing is buffered if the read fails.
        (self.start, self.filled) = (offset, 0);
        let buffer = &mut self.buffer[..want];
        self.filled = match read_full(&self.file, buffer, offset) {
            Err(_) if self.is_tolerant => read_around(&self.file, buffer, offset, |piece| {
                self.unreadable.insert(piece);
            }),
            read => read?,
        };
        Ok(self.filled)
    }
}

/// The index of the last byte that is not zero.
fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    for piece in bytes.rchunks(BLANK_BYTES) {
        end -= piece.len();
        if *piece != BLANK[..piece.len()]
            && let Some(last) = piece.iter().rposition(|&byte| byte != 0)
        {
            return Some(end + last);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory_fs::MemoryFile;

    /// Longer than one read, with a rest that is no whole piece.
    const LEN: usize = BLOCK_BYTES + 2 * BLANK_BYTES + 72;

    fn written(bytes: &[u8], at: usize) -> MemoryFile {
        let file = MemoryFile::default();
        file.write_all_at(&[0; LEN], 0).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
        file
    }

    #[test]
    fn a_record_is_found_wherever_it_lies_behind_zeros() {
        let mut record = Vec::new();
        record::stage_clear(&mut record);
        record::seal(&mut record, Seq(7), 0, record::seed(1));
        let last = LEN - record.len();
        let around = |middle: usize| middle.saturating_sub(64)..middle + 64;
        let places =
            around(BLANK_BYTES).chain(around(BLOCK_BYTES)).chain(around(LEN)).filter(|at| *at > 0 && *at <= last);
        for at in places.step_by(RECORD_ALIGN as usize) {
            let mut scanner = Scanner::new(written(&record, at), record::seed(1), 0, Seq(5));
            let hole = Item::Hole { offset: 0, len: at as u64, from: Seq(5), to: Seq(7) };
            assert_eq!(scanner.next_item(LEN as u64).unwrap(), hole);
            assert!(
                matches!(scanner.next_item(LEN as u64).unwrap(), Item::Record { offset, .. } if offset == at as u64)
            );
        }
    }

    #[test]
    fn the_last_byte_that_is_not_zero_is_found() {
        for at in [0, 1, BLANK_BYTES - 1, BLANK_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, LEN - 73, LEN - 1] {
            let mut scanner = Scanner::new(written(&[1], at), 0, 0, Seq(1));
            let end = |scanner: &mut Scanner<_>, from| scanner.end_of_nonzero(from, LEN as u64).unwrap();
            assert_eq!(end(&mut scanner, 0), Some(at as u64 + 1));
            assert_eq!(end(&mut scanner, at as u64 + 1), None);
        }
    }
}
