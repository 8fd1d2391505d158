//! All connections of this process to the SQLite files that it has open.
//!
//! Within a process SQLite shares the index of the write-ahead log (`-shm`) between all connections to a database file, for
//! as long as one of them is open. If the index or the log was removed, another program makes a new one, while a connection
//! that this process opens gets the removed one again: then both overwrite each other's committed rows. So whoever finds a
//! fault [revokes](Lease::revoke) all connections to the file, and [`Lease::take`] opens no other before all of them are
//! closed.
//!
//! A connection that is not in use is closed by whoever comes first. One in use is interrupted, and its user closes it.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};

use super::watch::{Companions, FileId};
use crate::sink::{Class, SinkError};

/// Between two attempts to close what is left. A statement ends within microseconds of its interruption.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

static OPEN: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

/// One connection.
struct Entry {
    file: FileId,
    is_revoked: AtomicBool,
    /// The log and the index that it uses.
    companions: OnceLock<Companions>,
    /// `None` while it is being opened.
    place: OnceLock<(InterruptHandle, Weak<dyn Place>)>,
}

/// Where a connection is kept between its uses.
trait Place: Send + Sync {
    /// `false` while it is in use.
    fn close_if_idle(&self) -> bool;
}

/// What holds a connection and can be closed by another thread.
pub(super) trait Closable: Send + Sized + 'static {
    fn connection(&self) -> &Connection;
    fn lease(&self) -> &Lease;

    /// Closes the revoked connection; gives it back if that cannot be done yet.
    fn leave(self) -> Option<Self>;
}

/// A place for a connection that others may close while it is not in use.
pub(super) struct Slot<C>(Arc<Mutex<Option<C>>>);

/// A connection's permission to be open. To be dropped after the connection.
pub(super) struct Lease(Arc<Entry>);

impl<C: Closable> Slot<C> {
    pub(super) fn new() -> Slot<C> {
        Slot(Arc::new(Mutex::new(None)))
    }

    /// For one use.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<C>> {
        // A panic leaves a connection that is as usable as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection that was opened for this place.
    pub(super) fn put(&self, connection: C) {
        let place: Weak<dyn Place> = Arc::downgrade(&self.0) as Weak<dyn Place>;
        let entry = Arc::clone(&connection.lease().0);
        let _ = entry.place.set((connection.connection().get_interrupt_handle(), place));
        *self.lock() = Some(connection);
    }
}

impl<C> fmt::Debug for Slot<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Slot")
    }
}

impl<C: Closable> Place for Mutex<Option<C>> {
    fn close_if_idle(&self) -> bool {
        let mut held = match self.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if held.as_ref().is_some_and(|connection| connection.lease().is_revoked())
            && let Some(connection) = held.take()
        {
            *held = connection.leave();
        }
        true
    }
}

impl Lease {
    /// To be taken before the connection is opened. Connections whose log or index is not beside the file any more are revoked:
    /// the new one would share that index, and write by it. Waits until the revoked connections to the file are closed,
    /// `patience` at most.
    pub(super) fn take(path: &Path, file: FileId, patience: Duration) -> Result<Lease, SinkError> {
        let give_up = Instant::now() + patience;
        loop {
            let left = {
                let mut open = lock();
                revoke_displaced(&open, path, file);
                let left = revoked(&open, file);
                if left.is_empty() {
                    let entry = Entry {
                        file,
                        is_revoked: AtomicBool::new(false),
                        companions: OnceLock::new(),
                        place: OnceLock::new(),
                    };
                    let entry = Arc::new(entry);
                    open.push(Arc::clone(&entry));
                    return Ok(Lease(entry));
                }
                left
            };
            close(&left);
            let count = revoked(&lock(), file).len();
            if count == 0 {
                continue;
            }
            if Instant::now() >= give_up {
                return Err(still_open(path, count));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Notes which log and index the connection uses. `false`: another connection to the file uses others, so that one of
    /// them was removed in between.
    pub(super) fn agrees_on(&self, companions: Companions) -> bool {
        let open = lock();
        let _ = self.0.companions.set(companions);
        let mut others = open.iter().filter(|entry| entry.file == self.0.file && !Arc::ptr_eq(entry, &self.0));
        others.all(|other| other.companions.get().is_none_or(|found| found.agree_with(&companions)))
    }

    /// Whether a fault of the file was found, by whomever.
    pub(super) fn is_revoked(&self) -> bool {
        self.0.is_revoked.load(Ordering::Acquire)
    }

    /// Has all connections to the file closed, this one by its user. `true` for whoever is the first to do so.
    pub(super) fn revoke(&self) -> bool {
        let left = {
            let open = lock();
            // Others that are open by now have been opened after all those that are meant.
            if self.0.is_revoked.swap(true, Ordering::AcqRel) {
                return false;
            }
            revoke_all(&open, self.0.file);
            let mut left = revoked(&open, self.0.file);
            left.retain(|entry| !Arc::ptr_eq(entry, &self.0));
            left
        };
        close(&left);
        true
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lease").field("is_revoked", &self.is_revoked()).finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock().retain(|entry| !Arc::ptr_eq(entry, &self.0));
    }
}

fn lock() -> MutexGuard<'static, Vec<Arc<Entry>>> {
    // Nothing panics while it is held.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn revoke_all(open: &[Arc<Entry>], file: FileId) {
    for entry in open.iter().filter(|entry| entry.file == file) {
        entry.is_revoked.store(true, Ordering::Release);
    }
}

/// If one connection to the file uses a log or an index that was removed, all do.
fn revoke_displaced(open: &[Arc<Entry>], path: &Path, file: FileId) {
    let mut known = open.iter().filter(|entry| entry.file == file).filter_map(|entry| entry.companions.get());
    if known.any(|companions| !companions.are_in_place(path)) {
        revoke_all(open, file);
    }
}

fn revoked(open: &[Arc<Entry>], file: FileId) -> Vec<Arc<Entry>> {
    let is_left = |entry: &&Arc<Entry>| entry.file == file && entry.is_revoked.load(Ordering::Acquire);
    open.iter().filter(is_left).cloned().collect()
}

/// Closes those that are not in use, and interrupts the others. Not under [`OPEN`]: closing may write to the disk.
fn close(entries: &[Arc<Entry>]) {
    for entry in entries {
        // One that is being opened is closed by whoever opens it.
        let Some((interrupt, place)) = entry.place.get() else { continue };
        if place.upgrade().is_some_and(|place| !place.close_if_idle()) {
            interrupt.interrupt();
        }
    }
}

fn still_open(path: &Path, count: usize) -> SinkError {
    SinkError {
        class: Class::Transient,
        code: "SQLITE_BUSY".to_owned(),
        message: format!(
            "cannot open the database {} again: its -wal or -shm file was removed or the file was replaced, and {count} \
             connections of the bridge still use the former ones",
            path.display()
        ),
        advice: "nothing: it is tried again once their statements have ended; if that does not happen, restart the bridge",
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;
    const SOON: Duration = Duration::from_secs(30);

    struct Plain {
        connection: Connection,
        lease: Lease,
    }

    impl Closable for Plain {
        fn connection(&self) -> &Connection {
            &self.connection
        }

        fn lease(&self) -> &Lease {
            &self.lease
        }

        fn leave(self) -> Option<Plain> {
            None
        }
    }

    fn bench() -> (TempDir, std::path::PathBuf, FileId) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let file = FileId::of(&path).unwrap().unwrap();
        (directory, path, file)
    }

    fn opened(path: &Path, file: FileId) -> Slot<Plain> {
        let slot = Slot::new();
        let lease = Lease::take(path, file, AT_ONCE).unwrap();
        slot.put(Plain { connection: Connection::open(path).unwrap(), lease });
        slot
    }

    fn revoke(slot: &Slot<Plain>) -> bool {
        slot.lock().as_ref().unwrap().lease.revoke()
    }

    #[test]
    fn one_connection_that_finds_a_fault_has_the_idle_ones_to_its_file_closed() {
        let (_directory, path, file) = bench();
        let (_other_directory, other_path, other_file) = bench();
        let [finder, idle] = [(); 2].map(|()| opened(&path, file));
        let elsewhere = opened(&other_path, other_file);
        assert!(revoke(&finder));
        assert!(idle.lock().is_none());
        assert!(elsewhere.lock().as_ref().is_some_and(|open| !open.lease.is_revoked()));
        // The finder is in no use either.
        let reopened = Lease::take(&path, file, AT_ONCE).unwrap();
        assert!(finder.lock().is_none() && !reopened.is_revoked());
    }

    #[test]
    fn a_connection_in_use_is_interrupted_and_none_is_opened_before_it_is_closed() {
        let (_directory, path, file) = bench();
        let (finder, busy) = (opened(&path, file), opened(&path, file));
        let held = busy.lock();
        assert!(revoke(&finder));
        let error = Lease::take(&path, file, AT_ONCE).map(drop).unwrap_err();
        assert_eq!(error.class, Class::Transient);
        assert!(error.message.contains("a.db") && error.message.contains("1 connections"), "{error}");
        drop(held);

        let busy = opened(&path, file);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        thread::scope(|scope| {
            let (begun, is_begun) = std::sync::mpsc::channel();
            let (busy, finder) = (&busy, opened(&path, file));
            let running = scope.spawn(move || {
                let mut held = busy.lock();
                let open = held.as_ref().unwrap();
                begun.send(()).unwrap();
                let result = open.connection.query_row(endless, [], |row| row.get::<_, i64>(0));
                assert!(open.lease.is_revoked());
                *held = None;
                result
            });
            is_begun.recv().unwrap();
            assert!(revoke(&finder));
            Lease::take(&path, file, SOON).unwrap();
            let error = running.join().unwrap().unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
        });
    }

    #[test]
    fn a_connection_with_another_index_than_an_older_one_is_told() {
        let (directory, path, file) = bench();
        let of_files = |log: &str| {
            std::fs::write(directory.path().join("a.db-wal"), log).unwrap();
            Companions::beside(&path).unwrap()
        };
        let older = Lease::take(&path, file, AT_ONCE).unwrap();
        assert!(older.agrees_on(of_files("")));
        let younger = Lease::take(&path, file, AT_ONCE).unwrap();
        assert!(younger.agrees_on(of_files("")));
        // Removed while it is opened.
        let last = Lease::take(&path, file, AT_ONCE).unwrap();
        std::fs::rename(directory.path().join("a.db-wal"), directory.path().join("moved")).unwrap();
        assert!(!last.agrees_on(of_files("")));
    }

    #[test]
    fn none_is_opened_beside_one_whose_log_was_removed() {
        let (directory, path, file) = bench();
        let log = directory.path().join("a.db-wal");
        std::fs::write(&log, "").unwrap();
        let older = Lease::take(&path, file, AT_ONCE).unwrap();
        assert!(older.agrees_on(Companions::beside(&path).unwrap()));
        std::fs::remove_file(&log).unwrap();
        assert!(Lease::take(&path, file, AT_ONCE).is_err() && older.is_revoked());
        drop(older);
        Lease::take(&path, file, AT_ONCE).unwrap();
    }
}
