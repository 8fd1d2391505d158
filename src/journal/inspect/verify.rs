//! Reads every record of every segment and tells what is wrong.

use std::path::{Path, PathBuf};

use super::{Fs, InspectError, Opened, bases, failed, open};
use crate::clock::Timestamp;
use crate::journal::handle::DIRECTORY;
use crate::journal::record::{self, Kind, RecordHeader};
use crate::journal::scan::{Item, Scanner};
use crate::journal::{FsFile, JournalId, id_file};
use crate::message::Seq;

/// Bytes between two calls of the progress function.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

/// What a journal holds and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Oldest first, each with the first sequence number it covers; empty if the id file is missing or damaged.
    pub ids: Vec<(JournalId, Seq)>,
    pub oldest_seq: Seq,
    pub next_seq: Seq,
    /// Oldest first.
    pub segments: Vec<SegmentReport>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    pub path: PathBuf,
    pub base: Seq,
    /// The number after its last.
    pub next_seq: Seq,
    pub bytes: u64,
    /// Of both: `None` if the header cannot be read.
    pub id: Option<JournalId>,
    pub created_at: Option<Timestamp>,
    pub records: RecordCounts,
    /// In the order of their place.
    pub findings: Vec<Finding>,
}

/// Valid records by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    pub messages: u64,
    pub releases: u64,
    pub clears: u64,
    pub gaps: u64,
    pub snapshots: u64,
    pub voids: u64,
}

/// Something to know about a segment. Ranges of sequence numbers are `from..to`, and empty if no message is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// No record can be read, as both copies of the header are damaged. In the newest segment `to` is what the records
    /// seem to say.
    UnreadableHeader { from: Seq, to: Seq },
    /// Bytes that are no record, where records should be.
    Damage { offset: u64, len: u64, from: Seq, to: Seq },
    /// A range that the journal itself gave up, and said so then.
    Gap { offset: u64, from: Seq, to: Seq, why: &'static str },
    /// At the end of the newest segment: a write that a crash cut or that is under way. The next start cuts it off.
    TornTail { offset: u64, len: u64 },
    /// Numbers between this segment and the next that neither holds.
    Missing { from: Seq, to: Seq },
}

/// How far `verify` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    pub segment: &'a Path,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

impl Finding {
    /// Whether it says that something is wrong with the bytes (and not only that something was given up before).
    pub fn is_damage(&self) -> bool {
        match self {
            Finding::UnreadableHeader { .. } | Finding::Damage { .. } | Finding::Missing { .. } => true,
            Finding::Gap { .. } | Finding::TornTail { .. } => false,
        }
    }

    /// Messages lost by it.
    pub fn messages_lost(&self) -> u64 {
        match self {
            Finding::UnreadableHeader { from, to }
            | Finding::Damage { from, to, .. }
            | Finding::Gap { from, to, .. }
            | Finding::Missing { from, to } => to.0.saturating_sub(from.0),
            Finding::TornTail { .. } => 0,
        }
    }
}

impl VerifyReport {
    /// No damage and nothing missing. A torn tail and gaps are sound.
    pub fn is_sound(&self) -> bool {
        !self.ids.is_empty() && !self.findings().any(|(_, finding)| finding.is_damage())
    }

    /// All findings with the segment they lie in.
    pub fn findings(&self) -> impl Iterator<Item = (&Path, &Finding)> {
        self.segments
            .iter()
            .flat_map(|segment| segment.findings.iter().map(|finding| (segment.path.as_path(), finding)))
    }
}

/// For `rowbridge journal verify`. `progress` is called every few megabytes.
pub fn verify<F: Fs>(
    fs: &F,
    data_dir: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<VerifyReport, InspectError> {
    let dir = data_dir.join(DIRECTORY);
    let bases = bases(fs, &dir)?;
    let ids = id_file::load(fs, &dir).map_err(failed(&dir, "reading the id in"))?.unwrap_or_default();
    let mut opened = Vec::new();
    for &base in &bases {
        // Headers and lengths first; the files are opened again one at a time.
        opened.extend(open(fs, &dir, base)?.map(|segment| (base, segment.bytes)));
    }
    let bytes_total = opened.iter().map(|(_, bytes)| bytes).sum();
    let mut bytes_before = 0;
    let mut segments = Vec::new();
    for (at, &(base, bytes)) in opened.iter().enumerate() {
        let next_base = opened.get(at + 1).map(|&(next, _)| next);
        let mut told = 0;
        let mut tell = |path: &Path, offset: u64| {
            if offset >= told + PROGRESS_BYTES {
                told = offset;
                progress(Progress { segment: path, bytes_done: bytes_before + offset, bytes_total });
            }
        };
        if let Some(opened) = open(fs, &dir, base)? {
            segments.push(verify_segment(opened, next_base, &mut tell)?);
        }
        bytes_before += bytes;
    }
    if let Some(last) = segments.last() {
        progress(Progress { segment: &last.path, bytes_done: bytes_total, bytes_total });
    }
    Ok(VerifyReport {
        ids,
        oldest_seq: segments.first().map_or(Seq::FIRST, |segment| segment.base),
        next_seq: segments.last().map_or(Seq::FIRST, |segment| segment.next_seq),
        segments,
    })
}

/// `next_base` is `None` for the newest segment.
fn verify_segment<File: FsFile>(
    opened: Opened<File>,
    next_base: Option<Seq>,
    tell: &mut dyn FnMut(&Path, u64),
) -> Result<SegmentReport, InspectError> {
    let mut report = SegmentReport {
        path: opened.path.clone(),
        base: opened.base,
        next_seq: opened.base,
        bytes: opened.bytes,
        id: opened.header.map(|header| header.id),
        created_at: opened.header.map(|header| header.created_at),
        records: RecordCounts::default(),
        findings: Vec::new(),
    };
    if opened.header.is_none() {
        report.next_seq = match next_base {
            Some(next) => next,
            // As the next start estimates it.
            None => Scanner::end_without_header(opened.file, opened.base, opened.bytes)
                .map_err(failed(&opened.path, "reading"))?,
        };
        report.findings.push(Finding::UnreadableHeader { from: report.base, to: report.next_seq });
        return Ok(report);
    }
    let (path, bytes) = (opened.path.clone(), opened.bytes);
    let mut scanner = opened.scanner();
    loop {
        match scanner.next_item(bytes).map_err(failed(&path, "reading"))? {
            Item::Record { offset, header } => {
                report.records.count(header.kind);
                report.findings.extend(gap(offset, &header, scanner.body(offset, &header)));
                tell(&path, scanner.offset());
            }
            Item::Hole { offset, len, from, to } => {
                report.findings.push(Finding::Damage { offset, len, from, to });
            }
            Item::End { offset } => {
                let end = scanner.end_of_nonzero(offset, bytes).map_err(failed(&path, "reading"))?;
                report.next_seq = scanner.expected();
                report.findings.extend(at_the_end(&scanner, offset, end, next_base));
                return Ok(report);
            }
        }
    }
}

/// What the end of a segment says: zeros should follow the last record, and the next segment's number with it.
fn at_the_end<File: FsFile>(
    scanner: &Scanner<File>,
    offset: u64,
    end: Option<u64>,
    next_base: Option<Seq>,
) -> Option<Finding> {
    let from = scanner.expected();
    let to = next_base.unwrap_or(from).max(from);
    match (end, next_base) {
        (Some(end), None) => Some(Finding::TornTail { offset, len: end - offset }),
        (Some(end), Some(_)) => Some(Finding::Damage { offset, len: end - offset, from, to }),
        (None, _) => (from < to).then_some(Finding::Missing { from, to }),
    }
}

fn gap(offset: u64, header: &RecordHeader, body: &[u8]) -> Option<Finding> {
    if header.kind != Kind::Gap {
        return None;
    }
    let (to, reason) = record::gap_body(body)?;
    Some(Finding::Gap { offset, from: header.seq, to, why: reason.describe() })
}

impl RecordCounts {
    fn count(&mut self, kind: Kind) {
        let count = match kind {
            Kind::Message => &mut self.messages,
            Kind::Release => &mut self.releases,
            Kind::Clear => &mut self.clears,
            Kind::Gap => &mut self.gaps,
            Kind::Snapshot => &mut self.snapshots,
            Kind::Void => &mut self.voids,
        };
        *count += 1;
    }
}
