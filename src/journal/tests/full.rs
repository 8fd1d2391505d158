//! No room: max_size reached, or the disk full.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

fn small(when_full: WhenFull) -> config::Journal {
    config::Journal { max_size: 16 * 1024, when_full, ..config() }
}

/// Pushes until nothing more is taken; returns how many were.
fn fill(life: &mut Life, from: u64) -> u64 {
    let mut number = from;
    loop {
        life.push(&payload(number));
        if matches!(life.settle(), Step::Blocked(_)) {
            return number - 1;
        }
        number += 1;
        assert!(number < 10_000, "never full");
    }
}

#[test]
fn a_full_journal_pauses_and_goes_on_when_a_database_has_caught_up() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::Pause));
    let taken = fill(&mut life, 1);
    assert_eq!(life.intake.durable(), taken);
    assert!(life.handle.status().paused && life.intake.is_backlogged());
    assert!(life.handle.status().bytes <= 16 * 1024);
    life.handle.set_delivered(0, Seq(taken + 1));
    life.let_time_pass();
    life.settle();
    assert_eq!(life.intake.durable(), taken + 1);
    assert!(!life.handle.status().paused);
    assert_eq!(life.metrics.messages_lost.get(), 0);
    let mut reader = life.handle.reader();
    reader.seek(Seq(taken)).unwrap();
    assert_eq!(read_on(&mut reader), messages(taken..taken + 2));
}

#[test]
fn a_full_journal_that_still_has_no_room_wakes_nobody() {
    for durability in [Durability::Commit, Durability::Delivered] {
        let mut life = Life::begin(&SimFs::new(1), &config::Journal { durability, ..small(WhenFull::Pause) });
        fill(&mut life, 1);
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(life.intake.changed()).poll(&mut context).is_ready(), "it is told that the journal is full");
        for _ in 0..3 {
            life.let_time_pass();
            assert!(matches!(life.settle(), Step::Blocked(_)));
            assert!(pin!(life.intake.changed()).poll(&mut context).is_pending(), "{durability:?}: nothing has changed");
        }
    }
}

#[test]
fn the_fill_level_is_told_once_and_taken_back() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::Pause));
    assert_eq!(life.writer.level.told, 0);
    let taken = fill(&mut life, 1);
    life.let_time_pass();
    life.settle();
    assert_eq!(life.writer.level.told, 95);
    life.handle.set_delivered(0, Seq(taken + 1));
    for _ in 0..2 {
        life.let_time_pass();
        life.settle();
    }
    assert_eq!(life.writer.level.told, 0);
}

#[test]
fn keep_gives_way_when_room_is_needed() {
    let fs = SimFs::new(1);
    let keeping = config::Journal { keep: Duration::from_secs(3600), ..small(WhenFull::Pause) };
    let mut life = Life::begin(&fs, &keeping);
    for number in 1..=1000 {
        life.commit(&payload(number));
        life.handle.set_delivered(0, Seq(number));
    }
    assert!(life.handle.status().bytes <= 16 * 1024);
    assert!(life.segments().len() >= 3, "as much is kept as there is room for");
}

#[test]
fn drop_oldest_removes_whole_segments_and_reports_them() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::DropOldest));
    let mut slow = life.handle.reader();
    slow.seek(Seq(1)).unwrap();
    life.commit_all(1..=1000);
    let oldest = life.handle.status().oldest_seq.0;
    assert!(oldest > 500);
    assert_eq!(life.metrics.messages_lost.get(), oldest - 1);
    let expected = [vec![Got::Lost(1, oldest)], messages(oldest..1001)].concat();
    assert_eq!(read_on(&mut slow), expected);
    assert_eq!(life.metrics.messages_lost.get(), oldest - 1, "counted once");
}

#[test]
fn drop_newest_goes_on_acknowledging_and_leaves_a_gap() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::DropNewest));
    // All of one size, so that none slips into what a larger one left.
    let payload = |number: u64| format!("{number:012}").into_bytes();
    let messages = |range: std::ops::Range<u64>| range.map(|seq| Got::Message(seq, payload(seq))).collect::<Vec<_>>();
    for number in 1..=1000 {
        life.push(&payload(number));
        life.settle();
    }
    life.intake.push_release(7);
    life.intake.submit();
    life.settle();
    assert_eq!(life.intake.durable(), 1001);
    assert!(!life.handle.status().paused);
    let kept = life.handle.status().next_seq.0 - 1;
    assert!(kept < 1000);
    assert_eq!(read_all(&life), messages(1..kept + 1));
    assert_eq!(life.metrics.messages_lost.get(), 1000 - kept);

    life.handle.set_delivered(0, Seq(kept + 1));
    life.let_time_pass();
    life.settle();
    assert_eq!(life.handle.status().next_seq, Seq(1001), "the gap is told of as soon as there is room");
    life.commit(&payload(1001));
    let read = read_all(&Life::begin(&fs.crash(1), &small(WhenFull::DropNewest)));
    assert_eq!(read[read.len() - 2..], [Got::Lost(kept + 1, 1001), Got::Message(1001, payload(1001))]);
}

#[test]
fn a_full_disk_is_back_pressure_and_not_a_failure() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    fs.set_capacity(3 * 4096);
    let taken = fill(&mut life, 1);
    assert_eq!((life.intake.durable(), life.intake.generation()), (taken, 0));
    assert!(life.handle.status().paused);
    assert_eq!(life.segments().len(), 2);
    assert!(fs.files().iter().all(|(path, _)| path.extension() != Some("new".as_ref())), "{:?}", fs.files());
    fs.set_capacity(u64::MAX);
    life.let_time_pass();
    life.settle();
    assert_eq!(life.intake.durable(), taken + 1);
    assert_eq!(read_all(&life), messages(1..taken + 2));
}

#[test]
fn a_full_disk_makes_delivered_segments_go_early() {
    let fs = SimFs::new(1);
    let keeping = config::Journal { keep: Duration::from_secs(3600), ..config() };
    let mut life = Life::begin(&fs, &keeping);
    fs.set_capacity(4 * 4096);
    for number in 1..=500 {
        life.commit(&payload(number));
        life.handle.set_delivered(0, Seq(number));
    }
    assert_eq!(life.intake.durable(), 500);
}

#[test]
fn a_stop_while_full_does_not_wait_for_room() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::Pause));
    fill(&mut life, 1);
    life.handle.stop();
    assert_eq!(life.settle(), Step::Stopped);
}

#[test]
fn a_message_larger_than_the_journal_is_taken_once_nothing_else_is_left() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &small(WhenFull::Pause));
    life.commit(&payload(1));
    let large = vec![1; 20 * 1024];
    life.commit(&large);
    assert_eq!(read_all(&life)[1], Got::Message(2, large));
}
