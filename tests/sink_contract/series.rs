//! Several batches in one transaction: all of them or nothing.

use std::sync::Arc;

use rowbridge::batch::{Batch, DeadLetter, OffsetMove, Portion, Remembered, RowEncoder, Target, Verb};
use rowbridge::clock::Timestamp;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, Series, Sink, SinkError, Written};

use super::{BRIDGE, BatchBuilder, TestDatabase, blames_no_row, dead_letter, fails_as, next_seq, ready, schema_of};

/// Batches that were made beforehand.
pub(crate) struct Made {
    batches: Vec<Batch>,
    at: usize,
    /// Where the transaction began.
    first: usize,
    earlier_letters: Vec<DeadLetter>,
    earlier_remembered: Vec<Remembered>,
}

impl Made {
    pub(crate) fn of(batches: Vec<Batch>) -> Made {
        Made { batches, at: 0, first: 0, earlier_letters: Vec::new(), earlier_remembered: Vec::new() }
    }

    /// After a transaction: begins the next one with the batches that it left. `false` if there are none.
    fn begin_next(&mut self) -> bool {
        let has_more = self.advance();
        self.earlier_letters.clear();
        self.earlier_remembered.clear();
        if has_more {
            self.first = self.at;
        }
        has_more
    }

    /// Batches of earlier transactions.
    fn committed(&self) -> u64 {
        self.first as u64
    }
}

/// Writes all of a series: on a slow machine the time of one transaction may not be enough for it.
pub(crate) async fn write_whole<S: Sink>(sink: &mut S, series: &mut Made) -> Result<Written, SinkError> {
    let mut whole = Written::default();
    loop {
        whole.swallowed.extend(sink.write_series(series).await?.swallowed);
        if !series.begin_next() {
            return Ok(whole);
        }
    }
}

impl Series for Made {
    fn batch(&self) -> &Batch {
        &self.batches[self.at]
    }

    fn may_advance(&self) -> bool {
        self.at + 1 < self.batches.len()
    }

    fn advance(&mut self) -> bool {
        if !self.may_advance() {
            return false;
        }
        self.earlier_letters.append(&mut self.batches[self.at].dead_letters);
        self.earlier_remembered.append(&mut self.batches[self.at].remembered);
        self.at += 1;
        true
    }

    fn take_rows(&mut self) -> Vec<Portion> {
        self.batches[self.at].take_rows()
    }

    fn earlier_dead_letters(&self) -> &[DeadLetter] {
        &self.earlier_letters
    }

    fn earlier_remembered(&self) -> &[Remembered] {
        &self.earlier_remembered
    }

    fn offset(&self) -> OffsetMove {
        OffsetMove { from: self.batches[self.first].offset.from, ..self.batch().offset.clone() }
    }
}

/// A batch of a row for each message, whose ids are the messages' numbers, and a dead letter for its first message.
fn batch(encoder: impl RowEncoder, schema: &Arc<TableSchema>, from: u64, site: Cell<'_>) -> Batch {
    const ROWS: u64 = 40;
    let mut builder = BatchBuilder::new(encoder, from, from + ROWS);
    let table = builder.table(schema);
    for id in from..from + ROWS {
        builder.unit(table, &[&[Cell::Int(id as i64), site]]);
    }
    builder.batch.dead_letters.push(dead_letter(from, Timestamp(0)));
    builder.batch
}

fn stored<D: TestDatabase>(database: &D) -> (i64, i64) {
    (database.number("SELECT count(*) FROM readings"), database.number("SELECT count(*) FROM rowbridge_dead_letters"))
}

pub(crate) async fn batches_of_a_series_commit_together<D: TestDatabase>(database: &D) {
    let (mut sink, readings) = ready(database).await;
    database.execute("CREATE TABLE others (id BIGINT PRIMARY KEY, site TEXT NOT NULL)");
    let (readings, others) = (schema_of(&mut sink, &readings.name.name).await, schema_of(&mut sink, "others").await);
    let batches = (0..6).map(|index| {
        let from = 1 + 40 * index;
        match index {
            // Without rows; into another table.
            1 => BatchBuilder::new(sink.encoder(), from, from + 40).batch,
            2 | 4 => batch(sink.encoder(), &others, from, Cell::Text("b")),
            _ => batch(sink.encoder(), &readings, from, Cell::Text("a")),
        }
    });
    let mut batches: Vec<Batch> = batches.collect();
    let rule: Arc<str> = "r".into();
    for (at, topic_hash, content_hash) in [(0, 1, 10), (1, 2, 20), (5, 1, 11)] {
        let unit = None;
        batches[at].remembered.push(Remembered { unit, rule: Arc::clone(&rule), topic_hash, content_hash });
    }
    let mut series = Made::of(batches);
    write_whole(&mut sink, &mut series).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ((120, 5), 241));
    let places = [1, 2].map(|topic_hash| (Arc::clone(&rule), topic_hash));
    let found = sink.last_stored(BRIDGE, &places).await.unwrap();
    assert_eq!(places.map(|place| found[&place]), [11, 20]);
    assert_eq!(database.number("SELECT count(*) FROM others"), 80);
    assert_eq!(database.number("SELECT sum(id) FROM others WHERE site = 'b'"), (81..121).chain(161..201).sum::<i64>());
}

/// Collected by table, but for the batches of one table between them.
pub(crate) async fn rows_of_a_series_for_many_tables_are_all_there_in_their_order<D: TestDatabase>(database: &D) {
    const TABLES: u64 = 30;
    const BATCHES: u64 = 40;
    let (mut sink, _) = ready(database).await;
    let mut tables = Vec::new();
    for number in 0..TABLES {
        database.execute(&format!("CREATE TABLE t{number} (id BIGINT PRIMARY KEY, newest BIGINT NOT NULL, site TEXT)"));
    }
    for number in 0..TABLES {
        tables.push(schema_of(&mut sink, &format!("t{number}")).await);
    }
    let batches = (0..BATCHES).map(|index| {
        let from = 1 + TABLES * index;
        let mut builder = BatchBuilder::new(sink.encoder(), from, from + TABLES);
        let verb = |number: u64| if number.is_multiple_of(3) { Verb::Upsert([0].into()) } else { Verb::Insert };
        // In each batch other tables come first, and so the targets' numbers change.
        let places = (0..TABLES).map(|at| (at + index) % TABLES);
        let targets: Vec<(u64, usize)> = match index % 10 {
            9 => vec![(0, builder.table_by(&tables[0], &[0, 1, 2], verb(0)))],
            _ => places
                .map(|number| (number, builder.table_by(&tables[number as usize], &[0, 1, 2], verb(number))))
                .collect(),
        };
        for (number, target) in targets {
            // A table's number stays, whatever becomes of those of targets.
            let portion = &mut builder.batch.portions[target];
            portion.target = Arc::new(Target { table_id: number as usize, ..Target::clone(&portion.target) });
            // Those that replace others have one row, which the last message gives.
            let id = if verb(number) == Verb::Insert { from } else { 1 };
            builder.unit(target, &[&[Cell::Int(id as i64), Cell::Int(from as i64), Cell::Text("a")]]);
        }
        builder.batch
    });
    let mut series = Made::of(batches.collect());
    write_whole(&mut sink, &mut series).await.unwrap();
    assert_eq!(next_seq(&mut sink).await, 1 + TABLES * BATCHES);
    let newest = |index: u64| (1 + TABLES * index) as i64;
    for number in 0..TABLES {
        let is_upserted = number.is_multiple_of(3);
        let count = if is_upserted { 1 } else { BATCHES - BATCHES / 10 };
        assert_eq!(database.number(&format!("SELECT count(*) FROM t{number}")), count as i64, "t{number}");
        let last = if number == 0 { BATCHES - 1 } else { BATCHES - 2 };
        assert_eq!(database.number(&format!("SELECT max(newest) FROM t{number}")), newest(last), "t{number}");
        let equal = format!("SELECT count(*) FROM t{number} WHERE id = newest");
        assert_eq!(database.number(&equal), if is_upserted { 0 } else { count as i64 }, "t{number}");
    }
}

pub(crate) async fn a_series_from_another_offset_leaves_nothing_behind<D: TestDatabase>(database: &D) {
    let (mut sink, readings) = ready(database).await;
    let made = |encoder: <D::Sink as Sink>::Encoder, from: u64| {
        Made::of((0..3u64).map(|index| batch(encoder.clone(), &readings, from + 40 * index, Cell::Text("a"))).collect())
    };
    let mut series = made(sink.encoder(), 2);
    fails_as(sink.write_series(&mut series).await, Class::OffsetMoved);
    assert_eq!((stored(database), next_seq(&mut sink).await), ((0, 0), 1));
    let mut series = made(sink.encoder(), 1);
    write_whole(&mut sink, &mut series).await.unwrap();
    assert_eq!((stored(database), next_seq(&mut sink).await), ((120, 3), 121));
}

pub(crate) async fn a_refused_row_takes_the_whole_series_back<D: TestDatabase>(database: &D) {
    let (mut sink, readings) = ready(database).await;
    let mut committed = 0;
    for refused in [Some(0), Some(2), Some(5), None] {
        let batches = (committed..committed + 6).map(|index| {
            let site = if refused == Some(index - committed) { Cell::Null } else { Cell::Text("a") };
            batch(sink.encoder(), &readings, 1 + 40 * index, site)
        });
        let mut series = Made::of(batches.collect());
        let written = write_whole(&mut sink, &mut series).await;
        if let Some(refused) = refused {
            fails_as(written, Class::Row);
            assert!(series.committed() <= refused, "the refused row was written");
            committed += series.committed();
        } else {
            written.unwrap();
            committed += 6;
        }
        let expected = ((40 * committed).cast_signed(), committed.cast_signed());
        assert_eq!((stored(database), next_seq(&mut sink).await), (expected, 1 + 40 * committed));
    }
}

pub(crate) async fn a_table_that_goes_within_a_series_is_no_fault_of_the_rows<D: TestDatabase>(database: &D) {
    let (mut sink, readings) = ready(database).await;
    database.execute("CREATE TABLE gone (id BIGINT PRIMARY KEY, site TEXT NOT NULL)");
    let gone = schema_of(&mut sink, "gone").await;
    database.execute("DROP TABLE gone");
    for order in [[&readings, &gone], [&gone, &readings]] {
        let batches =
            [1, 41].iter().zip(order).map(|(&from, table)| batch(sink.encoder(), table, from, Cell::Text("a")));
        let mut series = Made::of(batches.collect());
        blames_no_row(sink.write_series(&mut series).await);
        assert_eq!((stored(database), next_seq(&mut sink).await), ((0, 0), 1));
    }
}
