//! Notices that the database is no longer the one that was opened: its file was replaced, removed, truncated or
//! overwritten, its write-ahead log or the log's index was removed.
//!
//! This is checked before each use and after each commit, so no row is counted as written into a file that is gone. In
//! WAL mode only a checkpoint writes to the database file, and the log's index shows every checkpoint, of every
//! process. So a file that changed without a checkpoint was changed by something other than SQLite. The file's content
//! distinguishes this from a mere `touch`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::events;
use super::log_index::{self, LogState};
use super::log_repair::{self, Outcome};
use crate::sink::{Class, SinkError};

/// Looks until the file stood still for the time of one look; more are needed only while others write.
const LOOKS_MAX: usize = 10;

/// The identity of a file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// `None` if there is no such file.
    pub(super) fn of(path: &Path) -> io::Result<Option<FileId>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(FileId::in_metadata(&file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn in_metadata(file: &fs::Metadata) -> FileId {
        FileId { device: file.dev(), inode: file.ino() }
    }
}

/// The log and the index of an open database, as far as they were there when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Companions {
    log: Option<FileId>,
    index: Option<FileId>,
}

impl Companions {
    /// Those that lie beside the database now.
    pub(super) fn beside(database: &Path) -> io::Result<Companions> {
        let id = |suffix: &str| FileId::of(&log_index::companion(database, suffix));
        Ok(Companions { log: id("-wal")?, index: id("-shm")? })
    }

    /// Whether both may be the files of connections to the same database.
    pub(super) fn agree_with(&self, other: &Companions) -> bool {
        let agree = |one: Option<FileId>, other: Option<FileId>| one.is_none() || other.is_none() || one == other;
        agree(self.log, other.log) && agree(self.index, other.index)
    }

    /// Whether those that are known still lie beside the database.
    pub(super) fn are_in_place(&self, database: &Path) -> bool {
        let is_there = |known: Option<FileId>, found: Option<FileId>| known.is_none() || known == found;
        Companions::beside(database)
            .is_ok_and(|found| is_there(self.log, found.log) && is_there(self.index, found.index))
    }
}

/// What happened to the files of an open database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The path names another file, or none.
    Moved(&'static str),
    /// The log is gone: what was committed is known to this process alone, until the log is put back.
    LogGone,
    /// The log's index is gone: others may have made a new one, and their locks are not ours.
    IndexGone,
    /// The file was changed by something that is not SQLite. The log belongs to what it was before.
    Overwritten,
    /// Another connection of this process found a fault. This one uses the same files.
    FoundByAnother,
}

impl Fault {
    pub(super) fn into_error(self, database: &Path) -> SinkError {
        let what = match self {
            Fault::Moved(what) => what,
            Fault::LogGone => "lost its write-ahead log (-wal)",
            Fault::IndexGone => "lost the index of its write-ahead log (-shm)",
            Fault::Overwritten => "was truncated or overwritten",
            Fault::FoundByAnother => "lost its write-ahead log or the index of it, or was replaced,",
        };
        SinkError {
            class: Class::Transient,
            code: "replaced".to_owned(),
            message: format!("the database file {} {what} while it was open", database.display()),
            advice: "nothing: it is opened anew, and delivery goes on from the offset found in it; stop the bridge before \
                     you touch the files of a SQLite database",
        }
    }
}

/// The files of an open database as they were last seen in order.
#[derive(Debug)]
pub(super) struct Watch {
    database: PathBuf,
    file: FileId,
    log: Companion,
    /// Open, so that it can be put back if it is removed.
    log_file: Option<File>,
    index: Companion,
    index_file: Option<Arc<File>>,
    seen: Option<Seen>,
}

#[derive(Debug, Clone)]
struct Companion {
    path: PathBuf,
    /// `None` if it was not there at the beginning: then it is not watched.
    id: Option<FileId>,
}

/// The database file after the last checkpoint, and the log when it was last looked at.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    log: LogState,
    content: Alone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Stamp {
        Stamp { bytes: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

impl Companion {
    fn beside(database: &Path, suffix: &str) -> io::Result<Companion> {
        let path = log_index::companion(database, suffix);
        let id = FileId::of(&path)?;
        Ok(Companion { path, id })
    }

    /// The file's size, or `None` if it is not the one that it was.
    fn bytes(&self) -> Option<u64> {
        let Some(id) = self.id else { return Some(0) };
        let found = fs::metadata(&self.path).ok()?;
        (FileId::in_metadata(&found) == id).then_some(found.len())
    }
}

impl Watch {
    /// Of a database that is open and was read from, which makes the log and its index.
    pub(super) fn begin(database: &Path, file: FileId) -> io::Result<Watch> {
        let mut watch = Watch {
            log: Companion::beside(database, "-wal")?,
            log_file: open_log(database)?,
            index: Companion::beside(database, "-shm")?,
            index_file: log_index::open(database)?,
            database: database.to_owned(),
            file,
            seen: None,
        };
        match watch.note() {
            // A checkpoint that others hinder leaves a file that cannot be read without its log.
            Err(error) if is_of_the_disk(&error) => Err(io::Error::other(error)),
            _ => Ok(watch),
        }
    }

    /// The size of the log's file, if all is in order. Four system calls.
    pub(super) fn check(&mut self) -> Result<u64, Fault> {
        // First: whoever opens a file that was truncated to nothing removes its log.
        self.check_file()?;
        let log_bytes = self.log.bytes().ok_or(Fault::LogGone)?;
        self.index.bytes().ok_or(Fault::IndexGone)?;
        Ok(log_bytes)
    }

    /// Whether the database file is the one that was opened, changed by nothing but SQLite.
    pub(super) fn check_file(&mut self) -> Result<(), Fault> {
        // Before the file is looked at: a checkpoint that begins in between is one after `log`.
        let log = self.log();
        let found = match fs::metadata(&self.database) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::Moved("was removed")),
            Err(_) => return Err(Fault::Moved("cannot be looked at any more")),
        };
        if FileId::in_metadata(&found) != self.file {
            return Err(Fault::Moved("was replaced by another"));
        }
        match &mut self.seen {
            Some(seen) if seen.stamp != Stamp::of(&found) => self.explain_change()?,
            Some(seen) => seen.log = log.unwrap_or(seen.log),
            None => {}
        }
        Ok(())
    }

    pub(super) fn companions(&self) -> Companions {
        Companions { log: self.log.id, index: self.index.id }
    }

    /// Looks whether the log or its index is gone: who made new ones does not see what is committed then. Two system calls.
    pub(super) fn companions_check(&self) -> impl Fn() -> bool + Send + use<> {
        let companions = [self.log.clone(), self.index.clone()];
        move || companions.iter().any(|companion| companion.bytes().is_none())
    }

    fn check_index(&self) -> Result<(), Fault> {
        self.index.bytes().map(drop).ok_or(Fault::IndexGone)
    }

    /// Puts the log back that was removed. Needless if all of it is in the database and the index is gone too.
    pub(super) fn put_log_back(&self) -> io::Result<Outcome> {
        let Some(removed) = &self.log_file else { return Ok(Outcome::Whole) };
        let log = self.log();
        let index = match (self.check_index(), log) {
            (Ok(()), Some(log)) => log_repair::Index::InUse { salt: log.salt, frames: log.frames },
            (Ok(()), None) => return Err(io::Error::other("its index is being written")),
            (Err(_), Some(log)) if log.is_all_copied() => return Ok(Outcome::Whole),
            (Err(_), _) => log_repair::Index::Gone,
        };
        log_repair::put_back(removed, &self.log.path, index)
    }

    /// How far the log reaches; `None` where that cannot be told.
    pub(super) fn log(&self) -> Option<LogState> {
        LogState::read(self.index_file.as_deref()?).ok()?
    }

    /// After a checkpoint of our own: the file is as it should be, if it is large enough.
    pub(super) fn checkpointed(&mut self) -> Result<(), Fault> {
        if let Some((stamp, log)) = self.look()
            && stamp.bytes < log.database_bytes_min()
        {
            return Err(Fault::Overwritten);
        }
        self.note_or_tell();
        Ok(())
    }

    /// The file is not as it was seen last.
    fn explain_change(&mut self) -> Result<(), Fault> {
        let Some((stamp, log)) = self.look() else { return Ok(()) };
        let Some(seen) = &mut self.seen else { return Ok(()) };
        if stamp.bytes < log.database_bytes_min() {
            return Err(Fault::Overwritten);
        }
        if log.may_have_copied_since(&seen.log) {
            self.note_or_tell();
            return Ok(());
        }
        let is_the_same = stamp.bytes == seen.stamp.bytes
            && seen.content != Alone::Unknown
            && Alone::of(&Content::read(&self.database)) == seen.content;
        if !is_the_same {
            return Err(Fault::Overwritten);
        }
        seen.stamp = stamp;
        Ok(())
    }

    /// The file and, read after it, the log's state; `None` while others write all the time.
    fn look(&self) -> Option<(Stamp, LogState)> {
        let stamp = || fs::metadata(&self.database).ok().map(|found| Stamp::of(&found));
        let mut before = stamp()?;
        for _ in 0..LOOKS_MAX {
            let log = self.log()?;
            let after = stamp()?;
            if before == after {
                return Some((after, log));
            }
            before = after;
        }
        None
    }

    fn note_or_tell(&mut self) {
        if let Err(error) = self.note()
            && is_of_the_disk(&error)
        {
            events::sqlite_content_unread(&self.database, &error);
        }
    }

    /// Takes the file as it is for being in order. After an error it is not known what it holds: then any change of the
    /// file that is not SQLite's own is a fault.
    fn note(&mut self) -> rusqlite::Result<()> {
        self.seen = None;
        // In this order, as in `check`.
        let Some(log) = self.log() else { return Ok(()) };
        let Ok(found) = fs::metadata(&self.database) else { return Ok(()) };
        let content = Content::read(&self.database);
        self.seen = Some(Seen { stamp: Stamp::of(&found), log, content: Alone::of(&content) });
        content.map(drop)
    }

    /// Removes the log and its index, where they are still the ones of the database that was open. What stays is empty.
    pub(super) fn remove_log(&self) {
        for companion in [&self.log, &self.index] {
            if companion.id.is_some() && companion.bytes().is_some() {
                let _ = fs::remove_file(&companion.path);
            }
        }
    }

    /// Copies the log to another name, where SQLite does not take it for the overwritten file's, and empties it, so that
    /// nobody who still has it open can copy from it. An earlier one under that name goes. `false`: there is nothing in it.
    pub(super) fn set_log_aside(&self) -> io::Result<bool> {
        if self.log.bytes().is_none_or(|bytes| bytes == 0) {
            return Ok(false);
        }
        let mut aside = self.log.path.as_os_str().to_owned();
        aside.push(".overwritten");
        let copied = fs::copy(&self.log.path, aside).map(drop);
        OpenOptions::new().write(true).open(&self.log.path)?.set_len(0)?;
        copied.map(|()| true)
    }
}

/// SQLite has no locks on the log that closing it would drop.
fn open_log(database: &Path) -> io::Result<Option<File>> {
    match File::open(log_index::companion(database, "-wal")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is known of the database file without its log.
#[derive(Debug, PartialEq, Eq)]
enum Alone {
    Holds(Content),
    /// A checkpoint that others hinder leaves it so.
    Unreadable,
    /// The disk failed.
    Unknown,
}

impl Alone {
    fn of(read: &rusqlite::Result<Content>) -> Alone {
        match read {
            Ok(content) => Alone::Holds(content.clone()),
            Err(error) if is_of_the_disk(error) => Alone::Unknown,
            Err(_) => Alone::Unreadable,
        }
    }
}

/// The content of the database file without its log, as far as needed to distinguish a copy from the file at another
/// time. Every commit of ours moves an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    numbers: [i64; 3],
    offsets: Vec<(String, String, i64, String)>,
}

impl Content {
    fn read(database: &Path) -> rusqlite::Result<Content> {
        // SQLite closes the descriptor only when that costs no lock of this process.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(immutable_uri(database), flags)?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
        let numbers = [number("page_count")?, number("freelist_count")?, number("schema_version")?];
        let mut offsets = Vec::new();
        if connection.table_exists(None, "rowbridge_offsets")? {
            let mut statement = connection.prepare(
                "SELECT bridge, journal_id, next_seq, updated_at FROM rowbridge_offsets ORDER BY bridge, journal_id",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            offsets = rows.collect::<rusqlite::Result<_>>()?;
        }
        Ok(Content { numbers, offsets })
    }
}

fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::SystemIoFailure))
}

/// `immutable`: SQLite reads the file alone, without log and locks.
fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
