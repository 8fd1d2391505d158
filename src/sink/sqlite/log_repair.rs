//! Puts a write-ahead log back that was removed while it was in use.
//!
//! The removed file is still open here, and holds commits that are not in the database yet. To copy it into the database is
//! not safe: other programs may have made a new log meanwhile. Under the name of the log each of its pages is
//! therefore taken from the file that has it, as the checksums of SQLite's documented WAL format show: every page's checksum
//! continues that of the page before.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Without the last bit, which tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES_MAX: u32 = 1 << 16;

/// The log that lies under the name, and the removed one.
struct Logs<'f> {
    removed: &'f File,
    header: Header,
}

#[derive(Clone, Copy)]
struct Header {
    bytes: [u8; HEADER_BYTES],
    is_big_endian: bool,
    page_bytes: usize,
    checksum: [u32; 2],
}

impl Header {
    /// `None`: the file is no log, or nothing was ever written to it.
    fn read(log: &File) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_BYTES];
        if read_at(log, &mut bytes, 0)? < HEADER_BYTES {
            return Ok(None);
        }
        let magic = word(&bytes, 0);
        let page_bytes = word(&bytes, 8);
        if magic & !1 != MAGIC || !page_bytes.is_power_of_two() || !(512..=PAGE_BYTES_MAX).contains(&page_bytes) {
            return Ok(None);
        }
        let is_big_endian = magic & 1 == 1;
        let checksum = checksum([0; 2], &bytes[..24], is_big_endian);
        let is_whole = checksum == [word(&bytes, 24), word(&bytes, 28)];
        Ok(is_whole.then_some(Header { bytes, is_big_endian, page_bytes: page_bytes as usize, checksum }))
    }

    fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.page_bytes
    }

    /// The checksum after a frame, if it is one that follows on `before`.
    fn following(&self, frame: &[u8], before: [u32; 2]) -> Option<[u32; 2]> {
        if frame[8..16] != self.bytes[16..24] {
            return None;
        }
        let after = checksum(before, &frame[..8], self.is_big_endian);
        let after = checksum(after, &frame[FRAME_HEADER_BYTES..], self.is_big_endian);
        (after == [word(frame, 16), word(frame, 20)]).then_some(after)
    }
}

/// The index that the removed log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// It was removed as well: a log that others made is a different one.
    Gone,
    /// It is in use: a log that others made continues the removed one, if that has the salt of the index. Pages past `frames`
    /// were never committed.
    InUse { salt: [u8; 8], frames: u32 },
}

/// What became of a removed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has its name again, or nothing in it is missing, or it was kept before.
    Whole,
    /// Others began another log without it. It was kept as FILE-wal.removed.
    SetAside,
}

/// Puts the removed log back under its name, unless another has taken its place.
///
/// Must be called while a connection of this process has the write lock.
pub(super) fn put_back(removed: &File, path: &Path, index: Index) -> io::Result<Outcome> {
    let Some(header) = Header::read(removed)? else { return Ok(Outcome::Whole) };
    let logs = Logs { removed, header };
    match index {
        Index::Gone => logs.link(path),
        // Begun anew, which SQLite does once all of it is in the database.
        Index::InUse { salt, .. } if salt != header.bytes[16..24] => Ok(Outcome::Whole),
        Index::InUse { frames, .. } => logs.complete(path, frames).map(|()| Outcome::Whole),
    }
}

impl Logs<'_> {
    /// Adds to the file what it lacks. It is made if there is none.
    fn complete(&self, path: &Path, frames: u32) -> io::Result<()> {
        let mode = self.removed.metadata()?.permissions().mode();
        let present = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(path)?;
        if is_the_same(&present, self.removed)? {
            return Ok(());
        }
        self.copy(Some(&present), &present, frames)?;
        present.write_all_at(&self.header.bytes, 0)?;
        present.sync_all()?;
        sync_folder(path)
    }

    /// Gives a copy the name, if no file has it. Else the copy stays under another.
    fn link(&self, path: &Path) -> io::Result<Outcome> {
        if File::open(path).is_ok_and(|present| self.is_ours(&present)) {
            return Ok(Outcome::Whole);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".removed");
        let copy_path = PathBuf::from(name);
        // By another connection that closed.
        let is_kept = File::open(&copy_path).is_ok_and(|kept| self.is_ours(&kept));
        let mode = self.removed.metadata()?.permissions().mode();
        let copy = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&copy_path)?;
        self.copy(None, &copy, u32::MAX)?;
        copy.write_all_at(&self.header.bytes, 0)?;
        copy.sync_all()?;
        let outcome = match fs::hard_link(&copy_path, path) {
            Ok(()) => {
                fs::remove_file(&copy_path)?;
                Outcome::Whole
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_kept => Outcome::Whole,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Outcome::SetAside,
            Err(error) => return Err(error),
        };
        sync_folder(path)?;
        Ok(outcome)
    }

    /// Whether another connection has put it there.
    fn is_ours(&self, log: &File) -> bool {
        Header::read(log).is_ok_and(|found| found.is_some_and(|found| found.bytes == self.header.bytes))
    }

    /// Writes the frames of the log that `present` lacks to `to`, as far as there are any.
    fn copy(&self, present: Option<&File>, to: &File, frames: u32) -> io::Result<()> {
        let frame_bytes = self.header.frame_bytes();
        let mut frame = vec![0; frame_bytes];
        let mut checksum = self.header.checksum;
        let mut at = HEADER_BYTES as u64;
        for _ in 0..frames {
            let follows = |log: &File, frame: &mut [u8]| -> io::Result<Option<[u32; 2]>> {
                let is_whole = read_at(log, frame, at)? == frame_bytes;
                Ok(if is_whole { self.header.following(frame, checksum) } else { None })
            };
            let mut next = match present {
                Some(present) => follows(present, &mut frame)?,
                None => None,
            };
            if next.is_none() {
                next = follows(self.removed, &mut frame)?;
                if next.is_some() {
                    to.write_all_at(&frame, at)?;
                }
            }
            let Some(next) = next else { return Ok(()) };
            checksum = next;
            at += frame_bytes as u64;
        }
        Ok(())
    }
}

fn is_the_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// As many bytes as there are.
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let number = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        first = first.wrapping_add(number(0)).wrapping_add(second);
        second = second.wrapping_add(number(4)).wrapping_add(first);
    }
    [first, second]
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_removed_log_is_put_back_and_what_others_added_to_a_new_one_stays() {
        for others_added in [false, true] {
            let directory = TempDir::new().unwrap();
            let path = directory.path().join("a.db");
            let log = directory.path().join("a.db-wal");
            let connection = Connection::open(&path).unwrap();
            connection
                .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
                .unwrap();
            for number in 0..5 {
                connection.execute("INSERT INTO t VALUES (?1)", [number]).unwrap();
            }
            let whole = fs::read(&log).unwrap();
            let removed = File::open(&log).unwrap();
            let frame_bytes = Header::read(&removed).unwrap().unwrap().frame_bytes();
            let last = whole.len() - frame_bytes;
            let salt = whole[16..24].try_into().unwrap();
            fs::remove_file(&log).unwrap();
            if others_added {
                // The last frame is in the new file alone.
                let new = File::create(&log).unwrap();
                new.write_all_at(&whole[last..], last as u64).unwrap();
                let path = directory.path().join("shorter");
                fs::write(&path, &whole[..last]).unwrap();
                put_back(&File::open(path).unwrap(), &log, Index::InUse { salt, frames: u32::MAX }).unwrap();
            } else {
                put_back(&removed, &log, Index::Gone).unwrap();
            }
            assert_eq!(fs::read(&log).unwrap(), whole, "{others_added}");
            // A different log stays.
            fs::write(&log, "theirs").unwrap();
            assert_eq!(put_back(&removed, &log, Index::Gone).unwrap(), Outcome::SetAside);
            assert_eq!(fs::read(&log).unwrap(), b"theirs");
            assert_eq!(fs::read(directory.path().join("a.db-wal.removed")).unwrap(), whole);
        }
    }
}
