//! Log events of a SQLite file.

use std::io;
use std::path::Path;

use tracing::{error, warn};

/// A log of this size that is not copied into its database makes every read of it slower, and fills the disk.
pub(super) fn sqlite_log_grows(database: &str, file: &Path, bytes: u64) {
    let mib = bytes >> 20;
    warn!(
        database, file = %file.display(), mib,
        "the write-ahead log (-wal) grows: a transaction of another process keeps it from being copied into the database; \
         find the process (`fuser FILE`) and end its long transaction"
    );
}

/// The user's file changes its journal mode, once and for good.
pub(super) fn sqlite_becomes_wal(file: &Path, former: &str) {
    warn!(
        file = %file.display(), former,
        "the SQLite file is switched from its journal mode to WAL, and stays so: rows that are new lie in FILE-wal beside \
         it, and all programs that use it must run on this machine"
    );
}

/// What the file holds without its log could not be read.
pub(super) fn sqlite_content_unread(file: &Path, error: &rusqlite::Error) {
    warn!(
        file = %file.display(), %error,
        "the database file could not be read to watch it; look at the disk and the kernel's log. Until the next checkpoint \
         any change of the file that is not SQLite's own counts as damage"
    );
}

/// The content of the log belongs to the old content of the file. `error`: why the log could not be kept beside it.
pub(super) fn sqlite_overwritten(file: &Path, error: Option<io::Error>) {
    let error = error.map(|error| error.to_string());
    warn!(
        file = %file.display(), error,
        "the database file was truncated or overwritten while it was open; its write-ahead log does not belong to what it \
         holds now and was set aside as FILE-wal.overwritten; messages that the file lacks and the journal still keeps are \
         delivered again"
    );
}

/// Log and index were removed, and others began a new log before the removed one could be put back.
pub(super) fn sqlite_log_superseded(file: &Path) {
    error!(
        file = %file.display(),
        "the write-ahead log and its index (-wal, -shm) were removed, and another program has begun new ones: what only the \
         removed log held is not in the file any more; messages that the journal still keeps are delivered again, rows of \
         other programs are not; the removed log was kept as FILE-wal.removed"
    );
}
