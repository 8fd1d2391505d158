//! Reads durable records for one database.
//!
//! A reader reads only bytes that are known to be on the disk (J11). It keeps its file open, so that trimming does not
//! affect it, verifies every checksum, and takes the journal's locks only between segments.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fs::is_disk_full;
use super::record::{self, Kind, MESSAGE_FLAGS, RecordHeader};
use super::scan::{Item, Scanner};
use super::segment::{self, SEGMENT_HEADER_LEN, Segment};
use super::shared::Shared;
use super::trailer::TRAILER_LEN;
use super::{Entry, Fs, JournalError, Lost, events};
use crate::config::Corruption;
use crate::message::{Message, Seq};

/// Reads durable records in order. Not shared between threads; owns its buffers.
pub struct Reader<F: Fs> {
    shared: Arc<Shared<F>>,
    position: Seq,
    open: Option<OpenSegment<F::File>>,
}

struct OpenSegment<File> {
    segment: Arc<Segment>,
    scanner: Scanner<File>,
    /// Where its room for records ends.
    records_end: u64,
}

impl<File> OpenSegment<File> {
    /// How far it may be read by now.
    fn limit(&self) -> u64 {
        self.segment.durable_len().min(self.records_end)
    }
}

/// The result of [`Reader::find`], without borrowing the buffer.
enum Found {
    Message { offset: u64, header: RecordHeader },
    Lost(Lost),
    Nothing,
}

impl<F: Fs> Reader<F> {
    pub(super) fn new(shared: Arc<Shared<F>>) -> Reader<F> {
        let position = shared.oldest_seq();
        Reader { shared, position, open: None }
    }

    /// Goes to `seq`. If the journal's oldest record is newer, the next entry is the lost range up to it.
    pub fn seek(&mut self, seq: Seq) -> Result<(), JournalError> {
        let is_ahead = |open: &OpenSegment<F::File>| {
            let holds = self.shared.segment_of(seq).is_some_and(|segment| Arc::ptr_eq(&segment, &open.segment));
            holds && open.scanner.expected() <= seq
        };
        // Within the open segment the scan continues.
        if !self.open.as_ref().is_some_and(is_ahead) {
            self.open = None;
        }
        self.position = seq;
        Ok(())
    }

    /// The sequence number that the next entry begins with.
    pub fn position(&self) -> Seq {
        self.position
    }

    /// The next durable entry, or `None` at the durable end. Reads ahead in large blocks.
    #[allow(clippy::should_implement_trait, reason = "an entry borrows from the reader, which an Iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, JournalError> {
        let (offset, header) = match self.find()? {
            Found::Nothing => return Ok(None),
            Found::Lost(lost) => return Ok(Some(Entry::Lost(lost))),
            Found::Message { offset, header } => (offset, header),
        };
        let open = self.open.as_ref().expect("a message was found in the open segment");
        let body = open.scanner.body(offset, &header);
        let decoded = record::message_body(header.flags, body)
            .and_then(|(_, body)| Message::decode(header.seq, header.flags & MESSAGE_FLAGS, body).ok());
        if let Some(message) = decoded {
            return Ok(Some(Entry::Message(message)));
        }
        // The checksum holds and yet it is no message: written by a program that was wrong, or newer.
        let why = format!("the record at byte {offset} of {} is no message", segment::name_of(&open.segment.path));
        self.shared.report_lost(header.seq, header.seq.next(), &why);
        Ok(Some(Entry::Lost(Lost { from: header.seq, to: header.seq.next(), why })))
    }

    /// Advances to the next entry at or after `position`, and `position` past it.
    fn find(&mut self) -> Result<Found, JournalError> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_segment()? {
                    Some(found) => return Ok(found),
                    None => continue,
                }
            };
            let limit = open.limit();
            if open.scanner.offset() >= limit {
                if let Some(found) = self.next_segment()? {
                    return Ok(found);
                }
                continue;
            }
            let item = open.scanner.next_item(limit).map_err(|source| {
                self.shared.note_read_failure(&open.segment, &source);
                if self.shared.is_tolerated(&open.segment) {
                    open.scanner.tolerate_unreadable();
                }
                JournalError { path: open.segment.path.clone(), offset: open.scanner.offset(), source }
            })?;
            let found = match item {
                Item::Record { offset, header } => self.record(offset, header),
                Item::Hole { offset, len, from, to } => self.damage(offset, len, from, to)?,
                Item::End { offset } => self.end(offset, limit)?,
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Opens the segment that holds `position`; a lost range if that is older than all.
    fn open_segment(&mut self) -> Result<Option<Found>, JournalError> {
        let Some(segment) = self.shared.segment_of(self.position) else {
            let oldest = self.shared.oldest_seq();
            return Ok(self.lost_to(oldest));
        };
        let failed = |source| JournalError { path: segment.path.clone(), offset: 0, source };
        let file = match self.shared.fs.open_read(&segment.path) {
            // Trimmed since the look at the list.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_listed = self.shared.segment_of(self.position).is_some_and(|now| Arc::ptr_eq(&now, &segment));
                return if is_listed { Err(failed(error)) } else { Ok(None) };
            }
            opened => opened.map_err(failed)?,
        };
        let is_tolerated = self.shared.is_tolerated(&segment);
        let salt_and_size = match segment.salt {
            Some(salt) => Some((salt, segment.size)),
            None => match segment::read_header_and_tell(&file, segment.base, |error| {
                events::header_unreadable(&segment.path, error);
            }) {
                Err(error) if is_tolerated && error.kind() != io::ErrorKind::Unsupported => None,
                Err(error) => {
                    self.shared.note_read_failure(&segment, &error);
                    return Err(failed(error));
                }
                Ok(header) => header.map(|header| (header.salt, header.size)),
            },
        };
        // Without a header no checksum can be checked: with any seed, nothing in the segment is valid.
        let (first, salt, records_end) = match salt_and_size {
            Some((salt, size)) => (SEGMENT_HEADER_LEN as u64, salt, size - TRAILER_LEN),
            None => (0, 0, u64::MAX),
        };
        let mut scanner = Scanner::new(file, record::seed(salt), first, segment.base);
        if is_tolerated {
            scanner.tolerate_unreadable();
        }
        // The newest segment is as recovery left it and the writer continues it: nothing exists beyond the records that
        // follow.
        if let Some(next) = self.shared.successor(&segment) {
            scanner.stop_before(next.base);
        }
        self.open = Some(OpenSegment { segment, scanner, records_end });
        Ok(None)
    }

    /// At the end of what is durable in the open segment.
    fn next_segment(&mut self) -> Result<Option<Found>, JournalError> {
        let open = self.open.as_ref().expect("called with a segment open");
        let Some(next) = self.shared.successor(&open.segment) else { return Ok(Some(Found::Nothing)) };
        // It may have grown before it was sealed.
        if open.scanner.offset() < open.limit() {
            return Ok(None);
        }
        let (expected, offset) = (open.scanner.expected(), open.scanner.offset());
        if expected < next.base && self.position < next.base {
            // Trimmed or dropped in between, or numbers that were never written.
            let is_gone = self.shared.segment_of(self.position).is_none();
            if !is_gone {
                let found = self.damage(offset, 0, expected, next.base)?;
                self.open = None;
                return Ok(found);
            }
        }
        self.open = None;
        Ok(None)
    }

    fn record(&mut self, offset: u64, header: RecordHeader) -> Option<Found> {
        match header.kind {
            Kind::Message if header.seq >= self.position => {
                self.position = header.seq.next();
                Some(Found::Message { offset, header })
            }
            Kind::Gap => {
                let open = self.open.as_ref().expect("called with a segment open");
                let (end, reason) = record::gap_body(open.scanner.body(offset, &header))?;
                let from = self.position.max(header.seq);
                self.position = self.position.max(end);
                (from < end).then(|| Found::Lost(Lost { from, to: end, why: reason.describe().to_owned() }))
            }
            _ => None,
        }
    }

    /// No valid record follows in the open segment, which may be as it should.
    fn end(&mut self, offset: u64, limit: u64) -> Result<Option<Found>, JournalError> {
        let open = self.open.as_mut().expect("called with a segment open");
        let to = match self.shared.successor(&open.segment) {
            Some(next) => next.base,
            // Damage under the running writer, up to what is durable now.
            None => self.shared.next_seq(),
        };
        if open.limit() != limit {
            // It grew meanwhile, and a valid record may follow now.
            return Ok(None);
        }
        let from = open.scanner.expected();
        // In a sealed segment zeros follow the last record.
        let found = if from < to { self.damage(offset, limit - offset, from, to)? } else { None };
        if let Some(open) = &mut self.open {
            open.scanner.skip_to(limit, to.max(from));
        }
        Ok(found)
    }

    /// Damage: kept aside, counted and logged once, and reported to the database if it concerns it (J5).
    fn damage(&mut self, offset: u64, len: u64, from: Seq, to: Seq) -> Result<Option<Found>, JournalError> {
        let open = self.open.as_ref().expect("called with a segment open");
        let path = &open.segment.path;
        if to <= self.position {
            // No message that this database still wants was in it.
            return Ok(None);
        }
        if self.shared.on_corruption == Corruption::Halt {
            let reason = format!(
                "messages {from} to {} are damaged; set journal.on_corruption to quarantine to go on without them",
                to.0 - 1
            );
            let error =
                JournalError { path: path.clone(), offset, source: io::Error::new(io::ErrorKind::InvalidData, reason) };
            // The next call finds the damage again.
            self.open = None;
            return Err(error);
        }
        let kept = self.shared.quarantine(path, open.scanner.file(), offset, len);
        // Going on matters more than the copy. But a disk that can neither be read nor written may be back tomorrow, and
        // nothing is lost yet.
        if let Err(source) = kept
            && open.scanner.has_met_unreadable()
            && !is_disk_full(&source)
        {
            let error = JournalError { path: path.clone(), offset, source };
            self.open = None;
            return Err(error);
        }
        let why = format!("damaged at byte {offset} of {}", segment::name_of(path));
        self.shared.report_lost(from, to, &why);
        let from = from.max(self.position);
        self.position = to;
        Ok(Some(Found::Lost(Lost { from, to, why })))
    }

    /// `position` is older than the oldest segment.
    fn lost_to(&mut self, oldest: Seq) -> Option<Found> {
        let from = std::mem::replace(&mut self.position, oldest);
        if from >= oldest {
            self.position = from;
            return None;
        }
        let dropped_below = Seq(self.shared.dropped_below.load(Ordering::Acquire));
        let why = if from < dropped_below {
            "dropped: the journal was full".to_owned()
        } else {
            let why = format!(
                "the journal begins at {oldest}: the database is older than the messages that the journal \
                         still keeps"
            );
            self.shared.report_lost(from, oldest, &why);
            why
        };
        Some(Found::Lost(Lost { from, to: oldest, why }))
    }
}
