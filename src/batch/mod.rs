//! What goes into a database in one transaction: made by mapping and delivery, taken by sinks.

mod encoder;

use std::sync::Arc;

pub use encoder::RowEncoder;

use crate::clock::Timestamp;
use crate::config::Bridge;
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::schema::TableSchema;

/// The offset's compare-and-swap: from → to, for this bridge and journal.
#[derive(Debug, Clone)]
pub struct OffsetMove {
    pub bridge: Bridge,
    pub journal: JournalId,
    pub from: Seq,
    pub to: Seq,
}

/// The rows that one message gives under one rule: they are written together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Index into the compiled rules of this database.
    pub rule: usize,
    pub seq: Seq,
    /// Index into [`Batch::tables`].
    pub table: usize,
    /// The first of its rows in that table, and how many.
    pub first_row: usize,
    pub row_count: usize,
}

/// Encoded rows for one table.
#[derive(Debug, Clone)]
pub struct TableRows {
    pub table: Arc<TableSchema>,
    /// The columns that the rows fill: indexes into `table.columns`, in row order.
    pub columns: Arc<[usize]>,
    /// All rows, one after the other, in the sink's wire form.
    pub bytes: Vec<u8>,
    /// `ends[i]` is the byte offset just past row `i`.
    pub ends: Vec<usize>,
}

/// A message kept in `rowbridge_dead_letters` in place of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// `None` when no rule took it.
    pub rule: Option<Arc<str>>,
    pub seq: Seq,
    pub received_at: Timestamp,
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    /// MQTT 5 properties as a JSON object.
    pub properties: Option<String>,
    pub payload: Vec<u8>,
    /// Short code: parse, value, required, constraint, table, size, topic, lost_range.
    pub reason: &'static str,
    pub error: String,
    pub attempts: u32,
    pub created_at: Timestamp,
    /// Of a message that is parked: see [`Message::envelope`](crate::message::Message::envelope).
    pub envelope: Option<Vec<u8>>,
}

/// Everything that commits together.
#[derive(Debug, Clone)]
pub struct Batch {
    pub offset: OffsetMove,
    /// One entry per target (a table and a column list; a table may have several); those without rows are passed over.
    pub tables: Vec<TableRows>,
    /// In journal order.
    pub units: Vec<Unit>,
    /// Units that are not to be written: sorted indexes into `units`.
    pub excluded: Vec<usize>,
    pub dead_letters: Vec<DeadLetter>,
    /// Tables for which a message gave no row because of how they are: of each it must be sure that it still is so.
    pub judged: Vec<Arc<TableSchema>>,
    /// Parked messages that are in this batch: their ids in the dead-letter table, from which they are taken out with it.
    /// All of them must still be there.
    pub released: Vec<i64>,
}

impl TableRows {
    /// The bytes of row `index`.
    pub fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

impl Batch {
    /// Whether the unit at `index` is left out.
    pub fn is_excluded(&self, index: usize) -> bool {
        self.excluded.binary_search(&index).is_ok()
    }

    /// Rows that will be written.
    pub fn row_count(&self) -> usize {
        let excluded: usize = self.excluded.iter().map(|&unit| self.units[unit].row_count).sum();
        self.tables.iter().map(|table| table.ends.len()).sum::<usize>() - excluded
    }

    /// Remembers a table for [`Batch::judged`].
    pub fn judge(&mut self, table: &Arc<TableSchema>) {
        if !self.judged.iter().any(|judged| Arc::ptr_eq(judged, table)) {
            self.judged.push(Arc::clone(table));
        }
    }

    /// The tables that must be as they were described for the batch to be right: those it has rows for, written or
    /// excluded, and those it was judged by. A table may come more than once.
    pub fn tables_at_stake(&self) -> impl Iterator<Item = &TableSchema> {
        let filled = self.tables.iter().filter(|rows| !rows.ends.is_empty()).map(|rows| &*rows.table);
        filled.chain(self.judged.iter().map(|table| &**table))
    }

    /// Takes the rows out, table by table; what is known of their units stays.
    pub fn take_rows(&mut self) -> Vec<TableRows> {
        let filled = self.tables.iter_mut().filter(|table| !table.ends.is_empty());
        filled
            .map(|table| TableRows {
                table: Arc::clone(&table.table),
                columns: Arc::clone(&table.columns),
                bytes: std::mem::take(&mut table.bytes),
                ends: std::mem::take(&mut table.ends),
            })
            .collect()
    }

    /// Takes the units from `len` on out again, with their rows: they must be the last ones that were added.
    pub fn truncate_units(&mut self, len: usize) {
        for unit in self.units.drain(len..).rev() {
            let table = &mut self.tables[unit.table];
            table.ends.truncate(unit.first_row);
            table.bytes.truncate(table.ends.last().copied().unwrap_or(0));
        }
    }

    /// Empties it for the next range, keeping its memory where it was used this time.
    pub fn clear(&mut self, from: Seq) {
        self.offset.from = from;
        self.offset.to = from;
        for table in &mut self.tables {
            // A rare combination of columns does not keep what its one large batch took.
            if table.ends.is_empty() {
                (table.bytes, table.ends) = (Vec::new(), Vec::new());
            }
            table.bytes.clear();
            table.ends.clear();
        }
        self.units.clear();
        self.excluded.clear();
        self.dead_letters.clear();
        self.released.clear();
        self.judged.clear();
    }
}
