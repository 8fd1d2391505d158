//! Reads and deletes dead letters, for commands.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::dead_letters::rewrite_strings;
use super::parked::LETTER_BYTES;
use super::session::Session;
use super::transaction::Sql;
use super::{parked, server};
use crate::clock::Timestamp;
use crate::sink::{DeadLetterExtent, DeadLetterFilter, LetterPlace, ParkedLetter, SinkError, StoredDeadLetter, escape};

const READING: &str = "reading dead letters";
const DELETING: &str = "deleting dead letters";

const SELECTED: &str = "bridge OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR id OPERATOR(pg_catalog.=) ANY($2)) \
                        AND ($3 IS NULL OR rule OPERATOR(pg_catalog.=) ANY($3)) \
                        AND ($4 IS NULL OR reason OPERATOR(pg_catalog.=) $4) \
                        AND ($5 IS NULL OR created_at OPERATOR(pg_catalog.>=) \
                        pg_catalog.to_timestamp($5::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000)) \
                        AND ($6 IS NULL OR created_at OPERATOR(pg_catalog.<) \
                        pg_catalog.to_timestamp($6::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000)) \
                        AND ($7 IS NULL OR id OPERATOR(pg_catalog.<) $7) \
                        AND ($8 IS NULL OR (reason OPERATOR(pg_catalog.=) 'table') OPERATOR(pg_catalog.=) $8) \
                        AND ($10 IS NULL OR (envelope IS NOT NULL) OPERATOR(pg_catalog.=) $10)";

/// The newest `limit`, newest first.
pub(super) async fn page(
    session: &Session,
    sql: &Sql,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    const UTC: &str = "at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'";
    let query = format!(
        "SELECT id, rule, seq, pg_catalog.to_char(received_at {UTC}), topic, qos, retain, properties::pg_catalog.text, \
         payload, reason, error, attempts, pg_catalog.to_char(created_at {UTC}) \
         FROM {} WHERE {SELECTED} ORDER BY id DESC LIMIT $9",
        sql.dead_letters
    );
    read(session, READING, select(session, READING, &query, filter, Some(limit)).await?, letter)
}

pub(super) async fn extent(
    session: &Session,
    sql: &Sql,
    filter: &DeadLetterFilter,
) -> Result<DeadLetterExtent, SinkError> {
    let query = format!(
        "SELECT pg_catalog.count(*), COALESCE(pg_catalog.max(id), 0) FROM {} WHERE {SELECTED} AND $9 IS NULL",
        sql.dead_letters
    );
    let extent =
        |row: &Row| Ok(DeadLetterExtent { letters: row.try_get::<_, i64>(0)?.unsigned_abs(), newest: row.try_get(1)? });
    let found = read(session, READING, select(session, READING, &query, filter, None).await?, extent)?;
    Ok(found.first().copied().unwrap_or_default())
}

pub(super) async fn by_rule(
    session: &Session,
    sql: &Sql,
    filter: &DeadLetterFilter,
) -> Result<Vec<(String, u64)>, SinkError> {
    let query = format!(
        "SELECT rule, pg_catalog.count(*) FROM {} WHERE {SELECTED} AND $9 IS NULL AND rule IS NOT NULL GROUP BY rule \
         ORDER BY rule",
        sql.dead_letters
    );
    let count = |row: &Row| Ok((decoded(row.try_get(0)?), row.try_get::<_, i64>(1)?.unsigned_abs()));
    read(session, READING, select(session, READING, &query, filter, None).await?, count)
}

/// See [`DeadLetterStore::whole_letters`](crate::sink::DeadLetterStore::whole_letters).
pub(super) async fn whole(
    session: &Session,
    sql: &Sql,
    filter: &DeadLetterFilter,
    after: LetterPlace,
    limit: u32,
    bytes_max: usize,
) -> Result<Vec<ParkedLetter>, SinkError> {
    let query = format!(
        "SELECT id, rule, seq, envelope, payload FROM (SELECT *, pg_catalog.sum(bytes) OVER (ORDER BY seq, id) \
         OPERATOR(pg_catalog.-) bytes AS before \
         FROM (SELECT id, rule, seq, envelope, payload, {LETTER_BYTES} AS bytes FROM {} WHERE {SELECTED} AND envelope IS NOT NULL \
         AND rule IS NOT NULL AND (seq OPERATOR(pg_catalog.>) $11 OR seq OPERATOR(pg_catalog.=) $11 \
         AND id OPERATOR(pg_catalog.>) $12) ORDER BY seq, id LIMIT $9) AS first) AS counted \
         WHERE before OPERATOR(pg_catalog.<=) $13 ORDER BY seq, id",
        sql.dead_letters
    );
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let further: [(&(dyn ToSql + Sync), Type); 3] =
        [(&after.seq, Type::INT8), (&after.id, Type::INT8), (&bytes_max, Type::INT8)];
    let rows = select_with(session, READING, &query, filter, Some(limit), &further).await?;
    read(session, READING, rows, parked::letter)
}

pub(super) async fn delete(
    session: &Session,
    sql: &Sql,
    filter: &DeadLetterFilter,
    limit: u32,
) -> Result<u64, SinkError> {
    // A statement is a transaction.
    let statement = format!(
        "WITH gone AS (DELETE FROM {0} WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT id FROM {0} WHERE {SELECTED} \
         ORDER BY id LIMIT $9)) RETURNING 1) SELECT pg_catalog.count(*) FROM gone",
        sql.dead_letters
    );
    let rows = select(session, DELETING, &statement, filter, Some(limit)).await?;
    let counts = read(session, DELETING, rows, |row| row.try_get::<_, i64>(0))?;
    Ok(counts.first().map_or(0, |count| count.unsigned_abs()))
}

/// The rows of a statement with [`SELECTED`] in it, and $9.
async fn select(
    session: &Session,
    doing: &'static str,
    query: &str,
    filter: &DeadLetterFilter,
    limit: Option<u32>,
) -> Result<Vec<Row>, SinkError> {
    select_with(session, doing, query, filter, limit, &[]).await
}

/// As [`select`], with $11 and further ones.
async fn select_with(
    session: &Session,
    doing: &'static str,
    query: &str,
    filter: &DeadLetterFilter,
    limit: Option<u32>,
    further: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, SinkError> {
    session.settle_bridge(&filter.bridge).await?;
    let bridge = session.bridge(&filter.bridge);
    let rules = match &filter.rule {
        Some(rule) => Some(stored_forms(session, rule).await?),
        None => None,
    };
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
    let (since, until) = (micros(filter.since), micros(filter.until));

    let limit = limit.map(i64::from);
    let selecting: [(&(dyn ToSql + Sync), Type); 10] = [
        (&bridge, Type::TEXT),
        (&filter.ids, Type::INT8_ARRAY),
        (&rules, Type::TEXT_ARRAY),
        (&filter.reason, Type::TEXT),
        (&since, Type::INT8),
        (&until, Type::INT8),
        (&filter.before, Type::INT8),
        (&filter.parked, Type::BOOL),
        (&limit, Type::INT8),
        (&filter.whole, Type::BOOL),
    ];
    let parameters = [&selecting, further].concat();
    session.wait(1, doing, session.client().query_typed(query, &parameters)).await
}

fn read<T>(
    session: &Session,
    doing: &'static str,
    rows: Vec<Row>,
    one: impl Fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, SinkError> {
    rows.iter().map(|row| one(row).map_err(|error| session.explain(&error, doing))).collect()
}

/// A rule's name as it may stand in the table: escaped, or as it is where the database holds it.
async fn stored_forms(session: &Session, rule: &str) -> Result<Vec<String>, SinkError> {
    let mut forms = vec![session.server().repertoire.storable(rule).into_owned()];
    if forms[0] != rule && server::holds(session, rule).await? {
        forms.push(rule.to_owned());
    }
    Ok(forms)
}

fn decoded(stored: &str) -> String {
    escape::decode(stored).into_owned()
}

fn decoded_json(stored: &str) -> String {
    let Ok(mut value) = serde_json::from_str(stored) else { return stored.to_owned() };
    rewrite_strings(&mut value, &decoded);
    value.to_string()
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
