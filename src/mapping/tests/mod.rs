//! Rules against messages, through an encoder whose wire form can be read.

mod compile;
mod growth;
mod key;
mod map;
mod named;
mod programs;
mod rest;
mod roots;
mod routing;
mod several;
mod shape;
mod sharing;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use super::{CompileFault, Mapper, Outcome};
use crate::batch::{Batch, OffsetMove, RowEncoder};
use crate::clock::Timestamp;
use crate::config::{self, Columns, Format, Mode, OnError, Retained, Rule};
use crate::journal_id::JournalId;
use crate::message::{Message, Properties, Qos, Seq};
use crate::rule::{ColumnSource, DeclaredType, Source, TableName, TimeFormat, TopicPattern};
use crate::schema::{
    Cell, Column, ColumnType, Dialect, Parameter, PostgresDialect, SecondDigits, SqliteDialect, TableSchema,
};

/// Writes cells as debug text, each followed by `;`. `SQLITE` has SQLite's ways with names and NUL.
#[derive(Debug, Clone)]
struct Shown<const SQLITE: bool>;

impl<const SQLITE: bool> RowEncoder for Shown<SQLITE> {
    type Dialect = Either<SQLITE>;

    fn begin_row(&self, column_count: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{column_count}: ").as_bytes());
    }

    fn cell(&self, _: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{cell:?};").as_bytes());
    }
}

/// SQLite's dialect, or Postgres'.
struct Either<const SQLITE: bool>;

impl<const SQLITE: bool> Dialect for Either<SQLITE> {
    const TEXT_TAKES_NUL: bool = SQLITE;
    const NAMES_FOLD_CASE: bool = SQLITE;
    const ALTERS_COLUMNS: bool = !SQLITE;
    const RESERVED_COLUMNS: &'static [&'static str] =
        if SQLITE { SqliteDialect::RESERVED_COLUMNS } else { PostgresDialect::RESERVED_COLUMNS };
    const UNADDABLE_COLUMNS: &'static [&'static str] =
        if SQLITE { SqliteDialect::UNADDABLE_COLUMNS } else { PostgresDialect::UNADDABLE_COLUMNS };

    fn type_sql(declared: &DeclaredType) -> String {
        if SQLITE { SqliteDialect::type_sql(declared) } else { PostgresDialect::type_sql(declared) }
    }

    fn column_type(declared: &DeclaredType) -> ColumnType {
        if SQLITE { SqliteDialect::column_type(declared) } else { PostgresDialect::column_type(declared) }
    }

    fn type_name(declared: &DeclaredType) -> String {
        if SQLITE { SqliteDialect::type_name(declared) } else { PostgresDialect::type_name(declared) }
    }
}

/// A nullable column without default. Shape it further with struct update syntax.
fn live(name: &str, column_type: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        type_name: format!("{column_type:?}").to_lowercase(),
        column_type,
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    }
}

fn text() -> ColumnType {
    ColumnType::Text { max_chars: None }
}

fn table(columns: Vec<Column>) -> Arc<TableSchema> {
    let name = TableName { schema: Some("public".to_owned()), name: "t".to_owned() };
    Arc::new(TableSchema::new(name, columns))
}

/// A column filled from a source expression.
fn from(name: &str, source: &str) -> config::Column {
    config::Column {
        name: name.into(),
        source: ColumnSource::From(Source::parse(source).unwrap()),
        declared: None,
        adjust: None,
        time: None,
        tz: None,
        default: None,
        required: false,
        on_error: None,
    }
}

/// A JSON rule named `r`. Shape it further with struct update syntax.
fn rule(topics: &[&str], columns: Vec<config::Column>) -> Rule {
    Rule {
        name: "r".into(),
        topics: topics.iter().map(|topic| TopicPattern::parse(topic).unwrap()).collect(),
        qos: Qos::AtLeastOnce,
        own_qos: Vec::new(),
        subscribe_properties: Vec::new(),
        database: 0,
        chooser: None,
        table: TableName { schema: None, name: "t".to_owned() },
        format: Format::Json,
        columns: Columns::named(columns),
        create: None,
        routing: None,
        statement: None,
        for_each: crate::config::ForEach::NONE,
        times: None,
        unmapped: crate::config::Unmapped::Ignore,
        rows_max: 100_000,
        shaping: crate::config::Shaping::default(),
        mode: Mode::Insert,
        retained: Retained::Store,
        on_error: OnError::DeadLetter,
        reply: None,
        position: "bridge.yaml:1:1".to_owned(),
    }
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(1_500_000),
        fault: None,
        seq: Seq(7),
    }
}

fn compile<const SQLITE: bool>(
    rules: Vec<Rule>,
    tables: &[Arc<TableSchema>],
) -> Result<Mapper<Shown<SQLITE>>, Vec<CompileFault>> {
    let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
    Mapper::compile("gw1", &rules, tables, &HashMap::new(), Shown)
}

fn batch() -> Batch {
    let journal = JournalId([0; 16]);
    Batch::new(OffsetMove { bridge: "gw1".into(), journal, from: Seq(1), to: Seq(1) })
}

/// The first row of a unit: its portion and where it is there.
fn first_row(batch: &Batch, unit: usize) -> (usize, usize) {
    let run = &batch.runs_of(unit)[0];
    (run.portion, run.first_row)
}

/// That row as text.
fn row_text(batch: &Batch, unit: usize) -> String {
    let (portion, row) = first_row(batch, unit);
    String::from_utf8(batch.portions[portion].row(row).to_vec()).unwrap()
}

/// Maps one message under one rule: its row as text, or the fault's reason and message.
fn row_of(rule: Rule, table: &Arc<TableSchema>, message: &Message<'_>) -> Result<String, (String, String)> {
    let mut mapper = compile::<false>(vec![rule], std::slice::from_ref(table)).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    mapper.map(message, &mut batch, &mut outcomes);
    match outcomes.pop() {
        Some((0, Outcome::Written)) => Ok(row_text(&batch, 0)),
        Some((0, Outcome::Refused(fault))) => Err((fault.reason.to_owned(), fault.message)),
        other => panic!("neither written nor refused: {other:?}"),
    }
}
