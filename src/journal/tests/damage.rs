//! Torn tails, flipped bits, lost files.

use proptest::prelude::*;

use super::super::inspect;
use super::super::segment::{SEGMENT_HEADER_LEN, path_of};
use super::super::trailer::TRAILER_LEN;
use super::*;

pub(super) fn halting() -> config::Journal {
    config::Journal { on_corruption: Corruption::Halt, ..config() }
}

/// A journal of `count` messages, each in a group of its own, left as a SIGKILL leaves it.
fn written(count: u64) -> SimFs {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=count);
    fs.kill()
}

pub(super) fn segments(fs: &SimFs) -> Vec<PathBuf> {
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| segment::base_of(path).is_some() && !path.to_string_lossy().contains("quarantine")).collect()
}

/// Where the last byte of the last record lies.
pub(super) fn end_of_records(segment: &[u8]) -> usize {
    let records = &segment[..segment.len() - TRAILER_LEN as usize];
    records.iter().rposition(|&byte| byte != 0).unwrap()
}

/// Both copies of the header, with what lies around the first.
pub(super) fn erase_headers(segment: &mut [u8]) {
    let len = segment.len();
    segment[..200].fill(0);
    segment[len - SEGMENT_HEADER_LEN..].fill(0);
}

pub(super) fn quarantined(fs: &SimFs) -> Vec<String> {
    let files = fs.files().into_iter().filter(|(path, _)| path.parent().is_some_and(|p| p.ends_with("quarantine")));
    files.map(|(path, _)| segment::name_of(&path)).collect()
}

/// Flips a bit in the middle of the payload of message `number`; returns the byte.
pub(super) fn flip(fs: &SimFs, path: &Path, number: u64) -> usize {
    let mut at = None;
    fs.damage(path, |bytes| {
        let needle = format!("message {number} ");
        at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
        bytes[at.unwrap()] ^= 4;
    });
    at.unwrap()
}

#[test]
fn an_unfinished_write_is_cut_off_without_a_word_of_loss() {
    for cut in [1, 8, 19, 20, 30, 50] {
        let fs = written(5);
        let path = path_of(&data_dir().join("journal"), Seq(1));
        let whole = fs.files().iter().find(|(name, _)| *name == path).unwrap().1;
        fs.damage(&path, |bytes| {
            let end = end_of_records(bytes);
            bytes[end - cut..=end].fill(0);
        });
        let mut life = Life::begin(&fs, &halting());
        assert_eq!(read_all(&life), messages(1..5), "cut {cut}");
        assert_eq!(life.metrics.messages_lost.get(), 0);
        life.commit(&payload(5));
        assert_eq!(read_all(&life), messages(1..6));
        assert_eq!(fs.files().iter().find(|(name, _)| *name == path).unwrap().1, whole);
    }
}

#[test]
fn a_stale_record_behind_a_torn_one_never_comes_back() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=3);
    let fs = fs.kill();
    let path = path_of(&data_dir().join("journal"), Seq(1));
    // The last record is torn, and then the same number is written again by a shorter record.
    flip(&fs, &path, 3);
    let mut life = Life::begin(&fs, &config());
    assert_eq!(life.handle.status().next_seq, Seq(3));
    life.commit(b"short");
    let life = Life::begin(&fs.kill(), &config());
    assert_eq!(read_all(&life)[2..], [Got::Message(3, b"short".to_vec())]);
}

#[test]
fn damage_in_the_newest_segment_is_mended_and_reported_once() {
    let fs = written(20);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    let before = segments(&fs);
    assert_eq!(before.len(), 1);
    flip(&fs, &path, 10);
    let life = Life::begin(&fs, &config());
    let mut expected = messages(1..10);
    expected.push(Got::Lost(10, 11));
    expected.extend(messages(11..21));
    assert_eq!(read_all(&life), expected);
    assert_eq!(read_all(&life), expected);
    assert_eq!(life.metrics.messages_lost.get(), 1);
    assert_eq!(quarantined(&fs).len(), 1);

    let again = Life::begin(&fs.kill(), &halting());
    assert_eq!(read_all(&again), expected, "what is mended stays mended, and is no reason to halt");
    assert_eq!(again.metrics.messages_lost.get(), 0);
}

#[test]
fn halt_refuses_to_open_over_proven_damage_and_touches_nothing() {
    let fs = written(20);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    flip(&fs, &path, 10);
    let before = fs.files();
    let Err(error) = Life::try_begin(&fs, &halting()) else { panic!("opened") };
    let text = error.to_string();
    assert!(matches!(error, OpenError::Damaged { .. }) && text.contains("quarantine"), "{text}");
    assert_eq!(fs.files(), before);
}

#[test]
fn after_a_clean_stop_even_the_last_record_is_known_to_have_been_whole() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.commit_all(1..=3);
    life.handle.stop();
    assert_eq!(life.settle(), Step::Stopped);
    let fs = fs.kill();
    flip(&fs, &path_of(&data_dir().join("journal"), Seq(1)), 3);
    assert!(matches!(Life::try_begin(&fs, &halting()), Err(OpenError::Damaged { .. })));
    let life = Life::begin(&fs, &config());
    assert_eq!(read_all(&life)[2..], [Got::Lost(3, 4)]);
    assert_eq!(life.handle.status().next_seq, Seq(4));
}

#[test]
fn damage_in_a_sealed_segment_is_found_by_the_reader_and_copied_once() {
    let fs = written(200);
    let sealed = segments(&fs)[1].clone();
    let base = segment::base_of(&sealed).unwrap().0;
    flip(&fs, &sealed, base + 3);
    flip(&fs, &sealed, base + 4);
    let life = Life::begin(&fs, &config());
    let mut expected = messages(1..base + 3);
    expected.push(Got::Lost(base + 3, base + 5));
    expected.extend(messages(base + 5..201));
    assert_eq!(read_all(&life), expected);
    assert_eq!(read_all(&life), expected, "a second database is told as well");
    assert_eq!(life.metrics.messages_lost.get(), 2, "and it counts once");
    let kept = quarantined(&fs);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with(&segment::name_of(&sealed)), "{kept:?}");
}

#[test]
fn halt_stops_the_reader_at_damage_for_as_long_as_it_is_asked() {
    let fs = written(200);
    let sealed = segments(&fs)[1].clone();
    let base = segment::base_of(&sealed).unwrap().0;
    flip(&fs, &sealed, base + 3);
    let life = Life::begin(&fs, &halting());
    let mut reader = life.handle.reader();
    for seq in 1..base + 3 {
        assert_eq!(reader.next().unwrap().map(got), Some(Got::Message(seq, payload(seq))));
    }
    for _ in 0..3 {
        let error = reader.next().map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("quarantine"), "{error}");
        assert_eq!(reader.position(), Seq(base + 3));
    }
    assert!(quarantined(&fs).is_empty());
}

#[test]
fn a_zeroed_end_of_a_sealed_segment_is_lost_up_to_the_next() {
    let fs = written(200);
    let sealed = segments(&fs);
    let (base, next) = (segment::base_of(&sealed[1]).unwrap().0, segment::base_of(&sealed[2]).unwrap().0);
    fs.damage(&sealed[1], |bytes| bytes[2048..].fill(0));
    let life = Life::begin(&fs, &config());
    let read = read_all(&life);
    let lost: Vec<&Got> = read.iter().filter(|got| matches!(got, Got::Lost(..))).collect();
    let [Got::Lost(from, to)] = lost[..] else { panic!("{lost:?}") };
    assert!(*from > base && *to == next, "{lost:?}");
    assert_eq!(read.len() as u64, 200 - (to - from) + 1);
}

#[test]
fn a_missing_sealed_segment_is_reported_lost() {
    let fs = written(200);
    let sealed = segments(&fs);
    let (base, next) = (segment::base_of(&sealed[1]).unwrap().0, segment::base_of(&sealed[2]).unwrap().0);
    Fs::remove(&fs, &sealed[1]).unwrap();
    let life = Life::begin(&fs, &config());
    let expected = [messages(1..base), vec![Got::Lost(base, next)], messages(next..201)].concat();
    assert_eq!(read_all(&life), expected);
}

#[test]
fn one_damaged_header_copy_costs_nothing() {
    for newest in [false, true] {
        let fs = written(200);
        let path = if newest { segments(&fs).pop().unwrap() } else { segments(&fs)[1].clone() };
        fs.damage(&path, |bytes| bytes[..SEGMENT_HEADER_LEN].fill(0xFF));
        let life = Life::begin(&fs, &config());
        assert_eq!(read_all(&life), messages(1..201));
    }
}

/// The header is then read from its copy, and must not be known from that alone for long.
#[test]
fn a_header_known_only_from_its_copy_survives_the_mending_of_the_snapshot() {
    let mut fs = written(5);
    let path = segments(&fs).remove(0);
    fs.damage(&path, |bytes| bytes[SEGMENT_HEADER_LEN - 20..SEGMENT_HEADER_LEN + 8].fill(0xA5));
    for _ in 0..3 {
        let life = Life::begin(&fs, &config());
        assert_eq!(read_all(&life), messages(1..6));
        assert_eq!(life.metrics.messages_lost.get(), 0);
        fs = life.fs.crash(1);
    }
}

#[test]
fn an_unreadable_sealed_segment_is_lost_as_a_whole() {
    let fs = written(200);
    let sealed = segments(&fs);
    let (base, next) = (segment::base_of(&sealed[1]).unwrap().0, segment::base_of(&sealed[2]).unwrap().0);
    fs.damage(&sealed[1], |bytes| erase_headers(bytes));
    let life = Life::begin(&fs, &config());
    let expected = [messages(1..base), vec![Got::Lost(base, next)], messages(next..201)].concat();
    assert_eq!(read_all(&life), expected);
    assert_eq!(quarantined(&fs).len(), 1);
}

#[test]
fn an_unreadable_newest_segment_is_put_aside_and_its_numbers_get_a_new_id() {
    let fs = written(200);
    let newest = segments(&fs).pop().unwrap();
    let base = segment::base_of(&newest).unwrap();
    fs.damage(&newest, |bytes| erase_headers(bytes));
    assert!(matches!(Life::try_begin(&fs, &halting()), Err(OpenError::Damaged { .. })));
    let mut life = Life::begin(&fs, &config());
    assert_eq!(life.metrics.messages_lost.get(), 201 - base.0, "as many as the records behind the damage say");
    assert_eq!(life.handle.status().next_seq, Seq(201));
    let ids = life.handle.ids();
    assert_eq!((ids.len(), ids[1].1), (2, Seq(201)));
    assert_eq!(quarantined(&fs), [segment::name_of(&newest)]);
    life.commit(&payload(201));
    let expected = [messages(1..base.0), vec![Got::Lost(base.0, 201)], messages(201..202)].concat();
    assert_eq!(read_all(&life), expected);
    assert_eq!(life.metrics.messages_lost.get(), 201 - base.0, "counted once");
    assert_eq!(Life::begin(&fs.kill(), &config()).handle.ids(), ids);
}

#[test]
fn a_newest_segment_of_which_nothing_is_left_counts_as_one_loss_at_least() {
    let fs = written(5);
    fs.damage(&segments(&fs)[0], |bytes| bytes.fill(0));
    let mut life = Life::begin(&fs, &config());
    assert_eq!((life.metrics.messages_lost.get(), life.handle.status().next_seq), (1, Seq(2)));
    life.commit(&payload(2));
    let mut reader = life.handle.reader();
    reader.seek(Seq(1)).unwrap();
    assert_eq!(read_on(&mut reader), [Got::Lost(1, 2), Got::Message(2, payload(2))]);
}

#[test]
fn a_lost_id_file_is_made_again_from_the_segments() {
    let fs = written(5);
    let id = Life::begin(&fs, &config()).handle.ids();
    let file = data_dir().join("journal/id");
    fs.damage(&file, |bytes| bytes[20] ^= 1);
    assert_eq!(Life::begin(&fs.kill(), &config()).handle.ids(), id);
    Fs::remove(&fs, &file).unwrap();
    let life = Life::begin(&fs.kill(), &config());
    assert_eq!(life.handle.ids(), id);
    assert_eq!(read_all(&life), messages(1..6));
}

#[test]
fn wiped_segments_are_a_loss_and_mean_a_new_journal_with_a_new_id() {
    let fs = written(5);
    let id = Life::begin(&fs.kill(), &config()).handle.status().id;
    segments(&fs).iter().for_each(|path| Fs::remove(&fs, path).unwrap());
    assert!(!inspect::verify(&fs, data_dir(), &mut |_| {}).unwrap().is_sound());
    assert!(matches!(Life::try_begin(&fs, &halting()), Err(OpenError::Damaged { .. })));
    let life = Life::begin(&fs, &config());
    assert_ne!(life.handle.status().id, id);
    assert_eq!((life.handle.status().next_seq, life.metrics.messages_lost.get()), (Seq(2), 1), "one at least");
    fs.files().iter().for_each(|(path, _)| Fs::remove(&fs, path).unwrap());
    let life = Life::begin(&fs.kill(), &config());
    assert_eq!(
        (life.handle.status().next_seq, life.metrics.messages_lost.get()),
        (Seq(1), 0),
        "an empty folder is new"
    );
}

#[test]
fn a_format_of_the_future_is_refused_and_left_alone() {
    let fs = written(5);
    let path = segments(&fs).pop().unwrap();
    fs.damage(&path, |bytes| {
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..56]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    });
    let before = fs.files();
    let Err(error) = Life::try_begin(&fs, &config()) else { panic!("opened") };
    assert!(error.to_string().contains("version 9"), "{error}");
    assert_eq!(fs.files(), before);
}

#[test]
fn a_lost_snapshot_is_replaced_by_what_the_segment_before_says() {
    let fs = SimFs::new(1);
    let mut life = Life::begin(&fs, &config());
    life.intake.push_message(&message(&payload(1)), Some((5, 50)));
    life.intake.submit();
    life.commit_all(2..=100);
    let fs = fs.kill();
    let newest = segments(&fs).pop().unwrap();
    // Behind the header of the record: the table itself.
    fs.damage(&newest, |bytes| bytes[SEGMENT_HEADER_LEN + 20] ^= 1);
    let mut life = Life::begin(&fs, &config());
    assert_eq!(life.intake.qos2().verdict(5, true, 50), Qos2Verdict::Duplicate);
    life.commit(&payload(101));
    assert_eq!(read_all(&life), messages(1..102));
    let life = Life::begin(&fs.kill(), &config());
    assert_eq!(life.intake.qos2().verdict(5, true, 50), Qos2Verdict::Duplicate, "a new snapshot was made");
}

/// Bytes overwritten, moved within the file, cut off the end, or added to it.
fn mutation() -> impl Strategy<Value = (u8, prop::sample::Index, prop::sample::Index, Vec<u8>)> {
    (0u8..5, any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_journal_panic_hang_or_skip_a_number_silently(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..6),
    ) {
        let fs = written(120);
        for (file, (kind, at, from, bytes)) in mutations {
            let paths: Vec<PathBuf> = fs.files().into_iter().map(|(path, _)| path).collect();
            fs.damage(&paths[file.index(paths.len())], |content| {
                let len = content.len();
                let (at, from) = (at.index(len + 1), from.index(len + 1));
                match kind {
                    0 => content.truncate(at),
                    1 => content.extend_from_slice(&bytes),
                    // A valid record in another place.
                    2 => content.copy_within(from..(from + 256).min(len), at.min(len.saturating_sub(256))),
                    3 => content[at..(at + bytes.len() * 8).min(len)].fill(0),
                    _ => content[at..].iter_mut().zip(&bytes).for_each(|(old, new)| *old = *new),
                }
            });
        }
        let _ = inspect::verify(&fs, data_dir(), &mut |_| {});
        let mut life = Life::begin(&fs, &config());
        let mut expected = life.handle.status().oldest_seq.0;
        for got in read_all(&life) {
            let (from, to) = match got {
                Got::Message(seq, read) => {
                    prop_assert_eq!(read, payload(seq));
                    (seq, seq + 1)
                }
                Got::Lost(from, to) => (from, to),
            };
            prop_assert_eq!(from, expected);
            expected = to;
        }
        prop_assert_eq!(expected, life.handle.status().next_seq.0);
        life.commit(b"goes on");
    }
}

#[test]
fn a_full_disk_does_not_keep_a_damaged_journal_from_opening() {
    let fs = written(20);
    let path = path_of(&data_dir().join("journal"), Seq(1));
    flip(&fs, &path, 10);
    fs.set_capacity(0);
    let life = Life::begin(&fs, &config());
    let expected = [messages(1..10), vec![Got::Lost(10, 11)], messages(11..21)].concat();
    assert_eq!(read_all(&life), expected);
    assert_eq!(life.metrics.messages_lost.get(), 1);
}
