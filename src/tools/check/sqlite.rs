//! An SQLite file: whether it can be opened and written, and whether its tables fit. It is opened for reading only. Its
//! tables are made again, empty, in a file of the check's own, which the daemon's sink may then open as it does.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;

use super::Finding;
use super::database::{self, subject};
use super::journal::{free_bytes, mib};
use super::scratch::Scratch;
use crate::config::{Config, Database, DatabaseUrl};
use crate::remedy;
use crate::sink::{Sink, SqliteSink};

/// Below, a batch and its log may not fit.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// For somebody who holds the file just now.
const BUSY: Duration = Duration::from_secs(5);

pub(super) async fn look(config: &Config, index: usize, path: &Path) -> Vec<Finding> {
    let subject = subject(config, index);
    let mut findings = of_place(&subject, path);
    let copied =
        Scratch::new().map_err(|error| format!("no temporary folder can be made: {error}")).and_then(|scratch| {
            let copy = scratch.path().join("tables.db");
            let unknown = copy_tables(path, &copy).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((scratch, copy, unknown))
        });
    let (_scratch, copy, unknown) = match copied {
        Ok(copied) => copied,
        Err(error) => {
            let remedy = "look at what lies there: an SQLite database that this user may read is needed";
            findings.push(Finding::problem(&subject, error, remedy));
            return findings;
        }
    };
    let database = Database { url: DatabaseUrl::Sqlite(copy), ..config.databases[index].clone() };
    let mut sink = SqliteSink::new(&database);
    if let Err(error) = sink.connect().await {
        findings.push(Finding::of_sink(&subject, &error));
        return findings;
    }
    let tables = database::tables(&mut sink, config, index, |table| unknown.contains(&table.name.to_lowercase())).await;
    findings.extend(tables.findings);
    for name in unknown {
        let what = format!("table {name} needs an extension that Rowbridge does not have: not compared");
        findings.push(Finding::warning(&subject, what, "write into an ordinary table"));
    }
    // The copy goes with its folder.
    let _ = sink.close().await;
    findings
}

/// The file or, before the first start, its folder.
fn of_place(subject: &str, path: &Path) -> Vec<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    let mut refuse = |what: String, error: io::Error| {
        let remedy = format!("{}; check as the bridge's user, or as root", remedy::of_file(&error));
        findings.push(Finding::problem(subject, format!("{what}: {error}"), remedy));
    };
    if let Err(error) = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        // SQLite keeps its log beside the file.
        refuse(format!("the folder {} takes no files", folder.display()), error.into());
    } else if path.exists()
        && let Err(error) = rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
    {
        refuse(format!("{} cannot be written", path.display()), error.into());
    } else {
        let what = if path.exists() { "can be written" } else { "is not there; the first start makes it" };
        findings.push(Finding::ok(subject, format!("{} {what}", path.display())));
    }
    if let Some(free) = free_bytes(folder).filter(|free| *free < FREE_BYTES_MIN) {
        let what = format!("only {} are free in {}", mib(free), folder.display());
        findings.push(Finding::warning(subject, what, "make room: a full disk stops delivery until there is some"));
    }
    findings
}

/// Makes the tables of one file, without their rows, in another. Returns the names of those that cannot be made.
fn copy_tables(from: &Path, to: &Path) -> rusqlite::Result<HashSet<String>> {
    let mut unknown = HashSet::new();
    let copy = Connection::open(to)?;
    // Uninitialised, or made by somebody who has not written to it yet.
    if !from.exists() {
        return Ok(unknown);
    }
    let live = open_to_read(from)?;
    live.busy_timeout(BUSY)?;
    // Tables before what is made on them. Names that begin with sqlite_ are SQLite's own; Rowbridge's own tables are made by
    // the sink.
    let mut statement = live.prepare(
        "SELECT lower(name), sql, type IN ('table', 'view') FROM sqlite_schema WHERE sql IS NOT NULL \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT LIKE 'rowbridge\\_%' ESCAPE '\\' \
         ORDER BY type <> 'table', rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, sql, has_rows): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // The shadow tables of a virtual one are there already.
        if copy.execute_batch(&sql).is_err() && has_rows && !copy.table_exists(None, name.as_str())? {
            unknown.insert(name);
        }
    }
    Ok(unknown)
}

/// Without a log beside it, nobody has the file open for writing; as an unchanging one it is read without making a log,
/// which a connection that only reads could not take away again.
fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_log = ["-wal", "-journal"].iter().any(|end| {
        let mut log = path.as_os_str().to_owned();
        log.push(end);
        Path::new(&log).exists()
    });
    match path.to_str().filter(|_| !has_log) {
        Some(text) => {
            let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        }
        None => Connection::open_with_flags(path, flags),
    }
}
