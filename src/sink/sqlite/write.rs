//! A batch in one transaction: the offset's compare-and-swap, the rows, the dead letters.
//!
//! Rows are written table by table, many per statement, in an order that differs from that of their messages. Within a
//! transaction only foreign keys can notice this, so all of their checks are deferred to COMMIT.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, ffi};

use super::codes::{Moment, code_and_words, name, refusal_reason, sink_error};
use super::connect::OpenDatabase;
use super::encode::{Malformed, Unfit, Value, take_value};
use super::merge::on_conflict;
use super::{ledger, parked, retained, statements, witness};
use crate::batch::{Batch, Portion, Target, Verb};
use crate::rule::quote;
use crate::schema::TableSchema;
use crate::sink::{Class, SinkError, Written};

/// Rows in one INSERT. Measured with SQLite 3.54, 11 columns, 5,000 rows to a commit, the best of 80 commits in each of
/// three runs on a busy machine: one row 1.3 to 1.7 million rows/s, 8 or 16 rows 1.6 to 1.9, 64 and more 1.1 to 1.6.
const STATEMENT_ROWS_MAX: usize = 16;

/// Parameters of one INSERT, for wide tables: SQLite's own limit is 32,766, and a compiled statement takes memory for
/// each.
const STATEMENT_PARAMETERS_MAX: usize = 1024;

/// Why rows were not inserted.
#[derive(Debug)]
pub(super) enum InsertError {
    /// They are at fault (or one of them).
    Refused(Refused),
    /// They are not.
    Failed(SinkError),
}

/// What the database, or the encoder, has against a row.
#[derive(Debug)]
pub(super) struct Refused {
    /// SQLite's result code by name, or `unfit`.
    pub(super) code: String,
    /// A dead letter's short code.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// A row that comes later may mend it.
    pub(super) lacks_parent: bool,
    /// The table that refused it; `None` if the commit did.
    pub(super) table: Option<Arc<TableSchema>>,
    /// What it is if no row is at fault; `None` if the code blames the row.
    pub(super) doubt: Option<Box<SinkError>>,
}

/// Writes the batch; `Ok` only after COMMIT.
pub(super) fn write(open: &mut OpenDatabase, batch: &Batch) -> Result<Written, SinkError> {
    let mut written = Written::default();
    let transaction = begin(&mut open.connection)?;
    crash_point!("sqlite.begun");
    let version = witness::current(&transaction)?;
    witness::check(version, batch.tables_at_stake())?;
    ledger::check_guard(&transaction, batch)?;
    // Before the rows, which a rival that took the same letters out has written already.
    parked::settle(&transaction, batch)?;
    crash_point!("sqlite.offset.moved");
    open.foreign_keys.put_off(&transaction, version)?;
    for index in batch.writing_order() {
        let portion = &batch.portions[index];
        let kept: Vec<usize> = batch.kept_rows(index).into_iter().flatten().collect();
        let taken = Inserter::new(&transaction, portion).insert_all(&kept).map_err(InsertError::into_sink_error)?;
        written.note(&portion.target, portion.owner.rule(), kept.len() as u64, taken);
    }
    crash_point!("sqlite.rows.written");
    ledger::add_dead_letters(&transaction, &batch.offset.bridge, &batch.dead_letters)?;
    retained::remember(&transaction, &batch.offset.bridge, &batch.to_remember())?;
    crash_point!("sqlite.letters.written");
    transaction.commit().map_err(|error| sink_error("cannot commit the batch", &error, Moment::Commit))?;
    crash_point!("sqlite.committed");
    Ok(written)
}

/// Takes the write lock at once: a transaction that began with reading could fail later, half way.
pub(super) fn begin(connection: &mut Connection) -> Result<Transaction<'_>, SinkError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| sink_error("cannot begin a transaction", &error, Moment::Elsewhere))
}

/// Until the end of the transaction.
pub(super) fn put_off_foreign_keys(connection: &Connection) -> Result<(), SinkError> {
    connection
        .execute_batch("PRAGMA defer_foreign_keys = ON")
        .map_err(|error| sink_error("cannot put off foreign keys", &error, Moment::Elsewhere))
}

/// Whether the database has any foreign key, as of one version of its schema. To put them off costs a small transaction as
/// much as its rows: SQLite compiles every statement anew after it.
#[derive(Debug, Default)]
pub(super) struct ForeignKeys {
    schema_version: Option<i64>,
    exist: bool,
}

impl ForeignKeys {
    /// Puts them off until the end of the transaction, if there are any under the schema of this version. Of all tables: a
    /// trigger may write into others.
    pub(super) fn put_off(&mut self, transaction: &Transaction<'_>, version: i64) -> Result<(), SinkError> {
        if self.schema_version != Some(version) {
            let failed = |error| sink_error("cannot look for foreign keys", &error, Moment::Elsewhere);
            const EXIST: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) \
                                 WHERE s.type = 'table')";
            let mut statement = transaction.prepare_cached(EXIST).map_err(failed)?;
            self.exist = statement.query_row([], |row| row.get(0)).map_err(failed)?;
            self.schema_version = Some(version);
        }
        if self.exist { put_off_foreign_keys(transaction) } else { Ok(()) }
    }
}

/// Inserts rows of one table, and returns how many of them the table took. SQLite counts rows that the statement itself
/// inserted. Rows that a trigger ignores (`RAISE(IGNORE)`) or that ON CONFLICT IGNORE skips are not counted; a row that
/// replaces another is; further effects of triggers are not.
pub(super) struct Inserter<'a> {
    connection: &'a Connection,
    rows: &'a Portion,
    rows_per_statement: usize,
    single: String,
    multiple: String,
}

impl<'a> Inserter<'a> {
    pub(super) fn new(connection: &'a Connection, rows: &'a Portion) -> Inserter<'a> {
        let target = &rows.target;
        let rows_per_statement = match target.table.intake.by_insert || target.has_statement() {
            true => 1,
            false => rows_per_statement(target.columns.len()),
        };
        Inserter {
            connection,
            rows,
            rows_per_statement,
            single: insert_sql(rows, 1),
            multiple: insert_sql(rows, rows_per_statement),
        }
    }

    /// The rows of these indexes, as many to a statement as fit.
    pub(super) fn insert_all(&self, indexes: &[usize]) -> Result<u64, InsertError> {
        if indexes.is_empty() {
            return Ok(0);
        }
        let (chunks, rest) = indexes.split_at(indexes.len() - indexes.len() % self.rows_per_statement);
        let taken = self.run(&self.multiple, chunks.chunks(self.rows_per_statement))?;
        Ok(taken + self.run(&self.single, rest.chunks(1))?)
    }

    /// The rows of these indexes, one to a statement: if one fails, it is that one's fault.
    pub(super) fn insert_singly(&self, first: usize, count: usize) -> Result<u64, InsertError> {
        let indexes: Vec<usize> = (first..first + count).collect();
        self.run(&self.single, indexes.chunks(1))
    }

    fn run<'i>(&self, sql: &str, chunks: impl ExactSizeIterator<Item = &'i [usize]>) -> Result<u64, InsertError> {
        if chunks.len() == 0 {
            return Ok(0);
        }
        let mut taken = 0;
        // Back in the cache, the statement lets go of its copies of the last values.
        let mut statement = self
            .connection
            .prepare_cached(sql)
            .map_err(|error| InsertError::Failed(sink_error(&self.what(), &error, Moment::Elsewhere)))?;
        for chunk in chunks {
            let mut parameter = 1;
            for &index in chunk {
                self.bind(&mut statement, &mut parameter, self.rows.row(index))?;
            }
            let before = self.connection.total_changes();
            let run = match self.rows.target.has_statement() {
                true => run_to_the_end(&mut statement),
                false => statement.raw_execute(),
            };
            let counted = run.map_err(|error| self.insert_error(sql, &error))?;
            taken += match self.rows.target.table.intake.by_insert {
                false => counted as u64,
                // Rows of a view do not count. Its trigger has taken the row if it changed anything.
                true => u64::from(self.connection.total_changes() > before),
            };
            crash_point!("sqlite.rows.half");
        }
        Ok(taken)
    }

    /// Binds one row's values from `parameter` on.
    fn bind(&self, statement: &mut Statement<'_>, parameter: &mut usize, mut row: &[u8]) -> Result<(), InsertError> {
        for &column in self.rows.target.columns.iter() {
            let value = match take_value(&mut row).map_err(|malformed| self.malformed(malformed))? {
                Value::Null => ValueRef::Null,
                Value::Integer(value) => ValueRef::Integer(value),
                Value::Real(value) => ValueRef::Real(value),
                Value::Text(bytes) => ValueRef::Text(bytes),
                Value::Blob(bytes) => ValueRef::Blob(bytes),
                Value::Unfit(unfit) => return Err(InsertError::Refused(self.unfit(column, unfit))),
            };
            statement
                .raw_bind_parameter(*parameter, ToSqlOutput::Borrowed(value))
                .map_err(|error| InsertError::Failed(sink_error(&self.what(), &error, Moment::Row)))?;
            *parameter += 1;
        }
        if row.is_empty() { Ok(()) } else { Err(self.malformed(Malformed)) }
    }

    fn insert_error(&self, sql: &str, error: &rusqlite::Error) -> InsertError {
        let code = code_and_words(error).map_or(ffi::SQLITE_INTERNAL, |(code, _)| code);
        // SQLite compiles a statement anew when the schema changed, inside the insert: a table that has just been
        // dropped is no fault of the row's.
        if code & 0xff == ffi::SQLITE_ERROR
            && let Err(error) = self.connection.prepare(sql)
        {
            return InsertError::Failed(sink_error(&self.what(), &error, Moment::Elsewhere));
        }
        let mut found = sink_error(&self.what(), error, Moment::Row);
        if code == ffi::SQLITE_FULL && !self.rows.target.has_statement() && self.is_out_of_rowids() {
            found = self.out_of_rowids();
        }
        if !found.class.may_be_a_row() {
            return InsertError::Failed(found);
        }
        InsertError::Refused(Refused {
            code: name(code),
            reason: refusal_reason(code),
            message: found.message.clone(),
            lacks_parent: code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
            table: Some(Arc::clone(&self.rows.target.table)),
            doubt: (found.class != Class::Row)
                .then(|| Box::new(SinkError { class: found.class.without_a_row(), ..found })),
        })
    }

    /// Whether the table has given out its last AUTOINCREMENT id, which SQLite tells as a full disk.
    fn is_out_of_rowids(&self) -> bool {
        let table = &self.rows.target.table.name;
        let ask = format!(
            "SELECT 1 FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE \
             AND (seq = ?2 OR EXISTS (SELECT 1 FROM {} WHERE rowid = ?2))",
            table.quoted()
        );
        self.connection.query_row(&ask, (&table.name, i64::MAX), |_| Ok(())).is_ok()
    }

    fn out_of_rowids(&self) -> SinkError {
        SinkError {
            class: Class::RowOrTable,
            code: "SQLITE_FULL".to_owned(),
            message: format!("{}: its AUTOINCREMENT has given out the largest id there is (SQLITE_FULL)", self.what()),
            advice: "the disk is not full: move the row with that id, and lower `seq` of the table in sqlite_sequence",
        }
    }

    fn unfit(&self, column: usize, unfit: Unfit) -> Refused {
        let column = self.rows.target.table.columns.get(column).map_or("?", |column| column.name.as_str());
        Refused {
            code: "unfit".to_owned(),
            reason: unfit.reason(),
            message: format!("{}: column {column}: {unfit}", self.what()),
            lacks_parent: false,
            table: Some(Arc::clone(&self.rows.target.table)),
            doubt: None,
        }
    }

    fn malformed(&self, malformed: Malformed) -> InsertError {
        InsertError::Failed(SinkError {
            class: Class::Table,
            code: "encoding".to_owned(),
            message: format!("{}: {malformed}", self.what()),
            advice: "this is a bug in rowbridge: please report it; nothing is dropped",
        })
    }

    fn what(&self) -> String {
        let name = &self.rows.target.table.name;
        match self.rows.target.has_statement() {
            true => name.described(),
            false => format!("cannot write into table {name}"),
        }
    }
}

impl InsertError {
    /// For an error of class Table, that of a table which takes nothing.
    pub(super) fn into_refused(self, table: &Arc<TableSchema>) -> Refused {
        match self {
            InsertError::Refused(refused) => refused,
            InsertError::Failed(error) => Refused {
                code: error.code.clone(),
                reason: "constraint",
                message: error.message.clone(),
                lacks_parent: false,
                table: Some(Arc::clone(table)),
                doubt: Some(Box::new(error)),
            },
        }
    }

    pub(super) fn into_sink_error(self) -> SinkError {
        match self {
            InsertError::Failed(error) => error,
            InsertError::Refused(Refused { doubt: Some(error), .. }) => {
                SinkError { class: error.class.while_rows_are_taken(), ..*error }
            }
            InsertError::Refused(refused) => SinkError {
                class: Class::Row,
                code: refused.code,
                message: refused.message,
                advice: "the offending message is set apart as its rule's on_error says",
            },
        }
    }
}

/// Runs a statement of a rule's own, passing over rows that it gives (`RETURNING`). How many rows it changed is its own affair:
/// it counts as one.
fn run_to_the_end(statement: &mut Statement<'_>) -> rusqlite::Result<usize> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(1)
}

/// How many rows go into one INSERT.
fn rows_per_statement(column_count: usize) -> usize {
    match column_count {
        // DEFAULT VALUES makes one row.
        0 => 1,
        _ => (STATEMENT_PARAMETERS_MAX / column_count).clamp(1, STATEMENT_ROWS_MAX),
    }
}

/// Rows with a key of which the table has one are passed over or put in its place, as the target says. `OR IGNORE` and
/// `OR REPLACE` would do more: pass over rows that break NOT NULL or CHECK, delete others that share a second key.
fn insert_sql(rows: &Portion, row_count: usize) -> String {
    let Target { table: schema, columns, verb, .. } = &*rows.target;
    if let Verb::Statement(statement) = verb {
        return statements::sql(statement);
    }
    let table = schema.name.quoted();
    if columns.is_empty() {
        return format!("INSERT INTO {table} DEFAULT VALUES");
    }
    let names: Vec<String> = columns.iter().map(|&column| quote(&schema.columns[column].name)).collect();
    let row = format!("({})", vec!["?"; names.len()].join(","));
    let values = vec![row; row_count].join(",");
    let on_conflict = on_conflict(schema, columns, verb).unwrap_or_default();
    format!("INSERT INTO {table} ({}) VALUES {values}{on_conflict}", names.join(","))
}
