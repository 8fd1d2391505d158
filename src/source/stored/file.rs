//! Writes the state off the session's task, one write at a time, always the newest. A caller that needs it on the disk
//! waits until all writes are done.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::{FILE_NAME, StoredSubscriptions};
use crate::journal::{Fs, MemoryFs};
use crate::remedy;

/// The state could not be stored.
#[derive(Debug, Error)]
#[error("cannot write {path}: {source}; {}", remedy::of_file(.source))]
pub(in crate::source) struct SaveError {
    path: PathBuf,
    source: io::Error,
}

/// The file on whichever disk it lies.
trait OnDisk: Send + Sync {
    fn load(&self) -> Option<StoredSubscriptions>;
    fn save(&self, stored: &StoredSubscriptions) -> io::Result<()>;
}

struct InDirectory<F> {
    fs: F,
    data_dir: PathBuf,
}

impl<F: Fs> OnDisk for InDirectory<F> {
    fn load(&self) -> Option<StoredSubscriptions> {
        StoredSubscriptions::load(&self.fs, &self.data_dir)
    }

    fn save(&self, stored: &StoredSubscriptions) -> io::Result<()> {
        stored.save(&self.fs, &self.data_dir)
    }
}

/// Writes the file off the session's task, one write at a time, always the newest state.
pub struct SubscriptionsFile {
    path: PathBuf,
    disk: Arc<dyn OnDisk>,
    writing: Option<tokio::task::JoinHandle<io::Result<()>>>,
    waiting: Option<StoredSubscriptions>,
    /// The last write failed, or there was none yet: the disk may hold an older state.
    is_behind: bool,
}

impl SubscriptionsFile {
    /// The file in `data_dir`, which need not exist.
    pub fn new<F: Fs>(fs: F, data_dir: PathBuf) -> SubscriptionsFile {
        let path = data_dir.join(FILE_NAME);
        let disk = Arc::new(InDirectory { fs, data_dir });
        // A process that was killed may have left a file whose name a power cut still takes back: what is read here is
        // not built on before it has been written again.
        SubscriptionsFile { path, disk, writing: None, waiting: None, is_behind: true }
    }

    /// A file in memory, of a client of which the broker may know more: messages that it queues have the identifiers of an
    /// earlier process.
    pub fn in_memory(data_dir: PathBuf) -> SubscriptionsFile {
        let fs = MemoryFs::default();
        // Memory takes it.
        let _ = StoredSubscriptions::forgotten().save(&fs, &data_dir);
        SubscriptionsFile::new(fs, data_dir)
    }

    /// What it holds; `None` on a first start.
    pub fn load(&self) -> Option<StoredSubscriptions> {
        self.disk.load()
    }

    /// Has `stored` written soon.
    pub(in crate::source) fn save(&mut self, stored: &StoredSubscriptions) {
        self.waiting = Some(stored.clone());
        self.advance();
    }

    /// Begins the write that waited for the last one to end.
    fn advance(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        if let Some(stored) = self.waiting.take() {
            let disk = Arc::clone(&self.disk);
            let write = move || disk.save(&stored);
            #[cfg(test)]
            if crate::simulation::seams::is_simulated() {
                self.writing = Some(tokio::spawn(async move { write() }));
                return;
            }
            self.writing = Some(tokio::task::spawn_blocking(write));
        }
    }

    /// Whether something is being written, or waits to be.
    pub(in crate::source) fn is_busy(&self) -> bool {
        self.writing.is_some() || self.waiting.is_some()
    }

    /// Whether the disk may hold an older state, as the last write failed or there was none yet.
    pub(in crate::source) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Returns when all is written, or the last write failed. Cancel-safe.
    pub(in crate::source) async fn settled(&mut self) -> Result<(), SaveError> {
        let mut result = Ok(());
        loop {
            self.advance();
            let Some(writing) = self.writing.as_mut() else { return result };
            let written = writing.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
            self.writing = None;
            self.is_behind = written.is_err();
            result = written.map_err(|source| SaveError { path: self.path.clone(), source });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::tests::stored;
    use super::*;
    use crate::journal::{RealFs, SimFault, SimFs};

    #[tokio::test]
    async fn the_newest_state_is_what_the_file_holds_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SubscriptionsFile::new(RealFs, dir.path().to_owned());
        let mut state = stored();
        for n in 0..20 {
            state.next_identifier = 100 + n;
            file.save(&state);
        }
        file.settled().await.unwrap();
        assert_eq!(StoredSubscriptions::load(&RealFs, dir.path()).unwrap().next_identifier, 119);
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_written_again_before_anything_builds_on_it() {
        let (fs, dir) = (SimFs::new(1), Path::new("data"));
        let mut file = SubscriptionsFile::new(fs.clone(), dir.to_owned());
        file.save(&StoredSubscriptions { qos2_clear_pending: true, ..stored() });
        file.settled().await.unwrap();
        // The file is renamed, the directory not synced: shown, and not on the disk.
        fs.fail_call(6, SimFault::Io);
        file.save(&stored());
        file.settled().await.unwrap_err();
        let fs = fs.kill();
        let mut file = SubscriptionsFile::new(fs.clone(), dir.to_owned());
        let loaded = file.load().unwrap();
        assert_eq!(loaded, stored());
        assert!(file.is_behind(), "the first connect writes it");
        file.save(&loaded);
        file.settled().await.unwrap();
        assert!(!file.is_behind());
        for seed in 0..20 {
            assert_eq!(StoredSubscriptions::load(&fs.crash(seed), dir), Some(stored()), "power cut {seed}");
        }
    }

    #[tokio::test]
    async fn a_failed_write_is_told_and_the_old_state_stays() {
        let dir = tempfile::tempdir().unwrap();
        stored().save(&RealFs, dir.path()).unwrap();
        let obstacle = dir.path().join(format!("{FILE_NAME}.tmp"));
        fs::create_dir(&obstacle).unwrap();
        let mut file = SubscriptionsFile::new(RealFs, dir.path().to_owned());
        file.save(&StoredSubscriptions::empty("gw2"));
        let error = file.settled().await.unwrap_err().to_string();
        assert!(error.contains(FILE_NAME) && error.contains("what lies there"), "{error}");
        assert!(file.is_behind());
        assert_eq!(StoredSubscriptions::load(&RealFs, dir.path()), Some(stored()));
        fs::remove_dir(&obstacle).unwrap();
        file.save(&stored());
        file.settled().await.unwrap();
        assert!(!file.is_behind());
    }
}
