//! Which rows are refused, and how fast the others go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Sink};

use super::{SqliteFile, with_table};
use crate::sink_contract::{BatchBuilder, TestDatabase, fails_as, next_seq, schema_of, units};

#[tokio::test]
async fn a_value_that_fails_while_the_statement_runs_is_the_rows_fault() {
    let database = SqliteFile::new();
    let sql = "CREATE TABLE t (j TEXT, x GENERATED ALWAYS AS (json_extract(j, '$.x')) STORED)";
    let (mut sink, schema) = with_table(&database, sql).await;
    assert!(schema.columns[1].generated);
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 3);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Text("{\"x\":1}")]]);
    builder.unit(table, &[&[Cell::Text("no json")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(units(&sink.refused_units(&builder.batch).await.unwrap().units), [1]);
}

#[tokio::test]
async fn a_row_that_takes_the_transaction_with_it_is_found_all_the_same() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (id BIGINT UNIQUE ON CONFLICT ROLLBACK)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 6);
    let table = builder.table(&schema);
    for id in [1, 1, 2, 2, 3] {
        builder.unit(table, &[&[Cell::Int(id)]]);
    }
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(next_seq(&mut sink).await, 1);
    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [1, 3]);
    assert!(refused.iter().all(|refusal| refusal.message.contains("UNIQUE constraint failed: t.id")), "{refused:?}");
    fails_as(sink.write_in_order(&builder.batch).await, Class::Row);
    assert_eq!((database.number("SELECT count(*) FROM t"), next_seq(&mut sink).await), (0, 1));
}

#[tokio::test]
async fn a_child_may_come_before_its_parent_within_a_batch() {
    let database = SqliteFile::new();
    let (mut sink, children) = with_table(
        &database,
        "CREATE TABLE sites (site TEXT PRIMARY KEY);
         CREATE TABLE t (id BIGINT PRIMARY KEY, site TEXT NOT NULL REFERENCES sites (site));",
    )
    .await;
    let parents = schema_of(&mut sink, "sites").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let (child, parent) = (builder.table(&children), builder.table(&parents));
    builder.unit(child, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.unit(parent, &[&[Cell::Text("a")]]);
    builder.unit(child, &[&[Cell::Int(2), Cell::Text("a")]]);
    builder.unit(child, &[&[Cell::Int(3), Cell::Text("nowhere")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [3]);
    builder.batch.excluded = units(&refused);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 2);
}

#[tokio::test]
async fn foreign_keys_that_somebody_adds_later_are_put_off_too() {
    let database = SqliteFile::new();
    let tables = "CREATE TABLE sites (site TEXT PRIMARY KEY); CREATE TABLE t (id BIGINT PRIMARY KEY, site TEXT)";
    let (mut sink, children) = with_table(&database, tables).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let child = builder.table(&children);
    builder.unit(child, &[&[Cell::Int(1), Cell::Text("a")]]);
    sink.write(&builder.batch).await.unwrap();

    let referring = "DROP TABLE t; CREATE TABLE t (id BIGINT PRIMARY KEY, site TEXT REFERENCES sites (site))";
    database.connection().execute_batch(referring).unwrap();
    let (children, parents) = (schema_of(&mut sink, "t").await, schema_of(&mut sink, "sites").await);
    for seq in 2..4 {
        let name = format!("site {seq}");
        let mut builder = BatchBuilder::new(sink.encoder(), seq, seq + 1);
        let (child, parent) = (builder.table(&children), builder.table(&parents));
        builder.unit(child, &[&[Cell::Int(i64::try_from(seq).unwrap()), Cell::Text(&name)]]);
        builder.unit(parent, &[&[Cell::Text(&name)]]);
        sink.write(&builder.batch).await.unwrap();
    }
    assert_eq!(database.number("SELECT count(*) FROM t JOIN sites USING (site)"), 2);
}

#[tokio::test]
async fn rows_that_only_the_order_of_the_tables_breaks_go_in_when_written_in_order() {
    let database = SqliteFile::new();
    let (mut sink, children) = with_table(
        &database,
        "CREATE TABLE sites (site TEXT PRIMARY KEY);
         CREATE TABLE t (id BIGINT PRIMARY KEY, site TEXT NOT NULL);
         CREATE TRIGGER known BEFORE INSERT ON t WHEN new.site NOT IN (SELECT site FROM sites)
         BEGIN SELECT RAISE(ABORT, 'unknown site'); END;",
    )
    .await;
    let parents = schema_of(&mut sink, "sites").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 3);
    let (child, parent) = (builder.table(&children), builder.table(&parents));
    builder.unit(parent, &[&[Cell::Text("a")]]);
    builder.unit(child, &[&[Cell::Int(1), Cell::Text("a")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!((database.number("SELECT count(*) FROM t"), next_seq(&mut sink).await), (1, 3));
}

#[tokio::test]
async fn a_table_without_columns_to_fill_takes_its_defaults() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 41);
    let table = builder.table(&schema);
    Arc::make_mut(&mut builder.batch.portions[table].target).columns = Arc::new([]);
    for _ in 0..40 {
        builder.unit(table, &[&[]]);
    }
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 40);
}

#[tokio::test]
async fn five_thousand_rows_of_eleven_columns_take_one_transaction() {
    const ROWS: u64 = 5000;
    const BATCHES: u64 = 4;
    let database = SqliteFile::new();
    let sql = "CREATE TABLE t (time TIMESTAMP, site TEXT, device TEXT, seq BIGINT, temp REAL, hum REAL, pres REAL,
               ok BOOLEAN, state TEXT, count BIGINT, note TEXT)";
    let (mut sink, schema) = with_table(&database, sql).await;
    let mut fastest = Duration::MAX;
    for batch in 0..BATCHES {
        let mut builder = BatchBuilder::new(sink.encoder(), 1 + batch * ROWS, 1 + (batch + 1) * ROWS);
        let table = builder.table(&schema);
        for row in 0..ROWS as i64 {
            let device = format!("device-{}", row % 100);
            builder.unit(
                table,
                &[&[
                    Cell::Timestamp(1_795_249_560_123_456 + row),
                    Cell::Text("berlin"),
                    Cell::Text(&device),
                    Cell::Int(row),
                    Cell::Float(21.5),
                    Cell::Float(0.43),
                    Cell::Float(1013.25),
                    Cell::Bool(row % 2 == 0),
                    Cell::Text("running"),
                    Cell::Int(row * 1000),
                    Cell::Null,
                ]],
            );
        }
        let begun = Instant::now();
        sink.write(&builder.batch).await.unwrap();
        fastest = fastest.min(begun.elapsed());
    }
    println!("{:.0} rows/s", ROWS as f64 / fastest.as_secs_f64());
    assert_eq!(database.number("SELECT count(*) FROM t"), (ROWS * BATCHES) as i64);
}
