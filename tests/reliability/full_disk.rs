//! A disk that is really full: the bridge pauses or drops as told, loses nothing silently, says why and what helps, and
//! goes on by itself once there is room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rowbridge::campaign::Campaign;

use super::small_disk::{Size, SmallDisk};
use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, column, count, sqlite};
use crate::support::publisher::{Load, reading};

const KIB: u64 = 1024;
const DISK_BYTES: u64 = 8 * 1024 * KIB;
const INODES: u64 = 256;

/// Messages of a round, of about 1 KiB each.
const COUNT: u64 = 2_000;

const RATE: u64 = 2_000;

const SEGMENT_BYTES: u64 = 128 * KIB;

/// The disk is full long before `max_size` is.
const JOURNAL: &str = "journal: { segment_size: 128KiB, max_size: 64MiB, keep: 0s, when_full: POLICY }\n";

/// What is full, and what the bridge is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The journal's disk, with so many bytes left.
    Journal { left: u64 },
    /// As that, and the bridge is killed and started while it is full.
    Killed { left: u64 },
    /// The journal's disk has no inode left.
    Inodes,
    /// The SQLite database's disk; the journal has room.
    Database { left: u64 },
    /// The journal's disk with the database away, and the oldest or newest may be dropped.
    Dropping { policy: &'static str },
}

const CASES: &[Case] = &[
    Case::Journal { left: 0 },
    Case::Database { left: 0 },
    Case::Killed { left: 0 },
    Case::Dropping { policy: "drop_oldest" },
    Case::Inodes,
    Case::Dropping { policy: "drop_newest" },
    Case::Database { left: 20 * KIB },
    Case::Journal { left: 150 * KIB },
    Case::Killed { left: 5 * KIB },
    Case::Database { left: 50 * KIB },
    Case::Journal { left: 3 * KIB },
    Case::Journal { left: 700 * KIB },
];

/// A reading of about 1 KiB.
fn bulky(id: u64) -> (String, Vec<u8>) {
    let (topic, _) = reading(id);
    (topic, format!(r#"{{"id":{id},"temp":1,"ballast":"{}"}}"#, "x".repeat(1_000)).into_bytes())
}

/// How a round does it.
#[derive(Debug, Clone, Copy)]
struct Round {
    qos: u8,
    /// As in [`Size`]. Small ones are what SQLite does not reckon with.
    block_bytes: Option<u64>,
}

impl Round {
    fn size(self) -> Size {
        Size { bytes: DISK_BYTES, inodes: INODES, block_bytes: self.block_bytes }
    }
}

/// A broker, and a bridge with a small disk.
struct Stage {
    broker: Mosquitto,
    bridge: Bridge,
    disk: Arc<SmallDisk>,
    qos: u8,
}

impl Stage {
    fn new(folder: &str, policy: &str, round: Round) -> Stage {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let rules = readings(round.qos).replace("rows.db", "rows/rows.db");
        let mut bridge = Bridge::new(broker.port(), &format!("{}{rules}", JOURNAL.replace("POLICY", policy)));
        std::fs::create_dir(bridge.path("rows")).unwrap();
        let disk = SmallDisk::mount(&mut bridge, folder, round.size());
        println!("    {folder} is {}", disk.kind());
        bridge.start();
        bridge.wait_drained("local");
        Stage { broker, bridge, disk: Arc::new(disk), qos: round.qos }
    }

    fn load(&self, first: u64, count: u64) -> Load {
        Load::new(self.broker.port(), self.qos, count).numbered_from(first).made_by(bulky)
    }

    /// SQLite's file for this process to read: copied from the small disk if it lies there, so stop the bridge before.
    fn rows(&self) -> PathBuf {
        let here = self.bridge.path("rows/rows.db");
        if here.exists() {
            return here;
        }
        let copy = self.bridge.path("rows-copied.db");
        std::fs::copy(self.disk.path().join("rows.db"), &copy).unwrap();
        copy
    }

    /// Everything arrives once the disk has room, and the log names `told` and a remedy.
    #[track_caller]
    fn assert_recovered(&mut self, told: Option<&str>) {
        self.bridge.wait_ready();
        self.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= COUNT).then_some(()));
        self.bridge.wait_drained("local");
        assert_eq!(self.bridge.metrics().value("rowbridge_messages_lost_total", &[]).unwrap_or(0.0), 0.0);
        assert!(self.bridge.stop().success());
        let verified = self.disk.command(&self.bridge, &["journal", "verify"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        if let Some(place) = told {
            let is_told = |line: &str| line.contains(place) && line.contains("make room");
            assert!(self.bridge.log().lines().any(is_told), "the log does not say what is full and what helps");
        }
        let tally = Tally::of_sqlite(&self.rows(), "readings", 0..COUNT);
        match self.qos {
            2 => tally.assert_each_once("readings"),
            _ => tally.assert_none_lost("readings"),
        }
    }
}

/// Keeps the disk full, whatever the bridge gives back, until it goes out of scope; then gives all of it back.
struct Hog {
    disk: Arc<SmallDisk>,
    released: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hog {
    fn of(disk: &Arc<SmallDisk>, take: impl Fn(&SmallDisk) -> u64 + Send + 'static) -> Hog {
        let released = Arc::new(AtomicBool::new(false));
        assert!(take(disk) > 0, "the disk was full before: nothing would be proved");
        let (of_thread, stop) = (Arc::clone(disk), Arc::clone(&released));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                take(&of_thread);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Hog { disk: Arc::clone(disk), released, thread: Some(thread) }
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
        self.disk.relieve();
    }
}

/// What a round saw.
#[derive(Debug, Default)]
struct Seen {
    pauses: u64,
    lost_and_told: u64,
    database_refusals: u64,
}

/// The journal's disk fills up while messages flow.
fn journal_on_a_full_disk(case: Case, round: Round) -> Seen {
    let mut stage = Stage::new("data", "pause", round);
    let load = stage.load(0, COUNT).per_second(RATE).start();
    stage.bridge.wait_alive("some are journaled", |bridge| (bridge.journaled() >= COUNT / 8).then_some(()));
    let hog = Hog::of(&stage.disk, move |disk| match case {
        Case::Inodes => disk.fill_inodes(),
        Case::Journal { left } | Case::Killed { left } => disk.fill(left),
        _ => unreachable!("not about the journal's disk"),
    });
    // Where there is room for one more segment, delivered ones can give way to new ones for ever.
    let must_pause = !matches!(case, Case::Journal { left } if left > SEGMENT_BYTES);
    // Where the journal had a delivered segment already when the disk filled up, that one gives way, again and again.
    let is_paused = must_pause
        && stage.bridge.wait_alive("the journal pauses, or goes on in the room it frees", |bridge| {
            let status = bridge.status();
            let is_idle = status["journal"]["paused"] == true && status["databases"]["local"]["pending"] == 0;
            if is_idle { Some(true) } else { (bridge.journaled() >= COUNT).then_some(false) }
        });
    let mut seen = Seen::default();
    if is_paused {
        seen.pauses += 1;
        let readiness = stage.bridge.get("/readyz").unwrap();
        assert_eq!(readiness.status, 503, "{}", readiness.body);
        assert!(readiness.body.contains("journal"), "{}", readiness.body);
        let journaled = stage.bridge.journaled();
        std::thread::sleep(Duration::from_millis(200));
        if let Case::Killed { .. } = case {
            stage.bridge.kill();
            stage.bridge.spawn();
            std::thread::sleep(Duration::from_millis(800));
            assert!(stage.bridge.ended().is_none(), "a full disk is no reason not to start: what waits is delivered");
        } else {
            assert_eq!(stage.bridge.journaled(), journaled, "nothing is taken while it pauses");
        }
    } else {
        load.wait_until(COUNT);
    }
    drop(hog);
    load.finish();
    stage.assert_recovered(is_paused.then_some("data/journal"));
    seen
}

/// The database's disk fills up; the journal's has room.
fn database_on_a_full_disk(left: u64, round: Round) -> Seen {
    let mut stage = Stage::new("rows", "pause", round);
    let load = stage.load(0, COUNT).per_second(RATE).start();
    stage.bridge.wait_alive("some are journaled", |bridge| (bridge.journaled() >= COUNT / 8).then_some(()));
    let hog = Hog::of(&stage.disk, move |disk| disk.fill(left));
    load.finish();
    stage.bridge.wait_alive("the journal takes what the database cannot", |bridge| {
        let status = bridge.status();
        let error = status["databases"]["local"]["last_error"].as_str().unwrap_or_default();
        let is_told = error.contains("SQLITE_FULL") || error.contains("SQLITE_IOERR");
        (bridge.journaled() >= COUNT && is_told && error.contains("rows.db")).then_some(())
    });
    assert_eq!(stage.bridge.get("/readyz").unwrap().status, 200, "messages are taken safely");
    let waiting = stage.bridge.status()["databases"]["local"]["pending"].as_u64().unwrap();
    assert!(waiting > 0, "the database took all: its disk was not full");
    drop(hog);
    stage.assert_recovered(Some("rows.db"));
    Seen { database_refusals: 1, ..Seen::default() }
}

/// The journal's disk fills up with the database away, and messages may be dropped: each is a row or in a told range.
fn dropping_on_a_full_disk(policy: &str, round: Round) -> Seen {
    let mut stage = Stage::new("data", policy, Round { qos: 1, ..round });
    let other = sqlite(&stage.rows());
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // All at once: what the bridge frees is the bridge's.
    assert!(stage.disk.fill(4 * SEGMENT_BYTES) > 0);
    stage.load(0, COUNT).run();
    stage.bridge.wait_alive("all are received", |bridge| {
        (bridge.metrics().value("rowbridge_messages_received_total", &[("qos", "1")])? >= COUNT as f64).then_some(())
    });
    // What was received may still be on its way to the disk.
    stage.bridge.wait_alive("some are dropped", |bridge| {
        (bridge.metrics().value("rowbridge_messages_lost_total", &[])? > 0.0).then_some(())
    });
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    stage.disk.relieve();
    stage.bridge.wait_alive("every number is given out", |bridge| (bridge.journaled() >= COUNT).then_some(()));
    stage.bridge.wait_drained("local");
    let lost = stage.bridge.metrics().value("rowbridge_messages_lost_total", &[]).unwrap() as u64;
    assert!(lost > 0, "{policy}: more than fits was sent");
    assert!(stage.bridge.log().contains("messages lost"), "{policy}: the loss is told");
    let file = stage.rows();
    let (written, told) = (count(&file, "readings"), messages_in_lost_ranges(&file));
    assert_eq!(written + told, COUNT, "{policy}: each is a row or in a lost range");
    // A batch on its way when its messages were dropped still arrives.
    assert!(lost >= told, "{policy}: {lost} counted, {told} in ranges");
    Seen { lost_and_told: told, ..Seen::default() }
}

fn run(case: Case, round: Round) -> Seen {
    match case {
        Case::Journal { .. } | Case::Killed { .. } | Case::Inodes => journal_on_a_full_disk(case, round),
        Case::Database { left } => database_on_a_full_disk(left, round),
        Case::Dropping { policy } => dropping_on_a_full_disk(policy, round),
    }
}

/// SQLite maps the index of its log into memory, and has a quarter of its blocks allocated where they are of 1 KiB: a store
/// into the others on a full disk ended the bridge with SIGBUS.
#[test]
fn a_full_disk_of_small_blocks_under_the_database_does_not_end_the_bridge() {
    for left in [0, 20 * KIB] {
        database_on_a_full_disk(left, Round { qos: 2, block_bytes: Some(1024) });
    }
}

#[test]
fn a_full_disk_pauses_or_drops_as_told_loses_nothing_silently_and_passes() {
    let mut campaign = Campaign::begin("full_disk", 5);
    let mut sums = Seen::default();
    while let Some(seed) = campaign.next_seed() {
        let lap = (seed - 1) / CASES.len() as u64;
        let case = CASES[((seed - 1) % CASES.len() as u64) as usize];
        let qos = if lap.is_multiple_of(2) { 2 } else { 1 };
        let block_bytes = [Some(1024), Some(4096), None][(lap % 3) as usize];
        let round = Round { qos, block_bytes };
        println!("seed {seed}: {case:?}, {round:?} (alone: ROWBRIDGE_PROVE_FULL_DISK=1 ROWBRIDGE_PROVE_SEED={seed})");
        let seen = run(case, round);
        sums.pauses += seen.pauses;
        sums.lost_and_told += seen.lost_and_told;
        sums.database_refusals += seen.database_refusals;
    }
    let is_long = campaign.rounds() >= 4 * CASES.len() as u64;
    assert!(!is_long || sums.pauses > 0, "a full disk that never makes the journal pause proves nothing");
    campaign.proved(&[
        ("pauses", sums.pauses),
        ("database_refusals", sums.database_refusals),
        ("dropped_and_told", sums.lost_and_told),
    ]);
}

/// Of the ranges that the database was told of.
fn messages_in_lost_ranges(file: &Path) -> u64 {
    let errors: Vec<String> = column(file, "SELECT error FROM rowbridge_dead_letters WHERE reason = 'lost_range'");
    let length = |error: &String| {
        let mut numbers = error.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
        let (first, last) = (numbers.next().unwrap(), numbers.next().unwrap());
        last - first + 1
    };
    errors.iter().map(length).sum()
}
