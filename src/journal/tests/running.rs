//! Writing, reading, rotating, trimming, restarting.

use super::super::record::GROUP_SPAN_MAX;
use super::*;

#[test]
fn messages_are_read_in_order_across_segments_and_restarts() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    let mut tail = life.handle.reader();
    for number in 1..=200 {
        life.commit(&payload(number));
    }
    assert!(life.segments().len() > 3, "{:?}", life.segments());
    assert_eq!(read_on(&mut tail), messages(1..201));
    drop((life.writer, tail));
    let mut life = Life::begin(&fs, &config());
    assert_eq!(life.handle.status().next_seq, Seq(201));
    life.commit(&payload(201));
    assert_eq!(read_all(&life), messages(1..202));
}

#[test]
fn nothing_is_acknowledged_or_read_before_it_is_synced() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    let mut reader = life.handle.reader();
    let first = life.push(&payload(1));
    life.settle();
    reader.next().unwrap().unwrap();
    let ordinal = life.push(&payload(2));
    assert_eq!((life.intake.durable(), reader.next().unwrap()), (first, None));
    // The write passes, the sync fails.
    fs.fail_call(1, SimFault::Io);
    life.writer.step();
    assert_eq!(fs.faults_left(), 0, "the fault was met");
    assert_eq!((life.intake.durable(), reader.next().unwrap()), (first, None));
    assert!(life.intake.is_backlogged(), "nothing more is taken until it is reopened");
    assert!(ordinal > life.intake.durable());
}

#[test]
fn one_sync_covers_everything_submitted_meanwhile() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config::Journal { segment_size: 1 << 20, max_size: 8 << 20, ..config() });
    // With the first, zeros are written ahead.
    life.push(&payload(0));
    life.settle();
    for _ in 0..3 {
        let calls = fs.calls();
        for number in 1..=100 {
            life.push(&payload(number));
        }
        life.settle();
        assert_eq!(fs.calls() - calls, 2, "one write, one sync");
    }
    assert_eq!(life.intake.durable(), 301);
    assert_eq!(life.metrics.messages_journaled.get(), 301);
}

#[test]
fn a_group_is_bounded_and_a_record_larger_than_a_segment_gets_its_own() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config::Journal { max_size: 64 << 20, ..config() });
    let large = vec![7; GROUP_SPAN_MAX as usize + 4096];
    for _ in 0..3 {
        life.intake.push_message(&message(&large), None);
    }
    life.intake.submit();
    life.settle();
    assert_eq!(life.intake.durable(), 3);
    assert_eq!(read_all(&life), (1..4).map(|seq| Got::Message(seq, large.clone())).collect::<Vec<_>>());
}

#[test]
fn a_reader_seeks_forwards_and_backwards() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=150);
    let mut reader = life.handle.reader();
    for seq in [100, 101, 150, 1, 77, 151] {
        reader.seek(Seq(seq)).unwrap();
        assert_eq!(read_on(&mut reader), messages(seq..151), "from {seq}");
        assert_eq!(reader.position(), Seq(151));
    }
}

#[test]
fn delivered_segments_go_once_every_database_has_spoken_and_keep_has_passed() {
    let fs = SimFs::new(1);
    let keeping = config::Journal { keep: Duration::from_secs(3600), ..config() };
    let mut life = Life::begin(&fs, &keeping);
    life.commit_all(1..=150);
    let before = life.segments().len();
    life.let_time_pass();
    life.settle();
    assert_eq!(life.segments().len(), before, "no database has spoken");
    life.handle.set_delivered(0, Seq(151));
    life.let_time_pass();
    life.settle();
    assert_eq!(life.segments().len(), before, "kept for a while");
    drop(life.writer);

    let mut life = Life::begin(&fs, &config());
    life.handle.set_delivered(0, Seq(60));
    life.let_time_pass();
    life.settle();
    let oldest = life.handle.status().oldest_seq;
    assert!(oldest > Seq(1) && oldest <= Seq(60), "{oldest}");
    assert!(life.segments().len() < before);
    let mut reader = life.handle.reader();
    assert_eq!(read_on(&mut reader), messages(oldest.0..151));
    // An older copy of the database took over.
    reader.seek(Seq(3)).unwrap();
    assert_eq!(reader.next().unwrap().map(got), Some(Got::Lost(3, oldest.0)));
    assert_eq!(read_on(&mut reader), messages(oldest.0..151));
    assert_eq!(life.metrics.messages_lost.get(), oldest.0 - 3);
}

#[test]
fn keep_counts_from_delivery_however_late_that_was() {
    let keep = Duration::from_secs(1);
    let keeping = config::Journal { keep, ..config() };
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &keeping);
    life.commit_all(1..=150);
    let before = life.segments().len();
    // The database was away for longer than `keep`.
    std::thread::sleep(keep);
    let tidy = |life: &mut Life| {
        life.let_time_pass();
        life.settle();
        life.segments().len()
    };
    let delivered_at = Instant::now();
    life.handle.set_delivered(0, Seq(151));
    let left = tidy(&mut life);
    assert!(left == before || delivered_at.elapsed() >= keep, "delivered just now, and {} are gone", before - left);
    // An older replica took over and was filled up again.
    std::thread::sleep(keep / 2);
    life.handle.set_delivered(0, Seq(2));
    life.handle.set_delivered(0, Seq(151));
    let delivered_again_at = Instant::now();
    std::thread::sleep(keep / 2);
    let left = tidy(&mut life);
    assert!(left == before || delivered_again_at.elapsed() >= keep, "{} are gone", before - left);
    std::thread::sleep(keep);
    assert_eq!(tidy(&mut life), 1);
    drop(life.writer);
}

#[test]
fn keep_counts_anew_in_a_new_process() {
    let fs = SimFs::new(1);
    let keep = Duration::from_secs(1);
    let keeping = config::Journal { keep, ..config() };
    let mut life = Life::begin(&fs, &keeping);
    life.commit_all(1..=150);
    drop(life.writer);
    std::thread::sleep(keep);
    let mut life = Life::begin(&fs, &keeping);
    let before = life.segments().len();
    let begun = Instant::now();
    life.handle.set_delivered(0, Seq(151));
    life.let_time_pass();
    life.settle();
    assert!(life.segments().len() == before || begun.elapsed() >= keep);
}

#[test]
fn a_reader_goes_on_in_a_segment_that_was_trimmed_under_it() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=150);
    let mut reader = life.handle.reader();
    assert_eq!(reader.next().unwrap().map(got), Some(Got::Message(1, payload(1))));
    let second = life.writer.shared.segments.lock().unwrap()[1].base;
    life.handle.set_delivered(0, second);
    life.let_time_pass();
    life.settle();
    assert_eq!(life.handle.status().oldest_seq, second);
    assert_eq!(read_on(&mut reader), messages(2..151));
}

#[test]
fn a_second_process_is_refused() {
    let fs = SimFs::new(1);
    let life = Life::begin(&fs, &config());
    let Err(error) = Life::try_begin(&fs, &config()) else { panic!("opened twice") };
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    drop(life.writer);
    Life::begin(&fs, &config());
}

#[test]
fn a_renewed_id_covers_what_comes_after_and_survives() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit(&payload(1));
    let first = life.handle.status().id;
    let renewed = life.handle.renew_id().unwrap();
    assert_ne!(first, renewed);
    let ids = vec![(first, Seq(1)), (renewed, Seq(2))];
    assert_eq!(life.handle.ids(), ids);
    life.commit(&payload(2));
    let life = Life::begin(&fs.crash(5), &config());
    assert_eq!((life.handle.ids(), life.handle.status().id), (ids, renewed));
    assert_eq!(life.handle.first_seq_of_run(), Seq(3));
}

#[test]
fn an_id_renewed_twice_over_an_empty_segment_survives() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.handle.renew_id().unwrap();
    let renewed = life.handle.renew_id().unwrap();
    life.commit(&payload(1));
    let ids = life.handle.ids();
    let mut life = Life::begin(&fs.crash(5), &config());
    assert_eq!((life.handle.status().id, life.handle.ids()), (renewed, ids));
    // Once segments under newer ids are the oldest, the older ids go.
    life.commit_all(2..=200);
    life.handle.set_delivered(0, Seq(201));
    life.let_time_pass();
    life.settle();
    let newest = life.handle.renew_id().unwrap();
    assert_eq!(life.handle.ids().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [renewed, newest]);
}

#[test]
fn qos_2_ids_survive_a_crash_and_a_rotation() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    for id in 1..=100 {
        life.intake.push_message(&message(&payload(u64::from(id))), Some((id, u64::from(id) * 10)));
        if id % 2 == 0 {
            life.intake.push_release(id);
            life.intake.push_release(id);
        }
    }
    life.intake.submit();
    life.settle();
    assert_eq!(life.intake.durable(), 200, "each release of a record has its ordinal");
    let expected = life.intake.qos2();
    let mut life = Life::begin(&fs.crash(3), &config());
    assert_eq!(life.intake.qos2(), expected);
    assert_eq!(life.intake.qos2().verdict(7, true, 70), Qos2Verdict::Duplicate);
    life.intake.push_clear();
    life.intake.submit();
    life.settle();
    let life = Life::begin(&life.fs.crash(4), &config());
    assert!(life.intake.qos2().is_empty());
}

#[test]
fn segments_have_room_for_records_beside_thousands_of_ids_in_flight() {
    const IDS: u16 = 5_000;
    let config = config::Journal { segment_size: 32 << 10, max_size: 256 << 10, ..config() };
    let mut life = Life::begin(&SimFs::new(1), &config);
    let mut newest = std::collections::BTreeSet::new();
    for id in 1..=IDS {
        life.intake.push_message(&message(&payload(u64::from(id))), Some((id, u64::from(id))));
        life.intake.submit();
        life.settle();
        life.handle.set_delivered(0, Seq(u64::from(id) + 1));
        if life.handle.status().paused {
            life.let_time_pass();
            life.settle();
        }
        assert!(life.handle.status().bytes <= config.max_size, "at {id}");
        if id > IDS - 1_000 {
            newest.extend(life.segments().pop());
        }
    }
    assert_eq!(life.intake.durable(), u64::from(IDS));
    assert!(newest.len() < 10, "{} segments for 1,000 messages", newest.len());
}

#[test]
fn a_segment_of_nothing_but_releases_is_replaced_not_repeated() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    let mut reader = life.handle.reader();
    life.intake.push_message(&message(&payload(1)), Some((9, 90)));
    for _ in 0..3000 {
        life.intake.push_clear();
    }
    life.intake.push_message(&message(&payload(2)), Some((8, 80)));
    life.intake.submit();
    life.settle();
    assert_eq!(life.intake.durable(), 3002);
    assert_eq!(life.segments().len(), 2);
    assert_eq!(read_on(&mut reader), messages(1..3));
    let life = Life::begin(&fs.crash(4), &config());
    assert_eq!(read_all(&life), messages(1..3));
    assert_eq!(life.intake.qos2().len(), 1);
}

#[test]
fn an_interval_acknowledges_at_once_but_shows_readers_only_what_is_synced() {
    let fs = SimFs::new(1);
    let interval = Durability::Interval(Duration::from_secs(3600));
    let mut life = Life::begin(&fs, &config::Journal { durability: interval, ..config() });
    let mut reader = life.handle.reader();
    life.push(&payload(1));
    assert!(matches!(life.settle(), Step::Idle(_)));
    assert_eq!((life.intake.durable(), reader.next().unwrap()), (1, None));
    life.handle.stop();
    assert_eq!(life.settle(), Step::Stopped);
    assert_eq!(read_on(&mut reader), messages(1..2));
}

#[test]
fn the_thread_makes_everything_durable_before_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Journal::open(RealFs, folder.path(), &config(), 1, Arc::new(Metrics::new())).unwrap();
    let (handle, mut intake, thread) = open().spawn();
    let again = Journal::open(RealFs, folder.path(), &config(), 1, Arc::new(Metrics::new()));
    assert!(matches!(again, Err(OpenError::Locked(_))), "locked on a real disk too");
    let watermark = handle.watermark();
    for number in 1..=500 {
        intake.push_message(&message(&payload(number)), None);
        if number % 7 == 0 {
            intake.submit();
        }
    }
    intake.submit();
    handle.stop();
    thread.join().unwrap();
    assert_eq!(intake.durable(), 500);
    assert!(watermark.has_changed().unwrap());
    let (handle, intake, thread) = open().spawn();
    let mut reader = handle.reader();
    let read: Vec<Got> = std::iter::from_fn(|| reader.next().unwrap().map(got)).collect();
    assert_eq!(read, messages(1..501));
    handle.stop();
    thread.join().unwrap();
    drop(intake);
}
