//! Parked messages: counted, read in order, taken out in the transaction that writes their rows.

use std::borrow::Cow;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::failure::own;
use super::session::Session;
use super::transaction::Sql;
use crate::batch::{Amendment, Batch};
use crate::clock::Timestamp;
use crate::message::Seq;
use crate::sink::{Class, ParkedLetter, ParkedRule, SinkError, escape};

const READING: &str = "reading the parked messages";
pub(super) const RELEASING: &str = "taking dead letters out";

/// What a release ends with that did not find all of its letters: its SQL divides by the outcome.
const DIVISION_BY_ZERO: &str = "22012";

/// What is parked, by rule.
pub(super) async fn rules(session: &Session, sql: &Sql, bridge: &str) -> Result<Vec<ParkedRule>, SinkError> {
    let query = format!(
        "SELECT rule, pg_catalog.count(*), (pg_catalog.date_part('epoch', pg_catalog.min(created_at)) \
         OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 FROM {} WHERE bridge OPERATOR(pg_catalog.=) $1 \
         AND reason OPERATOR(pg_catalog.=) 'table' AND rule IS NOT NULL AND envelope IS NOT NULL GROUP BY rule",
        sql.dead_letters
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let parameters = [(&bridge as &(dyn ToSql + Sync), Type::TEXT)];
    let rows = session.wait(1, READING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter().map(|row| rule(row).map_err(|error| session.explain(&error, READING))).collect()
}

fn rule(row: &Row) -> Result<ParkedRule, Error> {
    let (rule, messages): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(ParkedRule {
        rule: escape::decode(&rule).into_owned(),
        messages: messages.unsigned_abs(),
        since: Timestamp(row.try_get(2)?),
    })
}

/// Those of a letter that are read.
pub(super) const LETTER_BYTES: &str = "pg_catalog.octet_length(payload)::pg_catalog.int8 OPERATOR(pg_catalog.+) \
                                       pg_catalog.octet_length(envelope)::pg_catalog.int8";

/// The oldest parked messages of these rules, at most `limit`, and one more than `bytes_max` has room for.
pub(super) async fn letters(
    session: &Session,
    sql: &Sql,
    bridge: &str,
    rules: &[&str],
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<ParkedLetter>, SinkError> {
    let query = format!(
        "SELECT id, rule, seq, envelope, payload FROM (SELECT *, pg_catalog.sum(bytes) OVER (ORDER BY id) \
         OPERATOR(pg_catalog.-) bytes AS before \
         FROM (SELECT id, rule, seq, envelope, payload, {LETTER_BYTES} AS bytes FROM {} WHERE bridge OPERATOR(pg_catalog.=) $1 \
         AND reason OPERATOR(pg_catalog.=) 'table' AND envelope IS NOT NULL AND rule OPERATOR(pg_catalog.=) ANY ($2) \
         ORDER BY id LIMIT $3) AS oldest) AS counted WHERE before OPERATOR(pg_catalog.<=) $4 ORDER BY id",
        sql.dead_letters
    );
    let bridge = session.bridge(bridge);
    let repertoire = session.server().repertoire;
    let rules: Vec<Cow<'_, str>> = rules.iter().map(|rule| repertoire.storable(rule)).collect();
    let (limit, bytes_max) = (number(limit), number(bytes_max));
    let parameters = [
        (&bridge as &(dyn ToSql + Sync), Type::TEXT),
        (&rules, Type::TEXT_ARRAY),
        (&limit, Type::INT8),
        (&bytes_max, Type::INT8),
    ];
    let rows = session.wait(1, READING, session.client().query_typed(&query, &parameters)).await?;
    rows.iter().map(|row| letter(row).map_err(|error| session.explain(&error, READING))).collect()
}

pub(super) fn letter(row: &Row) -> Result<ParkedLetter, Error> {
    let (rule, seq): (String, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(ParkedLetter {
        id: row.try_get(0)?,
        rule: escape::decode(&rule).into_owned(),
        seq: Seq(u64::try_from(seq).unwrap_or_default()),
        envelope: row.try_get(3)?,
        payload: row.try_get(4)?,
    })
}

/// Deletes the letters whose messages are in the batch, and updates those that stay, in the open transaction. If one of
/// them no longer exists, the statement fails, and the transaction with it: another process deleted it, or an earlier
/// commit of ours was applied after all. `with_letters` is whether to do this at all.
pub(super) async fn settle(session: &Session, sql: &Sql, batch: &Batch, with_letters: bool) -> Result<(), Error> {
    if !with_letters {
        return Ok(());
    }
    let bridge = &batch.offset.bridge;
    // Both are sent before the first answer.
    let (released, amended) = tokio::join!(biased; release(session, sql, bridge, &batch.released), amend(session, sql, bridge, &batch.amended));
    released.and(amended)
}

async fn release(session: &Session, sql: &Sql, bridge: &str, ids: &[i64]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let delete = format!(
        "WITH gone AS (DELETE FROM {} WHERE id OPERATOR(pg_catalog.=) ANY ($1) AND bridge OPERATOR(pg_catalog.=) $2 \
         RETURNING 1) {}",
        sql.dead_letters,
        all_of("gone", "$3")
    );
    let bridge = session.bridge(bridge);
    let count = number(ids.len());
    let parameters = [(&ids as &(dyn ToSql + Sync), Type::INT8_ARRAY), (&bridge, Type::TEXT), (&count, Type::INT8)];
    session.client().query_typed(&delete, &parameters).await.map(drop)
}

async fn amend(session: &Session, sql: &Sql, bridge: &str, amended: &[Amendment]) -> Result<(), Error> {
    if amended.is_empty() {
        return Ok(());
    }
    let update = format!(
        "WITH amended AS (UPDATE {} AS letter SET attempts = letter.attempts OPERATOR(pg_catalog.+) 1, \
         reason = again.reason, error = again.error \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS again (id, reason, error) \
         WHERE letter.id OPERATOR(pg_catalog.=) again.id AND letter.bridge OPERATOR(pg_catalog.=) $4 RETURNING 1) {}",
        sql.dead_letters,
        all_of("amended", "$5")
    );
    let bridge = session.bridge(bridge);
    let repertoire = session.server().repertoire;
    let ids: Vec<i64> = amended.iter().map(|letter| letter.id).collect();
    let reasons: Vec<&str> = amended.iter().map(|letter| letter.reason).collect();
    let errors: Vec<Cow<'_, str>> = amended.iter().map(|letter| repertoire.storable(&letter.error)).collect();
    let count = number(ids.len());
    let parameters = [
        (&ids as &(dyn ToSql + Sync), Type::INT8_ARRAY),
        (&reasons, Type::TEXT_ARRAY),
        (&errors, Type::TEXT_ARRAY),
        (&bridge, Type::TEXT),
        (&count, Type::INT8),
    ];
    session.client().query_typed(&update, &parameters).await.map(drop)
}

/// Fails unless so many rows are in a part of the statement.
fn all_of(part: &str, count: &str) -> String {
    format!(
        "SELECT 1 OPERATOR(pg_catalog./) (CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) {count} THEN 1 ELSE 0 END) \
         FROM {part}"
    )
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What a failed [`settle`] means.
pub(super) fn moved_or_failed(session: &Session, error: &Error) -> SinkError {
    if error.code().is_some_and(|code| code.code() == DIVISION_BY_ZERO) {
        let message = format!("{RELEASING} ({}): one of them is not there any more", session.at());
        let advice = "another Rowbridge with this bridge name may be running, or an earlier commit was applied after all; \
                      the offset and the letters are read again";
        return own(Class::OffsetMoved, "letters", message, advice);
    }
    super::offsets::ours(session.explain(error, RELEASING))
}
