//! Records whose checksum holds and whose number cannot be.

use super::super::inspect;
use super::super::record::{self, GapReason, Kind, RECORD_HEADER_LEN, RecordHeader};
use super::super::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use super::damage::segments;
use super::*;

/// A journal of 200 messages in several segments.
fn written() -> SimFs {
    let fs = SimFs::new(1);
    Life::begin(&fs, &config()).commit_all(1..=200);
    fs.kill()
}

fn base(path: &Path) -> u64 {
    segment::base_of(path).unwrap().0
}

/// Gives the last record of a segment to `change`, and puts its checksum right.
fn forge_last(fs: &SimFs, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> Seq) {
    fs.damage(path, |bytes| {
        let header = SegmentHeader::decode(bytes.first_chunk().unwrap()).unwrap().unwrap();
        let (mut at, mut last) = (SEGMENT_HEADER_LEN, SEGMENT_HEADER_LEN);
        while let Some(record) = bytes.get(at..).and_then(|rest| rest.first_chunk()).and_then(RecordHeader::parse) {
            (last, at) = (at, at + record.record_len() as usize);
        }
        let mut forged = bytes[last..at].to_vec();
        assert_eq!(RecordHeader::parse(forged.first_chunk().unwrap()).unwrap().kind, Kind::Message);
        let seq = change(&mut forged);
        record::seal(&mut forged, seq, 0, record::seed(header.salt));
        bytes[last..at].copy_from_slice(&forged);
    });
}

/// In place of the record that is there.
fn gap_to(record: &mut Vec<u8>, end: u64) {
    let len = record.len();
    assert!(len > RECORD_HEADER_LEN);
    record.clear();
    record::stage_gap(record, Seq(end), GapReason::Full, len);
}

fn dumped(fs: &SimFs) -> Vec<Got> {
    let mut dump = inspect::dump(fs, data_dir(), Seq(1)).unwrap();
    std::iter::from_fn(|| dump.next().unwrap().map(got)).collect()
}

/// Only the last message of the sealed segment that ends before `next` is lost, and all who read say so.
fn assert_only_the_last_is_lost(fs: &SimFs, next: u64) {
    let expected = [messages(1..next - 1), vec![Got::Lost(next - 1, next)], messages(next..201)].concat();
    assert_eq!(dumped(fs), expected);
    let report = inspect::verify(fs, data_dir(), &mut |_| {}).unwrap();
    assert_eq!((report.next_seq, report.findings().count()), (Seq(201), 1));
    assert_eq!(report.findings().map(|(_, finding)| finding.messages_lost()).sum::<u64>(), 1);
    let life = Life::begin(fs, &config());
    assert_eq!(read_all(&life), expected);
    assert_eq!(life.metrics.messages_lost.get(), 1);
}

#[test]
fn a_number_from_the_next_segment_on_hides_nothing_of_that() {
    for beyond in [0, 1, 20, 150, 10_000, 1 << 39] {
        let fs = written();
        let sealed = segments(&fs);
        let next = base(&sealed[1]);
        forge_last(&fs, &sealed[0], |_| Seq(next + beyond));
        assert_only_the_last_is_lost(&fs, next);
    }
}

#[test]
fn a_gap_into_the_next_segment_hides_nothing_of_that() {
    for beyond in [1, 20, 10_000, u64::MAX - 500] {
        let fs = written();
        let sealed = segments(&fs);
        let next = base(&sealed[1]);
        forge_last(&fs, &sealed[0], |record| {
            gap_to(record, next + beyond);
            Seq(next - 1)
        });
        assert_only_the_last_is_lost(&fs, next);
    }
}

#[test]
fn a_file_named_after_a_number_that_no_journal_reaches_is_no_segment() {
    for name in ["18446744073709551615.seg", "09223372036854775808.seg"] {
        let fs = written();
        fs.put(&data_dir().join("journal").join(name), b"a stray file");
        let mut life = Life::begin(&fs, &config());
        assert_eq!(read_all(&life), messages(1..201));
        life.commit(&payload(201));
        assert_eq!(read_all(&life), messages(1..202));
    }
}

#[test]
fn a_gap_to_the_end_of_all_numbers_ends_no_journal() {
    for end in [u64::MAX, u64::MAX - 1, 1 << 41] {
        let fs = written();
        let newest = segments(&fs).pop().unwrap();
        forge_last(&fs, &newest, |record| {
            gap_to(record, end);
            Seq(200)
        });
        let mut life = Life::begin(&fs, &config());
        assert_eq!(read_all(&life), messages(1..200));
        life.commit(&payload(200));
        assert_eq!(read_all(&life), messages(1..201));
    }
}
