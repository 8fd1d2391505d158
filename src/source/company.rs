//! How long messages wait for others that are written, synced and acknowledged together with them.
//!
//! An fdatasync and the acknowledgements after it cost the same for one message as for twenty. Nothing is at risk
//! meanwhile, because unsynced messages are unacknowledged, and a broker sends them again. But a broker sends only a
//! limited number of messages ahead (its window), so a wait must end once it can send no more. No broker announces this
//! number. So a wait ends at the number of unacknowledged messages that was seen recently. From time to time one wait
//! continues up to twice that number; if that many arrive, the larger number is used from then on.
//!
//! During a wait nothing need be read before the messages that would end it may have come, by their mean distance. Until then
//! the connection rests, and one wake-up reads what has gathered.

use std::time::Duration;

use tokio::time::Instant;

/// A message that nothing came shortly before has no company to expect.
const QUIET: Duration = Duration::from_secs(1);

/// A timer is late by up to so much. A rest ends so long before it must, and is not worth it for less.
const GRAIN: Duration = Duration::from_millis(1);

/// The longest rest: requests and their answers wait as well.
const REST_MAX: Duration = Duration::from_millis(10);

/// With so many messages or bytes a wait has paid.
const MESSAGES_MAX: usize = 128;
const BYTES_MAX: usize = 64 * 1024;

/// For how long what was unacknowledged at one time counts, at least; at most twice as long.
const EPOCH: Duration = Duration::from_secs(1);

/// How long after an attempt to see more than before in vain comes the next: doubled each time.
const ATTEMPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ATTEMPT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long an attempt waits for one more than was seen before: at least so long, and three mean distances.
const ATTEMPT_WAIT_MIN: Duration = Duration::from_millis(10);

/// Decides for one connection whether what was staged is handed over at once.
#[derive(Debug)]
pub(super) struct Company {
    /// How long a message waits at most; zero = never.
    wait: Duration,
    /// What is staged waits until then.
    until: Option<Instant>,
    /// Nothing is read until then.
    rest: Option<Instant>,
    /// After this rest the wait is all but over: what it brings ends it.
    is_last_rest: bool,
    /// Messages and bytes that wait.
    messages: usize,
    bytes: usize,
    attempt: Attempt,
    /// When the next attempt may be made, and how long after a vain one.
    next_attempt: Instant,
    attempt_pause: Duration,
    /// The most messages unacknowledged at one time in this epoch and the one before, which ended at `epoch_ends`.
    seen: [usize; 2],
    epoch_ends: Instant,
    /// When messages were last read, and their mean distance since; `None` after quiet.
    last: Option<Instant>,
    distance: Option<Duration>,
}

/// Whether the present wait goes on for more than was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    No,
    Open,
    /// More came.
    Paid,
}

/// What one read brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// Messages of this connection that are not acknowledged yet, these included.
    pub(super) unacknowledged: usize,
    /// Something that the broker may be waiting for whatever its window, such as PUBREL.
    pub(super) is_urgent: bool,
    /// Something urgent may follow soon.
    pub(super) is_watchful: bool,
}

impl Company {
    pub(super) fn new(wait: Duration, now: Instant) -> Company {
        Company {
            wait,
            until: None,
            rest: None,
            is_last_rest: false,
            messages: 0,
            bytes: 0,
            attempt: Attempt::No,
            next_attempt: now,
            attempt_pause: ATTEMPT_PAUSE_MIN,
            seen: [0; 2],
            epoch_ends: now + EPOCH,
            last: None,
            distance: None,
        }
    }

    /// Whether messages wait at all.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wait.is_zero()
    }

    /// Until when what is staged waits, if it does.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether what is staged goes now, after a read.
    pub(super) fn is_due_after(&mut self, read: Read, now: Instant) -> bool {
        self.turn_epoch(now);
        self.note_distance(read.messages, now);
        self.messages += read.messages;
        self.bytes += read.bytes;
        let seen_before = self.window();
        self.seen[0] = self.seen[0].max(read.unacknowledged);
        let mut until = match self.until {
            Some(until) => until,
            None => {
                self.attempt = if now >= self.next_attempt { Attempt::Open } else { Attempt::No };
                *self.until.insert(now + self.wait)
            }
        };
        if read.unacknowledged > seen_before && self.attempt == Attempt::Open {
            // There was more to see: the next wait tries for more again.
            self.attempt = Attempt::Paid;
            (self.attempt_pause, self.next_attempt) = (ATTEMPT_PAUSE_MIN, now);
        }
        if self.attempt != Attempt::No && read.unacknowledged >= enough_of(seen_before) {
            // The broker may have sent all that it may. If not, the next one is not far.
            let one_more = self.distance.map_or(Duration::ZERO, |distance| 3 * distance).max(ATTEMPT_WAIT_MIN);
            until = until.min(now + one_more);
            self.until = Some(until);
        }
        let limit = match self.attempt {
            Attempt::No => enough_of(seen_before),
            Attempt::Open | Attempt::Paid => 2 * seen_before.max(1),
        };
        let has_enough = self.messages >= MESSAGES_MAX || self.bytes >= BYTES_MAX || read.unacknowledged >= limit;
        let is_over = now >= until || self.is_last_rest && now + GRAIN >= until;
        let is_due = read.is_urgent || has_enough || !self.expects_company() || is_over;
        if is_due {
            self.go();
        } else if !read.is_watchful {
            self.begin_rest(limit.saturating_sub(read.unacknowledged), until, now);
        }
        is_due
    }

    /// Rests until `missing` more messages may have come, if that takes a while.
    fn begin_rest(&mut self, missing: usize, until: Instant, now: Instant) {
        let Some(distance) = self.distance else { return };
        let expected = distance.saturating_mul(u32::try_from(missing).unwrap_or(u32::MAX));
        let left = until.saturating_duration_since(now);
        let rest = expected.min(left).min(REST_MAX).saturating_sub(GRAIN);
        if rest >= GRAIN {
            self.rest = Some(now + rest);
            self.is_last_rest = rest + GRAIN >= left;
        }
    }

    /// Until when nothing is read, if that is so.
    pub(super) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Whether nothing is read now.
    pub(super) fn rests(&mut self, now: Instant) -> bool {
        self.rest = self.rest.filter(|&rest| now < rest);
        self.rest.is_some()
    }

    /// Whether what is staged goes now, because it waited long enough.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.until.is_some_and(|until| now >= until);
        if is_due && self.attempt == Attempt::Open {
            self.next_attempt = now + self.attempt_pause;
            self.attempt_pause = (2 * self.attempt_pause).min(ATTEMPT_PAUSE_MAX.max(20 * self.wait));
        }
        if is_due {
            self.go();
        }
        is_due
    }

    /// The waiting messages are handed over, for any reason.
    pub(super) fn go(&mut self) {
        (self.until, self.messages, self.bytes, self.attempt) = (None, 0, 0, Attempt::No);
        (self.rest, self.is_last_rest) = (None, false);
    }

    /// The most messages that were unacknowledged at one time of late.
    fn window(&self) -> usize {
        self.seen[0].max(self.seen[1])
    }

    fn turn_epoch(&mut self, now: Instant) {
        if now >= self.epoch_ends {
            let is_long_past = now >= self.epoch_ends + EPOCH;
            self.seen = [0, if is_long_past { 0 } else { self.seen[0] }];
            self.epoch_ends = now + EPOCH;
        }
    }

    fn note_distance(&mut self, messages: usize, now: Instant) {
        if messages == 0 {
            return;
        }
        let apart = self.last.map_or(QUIET, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.distance = match self.distance {
            // The messages of one burst after quiet say nothing about what comes next.
            _ if apart >= QUIET.max(self.wait) => None,
            None => Some(apart / messages),
            Some(distance) => Some((7 * distance + apart / messages) / 8),
        };
    }

    /// Whether another message is likely to come within the wait.
    fn expects_company(&self) -> bool {
        self.distance.is_some_and(|distance| distance <= self.wait)
    }
}

/// So many of a window are enough: one that is all but full goes, so that the rest comes while it is synced.
fn enough_of(window: usize) -> usize {
    (window - window / 16).max(1)
}

#[cfg(test)]
#[path = "company_tests.rs"]
mod tests;
