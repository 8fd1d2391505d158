//! Which segments may be removed, and how full the journal is (J7, J8).
//!
//! A sealed segment is removed `keep` after every database has committed all of its messages, or as soon as every
//! database has if its space is needed. `keep` starts at the delivery, however late that is: a replica that takes over
//! lacks the messages that were delivered last. A new process starts the time anew, and so keeps segments longer rather
//! than shorter. The oldest segment is removed first, and the directory is synced after each, so a crash leaves no gap
//! in the middle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::segment::Segment;
use super::shared::lock;
use super::writer::{HOUSEKEEPING_INTERVAL, Writer};
use super::{Fs, events};
use crate::message::Seq;

/// Shares of `max_size` that undelivered messages take, in percent, at which a WARN is due.
const LEVELS: [u64; 2] = [80, 95];

/// A level counts as left only when this much below, so that the log does not flicker.
const LEVEL_HYSTERESIS: u64 = 5;

/// Between two complaints that a segment cannot be removed.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How long the present rate is measured over.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// How full the journal was when last looked at.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The highest of [`LEVELS`] that was told of; 0 for none.
    pub(super) told: u64,
    /// When the rate's window began, and the undelivered bytes then.
    since: Option<(Instant, u64)>,
}

impl<F: Fs> Writer<F> {
    /// What is due about once a second.
    pub(super) fn housekeep(&mut self) {
        let now = Instant::now();
        if now < self.trim_at {
            return;
        }
        self.trim_at = now + HOUSEKEEPING_INTERVAL;
        self.shared.stamp_delivered();
        while self.trim_one(false) {}
        self.tell_drops();
        self.watch_level(self.next_seq);
    }

    /// Removes the oldest segment if it is sealed, delivered to all, and old enough or `room_needed`.
    pub(super) fn trim_one(&mut self, room_needed: bool) -> bool {
        let Some((oldest, next)) = self.two_oldest() else { return false };
        let is_delivered = self.shared.delivered_by_all().is_some_and(|delivered| delivered >= next.base);
        let is_old = || oldest.delivered_at().is_some_and(|at| at.elapsed() >= self.config.keep);
        is_delivered && (room_needed || is_old()) && self.remove(&oldest)
    }

    /// Removes the oldest sealed segment with what nobody has yet, and says so.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some((oldest, next)) = self.two_oldest() else { return false };
        if !self.remove(&oldest) {
            return false;
        }
        self.shared.dropped_below.store(next.base.0, Ordering::Release);
        let from = self.shared.delivered_by_all().unwrap_or(oldest.base).max(oldest.base);
        if from < next.base {
            self.shared.last_drop.note();
            self.shared.report_lost(from, next.base, "dropped: the journal was full");
        }
        true
    }

    fn two_oldest(&self) -> Option<(Arc<Segment>, Arc<Segment>)> {
        let segments = lock(&self.shared.segments);
        Some((segments.front().map(Arc::clone)?, segments.get(1).map(Arc::clone)?))
    }

    fn remove(&mut self, oldest: &Arc<Segment>) -> bool {
        if !self.settle_removal(oldest) {
            return false;
        }
        // First out of the list: a reader must not be led to a file that is gone.
        lock(&self.shared.segments).pop_front();
        crash_point!("journal.trim.chosen");
        match self.shared.fs.remove(&oldest.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                lock(&self.shared.segments).push_front(Arc::clone(oldest));
                self.complain(oldest, &error);
                return false;
            }
            _ => {}
        }
        self.shared.show_bytes();
        self.removal_unsettled = true;
        crash_point!("journal.trim.unlinked");
        self.settle_removal(oldest);
        crash_point!("journal.trim.synced");
        true
    }

    /// Makes the last removal durable. As long as that fails nothing younger goes, or a crash could bring the older
    /// segment back without the younger.
    fn settle_removal(&mut self, segment: &Segment) -> bool {
        if self.removal_unsettled {
            match self.shared.fs.sync_dir(&self.shared.dir) {
                Ok(()) => self.removal_unsettled = false,
                Err(error) => self.complain(segment, &error),
            }
        }
        !self.removal_unsettled
    }

    fn complain(&mut self, segment: &Segment, error: &io::Error) {
        if self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained_at = Some(Instant::now());
            events::trim_failed(&segment.path, error);
        }
    }

    /// WARN when undelivered messages take much of `max_size`, INFO when no longer.
    pub(super) fn watch_level(&mut self, next_seq: Seq) {
        let delivered = self.shared.delivered_by_all().unwrap_or(Seq::FIRST);
        let bytes = self.undelivered_bytes(delivered, next_seq);
        let max = self.config.max_size.max(1);
        let percent = bytes.saturating_mul(100) / max;
        let now = Instant::now();
        let (since, bytes_then) = *self.level.since.get_or_insert((now, bytes));
        let elapsed = now.duration_since(since);
        let reached = LEVELS.iter().copied().filter(|&level| percent >= level).max().unwrap_or(0);
        if reached > self.level.told {
            let grown = bytes.saturating_sub(bytes_then);
            let left = max.saturating_sub(bytes);
            let seconds_left = (grown > 0).then(|| (left as f64 / grown as f64 * elapsed.as_secs_f64()) as u64);
            events::level(percent, bytes, max, seconds_left);
            self.level.told = reached;
        } else if percent + LEVEL_HYSTERESIS < self.level.told {
            events::level_fell(percent, bytes, max);
            self.level.told = reached;
        }
        if elapsed >= RATE_WINDOW {
            self.level.since = Some((now, bytes));
        }
    }

    /// Bytes of the segments that hold something undelivered; of the newest only what is written.
    fn undelivered_bytes(&self, delivered: Seq, next_seq: Seq) -> u64 {
        if delivered >= next_seq {
            return 0;
        }
        let segments = lock(&self.shared.segments);
        let sealed = segments.iter().zip(segments.iter().skip(1));
        let waiting = sealed.filter(|(_, next)| next.base > delivered).map(|(segment, _)| segment.size);
        waiting.sum::<u64>() + self.active.end
    }
}
