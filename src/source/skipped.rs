//! Notices that a broker which numbers its packets one by one skipped numbers.
//!
//! Seen with Mosquitto 2.0.11: while this client read nothing, 1,990 messages arrived for it. When it read again,
//! Mosquitto counted all of them as in flight, regardless of Receive Maximum, and dropped those beyond
//! `max_queued_messages` from the queue before the socket. 484 messages were acknowledged to their publisher. They were
//! not lost, but not sent either until this client connected again. Mosquitto assigns packet identifiers one by one
//! before the drop, so the gap shows.
//!
//! So after a gap in identifiers, from a broker that had none for a long time, the bridge connects again in the next
//! pause: the broker then sends all unacknowledged messages.

use std::time::Duration;

use tokio::time::Instant;

/// Identifiers without a gap that make a broker one that counts. A broker that gives out the lowest free identifier can
/// have runs no longer than its window.
const RUN_MIN: u32 = 2_000;

/// A larger step is a jump to somewhere else.
const SKIPPED_MAX: u16 = 20_000;

/// Without a message for so long, and none to acknowledge, a new connection costs nothing.
const PAUSE: Duration = Duration::from_secs(2);

/// If the broker really dropped those messages, a new connection does not bring them: do not retry for ever.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Follows the packet identifiers of messages, over all connections.
#[derive(Debug, Default)]
pub(super) struct SkippedIds {
    /// The last identifier of this connection; 0 if there was none.
    last: u16,
    /// So many have followed each other.
    run: u32,
    skipped: u32,
    connected_anew_at: Option<Instant>,
}

impl SkippedIds {
    /// A connection begins: what the broker numbered meanwhile is not known.
    pub(super) fn on_connected(&mut self) {
        self.last = 0;
        self.skipped = 0;
    }

    /// A message that is no redelivery came with this identifier, which is not 0.
    pub(super) fn saw(&mut self, packet_id: u16) {
        let last = std::mem::replace(&mut self.last, packet_id);
        if last == 0 {
            return;
        }
        // Identifiers go from 1 to 65,535 and begin anew.
        let step = (u32::from(packet_id) + 65_535 - u32::from(last)) % 65_535;
        match step {
            1 => self.run = self.run.saturating_add(1),
            2.. if self.run >= RUN_MIN && step <= u32::from(SKIPPED_MAX) => self.skipped += step - 1,
            _ => (self.run, self.skipped) = (0, 0),
        }
    }

    /// When a new connection is due, if no message comes before: `last_heard` is when the last one came.
    pub(super) fn deadline(&self, last_heard: Instant) -> Option<Instant> {
        let after_last = self.connected_anew_at.map(|at| at + AGAIN_AFTER);
        (self.skipped > 0).then(|| (last_heard + PAUSE).max(after_last.unwrap_or(last_heard)))
    }

    /// The identifiers left out, when it is time to connect anew for them.
    pub(super) fn take_due(&mut self, now: Instant, last_heard: Instant) -> Option<u32> {
        self.deadline(last_heard).filter(|&deadline| now >= deadline)?;
        self.connected_anew_at = Some(now);
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(from: u16, count: u32) -> SkippedIds {
        let mut ids = SkippedIds::default();
        ids.on_connected();
        let mut id = from;
        for _ in 0..count {
            ids.saw(id);
            id = if id == u16::MAX { 1 } else { id + 1 };
        }
        ids
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_in_a_long_run_asks_for_a_new_connection_after_a_pause_and_once_a_minute() {
        // Over the end of the numbers, which is no gap.
        let mut ids = counting(65_000, 3_000);
        let began = Instant::now();
        assert_eq!(ids.deadline(began), None);
        let last = ids.last;
        ids.saw(last + 485);
        assert_eq!(ids.deadline(began), Some(began + PAUSE));
        assert_eq!(ids.take_due(began + PAUSE / 2, began), None);
        assert_eq!(ids.take_due(began + PAUSE, began), Some(484));
        assert_eq!(ids.deadline(began), None, "told once");
        ids.on_connected();
        ids.saw(5_000);
        ids.saw(5_003);
        assert_eq!(ids.deadline(began), Some(began + PAUSE + AGAIN_AFTER));
    }

    #[test]
    fn identifiers_that_are_used_again_as_they_become_free_are_no_gaps() {
        let mut ids = counting(1, 1_000);
        for id in [1, 2, 3, 700, 701, 4, 5, 900, 1] {
            ids.saw(id);
        }
        assert_eq!(ids.deadline(Instant::now()), None);
        let mut ids = counting(1, 5_000);
        ids.saw(4_000);
        assert_eq!(ids.deadline(Instant::now()), None, "backwards: this broker does not count after all");
    }
}
