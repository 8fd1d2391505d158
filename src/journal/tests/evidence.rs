//! What the end of the journal tells of messages that are gone without leaving a damaged byte.

use super::super::inspect::{self, Finding};
use super::super::segment::path_of;
use super::damage::{end_of_records, flip, segments};
use super::*;

fn halting() -> config::Journal {
    config::Journal { on_corruption: Corruption::Halt, ..config() }
}

fn journal() -> PathBuf {
    data_dir().join("journal")
}

/// A journal of `count` messages, after a SIGKILL or an orderly stop.
fn written(count: u64, is_stopped: bool) -> SimFs {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=count);
    if is_stopped {
        life.handle.stop();
        assert_eq!(life.settle(), Step::Stopped);
    }
    fs.kill()
}

fn findings(fs: &SimFs) -> Vec<Finding> {
    let report = inspect::verify(fs, data_dir(), &mut |_| {}).unwrap();
    report.findings().map(|(_, finding)| finding.clone()).collect()
}

fn is_sound(fs: &SimFs) -> bool {
    inspect::verify(fs, data_dir(), &mut |_| {}).unwrap().is_sound()
}

/// Opens what has lost its end behind `known` messages: at least one loss, the same number in `verify`, a new id, and the
/// journal goes on.
fn check_end_lost(fs: &SimFs, known: u64) {
    let told: u64 = findings(fs).iter().map(Finding::messages_lost).sum();
    assert!(told > 0 && !is_sound(fs), "{:?}", findings(fs));
    let refused = Life::try_begin(fs, &halting()).err();
    assert!(matches!(refused, Some(OpenError::Damaged { .. })), "{refused:?}");
    let id = |life: &Life| life.handle.status().id;
    let old = inspect::status(fs, data_dir()).unwrap().ids[0].0;
    let mut life = Life::begin(fs, &config());
    let next = life.handle.status().next_seq.0;
    assert_eq!((life.metrics.messages_lost.get(), id(&life) == old), (told, false));
    life.commit(&payload(next));
    let expected = [messages(1..known + 1), vec![Got::Lost(known + 1, next)], messages(next..next + 1)].concat();
    assert_eq!(read_all(&life), expected);
    let again = Life::begin(&fs.kill(), &config());
    assert_eq!((read_all(&again), id(&again)), (expected, id(&life)), "once is enough");
}

#[test]
fn a_newest_segment_cut_shorter_is_a_loss_wherever_it_was_cut() {
    for is_stopped in [false, true] {
        for keep in [400, 1000, 2000, 4000, 4095] {
            let fs = written(20, is_stopped);
            fs.damage(&segments(&fs)[0], |bytes| bytes.truncate(keep));
            let next = inspect::status(&fs, data_dir()).unwrap().next_seq.0;
            check_end_lost(&fs, next - 1);
        }
    }
}

#[test]
fn a_newest_segment_that_was_removed_is_a_loss() {
    for is_stopped in [false, true] {
        let fs = written(200, is_stopped);
        let newest = segments(&fs).pop().unwrap();
        let known = segment::base_of(&newest).unwrap().0 - 1;
        Fs::remove(&fs, &newest).unwrap();
        check_end_lost(&fs, known);
    }
}

#[test]
fn a_newest_segment_removed_after_a_kill_between_its_making_and_the_seal_is_a_loss() {
    let full = segment::base_of(&segments(&written(200, false))[1]).unwrap().0 - 1;
    let mut unsealed = 0;
    for call in 0..12 {
        let fs = written(full, false);
        let mut life = Life::begin(&fs, &config());
        fs.fail_call(call, SimFault::Io);
        life.push(&payload(full + 1));
        life.settle();
        if life.writer.broken.is_none() || life.segments().len() == 1 {
            continue;
        }
        unsealed += 1;
        let fs = fs.kill();
        drop(Life::begin(&fs, &config()));
        Fs::remove(&fs, &segments(&fs)[1]).unwrap();
        check_end_lost(&fs.kill(), full);
    }
    assert!(unsealed > 1, "{unsealed}");
}

// A start saw the new segment in memory, and said in the old one that it has a successor; the power cut took the name.
#[test]
fn a_successor_that_a_power_cut_took_back_is_not_missed() {
    let full = segment::base_of(&segments(&written(200, false))[1]).unwrap().0 - 1;
    let mut taken_back = 0;
    for (making, opening, seed) in (0..12).flat_map(|a| (0..12).flat_map(move |b| (0..6).map(move |c| (a, b, c)))) {
        let fs = written(full, false);
        let mut life = Life::begin(&fs, &config());
        fs.fail_call(making, SimFault::Io);
        life.push(&payload(full + 1));
        life.settle();
        let fs = fs.kill();
        fs.fail_call(opening, SimFault::Io);
        drop(Life::try_begin(&fs, &config()));
        let fs = fs.crash(seed);
        taken_back += u32::from(segments(&fs).len() == 1);
        let life = Life::begin(&fs, &config());
        let place = format!("call {making}, then {opening}, seed {seed}");
        assert_eq!((life.metrics.messages_lost.get(), life.handle.ids().len()), (0, 1), "{place}");
    }
    assert!(taken_back > 1, "{taken_back}");
}

// The id file must not outlive the first segment, whose name a power cut took back: that would look like a loss.
#[test]
fn a_first_start_that_failed_twice_and_lost_power_is_no_loss() {
    for (first, second, seed) in (0..14).flat_map(|a| (0..14).flat_map(move |b| (0..8).map(move |c| (a, b, c)))) {
        let fs = SimFs::new(1);
        fs.fail_call(first, SimFault::Io);
        drop(Life::try_begin(&fs, &config()));
        let fs = fs.kill();
        fs.fail_call(second, SimFault::Io);
        drop(Life::try_begin(&fs, &config()));
        let life = Life::begin(&fs.crash(seed), &config());
        let place = format!("call {first}, then {second}, seed {seed}");
        assert_eq!((life.metrics.messages_lost.get(), life.handle.ids().len()), (0, 1), "{place}");
    }
}

#[test]
fn after_an_orderly_stop_erased_messages_are_missed_to_the_last() {
    let fs = written(20, true);
    let path = path_of(&journal(), Seq(1));
    fs.damage(&path, |bytes| {
        let end = end_of_records(bytes);
        bytes[end - 100..=end].fill(0);
    });
    let told: u64 = findings(&fs).iter().map(Finding::messages_lost).sum();
    assert!(Life::try_begin(&fs, &halting()).is_err());
    let life = Life::begin(&fs, &config());
    assert_eq!((life.handle.status().next_seq, life.metrics.messages_lost.get()), (Seq(21), told));
    assert_eq!(read_all(&life).last(), Some(&Got::Lost(21 - told, 21)));
    assert_eq!(life.metrics.journal_torn_tails.get(), 0);
}

#[test]
fn a_torn_tail_is_counted_and_told_with_the_number_that_it_would_have_had() {
    let fs = written(20, false);
    flip(&fs, &path_of(&journal(), Seq(1)), 20);
    let [Finding::TornTail { from: Seq(20), .. }] = findings(&fs)[..] else { panic!("{:?}", findings(&fs)) };
    let life = Life::begin(&fs, &config());
    assert_eq!((life.metrics.journal_torn_tails.get(), life.metrics.messages_lost.get()), (1, 0));
    let again = Life::begin(&fs.kill(), &config());
    assert_eq!(again.metrics.journal_torn_tails.get(), 0);
}

#[test]
fn a_lost_last_sector_is_a_loss_if_messages_may_have_been_in_it() {
    for (count, is_lost) in [(5, false), (54, true)] {
        let fs = written(count, false);
        let path = path_of(&journal(), Seq(1));
        let mut is_near = false;
        fs.damage(&path, |bytes| {
            is_near = end_of_records(bytes) > bytes.len() - 512;
            let at = bytes.len() - 512;
            bytes[at..].fill(0);
        });
        assert_eq!(is_near, is_lost, "the test is about records that reach into the last sector, or do not");
        let next = inspect::status(&fs, data_dir()).unwrap().next_seq.0;
        if is_lost {
            check_end_lost(&fs, next - 1);
        }
    }
}

#[test]
fn a_flipped_bit_in_either_header_is_mended_without_a_word_of_loss() {
    for at in [20, 4096 - 20] {
        let fs = written(20, false);
        let path = path_of(&journal(), Seq(1));
        let whole = fs.content(&path).unwrap();
        fs.damage(&path, |bytes| bytes[at] ^= 1);
        let life = Life::begin(&fs, &halting());
        assert_eq!((read_all(&life), life.metrics.messages_lost.get()), (messages(1..21), 0));
        assert_eq!(fs.content(&path).unwrap(), whole);
    }
}

#[test]
fn a_process_killed_after_a_failed_fsync_leaves_nothing_that_the_next_one_believes() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=5);
    fs.fail_call(1, SimFault::Io);
    life.push(b"shown and not on the disk");
    assert!(matches!(life.settle(), Step::Blocked(_)));
    // The kernel still shows the record, whole; the next power cut would take it.
    let fs = fs.kill();
    assert!(fs.shows_unsynced());
    let mut life = Life::begin(&fs, &config());
    assert_eq!(read_all(&life), messages(1..6));
    life.commit(&payload(6));
    assert_eq!(read_all(&Life::begin(&fs.crash(1), &config())), messages(1..7));
}
