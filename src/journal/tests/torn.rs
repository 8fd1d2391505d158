//! Where the last write may have been torn, and where damage in it is damage.

use super::super::inspect::{self, Finding};
use super::super::segment::path_of;
use super::damage::{flip, halting, quarantined};
use super::*;

fn newest() -> PathBuf {
    path_of(&data_dir().join("journal"), Seq(1))
}

fn lock() -> PathBuf {
    data_dir().join("journal/LOCK")
}

/// Submits these messages as one commit group.
fn commit_group(life: &mut Life, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        life.intake.push_message(&message(&payload(number)), None);
    }
    life.intake.submit();
    life.settle();
}

/// A journal whose last commit group has the messages 2 to 6, after a kill.
fn ending_in_a_group_of_five() -> SimFs {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit(&payload(1));
    commit_group(&mut life, 2..=6);
    fs.kill()
}

fn findings(fs: &SimFs) -> Vec<Finding> {
    let report = inspect::verify(fs, data_dir(), &mut |_| {}).unwrap();
    report.findings().map(|(_, finding)| finding.clone()).collect()
}

#[test]
fn whole_records_behind_a_tear_never_come_back_behind_a_new_record_of_the_same_length() {
    let fs = ending_in_a_group_of_five().crash(1);
    flip(&fs, &newest(), 4);
    let mut life = Life::begin(&fs, &config());
    assert_eq!(life.handle.status().next_seq, Seq(4));
    life.commit(&payload(4));
    let life = Life::begin(&fs.kill(), &config());
    assert_eq!(read_all(&life), messages(1..5));
}

#[test]
fn after_a_reboot_a_hole_in_the_last_group_may_be_a_torn_write_and_ends_the_journal_there() {
    let fs = ending_in_a_group_of_five().crash(1);
    flip(&fs, &newest(), 4);
    assert!(matches!(findings(&fs)[..], [Finding::TornTail { from: Seq(4), .. }]));
    let report = inspect::verify(&fs, data_dir(), &mut |_| {}).unwrap();
    assert_eq!((report.next_seq, report.segments[0].records.messages), (Seq(4), 3));
    let life = Life::begin(&fs, &halting());
    // What survived behind the tear would come before what the broker sends again, out of order.
    assert_eq!(read_all(&life), messages(1..4));
    assert_eq!((life.metrics.journal_torn_tails.get(), life.metrics.messages_lost.get()), (1, 0));
    assert_eq!(quarantined(&life.fs).len(), 1, "a copy of what was whole is kept");
}

#[test]
fn while_the_system_stays_up_a_hole_in_the_last_group_is_damage_and_what_is_behind_stays() {
    let fs = ending_in_a_group_of_five();
    flip(&fs, &newest(), 4);
    assert!(matches!(findings(&fs)[..], [Finding::Damage { from: Seq(4), to: Seq(5), .. }]));
    assert!(matches!(Life::try_begin(&fs, &halting()), Err(OpenError::Damaged { .. })));
    let expected = [messages(1..4), vec![Got::Lost(4, 5)], messages(5..7)].concat();
    assert_eq!(read_all(&Life::begin(&fs, &config())), expected);
}

#[test]
fn a_boot_that_nobody_noted_may_have_torn_the_last_write() {
    for noted in [&b""[..], b"boot 1\ncommit", b"boot", &[0xFF; 128]] {
        let fs = ending_in_a_group_of_five();
        flip(&fs, &newest(), 4);
        fs.damage(&lock(), |bytes| *bytes = noted.to_vec());
        assert_eq!(read_all(&Life::begin(&fs, &config())), messages(1..4));
        let noted = fs.content(&lock()).expect("the journal was open");
        assert!(noted.starts_with(b"boot 0\ncommit "), "this boot is noted from then on");
    }
}

#[test]
fn a_lock_file_that_holds_something_else_is_left_alone() {
    let fs = ending_in_a_group_of_five();
    fs.damage(&lock(), |bytes| *bytes = vec![7; 100_000]);
    assert_eq!(read_all(&Life::begin(&fs, &config())), messages(1..7));
    assert_eq!(fs.content(&lock()), Some(vec![7; 100_000]));
}

#[test]
fn what_was_acknowledged_before_it_was_durable_stays_behind_a_tear() {
    let early = config::Journal { durability: Durability::Interval(Duration::from_secs(3600)), ..config() };
    let fs = SimFs::new(1);
    commit_group(&mut Life::begin(&fs, &early), 1..=20);
    let fs = fs.kill();
    flip(&fs, &newest(), 2);
    let fs = fs.crash(1);
    assert!(matches!(findings(&fs)[..], [Finding::Damage { from: Seq(2), to: Seq(3), .. }]));
    let life = Life::begin(&fs, &config());
    let expected = [messages(1..2), vec![Got::Lost(2, 3)], messages(3..21)].concat();
    assert_eq!(read_all(&life), expected);
    assert_eq!((life.metrics.journal_torn_tails.get(), life.metrics.messages_lost.get()), (0, 1));
}

#[test]
fn a_tear_does_not_hide_that_damage_before_it_is_proven() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    commit_group(&mut life, 1..=5);
    commit_group(&mut life, 6..=9);
    let fs = fs.kill().crash(1);
    flip(&fs, &newest(), 3);
    flip(&fs, &newest(), 6);
    let before = fs.files();
    assert!(matches!(Life::try_begin(&fs.kill(), &halting()), Err(OpenError::Damaged { .. })));
    assert_eq!(fs.files(), before, "it touches nothing");
    let expected = [messages(1..3), vec![Got::Lost(3, 4)], messages(4..6)].concat();
    assert_eq!(read_all(&Life::begin(&fs, &config())), expected);
}

#[test]
fn what_cannot_be_read_is_no_tear_for_a_start_and_for_verify() {
    let config = config::Journal { segment_size: 32 * 1024, ..config() };
    let fs = SimFs::new(1);
    commit_group(&mut Life::begin(&fs, &config), 1..=200);
    let fs = fs.kill().crash(1);
    fs.spoil(&newest(), 5000);
    let [Finding::Damage { from, to, .. }] = findings(&fs)[..] else { panic!("{:?}", findings(&fs)) };
    let expected = [messages(1..from.0), vec![Got::Lost(from.0, to.0)], messages(to.0..201)].concat();
    assert_eq!(read_all(&Life::begin(&fs, &config)), expected);
}

#[test]
fn a_sync_that_fails_in_a_start_may_have_torn_what_the_last_process_wrote() {
    let mut torn = 0;
    for seed in 0..40 {
        let fs = SimFs::new(seed);
        commit_group(&mut Life::begin(&fs, &config()), 1..=5);
        let noted = fs.content(&lock()).expect("the journal was open");
        // A process that dies between the write and the fsync.
        let fs = fs.kill();
        let late = config::Journal { durability: Durability::Interval(Duration::from_secs(3600)), ..config() };
        commit_group(&mut Life::begin(&fs, &late), 6..=30);
        fs.damage(&lock(), |bytes| *bytes = noted);
        let fs = fs.kill();
        // The folder is looked for, its names are synced, and then the newest segment.
        fs.fail_call(2, SimFault::Io);
        assert!(Life::try_begin(&fs, &config()).is_err());
        let life = Life::begin(&fs.kill(), &halting());
        assert_eq!(life.metrics.messages_lost.get(), 0, "seed {seed}");
        torn += life.metrics.journal_torn_tails.get();
    }
    assert!(torn > 0, "no write was torn");
}

#[test]
fn a_sync_that_fails_may_have_torn_its_write_though_the_system_stays_up() {
    let mut torn = 0;
    for seed in 0..40 {
        let fs = SimFs::new(seed);
        let mut life = Life::begin(&fs, &config());
        commit_group(&mut life, 1..=5);
        // After the write.
        fs.fail_call(1, SimFault::Io);
        commit_group(&mut life, 6..=30);
        assert!(life.writer.broken.is_some());
        let life = Life::begin(&fs.kill(), &halting());
        assert_eq!(life.metrics.messages_lost.get(), 0, "seed {seed}");
        torn += life.metrics.journal_torn_tails.get();
    }
    assert!(torn > 0, "no write was torn");
}

#[test]
fn a_failure_does_not_make_known_damage_a_tear() {
    for config in [config(), halting()] {
        let fs = SimFs::new(1);
        let mut life = Life::begin(&fs, &config);
        commit_group(&mut life, 1..=5);
        flip(&fs, &newest(), 3);
        fs.fail_call(1, SimFault::Io);
        commit_group(&mut life, 6..=9);
        let fs = fs.kill();
        let found = findings(&fs);
        assert!(
            found.iter().any(|finding| matches!(finding, Finding::Damage { from: Seq(3), to: Seq(4), .. })),
            "{found:?}"
        );
        match Life::try_begin(&fs, &config) {
            Ok(life) => {
                assert_eq!(config.on_corruption, Corruption::Quarantine);
                assert_eq!(read_all(&life)[..5], [messages(1..3), vec![Got::Lost(3, 4)], messages(4..6)].concat());
            }
            Err(error) => {
                assert!(config.on_corruption == Corruption::Halt && matches!(error, OpenError::Damaged { .. }))
            }
        }
    }
}
