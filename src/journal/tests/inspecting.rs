//! `inspect`: reads without touching, running or stopped.

use super::super::inspect::{self, Finding};
use super::damage::{end_of_records, erase_headers};
use super::*;

fn verify(fs: &SimFs) -> inspect::VerifyReport {
    inspect::verify(fs, data_dir(), &mut |_| {}).unwrap()
}

fn findings(fs: &SimFs) -> Vec<Finding> {
    verify(fs).findings().map(|(_, finding)| finding.clone()).collect()
}

fn dumped(fs: &SimFs, from: u64) -> Vec<Got> {
    let mut dump = inspect::dump(fs, data_dir(), Seq(from)).unwrap();
    std::iter::from_fn(|| dump.next().unwrap().map(got)).collect()
}

#[test]
fn a_sound_journal_is_sound_while_it_is_written_and_nothing_is_touched() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=200);
    life.intake.push_release(3);
    life.intake.submit();
    life.settle();
    let (files, calls) = (fs.files(), fs.calls());
    let mut told = Vec::new();
    let report = inspect::verify(&fs, data_dir(), &mut |progress| told.push(progress.bytes_done)).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.oldest_seq, report.next_seq), (Seq(1), Seq(201)));
    assert_eq!(report.segments.iter().map(|segment| segment.records.messages).sum::<u64>(), 200);
    assert_eq!(report.segments.last().unwrap().records.releases, 1);
    assert_eq!(report.ids, life.handle.ids());
    assert_eq!(told.last(), Some(&life.handle.status().bytes));

    let summary = inspect::status(&fs, data_dir()).unwrap();
    assert_eq!((summary.oldest_seq, summary.next_seq), (Seq(1), Seq(201)));
    assert_eq!((summary.bytes, summary.ids), (life.handle.status().bytes, life.handle.ids()));
    assert_eq!(dumped(&fs, 1), messages(1..201));
    assert_eq!(dumped(&fs, 150), messages(150..201));
    assert_eq!((fs.files(), fs.calls()), (files, calls), "nothing was written, created or removed");
}

#[test]
fn damage_is_told_with_its_place_and_apart_from_a_torn_tail() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=200);
    let segments = life.segments();
    fs.damage(&segments[0], |bytes| bytes[500] ^= 1);
    fs.damage(segments.last().unwrap(), |bytes| {
        let end = end_of_records(bytes);
        bytes[end - 4] ^= 1;
    });
    let found = findings(&fs);
    let [Finding::Damage { offset, len, from, to }, Finding::TornTail { .. }] = found[..] else { panic!("{found:?}") };
    assert!(offset <= 500 && 500 < offset + len);
    assert_eq!(to.0 - from.0, 1);
    assert!(!verify(&fs).is_sound());
    let expected = [messages(1..from.0), vec![Got::Lost(from.0, to.0)], messages(to.0..200)].concat();
    assert_eq!(dumped(&fs, 1), expected);
}

#[test]
fn a_missing_segment_and_an_unreadable_one_are_told() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=300);
    let segments = life.segments();
    let base = |at: usize| segment::base_of(&segments[at]).unwrap();
    Fs::remove(&fs, &segments[1]).unwrap();
    fs.damage(&segments[3], |bytes| erase_headers(bytes));
    assert_eq!(
        findings(&fs),
        [Finding::Missing { from: base(1), to: base(2) }, Finding::UnreadableHeader { from: base(3), to: base(4) }]
    );
}

#[test]
fn an_unreadable_newest_segment_is_told_with_the_losses_that_the_next_start_reports() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=200);
    let newest = life.segments().pop().unwrap();
    let from = segment::base_of(&newest).unwrap();
    let fs = fs.kill();
    fs.damage(&newest, |bytes| erase_headers(bytes));
    let report = verify(&fs);
    assert_eq!(findings(&fs), [Finding::UnreadableHeader { from, to: Seq(201) }]);
    assert!(!report.is_sound() && report.next_seq == Seq(201), "{report:?}");
    let lost: u64 = report.findings().map(|(_, finding)| finding.messages_lost()).sum();
    let life = Life::begin(&fs, &config());
    assert_eq!((life.metrics.messages_lost.get(), life.handle.status().next_seq), (lost, report.next_seq));
}

#[test]
fn a_folder_without_a_journal_is_said_to_be_one() {
    let error = inspect::status(&RealFs, Path::new("nowhere/at/all")).unwrap_err();
    assert!(matches!(error, inspect::InspectError::NoJournal(_)), "{error}");
}
