//! Log events of the journal: one function per event, which also counts.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use tracing::{error, info, warn};

use super::recovery::TornTail;
use super::segment::name_of;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::telemetry::Metrics;

const ADVICE_DISK_FULL: &str = "make room on the disk that holds it; the bridge goes on by itself";
const ADVICE_MAX_SIZE: &str = "see in status which database takes too little, or raise journal.max_size";

pub(super) fn opened(dir: &Path, id: JournalId, oldest: Seq, next: Seq, segments: usize) {
    info!(journal = %dir.display(), %id, oldest_seq = oldest.0, next_seq = next.0, segments, "journal opened");
}

pub(super) fn interval_durability(window: Duration) {
    warn!(
        window_ms = window.as_millis() as u64,
        "journal.durability is an interval: a power cut loses up to this much of what the broker was told is safe"
    );
}

pub(super) fn delivered_durability() {
    warn!(
        price = "while a database is away the broker queues, and a crash stores messages of QoS 2 that were under way twice",
        "journal.durability is delivered: the journal lies in memory, and a message is acknowledged once every database has it"
    );
}

/// Sequence numbers that no database will get.
pub(super) fn messages_lost(metrics: &Metrics, from: Seq, to: Seq, why: &str) {
    let count = to.0.saturating_sub(from.0);
    metrics.messages_lost.inc_by(count);
    error!(from_seq = from.0, to_seq = to.0.saturating_sub(1), count, why, "messages lost");
}

/// The log's part of messages that were counted one by one as they were dropped.
pub(super) fn messages_dropped(from: Seq, to: Seq, why: &str) {
    error!(from_seq = from.0, to_seq = to.0 - 1, count = to.0 - from.0, why, "messages lost");
}

/// Damage that cost no message: a release, a snapshot, filling.
pub(super) fn damage_without_loss(segment: &Path, offset: u64, len: u64) {
    warn!(segment = name_of(segment), offset, len, "damaged bytes in the journal; no message was in them");
}

pub(super) fn quarantine_failed(segment: &Path, offset: u64, len: u64, error: &io::Error) {
    warn!(segment = name_of(segment), offset, len, %error, "damaged bytes could not be copied to the quarantine folder");
}

pub(super) fn unreadable(segment: &Path, error: &io::Error) {
    error!(
        segment = name_of(segment), %error,
        "the disk cannot read parts of the journal; from now on they count as damaged, and what can be read is delivered"
    );
}

pub(super) fn header_unreadable(segment: &Path, error: &io::Error) {
    let segment = segment.display();
    warn!(%segment, %error, "the disk cannot read the first header of a segment; the copy at its end serves");
}

/// Probably no loss. But damage to the last messages looks the same, so it is logged and counted.
pub(super) fn torn_tail_cut(metrics: &Metrics, torn: &TornTail) {
    metrics.journal_torn_tails.inc();
    warn!(
        segment = name_of(&torn.path),
        offset = torn.offset,
        len = torn.len,
        next_seq = torn.next_seq.0,
        "bytes at the journal's end are no whole record and were cut off: a write that a crash interrupted, of messages \
         that were not acknowledged; or, if the power did not fail, damage to the last ones"
    );
}

/// Messages are gone, and how many is not known.
pub(super) fn end_lost(path: &Path, next: Seq, why: &str) {
    error!(
        path = %path.display(), next_seq = next.0, why,
        "the journal has lost its end, how many messages is not certain; it goes on under a new id"
    );
}

pub(super) fn segment_unreadable(segment: &Path, kept_as: &Path) {
    error!(
        segment = name_of(segment),
        kept_as = %kept_as.display(),
        "the newest segment's header is damaged: its messages are lost"
    );
}

pub(super) fn id_recovered(dir: &Path, id: JournalId) {
    warn!(journal = %dir.display(), %id, "the journal's id file is missing or damaged; made again from the segments");
}

pub(super) fn id_renewed(old: JournalId, new: JournalId, from: Seq) {
    error!(
        old_id = %old, new_id = %new, from_seq = from.0,
        "a database knows sequence numbers that this journal never gave out (a restored disk?); the journal has a new id"
    );
}

pub(super) fn snapshot_lost(segment: &Path) {
    warn!(
        segment = name_of(segment),
        "the record of QoS 2 packet ids is damaged; a redelivered QoS 2 message may be stored twice"
    );
}

/// `error` names the file if it came while the journal was reopened.
pub(super) fn poisoned(journal: &Path, error: &dyn Display, advice: &str, attempt: u32, retry_in: Duration) {
    error!(
        journal = %journal.display(), %error, attempt, retry_in_ms = retry_in.as_millis() as u64, advice,
        "writing the journal failed; nothing is acknowledged until it has been reopened"
    );
}

pub(super) fn reopened(next_seq: Seq) {
    warn!(next_seq = next_seq.0, "the journal was reopened; the broker sends again what was not acknowledged");
}

pub(super) fn full(journal: &Path, bytes: u64, max_bytes: u64, disk_full: bool, policy: &'static str) {
    let advice = if disk_full { ADVICE_DISK_FULL } else { ADVICE_MAX_SIZE };
    error!(journal = %journal.display(), bytes, max_bytes, disk_full, policy, advice, "the journal is full");
}

pub(super) fn room_again(bytes: u64, max_bytes: u64) {
    info!(bytes, max_bytes, "the journal has room again");
}

pub(super) fn level(percent: u64, bytes: u64, max_bytes: u64, seconds_left: Option<u64>) {
    warn!(percent, bytes, max_bytes, seconds_left, "the journal fills up: a database takes too little");
}

pub(super) fn level_fell(percent: u64, bytes: u64, max_bytes: u64) {
    info!(percent, bytes, max_bytes, "the journal empties again");
}

pub(super) fn trim_failed(segment: &Path, error: &io::Error) {
    warn!(segment = name_of(segment), %error, "a delivered segment could not be removed; tried again later");
}

pub(super) fn stopped_unfinished(bytes: u64) {
    warn!(bytes, "stopped while the journal could not be written; the broker keeps what was not acknowledged");
}
