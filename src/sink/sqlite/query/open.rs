//! Opens the connection of a reader.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::functions::{add_trims, authorize};
use super::turns::{Clock, Turns};
use super::unavailable;
use crate::sink::query::QueryError;
use crate::sink::sqlite::connections::{Closable, Lease};
use crate::sink::sqlite::watch::{Companions, FileId};

/// Steps between two looks at the clock: a few microseconds, or as many calls of functions.
pub(super) const STEPS: i32 = 50;

/// KiB of page cache. Half of SQLite's default: up to eight such connections are open beside the sink's own.
const SETTINGS: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -1024;";

/// How long to wait for a lock, at most: in WAL readers wait for nobody but a recovery. Also for the end of connections to
/// files that were removed.
const BUSY_MAX: Duration = Duration::from_secs(1);

pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) clock: Arc<Clock>,
    file: FileId,
    companions: Companions,
    /// The last field: it is given back after the connection is closed.
    pub(super) lease: Lease,
}

impl Closable for Open {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    fn leave(self) -> Option<Open> {
        None
    }
}

impl Open {
    /// `path`: an absolute one is neither `:memory:` nor a URI.
    pub(super) fn new(path: &Path, file: Option<FileId>) -> Result<Open, QueryError> {
        let Some(file) = file else {
            return Err(match connect(path) {
                Err(error) => unavailable(&error),
                Ok(_) => QueryError::Unavailable("its file is being made; ask again".to_owned()),
            });
        };
        let lease = Lease::take(path, file, BUSY_MAX).map_err(|error| QueryError::Unavailable(error.to_string()))?;
        let (connection, clock) = connect(path).map_err(|error| unavailable(&error))?;
        let companions = Companions::beside(path).map_err(|error| QueryError::Unavailable(error.to_string()))?;
        if FileId::of(path).ok().flatten() == Some(file) && !lease.agrees_on(companions) {
            lease.revoke();
        }
        Ok(Open { connection, clock, file, companions, lease })
    }

    /// Whether it reads the file that the path leads to, with the log and the index that lie beside it. If these were
    /// removed, all connections to the file are to be closed.
    pub(super) fn is_in_place(&self, path: &Path, file: Option<FileId>) -> bool {
        if file != Some(self.file) || self.lease.is_revoked() {
            return false;
        }
        let is_in_place = self.companions.are_in_place(path);
        if !is_in_place {
            self.lease.revoke();
        }
        is_in_place
    }
}

fn connect(path: &Path) -> rusqlite::Result<(Connection, Arc<Clock>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch(SETTINGS)?;
    // The first look at the file opens its log and the index.
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    add_trims(&connection)?;
    connection.authorizer(Some(authorize))?;
    let clock = Arc::new(Clock::new(Turns::of_this_process()));
    let seen = Arc::clone(&clock);
    connection.progress_handler(STEPS, Some(move || seen.is_over()))?;
    Ok((connection, clock))
}
