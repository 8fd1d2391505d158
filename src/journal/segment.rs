//! A segment: one file of records, named after the first sequence number it may hold.
//!
//! ```text
//! header (64 bytes) = magic 8 | version u16 | flags u16 | sectors u32 | journal id 16 | base_seq u64
//!                   | created_at i64 | salt u64 | crc u32 over all before it | reserved 4
//! file = header | snapshot record | records … | zeros | trailer (trailer.rs: marks, and a copy of the header)
//! ```
//! `sectors` is the file's length in 512 bytes. A segment is created under another name and renamed once it is on the
//! disk with its full length. So a `.seg` file with an unreadable header was damaged, and a file that is too short was
//! cut; neither is an unfinished one. The copy of the header at the other end keeps a segment with a damaged header
//! readable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::fs::{read_full, remove_if_there};
use super::record;
use super::trailer::{COPY_FROM_END, TRAILER_LEN};
use super::{Fs, FsFile, Qos2Table};
use crate::clock::{self, Timestamp};
use crate::journal_id::JournalId;
use crate::message::Seq;

pub(super) const SEGMENT_HEADER_LEN: usize = 64;

const MAGIC: [u8; 8] = *b"ROWBRJNL";
const VERSION: u16 = 3;
const CRC_AT: usize = 56;

/// A file's length is a multiple of this, so that its trailer lies in one sector of the disk.
const SECTOR_BYTES: u64 = 512;

/// No journal comes this far, and databases store numbers as signed 64-bit integers. What claims a higher one is not ours.
pub(super) const BASE_MAX: Seq = Seq(i64::MAX as u64);

const SUFFIX: &str = ".seg";
/// Of a segment that is being made; recovery removes it.
pub(super) const UNFINISHED_SUFFIX: &str = ".new";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: JournalId,
    pub(super) base: Seq,
    /// For people to read; nothing is decided by it.
    pub(super) created_at: Timestamp,
    pub(super) salt: u64,
    /// Bytes of the file, when it was made and ever since.
    pub(super) size: u64,
}

impl SegmentHeader {
    /// Where the room for records ends.
    pub(super) fn records_end(&self) -> u64 {
        self.size - TRAILER_LEN
    }

    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&((self.size / SECTOR_BYTES) as u32).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id.0);
        bytes[32..40].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_at.as_micros().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `Ok(None)` for damaged bytes; an error for a whole header of a version that this program does not know and so
    /// must not touch.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_LEN]) -> io::Result<Option<SegmentHeader>> {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let crc = u32::from_le_bytes(bytes[CRC_AT..CRC_AT + 4].try_into().expect("4 bytes"));
        if bytes[..8] != MAGIC || crc != crc32c::crc32c(&bytes[..CRC_AT]) {
            return Ok(None);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            let reason = format!("its format is version {version} and this program reads version {VERSION}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let sectors = u32::from_le_bytes(bytes[12..16].try_into().expect("4 bytes"));
        if sectors == 0 {
            return Ok(None);
        }
        Ok(Some(SegmentHeader {
            id: JournalId(bytes[16..32].try_into().expect("16 bytes")),
            base: Seq(u64_at(32)),
            created_at: Timestamp(u64_at(40) as i64),
            salt: u64_at(48),
            size: u64::from(sectors) * SECTOR_BYTES,
        }))
    }
}

/// Reads the header of the segment `base`, from its copy if the first is damaged or cannot be read. `None` if both are
/// damaged, or if the file is another segment's; an error if one could not be read and the other is no help.
pub(super) fn read_header(file: &impl FsFile, base: Seq) -> io::Result<Option<SegmentHeader>> {
    read_header_and_tell(file, base, |_| {})
}

/// As [`read_header`]; an error that the copy makes good is handed to `tell`.
pub(super) fn read_header_and_tell(
    file: &impl FsFile,
    base: Seq,
    tell: impl FnOnce(&io::Error),
) -> io::Result<Option<SegmentHeader>> {
    let copy_at = file.len()?.checked_sub(COPY_FROM_END);
    let mut unreadable = None;
    for offset in [Some(0), copy_at].into_iter().flatten() {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        match read_full(file, &mut bytes, offset) {
            Ok(SEGMENT_HEADER_LEN) => {
                if let Some(header) = SegmentHeader::decode(&bytes)?.filter(|header| header.base == base) {
                    if let Some(error) = &unreadable {
                        tell(error);
                    }
                    return Ok(Some(header));
                }
            }
            Ok(_) => {}
            Err(error) => unreadable = Some(error),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// Whether the first of the two headers is as it was written.
pub(super) fn is_first_header_sound(file: &impl FsFile, header: &SegmentHeader) -> bool {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    read_full(file, &mut bytes, 0).is_ok() && bytes == header.encode()
}

pub(super) fn path_of(dir: &Path, base: Seq) -> PathBuf {
    dir.join(format!("{:020}{SUFFIX}", base.0))
}

/// The first sequence number of the segment with this path; `None` for any other file.
pub(super) fn base_of(path: &Path) -> Option<Seq> {
    let digits = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().map(Seq).filter(|base| is_ours && (Seq::FIRST..=BASE_MAX).contains(base))
}

/// The name for logs and for [`super::Lost`].
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A segment on the disk, as the writer and all readers know it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: Seq,
    pub(super) path: PathBuf,
    /// Bytes of the file.
    pub(super) size: u64,
    /// `None` until the header has been read: recovery does not read those of sealed segments.
    pub(super) salt: Option<u64>,
    /// Everything below is on the disk. Of a segment sealed before the start: the whole file.
    durable_len: AtomicU64,
    /// Since when all databases have everything in it, as far as this process has seen.
    delivered_at: Mutex<Option<Instant>>,
}

impl Segment {
    pub(super) fn new(base: Seq, path: PathBuf, size: u64, salt: Option<u64>, durable_len: u64) -> Segment {
        Segment { base, path, size, salt, durable_len: AtomicU64::new(durable_len), delivered_at: Mutex::default() }
    }

    pub(super) fn durable_len(&self) -> u64 {
        self.durable_len.load(Ordering::Acquire)
    }

    pub(super) fn set_durable_len(&self, len: u64) {
        self.durable_len.store(len, Ordering::Release);
    }

    /// Begins the count, unless it runs, or ends it.
    pub(super) fn set_delivered(&self, is_delivered: bool) {
        let mut delivered_at = super::shared::lock(&self.delivered_at);
        *delivered_at = is_delivered.then(|| delivered_at.unwrap_or_else(Instant::now));
    }

    pub(super) fn delivered_at(&self) -> Option<Instant> {
        *super::shared::lock(&self.delivered_at)
    }
}

/// A segment just made: durable with its name, header and snapshot, and open for writing.
pub(super) struct Created<File> {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) salt: u64,
    /// Where the first record goes.
    pub(super) end: u64,
}

/// Bytes of a segment that are not room for records when `table` is in the snapshot.
pub(super) fn overhead(table: &Qos2Table) -> u64 {
    SEGMENT_HEADER_LEN as u64 + record::record_len(table.encoded_len() as u64) + TRAILER_LEN
}

/// The size of a segment that is to have at least `len` bytes.
pub(super) fn size_for(len: u64) -> u64 {
    len.next_multiple_of(SECTOR_BYTES)
}

/// The largest size of a segment within `len` bytes, and never less than a sector.
pub(super) fn size_within(len: u64) -> u64 {
    (len / SECTOR_BYTES).clamp(1, u64::from(u32::MAX)) * SECTOR_BYTES
}

/// Makes the segment `base` of `size` bytes, a whole number of sectors (J3, J10). An empty segment of the same base is replaced. On an error
/// nothing is left but perhaps an unfinished file, which the next attempt or recovery removes.
pub(super) fn create<F: Fs>(
    fs: &F,
    dir: &Path,
    id: JournalId,
    base: Seq,
    size: u64,
    table: &Qos2Table,
) -> io::Result<Created<F::File>> {
    let path = path_of(dir, base);
    let unfinished = path.with_extension(&UNFINISHED_SUFFIX[1..]);
    let mut salt = [0; 8];
    fs.fill_random(&mut salt)?;
    let salt = u64::from_le_bytes(salt);
    let header = SegmentHeader { id, base, created_at: clock::now(), salt, size }.encode();
    let mut snapshot = Vec::new();
    record::stage_snapshot(&mut snapshot, |out| table.encode(out));
    record::seal(&mut snapshot, base, 0, record::seed(salt));
    let end = (SEGMENT_HEADER_LEN + snapshot.len()) as u64;

    remove_if_there(fs, &unfinished)?;
    let file = fs.create_new(&unfinished)?;
    crash_point!("journal.segment.created");
    let write = || {
        file.allocate(size)?;
        crash_point!("journal.segment.allocated");
        file.write_all_at(&header, 0)?;
        crash_point!("journal.segment.half_written");
        file.write_all_at(&snapshot, SEGMENT_HEADER_LEN as u64)?;
        file.write_all_at(&header, size - COPY_FROM_END)?;
        crash_point!("journal.segment.unsynced");
        file.sync_data()?;
        crash_point!("journal.segment.unnamed");
        fs.rename(&unfinished, &path)
    };
    if let Err(error) = write() {
        // Best effort: a full disk wants its room back. What stays is removed by the next attempt.
        let _ = remove_if_there(fs, &unfinished);
        return Err(error);
    }
    crash_point!("journal.segment.renamed");
    fs.sync_dir(dir)?;
    Ok(Created { file, path, salt, end })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_sort_as_numbers_and_nothing_else_is_a_segment() {
        let path = path_of(Path::new("j"), Seq(42));
        assert_eq!(path, Path::new("j/00000000000000000042.seg"));
        assert_eq!(base_of(&path), Some(Seq(42)));
        for other in ["j/42.seg", "j/00000000000000000042.new", "j/id", "j/+0000000000000000042.seg"] {
            assert_eq!(base_of(Path::new(other)), None, "{other}");
        }
        for beyond in ["j/99999999999999999999.seg", "j/18446744073709551615.seg", "j/09223372036854775808.seg"] {
            assert_eq!(base_of(Path::new(beyond)), None, "{beyond}");
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back_and_no_flipped_bit_passes(id: [u8; 16], base: u64, at: i64, salt: u64, sectors in 1..=u32::MAX, bit in 0usize..480) {
            let header = SegmentHeader { id: JournalId(id), base: Seq(base), created_at: Timestamp(at), salt, size: u64::from(sectors) * SECTOR_BYTES };
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes).unwrap(), Some(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes).unwrap(), None);
        }
    }
}
