//! Recovery over a directory of arbitrary files.
//!
//! Input: files one after the other, each as a byte of kind, a byte for the number in the name, a length of two bytes
//! (little-endian) and so many bytes. A kind with [`MEND`] has its checksums put right: what is then hostile is the
//! content, which no checksum refuses.

use rowbridge::journal::fuzzing;

use super::crc;

/// The low bits of a kind are an index into this. `#` becomes the segment's number.
const NAMES: [&str; 8] = ["id", "LOCK", "#.seg", "#.new", "id.tmp", "#.seg", "#", "quarantine"];
pub const MEND: u8 = 0x10;
/// Zeros lie before the last [`TRAILER_LEN`] bytes, so many that the file is as long as its header says.
pub const PREALLOCATED: u8 = 0x20;

pub const TRAILER_LEN: usize = 128;
/// Of a file whose header says nothing that can be: the size of a small segment.
const PREALLOCATED_BYTES: usize = 4_096;
const PREALLOCATED_BYTES_MAX: usize = 64 * 1_024;
const FILES_MAX: usize = 32;
const HEADER_LEN: usize = 64;
const RECORD_HEADER_LEN: usize = 20;
/// Of a segment header: where the file's length in sectors, its salt and its checksum are.
const SECTORS: std::ops::Range<usize> = 12..16;
const SECTOR_BYTES: usize = 512;
const SALT: std::ops::Range<usize> = 48..56;
const HEADER_CRC_AT: usize = 56;
/// Of a mark in the trailer.
const MARK_LEN: usize = 32;
const MARK_KIND_AT: usize = 16;

pub fn check(bytes: &[u8]) {
    fuzzing::recover_directory(&files(bytes));
}

/// One file of an input.
pub fn push_file(input: &mut Vec<u8>, kind: u8, number: u8, content: &[u8]) {
    input.extend_from_slice(&[kind, number]);
    input.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
    input.extend_from_slice(content);
}

fn files(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let [kind, number, low, high, rest @ ..] = bytes
        && files.len() < FILES_MAX
    {
        let (content, after) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
        bytes = after;
        let mut content = content.to_vec();
        let name = NAMES[usize::from(kind % 8)];
        if kind & PREALLOCATED != 0 {
            preallocate(&mut content);
        }
        if kind & MEND != 0 {
            mend(name, &mut content);
        }
        let name = name.replace('#', &format!("{:020}", far(*number)));
        files.retain(|(known, _)| *known != name);
        files.push((name, content));
    }
    files
}

/// The highest bytes are numbers that are far off.
fn far(number: u8) -> u64 {
    match number {
        255 => u64::MAX,
        254 => 1 << 63,
        253 => 1 << 62,
        252 => 1 << 41,
        near => u64::from(near),
    }
}

fn preallocate(content: &mut Vec<u8>) {
    let size = size(content).filter(|&size| size <= PREALLOCATED_BYTES_MAX).unwrap_or(PREALLOCATED_BYTES);
    let at = content.len().saturating_sub(TRAILER_LEN);
    let zeros = size.saturating_sub(content.len());
    content.splice(at..at, std::iter::repeat_n(0, zeros));
}

/// The file's length as its header says.
fn size(content: &[u8]) -> Option<usize> {
    let sectors = content.get(SECTORS)?.try_into().expect("4 bytes");
    (u32::from_le_bytes(sectors) as usize).checked_mul(SECTOR_BYTES).filter(|&size| size > 0)
}

fn mend(name: &str, content: &mut [u8]) {
    if name.starts_with("id") {
        if let Some((content, crc)) = content.split_last_chunk_mut::<4>() {
            *crc = crc::of(0, content).to_le_bytes();
        }
        return;
    }
    let Some(salt) = content.get(SALT) else { return };
    let seed = crc::of(0, salt);
    mend_header(content);
    let len = content.len();
    let records_end = size(content).filter(|&size| size <= len).unwrap_or(len).saturating_sub(TRAILER_LEN);
    if let Some(mark) = content.get_mut(records_end..records_end + MARK_LEN)
        && mark[MARK_KIND_AT] != 0
        && let Some((mark, crc)) = mark.split_last_chunk_mut::<4>()
    {
        *crc = crc::of(seed, mark).to_le_bytes();
    }
    if len >= TRAILER_LEN + HEADER_LEN {
        mend_header(&mut content[len - HEADER_LEN..]);
    }
    let records = &mut content[..records_end];
    let mut at = HEADER_LEN;
    while let Some(header) = records.get(at..at + RECORD_HEADER_LEN) {
        let body_len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let record_len = (RECORD_HEADER_LEN + body_len).next_multiple_of(8);
        let is_empty = header.iter().all(|byte| *byte == 0);
        match records.get_mut(at..at + record_len) {
            Some(record) if !is_empty => {
                let crc = crc::of(seed, &record[4..]);
                record[..4].copy_from_slice(&crc.to_le_bytes());
                at += record_len;
            }
            _ => at += 8,
        }
    }
}

fn mend_header(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_LEN {
        let crc = crc::of(0, &bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
}
