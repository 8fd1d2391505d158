//! Rowbridge's own tables: the offset and the dead letters.

use std::time::Instant;

use rusqlite::{Connection, Row, params};

use super::codes::{Moment, sink_error};
use super::time_text::{own_timestamp, read_own_timestamp};
use crate::batch::{Batch, DeadLetter, Guard, OffsetMove};
use crate::clock::{self, Timestamp};
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::sink::{Class, PURGE_TIME_MAX, SinkError, StoredOffset};

/// Dead letters deleted in one transaction: other writers get their turn between two.
const PURGE_ROWS_MAX: usize = 500;

/// The rows of `rowbridge_offsets` of this bridge.
pub(super) fn offsets(connection: &Connection, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot read rowbridge_offsets", &error, Moment::Elsewhere);
    let mut statement = connection
        .prepare_cached("SELECT journal_id, next_seq, updated_at FROM rowbridge_offsets WHERE bridge = ?1")
        .map_err(failed)?;
    let mut rows = statement.query([bridge]).map_err(failed)?;
    let mut offsets = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        offsets.push(offset(row, bridge)?);
    }
    Ok(offsets)
}

/// The rows of these journals that go under another name.
pub(super) fn offsets_of_others(
    connection: &Connection,
    bridge: &str,
    journals: &[JournalId],
) -> Result<Vec<(String, StoredOffset)>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot read rowbridge_offsets", &error, Moment::Elsewhere);
    let mut statement = connection
        .prepare(
            "SELECT journal_id, next_seq, updated_at, bridge FROM rowbridge_offsets
             WHERE bridge <> ?1 AND journal_id = ?2",
        )
        .map_err(failed)?;
    let mut offsets = Vec::new();
    for journal in journals {
        let mut rows = statement.query([bridge, &journal.to_string()]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let other: String = row.get(3).map_err(failed)?;
            let offset = offset(row, &other)?;
            offsets.push((other, offset));
        }
    }
    Ok(offsets)
}

/// The offset in a row of journal_id, next_seq, updated_at.
fn offset(row: &Row<'_>, bridge: &str) -> Result<StoredOffset, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot read rowbridge_offsets", &error, Moment::Elsewhere);
    let journal: String = row.get(0).map_err(failed)?;
    let next_seq: i64 = row.get(1).map_err(failed)?;
    let updated_at: String = row.get(2).map_err(failed)?;
    Ok(StoredOffset {
        journal: journal.parse().map_err(|_| damaged(bridge, "journal_id is not 32 hexadecimal digits"))?,
        next_seq: Seq(u64::try_from(next_seq).map_err(|_| damaged(bridge, "next_seq is negative"))?),
        updated_at: read_own_timestamp(&updated_at),
    })
}

fn damaged(bridge: &str, what: &str) -> SinkError {
    SinkError {
        class: Class::Table,
        code: "offset".to_owned(),
        message: format!("a row of bridge {bridge} in rowbridge_offsets is damaged: {what}"),
        advice: "correct or delete that row; without one, delivery begins at the journal's oldest message",
    }
}

/// Adds the offset row; an existing one is left alone.
pub(super) fn start_offset(
    connection: &Connection,
    bridge: &str,
    journal: JournalId,
    next_seq: Seq,
) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot write rowbridge_offsets", &error, Moment::Elsewhere);
    connection
        .prepare_cached(
            "INSERT INTO rowbridge_offsets (bridge, journal_id, next_seq, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| {
            statement.execute(params![bridge, journal.to_string(), stored_seq(next_seq)?, own_timestamp(clock::now())])
        })
        .map(drop)
        .map_err(failed)
}

/// Makes the row of a journal that is gone that of another.
pub(super) fn succeed_offset(
    connection: &Connection,
    bridge: &str,
    gone: JournalId,
    journal: JournalId,
    next_seq: Seq,
) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot write rowbridge_offsets", &error, Moment::Elsewhere);
    connection
        .prepare(
            "UPDATE OR IGNORE rowbridge_offsets SET journal_id = ?1, next_seq = ?2, updated_at = ?3
             WHERE bridge = ?4 AND journal_id = ?5",
        )
        .and_then(|mut statement| {
            let now = own_timestamp(clock::now());
            statement.execute(params![journal.to_string(), stored_seq(next_seq)?, now, bridge, gone.to_string()])
        })
        .map(drop)
        .map_err(failed)
}

/// What the batch counts on, with its compare-and-swap. Letters are seen to by [`settle`](super::parked::settle).
pub(super) fn check_guard(connection: &Connection, batch: &Batch) -> Result<(), SinkError> {
    match batch.guard {
        Guard::Offset => move_offset(connection, &batch.offset),
        Guard::Letters => Ok(()),
    }
}

/// The compare-and-swap.
pub(super) fn move_offset(connection: &Connection, offset: &OffsetMove) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot write rowbridge_offsets", &error, Moment::Elsewhere);
    let moved = connection
        .prepare_cached(
            "UPDATE rowbridge_offsets SET next_seq = ?1, updated_at = ?2
             WHERE bridge = ?3 AND journal_id = ?4 AND next_seq = ?5",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                stored_seq(offset.to)?,
                own_timestamp(clock::now()),
                &*offset.bridge,
                offset.journal.to_string(),
                stored_seq(offset.from)?,
            ])
        })
        .map_err(failed)?;
    if moved == 1 {
        return Ok(());
    }
    Err(SinkError {
        class: Class::OffsetMoved,
        code: "offset".to_owned(),
        message: format!(
            "the offset of bridge {} is not {} any more: an earlier commit was applied after all, or another instance \
             of the same bridge runs",
            offset.bridge, offset.from
        ),
        advice: "nothing, unless it repeats: then find the second instance",
    })
}

/// SQLite's integers are signed; a number past 2^63 is no position that a journal reaches.
fn stored_seq(seq: Seq) -> rusqlite::Result<i64> {
    i64::try_from(seq.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Adds the batch's dead letters.
pub(super) fn add_dead_letters(connection: &Connection, bridge: &str, letters: &[DeadLetter]) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot write rowbridge_dead_letters", &error, Moment::Elsewhere);
    if letters.is_empty() {
        return Ok(());
    }
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO rowbridge_dead_letters (bridge, rule, seq, received_at, topic, qos, retain, properties,
                 payload, reason, error, attempts, created_at, envelope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )
        .map_err(failed)?;
    for letter in letters {
        stored_seq(letter.seq)
            .and_then(|seq| {
                statement.execute(params![
                    bridge,
                    letter.rule.as_deref(),
                    seq,
                    own_timestamp(letter.received_at),
                    letter.topic,
                    letter.qos,
                    letter.retain,
                    letter.properties,
                    letter.payload,
                    letter.reason,
                    letter.error,
                    letter.attempts,
                    own_timestamp(letter.created_at),
                    letter.envelope,
                ])
            })
            .map_err(failed)?;
    }
    Ok(())
}

/// Deletes this bridge's dead letters created before `before`, those of parked messages excepted, as far as [`PURGE_TIME_MAX`] allows; how many.
pub(super) fn purge_dead_letters(connection: &Connection, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot purge rowbridge_dead_letters", &error, Moment::Elsewhere);
    let begun = Instant::now();
    let mut statement = connection
        .prepare_cached(
            "DELETE FROM rowbridge_dead_letters WHERE id IN
                 (SELECT id FROM rowbridge_dead_letters WHERE bridge = ?1 AND created_at < ?2 AND reason <> 'table'
                  ORDER BY created_at LIMIT ?3)",
        )
        .map_err(failed)?;
    let mut purged = 0;
    loop {
        let deleted =
            statement.execute(params![bridge, own_timestamp(before), PURGE_ROWS_MAX as i64]).map_err(failed)?;
        purged += deleted as u64;
        if deleted < PURGE_ROWS_MAX || begun.elapsed() >= PURGE_TIME_MAX {
            return Ok(purged);
        }
    }
}
