//! Dead letters read back, for people.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::session::Session;
use super::transaction::Sql;
use crate::sink::{DeadLetterFilter, SinkError, StoredDeadLetter};

const DOING: &str = "reading dead letters";

/// Those that fit, newest first.
pub(super) async fn dead_letters(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    filter: &DeadLetterFilter,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    const UTC: &str = "at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'";
    let query = format!(
        "SELECT id, rule, seq, pg_catalog.to_char(received_at {UTC}), topic, qos, retain, properties::text, payload,
                reason, error, attempts, pg_catalog.to_char(created_at {UTC})
         FROM {}
         WHERE bridge = $1 AND ($2 IS NULL OR id = $2) AND ($3 IS NULL OR rule = $3) AND ($4 IS NULL OR reason = $4)
           AND ($5 IS NULL OR created_at >= pg_catalog.to_timestamp($5::float8 / 1000000))
         ORDER BY id DESC LIMIT $6",
        sql.dead_letters
    );
    let (since, limit) = (filter.since.map(|time| time.as_micros()), i64::from(filter.limit));
    let parameters = [
        (&bridge as &(dyn ToSql + Sync), Type::TEXT),
        (&filter.id, Type::INT8),
        (&filter.rule, Type::TEXT),
        (&filter.reason, Type::TEXT),
        (&since, Type::INT8),
        (&limit, Type::INT8),
    ];
    let rows = session.wait(1, DOING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter().map(|row| letter(row).map_err(|error| session.explain(&error, DOING))).collect()
}

fn letter(row: &Row) -> Result<StoredDeadLetter, Error> {
    Ok(StoredDeadLetter {
        id: row.try_get(0)?,
        rule: row.try_get(1)?,
        seq: row.try_get(2)?,
        received_at: row.try_get(3)?,
        topic: row.try_get(4)?,
        qos: row.try_get(5)?,
        retain: row.try_get(6)?,
        properties: row.try_get(7)?,
        payload: row.try_get(8)?,
        reason: row.try_get(9)?,
        error: row.try_get(10)?,
        attempts: row.try_get(11)?,
        created_at: row.try_get(12)?,
    })
}
