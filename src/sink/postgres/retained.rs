//! `rowbridge_retained`: the hash of the message that each rule stored last for each topic.

use std::borrow::Cow;
use std::collections::HashMap;

use tokio_postgres::Error;
use tokio_postgres::types::{ToSql, Type};

use super::session::Session;
use super::transaction::Sql;
use crate::batch::Remembered;
use crate::sink::{RetainedPlace, SinkError};

const READING: &str = "reading what was stored last";
pub(super) const REMEMBERING: &str = "remembering what was stored last";

/// Rows of one statement.
const ROWS_PER_INSERT: usize = 10_000;

/// The content hash of each place that has one.
pub(super) async fn last_stored(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    places: &[RetainedPlace],
) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
    let query = format!(
        "SELECT wanted.number, stored.content_hash FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) \
         WITH ORDINALITY AS wanted (rule, topic_hash, number) JOIN {} AS stored \
         ON stored.bridge OPERATOR(pg_catalog.=) $1 AND stored.rule OPERATOR(pg_catalog.=) wanted.rule \
         AND stored.topic_hash OPERATOR(pg_catalog.=) wanted.topic_hash",
        sql.retained
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let repertoire = session.server().repertoire;
    let rules: Vec<Cow<'_, str>> = places.iter().map(|(rule, _)| repertoire.storable(rule)).collect();
    let topics: Vec<i64> = places.iter().map(|&(_, topic_hash)| topic_hash).collect();
    let parameters =
        [(&bridge as &(dyn ToSql + Sync), Type::TEXT), (&rules, Type::TEXT_ARRAY), (&topics, Type::INT8_ARRAY)];
    let rows = session.wait(1, READING, session.client().query_typed(&query, &parameters)).await?;
    let mut found = HashMap::new();
    for row in &rows {
        let read = || -> Result<(i64, i64), Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
        let (number, content) = read().map_err(|error| session.explain(&error, READING))?;
        let place = usize::try_from(number - 1).ok().and_then(|at| places.get(at));
        found.extend(place.map(|place| (place.clone(), content)));
    }
    Ok(found)
}

/// Within the transaction that `client` is in; `remembered` names no place twice. All statements are sent before the first
/// answer.
pub(super) async fn remember(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    remembered: &[&Remembered],
) -> Result<(), Error> {
    if remembered.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "INSERT INTO {} (bridge, rule, topic_hash, content_hash) SELECT $1, * FROM ROWS FROM (pg_catalog.unnest($2), \
         pg_catalog.unnest($3), pg_catalog.unnest($4)) ON CONFLICT (bridge, rule, topic_hash) \
         DO UPDATE SET content_hash = excluded.content_hash",
        sql.retained
    );
    let bridge = session.bridge(bridge);
    let inserts = remembered.chunks(ROWS_PER_INSERT).map(|chunk| insert(session, &statement, &bridge, chunk));
    futures_util::future::join_all(inserts).await.into_iter().collect()
}

async fn insert(session: &Session, statement: &str, bridge: &str, chunk: &[&Remembered]) -> Result<(), Error> {
    let repertoire = session.server().repertoire;
    let rules: Vec<Cow<'_, str>> = chunk.iter().map(|one| repertoire.storable(&one.rule)).collect();
    let topics: Vec<i64> = chunk.iter().map(|one| one.topic_hash).collect();
    let contents: Vec<i64> = chunk.iter().map(|one| one.content_hash).collect();
    let parameters = [
        (&bridge as &(dyn ToSql + Sync), Type::TEXT),
        (&rules, Type::TEXT_ARRAY),
        (&topics, Type::INT8_ARRAY),
        (&contents, Type::INT8_ARRAY),
    ];
    session.client().execute_typed(statement, &parameters).await.map(drop)
}
