//! Bad sectors: reads that fail, once or for ever.

use super::super::segment::path_of;
use super::damage::{end_of_records, quarantined, segments};
use super::*;

/// Segments of several blocks.
fn blocks() -> config::Journal {
    config::Journal { segment_size: 32 * 1024, ..config() }
}

fn halting() -> config::Journal {
    config::Journal { on_corruption: Corruption::Halt, ..blocks() }
}

/// A journal of `count` messages, left as a SIGKILL leaves it.
fn written(count: u64) -> SimFs {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &blocks());
    life.commit_all(1..=count);
    fs.kill()
}

/// Asks on through errors, as delivery does, to the end; returns also how often it failed.
fn read_patiently(reader: &mut Reader<SimFs>) -> (Vec<Got>, usize) {
    let (mut entries, mut failures) = (Vec::new(), 0);
    while failures < 50 {
        match reader.next() {
            Ok(Some(entry)) => entries.push(got(entry)),
            Ok(None) => break,
            Err(_) => {
                failures += 1;
                // A worker begins again at its database's offset.
                let position = reader.position();
                reader.seek(Seq(1)).unwrap();
                reader.seek(position).unwrap();
            }
        }
    }
    (entries, failures)
}

/// All of `1..=count` but one range, which is returned.
fn the_loss_in(entries: &[Got], count: u64) -> (u64, u64) {
    let lost = entries.iter().find_map(|entry| match entry {
        Got::Lost(from, to) => Some((*from, *to)),
        Got::Message(..) => None,
    });
    let (from, to) = lost.expect("something is lost");
    let expected = [messages(1..from), vec![Got::Lost(from, to)], messages(to..count + 1)].concat();
    assert_eq!(entries, expected);
    (from, to)
}

#[test]
fn a_bad_block_in_a_sealed_segment_costs_its_messages_and_not_the_bridge() {
    let fs = written(1200);
    assert!(segments(&fs).len() > 2);
    fs.spoil(&segments(&fs)[0], 10_000);
    let life = Life::begin(&fs, &blocks());
    let mut reader = life.handle.reader();
    let (entries, failures) = read_patiently(&mut reader);
    assert_eq!(failures, 5, "it is asked several times before it is given up");
    let (from, to) = the_loss_in(&entries, 1200);
    assert!(to - from < 100, "{from}..{to}");
    assert_eq!(life.metrics.messages_lost.get(), to - from);
    assert_eq!(quarantined(&fs).len(), 1);
    let (again, failures) = read_patiently(&mut life.handle.reader());
    assert!(again == entries && failures == 0, "another database is told at once, and the same");
    assert_eq!(life.metrics.messages_lost.get(), to - from);
}

#[test]
fn a_header_block_that_cannot_be_read_costs_the_messages_in_it_and_not_its_segment() {
    let fs = written(1200);
    let sealed = segments(&fs);
    fs.spoil(&sealed[1], 0);
    let life = Life::begin(&fs, &blocks());
    let (entries, _) = read_patiently(&mut life.handle.reader());
    let base = |path: &PathBuf| segment::base_of(path).unwrap().0;
    let (from, to) = the_loss_in(&entries, 1200);
    assert!(from == base(&sealed[1]) && to - from < 100, "{from}..{to}");
}

#[test]
fn reads_that_fail_for_a_while_lose_nothing() {
    let fs = written(1200);
    let life = Life::begin(&fs, &blocks());
    fs.fail_reads(4);
    let (entries, failures) = read_patiently(&mut life.handle.reader());
    assert!(entries == messages(1..1201) && failures > 1, "{failures}");
    assert_eq!(life.metrics.messages_lost.get(), 0);
}

#[test]
fn a_disk_that_is_gone_is_waited_for() {
    let fs = written(1200);
    let life = Life::begin(&fs, &blocks());
    let mut reader = life.handle.reader();
    fs.fail_reads(u64::MAX);
    (0..1000).for_each(|call| fs.fail_call(call, SimFault::Io));
    let (entries, failures) = read_patiently(&mut reader);
    assert!(entries.is_empty() && failures == 50, "{entries:?}");
    assert_eq!(life.metrics.messages_lost.get(), 0);
    fs.fail_reads(0);
    assert_eq!(read_patiently(&mut reader), (messages(1..1201), 0));
}

#[test]
fn halt_asks_for_ever() {
    let fs = written(1200);
    fs.spoil(&segments(&fs)[0], 10_000);
    let life = Life::begin(&fs, &halting());
    let (entries, failures) = read_patiently(&mut life.handle.reader());
    assert!(failures == 50 && entries == messages(1..entries.len() as u64 + 1));
    assert_eq!(life.metrics.messages_lost.get(), 0);
}

#[test]
fn a_bad_block_in_the_newest_segment_does_not_keep_the_journal_from_opening() {
    let fs = written(200);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    fs.spoil(&path, 5_000);
    assert!(Life::try_begin(&fs, &halting()).is_err());
    let mut life = Life::begin(&fs, &blocks());
    let entries = read_all(&life);
    let (from, to) = the_loss_in(&entries, 200);
    assert_eq!(life.metrics.messages_lost.get(), to - from);
    life.commit(&payload(201));
    // What was mended can be read again, on another place of the disk.
    let again = Life::begin(&fs.kill(), &halting());
    assert_eq!(read_all(&again), [entries, messages(201..202)].concat());
}

#[test]
fn a_bad_block_at_the_end_of_what_was_written_is_a_loss_and_no_torn_write() {
    let fs = written(100);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    let mut written_len = 0;
    fs.damage(&path, |bytes| written_len = end_of_records(bytes) as u64);
    fs.spoil(&path, written_len);
    let mut life = Life::begin(&fs, &blocks());
    let next = life.handle.status().next_seq.0;
    let entries = read_all(&life);
    let (from, to) = the_loss_in(&entries, next - 1);
    assert_eq!((to, life.metrics.messages_lost.get()), (next, to - from));
    assert_eq!(quarantined(&fs).len(), 1);
    life.commit(&payload(next));
    let again = Life::begin(&fs.kill(), &blocks());
    assert_eq!(read_all(&again), [entries, messages(next..next + 1)].concat());
}

#[test]
fn a_bad_block_where_nothing_was_written_yet_costs_nothing() {
    let fs = written(100);
    fs.spoil(&path_of(&data_dir().join("journal"), Seq(1)), 20_000);
    let mut life = Life::begin(&fs, &blocks());
    life.commit_all(101..=1200);
    assert_eq!(read_all(&life), messages(1..1201));
    assert_eq!(life.metrics.messages_lost.get(), 0);
}

#[test]
fn an_unreadable_header_or_id_file_does_not_keep_the_journal_from_opening() {
    let fs = written(1200);
    let newest = segments(&fs).pop().unwrap();
    let base = segment::base_of(&newest).unwrap().0;
    fs.spoil(&newest, 0);
    fs.spoil(&data_dir().join("journal/id"), 0);
    let mut life = Life::begin(&fs, &blocks());
    assert_eq!(life.handle.status().next_seq, Seq(1201));
    let (from, to) = the_loss_in(&read_all(&life), 1200);
    assert!(from == base && to - from < 100, "{from}..{to}");
    assert_eq!(life.metrics.messages_lost.get(), to - from);
    life.commit(&payload(1201));
    let entries = read_all(&life);
    assert_eq!(read_all(&Life::begin(&fs.kill(), &halting())), entries, "it was mended, on another place of the disk");
}

#[test]
fn a_trailer_block_that_cannot_be_read_costs_nothing_if_no_message_was_in_it() {
    let fs = written(100);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    fs.spoil(&path, 32 * 1024 - 1);
    let mut life = Life::begin(&fs, &blocks());
    assert_eq!(read_all(&life), messages(1..101));
    assert_eq!(life.metrics.messages_lost.get(), 0);
    life.commit_all(101..=1200);
    assert_eq!(read_all(&Life::begin(&fs.kill(), &halting())), messages(1..1201));
}
