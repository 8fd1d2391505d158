//! After an outage: a long journal into a database, against the databases' own loaders with the same rows.
//!
//! `psql \copy … binary` and the sqlite3 shell's `.import` load what the first drain has written, exported, into a table
//! of the same definition, durably, in one transaction.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tempfile::TempDir;

use super::backlog::{Backlog, Drained, drain};
use super::bench::{Bench, Result};
use super::fake_broker::Feed;
use super::report::{Figures, Report};
use super::store::{Engine, Store};
use super::support::postgres::Postgres;
use super::support::process::program;

pub(crate) const NAME: &str = "catch-up";
pub(crate) const PSQL: &str = r"psql \copy binary";
pub(crate) const IMPORT: &str = "sqlite3 .import";

/// The rows of a backlog in the forms that the loaders read.
#[derive(Default)]
struct Exported {
    /// Postgres' binary COPY format, and the table.
    binary: Option<(PathBuf, String)>,
    /// Comma-separated, and the table.
    text: Option<(PathBuf, String)>,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let backlog = Backlog::prepare(bench, Feed::of(messages(bench)))?;
    let load = load(backlog.messages);
    let exports = bench.folder()?;
    let mut exported = Exported::default();
    for round in 1..=bench.rounds {
        for engine in Engine::BOTH {
            let drained = drain(bench, &backlog, engine, |_| {})?;
            exported.add(&drained, exports.path())?;
            let Drained { figures, .. } = drained;
            report.add(NAME, &format!("rowbridge into {}", engine.name()), &load, round, figures);
        }
        if let Some((rows, table)) = &exported.binary {
            report.add(NAME, PSQL, &load, round, copy(bench, rows, table, backlog.messages)?);
        }
        if let Some((rows, table)) = &exported.text {
            report.add(NAME, IMPORT, &load, round, import(bench, rows, table, backlog.messages)?);
        }
    }
    Ok(())
}

pub(crate) fn messages(bench: &Bench) -> u64 {
    bench.sized(if bench.checking { 500_000 } else { 2_000_000 }, 100_000)
}

/// As the tables name it.
pub(crate) fn load(messages: u64) -> String {
    format!("{messages} messages")
}

impl Exported {
    /// Exports what was drained, unless that was done before.
    fn add(&mut self, drained: &Drained, folder: &Path) -> Result<()> {
        match &drained.store {
            Store::Postgres { server, database } if self.binary.is_none() => {
                let path = folder.join("rows.binary");
                psql(server, database, &format!(r"\copy telemetry TO '{}' (FORMAT binary)", path.display()))?;
                let columns = server.psql(
                    database,
                    "SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) \
                     FROM pg_attribute WHERE attrelid = 'telemetry'::regclass AND attnum > 0",
                );
                let indexes =
                    server.psql(database, "SELECT count(*) FROM pg_index WHERE indrelid = 'telemetry'::regclass");
                assert_eq!(indexes, "0", "the table that `create` makes has no index, so neither has the loader's");
                self.binary = Some((path, format!("CREATE TABLE telemetry ({columns})")));
            }
            Store::Sqlite(file) if self.text.is_none() => {
                let path = folder.join("rows.csv");
                let status = Command::new(program("sqlite3"))
                    .args(["-csv", "-readonly"])
                    .arg(file)
                    .arg("SELECT * FROM telemetry")
                    .stdout(File::create(&path)?)
                    .status()?;
                if !status.success() {
                    return Err("sqlite3 does not export the rows".into());
                }
                let definitions = "SELECT group_concat(sql, ';') FROM sqlite_master WHERE tbl_name = 'telemetry'";
                let table = Connection::open(file)?.query_row(definitions, [], |row| row.get(0))?;
                self.text = Some((path, table));
            }
            _ => {}
        }
        Ok(())
    }
}

fn copy(bench: &Bench, rows: &Path, table: &str, messages: u64) -> Result<Figures> {
    let folder = bench.folder()?;
    let store = Store::create(Engine::Postgres, bench, folder.path());
    let Store::Postgres { server, database } = &store else { unreachable!("the engine is Postgres") };
    server.psql(database, table);
    bench.settle();
    let begun = Instant::now();
    psql(server, database, &format!(r"\copy telemetry FROM '{}' (FORMAT binary)", rows.display()))?;
    figures(begun, &store, messages)
}

fn import(bench: &Bench, rows: &Path, table: &str, messages: u64) -> Result<Figures> {
    let folder: TempDir = bench.folder()?;
    let store = Store::create(Engine::Sqlite, bench, folder.path());
    let Store::Sqlite(file) = &store else { unreachable!("the engine is SQLite") };
    // As Rowbridge sets it; the journal mode stays with the file, `synchronous` is FULL by default.
    Connection::open(file)?.execute_batch(&format!("PRAGMA journal_mode = WAL; {table}"))?;
    bench.settle();
    let begun = Instant::now();
    let status = Command::new(program("sqlite3"))
        .arg(file)
        .args(["-cmd", "PRAGMA synchronous = FULL"])
        .arg(format!(".import --csv '{}' telemetry", rows.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("sqlite3 does not import the rows".into());
    }
    figures(begun, &store, messages)
}

fn figures(begun: Instant, store: &Store, messages: u64) -> Result<Figures> {
    let seconds = begun.elapsed().as_secs_f64();
    let rows = store.rows()?;
    if rows != messages {
        return Err(format!("{rows} of {messages} rows were loaded").into());
    }
    let mut figures = Figures::default();
    figures.put("seconds", seconds);
    figures.put("messages_per_second", messages as f64 / seconds);
    Ok(figures)
}

/// psql, as a user calls it; [`Postgres::psql`] would read all that it prints.
fn psql(server: &Arc<Postgres>, database: &str, command: &str) -> Result<()> {
    let output = Command::new(program("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &server.url(database), "-c", command])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
