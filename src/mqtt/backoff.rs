//! The wait before the next attempt to connect.
//!
//! The first retry is quick, because most failures are short. The second wait is five times as long; after that the
//! wait doubles up to `mqtt.retry.max`. Jitter spreads the attempts of a fleet after its broker restarts. A connection
//! that breaks soon does not count as a success: the wait starts from the beginning only after the connection stayed up
//! for a while.

use std::time::Duration;

use super::reason;
use crate::config::Retry;

/// The second wait, in quick ones: what did not heal at once takes its time.
const SECOND: u32 = 5;
/// Two clients of one id throw each other out at every attempt: coming back sooner only harms the other one.
const TAKEN_OVER: Duration = Duration::from_secs(60);
/// How long a link must have stayed up for the wait to start over.
const STEADY: Duration = Duration::from_secs(30);

/// The waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry: Retry,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Backoff {
        Backoff { retry, failures: 0 }
    }

    /// The link was up for `up` and is no more.
    pub(crate) fn was_up(&mut self, up: Duration) {
        if up >= STEADY {
            self.failures = 0;
        }
    }

    /// How long to wait now. `random` spreads the wait over the upper half of its range.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let longest = match self.failures {
            0 => self.retry.min,
            n => self.retry.min.saturating_mul(SECOND).saturating_mul(1 << (n - 1).min(16)),
        };
        self.failures = self.failures.saturating_add(1);
        spread(longest.min(self.retry.max), random)
    }

    /// How long to wait when the next connection is to find out on which filter the last one ended: the other filters'
    /// messages wait for that.
    pub(crate) fn searching(&self, random: u32) -> Duration {
        spread(self.retry.min.saturating_mul(SECOND).min(self.retry.max), random)
    }

    /// How long to wait when another client seems to use our id: no need to be quick, but it may be a bad network.
    pub(crate) fn suspicious(&mut self, random: u32) -> Duration {
        self.failures = self.failures.saturating_add(1);
        spread(self.retry.max, random)
    }

    /// How long to wait when another client uses our id, for certain.
    pub(crate) fn taken_over(&mut self, random: u32) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // Never shorter than said, so that two instances of ours do not meet again and again.
        TAKEN_OVER + spread(TAKEN_OVER, random) / 2
    }
}

/// For jitter: any number will do if the system gives none.
pub(crate) fn random() -> u32 {
    #[cfg(test)]
    if let Some(random) = crate::simulation::seams::random() {
        return random;
    }
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

/// A duration in the upper half of `longest`.
fn spread(longest: Duration, random: u32) -> Duration {
    let half = longest / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// The interval of new attempts with refused filters: the access rules may have changed meanwhile.
const REFUSED: Duration = Duration::from_secs(600);
/// The first time so soon, then twice as long each time, where the reason passes by itself.
const REFUSED_FOR_NOW: Duration = Duration::from_secs(1);

/// The wait before refused filters are tried again on the same connection.
#[derive(Debug, Default)]
pub(crate) struct RefusalWait {
    /// Times in a row that a reason was one that passes.
    in_a_row: u32,
    is_passing: bool,
}

impl RefusalWait {
    /// The broker answered for a filter with this code.
    pub(crate) fn answered(&mut self, code: u8) {
        self.is_passing |= reason::is_passing(code);
    }

    /// After all of them were answered for, and some refused.
    pub(crate) fn next(&mut self) -> Duration {
        if !std::mem::take(&mut self.is_passing) {
            self.in_a_row = 0;
            return REFUSED;
        }
        self.in_a_row += 1;
        REFUSED_FOR_NOW.saturating_mul(1 << (self.in_a_row - 1).min(16)).min(REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff(min_ms: u64, max_ms: u64) -> Backoff {
        Backoff::new(Retry { min: Duration::from_millis(min_ms), max: Duration::from_millis(max_ms) })
    }

    proptest! {
        #[test]
        fn every_wait_lies_within_its_bounds_and_the_bounds_never_shrink(
            randoms: Vec<u32>, min in 1u64..2_000, more in 0u64..60_000,
        ) {
            let (quick, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let mut backoff = backoff(min, min + more);
            let mut longest_before = Duration::ZERO;
            for (n, random) in randoms.into_iter().enumerate() {
                let longest = if n == 0 { quick } else { (quick * 5 * (1 << (n - 1).min(16))).min(max) };
                let wait = backoff.next(random);
                prop_assert!(wait >= longest / 2 && wait <= longest, "{wait:?} after {n} failures");
                prop_assert!(longest >= longest_before);
                longest_before = longest;
            }
        }
    }

    #[test]
    fn only_a_link_that_stayed_up_starts_the_waits_over() {
        let mut backoff = backoff(200, 30_000);
        let firsts: Vec<u128> = (0..4).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(firsts, [200, 1_000, 2_000, 4_000]);
        (4..10).for_each(|_| _ = backoff.next(u32::MAX));
        backoff.was_up(Duration::from_secs(29));
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(30));
        backoff.was_up(STEADY);
        assert_eq!(backoff.next(u32::MAX), Duration::from_millis(200));
    }

    #[test]
    fn a_client_that_was_thrown_out_waits_at_least_a_minute() {
        assert!(backoff(1, 1).taken_over(0) >= Duration::from_secs(60));
    }
}
