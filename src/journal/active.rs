//! The segment being written: the position of the next record, and how much of the segment is on the disk. Zeros are
//! written ahead of the records, so that an fdatasync finds blocks that were written before.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::FsFile;
use super::fs::zero;
use super::record;
use super::segment::Segment;
use super::trailer::{Mark, MarkKind};
use crate::message::Seq;

/// How far zeros are written ahead of the records. 128 KiB: some dozen groups of a busy broker.
const WRITTEN_AHEAD: u64 = 128 << 10;

/// The segment being written.
pub(super) struct Active<File> {
    pub(super) segment: Arc<Segment>,
    pub(super) file: File,
    pub(super) salt: u64,
    pub(super) seed: u32,
    /// Where the next record goes.
    pub(super) end: u64,
    /// Records from here on are not synced; also where their commit group begins.
    pub(super) durable: u64,
    /// No record goes beyond.
    pub(super) size: u64,
    /// Up to here the file's blocks were written, not only allocated.
    written: u64,
    /// Where the trailer begins; `None` if there is none to write to.
    pub(super) trailer_at: Option<u64>,
    /// Messages not synced.
    pub(super) messages: u64,
    /// When the first of what is not synced was written.
    pub(super) unsynced_since: Option<Instant>,
}

impl<File> Active<File> {
    pub(super) fn new(
        segment: Arc<Segment>,
        file: File,
        salt: u64,
        end: u64,
        size: u64,
        trailer_at: Option<u64>,
    ) -> Active<File> {
        Active {
            segment,
            file,
            salt,
            seed: record::seed(salt),
            end,
            durable: end,
            size,
            written: end,
            trailer_at,
            messages: 0,
            unsynced_since: None,
        }
    }
}

impl<File: FsFile> Active<File> {
    /// Writes records after the last one, and from time to time zeros ahead of them, which is the content of the file
    /// there. A block that was never written would cost each fdatasync that reaches it a change of the file system's
    /// metadata as well.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.end)?;
        self.end += records.len() as u64;
        if self.end > self.written {
            self.written = (self.end + 1).next_multiple_of(WRITTEN_AHEAD).min(self.size);
            zero(&self.file, self.end, self.written)?;
        }
        Ok(())
    }

    /// Says in the trailer that everything is on the disk that has a number below `next_seq`, as it must be.
    pub(super) fn mark(&self, kind: MarkKind, next_seq: Seq) -> io::Result<()> {
        debug_assert_eq!(self.end, self.durable, "a mark says what is durable");
        let Some(trailer_at) = self.trailer_at else { return Ok(()) };
        Mark { kind, end: self.end, next_seq }.write(&self.file, trailer_at, self.salt)?;
        self.file.sync_data()
    }
}
