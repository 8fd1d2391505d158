//! The only writer: takes the session's submissions, finishes the records in place, writes and syncs them, and
//! publishes the new durable end.
//!
//! [`Writer::step`] is one turn without a thread, so that a simulation can choose every interleaving;
//! [`Writer::run`] is the thread around it.
//!
//! Invariants: nothing is published before the fdatasync that covers it (J1, J11). A failed write or fsync ends the use
//! of the file handle (J6), and records that were not durable are discarded, never written a second time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::active::Active;
use super::awaited::Mark as AwaitedMark;
use super::pace::Pace;
use super::record::{self, GAP_RECORD_LEN, GROUP_SPAN_MAX, GapReason, Kind, RECORD_ALIGN};
use super::reopen::Broken;
use super::retention::Level;
use super::rotation::Rotation;
use super::shared::{Shared, lock};
use super::trailer::MarkKind;
use super::{Fs, FsFile, Watermark, events};
use crate::config::{self, Durability, WhenFull};
use crate::message::Seq;

/// How often a full journal looks for room, and how often delivered segments are looked at for their age.
pub(super) const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// A submission buffer larger than this is not kept once it is empty.
const BUFFER_KEPT_MAX: usize = 1024 * 1024;

pub(crate) struct Writer<F: Fs> {
    pub(super) shared: Arc<Shared<F>>,
    /// Held for as long as this process may write.
    pub(super) lock_file: F::File,
    pub(super) config: config::Journal,
    pub(super) active: Active<F::File>,
    /// Of the next message, written or not.
    pub(super) next_seq: Seq,
    /// A submission; everything before `cursor` is done.
    pub(super) batch: Vec<u8>,
    pub(super) cursor: usize,
    /// Ordinal of the last record before `cursor`.
    ordinal: u64,
    /// With `durability: delivered`: which ordinals the messages of the group have.
    pub(super) awaited: Vec<AwaitedMark>,
    /// Messages dropped by `when_full: drop_newest` that no gap record covers yet.
    pub(super) dropped: u64,
    /// The first dropped message that has not been logged.
    untold_drops: Option<Seq>,
    /// There was no room at the last look: do not look again before.
    pub(super) look_for_room_at: Option<Instant>,
    pub(super) trim_at: Instant,
    /// A segment was removed, and the directory not synced since.
    pub(super) removal_unsettled: bool,
    /// When it was last logged that a segment cannot be removed.
    pub(super) complained_at: Option<Instant>,
    pub(super) level: Level,
    pub(super) broken: Option<Broken>,
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something; there may be more at once.
    Worked,
    /// Nothing is submitted; come back then at the latest.
    Idle(Duration),
    /// Nothing can be written; come back then, or when poked.
    Blocked(Duration),
    Stopped,
}

impl<F: Fs> Writer<F> {
    pub(super) fn new(
        shared: Arc<Shared<F>>,
        lock_file: F::File,
        config: config::Journal,
        active: Active<F::File>,
    ) -> Writer<F> {
        let next_seq = shared.next_seq();
        Writer {
            shared,
            lock_file,
            config,
            active,
            next_seq,
            batch: Vec::new(),
            cursor: 0,
            ordinal: 0,
            awaited: Vec::new(),
            dropped: 0,
            untold_drops: None,
            look_for_room_at: None,
            trim_at: Instant::now(),
            removal_unsettled: false,
            complained_at: None,
            level: Level::default(),
            broken: None,
        }
    }

    /// The thread: turns until stopped.
    pub(super) fn run(mut self) {
        let mut pace = Pace::new(std::time::Instant::now());
        loop {
            let takes_next = self.cursor == self.batch.len() && self.broken.is_none();
            if takes_next && self.config.durability == Durability::Commit {
                self.shared.gather(&mut pace);
            }
            match self.step() {
                Step::Worked => {}
                Step::Idle(timeout) => self.shared.wait(true, timeout),
                Step::Blocked(timeout) => self.shared.wait(false, timeout),
                Step::Stopped => return,
            }
        }
    }

    /// One turn: at most one write and one sync.
    pub(crate) fn step(&mut self) -> Step {
        let stopping = lock(&self.shared.queue).stop;
        if let Some(broken) = &self.broken {
            let left = broken.retry_at.saturating_duration_since(Instant::now());
            if stopping {
                return self.stop_unfinished();
            }
            return if left.is_zero() { self.reopen() } else { Step::Blocked(left) };
        }
        self.housekeep();
        if self.cursor == self.batch.len() {
            self.refill();
        }
        let turn = match self.batch.len() - self.cursor {
            0 => self.rest(stopping),
            _ => self.commit_some(),
        };
        match turn {
            Ok(Step::Blocked(_)) if stopping => self.stop_unfinished(),
            Ok(step) => step,
            Err(error) => self.poison(&error),
        }
    }

    fn refill(&mut self) {
        self.batch.clear();
        self.cursor = 0;
        if self.batch.capacity() > BUFFER_KEPT_MAX {
            self.batch = Vec::new();
        }
        let mut queue = lock(&self.shared.queue);
        if !queue.records.is_empty() {
            std::mem::swap(&mut self.batch, &mut queue.records);
            self.ordinal = queue.ordinal_before;
        }
    }

    /// Nothing is submitted: what was left undone can be done now.
    fn rest(&mut self, stopping: bool) -> io::Result<Step> {
        if let Some(left) = self.sync_due_in()
            && !stopping
            && !left.is_zero()
        {
            return Ok(Step::Idle(left));
        }
        if self.active.unsynced_since.is_some() {
            self.sync()?;
            return Ok(Step::Worked);
        }
        if self.dropped > 0 && (self.has_room(GAP_RECORD_LEN) || self.rotate(GAP_RECORD_LEN)? == Rotation::Done) {
            self.write_gap()?;
            self.sync()?;
            self.shared.set_paused(false);
            return Ok(Step::Worked);
        }
        if stopping {
            // From now on every damaged byte of a record is known to have been whole.
            crash_point!("stop.journal_closing");
            self.active.mark(MarkKind::Stop, self.next_seq)?;
            self.shared.watermark.send_modify(|_| {});
            return Ok(Step::Stopped);
        }
        Ok(Step::Idle(HOUSEKEEPING_INTERVAL))
    }

    fn stop_unfinished(&mut self) -> Step {
        let queued = lock(&self.shared.queue).records.len();
        events::stopped_unfinished((self.batch.len() - self.cursor + queued) as u64);
        self.shared.watermark.send_modify(|_| {});
        Step::Stopped
    }

    /// Writes what fits of the batch as one group.
    fn commit_some(&mut self) -> io::Result<Step> {
        let gap = if self.dropped > 0 { GAP_RECORD_LEN } else { 0 };
        let first = record::staged(&self.batch[self.cursor..]).0 as u64;
        if !self.has_room(gap + first) {
            self.sync()?;
            if self.rotate(gap + first)? == Rotation::NoRoom {
                return Ok(self.without_room());
            }
        }
        self.shared.set_paused(false);
        if gap > 0 {
            self.write_gap()?;
        }
        self.write_group()?;
        if self.sync_due_in().is_none_or(|left| left.is_zero()) || self.group_span() >= GROUP_SPAN_MAX {
            self.sync()?;
        }
        Ok(Step::Worked)
    }

    pub(super) fn has_room(&self, len: u64) -> bool {
        self.active.end + len <= self.active.size
    }

    fn group_span(&self) -> u64 {
        self.active.end - self.active.durable
    }

    /// Seals records in place, as many as fit the segment and the group, and writes them with one call.
    fn write_group(&mut self) -> io::Result<()> {
        let start = self.cursor;
        let mut ordinals = 0;
        let mut qos2 = None;
        // QoS 1 messages that the table does not know of.
        let mut passed = 0;
        let mut at = self.active.end;
        let is_awaited = self.shared.awaited.is_some();
        while self.cursor < self.batch.len() {
            let (len, kind) = record::staged(&self.batch[self.cursor..]);
            let distance = at - self.active.durable;
            if at + len as u64 > self.active.size || distance > GROUP_SPAN_MAX {
                break;
            }
            let record = &mut self.batch[self.cursor..self.cursor + len];
            record::seal(record, self.next_seq, (distance / RECORD_ALIGN) as u16, self.active.seed);
            if kind == Kind::Message && !record::has_packet_id(record) {
                passed += u64::from(record::is_at_least_once(record[17]));
            } else {
                let table = qos2.get_or_insert_with(|| lock(&self.shared.qos2));
                table.pass(std::mem::take(&mut passed));
                table.apply(kind, record[17], record::body(record));
            }
            if kind == Kind::Message {
                if is_awaited {
                    AwaitedMark { seq: self.next_seq, ordinal: self.ordinal + ordinals + 1 }
                        .append_to(&mut self.awaited);
                }
                self.next_seq = self.next_seq.next();
                self.active.messages += 1;
            }
            ordinals += record::ordinals(kind, record);
            at += len as u64;
            self.cursor += len;
        }
        if passed > 0 {
            qos2.get_or_insert_with(|| lock(&self.shared.qos2)).pass(passed);
        }
        drop(qos2);
        if start == self.cursor {
            // The group is full: the caller syncs, and the next turn begins a new one.
            return Ok(());
        }
        crash_point!("journal.group.unwritten");
        crash_point!("journal.group.torn", {
            // As far as to the end of a sector.
            let len = ((self.active.end / 512 + 1 + crate::crash_point::cut()) * 512).min(at) - self.active.end;
            self.active.file.write_all_at(&self.batch[start..start + len as usize], self.active.end)
        });
        self.active.append(&self.batch[start..self.cursor])?;
        crash_point!("journal.group.written");
        self.ordinal += ordinals;
        if let Durability::Interval(_) = self.config.durability {
            self.active.unsynced_since.get_or_insert_with(Instant::now);
            self.acknowledge();
        }
        Ok(())
    }

    fn write_gap(&mut self) -> io::Result<()> {
        self.tell_drops();
        let end = Seq(self.next_seq.0 + self.dropped);
        let mut gap = Vec::new();
        record::stage_gap(&mut gap, end, GapReason::Full, GAP_RECORD_LEN as usize);
        let group = (self.group_span() / RECORD_ALIGN) as u16;
        record::seal(&mut gap, self.next_seq, group, self.active.seed);
        self.active.append(&gap)?;
        self.next_seq = end;
        self.dropped = 0;
        Ok(())
    }

    /// When the interval's sync is due; `None` in `durability: commit`, where it always is, or when nothing waits.
    fn sync_due_in(&self) -> Option<Duration> {
        match self.config.durability {
            Durability::Commit | Durability::Delivered => None,
            Durability::Interval(interval) => {
                self.active.unsynced_since.map(|since| interval.saturating_sub(since.elapsed()))
            }
        }
    }

    /// Makes the written records durable and publishes the new end (J1).
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.group_span() > 0 {
            self.active.file.sync_data()?;
            crash_point!("journal.synced");
            self.active.durable = self.active.end;
            self.active.unsynced_since = None;
            self.active.segment.set_durable_len(self.active.end);
            self.shared.watermark.send_if_modified(|watermark| {
                std::mem::replace(watermark, Watermark { next_seq: self.next_seq }).next_seq != self.next_seq
            });
            self.shared.metrics.messages_journaled.inc_by(std::mem::take(&mut self.active.messages));
            crash_point!("journal.published");
        }
        self.acknowledge();
        Ok(())
    }

    /// Lets the session acknowledge everything before the cursor, once it is where it must be.
    fn acknowledge(&mut self) {
        let queue = lock(&self.shared.queue);
        let left = self.batch.len() - self.cursor + queue.records.len();
        self.shared.pending_bytes.store(left as u64, Ordering::Release);
        drop(queue);
        if let Some(awaited) = &self.shared.awaited {
            let before = self.shared.recorded_ordinal.swap(self.ordinal, Ordering::AcqRel);
            awaited.recorded(&mut self.awaited, AwaitedMark { seq: self.next_seq, ordinal: self.ordinal + 1 });
            self.shared.acknowledge_delivered();
            // The session may wait for no more than the record.
            if before != self.ordinal {
                self.shared.session.notify_one();
            }
            return;
        }
        if self.shared.durable_ordinal.swap(self.ordinal, Ordering::AcqRel) != self.ordinal {
            self.shared.session.notify_one();
        }
    }

    /// There is no room and none can be made.
    fn without_room(&mut self) -> Step {
        if self.config.when_full != WhenFull::DropNewest {
            self.shared.set_paused(true);
            return Step::Blocked(HOUSEKEEPING_INTERVAL);
        }
        let mut dropped = 0;
        while self.cursor < self.batch.len() {
            let (len, kind) = record::staged(&self.batch[self.cursor..]);
            if self.has_room(GAP_RECORD_LEN + len as u64) && dropped > 0 {
                break;
            }
            let record = &self.batch[self.cursor..self.cursor + len];
            match kind {
                Kind::Message => dropped += 1,
                // Not on the disk, but in the next segment's snapshot.
                _ => lock(&self.shared.qos2).apply(kind, 0, record::body(record)),
            }
            self.ordinal += record::ordinals(kind, record);
            self.cursor += len;
        }
        let from = Seq(self.next_seq.0 + self.dropped);
        self.dropped += dropped;
        self.untold_drops.get_or_insert(from);
        self.shared.metrics.messages_lost.inc_by(dropped);
        if dropped > 0 {
            self.shared.last_drop.note();
        }
        self.acknowledge();
        Step::Worked
    }

    /// Logs the range that was dropped since the last time: not per message, and not only when room returns.
    pub(super) fn tell_drops(&mut self) {
        let to = Seq(self.next_seq.0 + self.dropped);
        if let Some(from) = self.untold_drops.take().filter(|&from| from < to) {
            events::messages_dropped(from, to, GapReason::Full.describe());
        }
    }
}
