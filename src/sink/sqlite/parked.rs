//! Parked messages: counted, read in order, taken out in the transaction that writes their rows.

use rusqlite::{Connection, Row, params};

use super::codes::{Moment, sink_error};
use super::time_text::read_own_timestamp;
use crate::batch::{Amendment, Batch};
use crate::message::Seq;
use crate::sink::{Class, ParkedLetter, ParkedRule, SinkError};

fn failed(error: rusqlite::Error) -> SinkError {
    sink_error("cannot read the parked messages in rowbridge_dead_letters", &error, Moment::Elsewhere)
}

/// What is parked, by rule.
pub(super) fn rules(connection: &Connection, bridge: &str) -> Result<Vec<ParkedRule>, SinkError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT rule, count(*), min(created_at) FROM rowbridge_dead_letters
             WHERE bridge = ?1 AND reason = 'table' AND rule IS NOT NULL AND envelope IS NOT NULL GROUP BY rule",
        )
        .map_err(failed)?;
    let rule = |row: &Row<'_>| {
        let (messages, since): (i64, String) = (row.get(1)?, row.get(2)?);
        Ok(ParkedRule { rule: row.get(0)?, messages: messages.unsigned_abs(), since: read_own_timestamp(&since) })
    };
    statement.query_map([bridge], rule).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

/// The oldest parked messages of these rules, at most `limit`; with more than `bytes_max` of payload it ends.
pub(super) fn letters(
    connection: &Connection,
    bridge: &str,
    rules: &[&str],
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<ParkedLetter>, SinkError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT id, rule, seq, envelope, payload FROM rowbridge_dead_letters
             WHERE bridge = ?1 AND reason = 'table' AND envelope IS NOT NULL
               AND rule IN (SELECT value FROM json_each(?2)) ORDER BY id LIMIT ?3",
        )
        .map_err(failed)?;
    let rules = serde_json::Value::from(rules).to_string();
    let mut rows = statement.query(params![bridge, rules, i64::try_from(limit).unwrap_or(i64::MAX)]).map_err(failed)?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(failed)? {
        let letter = letter(row).map_err(failed)?;
        bytes += letter.payload.len() + letter.envelope.len();
        letters.push(letter);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(letters)
}

pub(super) fn letter(row: &Row<'_>) -> rusqlite::Result<ParkedLetter> {
    let seq: i64 = row.get(2)?;
    Ok(ParkedLetter {
        id: row.get(0)?,
        rule: row.get(1)?,
        seq: Seq(u64::try_from(seq).unwrap_or_default()),
        envelope: row.get(3)?,
        payload: row.get(4)?,
    })
}

/// Deletes the letters whose messages are in the batch, and updates those that stay. If one of them no longer exists,
/// another process deleted it, and the transaction must not continue.
pub(super) fn settle(connection: &Connection, batch: &Batch) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot change rowbridge_dead_letters", &error, Moment::Elsewhere);
    let bridge = &*batch.offset.bridge;
    if !batch.released.is_empty() {
        let delete = "DELETE FROM rowbridge_dead_letters WHERE id = ?1 AND bridge = ?2";
        let mut statement = connection.prepare_cached(delete).map_err(failed)?;
        for id in &batch.released {
            is_there(statement.execute(params![id, bridge]).map_err(failed)?, bridge)?;
        }
    }
    if !batch.amended.is_empty() {
        let update = "UPDATE rowbridge_dead_letters SET attempts = attempts + 1, reason = ?3, error = ?4
                      WHERE id = ?1 AND bridge = ?2";
        let mut statement = connection.prepare_cached(update).map_err(failed)?;
        for Amendment { id, reason, error } in &batch.amended {
            is_there(statement.execute(params![id, bridge, reason, error]).map_err(failed)?, bridge)?;
        }
    }
    Ok(())
}

fn is_there(changed: usize, bridge: &str) -> Result<(), SinkError> {
    if changed == 1 {
        return Ok(());
    }
    Err(SinkError {
        class: Class::OffsetMoved,
        code: "letters".to_owned(),
        message: format!(
            "a dead letter of bridge {bridge} is not in rowbridge_dead_letters any more: an earlier commit was applied after \
             all, another instance took it out, or somebody deleted it"
        ),
        advice: "nothing, unless it repeats: then find the second instance",
    })
}
