//! The main figures of `/status` as a periodic log line, for users who only have the log.

use std::sync::Arc;
use std::time::Duration;

use super::status::{Overview, Status};
use crate::journal::Fs;

/// Once a minute: often enough to see when something began, rare enough for a year of logs on an SD card.
const INTERVAL: Duration = Duration::from_secs(60);

/// Logs rates and states at INFO for ever; an idle, healthy minute is passed over.
pub async fn log_rates<F: Fs>(overview: Arc<Overview<F>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.tick().await;
    let mut last = overview.brief();
    loop {
        ticks.tick().await;
        let now = overview.brief();
        tell(&last, &now);
        last = now;
    }
}

fn tell(last: &Status, now: &Status) {
    let taken = now.journal.next_seq.saturating_sub(last.journal.next_seq);
    let is_waiting = now.databases.values().any(|database| database.pending > 0 || database.held.is_some());
    if taken == 0 && !is_waiting && now.mqtt.connected {
        return;
    }
    tracing::info!(
        connected = now.mqtt.connected,
        messages_per_second = per_second(taken),
        journal_bytes = now.journal.bytes,
        paused = now.journal.paused,
        "taken from the broker"
    );
    for (name, database) in &now.databases {
        let delivered = last.databases.get(name).map_or(0, |last| database.next_seq.saturating_sub(last.next_seq));
        let before = last.databases.get(name).map_or((0, 0), |last| (last.dead_lettered, last.dropped));
        let dead_lettered = database.dead_lettered.saturating_sub(before.0);
        let dropped = database.dropped.saturating_sub(before.1);
        // The same line for both levels.
        macro_rules! tell {
            ($level:ident, $words:literal) => {
                tracing::$level!(
                    database = name,
                    connected = database.connected,
                    held = database.held.is_some(),
                    messages_per_second = per_second(delivered),
                    dead_lettered,
                    dropped,
                    pending = database.pending,
                    oldest_pending_seconds = database.oldest_pending_seconds,
                    $words
                )
            };
        }
        if is_mostly_refused(delivered, dead_lettered + dropped) {
            tell!(warn, "most messages gave no row");
        } else {
            tell!(info, "delivered");
        }
    }
}

/// Whether a minute looks bad: more messages gave no row than did. Several rules may have refused one message.
fn is_mostly_refused(delivered: u64, refused: u64) -> bool {
    refused * 2 > delivered && refused > 0
}

/// With one decimal.
fn per_second(count: u64) -> f64 {
    (count as f64 / INTERVAL.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_in_which_more_messages_gave_no_row_than_did_does_not_look_healthy() {
        assert!(is_mostly_refused(305, 300) && is_mostly_refused(0, 1) && is_mostly_refused(3, 2));
        assert!(!is_mostly_refused(305, 5) && !is_mostly_refused(2, 1) && !is_mostly_refused(0, 0));
    }
}
