//! How long a transaction of several batches gets, and what else writes meanwhile.

use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Series as _, Sink as _};

use super::{SqliteFile, with_table};
use crate::sink_contract::series::{Made, write_whole};
use crate::sink_contract::{BatchBuilder, TestDatabase as _, fails_as, next_seq};

#[tokio::test]
async fn a_long_series_commits_what_fits_one_transaction() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (v TEXT)").await;
    let text = "x".repeat(1 << 20);
    let batches = (1..=20).map(|seq| {
        let mut builder = BatchBuilder::new(sink.encoder(), seq, seq + 1);
        let table = builder.table(&schema);
        builder.unit(table, &[&[Cell::Text(&text)]]);
        builder.batch
    });
    let mut series = Made::of(batches.collect());
    sink.write_series(&mut series).await.unwrap();
    let to = next_seq(&mut sink).await;
    // 8 MiB, or what was written when its time was over.
    assert!((2..12).contains(&to), "{to}");
    assert_eq!((series.offset().to.0, database.number("SELECT count(*) FROM t")), (to, to as i64 - 1));
}

#[tokio::test]
async fn a_file_that_somebody_else_writes_is_waited_for_and_then_reported() {
    let database = SqliteFile::new();
    let (_, schema) = with_table(&database, "CREATE TABLE t (v BIGINT)").await;
    let mut sink = SqliteFile::sink_of(database.path(), std::time::Duration::from_millis(100));
    sink.connect().await.unwrap();
    let made = |encoder| {
        let batches = (1..=3).map(|seq| {
            let mut builder = BatchBuilder::new(encoder, seq, seq + 1);
            let table = builder.table(&schema);
            builder.unit(table, &[&[Cell::Int(1)]]);
            builder.batch
        });
        Made::of(batches.collect())
    };
    let other = database.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut series = made(sink.encoder());
    fails_as(sink.write_series(&mut series).await, Class::Transient);
    other.execute_batch("ROLLBACK").unwrap();
    let mut series = made(sink.encoder());
    write_whole(&mut sink, &mut series).await.unwrap();
    assert_eq!((next_seq(&mut sink).await, database.number("SELECT count(*) FROM t")), (4, 3));
}
