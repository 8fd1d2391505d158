//! Messages made to look like records.

use super::super::segment::path_of;
use super::damage::quarantined;
use super::*;

/// Bytes made to look like so many long records that the search after damage gives up on them.
fn hostile(count: usize, first: u64) -> Vec<u8> {
    // So that the record's fields, a topic of one byte, and this come to a multiple of eight.
    let mut bytes = vec![b' '; 3];
    for _ in 0..count {
        let mut record = [0; 24];
        record[4..8].copy_from_slice(&40_000u32.to_le_bytes());
        record[8..16].copy_from_slice(&first.to_le_bytes());
        record[16] = 1;
        bytes.extend_from_slice(&record);
    }
    bytes
}

#[test]
fn what_a_search_gave_up_on_is_kept_and_reported_and_not_zeroed() {
    let large = config::Journal { segment_size: 128 * 1024, ..config() };
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &large);
    life.commit_all(1..=3);
    let hostile = hostile(400, 5);
    life.commit(&hostile);
    life.commit_all(5..=20);
    let fs = fs.kill();
    let path = path_of(&data_dir().join("journal"), Seq(1));
    fs.damage(&path, |bytes| {
        let at = bytes.windows(hostile.len()).position(|window| window == hostile).unwrap();
        bytes[at] ^= 1;
    });
    assert!(Life::try_begin(&fs, &config::Journal { on_corruption: Corruption::Halt, ..large.clone() }).is_err());
    let mut life = Life::begin(&fs, &large);
    assert_eq!(read_all(&life), [messages(1..4), vec![Got::Lost(4, 21)]].concat());
    assert_eq!((quarantined(&fs).len(), life.metrics.messages_lost.get()), (1, 17));
    life.commit(&payload(21));
    assert_eq!(read_all(&life).last(), Some(&Got::Message(21, payload(21))));
}
