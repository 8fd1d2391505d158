//! Which commits wait for further messages. An fdatasync costs the same for one message as for ten, and each commit
//! writes acknowledgements and wakes the session; so larger groups are cheaper.
//!
//! Whether more messages will arrive cannot be seen during the wait. A broker that has sent all it may before the next
//! acknowledgement is as silent as one whose kernel holds back small packets until then (Nagle; Mosquitto's default).
//! With the first, a wait only slows down; the second sends more messages at once. So both ways are tried from time to
//! time, and the wait is kept while it makes groups larger and does not reduce the rate.

use std::time::{Duration, Instant};

/// With so many messages a commit waits no longer: one less than the 20 that Mosquitto sends ahead. With all 20 it would
/// fall silent, and whoever waits for one more, wait in vain.
pub(super) const COMPANY: u64 = 19;

/// How long a commit waits at most: in it a steady 10,000 messages a second come to [`COMPANY`].
pub(super) const WAIT_MAX: Duration = Duration::from_micros(2_000);

/// What comes after a pause as long as this belongs to another burst, and the pause to none.
const PAUSE: Duration = Duration::from_millis(16);

/// Commits of one attempt.
const ATTEMPT: u32 = 128;
/// Commits between attempts: after a wait that paid, and at most after waits that did not.
const TERM_MIN: u32 = 16 * ATTEMPT;
const TERM_MAX: u32 = 512 * ATTEMPT;

/// Whether the next commit waits, judged by the results of the previous ones.
#[derive(Debug)]
pub(super) struct Pace {
    stage: Stage,
    /// Commits of this stage.
    commits: u32,
    /// Messages of this stage.
    messages: u64,
    /// When it began, without pauses.
    since: Instant,
    last: Instant,
    /// The next term without waiting.
    next_term: u32,
}

#[derive(Debug)]
enum Stage {
    /// Commits do not wait, to compare with.
    Straight,
    /// Commits wait, after straight ones of which `messages` came in `took`.
    Attempt { messages: u64, took: Duration },
    /// The better way is kept for this many commits.
    Settled { waits: bool, term: u32 },
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { stage: Stage::Straight, commits: 0, messages: 0, since: now, last: now, next_term: TERM_MIN }
    }

    /// Whether commits of fewer than [`COMPANY`] messages wait.
    pub(super) fn waits(&self) -> bool {
        match self.stage {
            Stage::Straight => false,
            Stage::Attempt { .. } => true,
            Stage::Settled { waits, .. } => waits,
        }
    }

    /// A commit of `messages` begins.
    pub(super) fn commits(&mut self, messages: u64, now: Instant) {
        let apart = now - self.last;
        if apart >= PAUSE {
            self.since += apart;
        }
        self.last = now;
        self.commits += 1;
        self.messages += messages;
        let stage_len = match self.stage {
            Stage::Straight | Stage::Attempt { .. } => ATTEMPT,
            Stage::Settled { term, .. } => term,
        };
        if self.commits < stage_len {
            return;
        }
        let took = now - self.since;
        self.stage = match self.stage {
            Stage::Straight => Stage::Attempt { messages: self.messages, took },
            Stage::Attempt { messages, took: straight_took } => {
                // Groups at least half as large again, and nine tenths of the messages per second.
                let larger = 2 * self.messages >= 3 * messages;
                let as_fast = 10 * u128::from(self.messages) * straight_took.as_micros()
                    >= 9 * u128::from(messages) * took.as_micros();
                let waits = larger && as_fast;
                let term = if waits { TERM_MIN } else { self.next_term };
                self.next_term = if waits { TERM_MIN } else { (2 * term).min(TERM_MAX) };
                Stage::Settled { waits, term }
            }
            Stage::Settled { .. } => Stage::Straight,
        };
        (self.commits, self.messages, self.since) = (0, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `count` commits of a stream; `group` gives messages and microseconds of one, by whether it waits. Returns how
    /// many waited.
    fn run(pace: &mut Pace, now: &mut Instant, count: u32, group: impl Fn(bool) -> (u64, u64)) -> u32 {
        let mut waited = 0;
        for _ in 0..count {
            let waits = pace.waits();
            waited += u32::from(waits);
            let (messages, micros) = group(waits);
            *now += Duration::from_micros(micros);
            pace.commits(messages, *now);
        }
        waited
    }

    fn begin() -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(now), now)
    }

    #[test]
    fn a_steady_stream_waits() {
        let (mut pace, mut now) = begin();
        let waited = run(&mut pace, &mut now, 100_000, |waits| if waits { (16, 1_600) } else { (2, 200) });
        assert!(waited > 90_000, "{waited}");
    }

    #[test]
    fn a_broker_that_waits_for_acknowledgements_is_hardly_ever_kept_waiting() {
        for window in [1, 4] {
            let (mut pace, mut now) = begin();
            let straight = |waits| if waits { (window, 1_300) } else { (window, 300) };
            let waited = run(&mut pace, &mut now, 1_000_000, straight);
            assert!(waited < 4_000, "{waited}");
        }
        // Two halves of the window by turns, or the whole of it at once.
        let (mut pace, mut now) = begin();
        let waited = run(&mut pace, &mut now, 1_000_000, |waits| if waits { (8, 1_300) } else { (4, 300) });
        assert!(waited < 4_000, "{waited}");
    }

    #[test]
    fn a_pause_makes_no_wait_look_cheap() {
        let (mut pace, mut now) = begin();
        let mut waited = 0;
        // Bursts from a broker that sends 8 ahead, shorter than an attempt.
        for _ in 0..10_000 {
            waited += run(&mut pace, &mut now, 100, |waits| if waits { (8, 1_900) } else { (4, 300) });
            now += Duration::from_secs(1);
        }
        assert!(waited < 4_000, "{waited}");
    }

    #[test]
    fn single_messages_hardly_ever_wait() {
        let (mut pace, mut now) = begin();
        let waited = run(&mut pace, &mut now, 100_000, |_| (1, 100_000));
        assert!(waited < 2_000, "{waited}");
    }

    #[test]
    fn a_stream_that_begins_later_waits_as_well() {
        let (mut pace, mut now) = begin();
        run(&mut pace, &mut now, 1_000_000, |_| (1, 100_000));
        run(&mut pace, &mut now, TERM_MAX + 2 * ATTEMPT, |waits| if waits { (16, 1_600) } else { (2, 200) });
        assert!(pace.waits());
        let waited = run(&mut pace, &mut now, 100_000, |waits| if waits { (16, 1_600) } else { (2, 200) });
        assert!(waited > 90_000, "{waited}");
    }
}
