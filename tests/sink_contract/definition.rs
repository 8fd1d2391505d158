//! A table that is not as it was described takes nothing that was made for what it was.

use std::sync::Arc;

use rowbridge::batch::{Batch, RowEncoder};
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, Sink};

use super::series::Made;
use super::{BatchBuilder, TestDatabase, fails_as, next_seq, ready, schema_of};
use rowbridge::clock::Timestamp;

fn batch(encoder: impl RowEncoder, schema: &Arc<TableSchema>, from: u64, count: u64) -> Batch {
    let mut builder = BatchBuilder::new(encoder, from, from + count);
    let table = builder.table(schema);
    for id in from..from + count {
        let cells: Vec<Cell<'_>> = [Cell::Int(id as i64), Cell::Text("plant-1"), Cell::Null].into();
        builder.unit(table, &[&cells[..schema.columns.len()]]);
    }
    builder.batch
}

/// Changes that both engines know, each to be undone by the next.
const CHANGES: &[&str] = &[
    "ALTER TABLE readings ADD COLUMN extra TEXT",
    "ALTER TABLE readings DROP COLUMN extra",
    "ALTER TABLE readings RENAME COLUMN site TO place",
    "ALTER TABLE readings RENAME COLUMN place TO site",
    "ALTER TABLE readings RENAME TO before; CREATE TABLE readings (id BIGINT PRIMARY KEY, site TEXT NOT NULL)",
    "DROP TABLE readings; ALTER TABLE before RENAME TO readings",
    "DROP TABLE readings; CREATE TABLE readings (id BIGINT PRIMARY KEY, site TEXT NOT NULL)",
];

/// However it is written.
pub(crate) async fn a_table_that_changed_takes_nothing_and_described_again_it_does<D: TestDatabase>(database: &D) {
    let (mut sink, mut schema) = ready(database).await;
    let mut from = 1;
    for change in CHANGES {
        let stale = batch(sink.encoder(), &schema, from, 4);
        let later = batch(sink.encoder(), &schema, from + 4, 4);
        database.execute(change);
        let rows = database.number("SELECT count(*) FROM readings");
        fails_as(sink.verify(&[&schema]).await, Class::TableChanged);
        // A statement that does not fit any more may say so first; what comes of it is asked then.
        for written in [
            sink.write(&stale).await,
            sink.write_in_order(&stale).await,
            sink.write_series(&mut Made::of(vec![stale.clone(), later])).await,
        ] {
            let error = written.expect_err(change);
            let is_told = error.class == Class::TableChanged;
            assert!(is_told || error.class == Class::Table || error.class.may_be_a_row(), "{change}: {error}");
            fails_as(sink.verify(&[&schema]).await, Class::TableChanged);
        }
        assert_eq!(database.number("SELECT count(*) FROM readings"), rows, "{change}");
        assert_eq!(next_seq(&mut sink).await, from, "{change}");
        schema = schema_of(&mut sink, "readings").await;
        sink.verify(&[&schema]).await.unwrap();
        sink.write(&batch(sink.encoder(), &schema, from, 4)).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        from += 4;
        assert_eq!(database.number("SELECT count(*) FROM readings"), rows + 4, "{change}");
    }
}

pub(crate) async fn a_dead_letter_made_for_what_a_table_was_is_not_kept<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut judged = BatchBuilder::new(sink.encoder(), 1, 2).batch;
    judged.dead_letters = vec![super::dead_letter(1, Timestamp(1_795_249_560_123_456))];
    judged.judge(&schema);
    let mut second = BatchBuilder::new(sink.encoder(), 2, 3).batch;
    second.judge(&schema);
    database.execute("ALTER TABLE readings ADD COLUMN extra TEXT");
    fails_as(sink.write(&judged).await, Class::TableChanged);
    fails_as(sink.write_series(&mut Made::of(vec![judged.clone(), second])).await, Class::TableChanged);
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters"), 0);
    assert_eq!(next_seq(&mut sink).await, 1);
    judged.judged = vec![schema_of(&mut sink, "readings").await];
    sink.write(&judged).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM rowbridge_dead_letters"), 1);
    assert_eq!(next_seq(&mut sink).await, 2);
}

/// What the units that are left out were refused for may be no longer so.
pub(crate) async fn a_batch_of_refused_units_alone_is_compared_too<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut refused = batch(sink.encoder(), &schema, 1, 3);
    refused.excluded = vec![0, 1, 2];
    database.execute("ALTER TABLE readings ADD COLUMN extra TEXT");
    fails_as(sink.write(&refused).await, Class::TableChanged);
    assert_eq!(next_seq(&mut sink).await, 1);
}
