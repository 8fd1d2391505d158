//! Reads changes in their order, and finishes them.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::capture::{Encoding, SCHEMA, decode};
use super::failed;
use crate::clock;
use crate::config::{Events, TimeForm};
use crate::rule::quote;
use crate::sink::changes::{
    Change, ChangeKey, ChangeKind, Done, OFFSET_JUMP, Overflow, Reading, StoredPublication, trigger_name,
};
use crate::sink::sqlite::time_text::own_timestamp;
use crate::sink::{Class, SinkError};

pub(super) fn read(
    connection: &Connection,
    id: i64,
    after: ChangeKey,
    (limit, bytes_max): (usize, usize),
    (encoding, time): (Encoding, TimeForm),
) -> rusqlite::Result<Reading> {
    let mut statement = connection.prepare_cached(
        "SELECT number, event, columns, new_row, old_row, \
         (SELECT next_offset FROM rowbridge_publications WHERE id = ?1) FROM rowbridge_changes \
         WHERE publication = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id, after.number, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let (mut reading, mut bytes) = (Reading::default(), 0);
    while let Some(row) = rows.next()? {
        let kind = ChangeKind::of_name(row.get_ref(1)?.as_str()?);
        let forms: Option<String> = row.get(2)?;
        let published = |index: usize| {
            let Some(captured) = row.get::<_, Option<String>>(index)? else { return Ok(None) };
            Ok::<_, rusqlite::Error>(match &forms {
                Some(forms) => decode(&captured, forms, encoding, time),
                // A change of the definition.
                None => Some(captured),
            })
        };
        let change =
            Change { key: ChangeKey { xact: 0, number: row.get(0)? }, kind, row: published(3)?, old: published(4)? };
        bytes += change.row.as_ref().map_or(0, String::len) + change.old.as_ref().map_or(0, String::len);
        reading.changes.push(change);
        reading.next_offset = row.get::<_, Option<i64>>(5)?.map(|offset| offset.max(1).unsigned_abs());
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(reading)
}

/// The DELETE and the offset's compare-and-swap; any difference leaves nothing behind.
pub(super) fn finish(connection: &mut Connection, id: i64, done: &Done, kept: &[ChangeKey]) -> Result<(), SinkError> {
    let failed = |error: rusqlite::Error| failed("cannot delete published changes", &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let [from, to, published, skipped] =
        [done.from, done.to, done.published, done.skipped].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let swapped = transaction
        .prepare_cached(
            "UPDATE rowbridge_publications SET next_offset = ?3, published = published + ?4, skipped = skipped + ?5, \
             updated_at = ?6 WHERE id = ?1 AND next_offset = ?2",
        )
        .and_then(|mut update| update.execute(params![id, from, to, published, skipped, own_timestamp(clock::now())]))
        .map_err(failed)?;
    const DELETE: &str = "DELETE FROM rowbridge_changes WHERE publication = ?1 AND number <= ?2";
    let deleting = params![id, done.last.number];
    let deleted = match kept {
        [] => transaction.prepare_cached(DELETE).and_then(|mut delete| delete.execute(deleting)),
        kept => {
            let numbers: Vec<String> = kept.iter().map(|key| key.number.to_string()).collect();
            transaction.execute(&format!("{DELETE} AND number NOT IN ({})", numbers.join(", ")), deleting)
        }
    };
    let deleted = deleted.map_err(failed)?;
    if swapped != 1 || deleted as u64 + kept.len() as u64 != done.changes {
        return Err(SinkError {
            class: Class::OffsetMoved,
            code: "offset_moved".to_owned(),
            message: "published changes are not there any more, or the offset is another".to_owned(),
            advice: "another bridge of this name serves the publication, or somebody changed its tables: it is read again",
        });
    }
    crash_point!("sqlite.publish.deleted");
    transaction.commit().map_err(failed)
}

pub(super) fn pending(connection: &Connection, id: i64, limit: u64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM rowbridge_changes WHERE publication = ?1 LIMIT ?2)")?
        .query_row(params![id, i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get::<_, i64>(0))
        .map(|count| count.max(0).unsigned_abs())
}

/// See [`crate::sink::changes::ChangeFeed::drop_oldest`].
pub(super) fn drop_oldest(
    connection: &mut Connection,
    id: i64,
    max_pending: u64,
) -> rusqlite::Result<Option<Overflow>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last: Option<i64> = transaction
        .query_row(
            "SELECT number FROM rowbridge_changes WHERE publication = ?1 AND xact <> 0 \
             ORDER BY number DESC LIMIT 1 OFFSET ?2",
            params![id, i64::try_from(max_pending).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )
        .optional()?;
    let Some(last) = last else { return Ok(None) };
    let deleted = transaction
        .execute("DELETE FROM rowbridge_changes WHERE publication = ?1 AND number <= ?2", params![id, last])?;
    let next: i64 = transaction.query_row(
        "UPDATE rowbridge_publications SET next_offset = next_offset + ?2 WHERE id = ?1 RETURNING next_offset",
        params![id, deleted as i64 + OFFSET_JUMP as i64],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    Ok(Some(Overflow::before(next.max(1).unsigned_abs(), deleted as u64)))
}

pub(super) fn stored(connection: &Connection, bridge: &str) -> rusqlite::Result<Vec<StoredPublication>> {
    let is_there =
        "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('rowbridge_publications', 'rowbridge_changes')";
    if !connection.query_row(is_there, [], |row| row.get::<_, bool>(0))? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(
        "SELECT name, table_name, id, next_offset, published, skipped, \
         (SELECT count(*) FROM rowbridge_changes WHERE publication = p.id) \
         FROM rowbridge_publications p WHERE bridge = ?1 ORDER BY name",
    )?;
    let stored = statement.query_map([bridge], |row| {
        let number = |index| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(index)?.max(0).unsigned_abs());
        Ok(StoredPublication {
            name: row.get(0)?,
            table: row.get(1)?,
            id: row.get(2)?,
            next_offset: number(3)?,
            published: number(4)?,
            skipped: number(5)?,
            pending: number(6)?,
            held_back: None,
        })
    })?;
    stored.collect()
}

/// Drops the publication's triggers, on whichever table they are.
pub(super) fn drop_triggers(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    for event in Events::NAMES {
        let trigger = quote(&trigger_name(SCHEMA, id, event));
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {trigger}"))?;
    }
    Ok(())
}

pub(super) fn remove(connection: &mut Connection, bridge: &str, name: &str) -> rusqlite::Result<bool> {
    let found = stored(connection, bridge)?;
    let Some(id) = found.iter().find(|stored| stored.name == name).map(|stored| stored.id) else { return Ok(false) };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    drop_triggers(&transaction, id)?;
    transaction.execute(
        "DELETE FROM rowbridge_changes WHERE publication IN \
         (SELECT id FROM rowbridge_publications WHERE bridge = ?1 AND name = ?2)",
        [bridge, name],
    )?;
    transaction.execute("DELETE FROM rowbridge_publications WHERE bridge = ?1 AND name = ?2", [bridge, name])?;
    transaction.commit()?;
    Ok(true)
}
