//! One batch, one transaction: all of it or nothing, and never twice.

use rowbridge::clock::Timestamp;
use rowbridge::journal_id::JournalId;
use rowbridge::message::Seq;
use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Sink as _};

use super::{BRIDGE, JOURNAL, Place, add_table, add_unit, batch, batch_of, dead_letter, describe, fill_only};

#[tokio::test]
async fn rows_dead_letters_and_offset_commit_together() {
    let place = Place::new();
    place.sql("CREATE TABLE a (v int); CREATE TABLE b (v text)");
    let mut sink = place.started().await;
    let (a, b) = (describe(&mut sink, "a").await, describe(&mut sink, "b").await);
    let mut batch = batch(1, 10);
    let (to_a, to_b) = (add_table(&mut batch, &a), add_table(&mut batch, &b));
    add_unit(&mut batch, to_a, &[&[Cell::Int(1)], &[Cell::Int(2)]]);
    add_unit(&mut batch, to_b, &[&[Cell::Text("x")]]);
    add_unit(&mut batch, to_a, &[&[Cell::Int(3)]]);
    add_unit(&mut batch, to_a, &[]);
    add_unit(&mut batch, to_a, &[&[Cell::Int(4)]]);
    batch.excluded = vec![2];
    batch.dead_letters = vec![dead_letter(3), dead_letter(8)];
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("a"), (10, 3));
    assert_eq!(place.sql("SELECT string_agg(v::text, ',' ORDER BY v) FROM a"), "1,2,4");
    assert_eq!(place.sql("SELECT * FROM b"), "x");
    let letter = place.sql(
        "SET timezone = 'UTC'; SELECT bridge, rule, received_at, topic, qos, retain, properties->'user'->>'k', payload, \
         reason, error, attempts FROM rowbridge_dead_letters WHERE seq = 8",
    );
    let expected = "gw1|telemetry|2026-11-18 11:06:40.123456+00|\\u{}a/\\u{0}b|1|t|\\u{}\\u{0}v|\\x00ff07|value|column temp: a \
                    text does not fit|2";
    assert_eq!(letter, expected);
    let stored = sink.offsets(BRIDGE).await.unwrap();
    assert_eq!((stored.len(), stored[0].journal, stored[0].next_seq), (1, JOURNAL, Seq(10)));
    assert!(stored[0].updated_at > Timestamp(1_700_000_000_000_000));
    assert_eq!(sink.offsets("other").await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_without_rows_moves_the_offset_and_keeps_its_dead_letters() {
    let place = Place::new();
    let mut sink = place.started().await;
    let mut batch = batch(1, 6);
    batch.dead_letters = (1..=5).map(dead_letter).collect();
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("rowbridge_dead_letters"), (6, 5));
}

/// The name stands in the text of statements.
#[tokio::test]
async fn the_offset_of_a_bridge_with_quotes_and_backslashes_moves_whatever_the_role_makes_of_them() {
    for conforming in ["on", "off"] {
        let place = Place::new();
        place.sql(&format!(
            "CREATE TABLE t (v int); ALTER DATABASE {} SET standard_conforming_strings = {conforming}",
            place.database
        ));
        let mut sink = place.started().await;
        let table = describe(&mut sink, "t").await;
        for bridge in [r"a'b", r"a\'b", r"\", r"a'); DROP TABLE t; --", r"a\'); DROP TABLE t; --"] {
            sink.start_offset(bridge, JOURNAL, Seq(1)).await.unwrap();
            let mut batch = batch_of(1, &table, &[1, 2]);
            batch.offset.bridge = bridge.into();
            sink.write(&batch).await.unwrap();
            assert_eq!(sink.offsets(bridge).await.unwrap()[0].next_seq, batch.offset.to, "{bridge}");
            assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::OffsetMoved, "{bridge}");
        }
        assert_eq!(place.sql("SELECT count(*) FROM t"), "10");
    }
}

#[tokio::test]
async fn an_offset_that_moved_leaves_nothing_behind_and_the_sink_usable() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    let mut with_rows = batch_of(2, &table, &[1, 2]);
    with_rows.dead_letters.push(dead_letter(2));
    let mut without_rows = batch(7, 9);
    without_rows.dead_letters.push(dead_letter(7));
    for batch in [with_rows, without_rows] {
        let error = sink.write(&batch).await.unwrap_err();
        assert_eq!(error.class, Class::OffsetMoved, "{error}");
        assert_eq!(sink.refused_units(&batch).await.unwrap_err().class, Class::OffsetMoved);
    }
    let mut of_another_journal = batch_of(1, &table, &[1]);
    of_another_journal.offset.journal = JournalId([7; 16]);
    assert_eq!(sink.write(&of_another_journal).await.unwrap_err().class, Class::OffsetMoved);
    assert_eq!(place.state("t"), (1, 0));
    assert_eq!(place.sql("SELECT count(*) FROM rowbridge_dead_letters"), "0");
    sink.write(&batch_of(1, &table, &[1, 2])).await.unwrap();
    assert_eq!(place.state("t"), (3, 2));
}

#[tokio::test]
async fn two_instances_of_one_bridge_never_both_write_a_range() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int PRIMARY KEY)");
    let (mut one, mut two) = (place.started().await, place.started().await);
    let table = describe(&mut one, "t").await;
    let batch = batch_of(1, &table, &[1, 2, 3]);
    let (first, second) = tokio::join!(one.write(&batch), two.write(&batch));
    let moved = [first, second].into_iter().filter_map(Result::err).map(|error| error.class).collect::<Vec<_>>();
    assert_eq!(moved, [Class::OffsetMoved]);
    assert_eq!(place.state("t"), (4, 3));
}

#[tokio::test]
async fn starting_an_offset_leaves_an_existing_one_alone() {
    let place = Place::new();
    let mut sink = place.started().await;
    sink.start_offset(BRIDGE, JOURNAL, Seq(99)).await.unwrap();
    sink.start_offset(BRIDGE, JournalId([9; 16]), Seq(5)).await.unwrap();
    let mut seqs: Vec<_> = sink.offsets(BRIDGE).await.unwrap().iter().map(|offset| offset.next_seq).collect();
    seqs.sort();
    assert_eq!(seqs, [Seq(1), Seq(5)]);
}

#[tokio::test]
async fn a_write_that_is_dropped_half_way_leaves_nothing_behind_and_needs_a_new_connection() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    let batch = batch_of(1, &table, &[1, 2]);
    // The first poll sends BEGIN and the compare-and-swap.
    {
        let mut write = std::pin::pin!(sink.write(&batch));
        assert!(futures_util::poll!(&mut write).is_pending());
    }
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::Transient);
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].next_seq, Seq(1));
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (3, 2));
}

#[tokio::test]
async fn a_transaction_is_synchronous_even_if_the_role_is_not() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE t (v int, mode text DEFAULT current_setting('synchronous_commit'),
                         isolation text DEFAULT current_setting('transaction_isolation'))",
    );
    for (setting, expected) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        place.sql(&format!("ALTER DATABASE {} SET synchronous_commit = {setting}", place.database));
        place.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = serializable", place.database));
        place.sql("DELETE FROM t");
        let mut sink = place.started().await;
        let table = describe(&mut sink, "t").await;
        let from = sink.offsets(BRIDGE).await.unwrap()[0].next_seq.0;
        let mut batch = batch(from, from + 1);
        let target = add_table(&mut batch, &table);
        fill_only(&mut batch, target, &[0]);
        add_unit(&mut batch, target, &[&[Cell::Int(1)]]);
        sink.write(&batch).await.unwrap();
        assert_eq!(place.sql("SELECT mode, isolation FROM t"), format!("{expected}|read committed"));
    }
}

#[tokio::test]
async fn a_large_batch_arrives_whole() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int, body bytea)");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    let mut batch = batch(1, 2_001);
    let target = add_table(&mut batch, &table);
    let body = vec![7u8; 6_000];
    (0..2_000).for_each(|value| add_unit(&mut batch, target, &[&[Cell::Int(value), Cell::Bytes(&body)]]));
    batch.excluded = (0..2_000).filter(|unit| unit % 3 == 0).collect();
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (2_001, 1_333));
    assert_eq!(place.sql("SELECT count(*) FROM t WHERE v % 3 = 0 OR length(body) <> 6000"), "0");
}

/// Letters of two bridges, one for each second of 2026 up to `count`.
fn add_letters(place: &Place, count: u32) {
    place.sql(&format!(
        "INSERT INTO rowbridge_dead_letters (bridge, seq, received_at, topic, qos, retain, payload, reason, error, created_at)
         SELECT b, n, now(), '', 0, false, '', '', '', timestamptz '2026-01-01 00:00Z' + n * interval '1 s'
         FROM generate_series(1, {count}) n, unnest(ARRAY['gw1', 'gw2']) b",
    ));
}

/// 2026-01-01T00:40:00Z
const BEFORE: Timestamp = Timestamp(1_767_225_600_000_000 + 2_400_000_000);

#[tokio::test]
async fn the_purge_takes_old_letters_of_this_bridge_only() {
    let place = Place::new();
    let mut sink = place.started().await;
    add_letters(&place, 2_500);
    let mut purged = 0;
    // On a slow machine one call's time may not be enough.
    while purged < 2_399 {
        purged += sink.purge_dead_letters(BRIDGE, BEFORE).await.unwrap();
    }
    assert_eq!(purged, 2_399);
    let left = place.sql("SELECT bridge, count(*) FROM rowbridge_dead_letters GROUP BY 1 ORDER BY 1");
    assert_eq!(left, "gw1|101\ngw2|2500");
    assert_eq!(sink.purge_dead_letters(BRIDGE, BEFORE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_slow_purge_lets_delivery_go_on_and_continues_the_next_time() {
    let place = Place::new();
    let mut sink = place.started().await;
    add_letters(&place, 2_500);
    place.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.1); RETURN NULL; END';
         CREATE TRIGGER slow BEFORE DELETE ON rowbridge_dead_letters FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    );
    assert_eq!(sink.purge_dead_letters(BRIDGE, BEFORE).await.unwrap(), 1_000);
    assert_eq!(sink.purge_dead_letters(BRIDGE, BEFORE).await.unwrap(), 1_000);
    assert_eq!(sink.purge_dead_letters(BRIDGE, BEFORE).await.unwrap(), 399);
}
