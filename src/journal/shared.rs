//! The state that the writer, the readers, the session and `status` share.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::awaited::Awaited;
use super::dropping::LastDrop;
use super::id_file::Ids;
use super::pace::{COMPANY, Pace, WAIT_MAX};
use super::segment::Segment;
use super::{Fs, Qos2Table, Watermark, events, quarantine};
use crate::config::Corruption;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::telemetry::Metrics;

/// Lost ranges remembered so that each is counted once, not once per reader. Older ones may be counted again.
const REPORTED_MAX: usize = 1024;

/// So many failed reads of one segment, seconds apart as delivery waits longer after each, and what cannot be read counts
/// as damage. Until then it may be a cable or a busy bus.
const READ_FAILURES_MAX: u32 = 5;

/// Segments whose failed reads are remembered: more than one batch spans.
const READ_FAILED_SEGMENTS_MAX: usize = 1024;

pub(super) struct Shared<F: Fs> {
    pub(super) fs: F,
    pub(super) dir: PathBuf,
    pub(super) metrics: Arc<Metrics>,
    pub(super) max_size: u64,
    /// Of a segment, unless one record needs more.
    pub(super) segment_bytes: u64,
    pub(super) sync_interval: Duration,
    pub(super) on_corruption: Corruption,
    pub(super) first_seq_of_run: Seq,
    pub(super) ids: Mutex<Ids>,
    /// Oldest first; the last one is being written. Never empty.
    pub(super) segments: Mutex<VecDeque<Arc<Segment>>>,
    pub(super) watermark: watch::Sender<Watermark>,
    /// Per reader: everything below is in its database. `None` until it said so.
    pub(super) delivered: Mutex<Vec<Option<Seq>>>,
    /// Everything below was dropped by `when_full: drop_oldest`.
    pub(super) dropped_below: AtomicU64,
    pub(super) last_drop: LastDrop,
    reported: Mutex<VecDeque<(Seq, Seq)>>,
    /// Held while copies are written to the quarantine directory, because readers that meet the same damage would write
    /// the same file.
    pub(super) quarantining: Mutex<()>,
    /// How often reading a segment failed, by its base.
    read_failures: Mutex<VecDeque<(Seq, u32)>>,
    pub(super) queue: Mutex<Queue>,
    /// Wakes the writer: something was submitted, delivered, or it must stop.
    pub(super) wake: Condvar,
    /// Wakes the session: `durable`, `generation` or `paused` changed.
    pub(super) session: Notify,
    pub(super) durable_ordinal: AtomicU64,
    /// With `durability: delivered`: up to here the journal has it.
    pub(super) recorded_ordinal: AtomicU64,
    /// With `durability: delivered`: what waits for the databases.
    pub(super) awaited: Option<Awaited>,
    /// Acknowledgements that the session owes, as it last said.
    pub(super) unacknowledged: AtomicU64,
    /// Bytes submitted and not durable.
    pub(super) pending_bytes: AtomicU64,
    pub(super) paused: AtomicBool,
    pub(super) generation: AtomicU64,
    pub(super) qos2: Mutex<Qos2Table>,
}

/// Submissions of the session that the writer has not taken yet.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) records: Vec<u8>,
    /// Ordinal before the first of `records`.
    pub(super) ordinal_before: u64,
    /// Ordinal of the last submission.
    pub(super) ordinal: u64,
    /// So many submissions wake the writer; `None` while it does not sleep, or not for them.
    wakes_at: Option<u64>,
    /// Submissions of an older generation are refused.
    pub(super) generation: u64,
    pub(super) stop: bool,
    /// Something other than a submission is worth waking for.
    pub(super) poked: bool,
}

impl Queue {
    /// Submissions that wait: messages, releases and clears.
    fn waiting(&self) -> u64 {
        if self.records.is_empty() { 0 } else { self.ordinal - self.ordinal_before }
    }

    /// Whether the writer sleeps until now.
    pub(super) fn is_due(&self) -> bool {
        self.wakes_at.is_some_and(|count| self.waiting() >= count)
    }
}

/// Everything that is known when a journal has been recovered.
pub(super) struct Beginning<F: Fs> {
    pub(super) fs: F,
    pub(super) dir: PathBuf,
    pub(super) metrics: Arc<Metrics>,
    pub(super) max_size: u64,
    pub(super) segment_bytes: u64,
    pub(super) sync_interval: Duration,
    pub(super) on_corruption: Corruption,
    pub(super) readers: usize,
    pub(super) ids: Ids,
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) next_seq: Seq,
    pub(super) qos2: Qos2Table,
    pub(super) awaited: Option<Awaited>,
}

/// Locks a mutex. A panic elsewhere while it was held ends the process (`panic = "abort"`) or a test; the data behind
/// it is replaced as a whole or counted up, never left half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Fs> Shared<F> {
    pub(super) fn new(from: Beginning<F>) -> Shared<F> {
        let shared = Shared {
            fs: from.fs,
            dir: from.dir,
            metrics: from.metrics,
            max_size: from.max_size,
            segment_bytes: from.segment_bytes,
            sync_interval: from.sync_interval,
            on_corruption: from.on_corruption,
            first_seq_of_run: from.next_seq,
            ids: Mutex::new(from.ids),
            segments: Mutex::new(from.segments),
            watermark: watch::Sender::new(Watermark { next_seq: from.next_seq }),
            delivered: Mutex::new(vec![None; from.readers]),
            dropped_below: AtomicU64::new(0),
            last_drop: LastDrop::default(),
            reported: Mutex::default(),
            quarantining: Mutex::default(),
            read_failures: Mutex::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            session: Notify::new(),
            durable_ordinal: AtomicU64::new(0),
            recorded_ordinal: AtomicU64::new(0),
            awaited: from.awaited,
            unacknowledged: AtomicU64::new(0),
            pending_bytes: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            qos2: Mutex::new(from.qos2),
        };
        shared.metrics.journal_max_bytes.set(shared.max_size as i64);
        shared.show_bytes();
        shared
    }

    pub(super) fn next_seq(&self) -> Seq {
        self.watermark.borrow().next_seq
    }

    pub(super) fn oldest_seq(&self) -> Seq {
        lock(&self.segments).front().map_or(Seq::FIRST, |segment| segment.base)
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.segments).iter().map(|segment| segment.size).sum()
    }

    pub(super) fn show_bytes(&self) {
        self.metrics.journal_bytes.set(self.bytes() as i64);
    }

    pub(super) fn current_id(&self) -> JournalId {
        lock(&self.ids).last().expect("there is always an id").0
    }

    /// Everything below is in every database; `None` until each has said what it holds.
    pub(super) fn delivered_by_all(&self) -> Option<Seq> {
        lock(&self.delivered).iter().copied().min().flatten()
    }

    /// Notes which segments have been delivered, and since when.
    pub(super) fn stamp_delivered(&self) {
        let delivered = self.delivered_by_all();
        let segments = lock(&self.segments);
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            segment.set_delivered(delivered.is_some_and(|delivered| delivered >= next.base));
        }
    }

    /// The segment that holds `seq`, or would; `None` if it is older than all of them.
    pub(super) fn segment_of(&self, seq: Seq) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        let after = segments.partition_point(|segment| segment.base <= seq);
        after.checked_sub(1).map(|at| Arc::clone(&segments[at]))
    }

    /// The segment after `current`; `None` while `current` is being written.
    pub(super) fn successor(&self, current: &Arc<Segment>) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        if segments.back().is_some_and(|last| Arc::ptr_eq(last, current)) {
            return None;
        }
        // An empty segment is replaced by another of the same base.
        let follows = |segment: &&Arc<Segment>| segment.base >= current.base && !Arc::ptr_eq(segment, current);
        segments.iter().find(follows).map(Arc::clone)
    }

    /// Copies the damaged bytes to the quarantine. A failure is logged, and its error returned.
    pub(super) fn quarantine(&self, segment: &Path, file: &F::File, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let _one_at_a_time = lock(&self.quarantining);
        if let Err(error) = quarantine::keep_range(&self.fs, &self.dir, segment, file, offset, len) {
            events::quarantine_failed(segment, offset, len, &error);
            return Err(error);
        }
        Ok(())
    }

    /// Whether parts of the segment could not be read so often that they count as damage (J5).
    pub(super) fn is_tolerated(&self, segment: &Segment) -> bool {
        let failures = lock(&self.read_failures);
        failures.iter().any(|&(base, count)| base == segment.base && count >= READ_FAILURES_MAX)
    }

    /// Counts a failed read of the segment.
    pub(super) fn note_read_failure(&self, segment: &Segment, error: &io::Error) {
        if self.on_corruption == Corruption::Halt {
            return;
        }
        let mut failures = lock(&self.read_failures);
        let at = failures.iter().position(|&(base, _)| base == segment.base).unwrap_or_else(|| {
            if failures.len() == READ_FAILED_SEGMENTS_MAX {
                failures.pop_front();
            }
            failures.push_back((segment.base, 0));
            failures.len() - 1
        });
        failures[at].1 += 1;
        if failures[at].1 == READ_FAILURES_MAX {
            events::unreadable(&segment.path, error);
        }
    }

    /// Logs and counts what of a lost range was not reported before: readers may lack ranges that overlap.
    pub(super) fn report_lost(&self, from: Seq, to: Seq, why: &str) {
        let mut reported = lock(&self.reported);
        let mut parts = vec![(from, to)];
        for &(known_from, known_to) in reported.iter() {
            let around = |(from, to): (Seq, Seq)| [(from, to.min(known_from)), (from.max(known_to), to)];
            parts = parts.into_iter().flat_map(around).filter(|(from, to)| from < to).collect();
        }
        for &part in &parts {
            if reported.len() == REPORTED_MAX {
                reported.pop_front();
            }
            reported.push_back(part);
        }
        drop(reported);
        for (from, to) in parts {
            events::messages_lost(&self.metrics, from, to, why);
        }
    }

    /// Sets whether the journal takes messages, and notifies the session of a change.
    pub(super) fn set_paused(&self, paused: bool) {
        if self.paused.swap(paused, Ordering::AcqRel) != paused {
            self.session.notify_one();
        }
    }

    pub(super) fn poke(&self) {
        lock(&self.queue).poked = true;
        self.wake.notify_one();
    }

    /// The writer's sleep: until there is something to take (if `for_records`), a poke, the stop, or the timeout.
    pub(super) fn wait(&self, for_records: bool, timeout: Duration) {
        let mut queue = self.sleep(lock(&self.queue), for_records.then_some(1), timeout);
        queue.poked = false;
    }

    /// The writer's sleep before a commit that may get company.
    pub(super) fn gather(&self, pace: &mut Pace) {
        let mut queue = lock(&self.queue);
        if queue.waiting() == 0 {
            return;
        }
        if queue.waiting() < COMPANY && pace.waits() {
            queue = self.sleep(queue, Some(COMPANY), WAIT_MAX);
            // A turn follows in any case.
            queue.poked = false;
        }
        let messages = queue.waiting();
        drop(queue);
        pace.commits(messages, Instant::now());
    }

    /// Until so many submissions wait, a poke, the stop, or the timeout.
    fn sleep<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        wakes_at: Option<u64>,
        timeout: Duration,
    ) -> MutexGuard<'a, Queue> {
        queue.wakes_at = wakes_at;
        let idle = |queue: &mut Queue| !(queue.stop || queue.poked || queue.is_due());
        let mut queue = self.wake.wait_timeout_while(queue, timeout, idle).unwrap_or_else(PoisonError::into_inner).0;
        queue.wakes_at = None;
        queue
    }
}
