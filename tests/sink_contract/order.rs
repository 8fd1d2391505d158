//! What is promised about rows that need each other, and about those that are refused by the hundred.

use std::sync::Arc;

use rowbridge::clock::Timestamp;
use rowbridge::message::Seq;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, REFUSALS_MAX, Sink};

use super::{
    BRIDGE, BatchBuilder, JOURNAL, TestDatabase, connected, dead_letter, fails_as, next_seq, ready, schema_of, units,
};

/// A sink that stands at seq 1, and three tables: a part refers to a line, a line to a header, at once and not deferred.
async fn orders<D: TestDatabase>(database: &D) -> (D::Sink, [Arc<TableSchema>; 3]) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE headers (id BIGINT PRIMARY KEY, parent BIGINT)");
    database.execute("CREATE TABLE lines (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES headers (id))");
    database.execute("CREATE TABLE parts (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES lines (id))");
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schemas = [
        schema_of(&mut sink, "parts").await,
        schema_of(&mut sink, "lines").await,
        schema_of(&mut sink, "headers").await,
    ];
    (sink, schemas)
}

/// Parts, lines, headers, dead letters.
fn stored<D: TestDatabase>(database: &D) -> [i64; 4] {
    ["parts", "lines", "headers", "rowbridge_dead_letters"]
        .map(|table| database.number(&format!("SELECT count(*) FROM {table}")))
}

fn row(id: i64, parent: i64) -> [Cell<'static>; 2] {
    [Cell::Int(id), Cell::Int(parent)]
}

pub(crate) async fn children_before_their_parent_go_in_when_written_in_order<D: TestDatabase>(database: &D) {
    let (mut sink, [_, lines, headers]) = orders(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let (lines, headers) = (builder.table(&lines), builder.table(&headers));
    // One message under two rules, the lines' rule first.
    builder.unit(lines, &[&row(10, 1), &row(11, 1)]);
    builder.unit(headers, &[&row(1, 0)]);
    builder.batch.units[1].seq = Seq(1);
    builder.batch.dead_letters.push(dead_letter(1, Timestamp(0)));
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
    assert_eq!((stored(database), next_seq(&mut sink).await), ([0; 4], 1));

    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ([0, 2, 1, 1], 2));
    // As after a commit whose answer was lost.
    fails_as(sink.write_in_order(&builder.batch).await, Class::OffsetMoved);
    assert_eq!((stored(database), next_seq(&mut sink).await), ([0, 2, 1, 1], 2));
}

pub(crate) async fn written_in_order_an_offender_leaves_nothing_behind<D: TestDatabase>(database: &D) {
    let (mut sink, [_, lines, headers]) = orders(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let (lines, headers) = (builder.table(&lines), builder.table(&headers));
    builder.unit(lines, &[&row(10, 1)]);
    builder.unit(lines, &[&row(11, 1), &row(12, 404)]);
    builder.unit(headers, &[&row(1, 0)]);
    builder.unit(lines, &[&row(13, 1)]);
    builder.batch.dead_letters.push(dead_letter(1, Timestamp(0)));
    fails_as(sink.write_in_order(&builder.batch).await, Class::Row);
    assert_eq!((stored(database), next_seq(&mut sink).await), ([0; 4], 1));

    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [1]);
    builder.batch.excluded = units(&refused);
    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ([0, 2, 1, 1], 5));
    // The sink is as usable as ever, also with nothing to write.
    sink.write_in_order(&BatchBuilder::new(sink.encoder(), 5, 6).batch).await.unwrap();
    assert_eq!(next_seq(&mut sink).await, 6);
}

pub(crate) async fn a_chain_with_each_child_before_its_parent_refuses_only_offenders<D: TestDatabase>(database: &D) {
    let (mut sink, [parts, lines, headers]) = orders(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 6);
    let (parts, lines, headers) = (builder.table(&parts), builder.table(&lines), builder.table(&headers));
    builder.unit(parts, &[&row(100, 10)]);
    builder.unit(parts, &[&row(101, 404)]);
    builder.unit(lines, &[&row(11, 405)]);
    builder.unit(lines, &[&row(10, 1)]);
    builder.unit(headers, &[&row(1, 0)]);
    let refused = sink.refused_units(&builder.batch).await.unwrap().units;
    assert_eq!(units(&refused), [1, 2]);
    assert!(refused.iter().all(|refusal| refusal.reason == "constraint"));
    builder.batch.excluded = units(&refused);
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ([1, 1, 1, 0], 6));
}

pub(crate) async fn units_that_are_refused_by_the_hundred_are_all_found_by_calling_again<D: TestDatabase>(
    database: &D,
) {
    let (mut sink, schema) = ready(database).await;
    let count = 2 * REFUSALS_MAX as i64 + 150;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, count as u64 + 1);
    let table = builder.table(&schema);
    let is_good = |id: i64| id % 10 == 7;
    for id in 0..count {
        builder.unit(table, &[&[Cell::Int(id), if is_good(id) { Cell::Text("a") } else { Cell::Null }]]);
    }
    loop {
        let refused = units(&sink.refused_units(&builder.batch).await.unwrap().units);
        assert!(refused.is_sorted());
        if refused.is_empty() {
            break;
        }
        assert!(refused.iter().all(|unit| !builder.batch.is_excluded(*unit)));
        builder.batch.excluded.extend(refused);
        builder.batch.excluded.sort_unstable();
    }
    let expected: Vec<usize> = (0..count).filter(|&id| !is_good(id)).map(|id| id as usize).collect();
    assert_eq!(builder.batch.excluded, expected);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(next_seq(&mut sink).await, count as u64 + 1);
}
