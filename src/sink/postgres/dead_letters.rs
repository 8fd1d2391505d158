//! The dead-letter table: written within the batch's transaction, purged in small steps.

use std::borrow::Cow;
use std::time::Instant;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

use super::encode;
use super::server::Repertoire;
use super::session::Session;
use super::transaction::{Sql, around, pipelined};
use crate::batch::DeadLetter;
use crate::clock::Timestamp;
use crate::sink::{PURGE_TIME_MAX, SinkError};

/// Letters per INSERT and their bytes: the statement is held in memory three times, here, in the driver's buffer
/// and in the server. A single larger letter goes alone.
const LETTERS_PER_INSERT: usize = 1_000;
const BYTES_PER_INSERT: usize = 8 << 20;

/// Rows per DELETE of the purge: short enough not to hold up the next batch.
const ROWS_PER_PURGE: i64 = 1_000;

/// Postgres' timestamps end here (in microseconds since 2000); a clock that was wrong must not keep a letter out.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_MAX: i64 = 9_223_371_331_199_999_999;

/// A timestamptz parameter.
#[derive(Debug)]
struct Timestamptz(i64);

impl From<Timestamp> for Timestamptz {
    fn from(time: Timestamp) -> Timestamptz {
        let micros = encode::timestamp(time.as_micros()).unwrap_or(i64::MIN);
        Timestamptz(micros.clamp(TIMESTAMP_MIN, TIMESTAMP_MAX))
    }
}

impl ToSql for Timestamptz {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// The table's columns, side by side as arrays for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    rules: Vec<Option<Cow<'a, str>>>,
    seqs: Vec<i64>,
    received_at: Vec<Timestamptz>,
    topics: Vec<Cow<'a, str>>,
    qos: Vec<i16>,
    retain: Vec<bool>,
    properties: Vec<Option<Cow<'a, str>>>,
    payloads: Vec<&'a [u8]>,
    reasons: Vec<&'a str>,
    errors: Vec<Cow<'a, str>>,
    attempts: Vec<i32>,
    created_at: Vec<Timestamptz>,
    envelopes: Vec<Option<&'a [u8]>>,
}

/// Inserts `letters` within the transaction that `client` is in. All statements are sent before the first answer.
pub(super) async fn insert(session: &Session, sql: &Sql, bridge: &str, letters: &[DeadLetter]) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO {} (bridge, rule, seq, received_at, topic, qos, retain, properties, payload, reason, error, \
         attempts, created_at, envelope) SELECT $1, * FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), \
         pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), \
         pg_catalog.unnest($8::pg_catalog.jsonb[]), pg_catalog.unnest($9), pg_catalog.unnest($10), \
         pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14))",
        sql.dead_letters
    );
    let bridge = session.bridge(bridge);
    let inserts = chunks(letters).map(|chunk| insert_chunk(session, &statement, &bridge, chunk));
    // Every answer is awaited, and the first error is the cause of the others.
    pipelined(inserts).await.into_iter().collect()
}

async fn insert_chunk(session: &Session, statement: &str, bridge: &str, letters: &[DeadLetter]) -> Result<(), Error> {
    let repertoire = session.server().repertoire;
    let mut columns = Columns::default();
    for letter in letters {
        columns.rules.push(letter.rule.as_deref().map(|rule| repertoire.storable(rule)));
        columns.seqs.push(i64::try_from(letter.seq.0).unwrap_or(i64::MAX));
        columns.received_at.push(letter.received_at.into());
        columns.topics.push(repertoire.storable(&letter.topic));
        columns.qos.push(i16::from(letter.qos));
        columns.retain.push(letter.retain);
        columns.properties.push(letter.properties.as_deref().map(|json| storable_json(json, repertoire)));
        columns.payloads.push(&letter.payload);
        columns.reasons.push(letter.reason);
        columns.errors.push(repertoire.storable(&letter.error));
        columns.attempts.push(i32::try_from(letter.attempts).unwrap_or(i32::MAX));
        columns.created_at.push(letter.created_at.into());
        columns.envelopes.push(letter.envelope.as_deref());
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 14] = [
        (&bridge, Type::TEXT),
        (&columns.rules, Type::TEXT_ARRAY),
        (&columns.seqs, Type::INT8_ARRAY),
        (&columns.received_at, Type::TIMESTAMPTZ_ARRAY),
        (&columns.topics, Type::TEXT_ARRAY),
        (&columns.qos, Type::INT2_ARRAY),
        (&columns.retain, Type::BOOL_ARRAY),
        // As text, cast by the server: the driver knows JSON only with another dependency.
        (&columns.properties, Type::TEXT_ARRAY),
        (&columns.payloads, Type::BYTEA_ARRAY),
        (&columns.reasons, Type::TEXT_ARRAY),
        (&columns.errors, Type::TEXT_ARRAY),
        (&columns.attempts, Type::INT4_ARRAY),
        (&columns.created_at, Type::TIMESTAMPTZ_ARRAY),
        (&columns.envelopes, Type::BYTEA_ARRAY),
    ];
    session.client().execute_typed(statement, &parameters).await.map(drop)
}

/// Of all that is long.
fn byte_count(letter: &DeadLetter) -> usize {
    let DeadLetter { topic, properties, payload, error, envelope, .. } = letter;
    let optional = properties.as_ref().map_or(0, String::len) + envelope.as_ref().map_or(0, Vec::len);
    topic.len() + payload.len() + error.len() + optional
}

/// `letters` in runs within the limits of one INSERT.
fn chunks(mut letters: &[DeadLetter]) -> impl Iterator<Item = &[DeadLetter]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = letters
            .iter()
            .take(LETTERS_PER_INSERT)
            .take_while(|letter| {
                let more = byte_count(letter);
                let fits = bytes == 0 || bytes + more <= BYTES_PER_INSERT;
                bytes += more.max(1);
                fits
            })
            .count();
        let (chunk, rest) = letters.split_at(count);
        letters = rest;
        (count > 0).then_some(chunk)
    })
}

/// JSON that jsonb takes: each of its strings is storable text of its own. What is no JSON becomes a JSON string.
fn storable_json(json: &str, repertoire: Repertoire) -> Cow<'_, str> {
    // An escape may stand for any character, NUL among them, and a string may begin with the mark.
    if json.is_ascii() && !json.contains('\\') && serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok() {
        return Cow::Borrowed(json);
    }
    let mut value = serde_json::from_str(json).unwrap_or_else(|_| Value::from(json));
    rewrite_strings(&mut value, &|text| repertoire.storable(text).into_owned());
    Cow::Owned(value.to_string())
}

/// Applies `rewrite` to every string and key.
pub(super) fn rewrite_strings(value: &mut Value, rewrite: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = rewrite(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite_strings(item, rewrite)),
        Value::Object(fields) => {
            for (key, mut field) in std::mem::take(fields) {
                rewrite_strings(&mut field, rewrite);
                fields.insert(rewrite(&key), field);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Deletes this bridge's letters from before `before`, those of parked messages excepted, a bounded number at a time, each in a transaction of its own, as far as
/// [`PURGE_TIME_MAX`] allows.
pub(super) async fn purge(session: &Session, sql: &Sql, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
    let delete = format!(
        "DELETE FROM {0} WHERE id OPERATOR(pg_catalog.=) ANY (SELECT id FROM {0} WHERE bridge OPERATOR(pg_catalog.=) $1 \
         AND created_at OPERATOR(pg_catalog.<) $2 AND reason OPERATOR(pg_catalog.<>) 'table' ORDER BY created_at LIMIT $3)",
        sql.dead_letters
    );
    session.settle_bridge(bridge).await?;
    let bridge = session.bridge(bridge);
    let before = Timestamptz::from(before);
    let client = session.client();
    let begun = Instant::now();
    let mut purged = 0;
    loop {
        let parameters =
            [(&bridge as &(dyn ToSql + Sync), Type::TEXT), (&before, Type::TIMESTAMPTZ), (&ROWS_PER_PURGE, Type::INT8)];
        let work = around(client, &sql.begin, client.execute_typed(&delete, &parameters));
        let deleted = session.wait(3, "purging old dead letters", work).await?;
        purged += deleted;
        if deleted < ROWS_PER_PURGE.unsigned_abs() || begun.elapsed() >= PURGE_TIME_MAX {
            return Ok(purged);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Seq;

    fn letter(payload_len: usize) -> DeadLetter {
        DeadLetter {
            rule: None,
            seq: Seq(1),
            received_at: Timestamp(0),
            topic: String::new(),
            qos: 0,
            retain: false,
            properties: None,
            payload: vec![0; payload_len],
            reason: "parse",
            error: String::new(),
            attempts: 1,
            created_at: Timestamp(0),
            envelope: None,
        }
    }

    #[test]
    fn letters_are_inserted_in_bounded_portions_and_a_huge_one_alone() {
        let letters: Vec<_> = [BYTES_PER_INSERT + 1, 5, BYTES_PER_INSERT, 1, 1].map(letter).into();
        let counts: Vec<_> = chunks(&letters).map(<[DeadLetter]>::len).collect();
        assert_eq!(counts, [1, 1, 1, 2]);
        assert_eq!(chunks(&vec![letter(0); 2_500]).map(<[DeadLetter]>::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    }

    #[test]
    fn strings_within_json_are_escaped_by_themselves() {
        let all = |json| storable_json(json, Repertoire::All).into_owned();
        assert_eq!(all(r#"{"a":"\u0000é"}"#), r#"{"a":"\\u{}\\u{0}é"}"#);
        assert_eq!(all(r#"{"a":"\\u0000"}"#), r#"{"a":"\\u0000"}"#);
        assert_eq!(storable_json(r#"{"é":["x","é"]}"#, Repertoire::Ascii), r#"{"\\u{}\\u{e9}":["x","\\u{}\\u{e9}"]}"#);
        assert_eq!(all("no json"), r#""no json""#);
    }

    proptest! {
        #[test]
        fn whatever_the_properties_are_they_end_as_json_that_the_database_holds(
            text in r#"[\\u0{}":a,é]{0,30}|.{0,20}|\{"k":"[\\u0é🌡]{0,9}"\}"#,
        ) {
            for repertoire in [Repertoire::All, Repertoire::Latin1, Repertoire::Ascii] {
                let stored = storable_json(&text, repertoire);
                let mut value: Value = serde_json::from_str(&stored).unwrap();
                prop_assert_eq!(repertoire.storable(&stored), &*stored);
                rewrite_strings(&mut value, &|text| {
                    assert!(!text.contains('\0'));
                    crate::sink::escape::decode(text).into_owned()
                });
                let given = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.as_str()));
                prop_assert_eq!(value, given);
            }
        }

        #[test]
        fn every_letter_is_in_one_portion(sizes in prop::collection::vec(0usize..3, 0..50)) {
            let letters: Vec<_> = sizes.iter().map(|size| letter(size * BYTES_PER_INSERT / 2)).collect();
            prop_assert_eq!(chunks(&letters).map(<[DeadLetter]>::len).sum::<usize>(), letters.len());
        }
    }
}
