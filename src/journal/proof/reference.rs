//! A slow reader of a journal's files, written from the description of the format alone and sharing no code with the
//! journal. A mistake would have to be in both for them to agree on it.
//!
//! The reader has no recovery. It reports what is certain: of each segment with a valid header, the messages up to the
//! first record that is invalid or has an unexpected number.

use std::collections::BTreeMap;

/// Messages by sequence number, as (body without the QoS 2 mark) bytes of their payload.
pub(in crate::journal) fn certain(files: &[(String, Vec<u8>)]) -> BTreeMap<u64, Vec<u8>> {
    let table = table();
    let mut messages = BTreeMap::new();
    for (name, bytes) in files {
        let Some(base) = name.strip_suffix(".seg").filter(|digits| digits.len() == 20) else { continue };
        let Ok(base) = base.parse::<u64>() else { continue };
        let copy_at = bytes.len().saturating_sub(64);
        let header = [0, copy_at].into_iter().find_map(|at| header(bytes.get(at..at + 64)?, base, &table));
        if let Some((salt, size)) = header {
            let end = (size - 128).min(bytes.len());
            walk(&bytes[..end], base, crc(&table, 0, &salt), &table, &mut messages);
        }
    }
    messages
}

/// Salt and file size of a whole header of this segment.
fn header(bytes: &[u8], base: u64, table: &[u32; 256]) -> Option<([u8; 8], usize)> {
    let is_whole = bytes[..8] == *b"ROWBRJNL" && number(&bytes[8..10]) == 3 && number(&bytes[32..40]) == base;
    let size = number(&bytes[12..16]) as usize * 512;
    (is_whole && size > 0 && u64::from(crc(table, 0, &bytes[..56])) == number(&bytes[56..60]))
        .then(|| (bytes[48..56].try_into().expect("8 bytes"), size))
}

fn walk(bytes: &[u8], base: u64, seed: u32, table: &[u32; 256], messages: &mut BTreeMap<u64, Vec<u8>>) {
    let (mut at, mut due) = (64, base);
    while let Some(fixed) = bytes.get(at..at + 20) {
        let (len, seq, kind, flags) = (number(&fixed[4..8]) as usize, number(&fixed[8..16]), fixed[16], fixed[17]);
        let Some(record) = bytes.get(at..at + (20 + len).div_ceil(8) * 8) else { return };
        if u64::from(crc(table, seed, &record[4..])) != number(&fixed[..4]) || seq != due || seq == 0 {
            return;
        }
        let body = &record[20..20 + len];
        match kind {
            1 => {
                if let Some(payload) = payload(body, flags) {
                    messages.insert(seq, payload.to_vec());
                }
                due += 1;
            }
            4 if len >= 9 && number(&body[..8]) > seq => due = number(&body[..8]),
            2 | 3 | 5 | 6 => {}
            _ => return,
        }
        at += record.len();
    }
}

/// received_at 8 | fault 1 | reserved 1 | topic length 2 | properties length 4 | topic | properties | payload
fn payload(body: &[u8], flags: u8) -> Option<&[u8]> {
    let body = if flags & 0x10 == 0 { body } else { body.get(10..)? };
    let before = 16 + number(body.get(10..12)?) as usize + number(body.get(12..16)?) as usize;
    body.get(before..)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// CRC-32C, a byte at a time.
fn crc(table: &[u32; 256], seed: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!seed, |crc, &byte| crc >> 8 ^ table[usize::from(crc as u8 ^ byte)])
}

fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    })
}
