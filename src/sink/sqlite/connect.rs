//! Opening the database file, and noticing when another file has taken its place.
//!
//! Promises: commits are durable (`synchronous=FULL`); the path always means the file that is open, so rows never go on
//! flowing into a file that was renamed away or deleted; the write-ahead log of a replaced file is never read into its
//! successor, which would corrupt it.
//!
//! The database file itself is opened by SQLite alone: closing any other descriptor of it would drop the POSIX locks
//! that this process holds on it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::codes::{Moment, sink_error};
use super::room;
use super::write::ForeignKeys;
use crate::sink::{Class, SinkError};

/// Settings of every connection. FULL: an fsync for each commit. 4 MiB of page cache: twice SQLite's default, for the
/// indexes of a batch, and still small beside the 20 MiB that the whole daemon may take when idle. A checkpoint every
/// 16 MiB of log: at the default 4 MiB, index pages are written to flash several times as often; past a checkpoint the
/// log's file is cut back to that size.
const SETTINGS: &str = "PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA cache_size = -4096;
PRAGMA wal_autocheckpoint = 4096;
PRAGMA journal_size_limit = 16777216;";

/// Prepared statements kept. Two for each table that is written, some for our own; a table past it only costs time.
const STATEMENTS_MAX: usize = 64;

/// Looks at the path before and after opening. The first try may create the file, the second then finds it; a third is
/// for a file replaced just then.
const OPEN_TRIES: usize = 3;

/// Between two tries to switch a file to WAL that others hold; a switch takes a few milliseconds.
const WAL_RETRY: Duration = Duration::from_millis(5);

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` if there is no such file.
    fn of(path: &Path) -> io::Result<Option<FileId>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(FileId { device: file.dev(), inode: file.ino() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open database and which file it is.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    pub(super) connection: Connection,
    pub(super) foreign_keys: ForeignKeys,
    path: PathBuf,
    file: FileId,
    /// Its write-ahead log and the log's shared-memory index.
    companions: Vec<(PathBuf, FileId)>,
}

/// Opens the file, creating it if it is missing, and makes it as [`SETTINGS`] say.
///
/// `log_in_doubt`: the last connection ended in an I/O error. The kernel may then hold log pages in memory as if they
/// had reached the disk (a failed fsync reports once). The log is therefore copied into the database and synced there
/// before anything is read from it.
pub(super) fn open(path: &Path, busy_timeout: Duration, log_in_doubt: bool) -> Result<OpenDatabase, SinkError> {
    // An absolute path is neither `:memory:` nor a URI nor empty, which SQLite would take for something else.
    let path = std::path::absolute(path).map_err(|error| place_error(path, &error.to_string()))?;
    check_place(&path)?;
    room::require(&path)?;
    let (connection, file) = open_file(&path, busy_timeout)?;
    set_up(&connection, &path, busy_timeout)?;
    room::reserve_index(&path)?;
    if log_in_doubt {
        copy_log(&connection, &path)?;
    }
    Ok(OpenDatabase { companions: companions(&path), connection, foreign_keys: ForeignKeys::default(), path, file })
}

impl OpenDatabase {
    /// Errs if the path no longer names the open file. One `stat`, made before each use.
    pub(super) fn check_in_place(&self) -> Result<(), SinkError> {
        let what = match FileId::of(&self.path) {
            Ok(Some(file)) if file == self.file => return Ok(()),
            Ok(Some(_)) => "was replaced by another",
            Ok(None) => "was removed",
            Err(_) => "cannot be looked at any more",
        };
        Err(SinkError {
            class: Class::Transient,
            code: "replaced".to_owned(),
            message: format!("the database file {} {what} while it was open", self.path.display()),
            advice: "nothing: it is opened anew, and delivery goes on from the offset found in it",
        })
    }

    /// Brings into the database what nobody else is reading of the log. SQLite does the same when the last connection is
    /// closed, but says nothing if it fails.
    pub(super) fn settle_log(&self) -> Result<(), SinkError> {
        checkpoint(&self.connection, &self.path, "PASSIVE").map(drop)
    }

    /// Closes it. If the file was replaced, its log is first brought into it and then removed: it lies where SQLite
    /// would take it for the successor's. Fails, keeping it open, while another process hinders that.
    pub(super) fn close(self) -> Result<(), (Box<OpenDatabase>, SinkError)> {
        if self.check_in_place().is_err() {
            if let Err(error) = copy_log(&self.connection, &self.path) {
                return Err((Box::new(self), error));
            }
            drop(self.connection);
            for (path, file) in self.companions {
                if matches!(FileId::of(&path), Ok(Some(found)) if found == file) {
                    // If it stays, it is empty: nothing in it can be taken for the successor's.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(())
    }
}

/// What SQLite would report as "unable to open database file", said so that it can be mended.
fn check_place(path: &Path) -> Result<(), SinkError> {
    if path.is_dir() {
        return Err(place_error(path, "it is a directory"));
    }
    match path.parent().map(|directory| (directory, fs::metadata(directory))) {
        Some((_, Ok(found))) if found.is_dir() => Ok(()),
        Some((directory, Ok(_))) => Err(place_error(path, &format!("{} is not a directory", directory.display()))),
        Some((directory, Err(error))) if error.kind() == io::ErrorKind::NotFound => {
            Err(place_error(path, &format!("the directory {} does not exist", directory.display())))
        }
        Some((directory, Err(error))) => Err(place_error(path, &format!("{}: {error}", directory.display()))),
        None => Err(place_error(path, "it is in no directory")),
    }
}

fn place_error(path: &Path, why: &str) -> SinkError {
    SinkError {
        class: Class::Table,
        code: "path".to_owned(),
        message: format!("cannot open the database {}: {why}", path.display()),
        advice: "create the directory, owned by the bridge's user, or correct the database's url",
    }
}

fn open_file(path: &Path, busy_timeout: Duration) -> Result<(Connection, FileId), SinkError> {
    let what = format!("cannot open the database {}", path.display());
    let failed = |error: rusqlite::Error| sink_error(&what, &error, Moment::Elsewhere);
    let look = || FileId::of(path).map_err(|error| place_error(path, &error.to_string()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    for _ in 0..OPEN_TRIES {
        let before = look()?;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(busy_timeout).map_err(failed)?;
        if let Some(file) = before
            && look()? == before
        {
            return Ok((connection, file));
        }
    }
    Err(SinkError {
        class: Class::Transient,
        code: "replaced".to_owned(),
        message: format!("{what}: it is being replaced over and over"),
        advice: "find out what replaces the file",
    })
}

fn set_up(connection: &Connection, path: &Path, busy_timeout: Duration) -> Result<(), SinkError> {
    let what = format!("cannot set up the database {}", path.display());
    let failed = |error: rusqlite::Error| sink_error(&what, &error, Moment::Elsewhere);
    // SQLite opens a file that it may not write for reading, and fails later.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(SinkError {
            class: Class::Table,
            code: "SQLITE_READONLY".to_owned(),
            message: format!("cannot write the database {}: the file is read-only", path.display()),
            advice: "give the bridge's user the right to write the file and its directory",
        });
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode = make_wal(connection, busy_timeout).map_err(failed)?;
    if mode != "wal" {
        return Err(SinkError {
            class: Class::Table,
            code: "wal".to_owned(),
            message: format!("{what}: its journal mode stays {mode} and cannot be made WAL"),
            advice: "put the file on a local file system: network file systems lack the shared memory that WAL needs",
        });
    }
    connection.execute_batch(SETTINGS).map_err(failed)
}

/// Switches the file to WAL, which it then stays, and returns the journal mode that it has. Whoever switches needs the
/// file alone, and SQLite's busy timeout does not cover this: of two programs that open a new file at once, one is told
/// that it is locked without any waiting.
fn make_wal(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<String> {
    let give_up = Instant::now() + busy_timeout;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => thread::sleep(WAL_RETRY),
            outcome => return outcome,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// Copies the whole write-ahead log into the database, syncs it there and cuts the log to nothing.
fn copy_log(connection: &Connection, path: &Path) -> Result<(), SinkError> {
    if checkpoint(connection, path, "TRUNCATE")? {
        return Ok(());
    }
    Err(SinkError {
        class: Class::Transient,
        code: "SQLITE_BUSY".to_owned(),
        message: format!("{}: another process is using it", copying(path)),
        advice: "end the other process's transaction; delivery goes on by itself then",
    })
}

/// Copies the write-ahead log into the database in one of SQLite's ways; `false` if others hindered it.
fn checkpoint(connection: &Connection, path: &Path, way: &str) -> Result<bool, SinkError> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({way})"), [], |row| row.get(0))
        .map(|hindered: bool| !hindered)
        .map_err(|error| sink_error(&copying(path), &error, Moment::Elsewhere))
}

/// For messages.
fn copying(path: &Path) -> String {
    format!("cannot bring the write-ahead log into the database {}", path.display())
}

/// The files that SQLite keeps beside the database, where a symbolic link leads to.
fn companions(path: &Path) -> Vec<(PathBuf, FileId)> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    ["-wal", "-shm"]
        .into_iter()
        .filter_map(|suffix| {
            let mut name = OsString::from(&real);
            name.push(suffix);
            let path = PathBuf::from(name);
            let file = FileId::of(&path).ok()??;
            Some((path, file))
        })
        .collect()
}
