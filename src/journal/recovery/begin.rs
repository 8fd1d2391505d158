//! Begins a new newest segment if there is none that can be written. If the journal has lost its end, the segment
//! begins after every number that may have been assigned, under a new id.

use std::path::Path;

use super::{Recovered, Recovery};
use crate::config::{Corruption, Durability};
use crate::journal::id_file::{self, Ids};
use crate::journal::quarantine;
use crate::journal::scan::Scanner;
use crate::journal::segment::{self, Segment};
use crate::journal::trailer::TRAILER_LEN;
use crate::journal::{Fs, FsFile, Lost, OpenError, Qos2Table, events};
use crate::message::Seq;

impl<F: Fs> Recovery<'_, F> {
    /// No segments: a new journal, or one whose segments are gone. As the id file is written after the first segment, and
    /// there is always one from then on, the file tells which.
    pub(super) fn begin_empty(&self) -> Result<Recovered<F::File>, OpenError> {
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
    pub(super) fn begin_behind(
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
    pub(super) fn replace_unreadable(
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
}
