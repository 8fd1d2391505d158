//! Reads and deletes dead letters, for commands.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::codes::{Moment, sink_error};
use super::parked;
use super::time_text::own_timestamp;
use crate::sink::{DeadLetterExtent, DeadLetterFilter, LetterPlace, ParkedLetter, SinkError, StoredDeadLetter};

const READING: &str = "cannot read rowbridge_dead_letters";

const SELECTED: &str = "bridge = ?1 AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))
    AND (?3 IS NULL OR rule = ?3) AND (?4 IS NULL OR reason = ?4) AND (?5 IS NULL OR created_at >= ?5)
    AND (?6 IS NULL OR created_at < ?6) AND (?7 IS NULL OR id < ?7) AND (?8 IS NULL OR (reason = 'table') = ?8)
    AND (?10 IS NULL OR (envelope IS NOT NULL) = ?10)";

/// The newest `limit`, newest first.
pub(super) fn page(
    connection: &Connection,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    let query = format!(
        "SELECT id, rule, seq, received_at, topic, qos, retain, properties, payload, reason, error, attempts, created_at
         FROM rowbridge_dead_letters WHERE {SELECTED} ORDER BY id DESC LIMIT ?9"
    );
    all(connection, &query, parameters(filter, Some(limit)), letter)
}

pub(super) fn extent(connection: &Connection, filter: &DeadLetterFilter) -> Result<DeadLetterExtent, SinkError> {
    let query =
        format!("SELECT count(*), ifnull(max(id), 0) FROM rowbridge_dead_letters WHERE {SELECTED} AND ?9 IS NULL");
    let extent =
        |row: &Row<'_>| Ok(DeadLetterExtent { letters: row.get::<_, i64>(0)?.unsigned_abs(), newest: row.get(1)? });
    let found = all(connection, &query, parameters(filter, None), extent)?;
    Ok(found.first().copied().unwrap_or_default())
}

pub(super) fn by_rule(connection: &Connection, filter: &DeadLetterFilter) -> Result<Vec<(String, u64)>, SinkError> {
    let query = format!(
        "SELECT rule, count(*) FROM rowbridge_dead_letters WHERE {SELECTED} AND ?9 IS NULL AND rule IS NOT NULL
         GROUP BY rule ORDER BY rule"
    );
    let count = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    all(connection, &query, parameters(filter, None), count)
}

/// See [`DeadLetterStore::whole_letters`](crate::sink::DeadLetterStore::whole_letters).
pub(super) fn whole(
    connection: &Connection,
    filter: &DeadLetterFilter,
    after: LetterPlace,
    limit: u32,
    bytes_max: usize,
) -> Result<Vec<ParkedLetter>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error(READING, &error, Moment::Elsewhere);
    // The order is found without the payloads.
    let query = format!(
        "SELECT id FROM rowbridge_dead_letters WHERE {SELECTED} AND envelope IS NOT NULL AND rule IS NOT NULL
         AND (seq, id) > (?11, ?12) ORDER BY seq, id LIMIT ?9"
    );
    let places = [Value::from(after.seq), Value::from(after.id)];
    let parameters = rusqlite::params_from_iter(values(filter, Some(limit)).into_iter().chain(places));
    let ids: Vec<i64> = all(connection, &query, parameters, |row| row.get(0))?;
    let mut one = connection
        .prepare_cached(
            "SELECT id, rule, seq, envelope, payload FROM rowbridge_dead_letters
             WHERE id = ?1 AND envelope IS NOT NULL AND rule IS NOT NULL",
        )
        .map_err(failed)?;
    let (mut letters, mut bytes): (Vec<ParkedLetter>, usize) = (Vec::new(), 0);
    for id in ids {
        // One that is gone by now was taken out by somebody else.
        let Some(letter) = one.query_row([id], parked::letter).optional().map_err(failed)? else { continue };
        bytes += letter.payload.len() + letter.envelope.len();
        letters.push(letter);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(letters)
}

pub(super) fn delete(connection: &Connection, filter: &DeadLetterFilter, limit: u32) -> Result<u64, SinkError> {
    const DELETING: &str = "cannot delete from rowbridge_dead_letters";
    let statement = format!(
        "DELETE FROM rowbridge_dead_letters
         WHERE id IN (SELECT id FROM rowbridge_dead_letters WHERE {SELECTED} ORDER BY id LIMIT ?9)"
    );
    let deleted = connection.execute(&statement, parameters(filter, Some(limit)));
    deleted.map(|count| count as u64).map_err(|error| sink_error(DELETING, &error, Moment::Elsewhere))
}

fn all<T>(
    connection: &Connection,
    query: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, SinkError> {
    let failed = |error: rusqlite::Error| sink_error(READING, &error, Moment::Elsewhere);
    let mut statement = connection.prepare(query).map_err(failed)?;
    let rows = statement.query_map(parameters, read).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// The parameters of [`SELECTED`], and ?9.
fn parameters(filter: &DeadLetterFilter, limit: Option<u32>) -> impl Params {
    rusqlite::params_from_iter(values(filter, limit))
}

fn values(filter: &DeadLetterFilter, limit: Option<u32>) -> [Value; 10] {
    let DeadLetterFilter { bridge, ids, rule, reason, since, until, before, parked, whole } = filter.clone();
    let ids = ids.map(|ids| serde_json::Value::from(ids).to_string());
    [
        Value::from(bridge),
        ids.into(),
        rule.into(),
        reason.into(),
        since.map(own_timestamp).into(),
        until.map(own_timestamp).into(),
        before.into(),
        parked.into(),
        limit.map(i64::from).into(),
        whole.into(),
    ]
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
