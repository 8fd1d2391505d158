//! The tables of a SQLite file, created again, empty, in a temporary file, which the daemon's sink can open as usual.
//! The original file is opened read-only.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::scratch::{SCRATCH_REMEDY, Scratch};
use crate::config::{Database, DatabaseUrl};
use crate::rule::TableName;
use crate::sink::SqliteSink;

/// For somebody who holds the file just now.
const BUSY: Duration = Duration::from_secs(5);

/// Goes when dropped.
pub(in crate::tools) struct TablesCopy {
    file: PathBuf,
    unknown: HashSet<String>,
    _scratch: Scratch,
}

impl TablesCopy {
    /// Of a file, which may not be there yet. The error is a sentence.
    pub(in crate::tools) fn of(path: &Path) -> Result<TablesCopy, String> {
        let scratch = Scratch::new().map_err(|error| format!("{error}; {SCRATCH_REMEDY}"))?;
        let file = scratch.path().join("tables.db");
        let unknown = copy_tables(path, &file).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TablesCopy { file, unknown, _scratch: scratch })
    }

    /// A sink for the copy, not yet connected.
    pub(in crate::tools) fn sink(&self, database: &Database) -> SqliteSink {
        SqliteSink::new(&Database { url: DatabaseUrl::Sqlite(self.file.clone()), ..database.clone() })
    }

    /// Names, in lower case, of tables that need an extension and are not in the copy.
    pub(in crate::tools) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(String::as_str)
    }

    /// Why the view takes no rows; `None` if an INSTEAD OF trigger takes them.
    pub(in crate::tools) fn refusal_of_view(&self, view: &TableName) -> Option<String> {
        let copy = Connection::open(&self.file).ok()?;
        let insert = format!("INSERT INTO {} DEFAULT VALUES", view.quoted());
        let refusal = match copy.prepare(&insert).err()? {
            rusqlite::Error::SqliteFailure(_, Some(words)) => words,
            error => error.to_string(),
        };
        Some(refusal)
    }

    pub(in crate::tools) fn is_unknown(&self, table: &TableName) -> bool {
        self.unknown.contains(&table.name.to_lowercase())
    }
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
    // the sink. The triggers of `publish` are left out: they write into tables that are made only for publications, and
    // without those no statement on the published table compiles.
    let mut statement = live.prepare(
        "SELECT lower(name), sql, type IN ('table', 'view') FROM sqlite_schema WHERE sql IS NOT NULL \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT LIKE 'rowbridge\\_%' ESCAPE '\\' \
         AND NOT (type = 'trigger' AND name LIKE 'rowbridge\\_%' ESCAPE '\\') ORDER BY type <> 'table', rowid",
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

/// Without a log beside it, nobody has the file open for writing. It is opened as immutable, which reads it without
/// creating a log, because a read-only connection could not remove that log again.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_table_takes_statements_in_the_copy() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("rows.db");
        let live = Connection::open(&path).unwrap();
        live.execute_batch(
            "CREATE TABLE rowbridge_changes (new_row); CREATE TABLE u (a); CREATE TABLE log (a); \
             CREATE TRIGGER rowbridge_0a_1_insert AFTER INSERT ON u BEGIN INSERT INTO rowbridge_changes VALUES (NEW.a); END; \
             CREATE TRIGGER own AFTER INSERT ON u BEGIN INSERT INTO log VALUES (NEW.a); END",
        )
        .unwrap();
        let copy = TablesCopy::of(&path).unwrap();
        let copied = Connection::open(&copy.file).unwrap();
        copied.execute_batch("INSERT INTO u VALUES (1)").unwrap();
        let logged: i64 = copied.query_row("SELECT a FROM log", [], |row| row.get(0)).unwrap();
        assert_eq!(logged, 1, "triggers of the user's are in the copy");
    }
}
