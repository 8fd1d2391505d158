//! Databases whose encoding is not UTF8: no message's characters hold up the others.

use rowbridge::batch::{Batch, DeadLetter, OffsetMove};
use rowbridge::schema::Cell;
use rowbridge::sink::{Class, DeadLetterFilter, DeadLetterStore as _, PostgresSink, Sink as _};

use super::{BRIDGE, JOURNAL, Place, add_table, add_unit, batch, dead_letter, describe};
use crate::support::postgres::Postgres;

const TOPIC: &str = r"lat/Škoda\🌡";

/// A database of that encoding on the shared server.
fn place(encoding: &str) -> Place {
    let server = Postgres::shared();
    let database = format!("{}_{}", server.create_database(), encoding.to_lowercase());
    server.psql(
        "postgres",
        &format!("CREATE DATABASE {database} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
    );
    Place { server, database }
}

impl Place {
    /// Letters' columns as they are stored, in UTF-8.
    fn stored(&self, columns: &str) -> String {
        let encoding = if self.sql("SHOW server_encoding") == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        self.sql(&format!(
            "SET client_encoding = '{encoding}'; SELECT {columns} FROM rowbridge_dead_letters ORDER BY id"
        ))
    }
}

fn letter(seq: u64) -> DeadLetter {
    DeadLetter {
        rule: Some("Škoda".into()),
        topic: TOPIC.into(),
        properties: Some(r#"{"user":[["ключ","v🌡\u0001"],["plain","x\\u0000"]]}"#.into()),
        payload: TOPIC.as_bytes().to_vec(),
        error: "column `größe`: … does not fit".into(),
        ..dead_letter(seq)
    }
}

async fn listed(sink: &mut PostgresSink, rule: &str) -> Vec<rowbridge::sink::StoredDeadLetter> {
    let filter = DeadLetterFilter { bridge: BRIDGE.into(), rule: Some(rule.into()), ..DeadLetterFilter::default() };
    let found = sink.dead_letters(&filter, 10).await.unwrap();
    let counted = sink.dead_letters_by_rule(&filter).await.unwrap();
    assert_eq!(counted, [(rule.to_owned(), found.len() as u64)]);
    found
}

#[tokio::test]
async fn a_dead_letter_goes_into_every_encoding_and_is_read_back_as_it_was() {
    for encoding in ["UTF8", "LATIN1", "SQL_ASCII", "EUC_JP", "WIN1250", "KOI8R"] {
        let place = place(encoding);
        let mut sink = place.started().await;
        let mut batch = batch(1, 3);
        batch.dead_letters = vec![letter(1), letter(2)];
        sink.write(&batch).await.unwrap_or_else(|error| panic!("{encoding}: {error}"));
        let letters = listed(&mut sink, "Škoda").await;
        assert_eq!(letters.len(), 2, "{encoding}");
        let (found, sent) = (&letters[1], letter(1));
        assert_eq!(
            (found.topic.as_str(), &found.payload, &found.error),
            (TOPIC, &sent.payload, &sent.error),
            "{encoding}"
        );
        assert_eq!(found.rule.as_deref(), sent.rule.as_deref());
        let json = |text: Option<&str>| serde_json::from_str::<serde_json::Value>(text.unwrap()).unwrap();
        assert_eq!(json(found.properties.as_deref()), json(sent.properties.as_deref()), "{encoding}");
    }
}

#[tokio::test]
async fn what_an_encoding_lacks_is_escaped_in_ascii_and_the_rest_stays_legible() {
    let columns = "rule, topic, properties->'user'->0, error";
    let escaped = |place: &Place| place.stored(columns).lines().next().unwrap().to_owned();
    for (encoding, expected) in [
        ("UTF8", "Škoda|lat/Škoda\\🌡|[\"ключ\", \"v🌡\\u0001\"]|column `größe`: … does not fit"),
        (
            "LATIN1",
            "\\u{}\\u{160}koda|\\u{}lat/\\u{160}koda\\\\\\u{1f321}|\
             [\"\\\\u{}\\\\u{43a}\\\\u{43b}\\\\u{44e}\\\\u{447}\", \"\\\\u{}v\\\\u{1f321}\\u0001\"]|\
             \\u{}column `größe`: \\u{2026} does not fit",
        ),
        (
            "SQL_ASCII",
            "\\u{}\\u{160}koda|\\u{}lat/\\u{160}koda\\\\\\u{1f321}|\
             [\"\\\\u{}\\\\u{43a}\\\\u{43b}\\\\u{44e}\\\\u{447}\", \"\\\\u{}v\\\\u{1f321}\\u0001\"]|\
             \\u{}column `gr\\u{f6}\\u{df}e`: \\u{2026} does not fit",
        ),
    ] {
        let place = place(encoding);
        let mut sink = place.started().await;
        let mut batch = batch(1, 2);
        batch.dead_letters = vec![letter(1)];
        sink.write(&batch).await.unwrap();
        assert_eq!(escaped(&place), expected, "{encoding}");
    }
}

/// A name that the database holds is a key that may stand there already; one that it lacks is escaped.
#[tokio::test]
async fn a_bridge_of_any_name_has_its_offset_in_every_encoding() {
    for (encoding, name, stored) in [
        ("LATIN1", "gw-é", "gw-é"),
        ("LATIN1", "gw-Š", r"\u{}gw-\u{160}"),
        ("EUC_JP", "橋", "橋"),
        ("EUC_JP", "gw-🌡", r"\u{}gw-\u{1f321}"),
        ("WIN1250", "gw-Š", "gw-Š"),
    ] {
        let place = place(encoding);
        let mut sink = place.sink();
        for round in 0..2u64 {
            sink.connect().await.unwrap();
            sink.start_offset(name, JOURNAL, rowbridge::message::Seq(1)).await.unwrap();
            assert_eq!(sink.offsets(name).await.unwrap().len(), 1, "{encoding} {name}");
            let from = sink.offsets(name).await.unwrap()[0].next_seq.0;
            assert_eq!(from, 1 + round);
            let offset = OffsetMove { bridge: name.into(), ..batch(from, from + 1).offset };
            let mut batch = Batch::new(offset);
            batch.dead_letters.push(letter(from));
            sink.write(&batch).await.unwrap_or_else(|error| panic!("{encoding} {name}: {error}"));
        }
        let sql = "SET client_encoding = 'UTF8'; SELECT bridge, next_seq FROM rowbridge_offsets";
        assert_eq!(place.sql(sql), format!("{stored}|3"), "{encoding}");
        let filter = DeadLetterFilter { bridge: name.into(), ..DeadLetterFilter::default() };
        assert_eq!(sink.dead_letters(&filter, 10).await.unwrap().len(), 2, "{encoding} {name}");
        assert_eq!(sink.dead_letter_extent(&filter).await.unwrap().letters, 2, "{encoding} {name}");
        assert_eq!(sink.delete_dead_letters(&filter, 10).await.unwrap(), 2, "{encoding} {name}");
    }
}

#[tokio::test]
async fn a_row_with_a_character_that_the_encoding_lacks_is_refused_by_itself() {
    let place = place("LATIN1");
    place.sql("CREATE TABLE t (v text); CREATE TABLE base (v text); CREATE VIEW w AS SELECT v FROM base");
    let mut sink = place.started().await;
    for table in ["t", "w"] {
        let table = describe(&mut sink, table).await;
        let mut batch = batch(1, 4);
        let target = add_table(&mut batch, &table);
        for text in ["é", "🌡", "plain"] {
            add_unit(&mut batch, target, &[&[Cell::Text(text)]]);
        }
        let error = sink.write(&batch).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (Class::Row, "22P05"), "{error}");
        let refused = sink.refused_units(&batch).await.unwrap().units;
        assert_eq!(refused.iter().map(|refusal| (refusal.unit, refusal.reason)).collect::<Vec<_>>(), [(1, "value")]);
    }
}

/// 256 MiB is the most that MQTT carries, 65,535 bytes the longest topic.
#[tokio::test]
async fn a_dead_letter_of_the_largest_message_goes_in() {
    let place = Place::new();
    let mut sink = place.started().await;
    let pairs = vec![["k".repeat(1_000), "\u{1}é\"\\".repeat(500)]; 1_000];
    let mut batch = batch(1, 3);
    batch.dead_letters = vec![
        DeadLetter { payload: vec![0xfe; (256 << 20) - 1], ..dead_letter(1) },
        DeadLetter {
            topic: "é".repeat(32_767),
            properties: Some(serde_json::json!({ "user": pairs }).to_string()),
            ..dead_letter(2)
        },
    ];
    sink.write(&batch).await.unwrap();
    let found = place.sql(
        "SELECT length(payload), octet_length(topic), length(properties::text) > 3000000 \
         FROM rowbridge_dead_letters ORDER BY id",
    );
    assert_eq!(found, "268435455|12|f\n3|65534|t");
}

/// A COPY that is refused before the other begins costs the session.
#[tokio::test]
async fn a_session_that_is_replaced_within_a_batch_knows_how_the_bridge_s_name_is_stored() {
    let place = place("WIN1250");
    place.sql("CREATE TABLE a (v text UNIQUE); CREATE TABLE b (v text); INSERT INTO a VALUES ('twice')");
    let mut sink = place.sink();
    sink.connect().await.unwrap();
    sink.start_offset("gw-Š", JOURNAL, rowbridge::message::Seq(1)).await.unwrap();
    let mut batch = Batch::new(OffsetMove { bridge: "gw-Š".into(), ..batch(1, 4).offset });
    for (table, text) in [("a", "twice"), ("b", "x"), ("a", "once")] {
        let table = describe(&mut sink, table).await;
        let target = add_table(&mut batch, &table);
        add_unit(&mut batch, target, &[&[Cell::Text(text)]]);
    }
    let error = sink.write(&batch).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Row, "23505"), "{error}");
    let refused = sink.refused_units(&batch).await.unwrap().units;
    assert_eq!(refused.iter().map(|refusal| refusal.unit).collect::<Vec<_>>(), [0]);
    batch.excluded = vec![0];
    sink.write(&batch).await.unwrap();
    assert_eq!(place.sql("SELECT count(*) FROM b"), "1");
}
