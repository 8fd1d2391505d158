//! Ensures disk space for the index of the write-ahead log (`-shm`), which SQLite maps into memory. A store into a
//! mapped page without a disk block ends the whole process with SIGBUS.
//!
//! SQLite allocates a block for each 4 KiB of the index by writing one byte of it. With smaller blocks (ext4 uses 1 KiB
//! on partitions below 512 MiB) three quarters of them stay unallocated. So this module allocates them. It also opens
//! no database, which would create a new index, on an almost full disk.

use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, StatVfs};
use rustix::io::Errno;

use super::codes::ADVICE_FULL;
use super::log_index;
use crate::remedy;
use crate::sink::{Class, SinkError};

/// What SQLite takes for the size of a block.
const PAGE_BYTES: u64 = 4096;

/// The index of 16,384 pages of log: with pages of 2 KiB twice what a checkpoint lets it grow to.
const INDEX_BYTES: u64 = 128 * 1024;

/// A database is not opened with less: the index, and pages of the log beside it.
const ROOM_MIN_BYTES: u64 = 2 * INDEX_BYTES;

/// Errs if the database's disk has no room to open it.
pub(super) fn require(database: &Path) -> Result<(), SinkError> {
    // Where the disk does not say, opening the file will.
    let Some(state) = disk_of(database) else { return Ok(()) };
    if state.f_bavail.saturating_mul(state.f_frsize) >= ROOM_MIN_BYTES {
        return Ok(());
    }
    Err(full(database, &format!("its disk has less than {} KiB left", ROOM_MIN_BYTES / 1024)))
}

/// Has the disk give blocks to the whole index of an open database.
pub(super) fn reserve_index(database: &Path) -> Result<(), SinkError> {
    if disk_of(database).is_none_or(|state| state.f_frsize >= PAGE_BYTES) {
        return Ok(());
    }
    let index = log_index::open(database).map_err(|error| companion_error(database, &error))?;
    let Some(index) = index else { return Ok(()) };
    match rustix::fs::fallocate(&*index, FallocateFlags::KEEP_SIZE, 0, INDEX_BYTES) {
        Err(Errno::NOSPC | Errno::DQUOT) => Err(full(database, "its disk has no room for its log's index")),
        // A file system that cannot promise blocks is no reason to do without the database.
        _ => Ok(()),
    }
}

fn disk_of(database: &Path) -> Option<StatVfs> {
    rustix::fs::statvfs(database.parent()?).ok()
}

/// What SQLite itself has opened a moment ago cannot be opened or looked at: so it may be tried again.
pub(super) fn companion_error(database: &Path, error: &io::Error) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "SQLITE_IOERR".to_owned(),
        message: format!("cannot watch the write-ahead log of {} (-wal, -shm): {error}", database.display()),
        advice: remedy::of_file(error),
    }
}

fn full(database: &Path, why: &str) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "SQLITE_FULL".to_owned(),
        message: format!("cannot open the database {}: {why}", database.display()),
        advice: ADVICE_FULL,
    }
}
