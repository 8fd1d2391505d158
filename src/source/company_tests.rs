//! Companies on a simulated line to a broker with a window. Time is counted and not slept.

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
    assert!(line.acknowledged * 100 >= straight.acknowledged * 97, "{} {}", line.acknowledged, straight.acknowledged);
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
