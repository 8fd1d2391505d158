//! The index of the write-ahead log (`-shm`), in SQLite's documented WAL format: how far the log
//! reaches, and how much of it was copied into the database. Only this index shows whether SQLite itself changed the
//! database file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The header, twice, and the state of checkpoints.
const STATE_BYTES: usize = 136;
const HEADER_BYTES: usize = 48;

/// Bytes that a page has in the log besides its own.
const FRAME_HEADER_BYTES: u64 = 24;

/// The two copies of the header differ only while a commit of another process writes them.
const READ_TRIES: usize = 5;

/// Indexes that are open. Closing any descriptor of a file drops all locks that the process holds on it, and SQLite's
/// locks lie on the index: so each stays open until SQLite has removed the file, as the last connection does.
static KEPT_OPEN: Mutex<Vec<Arc<File>>> = Mutex::new(Vec::new());

/// The path of a companion file, `-wal` or `-shm`, of the database that `database` leads to.
pub(super) fn companion(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()));
    name.push(suffix);
    PathBuf::from(name)
}

/// The index of an open database; `None` if it has none. Without it a file that others write to would not be noticed,
/// so an index that cannot be opened is an error.
pub(super) fn open(database: &Path) -> io::Result<Option<Arc<File>>> {
    let path = companion(database, "-shm");
    let wanted = match path.metadata() {
        Ok(wanted) => wanted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut kept = KEPT_OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|file| file.metadata().is_ok_and(|file| file.nlink() > 0));
    let is_wanted =
        |file: &File| file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (wanted.dev(), wanted.ino()));
    if let Some(file) = kept.iter().find(|file| is_wanted(file)) {
        return Ok(Some(Arc::clone(file)));
    }
    let file = Arc::new(OpenOptions::new().read(true).write(true).open(&path)?);
    kept.push(Arc::clone(&file));
    Ok(Some(file))
}

/// What the index says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) page_bytes: u64,
    /// Valid pages in the log.
    pub(super) frames: u32,
    /// Pages of the database after the last commit; 0 if the log is new.
    pub(super) pages: u32,
    /// Counts commits.
    changes: u32,
    /// Other ones each time that the log begins anew.
    pub(super) salt: [u8; 8],
    /// How many frames are in the database, and how many may be.
    copied: u32,
    attempted: u32,
}

impl LogState {
    /// `None` while it is being written by others, or not set up yet.
    pub(super) fn read(index: &File) -> io::Result<Option<LogState>> {
        let mut bytes = [0; STATE_BYTES];
        for _ in 0..READ_TRIES {
            index.read_exact_at(&mut bytes, 0)?;
            let (first, second) = bytes[..2 * HEADER_BYTES].split_at(HEADER_BYTES);
            if first == second {
                return Ok(LogState::parse(&bytes));
            }
        }
        Ok(None)
    }

    /// All numbers are in the machine's own byte order.
    fn parse(bytes: &[u8; STATE_BYTES]) -> Option<LogState> {
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let is_set_up = bytes[12] != 0;
        let page_bytes = match u16::from_ne_bytes([bytes[14], bytes[15]]) {
            1 => 1 << 16,
            size => u64::from(size),
        };
        is_set_up.then(|| LogState {
            page_bytes,
            frames: number(16),
            pages: number(20),
            changes: number(8),
            salt: bytes[32..40].try_into().expect("eight bytes"),
            copied: number(96),
            attempted: number(128),
        })
    }

    /// Bytes of the log that are in use.
    pub(super) fn log_bytes(&self) -> u64 {
        u64::from(self.frames) * (self.page_bytes + FRAME_HEADER_BYTES)
    }

    /// Whether all of the log is in the database.
    pub(super) fn is_all_copied(&self) -> bool {
        self.is_settled() && self.copied == self.frames
    }

    /// Whether no checkpoint is under way, nor one that ended half way.
    pub(super) fn is_settled(&self) -> bool {
        self.copied == self.attempted
    }

    /// Whether a checkpoint may have written to the database between `earlier` and this.
    pub(super) fn may_have_copied_since(&self, earlier: &LogState) -> bool {
        if !earlier.is_settled() {
            return true;
        }
        if self.salt == earlier.salt {
            return (self.copied, self.attempted) != (earlier.copied, earlier.attempted);
        }
        // The log started again, which a commit does if all of the log was copied. To copy the new one and start again
        // takes another commit.
        let only_begun_anew =
            earlier.copied == earlier.frames && self.attempted == 0 && self.changes.wrapping_sub(earlier.changes) <= 1;
        !only_begun_anew
    }

    /// The size that the database file must have at least, where that can be told.
    pub(super) fn database_bytes_min(&self) -> u64 {
        if self.is_all_copied() { u64::from(self.pages) * self.page_bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    fn state(index: &File) -> LogState {
        LogState::read(index).unwrap().unwrap()
    }

    #[test]
    fn the_index_tells_of_commits_and_checkpoints() {
        for page_size in [512, 4096, 65536_u32] {
            let page_bytes = u64::from(page_size);
            let directory = TempDir::new().unwrap();
            let path = directory.path().join("a.db");
            let connection = Connection::open(&path).unwrap();
            connection.pragma_update(None, "page_size", page_size).unwrap();
            connection
                .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
                .unwrap();
            let index = open(&path).unwrap().unwrap();
            let created = state(&index);
            assert_eq!((created.page_bytes, created.pages, created.frames), (page_bytes, 2, 2));
            assert_eq!((created.database_bytes_min(), created.log_bytes()), (0, 2 * (page_bytes + 24)));

            connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            let committed = state(&index);
            assert!(!committed.may_have_copied_since(&created));

            let checkpoint = |way: &str| {
                connection.query_row(&format!("PRAGMA wal_checkpoint({way})"), [], |_| Ok(())).unwrap();
            };
            checkpoint("PASSIVE");
            let copied = state(&index);
            assert!(copied.may_have_copied_since(&committed) && copied.is_settled());
            assert_eq!(copied.database_bytes_min(), path.metadata().unwrap().len());

            connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
            let renewed = state(&index);
            assert!(renewed.salt != copied.salt && !renewed.may_have_copied_since(&copied));
            assert_eq!(renewed.database_bytes_min(), 0);

            checkpoint("PASSIVE");
            connection.execute_batch("INSERT INTO t VALUES (3)").unwrap();
            assert!(state(&index).may_have_copied_since(&copied));
        }
    }
}
