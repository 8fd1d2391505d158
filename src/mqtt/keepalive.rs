//! When to send PINGREQ, and when to give up a silent broker.
//!
//! A PINGREQ is sent if nothing else was sent for the keep-alive interval. The connection is given up if the PINGREQ is
//! unanswered and *nothing at all* was received for another interval. Only time spent reading counts: while the journal
//! is full, the answer waits unread in the socket, which is not the broker's fault.

use std::time::Duration;

use tokio::time::Instant;

/// The keep-alive of one connection.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// `None` = switched off, by the configuration or by the broker.
    interval: Option<Duration>,
    /// When the oldest unanswered PINGREQ was sent.
    pinged_at: Option<Instant>,
    /// When the last PINGREQ was queued. It may lie there while the socket takes nothing.
    queued_at: Option<Instant>,
    /// `None` while not reading.
    reading_since: Option<Instant>,
}

/// The action that the keep-alive requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// The broker does not answer.
    GiveUp,
}

impl KeepAlive {
    pub(crate) fn new(interval: Duration, now: Instant) -> KeepAlive {
        let interval = (interval > Duration::ZERO).then_some(interval);
        KeepAlive { interval, pinged_at: None, queued_at: None, reading_since: Some(now) }
    }

    /// Tells whether the session reads at present.
    pub(crate) fn reading(&mut self, reads: bool, now: Instant) {
        match (reads, self.reading_since) {
            (true, None) => self.reading_since = Some(now),
            (false, Some(_)) => self.reading_since = None,
            _ => {}
        }
    }

    /// A PINGRESP came.
    pub(crate) fn answered(&mut self) {
        self.pinged_at = None;
    }

    /// What is due at `now`; a ping counts as sent.
    pub(crate) fn due(&mut self, now: Instant, last_sent: Instant, last_heard: Instant) -> Due {
        if self.give_up_at(last_heard).is_some_and(|at| now >= at) {
            return Due::GiveUp;
        }
        match self.interval {
            Some(interval) if now >= self.quiet_since(last_sent) + interval => {
                self.pinged_at.get_or_insert(now);
                self.queued_at = Some(now);
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }

    /// When to ask again, if nothing else happens.
    pub(crate) fn deadline(&self, last_sent: Instant, last_heard: Instant) -> Option<Instant> {
        let ping_at = self.quiet_since(last_sent) + self.interval?;
        Some(self.give_up_at(last_heard).map_or(ping_at, |at| at.min(ping_at)))
    }

    fn quiet_since(&self, last_sent: Instant) -> Instant {
        self.queued_at.map_or(last_sent, |queued_at| queued_at.max(last_sent))
    }

    fn give_up_at(&self, last_heard: Instant) -> Option<Instant> {
        let silent_since = self.pinged_at?.max(last_heard).max(self.reading_since?);
        Some(silent_since + self.interval?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ping_is_due_only_when_nothing_was_sent_for_the_keep_alive() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(10 * SECOND, start);
        assert_eq!(keep_alive.due(start + 9 * SECOND, start, start), Due::Nothing);
        assert_eq!(keep_alive.due(start + 15 * SECOND, start + 6 * SECOND, start), Due::Nothing);
        assert_eq!(keep_alive.due(start + 16 * SECOND, start + 6 * SECOND, start), Due::Ping);
    }

    #[test]
    fn a_broker_that_stays_silent_after_a_ping_is_given_up() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(10 * SECOND, start);
        let pinged = start + 10 * SECOND;
        assert_eq!(keep_alive.due(pinged, start, start), Due::Ping);
        assert_eq!(keep_alive.due(start + 19 * SECOND, pinged, start), Due::Nothing);
        assert_eq!(keep_alive.deadline(pinged, start), Some(start + 20 * SECOND));
        assert_eq!(keep_alive.due(start + 20 * SECOND, pinged, start), Due::GiveUp);
    }

    #[test]
    fn data_on_its_way_before_the_answer_keeps_the_connection() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(10 * SECOND, start);
        assert_eq!(keep_alive.due(start + 10 * SECOND, start, start), Due::Ping);
        let heard = start + 19 * SECOND;
        assert_eq!(keep_alive.due(start + 25 * SECOND, start + 20 * SECOND, heard), Due::Nothing);
        keep_alive.answered();
        assert_eq!(keep_alive.due(start + 29 * SECOND, start + 20 * SECOND, heard), Due::Nothing);
    }

    #[test]
    fn time_not_spent_reading_is_not_held_against_the_broker() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(10 * SECOND, start);
        keep_alive.reading(false, start);
        for n in 1..10u32 {
            let now = start + n * 10 * SECOND;
            assert_eq!(keep_alive.due(now, now - 10 * SECOND, start), Due::Ping, "pings go on while paused");
        }
        let resumed = start + 100 * SECOND;
        keep_alive.reading(true, resumed);
        assert_eq!(keep_alive.due(resumed, resumed - SECOND, start), Due::Nothing);
        assert_eq!(keep_alive.due(resumed + 10 * SECOND, resumed + SECOND, start), Due::GiveUp);
    }

    #[test]
    fn zero_switches_it_off() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(Duration::ZERO, start);
        assert_eq!(keep_alive.deadline(start, start), None);
        assert_eq!(keep_alive.due(start + 1000 * SECOND, start, start), Due::Nothing);
    }
}
