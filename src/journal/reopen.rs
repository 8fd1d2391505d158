//! Reopens the journal after a failed write or fsync (J6): the handle is not used again, nothing is acknowledged, and
//! the journal is read back from the disk. An fsync is never repeated: the kernel marks the pages clean after a
//! failure, so a second fsync succeeds without having written anything.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::active::Active;
use super::lock_file::Evidence;
use super::recovery::{Recovered, Recovery, Trusted};
use super::segment::Segment;
use super::shared::lock;
use super::writer::{Step, Writer};
use super::{Fs, OpenError, Qos2Table, Watermark, events, lock_file};
use crate::config::Durability;
use crate::message::Seq;
use crate::remedy;

/// Between attempts to reopen: from the first to the last, doubling.
const REOPEN_DELAY_MIN: Duration = Duration::from_millis(100);
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(30);

/// The journal cannot be written for now.
pub(super) struct Broken {
    attempt: u32,
    pub(super) retry_at: Instant,
}

impl<F: Fs> Writer<F> {
    /// J6: the handle is not used again, nothing more is acknowledged, and the disk is asked what is true.
    pub(super) fn poison(&mut self, error: &io::Error) -> Step {
        let _ = self.forget_boot();
        self.give_up_for_now(error, remedy::of_file(error))
    }

    fn give_up_for_now(&mut self, error: &dyn Display, advice: &str) -> Step {
        let attempt = self.broken.as_ref().map_or(0, |broken| broken.attempt) + 1;
        let delay = REOPEN_DELAY_MIN.saturating_mul(1 << attempt.min(16).saturating_sub(1)).min(REOPEN_DELAY_MAX);
        events::poisoned(&self.shared.dir, error, advice, attempt, delay);
        self.broken = Some(Broken { attempt, retry_at: Instant::now() + delay });
        self.shared.set_paused(true);
        Step::Blocked(delay)
    }

    pub(super) fn reopen(&mut self) -> Step {
        match self.try_reopen() {
            Ok(()) => Step::Worked,
            Err(error) => {
                let advice = match &error {
                    OpenError::Io { source, .. } => remedy::of_file(source),
                    _ => "look at what lies in the journal's directory",
                };
                self.give_up_for_now(&error, advice)
            }
        }
    }

    fn forget_boot(&self) -> io::Result<()> {
        let durable = self.active.segment.salt.map(|salt| (salt, self.active.durable));
        lock_file::forget_boot(&self.lock_file, durable, self.config.durability)
    }

    fn try_reopen(&mut self) -> Result<(), OpenError> {
        let salt = self.active.segment.salt.expect("the active segment's header was read or written by us");
        // Clearing what was not synced may be cut short, in front of what is whole.
        if lock_file::evidence(&self.shared.fs, &self.shared.dir).is_untorn {
            let path = self.shared.dir.clone();
            self.forget_boot().map_err(|source| OpenError::Io { path, action: "noting the failure", source })?;
        }
        // It may put damage aside, as readers do meanwhile.
        let quarantining = lock(&self.shared.quarantining);
        let recovered = Recovery {
            fs: &self.shared.fs,
            dir: &self.shared.dir,
            on_corruption: self.config.on_corruption,
            segment_bytes: self.segment_bytes(),
            lock_file: &self.lock_file,
            durability: self.config.durability,
            evidence: Evidence { is_untorn: true, ..Evidence::default() },
            trusted: Some(Trusted { salt, len: self.active.durable, next_seq: self.shared.next_seq() }),
        }
        .run()?;
        lock_file::note_boot(&self.shared.fs, &self.lock_file, self.config.durability);
        drop(quarantining);
        recovered.torn.iter().for_each(|torn| events::torn_tail_cut(&self.shared.metrics, torn));
        recovered.losses.iter().for_each(|lost| self.shared.report_lost(lost.from, lost.to, &lost.why));
        let acknowledged_lost = matches!(self.config.durability, Durability::Interval(_)) && self.active.messages > 0;
        if acknowledged_lost {
            let why = "acknowledged within journal.durability's interval, and then the disk failed";
            events::messages_lost(&self.shared.metrics, recovered.next_seq, self.next_seq, why);
        }
        // Readers keep the segments that they read: segments that still exist keep their objects.
        let known = lock(&self.shared.segments).clone();
        let same = |new: &Segment| {
            let matches = |old: &&Arc<Segment>| old.base == new.base && (old.salt == new.salt || new.salt.is_none());
            known.iter().find(matches).map(Arc::clone)
        };
        let segments = recovered.segments.into_iter().map(|new| same(&new).unwrap_or_else(|| Arc::new(new)));
        *lock(&self.shared.segments) = segments.collect();
        let newest = lock(&self.shared.segments).back().map(Arc::clone).expect("recovery leaves a segment");
        let salt = newest.salt.expect("recovery read the newest header");
        newest.set_durable_len(recovered.end);
        let Recovered { file, end, room_end, trailer_at, .. } = recovered;
        self.active = Active::new(newest, file, salt, end, room_end, trailer_at);
        *lock(&self.shared.ids) = recovered.ids;
        self.begin_generation(recovered.next_seq, recovered.qos2);
        Ok(())
    }

    /// Forgets what was submitted and not durable; the session gets it again from the broker.
    fn begin_generation(&mut self, next_seq: Seq, qos2: Qos2Table) {
        self.batch.clear();
        self.cursor = 0;
        self.awaited.clear();
        self.next_seq = next_seq;
        self.broken = None;
        let mut queue = lock(&self.shared.queue);
        queue.records.clear();
        queue.generation += 1;
        *lock(&self.shared.qos2) = qos2;
        self.shared.pending_bytes.store(0, Ordering::Release);
        self.shared.generation.store(queue.generation, Ordering::Release);
        self.shared.paused.store(false, Ordering::Release);
        drop(queue);
        self.shared
            .watermark
            .send_if_modified(|watermark| std::mem::replace(watermark, Watermark { next_seq }).next_seq != next_seq);
        self.shared.show_bytes();
        self.shared.session.notify_one();
        events::reopened(next_seq);
    }
}
