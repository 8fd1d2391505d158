//! The dead-letter table: written within the batch's transaction, purged in small steps.

use std::time::Instant;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::encode;
use super::session::Session;
use super::transaction::{Sql, around};
use crate::clock::Timestamp;
use crate::sink::{DeadLetter, PURGE_TIME_MAX, SinkError};

/// Letters per INSERT and their payload bytes: the statement is held in memory three times, here, in the driver's buffer
/// and in the server. A single larger payload goes alone.
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
    rules: Vec<Option<&'a str>>,
    seqs: Vec<i64>,
    received_at: Vec<Timestamptz>,
    topics: Vec<String>,
    qos: Vec<i16>,
    retain: Vec<bool>,
    properties: Vec<Option<String>>,
    payloads: Vec<&'a [u8]>,
    reasons: Vec<&'a str>,
    errors: Vec<String>,
    attempts: Vec<i32>,
    created_at: Vec<Timestamptz>,
}

/// Inserts `letters` within the transaction that `client` is in. All statements are sent before the first answer.
pub(super) async fn insert(client: &Client, sql: &Sql, bridge: &str, letters: &[DeadLetter]) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO {} (bridge, rule, seq, received_at, topic, qos, retain, properties, payload, reason, error, \
         attempts, created_at) SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], \
         $5::text[], $6::smallint[], $7::boolean[], $8::jsonb[], $9::bytea[], $10::text[], $11::text[], $12::int[], \
         $13::timestamptz[])",
        sql.dead_letters
    );
    let inserts = chunks(letters).map(|chunk| insert_chunk(client, &statement, bridge, chunk));
    // join_all and not try_join_all: every answer is awaited, and the first error is the cause of the others.
    futures_util::future::join_all(inserts).await.into_iter().collect()
}

async fn insert_chunk(client: &Client, statement: &str, bridge: &str, letters: &[DeadLetter]) -> Result<(), Error> {
    let mut columns = Columns::default();
    for letter in letters {
        columns.rules.push(letter.rule.as_deref());
        columns.seqs.push(i64::try_from(letter.seq.0).unwrap_or(i64::MAX));
        columns.received_at.push(letter.received_at.into());
        columns.topics.push(without_nul(&letter.topic));
        columns.qos.push(i16::from(letter.qos));
        columns.retain.push(letter.retain);
        columns.properties.push(letter.properties.as_deref().map(storable_json));
        columns.payloads.push(&letter.payload);
        columns.reasons.push(letter.reason);
        columns.errors.push(without_nul(&letter.error));
        columns.attempts.push(i32::try_from(letter.attempts).unwrap_or(i32::MAX));
        columns.created_at.push(letter.created_at.into());
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 13] = [
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
    ];
    client.execute_typed(statement, &parameters).await.map(drop)
}

/// `letters` in runs within the limits of one INSERT.
fn chunks(mut letters: &[DeadLetter]) -> impl Iterator<Item = &[DeadLetter]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let count = letters
            .iter()
            .take(LETTERS_PER_INSERT)
            .take_while(|letter| {
                let fits = bytes == 0 || bytes + letter.payload.len() <= BYTES_PER_INSERT;
                bytes += letter.payload.len().max(1);
                fits
            })
            .count();
        let (chunk, rest) = letters.split_at(count);
        letters = rest;
        (count > 0).then_some(chunk)
    })
}

/// Postgres' text holds no NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// JSON that jsonb takes: `\u0000` replaced; what is no JSON at all becomes a JSON string.
fn storable_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    let mut rest = json;
    // An escape begins at a backslash that is not itself escaped.
    while let Some(at) = rest.find('\\') {
        let escape_len = 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        clean.push_str(&rest[..at]);
        if rest[at..].starts_with("\\u0000") {
            clean.push_str("\\ufffd");
            rest = &rest[at + 6..];
        } else {
            clean.push_str(&rest[at..at + escape_len]);
            rest = &rest[at + escape_len..];
        }
    }
    clean.push_str(rest);
    match serde_json::from_str::<serde::de::IgnoredAny>(&clean) {
        Ok(_) => clean,
        Err(_) => serde_json::Value::String(without_nul(json)).to_string(),
    }
}

/// Deletes this bridge's letters from before `before`, a bounded number at a time, each in a transaction of its own, as far as
/// [`PURGE_TIME_MAX`] allows.
pub(super) async fn purge(session: &Session, sql: &Sql, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
    let delete = format!(
        "DELETE FROM {0} WHERE id IN (SELECT id FROM {0} WHERE bridge = $1 AND created_at < $2 ORDER BY created_at \
         LIMIT $3)",
        sql.dead_letters
    );
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
    fn an_escaped_backslash_before_u0000_is_no_nul() {
        assert_eq!(storable_json(r#"{"a":"\u0000"}"#), r#"{"a":"\ufffd"}"#);
        assert_eq!(storable_json(r#"{"a":"\\u0000"}"#), r#"{"a":"\\u0000"}"#);
        assert_eq!(storable_json("no json"), r#""no json""#);
    }

    proptest! {
        #[test]
        fn whatever_the_properties_are_they_end_as_json_without_nul(text in r#"[\\u0{}":a,é]{0,30}|.{0,20}"#) {
            let json: serde_json::Value = serde_json::from_str(&storable_json(&text)).unwrap();
            prop_assert!(!json.to_string().contains("\\u0000") || text.contains("\\\\u0000"));
        }

        #[test]
        fn every_letter_is_in_one_portion(sizes in prop::collection::vec(0usize..3, 0..50)) {
            let letters: Vec<_> = sizes.iter().map(|size| letter(size * BYTES_PER_INSERT / 2)).collect();
            prop_assert_eq!(chunks(&letters).map(<[DeadLetter]>::len).sum::<usize>(), letters.len());
        }
    }
}
