//! Reading with one statement, for queries over MQTT: bounded in time, rows and bytes, and never writing.
//!
//! A reader is not on the path of messages: it has its own connection and leaves no transaction open. If the process
//! dies during a query, the database has nothing to undo.

use std::time::Instant;

use thiserror::Error;

use super::{PostgresReader, SqliteReader};
use crate::batch::RowEncoder;
use crate::config::{Database, DatabaseUrl};
use crate::rule::QueryStatement;
use crate::schema::ColumnType;

/// A statement to run once.
#[derive(Debug)]
pub struct Query<'q> {
    pub statement: &'q QueryStatement,
    /// One for each of [`QueryStatement::parameter_count`].
    pub parameters: &'q [Parameter],
    pub rows_max: usize,
    /// Of one value, and about of all of them.
    pub bytes_max: usize,
    /// Whoever asked wrote the statement himself (`allow_sql`).
    pub is_foreign: bool,
    /// The statement is ended then.
    pub deadline: Instant,
}

/// The value of a bind.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The type of a column, as far as its answer needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
    Real,
    Double,
    Decimal,
    Text,
    Json,
    Bytes,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Inet,
    /// SQLite, if nothing is declared and there is no row.
    Any,
    /// The name that the database has for it.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerColumn {
    pub name: String,
    pub kind: Kind,
}

/// One value of an answer. [`crate::schema::json_value`] defines its JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerValue {
    Null,
    Bool(bool),
    /// As JSON writes it, with all of its digits.
    Number(String),
    /// Valid JSON.
    Json(String),
    Text(String),
    Bytes(Vec<u8>),
    /// A timestamp in ISO 8601.
    Time(String),
}

/// Everything that a statement gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub columns: Vec<AnswerColumn>,
    pub rows: Vec<Vec<AnswerValue>>,
}

/// Why there is no answer, for the client: never a value, nor anything about the connection to the database.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    #[error("{0}")]
    Refused(String),
    #[error("the answer has more than {0} rows; ask for fewer (limit)")]
    TooManyRows(usize),
    #[error("the answer has more than {0} bytes; ask for fewer rows or columns")]
    TooLarge(usize),
    #[error("the statement meets a value or row of more than {0} bytes, and may not")]
    ValueTooLarge(usize),
    #[error("the statement was ended after its time limit")]
    Timeout,
    /// Whoever asked hears that alone; the text is for the log.
    #[error("the database cannot be reached at present")]
    Unavailable(String),
}

impl Kind {
    /// As the configuration names types.
    pub fn name(&self) -> &str {
        match self {
            Kind::Bool => "bool",
            Kind::Int16 | Kind::Int32 => "int",
            Kind::Int64 => "bigint",
            Kind::Real => "real",
            Kind::Double => "double",
            Kind::Decimal => "decimal",
            Kind::Text => "text",
            Kind::Json => "json",
            Kind::Bytes => "bytes",
            Kind::Uuid => "uuid",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::Timestamp => "timestamp",
            Kind::Timestamptz => "timestamptz",
            Kind::Inet => "inet",
            Kind::Any => "any",
            Kind::Other(name) => name,
        }
    }
}

impl AnswerValue {
    /// Bytes that it takes, about.
    pub(super) fn len(&self) -> usize {
        match self {
            AnswerValue::Null | AnswerValue::Bool(_) => 5,
            AnswerValue::Bytes(bytes) => bytes.len(),
            AnswerValue::Number(text) | AnswerValue::Json(text) | AnswerValue::Text(text) | AnswerValue::Time(text) => {
                text.len()
            }
        }
    }
}

/// An encoder of mapping whose rows are parameters.
pub trait ParameterEncoder: RowEncoder {
    /// The type of a parameter that declares none.
    const UNTYPED: ColumnType;

    /// The parameters of one row; or the rest of a sentence that begins with the parameter at that index.
    fn parameters(row: &[u8]) -> Result<Vec<Parameter>, (usize, String)>;
}

/// A connection that only reads, of either engine. Opened when it is first asked.
pub enum Reader {
    Sqlite(SqliteReader),
    Postgres(Box<PostgresReader>),
}

impl Reader {
    pub fn new(database: &Database) -> Reader {
        match &database.url {
            DatabaseUrl::Sqlite(path) => Reader::Sqlite(SqliteReader::new(path)),
            DatabaseUrl::Postgres(url) => Reader::Postgres(Box::new(PostgresReader::new(url, database))),
        }
    }

    /// Runs the statement.
    pub async fn run(&mut self, query: &Query<'_>) -> Result<Answer, QueryError> {
        match self {
            Reader::Sqlite(reader) => reader.run(query),
            Reader::Postgres(reader) => reader.run(query).await,
        }
    }

    /// Has the database compile the statement, without running it. The columns that it would give.
    pub async fn describe(
        &mut self,
        statement: &QueryStatement,
        deadline: Instant,
    ) -> Result<Vec<AnswerColumn>, QueryError> {
        match self {
            Reader::Sqlite(reader) => reader.describe(statement),
            Reader::Postgres(reader) => reader.describe(statement, deadline).await,
        }
    }
}
