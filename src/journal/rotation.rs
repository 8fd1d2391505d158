//! Opens the next segment, and handles a lack of space for it (J3, J7).

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::active::Active;
use super::fs::is_disk_full;
use super::segment::{self, Segment};
use super::shared::lock;
use super::trailer::{MarkKind, TRAILER_LEN};
use super::writer::{HOUSEKEEPING_INTERVAL, Writer};
use super::{Fs, events};
use crate::config::WhenFull;

/// A journal of `max_size` has at least so many segments, or trimming would come in steps too coarse.
const SEGMENTS_MIN: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    Done,
    /// `max_size` or the disk forbids another segment.
    NoRoom,
}

/// Bytes of a segment, unless one record needs more.
pub(super) fn segment_bytes(config: &crate::config::Journal) -> u64 {
    segment::size_within(config.segment_size.min(config.max_size / SEGMENTS_MIN))
}

impl<F: Fs> Writer<F> {
    pub(super) fn segment_bytes(&self) -> u64 {
        segment_bytes(&self.config)
    }

    /// Seals the active segment, whose content must be synced, and begins one with room for `len` bytes of records.
    pub(super) fn rotate(&mut self, len: u64) -> io::Result<Rotation> {
        debug_assert_eq!(self.active.end, self.active.durable, "a segment is synced before it is sealed");
        let now = Instant::now();
        if self.look_for_room_at.is_some_and(|at| now < at) {
            return Ok(Rotation::NoRoom);
        }
        let table = lock(&self.shared.qos2).clone();
        let overhead = segment::overhead(&table);
        // A broker may have thousands of QoS 2 messages in flight. A snapshot of them must not leave room for a few records
        // only: each segment would cost as much as all of them.
        let roomy = (2 * overhead).min(self.config.max_size / 2);
        let size = segment::size_for(self.segment_bytes().max(roomy).max(overhead + len));
        crash_point!("journal.segment.sealed");
        while self.make_room(size) {
            let id = self.shared.current_id();
            match segment::create(&self.shared.fs, &self.shared.dir, id, self.next_seq, size, &table) {
                Ok(created) => {
                    // A segment without a message is replaced by the next one, and needs no seal.
                    if self.active.segment.base < self.next_seq {
                        self.active.mark(MarkKind::Seal, self.next_seq)?;
                    }
                    self.begin(created, size);
                    if self.look_for_room_at.take().is_some() {
                        events::room_again(self.shared.bytes(), self.config.max_size);
                    }
                    return Ok(Rotation::Done);
                }
                // The disk is full before max_size is: whatever may go makes room.
                Err(error) if is_disk_full(&error) && self.give_way() => {}
                Err(error) if is_disk_full(&error) => {
                    self.note_full(true);
                    return Ok(Rotation::NoRoom);
                }
                Err(error) => return Err(error),
            }
        }
        self.note_full(false);
        Ok(Rotation::NoRoom)
    }

    fn begin(&mut self, created: segment::Created<F::File>, size: u64) {
        let base = self.next_seq;
        let segment = Arc::new(Segment::new(base, created.path, size, Some(created.salt), created.end));
        {
            let mut segments = lock(&self.shared.segments);
            // A segment without a message has the same base and was replaced; its snapshot holds what it held.
            if segments.back().is_some_and(|last| last.base == base) {
                segments.pop_back();
            }
            segments.push_back(Arc::clone(&segment));
        }
        crash_point!("journal.segment.begun");
        let records_end = size - TRAILER_LEN;
        self.active = Active::new(segment, created.file, created.salt, created.end, records_end, Some(records_end));
        self.shared.show_bytes();
        self.watch_level(base);
    }

    /// Whether another segment of `size` bytes keeps within `max_size`, after what may go has gone.
    fn make_room(&mut self, size: u64) -> bool {
        while self.shared.bytes() + size > self.config.max_size {
            if self.give_way() {
                continue;
            }
            // One record that is larger than all else must not stop the journal for ever.
            let is_alone = lock(&self.shared.segments).len() == 1;
            return is_alone && size > self.segment_bytes();
        }
        true
    }

    /// Removes the oldest segment if it is delivered, whatever its age, or if the oldest are to be dropped.
    fn give_way(&mut self) -> bool {
        self.trim_one(true) || self.config.when_full == WhenFull::DropOldest && self.drop_oldest()
    }

    fn note_full(&mut self, disk_full: bool) {
        if self.look_for_room_at.is_none() {
            let policy = match self.config.when_full {
                WhenFull::Pause => "pause: nothing is acknowledged",
                WhenFull::DropOldest => "drop_oldest: but nothing can be removed",
                WhenFull::DropNewest => "drop_newest: new messages are dropped",
            };
            events::full(&self.shared.dir, self.shared.bytes(), self.config.max_size, disk_full, policy);
        }
        self.look_for_room_at = Some(Instant::now() + HOUSEKEEPING_INTERVAL);
    }
}
