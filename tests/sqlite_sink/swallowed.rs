//! Rows that a table ignores without an error.

use rowbridge::batch::Batch;
use rowbridge::schema::Cell;
use rowbridge::sink::{Sink as _, Written};

use super::{SqliteFile, with_table};
use crate::sink_contract::series::{Made, write_whole};
use crate::sink_contract::{BatchBuilder, TestDatabase as _, next_seq};

/// How a table takes rows with an odd number only, or the first of equal ones, or of those the last.
const ODD_ONLY: &str = "CREATE TABLE t (v BIGINT);
    CREATE TABLE log (v BIGINT);
    CREATE TRIGGER audit AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.v), (new.v), (new.v); END;
    CREATE TRIGGER odd BEFORE INSERT ON t WHEN new.v % 2 = 0 BEGIN SELECT RAISE(IGNORE); END;";
const FIRST_OF_EQUALS: &str = "CREATE TABLE t (v BIGINT UNIQUE ON CONFLICT IGNORE)";
const LAST_OF_EQUALS: &str = "CREATE TABLE t (v BIGINT UNIQUE ON CONFLICT REPLACE)";
const VIEW: &str = "CREATE TABLE base (v BIGINT);
    CREATE VIEW t AS SELECT v FROM base;
    CREATE TRIGGER taken INSTEAD OF INSERT ON t WHEN new.v % 2 = 1
    BEGIN INSERT INTO base VALUES (new.v), (new.v * 100); END;";

fn swallowed(written: &Written) -> Vec<(String, Option<usize>, u64)> {
    written.swallowed.iter().map(|rows| (rows.table.name.to_string(), rows.rule, rows.rows)).collect()
}

#[tokio::test]
async fn rows_that_the_table_ignores_are_told_by_every_way_to_write() {
    for (sql, values, ignored, held) in [
        (ODD_ONLY, (1..=40).collect::<Vec<i64>>(), 20, 20),
        (FIRST_OF_EQUALS, (1..=40).map(|value| value % 7).collect(), 33, 7),
        // Every row was taken; the one that it replaces is what its key says is given up.
        (LAST_OF_EQUALS, (1..=40).map(|value| value % 7).collect(), 0, 7),
        (VIEW, (1..=40).collect(), 20, 40),
        ("CREATE TABLE t (v BIGINT)", (1..=40).collect(), 0, 40),
    ] {
        for way in ["batch", "in order", "series"] {
            let database = SqliteFile::new();
            let (mut sink, schema) = with_table(&database, sql).await;
            let batch = |from: u64, values: &[i64]| -> Batch {
                let mut builder = BatchBuilder::new(sink.encoder(), from, from + values.len() as u64);
                let table = builder.table(&schema);
                values.iter().for_each(|&value| builder.unit(table, &[&[Cell::Int(value)]]));
                builder.batch
            };
            let written = match way {
                "batch" => sink.write(&batch(1, &values)).await,
                "in order" => sink.write_in_order(&batch(1, &values)).await,
                _ => {
                    let mut series = Made::of(vec![batch(1, &values[..10]), batch(11, &values[10..])]);
                    write_whole(&mut sink, &mut series).await
                }
            }
            .unwrap();
            let told: u64 = swallowed(&written).iter().map(|(_, _, rows)| rows).sum();
            assert_eq!(told, ignored, "{sql} {way}");
            assert!(swallowed(&written).iter().all(|(table, rule, _)| table == "t" && *rule == Some(0)));
            assert_eq!(database.number("SELECT count(*) FROM t"), held, "{sql} {way}");
            assert_eq!(next_seq(&mut sink).await, 41);
        }
    }
}

#[tokio::test]
async fn a_row_that_the_table_ignores_is_counted_for_its_rule_where_one_alone_fills_it() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, ODD_ONLY).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 4);
    let table = builder.table(&schema);
    for value in [2, 3, 4] {
        builder.unit(table, &[&[Cell::Int(value)]]);
    }
    builder.batch.portions[table].owner = rowbridge::batch::Owner::Several;
    let written = sink.write(&builder.batch).await.unwrap();
    assert_eq!(swallowed(&written), [("t".to_owned(), None, 2)]);
}
