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
mod tests {
    use super::*;

    /// As with `journal.sync_interval: auto`.
    const WAIT_AUTO: Duration = Duration::from_millis(10);

    /// An fdatasync and the acknowledgements behind it; the way to the broker and back.
    const SYNC: Duration = Duration::from_millis(2);
    const TURN: Duration = Duration::from_micros(100);

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn read(messages: usize, unacknowledged: usize) -> Read {
        Read { messages, bytes: 200 * messages, unacknowledged, is_urgent: false, is_watchful: false }
    }

    /// A broker that sends at most `window` messages ahead, to a session that goes by [`Company`].
    struct Line {
        company: Company,
        now: Instant,
        window: usize,
        /// A message comes to the broker this often.
        every: Duration,
        next_message: Instant,
        /// Messages at the broker.
        queued: usize,
        /// In the socket, which rests; in the session or handed over, and these; staged.
        unread: usize,
        unacknowledged: usize,
        staged: usize,
        syncing: Option<(usize, Instant)>,
        submitted: usize,
        groups: usize,
        reads: usize,
        acknowledged: usize,
        queued_max: usize,
    }

    impl Line {
        fn new(window: usize, every: Duration) -> Line {
            let now = Instant::now();
            Line {
                company: Company::new(WAIT_AUTO, now),
                now,
                window,
                every,
                next_message: now,
                queued: 0,
                unread: 0,
                unacknowledged: 0,
                staged: 0,
                syncing: None,
                submitted: 0,
                groups: 0,
                reads: 0,
                acknowledged: 0,
                queued_max: 0,
            }
        }

        /// Lets time pass in steps of [`TURN`]; forgets what was counted before.
        fn run(&mut self, time: Duration) {
            (self.groups, self.reads, self.acknowledged, self.queued_max) = (0, 0, 0, 0);
            let end = self.now + time;
            while self.now < end {
                self.now += TURN;
                while self.next_message <= self.now {
                    self.queued += 1;
                    self.next_message += self.every;
                }
                if let Some((group, done)) = self.syncing
                    && self.now >= done
                {
                    self.unacknowledged -= group;
                    self.acknowledged += group;
                    self.syncing = None;
                }
                let sent = self.queued.min(self.window.saturating_sub(self.unacknowledged));
                self.queued -= sent;
                self.queued_max = self.queued_max.max(self.queued);
                self.unacknowledged += sent;
                self.unread += sent;
                let messages = if self.company.rests(self.now) { 0 } else { std::mem::take(&mut self.unread) };
                self.staged += messages;
                self.reads += usize::from(messages > 0);
                let read = read(messages, self.unacknowledged - self.unread);
                let goes = (messages > 0 && self.company.is_due_after(read, self.now)) || self.company.is_due(self.now);
                if goes {
                    self.submitted += std::mem::take(&mut self.staged);
                }
                if self.syncing.is_none() && self.submitted > 0 {
                    self.syncing = Some((std::mem::take(&mut self.submitted), self.now + SYNC));
                    self.groups += 1;
                }
            }
        }
    }

    #[test]
    fn a_steady_stream_goes_in_groups_of_the_wait() {
        for (every, groups_max) in [(1_000, 110), (500, 130), (2_000, 110), (200, 300)] {
            let mut line = Line::new(1_000, micros(every));
            line.run(Duration::from_secs(2));
            line.run(Duration::from_secs(1));
            assert!(line.groups <= groups_max, "{} groups at one message every {every} us", line.groups);
        }
    }

    #[test]
    fn a_steady_stream_is_read_in_few_wake_ups() {
        for (every, reads_max) in [(1_000, 330), (500, 350), (2_000, 310)] {
            let mut line = Line::new(1_000, micros(every));
            line.run(Duration::from_secs(2));
            line.run(Duration::from_secs(1));
            assert!(line.reads <= reads_max, "{} reads at one message every {every} us", line.reads);
        }
    }

    #[test]
    fn a_connection_on_which_something_urgent_may_follow_does_not_rest() {
        let mut now = Instant::now();
        let mut company = Company::new(WAIT_AUTO, now);
        company.is_due_after(read(1, 8), now);
        now += micros(1_000);
        assert!(!company.is_due_after(Read { is_watchful: true, ..read(1, 1) }, now));
        assert!(!company.rests(now));
        now += micros(1_000);
        assert!(!company.is_due_after(read(1, 2), now));
        assert!(company.rests(now) && !company.rests(now + WAIT_AUTO));
    }

    #[test]
    fn a_broker_with_a_small_window_is_kept_as_busy_as_without_waiting() {
        for window in [1, 2, 10, 20, 1_000] {
            let flood = micros(10);
            let mut straight = Line::new(window, flood);
            straight.company.wait = Duration::ZERO;
            let mut line = Line::new(window, flood);
            for line in [&mut straight, &mut line] {
                line.run(Duration::from_secs(1));
                line.run(Duration::from_secs(4));
            }
            assert!(
                line.acknowledged * 100 >= straight.acknowledged * 97,
                "window {window}: {} messages, without waiting {}",
                line.acknowledged,
                straight.acknowledged
            );
        }
    }

    #[test]
    fn a_long_wait_keeps_no_full_window_waiting_and_still_makes_groups_of_a_slow_stream() {
        let mut straight = Line::new(20, micros(10));
        straight.company.wait = Duration::ZERO;
        let mut line = Line::new(20, micros(10));
        line.company.wait = Duration::from_secs(10);
        for line in [&mut straight, &mut line] {
            line.run(Duration::from_secs(1));
            line.run(Duration::from_secs(4));
        }
        assert!(
            line.acknowledged * 100 >= straight.acknowledged * 97,
            "{} messages, without waiting {}",
            line.acknowledged,
            straight.acknowledged
        );
        let mut slow = Line::new(20, Duration::from_millis(20));
        slow.company.wait = Duration::from_millis(250);
        slow.run(Duration::from_secs(5));
        slow.run(Duration::from_secs(10));
        assert!(slow.groups <= 60, "{} groups of {} messages", slow.groups, slow.acknowledged);
    }

    #[test]
    fn a_stream_near_what_a_small_window_lets_through_does_not_queue_up_at_the_broker() {
        // 2,100 messages a second and a window of 20: with each wait of 10 ms whole, 2,000 would pass.
        let mut line = Line::new(20, micros(476));
        line.run(Duration::from_secs(1));
        line.run(Duration::from_secs(10));
        assert!(line.queued_max <= 60, "{} messages queued", line.queued_max);
    }

    #[test]
    fn a_broker_that_changes_its_window_is_followed() {
        let mut line = Line::new(1_000, micros(10));
        line.run(Duration::from_secs(2));
        let mut straight = Line::new(10, micros(10));
        straight.company.wait = Duration::ZERO;
        straight.run(Duration::from_secs(1));
        line.window = 10;
        line.run(Duration::from_secs(3));
        line.run(Duration::from_secs(1));
        assert!(
            line.acknowledged * 100 >= straight.acknowledged * 97,
            "{} {}",
            line.acknowledged,
            straight.acknowledged
        );
        line.window = 1_000;
        line.run(Duration::from_secs(3));
        line.run(Duration::from_secs(1));
        assert!(line.acknowledged > 20 * straight.acknowledged / 2, "{}", line.acknowledged);
    }

    #[test]
    fn a_lone_message_of_a_quiet_stream_goes_at_once_and_so_does_one_that_has_no_company_to_expect() {
        for distance in [5_000, 1_000, 100] {
            let mut now = Instant::now();
            let mut company = Company::new(WAIT_AUTO, now);
            for _ in 0..20 {
                now += Duration::from_millis(distance);
                assert!(company.is_due_after(read(1, 1), now), "one every {distance} ms");
                assert_eq!(company.until(), None);
            }
        }
    }

    #[test]
    fn what_is_urgent_takes_all_that_waits_with_it() {
        let mut now = Instant::now();
        let mut company = Company::new(WAIT_AUTO, now);
        company.is_due_after(read(1, 8), now);
        now += micros(1_000);
        assert!(!company.is_due_after(read(1, 1), now));
        assert!(company.until().is_some());
        now += micros(1_000);
        assert!(company.is_due_after(Read { is_urgent: true, ..read(0, 2) }, now));
        assert_eq!(company.rest(), None);
        assert!(!company.is_due(now + Duration::from_secs(1)), "nothing waits any more");
    }
}
