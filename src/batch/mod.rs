//! The content of one transaction: mapping and delivery fill it, sinks write it.

mod encoder;
mod order;
mod pool;
mod retained;
mod rows;

use std::ops::Range;
use std::sync::Arc;

pub use encoder::RowEncoder;
pub use retained::{Remembered, last_of};
pub use rows::{Owner, Portion, Run, Target, Verb};

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

/// The state that must be unchanged for a batch to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The bridge's offset, which the batch moves; and the letters that it takes out.
    Offset,
    /// The letters that it takes out or amends, all of them, and of these there is at least one. The offset is left alone: the bridge
    /// may be moving it.
    Letters,
}

/// A dead letter that stays where it is: its message was tried again and gave no row. It counts one attempt more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    pub id: i64,
    /// As in [`DeadLetter`].
    pub reason: &'static str,
    pub error: String,
}

/// The rows that one message gives under one rule, in any number of tables: they are written together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Index into the compiled rules of this database.
    pub rule: usize,
    pub seq: Seq,
    /// Its rows: indexes into [`Batch::runs`]. Empty for a message that gives no row.
    pub runs: Range<usize>,
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
    /// All of the message but its payload, so that it becomes the message again: see
    /// [`Message::envelope`](crate::message::Message::envelope). `None` where that is not known, or never gives a row.
    pub envelope: Option<Vec<u8>>,
}

impl DeadLetter {
    /// Of what the message holds.
    pub fn bytes(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, String::len);
        self.payload.len() + properties + self.envelope.as_ref().map_or(0, Vec::len)
    }
}

/// Everything that commits together.
#[derive(Debug, Clone)]
pub struct Batch {
    pub offset: OffsetMove,
    pub guard: Guard,
    /// In the order in which they were opened; in which order they are written says [`Batch::writing_order`].
    pub portions: Vec<Portion>,
    /// Of all units, in journal order.
    pub runs: Vec<Run>,
    /// In journal order.
    pub units: Vec<Unit>,
    /// Units that are not to be written: sorted indexes into `units`.
    pub excluded: Vec<usize>,
    pub dead_letters: Vec<DeadLetter>,
    /// For rules with `retained: changed`.
    pub remembered: Vec<Remembered>,
    /// Tables for which a message gave no row because of how they are: of each it must be sure that it still is so.
    pub judged: Vec<Arc<TableSchema>>,
    /// Dead letters whose messages are in this batch: their ids in the dead-letter table, from which they are taken out with
    /// it. All of them must still be there.
    pub released: Vec<i64>,
    /// All of these must still be there as well.
    pub amended: Vec<Amendment>,
    /// The portion that takes rows of a target now, by [`Target::id`].
    open: Vec<Option<usize>>,
    /// The last portion of a table, by [`Target::table_id`].
    latest: Vec<Option<usize>>,
    /// Memory of earlier portions.
    spare: Vec<(Vec<u8>, Vec<usize>)>,
    /// Rows of all portions, and their bytes; kept because they are read for every message.
    rows: usize,
    bytes: usize,
}

impl Batch {
    /// An empty one that begins and ends at `offset`.
    pub fn new(offset: OffsetMove) -> Batch {
        Batch {
            offset,
            guard: Guard::Offset,
            portions: Vec::new(),
            runs: Vec::new(),
            units: Vec::new(),
            excluded: Vec::new(),
            dead_letters: Vec::new(),
            remembered: Vec::new(),
            judged: Vec::new(),
            released: Vec::new(),
            amended: Vec::new(),
            open: Vec::new(),
            latest: Vec::new(),
            spare: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// The portion that takes the next row of a target; opened if need be.
    #[inline]
    pub fn open(&mut self, target: &Arc<Target>) -> usize {
        match self.open.get(target.id) {
            Some(Some(portion)) if !target.in_order || self.latest[target.table_id] == Some(*portion) => *portion,
            _ => self.open_anew(target),
        }
    }

    #[cold]
    fn open_anew(&mut self, target: &Arc<Target>) -> usize {
        let (mut bytes, mut ends) = self.spare.pop().unwrap_or_default();
        bytes.clear();
        ends.clear();
        let portion = self.portions.len();
        self.portions.push(Portion { target: Arc::clone(target), bytes, ends, owner: Owner::Nobody });
        note(&mut self.open, target.id, portion);
        note(&mut self.latest, target.table_id, portion);
        portion
    }

    /// Adds the row that was just written behind the others of `portion` to the unit that is being made, whose runs begin
    /// at `first_run`.
    #[inline]
    pub fn add_row(&mut self, portion: usize, first_run: usize, rule: usize) {
        let rows = &mut self.portions[portion];
        self.rows += 1;
        self.bytes += rows.bytes.len() - rows.ends.last().copied().unwrap_or(0);
        rows.ends.push(rows.bytes.len());
        rows.owner = rows.owner.and(Owner::Rule(rule));
        match self.runs[first_run..].last_mut() {
            Some(run) if run.portion == portion => run.row_count += 1,
            _ => self.runs.push(Run { portion, first_row: rows.ends.len() - 1, row_count: 1 }),
        }
    }

    /// Takes the rows of the runs from `first_run` on out again: they must be the last ones that were added.
    pub fn truncate_runs(&mut self, first_run: usize) {
        for run in self.runs.drain(first_run..).rev() {
            let portion = &mut self.portions[run.portion];
            let before = portion.bytes.len();
            portion.truncate(run.first_row);
            if run.first_row == 0 {
                portion.owner = Owner::Nobody;
            }
            self.rows -= run.row_count;
            self.bytes -= before - portion.bytes.len();
        }
    }

    /// Takes the units from `len` on out again, with their rows: they must be the last ones that were added.
    pub fn truncate_units(&mut self, len: usize) {
        if let Some(unit) = self.units.get(len) {
            self.truncate_runs(unit.runs.start);
            self.units.truncate(len);
        }
    }

    /// The runs of the unit at `index`.
    pub fn runs_of(&self, index: usize) -> &[Run] {
        &self.runs[self.units[index].runs.clone()]
    }

    /// How many rows the unit at `index` has.
    pub fn rows_of(&self, index: usize) -> usize {
        self.runs_of(index).iter().map(|run| run.row_count).sum()
    }

    /// The tables of the unit at `index`; one may come more than once.
    pub fn tables_of(&self, index: usize) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.runs_of(index).iter().map(|run| &self.portions[run.portion].target.table)
    }

    /// Whether the unit at `index` is left out.
    pub fn is_excluded(&self, index: usize) -> bool {
        self.excluded.binary_search(&index).is_ok()
    }

    /// All rows, those of excluded units too.
    pub fn row_count_of_all(&self) -> usize {
        self.rows
    }

    /// The hashes to store for the written units, each place once.
    pub fn to_remember(&self) -> Vec<&Remembered> {
        last_of(self.remembered.iter().filter(|one| one.unit.is_none_or(|unit| !self.is_excluded(unit))))
    }

    /// Bytes of all rows.
    pub fn byte_count(&self) -> usize {
        self.bytes
    }

    /// Rows that will be written.
    pub fn row_count(&self) -> usize {
        let excluded: usize = self.excluded.iter().map(|&unit| self.rows_of(unit)).sum();
        self.row_count_of_all() - excluded
    }

    /// The portions that hold rows, in the order in which they are to be written: table by table, as the rules name them,
    /// then the rules' own statements. Those of one table are in the order in which they were opened. So the rows of a table
    /// whose rows must keep their order are in that of the journal, and so are all statements.
    pub fn writing_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.portions.len()).filter(|&at| !self.portions[at].ends.is_empty()).collect();
        order.sort_by_key(|&at| {
            let target = &self.portions[at].target;
            (target.has_statement(), target.table_id)
        });
        order
    }

    /// The rows of a portion whose units are not excluded, as ranges of row numbers.
    pub fn kept_rows(&self, portion: usize) -> Vec<Range<usize>> {
        let mut kept = Vec::new();
        let mut start = 0;
        let excluded = self.excluded.iter().flat_map(|&unit| self.runs_of(unit)).filter(|run| run.portion == portion);
        for run in excluded {
            if run.first_row > start {
                kept.push(start..run.first_row);
            }
            start = run.first_row + run.row_count;
        }
        let end = self.portions[portion].ends.len();
        if end > start {
            kept.push(start..end);
        }
        kept
    }

    /// Remembers a table for [`Batch::judged`].
    pub fn judge(&mut self, table: &Arc<TableSchema>) {
        if !self.judged.iter().any(|judged| Arc::ptr_eq(judged, table)) {
            self.judged.push(Arc::clone(table));
        }
    }

    /// The tables that must still match their descriptions for the batch to be right: the tables of its rows, written
    /// or excluded, and the tables by which messages were judged. A table may occur more than once.
    pub fn tables_at_stake(&self) -> impl Iterator<Item = &TableSchema> {
        let filled = self.portions.iter().filter(|portion| !portion.ends.is_empty());
        filled.map(|portion| &*portion.target.table).chain(self.judged.iter().map(|table| &**table))
    }

    /// Takes the rows out, portion by portion in writing order; what is known of their units stays.
    pub fn take_rows(&mut self) -> Vec<Portion> {
        let order = self.writing_order();
        (self.rows, self.bytes) = (0, 0);
        let take = |at: usize| {
            let portion = &mut self.portions[at];
            Portion {
                target: Arc::clone(&portion.target),
                bytes: std::mem::take(&mut portion.bytes),
                ends: std::mem::take(&mut portion.ends),
                owner: portion.owner,
            }
        };
        order.into_iter().map(take).collect()
    }

    /// Empties it for the next range, keeping memory in the measure of what was used this time.
    pub fn clear(&mut self, from: Seq) {
        self.offset.from = from;
        self.offset.to = from;
        let mut kept_max = 2 * self.byte_count();
        self.spare.clear();
        // In reverse, so that each of the same tables finds its own again.
        for portion in self.portions.drain(..).rev() {
            if portion.bytes.capacity() <= kept_max {
                kept_max -= portion.bytes.capacity();
                self.spare.push((portion.bytes, portion.ends));
            }
        }
        (self.rows, self.bytes) = (0, 0);
        self.open.fill(None);
        self.latest.fill(None);
        self.runs.clear();
        self.units.clear();
        self.excluded.clear();
        self.dead_letters.clear();
        self.remembered.clear();
        self.released.clear();
        self.amended.clear();
        self.judged.clear();
    }
}

fn note(list: &mut Vec<Option<usize>>, at: usize, portion: usize) {
    if list.len() <= at {
        list.resize(at + 1, None);
    }
    list[at] = Some(portion);
}
