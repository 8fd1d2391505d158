//! Where a process keeps its journal and its session's state, as `journal.durability` decides.
//!
//! With `delivered` the journal is in memory. The state of the session (`identity.json`, `subscriptions.json`) is still
//! stored in `data_dir`, if that is writable: it allows a filter that left the configuration to be unsubscribed after a
//! restart. In a container without storage the session's state is in memory too.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::handle::DIRECTORY;
use super::memory_fs::MemoryFile;
use super::{Fs, FsFile, MemoryFs, OpenError, RealFs, lock_file, segment};
use crate::config::{self, Durability};
use crate::remedy;

/// The disk, or memory.
#[derive(Debug, Clone)]
pub enum Storage {
    Disk,
    Memory(MemoryFs),
}

/// An open file of a [`Storage`].
#[derive(Debug)]
pub enum StorageFile {
    Disk(File),
    Memory(MemoryFile),
}

/// What a process keeps where.
#[derive(Debug)]
pub struct Places {
    pub journal: Storage,
    pub state: Storage,
    /// Of `data_dir`, where the journal does not hold it.
    _lock: Option<File>,
}

impl Places {
    /// Decides by what the configuration says, and whether `data_dir` can be written.
    pub fn choose(data_dir: &Path, config: &config::Journal) -> Result<Places, OpenError> {
        if config.durability != Durability::Delivered {
            return Ok(Places { journal: Storage::Disk, state: Storage::Disk, _lock: None });
        }
        let journal = Storage::Memory(MemoryFs::default());
        let dir = data_dir.join(DIRECTORY);
        let locked = RealFs.create_dir_all(&dir).and_then(|()| lock_file::take(&RealFs, &dir));
        match locked {
            Ok(lock) if holds_segments(&dir) => {
                drop(lock);
                Err(OpenError::OnDisk(dir))
            }
            Ok(lock) => Ok(Places { journal, state: Storage::Disk, _lock: Some(lock) }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::Locked(dir)),
            // It may be readable nevertheless.
            Err(_) if holds_segments(&dir) => Err(OpenError::OnDisk(dir)),
            Err(error) => {
                let advice = remedy::of_file(&error);
                tracing::info!(
                    data_dir = %data_dir.display(), %error, advice,
                    "data_dir cannot be written: between two starts only the broker and the databases keep state"
                );
                Ok(Places { journal, state: Storage::Memory(MemoryFs::default()), _lock: None })
            }
        }
    }
}

fn holds_segments(dir: &Path) -> bool {
    RealFs.list(dir).is_ok_and(|paths| paths.iter().any(|path| segment::base_of(path).is_some()))
}

impl Storage {
    pub fn is_memory(&self) -> bool {
        matches!(self, Storage::Memory(_))
    }
}

impl Fs for Storage {
    type File = StorageFile;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self {
            Storage::Disk => RealFs.create_dir_all(path),
            Storage::Memory(fs) => fs.create_dir_all(path),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        match self {
            Storage::Disk => RealFs.list(path),
            Storage::Memory(fs) => fs.list(path),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<StorageFile> {
        match self {
            Storage::Disk => RealFs.create_new(path).map(StorageFile::Disk),
            Storage::Memory(fs) => fs.create_new(path).map(StorageFile::Memory),
        }
    }

    fn open(&self, path: &Path) -> io::Result<StorageFile> {
        match self {
            Storage::Disk => RealFs.open(path).map(StorageFile::Disk),
            Storage::Memory(fs) => fs.open(path).map(StorageFile::Memory),
        }
    }

    fn open_read(&self, path: &Path) -> io::Result<StorageFile> {
        match self {
            Storage::Disk => RealFs.open_read(path).map(StorageFile::Disk),
            Storage::Memory(fs) => fs.open_read(path).map(StorageFile::Memory),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Storage::Disk => RealFs.rename(from, to),
            Storage::Memory(fs) => fs.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Storage::Disk => RealFs.remove(path),
            Storage::Memory(fs) => fs.remove(path),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self {
            Storage::Disk => RealFs.sync_dir(path),
            Storage::Memory(fs) => fs.sync_dir(path),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<StorageFile> {
        match self {
            Storage::Disk => RealFs.lock(path).map(StorageFile::Disk),
            Storage::Memory(fs) => fs.lock(path).map(StorageFile::Memory),
        }
    }

    fn boot_id(&self) -> Option<String> {
        match self {
            Storage::Disk => RealFs.boot_id(),
            Storage::Memory(fs) => fs.boot_id(),
        }
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        RealFs.fill_random(bytes)
    }
}

impl FsFile for StorageFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            StorageFile::Disk(file) => FsFile::read_at(file, buf, offset),
            StorageFile::Memory(file) => file.read_at(buf, offset),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            StorageFile::Disk(file) => FsFile::write_all_at(file, bytes, offset),
            StorageFile::Memory(file) => file.write_all_at(bytes, offset),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match self {
            StorageFile::Disk(file) => file.allocate(len),
            StorageFile::Memory(file) => file.allocate(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self {
            StorageFile::Disk(file) => FsFile::sync_data(file),
            StorageFile::Memory(file) => file.sync_data(),
        }
    }

    fn forget_cached(&self) -> io::Result<()> {
        match self {
            StorageFile::Disk(file) => file.forget_cached(),
            StorageFile::Memory(file) => file.forget_cached(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        match self {
            StorageFile::Disk(file) => FsFile::len(file),
            StorageFile::Memory(file) => file.len(),
        }
    }
}
