//! From the files of a directory to a journal that can be written: a function of the bytes alone, which can be repeated
//! at any point (J9).
//!
//! Only the newest segment is scanned, so the start is fast whatever the backlog. The readers, which verify every
//! record, find damage in sealed segments. In the newest segment:
//!
//! - A *torn tail* is the part that no valid record follows. It is zeroed and synced before anything else (J4), so that
//!   no stale record reappears behind newer ones. If a power cut or a failed write may have torn the last write, the
//!   tail begins at the damage in the last write before the end, even if later parts of it are whole: it was not
//!   acknowledged, and must not come before the messages that the broker sends again. (If the disk changed these bytes
//!   later, it looks the same.)
//! - Damage that a valid record follows is copied to the quarantine directory and *mended*: a gap record replaces it
//!   and tells every reader which messages are lost. `halt` refuses to open.
//! - If a mark or the file's length shows that the end was further, the missing part is damage too, although no valid
//!   record follows. If the amount is unknown, the segment is left as it is, at least one lost message is reported, and
//!   a new segment begins under a new id, so that no number has two meanings.
//! - After a failed write or fsync the process itself knows how much was durable. The unreadable part of that is
//!   damage, although no valid record follows: it is set aside, mended and reported as well.
//! - Bytes that the disk cannot read are damage too. Mending rewrites them, and most disks then use another place.
//! - Before all this the segment is synced and its pages are dropped from the page cache, so that the disk's content is
//!   read. A killed process may have left writes that are only in memory, and after a failed fsync no later one would
//!   write them.

mod begin;
mod newest;

use std::io;
use std::path::{Path, PathBuf};

use super::id_file::{self, Ids};
use super::lock_file::Evidence;
use super::record;
use super::replay::replay;
use super::scan::Scanner;
use super::segment::{self, SEGMENT_HEADER_LEN, Segment, SegmentHeader, UNFINISHED_SUFFIX};
use super::trailer::{self, Mark, MarkKind};
use super::{Fs, FsFile, Lost, OpenError, Qos2Table, events};
use crate::config::{Corruption, Durability};
use crate::message::Seq;

/// A journal that was brought into order.
pub(super) struct Recovered<File> {
    pub(super) ids: Ids,
    /// Oldest first; the last one is to be written.
    pub(super) segments: Vec<Segment>,
    pub(super) file: File,
    /// Where the next record goes.
    pub(super) end: u64,
    /// No record goes beyond. The same as `end` if another segment must begin soon: when the newest one's snapshot is
    /// gone, as long as the table is known, and when its trailer is.
    pub(super) room_end: u64,
    /// Where the trailer begins; `None` if there is none to write to.
    pub(super) trailer_at: Option<u64>,
    pub(super) next_seq: Seq,
    pub(super) qos2: Qos2Table,
    /// Found now, to be counted and logged.
    pub(super) losses: Vec<Lost>,
    /// Cut off now, to be counted and logged.
    pub(super) torn: Option<TornTail>,
}

/// Bytes at the journal's end that were no whole record.
pub(super) struct TornTail {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// The number that the next message gets; if this was damage, lost messages had numbers from here on.
    pub(super) next_seq: Seq,
}

/// What the process knows that opens the journal again after a failed write or fsync: of the segment with this salt only
/// so many bytes are on the disk; the rest may read back from memory and yet not be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted {
    pub(super) salt: u64,
    pub(super) len: u64,
    /// All lower numbers were acknowledged, and readers may be as far.
    pub(super) next_seq: Seq,
}

pub(super) struct Recovery<'a, F: Fs> {
    pub(super) fs: &'a F,
    pub(super) dir: &'a Path,
    pub(super) on_corruption: Corruption,
    /// Size of a new segment.
    pub(super) segment_bytes: u64,
    pub(super) lock_file: &'a F::File,
    pub(super) durability: Durability,
    /// Of a start; whoever reopens knows more.
    pub(super) evidence: Evidence,
    pub(super) trusted: Option<Trusted>,
}

impl<F: Fs> Recovery<'_, F> {
    pub(super) fn run(&self) -> Result<Recovered<F::File>, OpenError> {
        let bases = self.tidy().map_err(self.failed(self.dir, "listing it"))?;
        let Some((&newest, sealed)) = bases.split_last() else { return self.begin_empty() };
        // What a process that was killed had created or removed becomes durable before anything builds on it (J10).
        self.fs.sync_dir(self.dir).map_err(self.failed(self.dir, "syncing it"))?;
        let path = segment::path_of(self.dir, newest);
        let file = self.fs.open(&path).map_err(self.failed(&path, "opening it"))?;
        let header = self.tolerant(|| segment::read_header(&file, newest));
        let header = header.map_err(self.failed(&path, "reading its header"))?;
        let Some(header) = header else {
            return self.replace_unreadable(newest, sealed, &path, file);
        };
        let ids = self.ids(&bases, &header).map_err(self.failed(self.dir, "reading its id"))?;
        let mut recovered = self.newest(file, path, &header, sealed, ids)?;
        let mut segments = self.sealed(sealed)?;
        segments.append(&mut recovered.segments);
        recovered.segments = segments;
        if let Some(&base) = sealed.last() {
            // Evidence that is nice to have: a disk that cannot take it is told of when something must be written.
            let _ = self.seal(base, newest);
        }
        Ok(recovered)
    }

    fn failed(&self, path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_path_buf();
        move |source| OpenError::Io { path, action, source }
    }

    /// Tries a read twice. What cannot be read even then is damaged, unless damage is to stop the start.
    fn tolerant<T>(&self, read: impl Fn() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
        read().or_else(|_| read()).or_else(|error| match error.kind() {
            io::ErrorKind::Unsupported => Err(error),
            _ if self.on_corruption == Corruption::Halt => Err(error),
            _ => Ok(None),
        })
    }

    /// Of a segment of which `header` can be read.
    fn scanner(&self, file: F::File, seed: u32, offset: u64, base: Seq) -> Scanner<F::File> {
        let mut scanner = Scanner::new(file, seed, offset, base);
        if self.on_corruption == Corruption::Quarantine {
            scanner.tolerate_unreadable();
        }
        scanner
    }

    /// Removes what was never finished and lists the segments, oldest first.
    fn tidy(&self) -> io::Result<Vec<Seq>> {
        let mut bases = Vec::new();
        for path in self.fs.list(self.dir)? {
            if path.as_os_str().to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
                self.fs.remove(&path)?;
            }
            bases.extend(segment::base_of(&path));
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Sees to it that the segment before the newest says that it has a successor.
    fn seal(&self, base: Seq, successor: Seq) -> io::Result<()> {
        let file = self.fs.open(&segment::path_of(self.dir, base))?;
        let Some(header) = segment::read_header(&file, base)? else { return Ok(()) };
        // The seal may be what could not be synced.
        file.sync_data()?;
        file.forget_cached()?;
        let trailer = trailer::read(&file, &header)?;
        if trailer.is_cut || trailer.mark.is_some_and(|mark| mark.kind == MarkKind::Seal) {
            return Ok(());
        }
        // Where its records end was not looked for, and its successor's number says enough.
        let end = trailer.mark.map_or(SEGMENT_HEADER_LEN as u64, |mark| mark.end);
        Mark { kind: MarkKind::Seal, end, next_seq: successor }.write(&file, header.records_end(), header.salt)?;
        file.sync_data()
    }

    fn sealed(&self, bases: &[Seq]) -> Result<Vec<Segment>, OpenError> {
        let open = |&base: &Seq| {
            let path = segment::path_of(self.dir, base);
            let size = self.fs.open_read(&path).and_then(|file| file.len());
            let size = size.map_err(self.failed(&path, "reading its length"))?;
            Ok(Segment::new(base, path, size, None, size))
        };
        bases.iter().map(open).collect()
    }

    /// The ids, from their file if it is whole and belongs to these segments, else from the segments' headers.
    fn ids(&self, bases: &[Seq], newest: &SegmentHeader) -> io::Result<Ids> {
        if let Some(ids) = self.tolerant(|| id_file::load(self.fs, self.dir))?
            && ids.iter().any(|&(id, _)| id == newest.id)
        {
            return Ok(ids);
        }
        let ids = self.ids_of_headers(bases)?;
        id_file::store(self.fs, self.dir, &ids)?;
        events::id_recovered(self.dir, newest.id);
        Ok(ids)
    }

    fn ids_of_headers(&self, bases: &[Seq]) -> io::Result<Ids> {
        let mut ids = Ids::new();
        for &base in bases {
            let file = self.fs.open_read(&segment::path_of(self.dir, base))?;
            let Some(header) = segment::read_header(&file, base)? else { continue };
            if ids.last().is_none_or(|&(id, _)| id != header.id) {
                ids.push((header.id, if ids.is_empty() { Seq::FIRST } else { base }));
            }
        }
        Ok(ids)
    }

    /// The QoS 2 table at the end of the last sealed segment, as far as it can be read.
    fn table_before(&self, sealed: &[Seq], newest: Seq) -> Qos2Table {
        let read = |base: Seq| -> io::Result<Option<Qos2Table>> {
            let file = self.fs.open_read(&segment::path_of(self.dir, base))?;
            let Some(header) = segment::read_header(&file, base)? else { return Ok(None) };
            let limit = header.records_end().min(file.len()?);
            let mut scanner = self.scanner(file, record::seed(header.salt), SEGMENT_HEADER_LEN as u64, header.base);
            scanner.stop_before(newest);
            Ok(Some(replay(scanner, limit, Qos2Table::default())?.qos2))
        };
        // Not being able to tell duplicates is no reason not to start.
        sealed.last().and_then(|&base| read(base).ok().flatten()).unwrap_or_default()
    }
}
