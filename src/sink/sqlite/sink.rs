//! The calls of delivery and the commands on a SQLite file. Each delegates to the file that implements it, on the
//! connection that [`SqliteSink`] watches.

use std::collections::HashMap;
use std::sync::Arc;

use super::changes::capture;
use super::codes::{Moment, sink_error};
use super::{
    SqliteEncoder, SqliteSink, ledger, letters, parked, retained, schema, series, statements, walk, witness, write,
};
use crate::batch::Batch;
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::{DeclaredType, NewIndex, NewTable, Statement, TableName};
use crate::schema::TableSchema;
use crate::sink::{
    DeadLetterExtent, DeadLetterFilter, DeadLetterStore, LetterPlace, LiveIndex, ParkedLetter, ParkedRule, Refusals,
    RetainedPlace, Series, Sink, SinkError, StoredDeadLetter, StoredOffset, Unfit, Written, rename_bridge_sql,
};

impl Sink for SqliteSink {
    type Encoder = SqliteEncoder;

    fn encoder(&self) -> SqliteEncoder {
        SqliteEncoder
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.reconnect()
    }

    async fn offsets(&mut self, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
        self.with_connection(|connection| ledger::offsets(connection, bridge))
    }

    async fn offsets_of_others(
        &mut self,
        bridge: &str,
        journals: &[JournalId],
    ) -> Result<Vec<(String, StoredOffset)>, SinkError> {
        self.with_connection(|connection| ledger::offsets_of_others(connection, bridge, journals))
    }

    fn rename_bridge_sql(&self, from: &str, to: &str, journals: &[JournalId]) -> String {
        rename_bridge_sql("rowbridge_offsets", "rowbridge_dead_letters", from, to, journals)
    }

    async fn last_stored(
        &mut self,
        bridge: &str,
        places: &[RetainedPlace],
    ) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
        self.with_connection(|connection| retained::last_stored(connection, bridge, places))
    }

    async fn succeed_offset(
        &mut self,
        bridge: &str,
        gone: JournalId,
        journal: JournalId,
        next_seq: Seq,
    ) -> Result<(), SinkError> {
        self.with_connection(|connection| ledger::succeed_offset(connection, bridge, gone, journal, next_seq))
    }

    async fn start_offset(&mut self, bridge: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError> {
        self.with_connection(|connection| ledger::start_offset(connection, bridge, journal, next_seq))
    }

    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
        self.with_connection(|connection| schema::describe(connection, table))
    }

    async fn describe_statement(
        &mut self,
        name: &TableName,
        statement: &Arc<Statement>,
        declared: &[Option<DeclaredType>],
    ) -> Result<TableSchema, SinkError> {
        self.with_connection(|connection| statements::describe(connection, name, statement, declared))
    }

    async fn unfit_to_publish(&mut self, table: &TableName) -> Result<Option<Unfit>, SinkError> {
        self.with_connection(|connection| {
            capture::unfit(connection, &table.name)
                .map_err(|error| sink_error(&format!("cannot look at table {table}"), &error, Moment::Elsewhere))
        })
    }

    fn create_table_sql(&self, table: &TableName, new: &NewTable<'_>) -> String {
        schema::create_table_sql(table, new)
    }

    async fn create_table(&mut self, table: &TableName, new: &NewTable<'_>) -> Result<String, SinkError> {
        self.with_connection(|connection| schema::create_table(connection, table, new))
    }

    fn add_index_sql(&self, table: &TableName, index: &NewIndex<'_>) -> String {
        schema::index_sql(table, index)
    }

    async fn indexes(&mut self, table: &TableName) -> Result<Vec<LiveIndex>, SinkError> {
        self.with_connection(|connection| schema::indexes(connection, table))
    }

    fn add_columns_sql(&self, table: &TableName, columns: &[(&str, DeclaredType)]) -> String {
        schema::add_columns_sql(table, columns)
    }

    async fn add_columns(&mut self, table: &TableName, columns: &[(&str, DeclaredType)]) -> Result<(), SinkError> {
        self.with_connection(|connection| schema::add_columns(connection, table, columns))
    }

    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), SinkError> {
        self.with_connection(|connection| witness::check(witness::current(connection)?, tables.iter().copied()))
    }

    async fn write(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        self.with_open(|open| write::write(open, batch))
    }

    async fn write_series<T: Series>(&mut self, series: &mut T) -> Result<Written, SinkError> {
        if !series.may_advance() {
            return self.write(series.batch()).await;
        }
        self.with_open(|open| series::write(open, series))
    }

    async fn refused_units(&mut self, batch: &Batch) -> Result<Refusals, SinkError> {
        self.with_open(|open| {
            let refusals = walk::refused_units(&mut open.connection, batch);
            // The walk had a hook of its own.
            open.watch_commits()?;
            refusals
        })
    }

    async fn write_in_order(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        self.with_connection(|connection| walk::write_in_order(connection, batch))
    }

    async fn purge_dead_letters(&mut self, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
        self.with_connection(|connection| ledger::purge_dead_letters(connection, bridge, before))
    }

    async fn parked(&mut self, bridge: &str) -> Result<Vec<ParkedRule>, SinkError> {
        self.with_connection(|connection| parked::rules(connection, bridge))
    }

    async fn parked_letters(
        &mut self,
        bridge: &str,
        rules: &[&str],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.with_connection(|connection| parked::letters(connection, bridge, rules, limit, bytes_max))
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.was_opened = false;
        let taken = self.open.lock().take();
        let Some(mut open) = taken else { return Ok(()) };
        let copied = open.settle_log();
        // The last connection of all removes the log.
        let closed = open.close().map_err(|(open, error)| {
            open.abandon();
            error
        });
        closed.and(copied)
    }
}

impl DeadLetterStore for SqliteSink {
    async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
        limit: u32,
    ) -> Result<Vec<StoredDeadLetter>, SinkError> {
        self.with_connection(|connection| letters::page(connection, filter, limit))
    }

    async fn dead_letter_extent(&mut self, filter: &DeadLetterFilter) -> Result<DeadLetterExtent, SinkError> {
        self.with_connection(|connection| letters::extent(connection, filter))
    }

    async fn dead_letters_by_rule(&mut self, filter: &DeadLetterFilter) -> Result<Vec<(String, u64)>, SinkError> {
        self.with_connection(|connection| letters::by_rule(connection, filter))
    }

    async fn whole_letters(
        &mut self,
        filter: &DeadLetterFilter,
        after: LetterPlace,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.with_connection(|connection| letters::whole(connection, filter, after, limit, bytes_max))
    }

    async fn delete_dead_letters(&mut self, filter: &DeadLetterFilter, limit: u32) -> Result<u64, SinkError> {
        self.with_connection(|connection| letters::delete(connection, filter, limit))
    }
}
