//! Files in memory: a journal that ends with its process.
//!
//! Nothing here is durable, and nothing needs to be, because the messages in these files are unacknowledged. The bytes
//! of a file are freed when its name is removed and its last handle is closed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Fs, FsFile};

/// A file system in memory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryFs(Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>);

/// A file in memory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryFile(Arc<RwLock<Vec<u8>>>);

impl MemoryFs {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, MemoryFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for MemoryFs {
    type File = MemoryFile;

    /// A directory is there as long as a file is in it.
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files().keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut files = self.files();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(files.entry(path.to_owned()).or_default().clone())
    }

    fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        self.files().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_read(&self, path: &Path) -> io::Result<MemoryFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// No other process sees these files.
    fn lock(&self, path: &Path) -> io::Result<MemoryFile> {
        Ok(self.files().entry(path.to_owned()).or_default().clone())
    }

    fn boot_id(&self) -> Option<String> {
        None
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}

impl FsFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    /// Of an empty file, pages are only promised by the system: each becomes memory when it is written to.
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut file = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        if file.is_empty() {
            *file = vec![0; len];
        } else if file.len() < len {
            file.resize(len, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_renamed_listed_and_removed_and_an_open_one_outlives_its_name() {
        let fs = MemoryFs::default();
        let (dir, path, other) = (Path::new("a"), Path::new("a/b"), Path::new("a/c"));
        let file = fs.create_new(path).unwrap();
        fs.create_new(path).unwrap_err();
        file.allocate(10).unwrap();
        file.write_all_at(b"xyz", 8).unwrap();
        assert_eq!(file.len().unwrap(), 11);
        fs.rename(path, other).unwrap();
        assert_eq!(fs.list(dir).unwrap(), [other]);
        assert_eq!(fs.open(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut read = [1; 5];
        assert_eq!(fs.open_read(other).unwrap().read_at(&mut read, 7).unwrap(), 4);
        assert_eq!(&read, b"\0xyz\x01");
        assert_eq!(file.read_at(&mut read, 99).unwrap(), 0);
        fs.remove(other).unwrap();
        assert_eq!(fs.remove(other).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(file.len().unwrap(), 11);
    }
}
