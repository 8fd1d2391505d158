//! What every sink promises, checked against the real database of each.
//!
//! A sink joins by implementing [`TestDatabase`] and one line of [`sink_contract!`].

pub(crate) mod definition;
pub(crate) mod keys;
pub(crate) mod letters;
pub(crate) mod order;
pub(crate) mod promises;
pub(crate) mod series;

use std::fmt::Debug;
use std::sync::Arc;

use rowbridge::batch::{Batch, DeadLetter, OffsetMove, Portion, RowEncoder, Target, Unit, Verb};
use rowbridge::clock::Timestamp;
use rowbridge::journal_id::JournalId;
use rowbridge::message::Seq;
use rowbridge::rule::TableName;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, Refusal, Sink, SinkError};

pub(crate) const JOURNAL: JournalId = JournalId([7; 16]);
pub(crate) const BRIDGE: &str = "gw1";

/// A fresh, empty database and what the tests need besides the sink.
pub(crate) trait TestDatabase {
    type Sink: Sink;

    /// A sink for this database, not yet connected.
    fn sink(&self) -> Self::Sink;

    /// Runs SQL over a connection of its own.
    fn execute(&self, sql: &str);

    /// The one number that `sql` gives, over a connection of its own.
    fn number(&self, sql: &str) -> i64;
}

/// Makes a module of tests, one for each promise. `$database` makes a fresh [`TestDatabase`].
macro_rules! sink_contract {
    ($module:ident, $database:expr) => {
        mod $module {
            crate::sink_contract::sink_contract!(@tests definition, $database;
                a_table_that_changed_takes_nothing_and_described_again_it_does,
                a_dead_letter_made_for_what_a_table_was_is_not_kept,
                a_batch_of_refused_units_alone_is_compared_too,
            );
            crate::sink_contract::sink_contract!(@tests keys, $database;
                the_keys_of_a_table_are_told,
                of_equal_keys_the_last_stays_and_what_is_there_is_replaced,
                of_equal_keys_the_first_stays_and_nothing_is_told,
                rows_that_are_all_key_go_in_once,
                a_refused_row_by_key_is_found_and_the_others_keep_their_order,
                a_row_that_goes_in_late_undoes_nothing_that_came_after_it,
                a_series_by_key_ends_with_what_came_last,
                a_key_without_its_index_is_no_fault_of_the_rows,
            );
            crate::sink_contract::sink_contract!(@tests letters, $database;
                letters_guard_their_batch_while_the_offset_moves,
            );
            crate::sink_contract::sink_contract!(@tests order, $database;
                children_before_their_parent_go_in_when_written_in_order,
                written_in_order_an_offender_leaves_nothing_behind,
                a_chain_with_each_child_before_its_parent_refuses_only_offenders,
                units_that_are_refused_by_the_hundred_are_all_found_by_calling_again,
            );
            crate::sink_contract::sink_contract!(@tests promises, $database;
                a_new_database_has_no_offset,
                an_offset_row_is_added_once_and_then_left_alone,
                the_offset_row_of_a_journal_that_is_gone_becomes_that_of_another,
                what_was_stored_last_is_remembered_with_the_rows_that_are_kept,
                a_journal_under_another_name_is_found_and_handed_over_by_the_sql_that_is_shown,
                rows_dead_letters_and_offset_commit_together,
                a_batch_from_another_offset_leaves_nothing_behind,
                a_batch_of_another_journal_leaves_nothing_behind,
                a_second_instance_is_fenced_off,
                a_refused_row_rolls_everything_back_and_is_found,
                of_two_equal_keys_in_a_batch_the_second_is_refused,
                a_unit_is_refused_as_a_whole,
                a_deferred_foreign_key_is_attributed_to_its_row,
                excluded_units_are_left_out,
                a_table_that_is_gone_is_no_fault_of_the_rows,
                a_missing_table_is_described_as_none,
                a_created_table_has_its_key_and_indexes,
                a_created_table_is_described_as_the_dialect_says,
                a_created_table_takes_every_declared_type,
                a_table_is_described_as_it_is,
                many_tables_are_described_in_order_and_the_missing_ones_as_none,
                two_sinks_may_set_up_a_database_at_once,
                only_old_dead_letters_of_the_bridge_are_purged,
                parked_messages_are_not_purged_and_taken_out_in_order_and_once,
                a_closed_sink_asks_for_a_connection,
            );
            crate::sink_contract::sink_contract!(@tests series, $database;
                batches_of_a_series_commit_together,
                rows_of_a_series_for_many_tables_are_all_there_in_their_order,
                a_series_from_another_offset_leaves_nothing_behind,
                a_refused_row_takes_the_whole_series_back,
                a_table_that_goes_within_a_series_is_no_fault_of_the_rows,
            );
        }
    };
    (@tests $promises:ident, $database:expr; $($name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::sink_contract::$promises::$name(&$database).await;
            }
        )*
    };
}
pub(crate) use sink_contract;

/// A batch under construction for the sink whose encoder it holds.
pub(crate) struct BatchBuilder<E> {
    pub(crate) batch: Batch,
    encoder: E,
}

impl<E: RowEncoder> BatchBuilder<E> {
    pub(crate) fn new(encoder: E, from: u64, to: u64) -> BatchBuilder<E> {
        let offset = OffsetMove { bridge: BRIDGE.into(), journal: JOURNAL, from: Seq(from), to: Seq(to) };
        BatchBuilder { batch: Batch::new(offset), encoder }
    }

    /// Adds a table of which all columns are filled that need to be; returns its index.
    pub(crate) fn table(&mut self, schema: &Arc<TableSchema>) -> usize {
        let columns = (0..schema.columns.len()).filter(|&index| !schema.columns[index].generated).collect();
        let id = self.batch.portions.len();
        self.batch.portions.push(Portion::new(Arc::new(Target::insert(id, Arc::clone(schema), columns))));
        id
    }

    /// Adds a table of which these columns are filled, and what is done with its rows; returns its index.
    pub(crate) fn table_by(&mut self, schema: &Arc<TableSchema>, columns: &[usize], verb: Verb) -> usize {
        let id = self.batch.portions.len();
        let target = Target::insert(id, Arc::clone(schema), columns.into());
        self.batch.portions.push(Portion::new(Arc::new(Target { in_order: verb != Verb::Insert, verb, ..target })));
        id
    }

    /// Adds a unit of these rows.
    pub(crate) fn unit(&mut self, table: usize, rows: &[&[Cell<'_>]]) {
        let first_run = self.batch.runs.len();
        self.rows(table, first_run, rows);
        let seq = Seq(self.batch.offset.from.0 + self.batch.units.len() as u64);
        self.batch.units.push(Unit { rule: 0, seq, runs: first_run..self.batch.runs.len() });
    }

    /// Adds rows to the unit whose runs begin at `first_run`.
    fn rows(&mut self, table: usize, first_run: usize, rows: &[&[Cell<'_>]]) {
        for row in rows {
            let portion = &mut self.batch.portions[table];
            assert_eq!(row.len(), portion.target.columns.len());
            self.encoder.begin_row(row.len(), &mut portion.bytes);
            for (&column, &cell) in portion.target.columns.iter().zip(*row) {
                self.encoder.cell(&portion.target.table.columns[column].column_type, cell, &mut portion.bytes);
            }
            self.batch.add_row(table, first_run, 0);
        }
    }
}

pub(crate) fn table_name(name: &str) -> TableName {
    TableName { schema: None, name: name.to_owned() }
}

pub(crate) fn dead_letter(seq: u64, created_at: Timestamp) -> DeadLetter {
    DeadLetter {
        rule: Some("telemetry".into()),
        seq: Seq(seq),
        received_at: Timestamp(1_795_249_560_123_456),
        topic: "sensors/a/d1/telemetry".to_owned(),
        qos: 1,
        retain: false,
        properties: Some(r#"{"unit":"°C"}"#.to_owned()),
        payload: b"\x00not json\xff".to_vec(),
        reason: "parse",
        error: "not JSON".to_owned(),
        attempts: 1,
        created_at,
        envelope: None,
    }
}

pub(crate) async fn connected<D: TestDatabase>(database: &D) -> D::Sink {
    let mut sink = database.sink();
    sink.connect().await.unwrap();
    sink
}

pub(crate) async fn schema_of<S: Sink>(sink: &mut S, table: &str) -> Arc<TableSchema> {
    Arc::new(sink.describe(&table_name(table)).await.unwrap().unwrap())
}

/// A connected sink that stands at seq 1, and the table `readings (id, site)`.
pub(crate) async fn ready<D: TestDatabase>(database: &D) -> (D::Sink, Arc<TableSchema>) {
    let mut sink = connected(database).await;
    database.execute("CREATE TABLE readings (id BIGINT PRIMARY KEY, site TEXT NOT NULL)");
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "readings").await;
    (sink, schema)
}

pub(crate) async fn next_seq<S: Sink>(sink: &mut S) -> u64 {
    let offsets = sink.offsets(BRIDGE).await.unwrap();
    offsets.iter().find(|offset| offset.journal == JOURNAL).unwrap().next_seq.0
}

#[track_caller]
pub(crate) fn fails_as<T: Debug>(result: Result<T, SinkError>, class: Class) {
    let error = result.unwrap_err();
    assert_eq!(error.class, class, "{} ({})", error.message, error.code);
    assert!(!error.code.is_empty() && !error.advice.is_empty());
}

/// An error for which no row is to be blamed: it is known that the table changed, or that something is wrong with it.
#[track_caller]
pub(crate) fn blames_no_row<T: Debug>(result: Result<T, SinkError>) {
    let error = result.unwrap_err();
    assert!(matches!(error.class, Class::Table | Class::TableChanged), "{} ({})", error.message, error.code);
}

pub(crate) fn units(refused: &[Refusal]) -> Vec<usize> {
    refused.iter().map(|refusal| refusal.unit).collect()
}
