//! Reads every record of every segment and reports faults.

use std::path::{Path, PathBuf};

use super::{Fs, InspectError, Opened, bases, failed, open};
use crate::clock::Timestamp;
use crate::journal::{
    FsFile,
    handle::DIRECTORY,
    id_file, lock_file,
    lock_file::Evidence,
    record::{self, Kind, RECORD_ALIGN, RecordHeader},
    replay::may_be_torn,
    scan::{Item, Scanner},
    trailer::{self, Tail},
};
use crate::journal_id::JournalId;
use crate::message::Seq;

/// Bytes between two calls of the progress function.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

/// How often the newest segment is read again when it seems to be damaged and does not look the same twice.
const LOOKS_AGAIN: usize = 5;

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
    /// At the end of the newest segment: a write that a crash cut or that is under way, or damage to the last messages,
    /// from the number `from` on. The next start cuts it off.
    TornTail { offset: u64, len: u64, from: Seq },
    /// The end of the journal is lost, with an unknown number of messages: at least one, up to the number at which the
    /// next start continues.
    EndLost { from: Seq, to: Seq, why: &'static str },
    /// A file that is shorter than it was made. What messages that cost is said besides.
    Short { bytes: u64, made: u64 },
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
            Finding::UnreadableHeader { .. }
            | Finding::Damage { .. }
            | Finding::Missing { .. }
            | Finding::EndLost { .. }
            | Finding::Short { .. } => true,
            Finding::Gap { .. } | Finding::TornTail { .. } => false,
        }
    }

    /// The number after the last that it speaks of.
    fn end(&self) -> Seq {
        match *self {
            Finding::UnreadableHeader { to, .. }
            | Finding::Damage { to, .. }
            | Finding::Gap { to, .. }
            | Finding::EndLost { to, .. }
            | Finding::Missing { to, .. } => to,
            Finding::TornTail { from, .. } => from,
            Finding::Short { .. } => Seq::default(),
        }
    }

    /// Messages lost by it.
    pub fn messages_lost(&self) -> u64 {
        match self {
            Finding::UnreadableHeader { from, to }
            | Finding::Damage { from, to, .. }
            | Finding::Gap { from, to, .. }
            | Finding::EndLost { from, to, .. }
            | Finding::Missing { from, to } => to.0.saturating_sub(from.0),
            Finding::TornTail { .. } | Finding::Short { .. } => 0,
        }
    }
}

impl VerifyReport {
    /// No damage and nothing missing. A torn tail and gaps are sound.
    pub fn is_sound(&self) -> bool {
        !self.ids.is_empty() && !self.segments.is_empty() && !self.findings().any(|(_, finding)| finding.is_damage())
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
    let evidence = lock_file::evidence(fs, &dir);
    let mut bytes_before = 0;
    let mut segments: Vec<SegmentReport> = Vec::new();
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
            let report = verify_segment(opened, next_base, evidence, &mut tell)?;
            segments.push(if next_base.is_none() { look_again(fs, &dir, report, evidence)? } else { report });
        }
        bytes_before += bytes;
    }
    // The writer may have gone on to another segment meanwhile: the one that seems to lack its successor has one.
    if let Some(newest) = segments.last_mut()
        && super::bases(fs, &dir)?.last().is_some_and(|&base| base > newest.base)
    {
        newest.findings.retain(|finding| !matches!(finding, Finding::EndLost { .. }));
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

/// A running writer may have come between two reads of the newest segment, which looks like damage. What is real is there
/// once more.
fn look_again<F: Fs>(
    fs: &F,
    dir: &Path,
    mut report: SegmentReport,
    evidence: Evidence,
) -> Result<SegmentReport, InspectError> {
    for _ in 0..LOOKS_AGAIN {
        if !report.findings.iter().any(Finding::is_damage) {
            break;
        }
        let Some(opened) = open(fs, dir, report.base)? else { break };
        let before = std::mem::replace(&mut report, verify_segment(opened, None, evidence, &mut |_, _| {})?);
        if before == report {
            break;
        }
    }
    Ok(report)
}

/// `next_base` is `None` for the newest segment.
fn verify_segment<File: FsFile>(
    opened: Opened<File>,
    next_base: Option<Seq>,
    evidence: Evidence,
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
    let Some(header) = opened.header else {
        report.next_seq = match next_base {
            Some(next) => next,
            // As the next start estimates it.
            None => Scanner::end_without_header(opened.file, opened.base, opened.bytes)
                .map_err(failed(&opened.path, "reading"))?,
        };
        report.findings.push(Finding::UnreadableHeader { from: report.base, to: report.next_seq });
        return Ok(report);
    };
    let (path, bytes) = (opened.path.clone(), opened.records_len());
    // Before the records, as the writer may be at work: what it says of the end must not be newer than they.
    let trailer = trailer::read(&opened.file, &header).map_err(failed(&path, "reading the end of"))?;
    if trailer.is_cut {
        report.findings.push(Finding::Short { bytes: opened.bytes, made: header.size });
    }
    let mut scanner = opened.scanner(next_base);
    // The records before each hole.
    let mut counted = Vec::new();
    // Everything before was once whole.
    let mut proven = trailer.proven_len().max(evidence.durable_len(header.salt));
    loop {
        match scanner.next_item(bytes).map_err(failed(&path, "reading"))? {
            Item::Record { offset, header } => {
                report.records.count(header.kind);
                proven = proven.max(offset.saturating_sub(u64::from(header.group) * RECORD_ALIGN));
                report.findings.extend(gap(offset, &header, scanner.body(offset, &header)));
                tell(&path, scanner.offset());
            }
            Item::Hole { offset, len, from, to } => {
                counted.push((offset, report.records));
                report.findings.push(Finding::Damage { offset, len, from, to });
            }
            Item::End { offset } => {
                if next_base.is_none()
                    && !(evidence.is_untorn || evidence.is_early || trailer.is_cut)
                    && let Some((tear, from)) = report.take_tear(proven, &scanner)
                {
                    scanner.skip_to(tear, from);
                    let at_the_tear = counted.iter().find(|(offset, _)| *offset == tear);
                    report.records = at_the_tear.map_or(report.records, |&(_, records)| records);
                }
                let offset = scanner.offset().min(offset);
                let end = scanner.end_of_nonzero(offset, bytes).map_err(failed(&path, "reading"))?;
                let found = match next_base {
                    Some(next) => at_the_end(offset, end, scanner.expected(), next),
                    None => {
                        let tail = trailer::judge(&mut scanner, &header, &trailer);
                        at_the_last_end(offset, end, scanner.expected(), tail.map_err(failed(&path, "reading"))?)
                    }
                };
                let to = found.as_ref().map(Finding::end).unwrap_or_default();
                report.next_seq = scanner.expected().max(to);
                report.findings.extend(found);
                return Ok(report);
            }
        }
    }
}

impl SegmentReport {
    /// As the next start does where a write may be torn: damage in the newest segment's last write is where a power cut tore it.
    fn take_tear(&mut self, proven: u64, scanner: &Scanner<impl FsFile>) -> Option<(u64, Seq)> {
        let is_tear = |finding: &Finding| match *finding {
            Finding::Damage { offset, len, from, to } => {
                offset >= proven && may_be_torn(scanner, offset, len, from < to)
            }
            _ => false,
        };
        let at = self.findings.iter().position(is_tear)?;
        match self.findings.drain(at..).next() {
            Some(Finding::Damage { offset, from, .. }) => Some((offset, from)),
            _ => None,
        }
    }
}

/// What the end of a sealed segment says: zeros should follow the last record, and the next segment's number with it.
fn at_the_end(offset: u64, end: Option<u64>, from: Seq, next: Seq) -> Option<Finding> {
    let to = next.max(from);
    match end {
        Some(end) => Some(Finding::Damage { offset, len: end - offset, from, to }),
        None => (from < to).then_some(Finding::Missing { from, to }),
    }
}

/// What the end of the newest segment says, as the next start judges it.
fn at_the_last_end(offset: u64, end: Option<u64>, from: Seq, tail: Tail) -> Option<Finding> {
    match tail {
        Tail::Plain => end.map(|end| Finding::TornTail { offset, len: end - offset, from }),
        Tail::Damaged { end, next } => Some(Finding::Damage { offset, len: end - offset, from, to: next }),
        Tail::Lost { next, why } => Some(Finding::EndLost { from, to: next, why }),
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
