//! `journal/id`: the id of the records, by sequence number.
//!
//! ```text
//! magic 8 | count u32 | entries: journal id 16 | first_seq u64 | crc u32 over all before it
//! ```
//! The file has one entry, unless the id was renewed (J11). It is replaced as a whole: written under another name,
//! synced, renamed, and the directory synced.

use std::io;
use std::path::Path;

use super::Fs;
use super::fs::{read_full, replace_file};
use super::segment::BASE_MAX;
use crate::journal_id::JournalId;
use crate::message::Seq;

const MAGIC: [u8; 8] = *b"ROWBRJID";
const ENTRY_LEN: usize = 16 + 8;

/// Renewals are years apart; a file that claims more than this is not ours.
const ENTRIES_MAX: usize = 1024;

const NAME: &str = "id";
const UNFINISHED_NAME: &str = "id.tmp";

/// Ids with the first sequence number each covers, oldest first. Never empty.
pub(super) type Ids = Vec<(JournalId, Seq)>;

pub(super) fn encode(ids: &[(JournalId, Seq)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
    for (id, first) in ids {
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&first.0.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Ids> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32c::crc32c(content).to_le_bytes() != crc {
        return None;
    }
    let entries = content.strip_prefix(&MAGIC)?;
    let (count, entries) = entries.split_at_checked(4)?;
    let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
    if count == 0 || count > ENTRIES_MAX || entries.len() != count * ENTRY_LEN {
        return None;
    }
    let ids: Ids = entries
        .chunks_exact(ENTRY_LEN)
        .map(|entry| {
            let first = u64::from_le_bytes(entry[16..].try_into().expect("8 bytes"));
            (JournalId(entry[..16].try_into().expect("16 bytes")), Seq(first))
        })
        .collect();
    let is_possible = ids.is_sorted_by_key(|(_, first)| *first) && ids.iter().all(|(_, first)| *first <= BASE_MAX);
    is_possible.then_some(ids)
}

/// `None` if the file is missing or damaged.
pub(super) fn load<F: Fs>(fs: &F, dir: &Path) -> io::Result<Option<Ids>> {
    let file = match fs.open_read(&dir.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; MAGIC.len() + 4 + ENTRIES_MAX * ENTRY_LEN + 4 + 1];
    let len = read_full(&file, &mut bytes, 0)?;
    Ok(decode(&bytes[..len]))
}

/// Makes `ids` durable (J10).
pub(super) fn store<F: Fs>(fs: &F, dir: &Path, ids: &[(JournalId, Seq)]) -> io::Result<()> {
    replace_file(fs, &dir.join(NAME), &dir.join(UNFINISHED_NAME), &encode(ids))
}

/// A fresh random id.
pub(super) fn generate<F: Fs>(fs: &F) -> io::Result<JournalId> {
    let mut id = [0; 16];
    fs.fill_random(&mut id)?;
    Ok(JournalId(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_list_comes_back_and_no_flipped_bit_passes() {
        let ids = vec![(JournalId([1; 16]), Seq(1)), (JournalId([2; 16]), Seq(500))];
        let bytes = encode(&ids);
        assert_eq!(decode(&bytes), Some(ids));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(decode(&encode(&[])), None);
        assert_eq!(decode(&encode(&[(JournalId([1; 16]), Seq(u64::MAX))])), None, "no journal comes so far");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
