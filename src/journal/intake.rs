//! The session's interface to the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::{self, Kind};
use super::shared::{Shared, lock};
use super::{Fs, Qos2Table};
use crate::message::Message;

/// Bytes staged and submitted but not durable at which the session should stop reading: enough for several groups of
/// the largest size, little against a gateway's memory. One larger message may exceed it alone.
const BACKLOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Releases gathered in one record, so that a record stays small beside any segment.
const RELEASES_PER_RECORD_MAX: usize = 256;

/// The session's side: stages records, hands them over in groups, learns what became durable.
///
/// Every push (message, release, clear) has an ordinal, counted from 1 over the life of the process; [`Intake::durable`]
/// is the highest ordinal whose record, and all before it, survived an fdatasync (or was dropped by `when_full`; or, in
/// `durability: <interval>`, was written; or, in `durability: delivered`, is in every database).
pub struct Intake<F: Fs> {
    shared: Arc<Shared<F>>,
    staged: Vec<u8>,
    /// Releases that will become one record as soon as something else is pushed.
    releases: Vec<u16>,
    /// Of the last push.
    ordinal: u64,
    /// Ordinal before the first staged push.
    ordinal_before: u64,
    /// The generation that what is staged belongs to.
    staged_generation: u64,
    /// The generation whose table the session has.
    adopted: AtomicU64,
}

impl<F: Fs> Intake<F> {
    pub(super) fn new(shared: Arc<Shared<F>>) -> Intake<F> {
        Intake {
            shared,
            staged: Vec::new(),
            releases: Vec::new(),
            ordinal: 0,
            ordinal_before: 0,
            staged_generation: 0,
            adopted: AtomicU64::new(0),
        }
    }

    /// How long what is pushed may wait before [`Intake::submit`], for others that are synced together with it.
    pub fn sync_interval(&self) -> Duration {
        self.shared.sync_interval
    }

    /// The QoS 2 table as the disk has it now: the session copies it at start and again whenever `generation` changed.
    /// What was pushed under an older generation and not submitted is forgotten, as what was submitted is.
    pub fn qos2(&self) -> Qos2Table {
        // Both under the queue's lock, as the writer changes them.
        let queue = lock(&self.shared.queue);
        self.adopted.store(queue.generation, Ordering::Release);
        lock(&self.shared.qos2).clone()
    }

    /// Changes when the writer had to reopen the journal after a failed write or fsync (J6): all pushed records that
    /// are not durable are lost. The session must drop its connection without acknowledging them, so that the broker
    /// sends them again, and take a fresh `qos2`. Until then none of its submissions is taken. Ordinals continue; the
    /// lost ones never become durable.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    #[cfg(any(test, feature = "fault-injection"))]
    pub(super) fn adopted_generation(&self) -> u64 {
        self.adopted.load(Ordering::Acquire)
    }

    /// Stages a message; `qos2` is its packet id and content hash. Returns its ordinal. Memory only.
    pub fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64 {
        let ordinal = self.push(Kind::Message);
        record::stage_message(&mut self.staged, message, qos2);
        ordinal
    }

    /// Stages a PUBREL's release.
    pub fn push_release(&mut self, packet_id: u16) -> u64 {
        let ordinal = self.push(Kind::Release);
        self.releases.push(packet_id);
        ordinal
    }

    /// Stages "the broker lost the session: forget all packet ids".
    pub fn push_clear(&mut self) -> u64 {
        let ordinal = self.push(Kind::Clear);
        record::stage_clear(&mut self.staged);
        ordinal
    }

    /// Hands what is staged to the writer. One lock and at most one wake-up, however much is staged; never blocks.
    pub fn submit(&mut self) {
        self.stage_releases();
        if self.staged.is_empty() {
            return;
        }
        let mut queue = lock(&self.shared.queue);
        if self.staged_generation == queue.generation {
            self.shared.pending_bytes.fetch_add(self.staged.len() as u64, Ordering::AcqRel);
            if queue.records.is_empty() {
                queue.ordinal_before = self.ordinal_before;
                std::mem::swap(&mut queue.records, &mut self.staged);
            } else {
                queue.records.extend_from_slice(&self.staged);
            }
            queue.ordinal = self.ordinal;
            // Waking is a call of the system, and the writer mostly looks by itself when it is done with the last group. Who
            // is woken wants the lock.
            let is_due = queue.is_due();
            drop(queue);
            if is_due {
                self.shared.wake.notify_one();
            }
        }
        self.staged.clear();
    }

    /// Forgets what is staged and not submitted, as though it had never been pushed.
    pub fn discard(&mut self) {
        if !self.staged.is_empty() || !self.releases.is_empty() {
            self.ordinal = self.ordinal_before;
        }
        self.staged.clear();
        self.releases.clear();
    }

    /// Whether so much is waiting for the disk (or the journal is full and pausing) that the session should stop
    /// reading until [`Intake::changed`].
    pub fn is_backlogged(&self) -> bool {
        let pending = self.shared.pending_bytes.load(Ordering::Acquire);
        pending + self.staged.len() as u64 >= BACKLOG_BYTES_MAX || self.shared.paused.load(Ordering::Acquire)
    }

    /// The highest durable ordinal. An atomic load.
    pub fn durable(&self) -> u64 {
        self.shared.durable_ordinal.load(Ordering::Acquire)
    }

    /// The highest ordinal that the journal has, as [`Intake::durable`] is where nothing waits for a database.
    pub fn recorded(&self) -> u64 {
        match self.shared.awaited {
            Some(_) => self.shared.recorded_ordinal.load(Ordering::Acquire),
            None => self.durable(),
        }
    }

    /// Whether `durable` waits for the databases.
    pub fn awaits_delivery(&self) -> bool {
        self.shared.awaited.is_some()
    }

    /// The number of acknowledgements owed to the broker. Must be called before [`Intake::submit`], so that the writer
    /// knows it when it takes the messages.
    pub fn set_unacknowledged(&self, count: usize) {
        self.shared.unacknowledged.store(count as u64, Ordering::Release);
    }

    /// Waits until `durable`, `generation` or `is_backlogged` may have changed. Cancel-safe.
    pub async fn changed(&self) {
        self.shared.session.notified().await;
    }

    /// Makes ready for one more push and gives it its ordinal.
    fn push(&mut self, kind: Kind) -> u64 {
        let adopted = self.adopted.load(Ordering::Acquire);
        if self.staged_generation != adopted {
            self.staged.clear();
            self.releases.clear();
            self.staged_generation = adopted;
        }
        if kind != Kind::Release || self.releases.len() == RELEASES_PER_RECORD_MAX {
            self.stage_releases();
        }
        if self.staged.is_empty() && self.releases.is_empty() {
            self.ordinal_before = self.ordinal;
        }
        self.ordinal += 1;
        self.ordinal
    }

    fn stage_releases(&mut self) {
        if !self.releases.is_empty() {
            record::stage_release(&mut self.staged, &self.releases);
            self.releases.clear();
        }
    }
}
