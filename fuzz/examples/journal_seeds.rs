//! Makes the seeds of the journal's targets, and what was found with its files, from real journals: `cargo run --example journal_seeds` in `fuzz/`.
//!
//! Salt, id and time are new each time, so the files change; what they hold does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowbridge::clock::Timestamp;
use rowbridge::config::{self, Corruption, Durability, WhenFull};
use rowbridge::journal::{Intake, Journal, RealFs};
use rowbridge::message::{Message, Properties, Property, Qos, Seq};
use rowbridge::telemetry::Metrics;
use rowbridge_fuzz::journal_directory::{MEND, PREALLOCATED, TRAILER_LEN, push_file};

const ID: u8 = 0;
const SEGMENT: u8 = 2;
const UNFINISHED: u8 = 3;

fn main() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let regressions = seeds.with_file_name("regressions");
    let one = journal(16_384, |intake| push(intake, 1..6));
    let three = journal(2_048, |intake| push(intake, 1..30));
    let held = journal(16_384, |intake| {
        for id in 1..6 {
            intake.push_message(&message(&[7; 20]), Some((id, 99)));
        }
        intake.push_release(2);
        intake.push_release(3);
    });
    let cleared = journal(16_384, |intake| {
        intake.push_message(&message(b"held"), Some((1, 5)));
        intake.push_clear();
        push(intake, 7..9);
    });
    for (name, journal) in [("one", &one), ("three", &three), ("held", &held), ("cleared", &cleared)] {
        for (how, mend) in [("", 0), ("-mended", MEND)] {
            put(&seeds, "journal_directory", &format!("{name}{how}"), &directory(journal, mend, |_, _| true));
        }
        let records = journal.iter().filter(|(name, _)| name.ends_with(".seg")).flat_map(|(_, bytes)| records(bytes));
        for (index, record) in records.enumerate().take(8) {
            put(&seeds, "journal_record", &format!("{name}-{index}"), &record);
        }
    }
    put(&seeds, "journal_directory", "nothing", &[]);
    put(&seeds, "journal_directory", "no-id", &directory(&three, MEND, |name, _| name != "id"));
    put(&seeds, "journal_directory", "no-first", &directory(&three, MEND, |_, index| index != 1));
    put(&seeds, "journal_directory", "no-middle", &directory(&three, MEND, |_, index| index != 2));
    let mut unfinished = directory(&one, MEND, |_, _| true);
    push_file(&mut unfinished, UNFINISHED | PREALLOCATED, 9, b"ROWBRJNL");
    push_file(&mut unfinished, SEGMENT | PREALLOCATED, 9, b"");
    put(&seeds, "journal_directory", "unfinished", &unfinished);
    let mut two_ids = directory(&one, MEND, |_, _| true);
    let other = journal(16_384, |intake| push(intake, 6..9));
    push_file(&mut two_ids, SEGMENT | MEND | PREALLOCATED, 6, &content(&other[1].1));
    put(&seeds, "journal_directory", "two-journals", &two_ids);
    let damaged = |files: &Files, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        files.iter_mut().filter(|(name, _)| name.ends_with(".seg")).for_each(|(_, bytes)| damage(bytes));
        directory(&files, 0, |_, _| true)
    };
    let copies = damaged(&three, &|bytes| bytes[0] ^= 1);
    put(&seeds, "journal_directory", "headers-known-only-from-their-copies", &copies);
    let cut = damaged(&three, &|bytes| {
        let at = bytes.len() - TRAILER_LEN;
        bytes[at..].fill(0);
    });
    put(&seeds, "journal_directory", "no-trailers", &cut);
    let flipped = damaged(&three, &|bytes| bytes.iter_mut().skip(300).step_by(400).for_each(|byte| *byte ^= 1));
    put(&seeds, "journal_directory", "damaged-records", &flipped);
    let snapshot = damaged(&one, &|bytes| bytes[44..72].fill(0xA5));
    put(&regressions, "journal_directory", "header-known-only-from-its-copy-before-a-damaged-snapshot", &snapshot);
    let mut forged = three.clone();
    let records = records(first_segment(&mut forged));
    let last = 64 + records[..records.len() - 1].iter().map(Vec::len).sum::<usize>();
    first_segment(&mut forged)[last + 8..last + 16].copy_from_slice(&10_000u64.to_le_bytes());
    put(&regressions, "journal_directory", "number-beyond-the-journal", &directory(&forged, MEND, |_, _| true));
    for seed in 1..25u64 {
        put(&seeds, "journal_script", &format!("decisions-{seed:02}"), &decisions(seed, 40 * seed as usize));
    }
    for (kind, name) in DAMAGE.iter().enumerate() {
        for (size, at) in [(0, 20), (1, 200), (2, 70), (2, 1_950), (3, 4_000), (4, 3_000)] {
            let mut script = writing(false, size, 12);
            damage(&mut script, kind as u8, 2, at);
            put(&seeds, "journal_mutations", &format!("{name}-{size}-{at}"), &script);
        }
        let mut script = writing(true, 0, 30);
        damage(&mut script, kind as u8, 1, 100);
        damage(&mut script, 0, 3, 68);
        put(&seeds, "journal_mutations", &format!("{name}-and-a-flip-when-full"), &script);
    }
}

/// In the order of `damaged::KINDS`.
const DAMAGE: [&str; 7] = ["flip", "cut", "zero-sector", "zero-page", "delete", "swap", "older-copy"];

/// The decisions that write a journal without a fault, as `damaged::write` takes them.
fn writing(drops: bool, segment_size: u8, rounds: u8) -> Vec<u8> {
    let mut script = vec![u8::from(!drops), segment_size, rounds - 1, rounds / 2];
    for round in 0..rounds {
        script.push(3);
        for number in 0..3 {
            let kind = (round + 3 * number) % 8;
            script.extend_from_slice(&[number, kind]);
            if kind > 0 {
                script.push(20 + 5 * round);
            }
        }
        if drops {
            script.push(round % 8);
        }
    }
    script.push(rounds % 2);
    script
}

/// One piece of damage, as `damaged::damage` takes it.
fn damage(script: &mut Vec<u8>, kind: u8, file: u8, at: u64) {
    script.extend_from_slice(&[1, kind, file]);
    script.extend_from_slice(&at.to_le_bytes());
    match kind {
        // Anywhere, and which bit.
        0 => script.extend_from_slice(&[1, 5]),
        // With which file.
        5 => script.push(file + 1),
        _ => {}
    }
}

fn put(seeds: &Path, target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(seeds.join(target)).unwrap();
    fs::write(seeds.join(target).join(name), bytes).unwrap();
}

fn first_segment(files: &mut Files) -> &mut Vec<u8> {
    let (_, bytes) = files.iter_mut().find(|(name, _)| name.ends_with(".seg")).unwrap();
    bytes
}

/// Name and content of each file, in order of name.
type Files = Vec<(String, Vec<u8>)>;

fn journal(segment_size: u64, fill: impl FnOnce(&mut Intake<RealFs>)) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let config = config::Journal {
        durability: Durability::Commit,
        segment_size,
        max_size: 1 << 20,
        when_full: WhenFull::Pause,
        keep: Duration::ZERO,
        on_corruption: Corruption::Quarantine,
    };
    let opened = Journal::open(RealFs, folder.path(), &config, 1, Arc::new(Metrics::new())).unwrap();
    let (handle, mut intake, thread) = opened.spawn();
    fill(&mut intake);
    intake.submit();
    handle.stop();
    thread.join().unwrap();
    let mut files: Files = Vec::new();
    for entry in fs::read_dir(folder.path().join("journal")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "id" || name.ends_with(".seg") {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort_by_key(|(name, _)| (name.ends_with(".seg"), name.clone()));
    assert!(files.len() > 1);
    files
}

fn push(intake: &mut Intake<RealFs>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let payload = format!("{{\"id\":{number},\"text\":\"{}\"}}", "x".repeat(number as usize * 7));
        intake.push_message(&message(payload.as_bytes()), None);
        intake.submit();
        while intake.durable() < number {
            std::thread::yield_now();
            if intake.durable() > 0 {
                break;
            }
        }
    }
}

fn message(payload: &[u8]) -> Message<'_> {
    static PROPERTIES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let encoded = PROPERTIES.get_or_init(|| {
        let mut encoded = Vec::new();
        Property::User(b"site", b"north").encode(&mut encoded);
        Property::SubscriptionId(3).encode(&mut encoded);
        encoded
    });
    Message {
        topic: "sensors/a/b",
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::from_encoded(encoded),
        received_at: Timestamp(1_795_267_595_123_456),
        fault: None,
        seq: Seq(0),
    }
}

/// A segment without the zeros before its trailer.
fn content(segment: &[u8]) -> Vec<u8> {
    let (records, trailer) = segment.split_at(segment.len() - TRAILER_LEN);
    let end = records.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8));
    [&records[..end.min(records.len())], trailer].concat()
}

fn directory(files: &Files, mend: u8, keep: impl Fn(&str, usize) -> bool) -> Vec<u8> {
    let mut input = Vec::new();
    for (index, (name, bytes)) in files.iter().enumerate().filter(|(index, (name, _))| keep(name, *index)) {
        match name.strip_suffix(".seg") {
            Some(number) => {
                let number = u8::try_from(number.parse::<u64>().unwrap()).unwrap();
                push_file(&mut input, SEGMENT | PREALLOCATED | mend, number, &content(bytes));
            }
            None => push_file(&mut input, ID | mend, index as u8, bytes),
        }
    }
    input
}

/// The records of a segment.
fn records(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut rest = &segment[64..];
    while let Some(len) = rest.get(4..8) {
        let len = (20 + u32::from_le_bytes(len.try_into().unwrap()) as usize).next_multiple_of(8);
        if rest.len() < len || rest[16] == 0 {
            break;
        }
        records.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    records
}

/// Random bytes, always the same.
fn decisions(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}
