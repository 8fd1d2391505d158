//! Binary COPY carries no types: whatever a table was when it was described, it must still be when its rows are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rowbridge::message::Seq;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, PostgresSink, Sink as _};
use tokio_postgres::{Client, NoTls};

use super::{BRIDGE, JOURNAL, Place, add_table, add_unit, batch, batch_of, database, describe, started};
use crate::sink_contract::series::Made;
use crate::support::pgbouncer::PgBouncer;

const UUID: [u8; 16] = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0];
const UUID_TEXT: &str = "123e4567-e89b-12d3-a456-426614174000";
/// 2026-11-21T08:26:00Z.
const INSTANT: i64 = 1_795_249_560_000_000;

/// A type, a value for it, and the value as text in the zone +05:30.
const TYPES: &[(&str, Cell<'_>, &str)] = &[
    ("bool", Cell::Bool(true), "true"),
    ("int2", Cell::Int(5), "5"),
    ("int4", Cell::Int(5), "5"),
    ("int8", Cell::Int(5), "5"),
    ("float4", Cell::Float(5.0), "5"),
    ("float8", Cell::Float(5.0), "5"),
    ("numeric", Cell::Decimal("5"), "5"),
    ("numeric(6,2)", Cell::Decimal("5"), "5.00"),
    ("positive", Cell::Int(5), "5"),
    ("text", Cell::Text("a"), "a"),
    ("varchar(5)", Cell::Text("a"), "a"),
    ("varchar(9)", Cell::Text("a"), "a"),
    ("char(2)", Cell::Text("a"), "a"),
    ("mood", Cell::Text("ok"), "ok"),
    ("other_mood", Cell::Text("ok"), "ok"),
    ("json", Cell::Text("[1]"), "[1]"),
    ("jsonb", Cell::Text("[1]"), "[1]"),
    ("bytea", Cell::Bytes(b"a"), "\\x61"),
    ("uuid", Cell::Uuid(UUID), UUID_TEXT),
    ("date", Cell::Date(20_778), "2026-11-21"),
    ("time", Cell::Time(30_360_000_000), "08:26:00"),
    ("timestamp", Cell::Timestamp(INSTANT), "2026-11-21 08:26:00"),
    ("timestamptz", Cell::Timestamp(INSTANT), "2026-11-21 13:56:00+05:30"),
    ("interval", Cell::Interval { months: 0, days: 0, micros: 60_000_000 }, "00:01:00"),
    ("inet", Cell::Text("10.1.2.3"), "10.1.2.3/32"),
    ("int4[]", Cell::Array(&[Cell::Int(1)]), "{1}"),
    ("int8[]", Cell::Array(&[Cell::Int(1)]), "{1}"),
    ("text[]", Cell::Array(&[Cell::Text("a")]), "{a}"),
];

async fn client(place: &Place) -> Client {
    let (client, connection) = tokio_postgres::connect(&place.server.url(&place.database), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn write_one(sink: &mut PostgresSink, table: &Arc<TableSchema>, from: u64, cell: Cell<'_>) -> Result<(), Class> {
    write_rows(sink, table, from, cell, 1).await
}

/// So many rows of one message.
async fn write_rows(
    sink: &mut PostgresSink,
    table: &Arc<TableSchema>,
    from: u64,
    cell: Cell<'_>,
    count: usize,
) -> Result<(), Class> {
    let mut batch = batch(from, from + 1);
    let target = add_table(&mut batch, table);
    add_unit(&mut batch, target, &vec![&[cell][..]; count]);
    let written = sink.write(&batch).await.map(drop).map_err(|error| error.class);
    if written.is_err_and(|class| class == Class::Table || class.may_be_a_row()) {
        return sink.verify(&[table]).await.map_err(|error| error.class);
    }
    written
}

/// So many rows go by INSERT, and by COPY.
const BY_EITHER_WAY: [usize; 2] = [1, 65];

/// Rows made for a type are never taken by another, and those made for the other one arrive.
#[tokio::test]
async fn for_every_ordered_pair_of_types_a_change_between_description_and_commit_is_noticed() {
    let place = Place::new();
    place.sql(
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE mood AS ENUM ('ok', 'bad');
         CREATE TYPE other_mood AS ENUM ('ok', 'bad'); CREATE TABLE t (v bool)",
    );
    let ddl = client(&place).await;
    ddl.batch_execute("SET timezone = 'Asia/Kolkata'").await.unwrap();
    let mut sink = place.started().await;
    let (mut at, mut from, mut pairs) = (0, 1, 0);
    let mut table = describe(&mut sink, "t").await;
    // From each type to every later one and back, then on to the next.
    let there_and_back = |one: usize| (one + 1..TYPES.len()).flat_map(move |other| [other, one]);
    let route = (0..TYPES.len()).flat_map(|one| there_and_back(one).chain((one + 1 < TYPES.len()).then_some(one + 1)));
    for next in route {
        let ((old, stale, _), (new, cell, text)) = (TYPES[at], TYPES[next]);
        ddl.batch_execute(&format!("TRUNCATE t; ALTER TABLE t ALTER v TYPE {new} USING NULL")).await.unwrap();
        for count in BY_EITHER_WAY {
            let written = write_rows(&mut sink, &table, from, stale, count).await;
            assert_eq!(written, Err(Class::TableChanged), "{old} to {new}, {count} rows");
        }
        table = describe(&mut sink, "t").await;
        let written = write_rows(&mut sink, &table, from, cell, BY_EITHER_WAY[pairs % 2]).await;
        written.unwrap_or_else(|class| panic!("{old} to {new}: {class:?}"));
        let stored = ddl.query("SELECT DISTINCT v::text FROM t", &[]).await.unwrap();
        let stored: Vec<String> = stored.iter().map(|row| row.get(0)).collect();
        assert_eq!(stored, [text], "{old} to {new}");
        (at, from, pairs) = (next, from + 1, pairs + 1);
    }
    assert_eq!(pairs, TYPES.len() * (TYPES.len() - 1) + TYPES.len() - 1);
}

#[tokio::test]
async fn whatever_coercion_and_encoding_rely_on_is_compared() {
    let place = Place::new();
    place.sql(
        "CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN level AS int; CREATE SCHEMA other;
         CREATE TABLE t (v int, m mood, l level NOT NULL, s varchar(5))",
    );
    let mut sink = place.started().await;
    let mut table = describe(&mut sink, "t").await;
    for change in [
        "ALTER TABLE t ALTER v TYPE float8",
        "ALTER TABLE t ALTER s TYPE varchar(9)",
        "ALTER TABLE t ALTER v SET NOT NULL",
        "ALTER TABLE t ALTER v DROP NOT NULL",
        "ALTER TABLE t ALTER v SET DEFAULT 7",
        "ALTER TABLE t ALTER v DROP DEFAULT",
        "ALTER TABLE t ADD COLUMN w text",
        "ALTER TABLE t DROP COLUMN w",
        "ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t RENAME COLUMN s TO v; ALTER TABLE t RENAME COLUMN w TO s",
        "ALTER TABLE t ADD COLUMN i int GENERATED BY DEFAULT AS IDENTITY",
        "ALTER TABLE t ALTER i SET GENERATED ALWAYS",
        "ALTER TABLE t ALTER i DROP IDENTITY",
        "ALTER TYPE mood ADD VALUE 'better'",
        "ALTER TYPE mood RENAME VALUE 'better' TO 'best'",
        "ALTER DOMAIN level SET NOT NULL",
        "ALTER DOMAIN level DROP NOT NULL",
        "ALTER DOMAIN level SET DEFAULT 3",
        "ALTER DOMAIN level DROP DEFAULT",
        "ALTER TABLE t SET UNLOGGED",
        "ALTER TABLE t SET LOGGED",
        "CREATE RULE elsewhere AS ON INSERT TO t DO INSTEAD NOTHING",
        "DROP RULE elsewhere ON t; VACUUM t",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE t RENAME TO u; CREATE TABLE t (LIKE u)",
        "DROP TABLE t; ALTER TABLE u RENAME TO t",
        "CREATE TABLE u (LIKE t); DROP TABLE t; CREATE VIEW t AS SELECT * FROM u",
        "DROP VIEW t; CREATE TABLE t (LIKE u) PARTITION BY RANGE (l)",
        "ALTER TABLE t SET SCHEMA other; CREATE TABLE t (LIKE u)",
        "ALTER SCHEMA public RENAME TO old; ALTER SCHEMA other RENAME TO public",
        "ALTER SCHEMA public RENAME TO other; ALTER SCHEMA old RENAME TO public",
        "DROP TABLE t",
    ] {
        // One by one, as ALTER TYPE … ADD VALUE and VACUUM want it.
        change.split("; ").for_each(|statement| drop(place.sql(statement)));
        let verified = sink.verify(&[&table]).await;
        assert_eq!(verified.map_err(|error| error.class), Err(Class::TableChanged), "{change}");
        if let Some(described) = sink.describe(&super::table("t")).await.unwrap() {
            table = Arc::new(described);
            sink.verify(&[&table]).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        }
    }
}

#[tokio::test]
async fn what_changes_nothing_for_the_rows_is_not_taken_for_a_change() {
    let place = Place::new();
    place.sql("CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (v int, m mood); CREATE ROLE reader_of_t");
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    for harmless in [
        "INSERT INTO t SELECT n FROM generate_series(1, 1000) n",
        "CREATE INDEX ON t (v)",
        "ANALYZE t",
        "VACUUM t",
        "VACUUM FULL t",
        "TRUNCATE t",
        "GRANT SELECT ON t TO reader_of_t",
        "GRANT SELECT (v) ON t TO reader_of_t",
        "COMMENT ON COLUMN t.v IS 'a value'",
        "ALTER TABLE t ALTER v SET STATISTICS 50",
        "ALTER TABLE t ADD CHECK (v > 0)",
        "CREATE TABLE another (v int)",
        "ALTER TABLE another ALTER v TYPE text",
    ] {
        place.sql(harmless);
        sink.verify(&[&table]).await.unwrap_or_else(|error| panic!("{harmless}: {error}"));
    }
    place.sql("DROP OWNED BY reader_of_t; DROP ROLE reader_of_t");
    sink.write(&{
        let mut batch = batch(1, 2);
        let target = add_table(&mut batch, &table);
        add_unit(&mut batch, target, &[&[Cell::Int(5), Cell::Text("ok")]]);
        batch
    })
    .await
    .unwrap();
}

/// A view takes its rows by INSERT; its description is compared at the end even if only an early batch of the series has any.
#[tokio::test]
async fn a_view_that_changed_is_noticed_in_whichever_batch_of_a_series_its_rows_are() {
    let place = Place::new();
    place.sql("CREATE TABLE below (v float8); CREATE VIEW t AS SELECT v FROM below; CREATE TABLE other (v int)");
    let mut sink = place.started().await;
    let (view, other) = (describe(&mut sink, "t").await, describe(&mut sink, "other").await);
    place.sql("DROP VIEW t; ALTER TABLE below ALTER v TYPE int8 USING NULL; CREATE VIEW t AS SELECT v FROM below");
    let mut batches = vec![batch(1, 2), batch(2, 3)];
    for (batch, (table, cell)) in batches.iter_mut().zip([(&view, Cell::Float(21.7)), (&other, Cell::Int(1))]) {
        let target = add_table(batch, table);
        add_unit(batch, target, &[&[cell]]);
    }
    let written = sink.write_series(&mut Made::of(batches)).await.map(drop).map_err(|error| error.class);
    assert_eq!(written, Err(Class::TableChanged));
    assert_eq!(place.sql("SELECT (SELECT count(*) FROM below) + (SELECT count(*) FROM other)"), "0");
}

/// A batch or a series at a time, while another session alters the column back and forth as fast as it can.
#[tokio::test]
async fn under_constant_changes_every_row_has_the_right_value() {
    const ROWS: u64 = 2_000;
    // Between nothing and long enough for several batches.
    const PAUSE_MILLIS: [u64; 4] = [0, 3, 10, 30];
    let place = Place::new();
    place.sql("CREATE TABLE t (id int8, v float8)");
    let mut sink = place.started().await;
    let ddl = client(&place).await;
    let stop = Arc::new(AtomicBool::new(false));
    let alters = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut pauses = PAUSE_MILLIS.iter().cycle();
            for (sql_type, count) in ["int8", "text", "numeric", "float8"].iter().cycle().zip(0u64..) {
                if stop.load(Ordering::Relaxed) {
                    return count;
                }
                let alter = format!("ALTER TABLE t ALTER v TYPE {sql_type} USING v::text::{sql_type}");
                ddl.batch_execute(&alter).await.unwrap();
                tokio::time::sleep(Duration::from_millis(*pauses.next().expect("they go round"))).await;
            }
            unreachable!("the types go round")
        }
    });
    let (mut from, mut turn, mut noticed) = (1, 0, 0);
    let mut table = describe(&mut sink, "t").await;
    while from <= ROWS {
        let text = from.to_string();
        let value = from as i64;
        let made = |seq: u64, rows: u64| {
            let mut batch = batch(seq, seq + rows);
            let target = add_table(&mut batch, &table);
            let v = match table.columns[1].type_name.as_str() {
                "bigint" => Cell::Int(value),
                "text" => Cell::Text(&text),
                "numeric" => Cell::Decimal(&text),
                "double precision" => Cell::Float(value as f64),
                other => panic!("{other}"),
            };
            (seq..seq + rows).for_each(|id| add_unit(&mut batch, target, &[&[Cell::Int(id as i64), v]]));
            batch
        };
        turn += 1;
        let written = match turn % 3 {
            // By INSERT, by COPY, and by a COPY for both.
            0 => sink.write(&made(from, 5)).await.map(|_| 5),
            1 => sink.write(&made(from, 40)).await.map(|_| 40),
            _ => sink.write_series(&mut Made::of(vec![made(from, 5), made(from + 5, 5)])).await.map(|_| 10),
        };
        match written {
            Ok(rows) => from += rows,
            Err(error) => {
                if error.class != Class::TableChanged {
                    let verified = sink.verify(&[&table]).await.map_err(|error| error.class);
                    // Changed back meanwhile, perhaps.
                    assert!(verified == Err(Class::TableChanged) || verified == Ok(()), "{error}");
                }
                noticed += 1;
                table = describe(&mut sink, "t").await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let alters: u64 = alters.await.unwrap();
    println!("{alters} changes, {noticed} noticed by a batch");
    assert!(noticed > 0, "{alters} changes and none came between");
    let wrong = "SELECT count(*) FROM t WHERE v::text::numeric NOT BETWEEN id - 39 AND id";
    assert_eq!(place.sql(wrong), "0");
    assert_eq!(place.sql("SELECT count(DISTINCT id), count(*) FROM t"), format!("{0}|{0}", from - 1));
}

#[tokio::test]
async fn through_pgbouncer_and_with_the_right_to_insert_alone_it_is_noticed_too() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v float8)");
    let bouncer = PgBouncer::start(&place.server, 1);
    let mut pooled = started(PostgresSink::new(&database(&bouncer.url(&place.database)))).await;
    place.sql(
        "CREATE ROLE narrow LOGIN; GRANT INSERT ON t TO narrow;
         GRANT SELECT, INSERT, UPDATE, DELETE ON rowbridge_offsets, rowbridge_dead_letters TO narrow;
         GRANT SELECT ON rowbridge_schema_version TO narrow",
    );
    let url = place.server.url(&place.database).replace("postgres@", "narrow@");
    let mut narrow = PostgresSink::new(&database(&url));
    narrow.connect().await.unwrap();
    for (from, sink) in (1..).zip([&mut pooled, &mut narrow]) {
        let table = describe(sink, "t").await;
        write_one(sink, &table, from, Cell::Float(5.0)).await.unwrap();
        place.sql("ALTER TABLE t ALTER v TYPE int8");
        assert_eq!(write_one(sink, &table, from + 1, Cell::Float(5.0)).await, Err(Class::TableChanged));
        place.sql("ALTER TABLE t ALTER v TYPE float8");
        assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].next_seq, Seq(from + 1));
    }
    assert_eq!(place.sql("SELECT string_agg(v::text, ',') FROM t"), "5,5");
    narrow.close().await.unwrap();
    place.sql("DROP OWNED BY narrow; DROP ROLE narrow");
}

/// The table of each rule has its own witness, those without rows in the batch are not looked at.
#[tokio::test]
async fn a_change_of_a_table_that_the_batch_does_not_touch_does_not_disturb_it() {
    let place = Place::new();
    place.sql("CREATE TABLE a (v int); CREATE TABLE b (v int)");
    let mut sink = place.started().await;
    let (a, b) = (describe(&mut sink, "a").await, describe(&mut sink, "b").await);
    let mut to_a = batch_of(1, &a, &[1, 2]);
    add_table(&mut to_a, &b);
    place.sql("ALTER TABLE b ALTER v TYPE text");
    sink.write(&to_a).await.unwrap();
    let mut to_both = batch_of(3, &a, &[1]);
    let target = add_table(&mut to_both, &b);
    add_unit(&mut to_both, target, &[&[Cell::Int(1)]]);
    assert!(sink.write(&to_both).await.is_err());
    assert_eq!(place.sql("SELECT count(*) FROM a"), "2");
    assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].journal, JOURNAL);
}
