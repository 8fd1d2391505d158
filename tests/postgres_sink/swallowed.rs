//! Rows that a table ignores without an error are counted by what the server says it took.

use rowbridge::schema::Cell;
use rowbridge::sink::{Sink as _, Written};

use super::{Place, add_table, add_unit, batch, batch_of, describe};
use crate::sink_contract::series::Made;

/// A table whose trigger ignores even numbers.
const ODD_ONLY: &str = "CREATE TABLE t (v int); \
    CREATE FUNCTION odd_only() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN IF NEW.v % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
    CREATE TRIGGER odd_only BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION odd_only()";

/// Table, rule and rows of each entry.
fn told(written: &Written) -> Vec<(&str, Option<usize>, u64)> {
    written.swallowed.iter().map(|one| (one.table.name.name.as_str(), one.rule, one.rows)).collect()
}

#[tokio::test]
async fn rows_that_a_trigger_ignores_are_told_by_a_batch_a_series_and_a_walk() {
    let place = Place::new();
    place.sql(ODD_ONLY);
    place.sql("CREATE TABLE whole (v int)");
    let mut sink = place.started().await;
    let (table, whole) = (describe(&mut sink, "t").await, describe(&mut sink, "whole").await);
    let mut two_tables = batch_of(1, &table, &[1, 2, 3, 4, 6]);
    let target = add_table(&mut two_tables, &whole);
    add_unit(&mut two_tables, target, &[&[Cell::Int(8)], &[Cell::Int(10)]]);
    let written = sink.write(&two_tables).await.unwrap();
    assert_eq!(told(&written), [("t", Some(0), 3)]);

    let batches = vec![batch_of(6, &table, &[1, 2]), batch_of(8, &table, &[4]), batch_of(9, &whole, &[1])];
    let written = sink.write_series(&mut Made::of(batches)).await.unwrap();
    assert_eq!(told(&written), [("t", Some(0), 2)], "batches of a series share one COPY");

    let written = sink.write_in_order(&batch_of(10, &table, &[2, 3])).await.unwrap();
    assert_eq!(told(&written), [("t", Some(0), 1)]);
    assert_eq!((place.state("t"), place.state("whole")), ((12, 4), (12, 3)));
    assert_eq!(told(&sink.write(&batch_of(12, &whole, &[1])).await.unwrap()), []);
}

#[tokio::test]
async fn swallowed_rows_of_several_rules_are_nobodys_and_excluded_rows_are_not_swallowed() {
    let place = Place::new();
    place.sql(ODD_ONLY);
    let mut sink = place.started().await;
    let table = describe(&mut sink, "t").await;
    let mut shared = batch_of(1, &table, &[1, 2, 3]);
    shared.units[2].rule = 7;
    assert_eq!(told(&sink.write(&shared).await.unwrap()), [("t", None, 1)]);
    shared.offset.from = rowbridge::message::Seq(4);
    shared.offset.to = rowbridge::message::Seq(7);
    shared.excluded = vec![2];
    assert_eq!(told(&sink.write(&shared).await.unwrap()), [("t", Some(0), 1)]);
    let mut all_excluded = batch(7, 8);
    let target = add_table(&mut all_excluded, &table);
    add_unit(&mut all_excluded, target, &[&[Cell::Int(2)]]);
    all_excluded.excluded = vec![0];
    assert_eq!(told(&sink.write(&all_excluded).await.unwrap()), []);
}
