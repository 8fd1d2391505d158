//! Databases: the trait [`Sink`], and one folder for each engine.

mod changes;
mod dead_letters;
mod error;
pub mod escape;
mod literal;
mod parked;
mod postgres;
mod preview;
pub mod query;
mod series;
mod sqlite;
mod written;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use changes::{
    Capture, Change, ChangeFeed, ChangeKey, ChangeKind, Done, News, Overflow, Reading, Settled, StoredPublication,
    Unfit, fields, push_string,
};
pub use dead_letters::{DeadLetterExtent, DeadLetterFilter, DeadLetterStore, LetterPlace, StoredDeadLetter};
pub use error::{Class, IN_USE, SinkError};
pub use parked::{ParkedLetter, ParkedRule};
pub(crate) use postgres::Rights;
pub use postgres::{PostgresChanges, PostgresEncoder, PostgresParameters, PostgresReader, PostgresSink};
pub use preview::{Held, Preview, Unheld};
pub use series::Series;
pub use sqlite::{SqliteChanges, SqliteEncoder, SqliteReader, SqliteSink};
pub use written::{Swallowed, Written};

use self::literal::literal;
use crate::batch::{Batch, RowEncoder};
use crate::clock::Timestamp;
use crate::config::{Database, DatabaseUrl};
use crate::journal_id::JournalId;
use crate::message::Seq;
use crate::rule::{DeclaredType, NewIndex, NewTable, Statement, TableName};
use crate::schema::TableSchema;

/// Refusals that one call of [`Sink::refused_units`] gives at most, where each costs time. On Postgres that is about four
/// tries of four round trips, all in one transaction that holds the offset's row: for this many three seconds at 1 ms of
/// round trip, nearly three minutes at 50 ms.
pub const REFUSALS_MAX: usize = 200;

/// How long one purge of dead letters may hold up delivery; what is left goes the next time.
const PURGE_TIME_MAX: Duration = Duration::from_secs(1);

/// A row of `rowbridge_offsets` of this bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredOffset {
    pub journal: JournalId,
    /// The first message that is not in the database.
    pub next_seq: Seq,
    pub updated_at: Timestamp,
}

/// A topic of a rule with `retained: changed`: the rule's name and the topic's hash.
pub type RetainedPlace = (Arc<str>, i64);

/// The publications of a bridge in a database. A missing SQLite file has none, and is not created.
pub async fn stored_publications(database: &Database, bridge: &str) -> Result<Vec<StoredPublication>, SinkError> {
    match &database.url {
        DatabaseUrl::Sqlite(path) if !path.exists() => Ok(Vec::new()),
        DatabaseUrl::Sqlite(_) => SqliteChanges::stored(database, bridge).await,
        DatabaseUrl::Postgres(_) => PostgresChanges::stored(database, bridge).await,
    }
}

/// See [`Sink::rename_bridge_sql`]; the tables as SQL writes their names.
fn rename_bridge_sql(offsets: &str, dead_letters: &str, from: &str, to: &str, journals: &[JournalId]) -> String {
    let (from, to) = (literal(from), literal(to));
    let journals: Vec<String> = journals.iter().map(|journal| literal(&journal.to_string())).collect();
    let journals = journals.join(", ");
    format!(
        "UPDATE {offsets} SET bridge = {to} WHERE bridge = {from} AND journal_id IN ({journals}); \
         UPDATE {dead_letters} SET bridge = {to} WHERE bridge = {from};"
    )
}

/// An index of a live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveIndex {
    pub name: String,
    /// The columns that it begins with, before any expression; none if it does not hold for every row.
    pub columns: Vec<String>,
}

/// A row, found by [`Sink::refused_units`], that the database will not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Index into [`Batch::units`].
    pub unit: usize,
    /// A dead letter's short code: constraint, value, size.
    pub reason: &'static str,
    /// The database's message, with its code; never the row's values.
    pub message: String,
}

/// The result of [`Sink::refused_units`].
#[derive(Debug, Default)]
pub struct Refusals {
    /// In the order of [`Batch::units`].
    pub units: Vec<Refusal>,
    /// Tables of which no row passes any more: then no row is to blame.
    pub closed: Vec<ClosedTable>,
}

/// A table that takes no row of the batch from some unit on, for a reason that may not be the rows'.
#[derive(Debug)]
pub struct ClosedTable {
    /// The first unit that it did not take: an index into [`Batch::units`].
    pub unit: usize,
    pub table: Arc<TableSchema>,
    /// Of class Table or Transient.
    pub error: SinkError,
    /// The table refused before it was given a row: no row can be at fault.
    pub at_start: bool,
    /// It is the table's own trouble, even if the error passes: others of the database may go on without it.
    pub is_its_own: bool,
}

/// A database that takes batches.
///
/// The caller owns the order: `connect`, then `offsets`, then `describe` for each table, then `write` again and again.
/// After any `Err` of class Transient or SessionEnded the connection is lost for the caller: it calls `connect` again and
/// READS THE OFFSET AGAIN, because a commit without an answer may have been applied. All calls are made from the one thread
/// that owns the sink, so a blocking implementation delays nobody else.
#[allow(async_fn_in_trait)]
pub trait Sink {
    type Encoder: RowEncoder;

    /// The encoder that fits this sink's `write`.
    fn encoder(&self) -> Self::Encoder;

    /// Opens a fresh connection (dropping the old one), applies the migrations under a lock.
    async fn connect(&mut self) -> Result<(), SinkError>;

    /// After `connect` failed with the code `connect`: whether a server answers there by now. Cheap, at most a few
    /// seconds; a sink that cannot know returns false.
    async fn is_reachable(&mut self) -> bool {
        false
    }

    /// This bridge's offset rows.
    async fn offsets(&mut self, bridge: &str) -> Result<Vec<StoredOffset>, SinkError>;

    /// The offset rows of these journals that go under another bridge's name, each with that name.
    async fn offsets_of_others(
        &mut self,
        bridge: &str,
        journals: &[JournalId],
    ) -> Result<Vec<(String, StoredOffset)>, SinkError>;

    /// The SQL that hands the offset rows of these journals, and the dead letters, of one bridge over to another.
    fn rename_bridge_sql(&self, from: &str, to: &str, journals: &[JournalId]) -> String;

    /// Adds the offset row if there is none for this bridge and journal; an existing one is left alone.
    async fn start_offset(&mut self, bridge: &str, journal: JournalId, next_seq: Seq) -> Result<(), SinkError>;

    /// Makes the offset row of a journal that is gone that of `journal`, from `next_seq` on. Does nothing if there is no such
    /// row, or if `journal` has one.
    async fn succeed_offset(
        &mut self,
        bridge: &str,
        gone: JournalId,
        journal: JournalId,
        next_seq: Seq,
    ) -> Result<(), SinkError>;

    /// The hash of what was stored last at each of these places, see [`Batch::remembered`]; none where nothing was.
    async fn last_stored(
        &mut self,
        bridge: &str,
        places: &[RetainedPlace],
    ) -> Result<HashMap<RetainedPlace, i64>, SinkError>;

    /// The live table, or `None` if there is no such table. An error of class Table concerns this table alone, and leaves the
    /// connection usable.
    async fn describe(&mut self, table: &TableName) -> Result<Option<TableSchema>, SinkError>;

    /// The results of [`Sink::describe`], in order. A sink that may be distant asks for all of them at once.
    async fn describe_all(&mut self, tables: &[&TableName]) -> Result<Vec<Option<TableSchema>>, SinkError> {
        let mut described = Vec::with_capacity(tables.len());
        for table in tables {
            described.push(self.describe(table).await?);
        }
        Ok(described)
    }

    /// Whether the database can hold this text as the name of a table or column. Its encoding may lack a character.
    async fn holds_name(&mut self, _name: &str) -> Result<bool, SinkError> {
        Ok(true)
    }

    /// Describes the binds of a rule's own statement as a table: a column for each bind, in their order, under `name`.
    /// `declared` are the binds' types as far as the configuration gives them, for an engine that has no types for
    /// binds. An error of class Table says why the database rejects the statement.
    async fn describe_statement(
        &mut self,
        name: &TableName,
        _statement: &Arc<Statement>,
        _declared: &[Option<DeclaredType>],
    ) -> Result<TableSchema, SinkError> {
        Err(SinkError {
            class: Class::Table,
            code: "statement".to_owned(),
            message: format!("{}: this database takes no statements", name.described()),
            advice: "name a table in the rule",
        })
    }

    /// For a table that is described as `None`: what exists in its place or under a similar name, and what to write in
    /// the configuration, as one sentence for people; `None` if nothing does.
    async fn instead_of(&mut self, _table: &TableName) -> Result<Option<String>, SinkError> {
        Ok(None)
    }

    /// Why the rows of a table cannot be published; `None` if they can, and if there is no such table.
    async fn unfit_to_publish(&mut self, _table: &TableName) -> Result<Option<Unfit>, SinkError> {
        Ok(None)
    }

    /// The SQL that makes a missing table with its indexes.
    fn create_table_sql(&self, table: &TableName, new: &NewTable<'_>) -> String;

    /// Makes the table with its indexes, or nothing of it; returns the SQL. One that appeared meanwhile is no error, and is
    /// left as it is.
    async fn create_table(&mut self, table: &TableName, new: &NewTable<'_>) -> Result<String, SinkError>;

    /// The `CREATE INDEX` for a table that is in use.
    fn add_index_sql(&self, table: &TableName, index: &NewIndex<'_>) -> String;

    /// The indexes of a table.
    async fn indexes(&mut self, table: &TableName) -> Result<Vec<LiveIndex>, SinkError>;

    /// The `ALTER TABLE` that adds columns to a table, each of which takes NULL.
    fn add_columns_sql(&self, table: &TableName, columns: &[(&str, DeclaredType)]) -> String;

    /// Adds them; one that is there by now is no error. An error leaves the table as it was. Waits for other users of the
    /// table a moment only: then the error's code is [`IN_USE`].
    async fn add_columns(&mut self, table: &TableName, columns: &[(&str, DeclaredType)]) -> Result<(), SinkError>;

    /// [`Class::TableChanged`] if one of these tables is not any more as it was described. One round trip; locks nothing.
    async fn verify(&mut self, tables: &[&TableSchema]) -> Result<(), SinkError>;

    /// One transaction: rows, dead letters and the offset's compare-and-swap. `Ok` only after COMMIT was confirmed. A
    /// compare-and-swap that finds another offset returns [`Class::OffsetMoved`] and changes nothing.
    ///
    /// The result includes the rows that a table swallowed without an error.
    ///
    /// Before COMMIT, and under the locks of the rows, every table of [`Batch::tables_at_stake`] is compared with its
    /// description; a difference returns [`Class::TableChanged`] and changes nothing. [`Sink::write_series`] and
    /// [`Sink::write_in_order`] do the same. An error of another class may also result from an altered table:
    /// [`Sink::verify`] decides.
    async fn write(&mut self, batch: &Batch) -> Result<Written, SinkError>;

    /// Writes the current batch as `write` does and may write further batches of the series in the same transaction. An
    /// error rolls back all of them, and blames no unit if there was more than one batch.
    async fn write_series<T: Series>(&mut self, series: &mut T) -> Result<Written, SinkError> {
        self.write(series.batch()).await
    }

    /// After `write` failed with [`Class::Row`], [`Class::RowOrTable`], [`Class::RowOrTransient`] or [`Class::Table`], or again
    /// and again with [`Class::SessionEnded`]: finds the units that the database refuses, and the tables that accept none, and changes nothing.
    ///
    /// A unit that was refused with a code that does not mention rows (a trigger can raise any) is at fault if later
    /// rows of its table are accepted. If none is, its table is closed from there on.
    ///
    /// Tries every unit of the batch that is not yet excluded, in order, each on top of the accepted ones, with
    /// deferred constraints made immediate. A refused unit is tried again as long as others of the batch are accepted,
    /// since it may refer to later rows.
    ///
    /// May return only the first [`REFUSALS_MAX`], as though the batch ended there: exclude them and call again. An
    /// empty result means that every unit was accepted. Then `write` failed at the order of the tables, and
    /// [`Sink::write_in_order`] avoids this.
    async fn refused_units(&mut self, batch: &Batch) -> Result<Refusals, SinkError>;

    /// As `write`, but with the rows in journal order instead of table by table: compare-and-swap and dead letters,
    /// then the units as [`Sink::refused_units`] tries them, then COMMIT if every one of them was accepted. Much slower
    /// than `write`. For batches that `write` refuses although none of their units is refused alone: under a foreign
    /// key that is not deferred, the child's table may be written before the parent's.
    ///
    /// `Ok` only after COMMIT was confirmed. [`Class::Row`] if a unit was refused; any error changes nothing.
    async fn write_in_order(&mut self, batch: &Batch) -> Result<Written, SinkError>;

    /// Deletes this bridge's dead letters created before `before`, those of parked messages excepted, in small
    /// transactions, as many as go within about a second; returns how many. An error of class Table (the right to delete is missing) leaves rows and offset as
    /// deliverable as they were.
    async fn purge_dead_letters(&mut self, bridge: &str, before: Timestamp) -> Result<u64, SinkError>;

    /// The parked messages of this bridge, by rule, including rules that are not in the configuration.
    async fn parked(&mut self, bridge: &str) -> Result<Vec<ParkedRule>, SinkError>;

    /// The oldest parked messages of these rules, in the order in which they were parked: at most `limit`, and not many
    /// more than `bytes_max` bytes of payload; at least one if there is one.
    async fn parked_letters(
        &mut self,
        bridge: &str,
        rules: &[&str],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<ParkedLetter>, SinkError>;

    /// Closes the connection politely. An error says what was left undone; nothing that was committed is lost by it.
    async fn close(&mut self) -> Result<(), SinkError>;
}
