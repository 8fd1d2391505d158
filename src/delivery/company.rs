//! How long rows wait for others that share their transaction.
//!
//! Nothing is at risk meanwhile, because a waiting message is in the journal. A transaction costs both sides much more
//! than a row, so at a steady rate one transaction is written every `batch.max_wait`. A row is written at once if no
//! row came shortly before, because then none is likely to follow.

use std::time::Duration;

use tokio::time::Instant;

/// A stream without any row for ten times `max_wait` is quiet, and so is one without any for a second: company is unlikely
/// then. A `max_wait` of more than a second is that long itself.
fn quiet_after(max_wait: Duration) -> Duration {
    max_wait.saturating_mul(10).min(Duration::from_secs(1)).max(max_wait)
}

/// How late a full batch may go: it is looked for now and then instead of following the journal's every move, each of which
/// would be a wake-up.
const GLANCE_MIN: Duration = Duration::from_millis(5);

/// Until when the next rows wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// When rows were last seen.
    last: Option<Instant>,
}

impl Waiting {
    /// Rows came at `now`, the first of them after a wait for any.
    pub(super) fn begin(&mut self, now: Instant, max_wait: Duration) -> Instant {
        let is_quiet = self.last.is_none_or(|last| now.saturating_duration_since(last) >= quiet_after(max_wait));
        self.last = Some(now);
        if is_quiet { now } else { now + max_wait }
    }

    /// Rows came while others that had come until `since` were written.
    pub(super) fn go_on(&mut self, since: Instant, now: Instant, max_wait: Duration) -> Instant {
        self.last = Some(now);
        since + max_wait
    }
}

/// How long to sleep before looking whether the batch is full; `None` once it was due. `is_far`: it will not be by then.
pub(super) fn glance(due: Instant, now: Instant, is_far: bool) -> Option<Duration> {
    let left = due.saturating_duration_since(now);
    let pause = if is_far { left } else { (left / 2).max(GLANCE_MIN).min(left) };
    (!left.is_zero()).then_some(pause)
}

/// Whether a batch for which `waiting` rows came in half of the time that they wait has room for what may come in the rest.
pub(super) fn is_far(waiting: u64, rows_max: usize) -> bool {
    waiting.saturating_mul(4) < rows_max as u64
}

/// Until then; `None` is never.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_lone_row_of_a_quiet_stream_goes_at_once() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.begin(start, WAIT), start, "the first of all");
        assert_eq!(
            waiting.begin(start + ms(499), WAIT),
            start + ms(549),
            "one that came shortly before may have company"
        );
        assert_eq!(waiting.begin(start + ms(999), WAIT), start + ms(999), "half a second of nothing is quiet");
    }

    #[test]
    fn rows_that_came_during_a_commit_wait_from_its_beginning_and_are_not_quiet() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        waiting.begin(start, WAIT);
        assert_eq!(waiting.go_on(start, start + ms(20), WAIT), start + WAIT);
        assert_eq!(waiting.begin(start + ms(519), WAIT), start + ms(569), "counted from the rows seen last");
    }

    #[test]
    fn a_stream_is_quiet_after_a_time_that_follows_the_wait() {
        let quiet = [(0, 0), (5, 50), (50, 500), (250, 1_000), (5_000, 5_000)];
        for (wait, after) in quiet {
            assert_eq!(quiet_after(ms(wait)), ms(after), "max_wait: {wait}ms");
        }
    }

    #[test]
    fn glances_come_closer_until_the_batch_is_due() {
        let start = Instant::now();
        let (mut now, due) = (start, start + WAIT);
        let mut slept = Vec::new();
        while let Some(pause) = glance(due, now, false) {
            slept.push(pause.as_micros());
            now += pause;
        }
        assert_eq!(slept, [25_000, 12_500, 6_250, 5_000, 1_250]);
        assert_eq!(glance(due, start + ms(25), true), Some(ms(25)), "far from full");
        assert_eq!(glance(due, due, true), None);
        assert!(is_far(1_249, 5_000) && !is_far(1_250, 5_000));
    }
}
