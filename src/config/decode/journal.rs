//! The `journal` section.

use std::time::Duration;

use super::table::Table;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::units::{DURATION_FORMS, show_size};
use crate::config::{Corruption, Durability, Journal, WhenFull};

const MIB: u64 = 1 << 20;
/// See [`Journal::segment_size`].
const SEGMENT_SIZE: u64 = 16 * MIB;
/// An hour of outage at 1,000 messages of 250 bytes per second.
const MAX_SIZE: u64 = 1 << 30;
/// Of a journal in memory: 65,535 messages in flight, which MQTT allows at most, of 1,000 bytes.
const MAX_SIZE_IN_MEMORY: u64 = 64 * MIB;
/// Covers the failover of a database cluster that takes minutes.
const KEEP: Duration = Duration::from_secs(600);

/// A page. Small segments are slow (each costs three syncs) but correct, and useful to try things out.
const SEGMENT_SIZE_MIN: u64 = 4 << 10;
/// Recovery reads the newest segment whole.
const SEGMENT_SIZE_MAX: u64 = 1 << 30;
const MAX_SIZE_MAX: u64 = 1 << 44;
/// One being written and one being delivered: with less, nothing could be trimmed while anything is written.
const SEGMENTS_MIN: u64 = 2;
/// A small `max_size` shrinks the segments, unless `segment_size` is given too: space comes back segment by segment.
const SEGMENTS_WANTED: u64 = 8;

/// `sync_interval: auto`. Not felt by people, and most of what groups can save.
const SYNC_INTERVAL: Duration = Duration::from_millis(10);
/// As long as a client may well be kept waiting for an acknowledgement.
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(10);

pub(super) fn decode(table: Table<'_>) -> Journal {
    let durability = table.get("durability").and_then(|value| durability(&value)).unwrap_or(Durability::Commit);
    let sync_interval = sync_interval(&table, durability);
    let is_in_memory = durability == Durability::Delivered;
    let max_size = if is_in_memory { MAX_SIZE_IN_MEMORY } else { MAX_SIZE };
    let max_size = table.size("max_size", max_size, SEGMENTS_MIN * SEGMENT_SIZE_MIN..=MAX_SIZE_MAX);
    let segment_size = SEGMENT_SIZE.min(max_size / SEGMENTS_WANTED).max(SEGMENT_SIZE_MIN);
    let segment_size = table.size("segment_size", segment_size, SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX);
    check_sizes(&table, segment_size, max_size);
    let when_full = table.choice(
        "when_full",
        WhenFull::Pause,
        &[("pause", WhenFull::Pause), ("drop_oldest", WhenFull::DropOldest), ("drop_newest", WhenFull::DropNewest)],
    );
    if let Some(value) = table.get("when_full").filter(|_| is_in_memory && when_full != WhenFull::Pause) {
        value.refuse(
            "a full journal would drop messages that no database has",
            "`pause` beside `durability: delivered`, or another durability",
        );
    }
    let journal = Journal {
        durability,
        sync_interval,
        segment_size,
        max_size,
        when_full,
        keep: table.duration("keep", KEEP, Duration::ZERO..=Duration::from_secs(365 * 86_400)),
        on_corruption: table.choice(
            "on_corruption",
            Corruption::Quarantine,
            &[("quarantine", Corruption::Quarantine), ("halt", Corruption::Halt)],
        ),
    };
    table.finish();
    journal
}

fn durability(value: &Value<'_>) -> Option<Durability> {
    // What a power cut may cost should stay within what a person would call a moment.
    const INTERVAL_MAX: Duration = Duration::from_secs(60);
    let text = value.text()?;
    match &*text {
        "commit" => return Some(Durability::Commit),
        "delivered" => return Some(Durability::Delivered),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return value.duration(Duration::from_millis(1)..=INTERVAL_MAX).map(Durability::Interval);
    }
    let suggestion = nearest(&text, ["commit", "delivered"]);
    value.refuse_with(
        format!("found {}", value.shown()),
        Some(format!("`commit`, `delivered`, or {DURATION_FORMS}: what a power cut may lose")),
        suggestion,
    );
    None
}

/// Zero where nothing waits for an fdatasync.
fn sync_interval(table: &Table<'_>, durability: Durability) -> Duration {
    let by_default = if durability == Durability::Commit { SYNC_INTERVAL } else { Duration::ZERO };
    let Some(value) = table.get("sync_interval") else { return by_default };
    let Some(text) = value.text() else { return by_default };
    if text == "auto" {
        return by_default;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        let accepted = format!("`auto`, or {DURATION_FORMS}: how long a message waits for others to be synced with it");
        value.refuse_with(format!("found {}", value.shown()), Some(accepted), nearest(&text, ["auto"]));
        return by_default;
    }
    let interval = value.duration(Duration::ZERO..=SYNC_INTERVAL_MAX);
    if durability != Durability::Commit {
        value.refuse(
            "only with durability: commit does an acknowledgement wait for an fdatasync".to_owned(),
            "no sync_interval, or durability: commit".to_owned(),
        );
    }
    interval.unwrap_or(by_default)
}

fn check_sizes(table: &Table<'_>, segment_size: u64, max_size: u64) {
    if max_size >= SEGMENTS_MIN * segment_size {
        return;
    }
    let problem = format!(
        "max_size ({}) holds fewer than {SEGMENTS_MIN} segments of segment_size ({})",
        show_size(max_size),
        show_size(segment_size)
    );
    let accepted = format!(
        "a max_size of {} or more, or a segment_size of {} or less",
        show_size(SEGMENTS_MIN * segment_size),
        show_size(max_size / SEGMENTS_MIN)
    );
    if let Some(value) = table.get("max_size").or_else(|| table.get("segment_size")) {
        value.refuse(problem, accepted);
    }
}
