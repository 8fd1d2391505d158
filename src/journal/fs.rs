//! The seam between the journal and the disk, so that a test can tear, lose and refuse writes.

use std::io;
use std::path::{Path, PathBuf};

/// A directory's worth of file operations. Errors are plain `io::Error`s; `ENOSPC` keeps its raw OS code.
pub trait Fs: Send + Sync + 'static {
    type File: FsFile;

    /// Creates the directory and its parents; existing ones are fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens a new file for reading and writing; fails if it exists.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creates, renames and removals in this directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that lives as long as the returned file; `WouldBlock` if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Self::File>;
}

/// An open file.
pub trait FsFile: Send + Sync + 'static {
    /// Reads at most `buf.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reserves `len` bytes, reading as zeros, so that later writes within them cannot meet a full disk.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes the data, and the size if it changed, durable.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;
