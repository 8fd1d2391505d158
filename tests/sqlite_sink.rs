//! The SQLite sink against real files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbridge::config::{Batch as BatchLimits, Database, DatabaseUrl, Retry};
use rowbridge::mapping::Cell;
use rowbridge::message::Seq;
use rowbridge::sink::{Class, ColumnType, Sink, SqliteSink, TableName};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::sink_contract::{
    BRIDGE, BatchBuilder, JOURNAL, TestDatabase, connected, dead_letter, fails_as, next_seq, ready, schema_of,
    sink_contract, table_name, units,
};

/// How long the sinks of these tests wait for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(300);

struct SqliteFile {
    directory: TempDir,
}

impl SqliteFile {
    fn new() -> SqliteFile {
        SqliteFile { directory: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("rowbridge.db")
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    fn sink_of(path: PathBuf, statement_timeout: Duration) -> SqliteSink {
        SqliteSink::new(&Database {
            name: "local".into(),
            url: DatabaseUrl::Sqlite(path),
            batch: BatchLimits { max_rows: 5000, max_bytes: 8 << 20, max_wait: Duration::from_millis(5) },
            retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) },
            statement_timeout,
        })
    }

    /// The values of the only row of `table`, with the class that SQLite stored each as.
    fn row(&self, table: &str) -> Vec<Value> {
        let connection = self.connection();
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let count = statement.column_count();
        statement.query_row([], |row| (0..count).map(|index| row.get(index)).collect()).unwrap()
    }
}

impl TestDatabase for SqliteFile {
    type Sink = SqliteSink;

    fn sink(&self) -> SqliteSink {
        SqliteFile::sink_of(self.path(), Duration::from_secs(60))
    }

    fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

sink_contract!(contract, crate::sqlite_sink::SqliteFile::new());

/// A sink at seq 1 and a table `t` made by `sql`.
async fn with_table(database: &SqliteFile, sql: &str) -> (SqliteSink, Arc<rowbridge::sink::TableSchema>) {
    let mut sink = connected(database).await;
    database.execute(sql);
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let schema = schema_of(&mut sink, "t").await;
    (sink, schema)
}

/// Writes one row into `t` and gives it back as stored.
async fn stored(sql: &str, cells: &[Cell<'_>]) -> Vec<Value> {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, sql).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    builder.unit(table, &[cells]);
    sink.write(&builder.batch).await.unwrap();
    database.row("t")
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn the_bundled_sqlite_has_the_fix_for_the_wal_reset_bug() {
    // Before 3.51.3 two connections that checkpoint at once could corrupt a database in WAL mode.
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[tokio::test]
async fn values_are_stored_as_their_columns_say() {
    let sql = "CREATE TABLE t (b BOOLEAN, i BIGINT, f DOUBLE, x TEXT, j JSON, y BLOB, u UUID, d DATE, tod TIME,
               at TIMESTAMP, ms INTEGER, ip INET, q DECIMAL_TEXT(38,9), v INTERVAL)";
    let decimal = "12345678901234567890123456789.123456789";
    let cells = [
        Cell::Bool(true),
        Cell::Int(i64::MAX),
        Cell::Float(0.1),
        Cell::Text("grüße\0"),
        Cell::Text("[1,2]"),
        Cell::Bytes(b"\x00\xff"),
        Cell::Uuid([0x12; 16]),
        Cell::Date(20_778),
        Cell::Time(30_360_000_001),
        Cell::Timestamp(1_795_249_560_123_999),
        Cell::Int(1_795_249_560_123),
        Cell::Text("::1"),
        Cell::Decimal(decimal),
        Cell::Interval { months: 1, days: 0, micros: 1 },
    ];
    let expected = [
        Value::Integer(1),
        Value::Integer(i64::MAX),
        Value::Real(0.1),
        text("grüße\0"),
        text("[1,2]"),
        Value::Blob(b"\x00\xff".to_vec()),
        text("12121212-1212-1212-1212-121212121212"),
        text("2026-11-21"),
        text("08:26:00.000001"),
        text("2026-11-21T08:26:00.123Z"),
        Value::Integer(1_795_249_560_123),
        text("::1"),
        text(decimal),
        text("P1MT0.000001S"),
    ];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn affinities_change_no_value() {
    let sql = "CREATE TABLE t (x TEXT, a, j JSON, n NUMERIC, big NUMERIC, u UUID, v VARCHAR(2))";
    let cells = [
        Cell::Text("007"),
        Cell::Text("007"),
        Cell::Text("21.50"),
        Cell::Decimal("0.1"),
        Cell::Decimal("9007199254740993"),
        // All digits and an exponent, were it not for the hyphens.
        Cell::Uuid(*b"\x12\x34\x56\x78\x12\x34\x12\x34\x12\x34\x12\x34\x56\x78\x12\x34"),
        Cell::Text("longer than two"),
    ];
    let expected = [
        text("007"),
        text("007"),
        Value::Real(21.5),
        Value::Real(0.1),
        Value::Integer(9_007_199_254_740_993),
        text("12345678-1234-1234-1234-123456781234"),
        text("longer than two"),
    ];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn a_strict_table_takes_its_own_types() {
    let sql = "CREATE TABLE t (i INT, r REAL, x TEXT, b BLOB, a ANY) STRICT";
    let cells = [Cell::Int(1), Cell::Float(2.0), Cell::Text("007"), Cell::Bytes(b"x"), Cell::Text("007")];
    let expected = [Value::Integer(1), Value::Real(2.0), text("007"), Value::Blob(b"x".to_vec()), text("007")];
    assert_eq!(stored(sql, &cells).await, expected);
}

#[tokio::test]
async fn what_cannot_be_stored_exactly_is_refused_with_its_column() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (n NUMERIC, f REAL)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let table = builder.table(&schema);
    let long = "1".repeat(40);
    builder.unit(table, &[&[Cell::Decimal("1"), Cell::Float(1.0)]]);
    builder.unit(table, &[&[Cell::Decimal(&long), Cell::Float(1.0)]]);
    builder.unit(table, &[&[Cell::Decimal("2"), Cell::Float(f64::NAN)]]);
    builder.unit(table, &[&[Cell::Decimal("3"), Cell::Float(f64::INFINITY)]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    let refused = sink.refused_units(&builder.batch).await.unwrap();
    assert_eq!(units(&refused), [1, 2]);
    assert!(refused.iter().all(|refusal| refusal.reason == "value"));
    assert!(refused[0].message.contains("column n: the number has more digits"), "{}", refused[0].message);
    assert!(!refused[0].message.contains("111"), "{}", refused[0].message);
    builder.batch.excluded = units(&refused);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 2);
}

#[tokio::test]
async fn a_rowid_alias_may_be_left_out_and_an_ordinary_key_may_not() {
    let database = SqliteFile::new();
    let mut sink = connected(&database).await;
    database.execute(
        "CREATE TABLE alias (id INTEGER PRIMARY KEY, x TEXT);
         CREATE TABLE plain (id BIGINT PRIMARY KEY, x TEXT);
         CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, x TEXT);
         CREATE TABLE without_rowid (id INTEGER PRIMARY KEY, x TEXT) WITHOUT ROWID;
         CREATE TABLE odd (x STRING);",
    );
    for (table, has_default, not_null) in
        [("alias", true, false), ("plain", false, false), ("descending", false, false), ("without_rowid", false, true)]
    {
        let schema = schema_of(&mut sink, table).await;
        assert_eq!(schema.primary_key, ["id"]);
        assert_eq!((schema.columns[0].has_default, schema.columns[0].not_null), (has_default, not_null), "{table}");
    }
    assert!(matches!(schema_of(&mut sink, "odd").await.columns[0].column_type, ColumnType::Unsupported(_)));
    let elsewhere = TableName { schema: Some("public".to_owned()), name: "alias".to_owned() };
    fails_as(sink.describe(&elsewhere).await, Class::Table);
    let main = TableName { schema: Some("main".to_owned()), name: "alias".to_owned() };
    assert!(sink.describe(&main).await.unwrap().is_some());
}

#[tokio::test]
async fn a_value_that_fails_while_the_statement_runs_is_the_rows_fault() {
    let database = SqliteFile::new();
    let sql = "CREATE TABLE t (j TEXT, x GENERATED ALWAYS AS (json_extract(j, '$.x')) STORED)";
    let (mut sink, schema) = with_table(&database, sql).await;
    assert!(schema.columns[1].generated);
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 3);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Text("{\"x\":1}")]]);
    builder.unit(table, &[&[Cell::Text("no json")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(units(&sink.refused_units(&builder.batch).await.unwrap()), [1]);
}

#[tokio::test]
async fn a_row_that_takes_the_transaction_with_it_is_found_all_the_same() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (id BIGINT UNIQUE ON CONFLICT ROLLBACK)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 6);
    let table = builder.table(&schema);
    for id in [1, 1, 2, 2, 3] {
        builder.unit(table, &[&[Cell::Int(id)]]);
    }
    fails_as(sink.write(&builder.batch).await, Class::Row);
    assert_eq!(next_seq(&mut sink).await, 1);
    assert_eq!(units(&sink.refused_units(&builder.batch).await.unwrap()), [1, 3]);
    assert_eq!(database.number("SELECT count(*) FROM t"), 0);
}

#[tokio::test]
async fn a_child_may_come_before_its_parent_within_a_batch() {
    let database = SqliteFile::new();
    let (mut sink, children) = with_table(
        &database,
        "CREATE TABLE sites (site TEXT PRIMARY KEY);
         CREATE TABLE t (id BIGINT PRIMARY KEY, site TEXT NOT NULL REFERENCES sites (site));",
    )
    .await;
    let parents = schema_of(&mut sink, "sites").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 5);
    let (child, parent) = (builder.table(&children), builder.table(&parents));
    builder.unit(child, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.unit(parent, &[&[Cell::Text("a")]]);
    builder.unit(child, &[&[Cell::Int(2), Cell::Text("a")]]);
    builder.unit(child, &[&[Cell::Int(3), Cell::Text("nowhere")]]);
    fails_as(sink.write(&builder.batch).await, Class::Row);
    let refused = sink.refused_units(&builder.batch).await.unwrap();
    assert_eq!(units(&refused), [3]);
    builder.batch.excluded = units(&refused);
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 2);
}

#[tokio::test]
async fn a_table_without_columns_to_fill_takes_its_defaults() {
    let database = SqliteFile::new();
    let (mut sink, schema) = with_table(&database, "CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 41);
    let table = builder.table(&schema);
    builder.batch.tables[table].columns = Arc::new([]);
    for _ in 0..40 {
        builder.unit(table, &[&[]]);
    }
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM t"), 40);
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_transient_and_passes() {
    let database = SqliteFile::new();
    let (_, schema) = ready(&database).await;
    let mut sink = SqliteFile::sink_of(database.path(), BUSY_TIMEOUT);
    sink.connect().await.unwrap();
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 2);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);

    let other = database.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let error = sink.write(&builder.batch).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "SQLITE_BUSY"));
    assert!(begun.elapsed() >= BUSY_TIMEOUT);
    // Neither does a restart need the lock.
    sink.connect().await.unwrap();
    assert_eq!(next_seq(&mut sink).await, 1);

    other.execute_batch("COMMIT").unwrap();
    sink.write(&builder.batch).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM readings"), 1);
}

/// Writes one row of that id, moving the offset from `from` to the next.
async fn write_one(sink: &mut SqliteSink, from: u64, id: i64) -> Result<(), rowbridge::sink::SinkError> {
    let mut builder = BatchBuilder::new(sink.encoder(), from, from + 1);
    let schema = Arc::new(sink.describe(&table_name("readings")).await?.unwrap());
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(id), Cell::Text("a")]]);
    sink.write(&builder.batch).await
}

#[tokio::test]
async fn a_file_replaced_by_an_older_copy_is_noticed_and_gets_the_rest_again() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    write_one(&mut sink, 1, 1).await.unwrap();
    let copy = database.directory.path().join("copy.db");
    database.connection().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    write_one(&mut sink, 2, 2).await.unwrap();

    let moved_away = database.directory.path().join("moved-away.db");
    std::fs::rename(database.path(), &moved_away).unwrap();
    std::fs::rename(&copy, database.path()).unwrap();
    fails_as(write_one(&mut sink, 3, 3).await, Class::Transient);

    sink.connect().await.unwrap();
    assert_eq!(next_seq(&mut sink).await, 2);
    write_one(&mut sink, 2, 2).await.unwrap();
    write_one(&mut sink, 3, 3).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM readings"), 3);
    let check: String = database.connection().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    // The file that was moved away is whole without its log, which lay under the old name.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let count: i64 = Connection::open_with_flags(moved_away, flags)
        .unwrap()
        .query_row("SELECT count(*) FROM readings", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_removed_file_is_noticed_and_made_anew() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    write_one(&mut sink, 1, 1).await.unwrap();
    std::fs::remove_file(database.path()).unwrap();
    fails_as(write_one(&mut sink, 2, 2).await, Class::Transient);
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap(), []);
    assert_eq!(sink.describe(&table_name("readings")).await.unwrap(), None);
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_named() {
    let directory = TempDir::new().unwrap();
    let mut missing = SqliteFile::sink_of(directory.path().join("missing/rowbridge.db"), BUSY_TIMEOUT);
    let error = missing.connect().await.unwrap_err();
    assert_eq!(error.class, Class::Table);
    assert!(error.message.contains("missing does not exist"), "{}", error.message);

    let mut itself = SqliteFile::sink_of(directory.path().to_owned(), BUSY_TIMEOUT);
    assert!(itself.connect().await.unwrap_err().message.contains("it is a directory"));

    let text_file = directory.path().join("notes.txt");
    std::fs::write(&text_file, "no database, but longer than a header of one hundred bytes. ".repeat(20)).unwrap();
    let error = SqliteFile::sink_of(text_file.clone(), BUSY_TIMEOUT).connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "SQLITE_NOTADB"));
    assert!(std::fs::read_to_string(text_file).unwrap().starts_with("no database"));
}

#[tokio::test]
async fn tables_of_a_newer_rowbridge_hold_the_database() {
    let database = SqliteFile::new();
    connected(&database).await;
    database.execute("INSERT INTO rowbridge_schema_version VALUES (999, '2030-01-01T00:00:00.000Z')");
    let error = database.sink().connect().await.unwrap_err();
    assert_eq!(error.class, Class::Table);
    assert!(error.message.contains("newer rowbridge"), "{}", error.message);
}

#[tokio::test]
async fn a_damaged_offset_row_holds_and_is_named() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    database.execute("UPDATE rowbridge_offsets SET next_seq = -1, updated_at = 'by hand'");
    fails_as(sink.offsets(BRIDGE).await, Class::Table);
    database.execute("UPDATE rowbridge_offsets SET next_seq = 4");
    assert_eq!(next_seq(&mut sink).await, 4);
    // Our own tables' constraints are nobody's row.
    database.execute(
        "CREATE TRIGGER meddling BEFORE INSERT ON rowbridge_dead_letters BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let mut builder = BatchBuilder::new(sink.encoder(), 4, 5);
    builder.batch.dead_letters.push(dead_letter(4, rowbridge::clock::Timestamp(0)));
    fails_as(sink.write(&builder.batch).await, Class::Table);
}

#[tokio::test]
async fn five_thousand_rows_of_eleven_columns_take_one_transaction() {
    const ROWS: u64 = 5000;
    const BATCHES: u64 = 4;
    let database = SqliteFile::new();
    let sql = "CREATE TABLE t (time TIMESTAMP, site TEXT, device TEXT, seq BIGINT, temp REAL, hum REAL, pres REAL,
               ok BOOLEAN, state TEXT, count BIGINT, note TEXT)";
    let (mut sink, schema) = with_table(&database, sql).await;
    let mut fastest = Duration::MAX;
    for batch in 0..BATCHES {
        let mut builder = BatchBuilder::new(sink.encoder(), 1 + batch * ROWS, 1 + (batch + 1) * ROWS);
        let table = builder.table(&schema);
        for row in 0..ROWS as i64 {
            let device = format!("device-{}", row % 100);
            builder.unit(
                table,
                &[&[
                    Cell::Timestamp(1_795_249_560_123_456 + row),
                    Cell::Text("berlin"),
                    Cell::Text(&device),
                    Cell::Int(row),
                    Cell::Float(21.5),
                    Cell::Float(0.43),
                    Cell::Float(1013.25),
                    Cell::Bool(row % 2 == 0),
                    Cell::Text("running"),
                    Cell::Int(row * 1000),
                    Cell::Null,
                ]],
            );
        }
        let begun = Instant::now();
        sink.write(&builder.batch).await.unwrap();
        fastest = fastest.min(begun.elapsed());
    }
    println!("{:.0} rows/s", ROWS as f64 / fastest.as_secs_f64());
    assert_eq!(database.number("SELECT count(*) FROM t"), (ROWS * BATCHES) as i64);
}
