//! The contents of one segment, as recovery needs them.

use std::io;

use super::record::{self, GAP_RECORD_LEN, GapReason, Kind, RECORD_ALIGN, RECORD_HEADER_LEN};
use super::scan::{Item, Scanner};
use super::segment::SEGMENT_HEADER_LEN;
use super::{FsFile, Qos2Table};
use crate::message::Seq;

/// A damaged range of the newest segment.
pub(super) struct Hole {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) from: Seq,
    pub(super) to: Seq,
    /// No valid record follows, so that only a gap in its place says which number comes next.
    pub(super) is_last: bool,
}

/// What a scan of a whole segment found.
pub(super) struct Replay<File> {
    pub(super) scanner: Scanner<File>,
    pub(super) holes: Vec<Hole>,
    pub(super) qos2: Qos2Table,
    pub(super) has_snapshot: bool,
    /// Everything before was once whole: where the last valid record's commit group began, or what is trusted.
    pub(super) proven_len: u64,
}

impl<File: FsFile> Replay<File> {
    /// Everything before `end` was once whole.
    pub(super) fn prove(&mut self, end: u64) {
        self.proven_len = self.proven_len.max(end);
    }

    /// The position at which the last write before the end was torn, although later parts of it are whole.
    pub(super) fn tear(&self) -> Option<u64> {
        let is_tear = |hole: &&Hole| {
            let has_messages = hole.from < hole.to;
            hole.offset >= self.proven_len && may_be_torn(&self.scanner, hole.offset, hole.len, has_messages)
        };
        self.holes.iter().find(is_tear).map(|hole| hole.offset)
    }

    /// Makes what lies between the last valid record and `end` damage, not a torn tail: its numbers, the last one
    /// before `next_seq`, are not given out again.
    pub(super) fn close(&mut self, end: u64, next_seq: Seq) {
        self.prove(end);
        let (offset, from) = (self.scanner.offset(), self.scanner.expected());
        if offset < end {
            let to = from.max(next_seq);
            self.holes.push(Hole { offset, len: end - offset, from, to, is_last: true });
            self.scanner.skip_to(end, to);
        }
    }
}

/// Whether an interrupted write can have left this hole: no record is shorter, and none of a message, so that every hole
/// that can be a tear can also be filled; and a disk that cannot read does not tear.
pub(super) fn may_be_torn<File: FsFile>(scanner: &Scanner<File>, offset: u64, len: u64, has_messages: bool) -> bool {
    let len_min = if has_messages { GAP_RECORD_LEN } else { RECORD_HEADER_LEN as u64 };
    len >= len_min && !scanner.is_unreadable_in(offset, offset + len)
}

impl Hole {
    /// A record of exactly the hole's size that says what is missing; `None` if it does not fit (damage that began as no
    /// record of ours).
    pub(super) fn filling(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if self.from < self.to && self.len >= GAP_RECORD_LEN {
            record::stage_gap(&mut out, self.to, GapReason::Damage, self.len as usize);
        } else if self.from == self.to && self.len >= RECORD_HEADER_LEN as u64 {
            record::stage_void(&mut out, self.len as usize);
        }
        (!out.is_empty()).then_some(out)
    }
}

pub(super) fn replay<File: FsFile>(scanner: Scanner<File>, limit: u64, qos2: Qos2Table) -> io::Result<Replay<File>> {
    let mut replay = Replay { scanner, holes: Vec::new(), qos2, has_snapshot: false, proven_len: 0 };
    loop {
        match replay.scanner.next_item(limit)? {
            Item::Record { offset, header } => {
                let body = replay.scanner.body(offset, &header);
                replay.has_snapshot |= header.kind == Kind::Snapshot && offset == SEGMENT_HEADER_LEN as u64;
                replay.qos2.apply(header.kind, header.flags, body);
                replay.prove(offset.saturating_sub(u64::from(header.group) * RECORD_ALIGN));
            }
            Item::Hole { offset, len, from, to } => {
                replay.holes.push(Hole { offset, len, from, to, is_last: false });
            }
            Item::End { .. } => return Ok(replay),
        }
    }
}
