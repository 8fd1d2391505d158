//! The database's files are changed by something that is not SQLite, or by SQLite in another process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use prometheus_client::metrics::gauge::Gauge;
use rowbridge::batch::{Batch, DeadLetter, OffsetMove, Portion, Remembered};
use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Series, Sink, SinkError, SqliteSink, Written};
use rusqlite::Connection;

use super::files::write_one;
use super::{SqliteFile, with_table};
use crate::sink_contract::series::Made;
use crate::sink_contract::{BRIDGE, BatchBuilder, TestDatabase, next_seq, ready, schema_of, table_name};

/// What a commit may leave in the log, with the pages of its indexes.
const COMMIT_BYTES_MAX: u64 = 8 << 20;

fn beside(database: &SqliteFile, suffix: &str) -> PathBuf {
    let mut path = database.path().into_os_string();
    path.push(suffix);
    path.into()
}

fn integrity(database: &SqliteFile) -> String {
    database.connection().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// A series whose files change after its rows were handed over and before its COMMIT.
struct Meddled<F: FnMut()> {
    made: Made,
    meddle: F,
}

impl<F: FnMut()> Series for Meddled<F> {
    fn batch(&self) -> &Batch {
        self.made.batch()
    }

    fn may_advance(&self) -> bool {
        self.made.may_advance()
    }

    fn advance(&mut self) -> bool {
        if !self.made.advance() {
            return false;
        }
        (self.meddle)();
        true
    }

    fn take_rows(&mut self) -> Vec<Portion> {
        self.made.take_rows()
    }

    fn earlier_dead_letters(&self) -> &[DeadLetter] {
        self.made.earlier_dead_letters()
    }

    fn earlier_remembered(&self) -> &[Remembered] {
        self.made.earlier_remembered()
    }

    fn offset(&self) -> OffsetMove {
        self.made.offset()
    }
}

/// Writes messages 2 and 3 with `meddle` in between.
async fn write_meddled(sink: &mut SqliteSink, meddle: impl FnMut()) -> Result<Written, SinkError> {
    let schema = schema_of(sink, "readings").await;
    let batches = (2..4).map(|seq| {
        let mut builder = BatchBuilder::new(sink.encoder(), seq, seq + 1);
        let table = builder.table(&schema);
        builder.unit(table, &[&[Cell::Int(seq as i64), Cell::Text("a")]]);
        builder.batch
    });
    sink.write_series(&mut Meddled { made: Made::of(batches.collect()), meddle }).await
}

#[track_caller]
fn assert_noticed(outcome: Result<Written, SinkError>, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "replaced"), "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
}

fn overwrite(database: &Path, by: &Path) {
    // As `cp` does: the same file, other bytes.
    std::fs::write(database, std::fs::read(by).unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_truncated_within_a_transaction_is_noticed_before_its_rows_count() {
    for bytes in [0, 512, 5000, 8192] {
        let database = SqliteFile::new();
        let (mut sink, _) = ready(&database).await;
        write_one(&mut sink, 1, 1).await.unwrap();
        let path = database.path();
        let truncate = || OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        assert_noticed(write_meddled(&mut sink, truncate).await, "was truncated or overwritten");
        match sink.connect().await {
            Ok(()) => {
                assert_eq!(bytes, 0, "what is left of the file is no database");
                assert_eq!(sink.offsets(BRIDGE).await.unwrap(), []);
                assert_eq!(sink.describe(&table_name("readings")).await.unwrap(), None);
            }
            Err(error) => assert_eq!((bytes > 0, error.class), (true, Class::Table), "{}", error.message),
        }
        assert!(beside(&database, "-wal.overwritten").exists(), "what the log held is still there");
    }
}

#[tokio::test]
async fn a_file_that_an_older_copy_overwrites_is_noticed_and_gets_the_rest_again() {
    for way in ["VACUUM INTO", "backup", "cp"] {
        let database = SqliteFile::new();
        let (mut sink, _) = ready(&database).await;
        write_one(&mut sink, 1, 1).await.unwrap();
        let copy = database.directory.path().join("copy.db");
        match way {
            "VACUUM INTO" => drop(database.connection().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap()),
            "backup" => {
                let command = format!(".backup '{}'", copy.display());
                assert!(Command::new("sqlite3").arg(database.path()).arg(command).status().unwrap().success());
            }
            _ => {
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
                std::fs::copy(database.path(), &copy).unwrap();
                // The file itself goes on.
                write_one(&mut sink, 2, 2).await.unwrap();
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
                database.execute("UPDATE rowbridge_offsets SET next_seq = 2; DELETE FROM readings WHERE id = 2");
            }
        }
        let path = database.path();
        assert_noticed(write_meddled(&mut sink, || overwrite(&path, &copy)).await, "was truncated or overwritten");

        sink.connect().await.unwrap();
        assert_eq!(next_seq(&mut sink).await, 2, "{way}");
        write_one(&mut sink, 2, 2).await.unwrap();
        write_one(&mut sink, 3, 3).await.unwrap();
        assert_eq!(database.number("SELECT count(*) FROM readings"), 3, "{way}");
        assert_eq!(integrity(&database), "ok", "{way}");
    }
}

#[tokio::test]
async fn a_file_that_is_overwritten_while_nothing_is_written_is_noticed_at_the_next_look() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    write_one(&mut sink, 1, 1).await.unwrap();
    std::fs::write(database.path(), "").unwrap();
    let error = sink.offsets(BRIDGE).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "replaced"));
    // It is not forgotten, whatever SQLite writes there.
    assert!(sink.offsets(BRIDGE).await.is_err());
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap(), []);
}

#[tokio::test]
async fn what_other_programs_rightly_do_to_a_file_disturbs_nothing() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    for seq in 1..200 {
        write_one(&mut sink, seq, seq as i64).await.unwrap();
        match seq % 10 {
            0 => File::open(database.path()).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap(),
            1 => database.execute("PRAGMA wal_checkpoint(PASSIVE)"),
            2 => database.execute("PRAGMA wal_checkpoint(TRUNCATE)"),
            3 => {
                database.execute("CREATE TABLE IF NOT EXISTS theirs (a); INSERT INTO theirs VALUES (zeroblob(300000))")
            }
            // Makes the file smaller.
            4 => database.execute("DELETE FROM theirs; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"),
            5 => std::fs::set_permissions(
                database.path(),
                std::os::unix::fs::PermissionsExt::from_mode(if seq % 20 == 5 { 0o600 } else { 0o644 }),
            )
            .unwrap(),
            _ => {}
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM readings"), 199);
    assert_eq!(next_seq(&mut sink).await, 200);
    assert_eq!(integrity(&database), "ok");
}

#[tokio::test]
async fn a_removed_log_is_noticed_and_what_it_held_is_kept() {
    for (suffixes, words) in [(&["-wal"][..], "(-wal)"), (&["-shm"][..], "(-shm)"), (&["-wal", "-shm"][..], "(-wal)")] {
        let database = SqliteFile::new();
        let (mut sink, _) = ready(&database).await;
        write_one(&mut sink, 1, 1).await.unwrap();
        let remove = || suffixes.iter().for_each(|suffix| std::fs::remove_file(beside(&database, suffix)).unwrap());
        assert_noticed(write_meddled(&mut sink, remove).await, words);
        sink.connect().await.unwrap();
        // The check before COMMIT found it, and what was committed before is there.
        assert_eq!(next_seq(&mut sink).await, 2, "{suffixes:?}");
        write_one(&mut sink, 2, 2).await.unwrap();
        assert!(beside(&database, "-wal").exists());
        assert_eq!(database.number("SELECT count(*) FROM readings"), 2, "{suffixes:?}");
        assert_eq!(integrity(&database), "ok");
    }
}

#[tokio::test]
async fn a_log_removed_while_somebody_reads_an_older_state_is_put_back_at_once() {
    let database = SqliteFile::new();
    let (mut sink, _) = ready(&database).await;
    let reader = database.connection();
    reader.execute_batch("BEGIN; SELECT count(*) FROM readings").unwrap();
    write_one(&mut sink, 1, 1).await.unwrap();
    std::fs::remove_file(beside(&database, "-wal")).unwrap();
    assert!(sink.offsets(BRIDGE).await.is_err());
    sink.connect().await.unwrap();
    assert_eq!(next_seq(&mut sink).await, 2);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(database.number("SELECT count(*) FROM readings"), 1);
}

#[tokio::test]
async fn a_log_that_could_not_be_put_back_is_not_put_beside_another_database() {
    for way in ["replaced", "overwritten"] {
        let (database, successor) = (SqliteFile::new(), SqliteFile::new());
        let (mut sink, _) = ready(&database).await;
        for seq in 1..20 {
            write_one(&mut sink, seq, seq.cast_signed()).await.unwrap();
        }
        successor.execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
        let holder = database.connection();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::fs::remove_file(beside(&database, "-wal")).unwrap();
        assert!(sink.offsets(BRIDGE).await.is_err());
        // It waits for the lock.
        assert!(sink.connect().await.unwrap_err().message.contains("write-ahead log"), "{way}");
        match way {
            "replaced" => std::fs::rename(successor.path(), database.path()).unwrap(),
            _ => overwrite(&database.path(), &successor.path()),
        }
        drop(holder);
        sink.connect().await.unwrap();
        assert_eq!(sink.offsets(BRIDGE).await.unwrap(), [], "{way}");
        assert_eq!(database.number("SELECT count(*) FROM theirs"), 1, "{way}");
        assert_eq!(integrity(&database), "ok", "{way}");
    }
}

/// Writes `mib` MiB of rows in commits of one.
async fn write_mib(sink: &mut SqliteSink, from: u64, mib: u64) {
    let schema = schema_of(sink, "t").await;
    let text = "x".repeat(1 << 20);
    for seq in from..from + mib {
        let mut builder = BatchBuilder::new(sink.encoder(), seq, seq + 1);
        let table = builder.table(&schema);
        builder.unit(table, &[&[Cell::Text(&text)]]);
        sink.write(&builder.batch).await.unwrap();
    }
}

#[tokio::test]
async fn the_log_stays_near_16_mib_whatever_the_size_of_a_page() {
    const LOG_BYTES: u64 = 16 << 20;
    for page_bytes in [512, 4096, 65536] {
        let database = SqliteFile::new();
        database.execute(&format!("PRAGMA page_size = {page_bytes}; VACUUM"));
        let (mut sink, _) = with_table(&database, "CREATE TABLE t (v TEXT)").await;
        assert_eq!(database.number("PRAGMA page_size"), page_bytes);
        write_mib(&mut sink, 1, 48).await;
        let bytes = beside(&database, "-wal").metadata().unwrap().len();
        assert!(bytes < LOG_BYTES + COMMIT_BYTES_MAX, "{page_bytes}: {bytes}");
        assert!(bytes > LOG_BYTES / 2, "{page_bytes}: {bytes}");
        assert!(database.path().metadata().unwrap().len() > 24 << 20, "most of it is in the database");
    }
}

#[tokio::test]
async fn the_size_of_the_log_is_measured_while_a_reader_keeps_it_from_being_copied() {
    let database = SqliteFile::new();
    let (sink, _) = with_table(&database, "CREATE TABLE t (v TEXT)").await;
    let gauge = Gauge::default();
    let mut sink = sink.measured_by(gauge.clone());
    let reader: Connection = database.connection();
    reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    write_mib(&mut sink, 1, 30).await;
    let bytes = beside(&database, "-wal").metadata().unwrap().len();
    assert!(bytes > 30 << 20);
    assert_eq!(gauge.get(), bytes as i64);
    reader.execute_batch("COMMIT").unwrap();
    write_mib(&mut sink, 31, 2).await;
    assert_eq!(gauge.get(), 16 << 20);
}
