//! The Postgres sink against real servers.

mod definition;
mod encodings;
mod failures;
mod merge;
mod migrations;
mod odd_tables;
mod pooler;
mod remedies;
mod search_path;
mod series;
mod swallowed;
mod tls;
mod transactions;
mod types;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use rowbridge::batch::{Batch, DeadLetter, OffsetMove, Portion, RowEncoder as _, Target, Unit};
use rowbridge::clock::Timestamp;
use rowbridge::config::{Database, DatabaseUrl, PostgresUrl, Retry, Secret, SecretSource, SinkTls, SslMode};
use rowbridge::journal_id::JournalId;
use rowbridge::message::Seq;
use rowbridge::rule::TableName;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{PostgresSink, Sink as _};

use crate::sink_contract::{TestDatabase, sink_contract};
use crate::support::postgres::Postgres;

const JOURNAL: JournalId = JournalId(*b"journal-of-test!");
const BRIDGE: &str = "gw1";

/// A database of its own on the server that all tests share.
struct Place {
    server: Arc<Postgres>,
    database: String,
}

impl Place {
    fn new() -> Place {
        let server = Postgres::shared();
        Place { database: server.create_database(), server }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    fn sink(&self) -> PostgresSink {
        PostgresSink::new(&database(&self.server.url(&self.database)))
    }

    /// A sink that is connected and has an offset row at 1.
    async fn started(&self) -> PostgresSink {
        started(self.sink()).await
    }

    /// Rowbridge's offset and the number of rows in `table`.
    fn state(&self, table: &str) -> (i64, i64) {
        let text = self.sql(&format!("SELECT next_seq, (SELECT count(*) FROM {table}) FROM rowbridge_offsets"));
        let (offset, rows) = text.split_once('|').unwrap();
        (offset.parse().unwrap(), rows.parse().unwrap())
    }
}

impl TestDatabase for Place {
    type Sink = PostgresSink;

    fn sink(&self) -> PostgresSink {
        Place::sink(self)
    }

    fn execute(&self, sql: &str) {
        self.sql(sql);
    }

    fn number(&self, sql: &str) -> i64 {
        self.sql(sql).parse().unwrap()
    }
}

sink_contract!(contract, crate::postgres_sink::Place::new());

async fn started(mut sink: PostgresSink) -> PostgresSink {
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    sink
}

fn postgres_url(url: &str) -> PostgresUrl {
    let mut url = PostgresUrl {
        config: url.parse().unwrap(),
        password: None,
        passfile: None,
        ssl_mode: SslMode::Disable,
        tls: SinkTls::default(),
        schema: "public".into(),
    };
    // As the configuration has it: by itself, and read at every connect.
    let password = url.config.get_password().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    url.password = password.map(|password| SecretSource::Value(Secret::new(password)));
    url
}

fn database(url: &str) -> Database {
    database_of(postgres_url(url))
}

fn database_of(url: PostgresUrl) -> Database {
    Database {
        name: "cloud".into(),
        url: DatabaseUrl::Postgres(Box::new(url)),
        batch: rowbridge::config::Batch { max_rows: 5000, max_bytes: 8 << 20, max_wait: Duration::from_millis(5) },
        retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) },
        // So long that a machine however slow keeps it: tests of what it ends set one of their own.
        statement_timeout: Duration::from_secs(600),
        park_after: Duration::from_secs(30),
    }
}

fn table(name: &str) -> TableName {
    TableName { schema: None, name: name.into() }
}

async fn describe(sink: &mut PostgresSink, name: &str) -> Arc<TableSchema> {
    Arc::new(sink.describe(&table(name)).await.unwrap().unwrap())
}

/// An empty batch that moves the offset.
fn batch(from: u64, to: u64) -> Batch {
    Batch::new(OffsetMove { bridge: BRIDGE.into(), journal: JOURNAL, from: Seq(from), to: Seq(to) })
}

/// Adds a table whose columns are all filled.
fn add_table(batch: &mut Batch, table: &Arc<TableSchema>) -> usize {
    let columns = (0..table.columns.len()).collect();
    let id = batch.portions.len();
    batch.portions.push(Portion::new(Arc::new(Target::insert(id, Arc::clone(table), columns))));
    id
}

/// Leaves only these columns to be filled.
fn fill_only(batch: &mut Batch, table: usize, columns: &[usize]) {
    Arc::make_mut(&mut batch.portions[table].target).columns = columns.into();
}

/// Adds a unit of the given rows.
fn add_unit(batch: &mut Batch, table: usize, rows: &[&[Cell<'_>]]) {
    let encoder = rowbridge::sink::PostgresEncoder;
    let first_run = batch.runs.len();
    for row in rows {
        let portion = &mut batch.portions[table];
        encoder.begin_row(row.len(), &mut portion.bytes);
        for (cell, &column) in row.iter().zip(portion.target.columns.iter()) {
            encoder.cell(&portion.target.table.columns[column].column_type, *cell, &mut portion.bytes);
        }
        batch.add_row(table, first_run, 0);
    }
    let seq = Seq(batch.offset.from.0 + batch.units.len() as u64);
    batch.units.push(Unit { rule: 0, seq, runs: first_run..batch.runs.len() });
}

/// A batch of one table with one integer column, a unit per value.
fn batch_of(from: u64, table: &Arc<TableSchema>, values: &[i64]) -> Batch {
    let mut batch = batch(from, from + values.len() as u64);
    let index = add_table(&mut batch, table);
    values.iter().for_each(|&value| add_unit(&mut batch, index, &[&[Cell::Int(value)]]));
    batch
}

fn dead_letter(seq: u64) -> DeadLetter {
    DeadLetter {
        rule: Some("telemetry".into()),
        seq: Seq(seq),
        received_at: Timestamp(1_795_000_000_123_456),
        topic: "a/\u{0}b".into(),
        qos: 1,
        retain: true,
        properties: Some(r#"{"user":{"k":"\u0000v"}}"#.into()),
        payload: vec![0, 255, 7],
        reason: "value",
        error: "column temp: a text does not fit".into(),
        attempts: 2,
        created_at: Timestamp(i64::MIN),
        envelope: None,
    }
}
