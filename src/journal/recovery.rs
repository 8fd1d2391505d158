//! From a directory of bytes to a journal that can be written: a function of the bytes alone, that can be run again at
//! any point (J9).
//!
//! Only the newest segment is scanned, so the start is fast however much waits; damage in sealed ones is found by the
//! readers, which check every record. In the newest segment:
//! - What no valid record follows is a torn tail: zeroed and synced before anything else (J4), so that no stale record
//!   can come back to life behind newer ones. If a power cut or a failed write may have torn the last write, the tail begins
//!   where the last write before the end is damaged, though some of it is whole behind: it was not acknowledged, and must
//!   not come before what the broker sends again. (Or the disk changed bytes of it later, which looks the same.)
//! - Damage that a valid record follows is copied to the quarantine folder and *mended*: a gap record takes its place,
//!   which tells every reader what is lost; `halt` refuses to open.
//! - An end that was there, as a mark or the file's length says, is damage too, though no valid record follows. If nobody
//!   knows how much is missing, the segment is left as it is, one loss at least is reported, and a new segment begins
//!   under a new id, so that no number has two meanings.
//! - After a failed write or fsync the process itself knows how much was durable. What of that cannot be read is damage,
//!   though no valid record follows: it is kept, mended and reported as well.
//! - What the disk cannot read is damage too. Mending writes it anew, and most disks then have another place for it.
//! - First of all the segment is synced and its pages are dropped from memory, so that what is read is what the disk
//!   has: a killed process may have left what is only in memory, and after a failed fsync no later one would write it.

use std::io;
use std::path::{Path, PathBuf};

use super::fs::zero;
use super::id_file::{self, Ids};
use super::lock_file::{self, Evidence};
use super::quarantine;
use super::record;
use super::replay::{Hole, Replay, replay};
use super::scan::Scanner;
use super::segment::{self, SEGMENT_HEADER_LEN, Segment, SegmentHeader, UNFINISHED_SUFFIX};
use super::trailer::{self, Mark, MarkKind, TRAILER_LEN, Tail};
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

    /// No segments: a new journal, or one whose segments are gone. As the id file is written after the first segment, and
    /// there is always one from then on, the file tells which.
    fn begin_empty(&self) -> Result<Recovered<F::File>, OpenError> {
        let known =
            self.tolerant(|| id_file::load(self.fs, self.dir)).map_err(self.failed(self.dir, "reading its id"))?;
        if let Some(ids) = known {
            let next = self.trusted.map_or(Seq::FIRST.next(), |trusted| trusted.next_seq);
            let why = "its segments are gone, and only its id is left";
            return self.begin_behind(ids, Seq::FIRST, next, self.dir, why, Qos2Table::default());
        }
        let mut id = id_file::generate(self.fs).map_err(self.failed(self.dir, "making an id"))?;
        if self.durability == Durability::Delivered {
            id = id.volatile();
        }
        let next = self.trusted.map_or(Seq::FIRST, |trusted| trusted.next_seq);
        let begun = self.begin_segment(vec![(id, Seq::FIRST)], next, Qos2Table::default())?;
        id_file::store(self.fs, self.dir, &begun.ids).map_err(self.failed(self.dir, "writing its id"))?;
        Ok(begun)
    }

    /// The journal has lost its end: messages from `from` on. What comes begins at `next` or later, in a segment of its own
    /// and under a new id.
    fn begin_behind(
        &self,
        mut ids: Ids,
        from: Seq,
        next: Seq,
        path: &Path,
        why: &'static str,
        qos2: Qos2Table,
    ) -> Result<Recovered<F::File>, OpenError> {
        if self.on_corruption == Corruption::Halt {
            return Err(OpenError::Damaged { path: path.to_path_buf(), offset: 0, detail: why.to_owned() });
        }
        // Numbers that a renewal speaks of were given out, perhaps by a start like this one that was cut short.
        let renewed = ids.last().map_or(Seq::FIRST, |&(_, first)| first);
        let next = next.max(from.next()).max(renewed);
        let id = id_file::generate(self.fs).map_err(self.failed(self.dir, "making an id"))?;
        ids.retain(|&(_, first)| first < next);
        ids.push((id, next));
        id_file::store(self.fs, self.dir, &ids).map_err(self.failed(self.dir, "writing its id"))?;
        events::end_lost(path, next, why);
        let mut recovered = self.begin_segment(ids, next, qos2)?;
        let why = format!("{}: {why}; how many messages it held is not certain", segment::name_of(path));
        recovered.losses.push(Lost { from, to: next, why });
        Ok(recovered)
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

    fn begin_segment(&self, ids: Ids, base: Seq, qos2: Qos2Table) -> Result<Recovered<F::File>, OpenError> {
        let id = ids.last().expect("there is always an id").0;
        let size = segment::size_for(self.segment_bytes.max(segment::overhead(&qos2)));
        let created = segment::create(self.fs, self.dir, id, base, size, &qos2)
            .map_err(self.failed(&segment::path_of(self.dir, base), "creating it"))?;
        let segment = Segment::new(base, created.path, size, Some(created.salt), created.end);
        Ok(Recovered {
            ids,
            segments: vec![segment],
            file: created.file,
            end: created.end,
            room_end: size - TRAILER_LEN,
            trailer_at: Some(size - TRAILER_LEN),
            next_seq: base,
            qos2,
            losses: Vec::new(),
            torn: None,
        })
    }

    /// Neither copy of the newest segment's header can be read, and with it none of its messages. A process that had it
    /// open knows the number that comes next. A start knows only what the records seem to say, so it counts one loss at
    /// least, and a new id sees to it that no number has two meanings.
    fn replace_unreadable(
        &self,
        base: Seq,
        sealed: &[Seq],
        path: &Path,
        file: F::File,
    ) -> Result<Recovered<F::File>, OpenError> {
        if self.on_corruption == Corruption::Halt {
            let detail = "the segment's header cannot be read".to_owned();
            return Err(OpenError::Damaged { path: path.to_path_buf(), offset: 0, detail });
        }
        let mut ids = match self
            .tolerant(|| id_file::load(self.fs, self.dir))
            .map_err(self.failed(self.dir, "reading its id"))?
        {
            Some(ids) => ids,
            None => self.ids_of_headers(sealed).map_err(self.failed(self.dir, "reading its headers"))?,
        };
        let next = match self.trusted {
            Some(trusted) if !ids.is_empty() => trusted.next_seq.max(base),
            _ => {
                let limit = file.len().map_err(self.failed(path, "reading its length"))?;
                let seeming_end = Scanner::end_without_header(file, base, limit);
                let next = seeming_end.map_err(self.failed(path, "reading it"))?;
                let id = id_file::generate(self.fs).map_err(self.failed(self.dir, "making an id"))?;
                ids.retain(|&(_, first)| first < next);
                ids.push((id, next));
                next
            }
        };
        let qos2 = self.table_before(sealed, base);
        // The id first: once the segment is away, nothing else says that its numbers were in use.
        id_file::store(self.fs, self.dir, &ids).map_err(self.failed(self.dir, "writing its id"))?;
        crash_point!("journal.headless.renumbered");
        let kept = quarantine::keep_segment(self.fs, self.dir, path).map_err(self.failed(path, "putting it aside"))?;
        crash_point!("journal.headless.moved");
        events::segment_unreadable(path, &kept);
        let mut segments = self.sealed(sealed)?;
        let mut recovered = self.begin_segment(ids, next, qos2)?;
        segments.append(&mut recovered.segments);
        recovered.segments = segments;
        if base < next {
            let why = format!(
                "the header of {} is damaged; how many messages it held is not certain",
                segment::name_of(path)
            );
            recovered.losses.push(Lost { from: base, to: next, why });
        }
        Ok(recovered)
    }

    fn newest(
        &self,
        file: F::File,
        path: PathBuf,
        header: &SegmentHeader,
        sealed: &[Seq],
        ids: Ids,
    ) -> Result<Recovered<F::File>, OpenError> {
        file.sync_data().inspect_err(|_| self.may_have_torn()).map_err(self.failed(&path, "syncing it"))?;
        file.forget_cached().map_err(self.failed(&path, "syncing it"))?;
        let trailer = trailer::read(&file, header).map_err(self.failed(&path, "reading its trailer"))?;
        let trusted = self.trusted.filter(|trusted| trusted.salt == header.salt);
        let records_len = trailer.records_len;
        let limit = trusted.map_or(records_len, |trusted| trusted.len.min(records_len));
        let read = |file, table, limit| {
            let scanner = self.scanner(file, record::seed(header.salt), SEGMENT_HEADER_LEN as u64, header.base);
            replay(scanner, limit, table).map_err(self.failed(&path, "reading it"))
        };
        let mut replay = read(file, Qos2Table::default(), limit)?;
        let has_snapshot = replay.has_snapshot;
        if !has_snapshot {
            replay = read(replay.scanner.into_file(), self.table_before(sealed, header.base), limit)?;
            events::snapshot_lost(&path);
        }
        replay.prove(trailer.proven_len().max(self.evidence.durable_len(header.salt)));
        if self.evidence.is_untorn {
            replay.prove(replay.scanner.offset());
        }
        if let Some(tear) = replay.tear().filter(|_| trusted.is_none() && !trailer.is_cut && !self.evidence.is_early) {
            self.refuse_damage(&path, &replay)?;
            let (proven, len) = (replay.proven_len, replay.scanner.offset() - tear);
            self.keep_torn(&path, replay.scanner.file(), tear, len);
            let table = if has_snapshot { Qos2Table::default() } else { self.table_before(sealed, header.base) };
            replay = read(replay.scanner.into_file(), table, tear)?;
            replay.prove(proven);
        }
        let tail = match trusted {
            Some(trusted) => Tail::Damaged { end: trusted.len, next: trusted.next_seq },
            None => {
                trailer::judge(&mut replay.scanner, header, &trailer).map_err(self.failed(&path, "reading its end"))?
            }
        };
        match tail {
            Tail::Plain => {}
            Tail::Damaged { end, next } => replay.close(end, next),
            Tail::Lost { next, why } => {
                let from = replay.scanner.expected();
                let mut recovered = self.begin_behind(ids, from, next, &path, why, replay.qos2)?;
                // Nothing is changed in it: readers find their way through it as through any sealed one.
                recovered.segments.splice(0..0, self.sealed(&[header.base])?);
                return Ok(recovered);
            }
        }
        let losses = self.mend(&path, header, &replay)?;
        if !replay.holes.is_empty() {
            // Before the end is cleared, as what lies behind a hole proves that it is damage.
            replay.scanner.file().sync_data().map_err(self.failed(&path, "syncing it"))?;
        }
        let end = replay.scanner.offset();
        let tail_end = match trusted {
            Some(_) => Some(records_len),
            None => replay.scanner.end_of_nonzero(end, records_len).map_err(self.failed(&path, "reading its end"))?,
        };
        let Replay { scanner, qos2, .. } = replay;
        let (next_seq, file) = (scanner.expected(), scanner.into_file());
        let mut torn = None;
        if let Some(tail_end) = tail_end.filter(|&tail_end| tail_end > end) {
            // What is lost around the trailer is written as a whole when that is mended.
            let to = if trailer.is_lost { tail_end.min(trailer::last_piece(header).max(end)) } else { tail_end };
            crash_point!("journal.recovery.half_zeroed", zero(&file, end, end + (to - end) / 2));
            zero(&file, end, to).map_err(self.failed(&path, "clearing its end"))?;
            let (path, len) = (path.clone(), tail_end - end);
            torn = trusted.is_none().then_some(TornTail { path, offset: end, len, next_seq });
            crash_point!("journal.recovery.zeroed");
        }
        // Growing a file that is too short might meet a full disk in the middle of a record, and a trailer on a block that
        // the disk will not even write is none: either segment ends here.
        let has_trailer = trailer.is_sound || !trailer.is_cut && trailer::mend(&file, header, &trailer, end).is_ok();
        file.sync_data().map_err(self.failed(&path, "syncing it"))?;
        crash_point!("journal.recovery.synced");
        let segment = Segment::new(header.base, path, header.size, Some(header.salt), end);
        Ok(Recovered {
            ids,
            segments: vec![segment],
            file,
            end,
            room_end: if has_trailer && has_snapshot { header.records_end() } else { end },
            trailer_at: has_trailer.then(|| header.records_end()),
            next_seq,
            qos2,
            losses,
            torn,
        })
    }

    /// `halt` does not go on over what was once whole.
    fn refuse_damage(&self, path: &Path, replay: &Replay<F::File>) -> Result<(), OpenError> {
        let is_proven = |hole: &&Hole| replay.proven_len > hole.offset;
        match replay.holes.iter().find(is_proven).filter(|_| self.on_corruption == Corruption::Halt) {
            None => Ok(()),
            Some(hole) => {
                let detail = format!("{} bytes with messages {}..{} are no records", hole.len, hole.from, hole.to);
                Err(OpenError::Damaged { path: path.to_path_buf(), offset: hole.offset, detail })
            }
        }
    }

    /// A sync failed in a start: what the last process wrote may be on the disk in part, and no later sync would tell.
    fn may_have_torn(&self) {
        if self.trusted.is_none() {
            let _ = lock_file::forget_boot(self.lock_file, self.evidence.durable, self.durability);
        }
    }

    /// What is whole of a torn write goes with it: a copy stays, as far as it can be made.
    fn keep_torn(&self, path: &Path, file: &F::File, offset: u64, len: u64) {
        if let Err(error) = quarantine::keep_range(self.fs, self.dir, path, file, offset, len) {
            events::quarantine_failed(path, offset, len, &error);
        }
    }

    /// Puts a gap record where damage is, after keeping the bytes (J5).
    fn mend(&self, path: &Path, header: &SegmentHeader, replay: &Replay<F::File>) -> Result<Vec<Lost>, OpenError> {
        self.refuse_damage(path, replay)?;
        let (file, mut losses) = (replay.scanner.file(), Vec::new());
        let mut lacks_header = !segment::is_first_header_sound(file, header);
        for hole in &replay.holes {
            let kept = quarantine::keep_range(self.fs, self.dir, path, file, hole.offset, hole.len);
            if let Err(error) = &kept {
                // A full disk must not keep the bridge from starting: the damage stays, and readers step over it, if
                // there is something to step to.
                events::quarantine_failed(path, hole.offset, hole.len, error);
            }
            if let Some(mut gap) = hole.filling().filter(|_| kept.is_ok() || hole.is_last) {
                record::seal(&mut gap, hole.from, 0, record::seed(header.salt));
                crash_point!("journal.quarantine.kept");
                let mut at = hole.offset;
                if lacks_header && at == SEGMENT_HEADER_LEN as u64 {
                    // Together, as the disk replaces a block that it cannot read only when all of it is written.
                    gap.splice(0..0, header.encode());
                    (at, lacks_header) = (0, false);
                }
                file.write_all_at(&gap, at).map_err(self.failed(path, "mending it"))?;
                crash_point!("journal.recovery.mended");
            }
            if hole.from == hole.to {
                events::damage_without_loss(path, hole.offset, hole.len);
                continue;
            }
            let why = format!("damaged at byte {} of {}", hole.offset, segment::name_of(path));
            losses.push(Lost { from: hole.from, to: hole.to, why });
        }
        if lacks_header {
            file.write_all_at(&header.encode(), 0).map_err(self.failed(path, "mending its header"))?;
        }
        Ok(losses)
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
