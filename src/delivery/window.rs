//! `journal.durability: delivered`: when waiting for further messages is useless.
//!
//! A broker sends a limited number of messages before it wants an acknowledgement, and here acknowledgements wait for
//! the database. So once that many are unacknowledged, no message arrives before the batch is written. No broker
//! announces the number (MQTT 5's receive maximum is only our limit). So it is learned: nothing arrived in the second
//! half of a wait, and a burst followed as soon as the batch was committed. If the devices merely paused, no burst
//! follows, and nothing is learned.
//!
//! Nothing is at risk: a wait that is too long or too short costs time or a transaction, never a message.

use std::time::Duration;

use tokio::time::Instant;

use super::worker::Worker;
use crate::journal::Fs;
use crate::message::Seq;
use crate::sink::Sink;

/// A burst comes within this part of a wait, and a silence lasts this part of one.
const BURST_PART: u32 = 4;
const SILENCE_PART: u32 = 2;

/// How much the broker keeps unacknowledged, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Window {
    full_at: Option<u64>,
    /// So much was unacknowledged when nothing more came; to be confirmed by a burst.
    suspected: Option<u64>,
}

impl Window {
    /// Whether the broker sends nothing more.
    fn is_full(&mut self, unacknowledged: u64) -> bool {
        // It has room for more than was thought.
        if self.full_at.is_some_and(|full_at| unacknowledged > full_at) {
            self.full_at = None;
        }
        self.full_at == Some(unacknowledged)
    }

    /// A wait of `max_wait` ended with so much unacknowledged, after a silence.
    fn waited(&mut self, unacknowledged: u64, silence: Duration, max_wait: Duration) {
        self.suspected = (silence >= max_wait / SILENCE_PART).then_some(unacknowledged);
    }

    /// So much is unacknowledged, so long after the first message behind the batch before which nothing more came.
    fn came(&mut self, unacknowledged: u64, since_first: Duration, max_wait: Duration) {
        let Some(suspected) = self.suspected else { return };
        if since_first >= max_wait / BURST_PART {
            self.suspected = None;
        } else if 2 * unacknowledged > suspected {
            self.full_at = self.suspected.take();
        }
    }
}

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Waits until `due`, until the journal has `enough`, or until the broker sends nothing more.
    pub(super) async fn await_window(&mut self, due: Instant, enough: Seq, max_wait: Duration) {
        let began = Instant::now();
        let mut last_came = began;
        // What the broker sends for an acknowledgement comes a round trip after the commit, but then at once.
        if began.saturating_duration_since(self.committed_at) >= max_wait {
            self.window.suspected = None;
        }
        loop {
            let (next_seq, now) = (self.watermark.borrow_and_update().next_seq, Instant::now());
            let unacknowledged = self.setup.journal.unacknowledged().unwrap_or_default();
            self.window.came(unacknowledged, now.saturating_duration_since(began), max_wait);
            if next_seq >= enough || self.window.is_full(unacknowledged) {
                return;
            }
            if now >= due {
                return self.window.waited(unacknowledged, now - last_came, max_wait);
            }
            tokio::select! {
                biased;
                _ = self.watermark.changed() => last_came = Instant::now(),
                () = tokio::time::sleep_until(due) => {}
                () = self.setup.shutdown.requested() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(40);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_window_is_full_where_messages_stopped_and_a_burst_followed_the_commit() {
        let mut window = Window::default();
        assert!(!window.is_full(20));
        window.waited(20, ms(38), WAIT);
        assert!(!window.is_full(20), "it may be the devices that pause");
        window.came(1, ms(1), WAIT);
        window.came(11, ms(2), WAIT);
        assert!(window.is_full(20) && !window.is_full(19));
        assert!(!window.is_full(21), "it has room for more");
        assert!(!window.is_full(20), "and has to be learnt again");
        // A broker with one message in flight.
        window.waited(1, ms(39), WAIT);
        window.came(0, ms(1), WAIT);
        window.came(1, ms(2), WAIT);
        assert!(window.is_full(1));
    }

    #[test]
    fn a_slow_stream_fills_no_window() {
        let mut window = Window::default();
        for _ in 0..100 {
            // One message each 15 ms.
            window.waited(3, ms(10), WAIT);
            window.came(1, ms(5), WAIT);
            window.came(2, ms(20), WAIT);
            assert!((0..9).all(|unacknowledged| !window.is_full(unacknowledged)));
            // Three of a device that then says nothing for a second.
            window.waited(3, ms(39), WAIT);
            window.came(0, ms(1), WAIT);
            window.came(3, ms(900), WAIT);
            assert!((0..9).all(|unacknowledged| !window.is_full(unacknowledged)));
        }
    }
}
