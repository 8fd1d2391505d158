//! Reads the messages of a journal that another process may be writing.

use std::path::{Path, PathBuf};

use super::{Fs, InspectError, bases, failed, open};
use crate::journal::{
    Entry, Lost,
    handle::DIRECTORY,
    record::{self, Kind, MESSAGE_FLAGS, RecordHeader},
    scan::{Item, Scanner},
    segment::name_of,
};
use crate::message::{Message, Seq};

/// The entries from one number on to the end that the files have when it is reached.
pub struct Dump<'a, F: Fs> {
    fs: &'a F,
    dir: PathBuf,
    /// Not opened yet, newest first.
    bases: Vec<Seq>,
    open: Option<OpenSegment<F::File>>,
    position: Seq,
}

struct OpenSegment<File> {
    scanner: Scanner<File>,
    path: PathBuf,
    bytes: u64,
}

enum Found {
    Message { offset: u64, header: RecordHeader },
    Lost(Lost),
}

/// For `rowbridge journal dump`: everything from `from` on.
pub fn dump<'a, F: Fs>(fs: &'a F, data_dir: &Path, from: Seq) -> Result<Dump<'a, F>, InspectError> {
    let dir = data_dir.join(DIRECTORY);
    let mut bases = bases(fs, &dir)?;
    let first = bases.partition_point(|&base| base <= from).saturating_sub(1);
    let position = from.max(bases.first().copied().unwrap_or(from));
    let bases = bases.drain(first..).rev().collect();
    Ok(Dump { fs, dir, bases, open: None, position })
}

impl<F: Fs> Dump<'_, F> {
    /// The next entry, or `None` at the end.
    #[allow(clippy::should_implement_trait, reason = "an entry borrows from the dump, which an Iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, InspectError> {
        let (offset, header) = match self.find()? {
            None => return Ok(None),
            Some(Found::Lost(lost)) => return Ok(Some(Entry::Lost(lost))),
            Some(Found::Message { offset, header }) => (offset, header),
        };
        let open = self.open.as_ref().expect("a message was found in the open segment");
        let decoded = record::message_body(header.flags, open.scanner.body(offset, &header))
            .and_then(|(_, body)| Message::decode(header.seq, header.flags & MESSAGE_FLAGS, body).ok());
        Ok(Some(decoded.map_or_else(
            || {
                let why = format!("the record at byte {offset} of {} is no message", name_of(&open.path));
                Entry::Lost(Lost { from: header.seq, to: header.seq.next(), why })
            },
            Entry::Message,
        )))
    }

    fn find(&mut self) -> Result<Option<Found>, InspectError> {
        loop {
            let Some(segment) = &mut self.open else {
                let Some(base) = self.bases.pop() else { return Ok(None) };
                let Some(opened) = open(self.fs, &self.dir, base)? else { continue };
                let (path, bytes) = (opened.path.clone(), opened.records_len());
                self.open = Some(OpenSegment { scanner: opened.scanner(self.bases.last().copied()), path, bytes });
                if let Some(lost) = self.lost(base, "missing between two segments".to_owned()) {
                    return Ok(Some(lost));
                }
                continue;
            };
            let item = segment.scanner.next_item(segment.bytes).map_err(failed(&segment.path, "reading"))?;
            let damaged = |offset: u64| format!("damaged at byte {offset} of {}", name_of(&segment.path));
            let found = match item {
                Item::Record { offset, header } if header.kind == Kind::Message && header.seq >= self.position => {
                    self.position = header.seq.next();
                    Some(Found::Message { offset, header })
                }
                Item::Record { offset, header } if header.kind == Kind::Gap => {
                    match record::gap_body(segment.scanner.body(offset, &header)) {
                        Some((to, reason)) => self.lost(to, reason.describe().to_owned()),
                        None => None,
                    }
                }
                Item::Record { .. } => None,
                Item::Hole { offset, to, .. } => {
                    let why = damaged(offset);
                    self.lost(to, why)
                }
                Item::End { .. } => {
                    self.open = None;
                    None
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// `position..to` is lost, if that is a range.
    fn lost(&mut self, to: Seq, why: String) -> Option<Found> {
        let from = self.position;
        (from < to).then(|| {
            self.position = to;
            Found::Lost(Lost { from, to, why })
        })
    }
}
