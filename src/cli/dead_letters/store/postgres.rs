//! Of a Postgres database. Operators are named with their schema, as in all of Rowbridge's own statements: the role's
//! `search_path` does not matter.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::super::selection::Selection;
use super::{Extent, RuleCount, failed};
use crate::sink::{PostgresSink, SinkError, StoredDeadLetter, escape};

const READING: &str = "cannot read rowbridge_dead_letters";

const SELECTED: &str = "bridge OPERATOR(pg_catalog.=) ANY($1) AND ($2 IS NULL OR id OPERATOR(pg_catalog.=) ANY($2)) \
                        AND ($3 IS NULL OR rule OPERATOR(pg_catalog.=) ANY($3)) \
                        AND ($4 IS NULL OR reason OPERATOR(pg_catalog.=) $4) \
                        AND ($5 IS NULL OR created_at OPERATOR(pg_catalog.>=) \
                        pg_catalog.to_timestamp($5::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000)) \
                        AND ($6 IS NULL OR created_at OPERATOR(pg_catalog.<) \
                        pg_catalog.to_timestamp($6::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000)) \
                        AND ($7 IS NULL OR id OPERATOR(pg_catalog.<) $7) \
                        AND ($8 IS NULL OR (reason OPERATOR(pg_catalog.=) 'table') OPERATOR(pg_catalog.=) $8)";

pub(super) async fn page(
    sink: &PostgresSink,
    selection: &Selection,
    limit: u32,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    const UTC: &str = "at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'";
    let query = format!(
        "SELECT id, rule, seq, pg_catalog.to_char(received_at {UTC}), topic, qos, retain, properties::pg_catalog.text, \
         payload, reason, error, attempts, pg_catalog.to_char(created_at {UTC}) \
         FROM {} WHERE {SELECTED} ORDER BY id DESC LIMIT $9",
        sink.dead_letters_table()
    );
    read(query_rows(sink, &query, selection, Some(limit)).await?, letter)
}

pub(super) async fn extent(sink: &PostgresSink, selection: &Selection) -> Result<Extent, SinkError> {
    let query = format!(
        "SELECT pg_catalog.count(*), COALESCE(pg_catalog.max(id), 0) FROM {} WHERE {SELECTED} AND $9 IS NULL",
        sink.dead_letters_table()
    );
    let extent = |row: &Row| Ok(Extent { letters: row.try_get::<_, i64>(0)?.unsigned_abs(), newest: row.try_get(1)? });
    let found = read(query_rows(sink, &query, selection, None).await?, extent)?;
    Ok(found.first().copied().unwrap_or_default())
}

pub(super) async fn rules(sink: &PostgresSink, selection: &Selection) -> Result<Vec<RuleCount>, SinkError> {
    let query = format!(
        "SELECT rule, pg_catalog.count(*) FROM {} WHERE {SELECTED} AND $9 IS NULL AND rule IS NOT NULL GROUP BY rule \
         ORDER BY rule",
        sink.dead_letters_table()
    );
    let count =
        |row: &Row| Ok(RuleCount { rule: decoded(row.try_get(0)?), letters: row.try_get::<_, i64>(1)?.unsigned_abs() });
    read(query_rows(sink, &query, selection, None).await?, count)
}

pub(super) async fn delete(sink: &PostgresSink, selection: &Selection, limit: u32) -> Result<u64, SinkError> {
    // A statement is a transaction.
    let statement = format!(
        "WITH gone AS (DELETE FROM {0} WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT id FROM {0} WHERE {SELECTED} \
         ORDER BY id LIMIT $9)) RETURNING 1) SELECT pg_catalog.count(*) FROM gone",
        sink.dead_letters_table()
    );
    let rows = query_rows(sink, &statement, selection, Some(limit)).await?;
    let counts = read(rows, |row| row.try_get::<_, i64>(0))?;
    Ok(counts.first().map_or(0, |count| count.unsigned_abs()))
}

async fn query_rows(
    sink: &PostgresSink,
    query: &str,
    selection: &Selection,
    limit: Option<u32>,
) -> Result<Vec<Row>, SinkError> {
    let client = sink.client().ok_or_else(|| failed(READING, &"there is no connection"))?;
    let failed = |error: Error| failed(READING, &told(&error));
    let encoding: String =
        client.query_typed("SELECT pg_catalog.current_setting('server_encoding')", &[]).await.map_err(failed)?[0]
            .get(0);
    let bridges = stored_forms(&selection.bridge, &encoding);
    let rules = selection.rule.as_deref().map(|rule| stored_forms(rule, &encoding));
    let micros = |time: Option<crate::clock::Timestamp>| time.map(crate::clock::Timestamp::as_micros);
    let (since, until, limit) = (micros(selection.since), micros(selection.until), limit.map(i64::from));
    let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
        (&bridges, Type::TEXT_ARRAY),
        (&selection.ids, Type::INT8_ARRAY),
        (&rules, Type::TEXT_ARRAY),
        (&selection.reason, Type::TEXT),
        (&since, Type::INT8),
        (&until, Type::INT8),
        (&selection.before, Type::INT8),
        (&selection.parked, Type::BOOL),
        (&limit, Type::INT8),
    ];
    client.query_typed(query, &parameters).await.map_err(failed)
}

/// A name as it may stand in the table: escaped where the database's encoding lacks a character of it.
fn stored_forms(name: &str, encoding: &str) -> Vec<String> {
    let holds: fn(char) -> bool = match encoding {
        "UTF8" => |c| c != '\0',
        "LATIN1" => |c| c != '\0' && u32::from(c) < 256,
        _ => |c| c.is_ascii() && c != '\0',
    };
    vec![escape::encode(name, holds).into_owned()]
}

fn told(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

fn read<T>(rows: Vec<Row>, one: impl Fn(&Row) -> Result<T, Error>) -> Result<Vec<T>, SinkError> {
    rows.iter().map(|row| one(row).map_err(|error| failed(READING, &error))).collect()
}

fn decoded(stored: &str) -> String {
    escape::decode(stored).into_owned()
}

fn decoded_json(stored: &str) -> String {
    let Ok(mut value) = serde_json::from_str(stored) else { return stored.to_owned() };
    decode_strings(&mut value);
    value.to_string()
}

fn decode_strings(value: &mut Value) {
    match value {
        Value::String(text) => *text = decoded(text),
        Value::Array(items) => items.iter_mut().for_each(decode_strings),
        Value::Object(fields) => {
            for (key, mut field) in std::mem::take(fields) {
                decode_strings(&mut field);
                fields.insert(decoded(&key), field);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn letter(row: &Row) -> Result<StoredDeadLetter, Error> {
    Ok(StoredDeadLetter {
        id: row.try_get(0)?,
        rule: row.try_get::<_, Option<&str>>(1)?.map(decoded),
        seq: row.try_get(2)?,
        received_at: row.try_get(3)?,
        topic: decoded(row.try_get(4)?),
        qos: row.try_get(5)?,
        retain: row.try_get(6)?,
        properties: row.try_get::<_, Option<&str>>(7)?.map(decoded_json),
        payload: row.try_get(8)?,
        reason: row.try_get(9)?,
        error: decoded(row.try_get(10)?),
        attempts: row.try_get(11)?,
        created_at: row.try_get(12)?,
    })
}
