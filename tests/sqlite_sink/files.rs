//! The file: locked, replaced, removed, not there, not ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbridge::clock::Timestamp;
use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Sink, SinkError, SqliteSink};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::SqliteFile;
use crate::sink_contract::{
    BRIDGE, BatchBuilder, TestDatabase, connected, dead_letter, fails_as, next_seq, ready, table_name,
};

/// How long the sinks of these tests wait for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(300);

#[test]
fn the_bundled_sqlite_has_the_fix_for_the_wal_reset_bug() {
    // Before 3.51.3 two connections that checkpoint at once could corrupt a database in WAL mode.
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
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

// SQLite's busy timeout does not cover the switch to WAL.
#[tokio::test]
async fn a_file_that_is_written_is_waited_for_before_it_is_switched_to_wal() {
    let database = SqliteFile::new();
    let writer = database.connection();
    writer.execute_batch("CREATE TABLE owned_by_another (a); BEGIN IMMEDIATE").unwrap();
    let mut sink = SqliteFile::sink_of(database.path(), BUSY_TIMEOUT);
    let begun = Instant::now();
    let error = sink.connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "SQLITE_BUSY"));
    assert!(begun.elapsed() >= BUSY_TIMEOUT);

    writer.execute_batch("COMMIT").unwrap();
    sink.connect().await.unwrap();
}

/// Writes one row of that id into `readings`, moving the offset from `from` to the next.
pub(super) async fn write_one(sink: &mut SqliteSink, from: u64, id: i64) -> Result<(), SinkError> {
    let mut builder = BatchBuilder::new(sink.encoder(), from, from + 1);
    let schema = Arc::new(sink.describe(&table_name("readings")).await?.unwrap());
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(id), Cell::Text("a")]]);
    sink.write(&builder.batch).await.map(drop)
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
    builder.batch.dead_letters.push(dead_letter(4, Timestamp(0)));
    fails_as(sink.write(&builder.batch).await, Class::Table);
}
