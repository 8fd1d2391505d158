//! The interface between the journal and the disk. A test implements it to tear, lose and refuse writes.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes zeroed at a time: a page. Larger pieces are cached as one unit, which some file systems (XFS before Linux 6.6)
/// write as a whole whenever a byte of it has changed.
const ZEROS_LEN: usize = 4096;

/// A directory's worth of file operations. Errors are plain `io::Error`s; `ENOSPC` keeps its raw OS code.
pub trait Fs: Send + Sync + 'static {
    type File: FsFile;

    /// Creates the directory and its parents; existing ones are fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Paths of the entries of a directory, in no order.
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
    /// Names the time from the system's start to its end; `None` if it has no name.
    fn boot_id(&self) -> Option<String>;
    /// Random bytes for ids and salts; from a seed in a simulation.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "whether a file is empty is nobody's question here")]
pub trait FsFile: Send + Sync + 'static {
    /// Reads at most `buf.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reserves `len` bytes, reading as zeros, so that later writes within them cannot meet a full disk.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes the data, and the size if it changed, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Drops the file's synced pages from the page cache, so that the next read goes to the disk: after a failed sync
    /// the system keeps showing bytes that it could not write. Best effort.
    fn forget_cached(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
}

/// Whether the error says that the disk (or a quota) is full, which passes when room is made.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads until `buf` is full or the file ends; returns how much was read.
pub(super) fn read_full(file: &impl FsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What a bad sector costs at least, as the page cache reads whole pages.
pub(super) const READ_PIECE_BYTES: u64 = 4096;

/// Like [`read_full`], but pieces that cannot be read by themselves, nor a second time, become zeros; `unreadable` gets
/// the offset of each.
pub(super) fn read_around(file: &impl FsFile, buf: &mut [u8], offset: u64, mut unreadable: impl FnMut(u64)) -> usize {
    let mut filled = 0;
    while filled < buf.len() {
        let at = offset + filled as u64;
        let len = (READ_PIECE_BYTES - at % READ_PIECE_BYTES).min((buf.len() - filled) as u64) as usize;
        let piece = &mut buf[filled..filled + len];
        let read = read_full(file, piece, at).or_else(|_| read_full(file, piece, at)).unwrap_or_else(|_| {
            piece.fill(0);
            unreadable(at - at % READ_PIECE_BYTES);
            len
        });
        filled += read;
        if read < len {
            break;
        }
    }
    filled
}

/// Writes zeros from `from` to `to`, a page at a time.
pub(super) fn zero(file: &impl FsFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; ZEROS_LEN];
    let mut at = from;
    while at < to {
        // A block is written as a whole: the disk replaces one that it cannot read.
        let n = (to - at).min(ZEROS_LEN as u64 - at % ZEROS_LEN as u64);
        file.write_all_at(&zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

/// Reads a small file whole.
pub(crate) fn read_file(fs: &impl Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open_read(path)?;
    let mut bytes = vec![0; file.len()? as usize];
    let len = read_full(&file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Replaces a small file as a whole (J10): written as `unfinished` beside it, synced, renamed, and the directory synced.
pub(crate) fn replace_file(fs: &impl Fs, path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_if_there(fs, unfinished)?;
    let file = fs.create_new(unfinished)?;
    crash_point!("file.half_written", file.write_all_at(&bytes[..bytes.len() / 2], 0));
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    crash_point!("file.unnamed");
    fs.rename(unfinished, path)?;
    crash_point!("file.unsynced");
    fs.sync_dir(path.parent().expect("the path was joined from a directory and a name"))
}

/// Removes a file that may not be there.
pub(super) fn remove_if_there(fs: &impl Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
