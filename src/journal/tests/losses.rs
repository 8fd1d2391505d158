//! Several databases that meet the same damage: it is kept once and counted once.

use std::sync::Barrier;
use std::thread;

use super::super::segment::path_of;
use super::damage::quarantined;
use super::*;

#[test]
fn readers_that_meet_the_same_damage_at_once_all_find_it_kept_whole() {
    const ROUNDS: u64 = 100;
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=20);
    let segment = path_of(&data_dir().join("journal"), Seq(1));
    let (shared, barrier) = (&life.writer.shared, Barrier::new(4));
    let failures: usize = thread::scope(|scope| {
        let reader = || {
            let file = fs.open_read(&segment).unwrap();
            let keep = |round| {
                barrier.wait();
                shared.quarantine(&segment, &file, round * 8, 100).is_err()
            };
            (0..ROUNDS).filter(|&round| keep(round)).count()
        };
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert_eq!(failures, 0);
    assert_eq!(quarantined(&fs).len() as u64, ROUNDS);
    let copies = fs.files().into_iter().filter(|(path, _)| path.parent().is_some_and(|p| p.ends_with("quarantine")));
    assert!(copies.into_iter().all(|(_, len)| len == 100));
}

#[test]
fn a_loss_that_overlaps_others_is_counted_by_its_new_parts_only() {
    let life = Life::begin(&SimFs::new(1), &config());
    let report = |from, to| {
        life.writer.shared.report_lost(Seq(from), Seq(to), "a test");
        life.metrics.messages_lost.get()
    };
    assert_eq!(report(10, 20), 10);
    assert_eq!(report(30, 40), 20);
    assert_eq!(report(12, 18), 20, "known");
    assert_eq!(report(15, 25), 25, "new at its end");
    assert_eq!(report(5, 12), 30, "new at its beginning");
    assert_eq!(report(1, 50), 49, "new around and between");
    assert_eq!(report(1, 50), 49);
}

#[test]
fn databases_that_lack_different_parts_of_a_removed_segment_lose_each_message_once() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=200);
    let fs = fs.kill();
    Fs::remove(&fs, &path_of(&data_dir().join("journal"), Seq(1))).unwrap();
    let life = Life::begin(&fs, &config());
    let oldest = life.handle.status().oldest_seq.0;
    let read_from = |seq| {
        let mut reader = life.handle.reader();
        reader.seek(Seq(seq)).unwrap();
        read_on(&mut reader)[0].clone()
    };
    assert_eq!(read_from(20), Got::Lost(20, oldest));
    assert_eq!(read_from(10), Got::Lost(10, oldest));
    assert_eq!(life.metrics.messages_lost.get(), oldest - 10);
}
