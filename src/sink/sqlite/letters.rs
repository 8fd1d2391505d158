//! Dead letters read back, for people.

use rusqlite::{Connection, Row, params};

use super::codes::{Moment, sink_error};
use super::time_text::own_timestamp;
use crate::sink::{DeadLetterFilter, SinkError, StoredDeadLetter};

const SELECT: &str =
    "SELECT id, rule, seq, received_at, topic, qos, retain, properties, payload, reason, error, attempts,
           created_at
    FROM rowbridge_dead_letters
    WHERE bridge = ?1 AND (?2 IS NULL OR id = ?2) AND (?3 IS NULL OR rule = ?3) AND (?4 IS NULL OR reason = ?4)
      AND (?5 IS NULL OR created_at >= ?5)
    ORDER BY id DESC LIMIT ?6";

/// Those that fit, newest first.
pub(super) fn dead_letters(
    connection: &Connection,
    bridge: &str,
    filter: &DeadLetterFilter,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error("cannot read rowbridge_dead_letters", &error, Moment::Elsewhere);
    let mut statement = connection.prepare(SELECT).map_err(failed)?;
    let since = filter.since.map(own_timestamp);
    let parameters = params![bridge, filter.id, filter.rule, filter.reason, since, filter.limit];
    let letters = statement.query_map(parameters, letter).map_err(failed)?;
    letters.collect::<Result<_, _>>().map_err(failed)
}

fn letter(row: &Row<'_>) -> rusqlite::Result<StoredDeadLetter> {
    Ok(StoredDeadLetter {
        id: row.get(0)?,
        rule: row.get(1)?,
        seq: row.get(2)?,
        received_at: row.get(3)?,
        topic: row.get(4)?,
        qos: row.get(5)?,
        retain: row.get(6)?,
        properties: row.get(7)?,
        payload: row.get(8)?,
        reason: row.get(9)?,
        error: row.get(10)?,
        attempts: row.get(11)?,
        created_at: row.get(12)?,
    })
}
