//! After a failed write or fsync: what was acknowledged keeps its number, whatever the disk says.

use super::super::segment::path_of;
use super::damage::{erase_headers, flip, quarantined};
use super::*;

fn first_segment() -> PathBuf {
    path_of(&data_dir().join("journal"), Seq(1))
}

/// Five durable messages, and a sixth whose fsync failed.
fn poisoned(config: &config::Journal) -> Life {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, config);
    life.commit_all(1..=5);
    fs.fail_call(1, SimFault::Io);
    life.push(b"never durable");
    assert!(matches!(life.settle(), Step::Blocked(_)));
    life
}

fn reopen(life: &mut Life) {
    life.let_time_pass();
    life.settle();
    assert_eq!(life.intake.generation(), 1);
    life.intake.qos2();
}

#[test]
fn a_failed_fsync_is_never_believed_afterwards() {
    for fault_at in [0, 1] {
        let fs = SimFs::new(1);
        let mut life = Life::begin(&fs, &config());
        life.commit(&payload(1));
        let mut reader = life.handle.reader();
        fs.fail_call(fault_at, SimFault::Short);
        let lost = life.push(b"lost with the write");
        assert!(matches!(life.settle(), Step::Blocked(_)));
        assert_eq!((life.intake.generation(), life.intake.durable()), (0, 1));
        // Submitted meanwhile, by a session that does not know yet.
        life.push(b"lost with the session");
        life.let_time_pass();
        life.settle();
        assert_eq!((life.intake.generation(), life.intake.durable()), (1, 1));
        life.push(b"still of the old session");
        life.settle();
        assert_eq!(life.intake.durable(), 1, "nothing is taken before the session has the new table");
        assert!(!life.intake.is_backlogged());

        life.intake.qos2();
        let ordinal = life.commit(&payload(2));
        assert!(ordinal > lost);
        assert_eq!(read_on(&mut reader), messages(1..3));
        assert_eq!(read_all(&Life::begin(&fs.crash(7), &config())), messages(1..3));
    }
}

#[test]
fn reopening_is_tried_until_the_disk_takes_it() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    (0..12).for_each(|call| fs.fail_call(call, SimFault::Io));
    life.push(&payload(1));
    for _ in 0..20 {
        life.settle();
        life.let_time_pass();
    }
    assert_eq!((fs.faults_left(), life.intake.generation()), (0, 1));
    life.intake.qos2();
    life.commit(&payload(1));
    assert_eq!(read_all(&life), messages(1..2));
}

#[test]
fn a_durable_record_found_damaged_at_the_end_is_reported_and_its_number_not_given_out_again() {
    let mut life = poisoned(&config());
    let mut ahead = life.handle.reader();
    assert_eq!(read_on(&mut ahead), messages(1..6));
    let mut behind = life.handle.reader();
    assert_eq!(behind.next().unwrap().map(got), Some(Got::Message(1, payload(1))));
    flip(&life.fs, &first_segment(), 5);
    flip(&life.fs, &first_segment(), 4);
    reopen(&mut life);

    assert_eq!(life.handle.status().next_seq, Seq(6));
    assert_eq!(life.metrics.messages_lost.get(), 2);
    assert_eq!(quarantined(&life.fs).len(), 1);
    life.commit(&payload(6));
    assert_eq!(read_on(&mut ahead), messages(6..7), "no new message is skipped");
    let expected = [messages(1..4), vec![Got::Lost(4, 6)], messages(6..7)].concat();
    assert_eq!(read_all(&life), expected);
    // This one may still have had the bytes in memory.
    assert_eq!(read_on(&mut behind).last(), Some(&Got::Message(6, payload(6))));
    let again = Life::begin(&life.fs.crash(3), &config());
    assert_eq!(read_all(&again), expected);
    assert_eq!(again.metrics.messages_lost.get(), 0, "it was counted");
}

#[test]
fn a_full_disk_costs_the_copy_of_the_damage_and_not_the_numbers() {
    let mut life = poisoned(&config());
    flip(&life.fs, &first_segment(), 5);
    life.fs.set_capacity(0);
    reopen(&mut life);
    assert_eq!((life.handle.status().next_seq, life.metrics.messages_lost.get()), (Seq(6), 1));
    let again = Life::begin(&life.fs.crash(3), &config());
    assert_eq!(again.handle.status().next_seq, Seq(6));
}

#[test]
fn halt_does_not_reopen_over_damage_to_what_was_acknowledged() {
    let mut life = poisoned(&config::Journal { on_corruption: Corruption::Halt, ..config() });
    flip(&life.fs, &first_segment(), 5);
    life.let_time_pass();
    assert!(matches!(life.settle(), Step::Blocked(_)));
    assert_eq!(life.intake.generation(), 0);
    assert!(life.handle.status().paused);
}

#[test]
fn a_segment_found_unreadable_is_lost_up_to_the_number_that_was_acknowledged() {
    let mut life = poisoned(&config());
    let mut ahead = life.handle.reader();
    assert_eq!(read_on(&mut ahead), messages(1..6));
    life.fs.damage(&first_segment(), |bytes| erase_headers(bytes));
    reopen(&mut life);
    assert_eq!(life.handle.status().next_seq, Seq(6));
    assert_eq!(life.metrics.messages_lost.get(), 5);
    life.commit(&payload(6));
    assert_eq!(read_on(&mut ahead), messages(6..7));
    let mut reader = life.handle.reader();
    reader.seek(Seq(3)).unwrap();
    assert_eq!(read_on(&mut reader), [Got::Lost(3, 6), Got::Message(6, payload(6))]);
    assert_eq!(life.metrics.messages_lost.get(), 5, "counted once");
}
