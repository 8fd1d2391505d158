//! Dead letters read back, for people.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::dead_letters::rewrite_strings;
use super::server;
use super::session::Session;
use super::transaction::Sql;
use crate::sink::{DeadLetterFilter, SinkError, StoredDeadLetter, escape};

const DOING: &str = "reading dead letters";

/// Those that fit, newest first.
pub(super) async fn dead_letters(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    filter: &DeadLetterFilter,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    const UTC: &str = "at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'";
    const EQUAL: &str = "OPERATOR(pg_catalog.=)";
    let query = format!(
        "SELECT id, rule, seq, pg_catalog.to_char(received_at {UTC}), topic, qos, retain, properties::pg_catalog.text, payload,
                reason, error, attempts, pg_catalog.to_char(created_at {UTC})
         FROM {}
         WHERE bridge {EQUAL} $1 AND ($2 IS NULL OR id {EQUAL} $2) AND ($3 IS NULL OR rule {EQUAL} ANY($3))
           AND ($4 IS NULL OR reason {EQUAL} $4) AND ($5 IS NULL OR created_at OPERATOR(pg_catalog.>=)
               pg_catalog.to_timestamp($5::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000))
         ORDER BY id DESC LIMIT $6",
        sql.dead_letters
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let rules = match &filter.rule {
        Some(rule) => Some(stored_forms(session, rule).await?),
        None => None,
    };
    let (since, limit) = (filter.since.map(|time| time.as_micros()), i64::from(filter.limit));
    let parameters = [
        (&bridge as &(dyn ToSql + Sync), Type::TEXT),
        (&filter.id, Type::INT8),
        (&rules, Type::TEXT_ARRAY),
        (&filter.reason, Type::TEXT),
        (&since, Type::INT8),
        (&limit, Type::INT8),
    ];
    let rows = session.wait(1, DOING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter().map(|row| letter(row).map_err(|error| session.explain(&error, DOING))).collect()
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
