//! Inspects a journal without changing it: no lock, no writes, with the daemon stopped or running.
//!
//! Under a running daemon segments may disappear (trimmed) and the newest one grows; both are normal. The end
//! of the newest segment may then hold a write in progress, which looks like one that a crash cut.

mod dump;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use dump::{Dump, dump};
pub use verify::{Finding, Progress, RecordCounts, SegmentReport, VerifyReport, verify};

use super::handle::DIRECTORY;
use super::record;
use super::scan::{Item, Scanner};
use super::segment::{self, SEGMENT_HEADER_LEN};
use super::{Fs, FsFile, id_file};
use crate::clock::Timestamp;
use crate::journal_id::JournalId;
use crate::message::Seq;

/// Why a journal cannot be looked at.
#[derive(Debug, Error)]
pub enum InspectError {
    #[error("there is no journal in {0}; is this the data_dir of the configuration?")]
    NoJournal(PathBuf),
    #[error("{action} {path} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

/// What the directory says, without reading more than the headers and the newest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Oldest first, each with the first sequence number it covers; empty if the id file is missing or damaged.
    pub ids: Vec<(JournalId, Seq)>,
    pub oldest_seq: Seq,
    /// As far as the newest segment can be read.
    pub next_seq: Seq,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Oldest first.
    pub segments: Vec<SegmentSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    pub path: PathBuf,
    pub base: Seq,
    pub bytes: u64,
    /// `None` if the header cannot be read.
    pub created_at: Option<Timestamp>,
}

/// For `rowbridge journal status`.
pub fn status<F: Fs>(fs: &F, data_dir: &Path) -> Result<Summary, InspectError> {
    let dir = data_dir.join(DIRECTORY);
    let bases = bases(fs, &dir)?;
    let ids = id_file::load(fs, &dir).map_err(failed(&dir, "reading the id in"))?.unwrap_or_default();
    let mut segments = Vec::new();
    let mut next_seq = Seq::FIRST;
    for base in bases {
        let Some(opened) = open(fs, &dir, base)? else { continue };
        let created_at = opened.header.map(|header| header.created_at);
        segments.push(SegmentSummary { path: opened.path.clone(), base, bytes: opened.bytes, created_at });
        next_seq = base;
    }
    if let Some(opened) = segments.last().map(|newest| open(fs, &dir, newest.base)).transpose()?.flatten() {
        let (path, bytes) = (opened.path.clone(), opened.records_len());
        let mut scanner = opened.scanner(None);
        while !matches!(scanner.next_item(bytes).map_err(failed(&path, "reading"))?, Item::End { .. }) {}
        next_seq = scanner.expected();
    }
    let oldest_seq = segments.first().map_or(Seq::FIRST, |oldest| oldest.base);
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    Ok(Summary { ids, oldest_seq, next_seq, bytes, segments })
}

/// A segment open for reading.
struct Opened<File> {
    file: File,
    path: PathBuf,
    base: Seq,
    bytes: u64,
    /// `None` if neither copy can be read.
    header: Option<segment::SegmentHeader>,
}

impl<File: FsFile> Opened<File> {
    /// Up to where records can be.
    fn records_len(&self) -> u64 {
        self.header.map_or(self.bytes, |header| header.records_end().min(self.bytes))
    }
}

impl<File: FsFile> Opened<File> {
    /// At the first record; without a header nothing validates. `next_base` is `None` for the newest segment.
    fn scanner(self, next_base: Option<Seq>) -> Scanner<File> {
        let seed = self.header.map_or(0, |header| record::seed(header.salt));
        let mut scanner = Scanner::new(self.file, seed, SEGMENT_HEADER_LEN as u64, self.base);
        scanner.tolerate_unreadable();
        if let Some(next) = next_base {
            scanner.stop_before(next);
        }
        scanner
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> InspectError {
    let path = path.to_path_buf();
    move |source| InspectError::Io { path, action, source }
}

/// The first sequence numbers of all segments, oldest first.
fn bases<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<Seq>, InspectError> {
    let paths = fs.list(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => InspectError::NoJournal(dir.to_path_buf()),
        _ => failed(dir, "listing")(error),
    })?;
    let mut bases: Vec<Seq> = paths.iter().filter_map(|path| segment::base_of(path)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// `None` if the segment was trimmed since it was listed.
fn open<F: Fs>(fs: &F, dir: &Path, base: Seq) -> Result<Option<Opened<F::File>>, InspectError> {
    let path = segment::path_of(dir, base);
    let file = match fs.open_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed(&path, "opening"))?,
    };
    let bytes = file.len().map_err(failed(&path, "reading the length of"))?;
    let header = segment::read_header(&file, base).map_err(failed(&path, "reading the header of"))?;
    Ok(Some(Opened { file, path, base, bytes, header }))
}
