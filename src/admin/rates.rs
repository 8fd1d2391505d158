//! What `/status` shows, as a log line now and then, for those who only have the log.

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
        tracing::info!(
            database = name,
            connected = database.connected,
            held = database.held.is_some(),
            messages_per_second = per_second(delivered),
            pending = database.pending,
            oldest_pending_seconds = database.oldest_pending_seconds,
            "delivered"
        );
    }
}

/// With one decimal.
fn per_second(count: u64) -> f64 {
    (count as f64 / INTERVAL.as_secs_f64() * 10.0).round() / 10.0
}
