//! Opens and closes the database file.
//!
//! Promises: commits are durable (`synchronous=FULL`). No row is written into a file that was renamed away, deleted or
//! overwritten ([`super::watch`]). The write-ahead log of a replaced file is never applied to its successor, which
//! would corrupt it.
//!
//! Only SQLite opens the database file itself: closing any other descriptor of it would drop the POSIX locks
//! that this process holds on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::codes::{Moment, sink_error};
use super::connections::{Closable, Lease};
use super::events;
use super::log_repair::Outcome;
use super::room;
use super::set_up::set_up;
use super::watch::{Fault, FileId, Watch};
use super::write::ForeignKeys;
use crate::remedy;
use crate::sink::{Class, SinkError};

/// A checkpoint is made when the log holds so much, whatever the size of a page. At SQLite's default of 4 MiB, index pages
/// are written to flash several times as often. The same as `journal_size_limit`.
const LOG_BYTES: u64 = 16 << 20;

/// Looks at the path before and after opening. The first try may create the file, the second then finds it; a third is
/// for a file replaced just then.
const OPEN_TRIES: usize = 3;

/// How long to wait for the end of this process's connections to former files. As long as a transaction of theirs may wait
/// for a lock.
const CLOSE_PATIENCE: Duration = Duration::from_secs(6);

/// How long to wait for the write lock before a removed log is put back.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// An open database and what is known of its files.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    pub(super) connection: Connection,
    pub(super) foreign_keys: ForeignKeys,
    path: PathBuf,
    watch: Watch,
    /// The first that was found. It stays: what SQLite writes after it may hide it.
    fault: Option<Fault>,
    /// No other connection of this process had found a fault before.
    is_first_to_find: bool,
    /// The last field: it is given back after the connection is closed.
    lease: Lease,
}

/// Opens the file, creating it if it is missing, and makes it as [`SETTINGS`] say.
///
/// `log_in_doubt`: the last connection ended in an I/O error. The kernel may then hold log pages in memory as if they
/// had reached the disk (a failed fsync reports once). The log is therefore copied into the database and synced there
/// before anything is read from it.
///
/// `prepare` is the first to use it.
pub(super) fn open(
    path: &Path,
    busy_timeout: Duration,
    log_in_doubt: bool,
    prepare: impl FnOnce(&mut Connection) -> Result<(), SinkError>,
) -> Result<OpenDatabase, SinkError> {
    // An absolute path is neither `:memory:` nor a URI nor empty, which SQLite would take for something else.
    let path = std::path::absolute(path).map_err(|error| place_error(path, &error.to_string()))?;
    check_place(&path)?;
    room::require(&path)?;
    let (lease, mut connection, file) = open_file(&path, busy_timeout)?;
    set_up(&connection, &path, busy_timeout)?;
    room::reserve_index(&path)?;
    if log_in_doubt {
        copy_log(&connection, &path, "TRUNCATE")?;
    }
    prepare(&mut connection)?;
    // From here on the index tells of every write to the file.
    checkpoint(&connection, &path, "PASSIVE")?;
    let watch = Watch::begin(&path, file).map_err(|error| room::companion_error(&path, &error))?;
    let is_in_order = lease.agrees_on(watch.companions());
    let foreign_keys = ForeignKeys::default();
    let mut open = OpenDatabase { connection, foreign_keys, path, watch, fault: None, is_first_to_find: false, lease };
    open.watch_commits()?;
    if is_in_order {
        return Ok(open);
    }
    // Of an earlier connection the files were removed, which was not found yet. This one may share its index.
    let error = open.failed(Fault::FoundByAnother);
    let _ = open.close();
    Err(error)
}

/// The log after a use of the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LogFile {
    /// On the disk.
    pub(super) bytes: u64,
    /// A transaction of somebody else's hinders its copying into the database.
    pub(super) is_hindered: bool,
}

impl OpenDatabase {
    /// Looks at the log and its index before each COMMIT, which may have waited for others since the last check: if one is
    /// gone, it is rolled back, and the check after it reports the fault. SQLite has one such hook for a connection.
    pub(super) fn watch_commits(&mut self) -> Result<(), SinkError> {
        self.connection
            .commit_hook(Some(self.watch.companions_check()))
            .map_err(|error| sink_error("cannot watch the commits", &error, Moment::Elsewhere))
    }

    /// Errs if the files are not what was opened. A few `stat`s, made before each use and after it. The log's bytes.
    pub(super) fn check_in_place(&mut self) -> Result<u64, SinkError> {
        let found = self.fault.map_or_else(|| self.watch.check(), Err);
        match found {
            Ok(_) if self.lease.is_revoked() => Err(self.failed(Fault::FoundByAnother)),
            found => found.map_err(|fault| self.failed(fault)),
        }
    }

    /// Whether a check has failed.
    pub(super) fn is_out_of_place(&self) -> bool {
        self.fault.is_some()
    }

    fn failed(&mut self, fault: Fault) -> SinkError {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.is_first_to_find = self.lease.revoke();
        }
        fault.into_error(&self.path)
    }

    /// Copies the log into the database when it has grown large. The files must have been found in order just now: what
    /// is written to them here explains any change of the database file.
    pub(super) fn tend_log(&mut self, bytes: u64) -> Result<LogFile, SinkError> {
        let is_due = |watch: &Watch| watch.log().is_some_and(|log| log.log_bytes() >= LOG_BYTES);
        if bytes < LOG_BYTES || !is_due(&self.watch) {
            return Ok(LogFile { bytes, is_hindered: false });
        }
        let is_copied = checkpoint(&self.connection, &self.path, "PASSIVE")?;
        self.watch.checkpointed().map_err(|fault| self.failed(fault))?;
        Ok(LogFile { bytes, is_hindered: !is_copied })
    }

    /// Copies the part of the log that nobody else reads into the database. SQLite does the same when the last
    /// connection is closed, but does not report a failure.
    pub(super) fn settle_log(&mut self) -> Result<(), SinkError> {
        if self.check_in_place().is_err() {
            // Closing it will settle what is left to be settled.
            return Ok(());
        }
        checkpoint(&self.connection, &self.path, "PASSIVE").map(drop)
    }

    /// Closes it, so that no log is left that SQLite would read into another database than its own. Fails, keeping it
    /// open, while another process hinders that.
    pub(super) fn close(mut self) -> Result<(), (Box<OpenDatabase>, SinkError)> {
        let _ = self.check_in_place();
        let fault = self.fault;
        let ready = match fault {
            None => Ok(()),
            // The log is brought into its own database and then removed: it lies where SQLite would take it for the
            // successor's.
            Some(Fault::Moved(_)) => copy_log(&self.connection, &self.path, "TRUNCATE"),
            // A checkpoint would take pages from it that others have in a new one.
            Some(Fault::LogGone) => match self.put_log_back() {
                // The database that the log belongs to has gone as well.
                Ok(Err(worse)) => {
                    self.fault = Some(worse);
                    return self.close();
                }
                Ok(Ok(Outcome::Whole)) => self.forgo_checkpoint(),
                Ok(Ok(Outcome::SetAside)) => {
                    events::sqlite_log_superseded(&self.path);
                    self.forgo_checkpoint()
                }
                Err(error) => Err(error),
            },
            Some(Fault::IndexGone | Fault::Overwritten | Fault::FoundByAnother) => self.forgo_checkpoint(),
        };
        if let Err(error) = ready {
            return Err((Box::new(self), error));
        }
        let OpenDatabase { connection, watch, path, lease, is_first_to_find, .. } = self;
        if fault == Some(Fault::Overwritten) {
            // While this holds the database, nobody else is the last to close it, who would copy the log.
            let set_aside = watch.set_log_aside();
            if is_first_to_find || !matches!(set_aside, Ok(false)) {
                events::sqlite_overwritten(&path, set_aside.err());
            }
        }
        drop(connection);
        if matches!(fault, Some(Fault::Moved(_) | Fault::Overwritten)) {
            watch.remove_log();
        }
        drop(lease);
        Ok(())
    }

    /// Gives up a connection that could not be closed as it should.
    pub(super) fn abandon(self) {
        if self.fault == Some(Fault::LogGone) {
            let _ = self.forgo_checkpoint();
        }
    }

    /// Under the write lock: nobody else may begin the log anew, or add to it, meanwhile. The database is looked at once more
    /// there: a log that is put beside another would change it.
    fn put_log_back(&mut self) -> Result<Result<Outcome, Fault>, SinkError> {
        let failed = |error: rusqlite::Error| sink_error(&putting_back(&self.path), &error, Moment::Elsewhere);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(failed)?;
        }
        let (watch, path) = (&mut self.watch, &self.path);
        let mut put_back = || match watch.check_file() {
            Ok(()) => watch.put_log_back().map(Ok).map_err(|error| cannot_put_back(path, &error)),
            Err(fault) => Ok(Err(fault)),
        };
        if self.connection.execute_batch("BEGIN IMMEDIATE").is_ok() {
            let outcome = put_back();
            self.connection.execute_batch("ROLLBACK").map_err(failed)?;
            return outcome;
        }
        // It may lack pages that others have added to a new log. A connection that has that one can lock it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let other = Connection::open_with_flags(path, flags).map_err(failed)?;
        other.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        other.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
        other.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        put_back()
    }

    /// Closing it then leaves the log as it is.
    fn forgo_checkpoint(&self) -> Result<(), SinkError> {
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map(drop)
            .map_err(|error| sink_error("cannot close the database", &error, Moment::Elsewhere))
    }
}

impl Closable for OpenDatabase {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    fn leave(self) -> Option<OpenDatabase> {
        self.close().err().map(|(open, _)| *open)
    }
}

fn putting_back(path: &Path) -> String {
    format!("cannot put the removed write-ahead log of {} back (-wal)", path.display())
}

fn cannot_put_back(path: &Path, error: &io::Error) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "SQLITE_IOERR".to_owned(),
        message: format!("{}: {error}", putting_back(path)),
        advice: remedy::of_file(error),
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
        advice: "name a file in the database's url, in a directory that is there and is owned by the bridge's user",
    }
}

fn open_file(path: &Path, busy_timeout: Duration) -> Result<(Lease, Connection, FileId), SinkError> {
    let what = format!("cannot open the database {}", path.display());
    let failed = |error: rusqlite::Error| sink_error(&what, &error, Moment::Elsewhere);
    let look = || FileId::of(path).map_err(|error| place_error(path, &error.to_string()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    for _ in 0..OPEN_TRIES {
        let before = look()?;
        let lease = before.map(|file| Lease::take(path, file, CLOSE_PATIENCE)).transpose()?;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(busy_timeout).map_err(failed)?;
        if let (Some(file), Some(lease)) = (before, lease)
            && look()? == before
        {
            return Ok((lease, connection, file));
        }
    }
    Err(SinkError {
        class: Class::Transient,
        code: "replaced".to_owned(),
        message: format!("{what}: it is being replaced over and over"),
        advice: "find out what replaces the file",
    })
}

/// Copies the whole write-ahead log into the database and syncs it there. TRUNCATE also truncates the log to zero
/// bytes, which requires that nobody else reads from it; FULL waits for readers of an older state.
fn copy_log(connection: &Connection, path: &Path, way: &str) -> Result<(), SinkError> {
    if checkpoint(connection, path, way)? {
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
        .query_row(&format!("PRAGMA wal_checkpoint({way})"), [], |row| {
            let (hindered, frames, copied): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(!hindered && frames == copied)
        })
        .map_err(|error| sink_error(&copying(path), &error, Moment::Elsewhere))
}

/// For messages.
fn copying(path: &Path) -> String {
    format!("cannot bring the write-ahead log into the database {}", path.display())
}
