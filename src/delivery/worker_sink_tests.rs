//! A SQLite sink whose writes fail by a script. All other calls go to the real sink.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::batch::{Batch, Unit};
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::{DeclaredType, NewIndex, NewTable, TableName};
use crate::schema::TableSchema;
use crate::sink::{
    Class, LiveIndex, ParkedLetter, ParkedRule, Refusals, RetainedPlace, Series, Sink, SinkError, SqliteEncoder,
    SqliteSink, StoredOffset, Written,
};

/// What the next calls of `write` do; the last one repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    /// The connection breaks before anything was applied.
    CutBefore,
    /// The commit is applied, its answer lost.
    CutAfter,
    /// The connection breaks, and the commit arrives on it after the next connection has read the offset.
    CutAndLate,
    /// The database says no, and no person has mended it yet.
    Table,
    /// A batch of more than one message is refused, and no row of it by itself.
    Whole,
}

/// A SQLite sink whose writes fail by a script.
pub(super) struct FaultySink {
    pub(super) inner: SqliteSink,
    pub(super) script: Arc<Mutex<VecDeque<Fault>>>,
    /// The offset that the next connection reads, though a commit under way will have moved it.
    pub(super) read_before: Option<Seq>,
    /// Batches that went with an earlier one.
    pub(super) joined: Arc<AtomicUsize>,
}

impl FaultySink {
    fn next_fault(&self) -> Fault {
        self.script.lock().unwrap().pop_front().unwrap_or(Fault::None)
    }
}

/// Adds the rows of a batch to those of the batches before it.
fn append(whole: &mut Batch, batch: &Batch) {
    for (index, unit) in batch.units.iter().enumerate() {
        let first_run = whole.runs.len();
        for run in batch.runs_of(index) {
            let rows = &batch.portions[run.portion];
            let portion = whole.open(&rows.target);
            for row in run.first_row..run.first_row + run.row_count {
                whole.portions[portion].bytes.extend_from_slice(rows.row(row));
                whole.add_row(portion, first_run, unit.rule);
            }
        }
        whole.units.push(Unit { runs: first_run..whole.runs.len(), ..unit.clone() });
    }
}

fn failure(class: Class) -> SinkError {
    SinkError { class, code: "test".to_owned(), message: "as the test wants it".to_owned(), advice: "none" }
}

impl Sink for FaultySink {
    type Encoder = SqliteEncoder;

    fn encoder(&self) -> SqliteEncoder {
        self.inner.encoder()
    }
    async fn connect(&mut self) -> Result<(), SinkError> {
        self.inner.connect().await
    }
    async fn offsets(&mut self, bridge: &str) -> Result<Vec<StoredOffset>, SinkError> {
        let mut offsets = self.inner.offsets(bridge).await?;
        if let Some(next_seq) = self.read_before.take() {
            offsets[0].next_seq = next_seq;
        }
        Ok(offsets)
    }
    async fn offsets_of_others(
        &mut self,
        bridge: &str,
        journals: &[JournalId],
    ) -> Result<Vec<(String, StoredOffset)>, SinkError> {
        self.inner.offsets_of_others(bridge, journals).await
    }
    fn rename_bridge_sql(&self, from: &str, to: &str, journals: &[JournalId]) -> String {
        self.inner.rename_bridge_sql(from, to, journals)
    }
    async fn start_offset(&mut self, bridge: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError> {
        self.inner.start_offset(bridge, journal, next_seq).await
    }
    async fn last_stored(
        &mut self,
        bridge: &str,
        places: &[RetainedPlace],
    ) -> Result<HashMap<RetainedPlace, i64>, SinkError> {
        self.inner.last_stored(bridge, places).await
    }
    async fn succeed_offset(
        &mut self,
        bridge: &str,
        gone: JournalId,
        journal: JournalId,
        next_seq: Seq,
    ) -> Result<(), SinkError> {
        self.inner.succeed_offset(bridge, gone, journal, next_seq).await
    }
    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
        self.inner.describe(table).await
    }
    fn create_table_sql(&self, table: &TableName, new: &NewTable<'_>) -> String {
        self.inner.create_table_sql(table, new)
    }
    async fn create_table(&mut self, table: &TableName, new: &NewTable<'_>) -> Result<String, SinkError> {
        self.inner.create_table(table, new).await
    }
    fn add_index_sql(&self, table: &TableName, index: &NewIndex<'_>) -> String {
        self.inner.add_index_sql(table, index)
    }
    async fn indexes(&mut self, table: &TableName) -> Result<Vec<LiveIndex>, SinkError> {
        self.inner.indexes(table).await
    }
    fn add_columns_sql(&self, table: &TableName, columns: &[(&str, DeclaredType)]) -> String {
        self.inner.add_columns_sql(table, columns)
    }
    async fn add_columns(&mut self, table: &TableName, columns: &[(&str, DeclaredType)]) -> Result<(), SinkError> {
        self.inner.add_columns(table, columns).await
    }
    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), SinkError> {
        self.inner.verify(tables).await
    }
    async fn write(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        match self.next_fault() {
            Fault::None => self.inner.write(batch).await,
            Fault::CutBefore => Err(failure(Class::Transient)),
            Fault::CutAfter => {
                self.inner.write(batch).await?;
                Err(failure(Class::Transient))
            }
            Fault::CutAndLate => {
                self.inner.write(batch).await?;
                self.read_before = Some(batch.offset.from);
                Err(failure(Class::Transient))
            }
            Fault::Table => Err(failure(Class::Table)),
            Fault::Whole if batch.units.len() > 1 => Err(failure(Class::Row)),
            Fault::Whole => self.inner.write(batch).await,
        }
    }
    async fn write_series<T: Series>(&mut self, series: &mut T) -> Result<Written, SinkError> {
        let mut whole = series.batch().clone();
        whole.dead_letters.clear();
        while series.advance() {
            self.joined.fetch_add(1, Ordering::Relaxed);
            append(&mut whole, series.batch());
        }
        whole.offset = series.offset();
        whole.dead_letters.extend(series.earlier_dead_letters().iter().chain(&series.batch().dead_letters).cloned());
        self.write(&whole).await
    }
    async fn refused_units(&mut self, batch: &Batch) -> Result<Refusals, SinkError> {
        self.inner.refused_units(batch).await
    }
    async fn write_in_order(&mut self, batch: &Batch) -> Result<Written, SinkError> {
        let is_whole = self.script.lock().unwrap().front() == Some(&Fault::Whole);
        if is_whole && batch.units.len() > 1 {
            return Err(failure(Class::Row));
        }
        self.inner.write_in_order(batch).await
    }
    async fn purge_dead_letters(&mut self, bridge: &str, before: Timestamp) -> Result<u64, SinkError> {
        self.inner.purge_dead_letters(bridge, before).await
    }
    async fn parked(&mut self, bridge: &str) -> Result<Vec<ParkedRule>, SinkError> {
        self.inner.parked(bridge).await
    }
    async fn parked_letters(
        &mut self,
        bridge: &str,
        rules: &[&str],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError> {
        self.inner.parked_letters(bridge, rules, limit, bytes_max).await
    }
    async fn close(&mut self) -> Result<(), SinkError> {
        self.inner.close().await
    }
}
