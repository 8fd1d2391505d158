//! What is promised about rows that go by key.

use std::sync::Arc;

use rowbridge::batch::{RowEncoder, Verb};
use rowbridge::message::Seq;
use rowbridge::schema::{Cell, Keys, TableSchema};
use rowbridge::sink::{Class, Sink, Written};

use super::series::{Made, write_whole};
use super::{BRIDGE, BatchBuilder, JOURNAL, TestDatabase, connected, fails_as, next_seq, schema_of, units};
/// A sink that stands at seq 1, and a table of states: a key, a moment that must be positive, a mark.
async fn states<D: TestDatabase>(database: &D) -> (D::Sink, Arc<TableSchema>) {
    let mut sink = connected(database).await;
    database.execute(
        "CREATE TABLE states (id BIGINT PRIMARY KEY, at BIGINT CHECK (at > 0), mark BIGINT DEFAULT 7, line BIGINT)",
    );
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "states").await;
    (sink, schema)
}

fn upsert() -> Verb {
    Verb::Upsert([0].into())
}

fn ignore() -> Verb {
    Verb::Ignore([0].into())
}

/// A batch of units of one row each, `(id, at)`.
fn batch<E: RowEncoder>(
    encoder: E,
    schema: &Arc<TableSchema>,
    from: u64,
    verb: Verb,
    rows: &[(i64, i64)],
) -> BatchBuilder<E> {
    let mut builder = BatchBuilder::new(encoder, from, from + rows.len() as u64);
    let table = builder.table_by(schema, &[0, 1], verb);
    rows.iter().for_each(|&(id, at)| builder.unit(table, &[&[Cell::Int(id), Cell::Int(at)]]));
    builder
}

/// `at` of a key, −1 if there is none.
fn at<D: TestDatabase>(database: &D, id: i64) -> i64 {
    database.number(&format!("SELECT COALESCE((SELECT at FROM states WHERE id = {id}), -1)"))
}

fn count<D: TestDatabase>(database: &D) -> i64 {
    database.number("SELECT count(*) FROM states")
}

pub(crate) async fn the_keys_of_a_table_are_told<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE keyed (a BIGINT, b BIGINT NOT NULL, c TEXT NOT NULL, d BIGINT, PRIMARY KEY (c, a))");
    database.execute("CREATE UNIQUE INDEX keyed_b ON keyed (b)");
    database.execute("CREATE UNIQUE INDEX keyed_part ON keyed (d) WHERE b > 0");
    database.execute("CREATE UNIQUE INDEX keyed_made ON keyed (abs(d))");
    database.execute("CREATE INDEX keyed_plain ON keyed (d)");
    let keys = schema_of(&mut sink, "keyed").await.keys.clone();
    assert_eq!(keys, Keys::Known(vec![[2, 0].into(), [1].into()]));
}

pub(crate) async fn of_equal_keys_the_last_stays_and_what_is_there_is_replaced<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = states(database).await;
    database.execute("INSERT INTO states VALUES (1, 5, 9, 3), (2, 5, 9, 3)");
    let batch = batch(sink.encoder(), &schema, 1, upsert(), &[(1, 10), (3, 30), (3, 31), (1, 11), (4, 40)]).batch;
    assert_eq!(sink.write(&batch).await.unwrap(), Written::default());
    assert_eq!([1, 2, 3, 4].map(|id| at(database, id)), [11, 5, 31, 40]);
    // What the rows do not fill stays as it is, or is what the table gives a new row.
    assert_eq!(database.number("SELECT sum(mark * 10 + COALESCE(line, 0)) FROM states"), 93 + 93 + 70 + 70);
    assert_eq!((count(database), next_seq(&mut sink).await), (4, 6));
}

pub(crate) async fn of_equal_keys_the_first_stays_and_nothing_is_told<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = states(database).await;
    database.execute("INSERT INTO states VALUES (1, 5, 9, 3)");
    let batch = batch(sink.encoder(), &schema, 1, ignore(), &[(1, 10), (3, 30), (3, 31)]).batch;
    assert_eq!(sink.write(&batch).await.unwrap(), Written::default());
    assert_eq!(([1, 3].map(|id| at(database, id)), count(database)), ([5, 30], 2));
    assert_eq!(next_seq(&mut sink).await, 4);
}

pub(crate) async fn rows_that_are_all_key_go_in_once<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = states(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 4);
    let table = builder.table_by(&schema, &[0], upsert());
    [1, 2, 1].into_iter().for_each(|id| builder.unit(table, &[&[Cell::Int(id)]]));
    assert_eq!(sink.write(&builder.batch).await.unwrap(), Written::default());
    assert_eq!(count(database), 2);
}

pub(crate) async fn a_refused_row_by_key_is_found_and_the_others_keep_their_order<D: TestDatabase>(database: &D) {
    for verb in [upsert(), ignore()] {
        let (mut sink, schema) = states(database).await;
        let rows = [(1, 10), (2, 20), (3, -1), (2, 21), (1, 12), (4, -3)];
        let mut batch = batch(sink.encoder(), &schema, 1, verb.clone(), &rows).batch;
        fails_as(sink.write(&batch).await, Class::Row);
        let refused = sink.refused_units(&batch).await.unwrap().units;
        assert_eq!(units(&refused), [2, 5]);
        assert!(refused.iter().all(|refusal| refusal.reason == "constraint"), "{refused:?}");
        assert_eq!((count(database), next_seq(&mut sink).await), (0, 1));
        batch.excluded = units(&refused);
        sink.write(&batch).await.unwrap();
        let expected = if verb == upsert() { [12, 21] } else { [10, 20] };
        assert_eq!(([1, 2].map(|id| at(database, id)), count(database)), (expected, 2));
        database.execute("DROP TABLE states");
        database.execute("DELETE FROM rowbridge_offsets");
    }
}

pub(crate) async fn a_row_that_goes_in_late_undoes_nothing_that_came_after_it<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE states (id BIGINT PRIMARY KEY, at BIGINT, line BIGINT REFERENCES states (id))");
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "states").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let table = builder.table_by(&schema, &[0, 1, 2], upsert());
    // The first row refers to the third, so it goes in behind the second, which has its key.
    for (id, at, line) in [(1, 10, Some(8)), (1, 11, None), (8, 1, None), (1, 12, None)] {
        builder.unit(table, &[&[Cell::Int(id), Cell::Int(at), line.map_or(Cell::Null, Cell::Int)]]);
    }
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!(([1, 8].map(|id| at(database, id)), next_seq(&mut sink).await), ([12, 1], 5));
}

pub(crate) async fn a_series_by_key_ends_with_what_came_last<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = states(database).await;
    let one = |from, verb, rows: &[(i64, i64)]| batch(sink.encoder(), &schema, from, verb, rows).batch;
    let batches = vec![
        one(1, upsert(), &[(1, 10), (2, 20)]),
        one(3, Verb::Insert, &[(3, 30)]),
        one(4, upsert(), &[(1, 11), (3, 31)]),
        one(6, ignore(), &[(1, 12), (4, 40)]),
    ];
    assert_eq!(write_whole(&mut sink, &mut Made::of(batches)).await.unwrap(), Written::default());
    assert_eq!(([1, 2, 3, 4].map(|id| at(database, id)), count(database)), ([11, 20, 31, 40], 4));
    assert_eq!(next_seq(&mut sink).await, 8);
}

pub(crate) async fn a_key_without_its_index_is_no_fault_of_the_rows<D: TestDatabase>(database: &D) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE states (id BIGINT, at BIGINT)");
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "states").await;
    let batch = batch(sink.encoder(), &schema, 1, upsert(), &[(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]).batch;
    let error = sink.write(&batch).await.unwrap_err();
    assert!(matches!(error.class, Class::Table | Class::RowOrTable), "{error:?}");
    let refusals = sink.refused_units(&batch).await.unwrap();
    assert_eq!((refusals.units.len(), refusals.closed.len()), (0, 1));
}
