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
