//! The newest segment: scans it, repairs its damage and zeroes its torn tail, so that the next record can follow.
//! Changes are synced before anything is written after them.

use std::path::{Path, PathBuf};

use super::{Recovered, Recovery, TornTail};
use crate::config::Corruption;
use crate::journal::fs::zero;
use crate::journal::id_file::Ids;
use crate::journal::lock_file;
use crate::journal::quarantine;
use crate::journal::record;
use crate::journal::replay::{Hole, Replay, replay};
use crate::journal::segment::{self, SEGMENT_HEADER_LEN, Segment, SegmentHeader};
use crate::journal::trailer::{self, Tail};
use crate::journal::{Fs, FsFile, Lost, OpenError, Qos2Table, events};
use crate::message::Seq;

impl<F: Fs> Recovery<'_, F> {
    pub(super) fn newest(
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
}
