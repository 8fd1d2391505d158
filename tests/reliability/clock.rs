//! Time that cannot be trusted: the wall clock jumps by years under the running bridge.
//!
//! libfaketime gives the real binary a wall clock of the test's making; the monotonic clock stays true, as on a machine
//! whose clock is set.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rowbridge::campaign::Campaign;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, column, count, value};
use crate::support::proxy::Proxy;
use crate::support::publisher::{Load, Publisher};

/// What libfaketime is told. Each makes another year.
const JUMPS: &[&str] = &[
    "@1970-01-03 00:00:10",
    "@2039-06-01 00:00:00",
    "+365d",
    "-365d",
    "-731d",
    "@2001-09-09 01:46:30",
    "@2106-02-08 00:00:00",
];

/// Messages about each jump.
const BETWEEN: u64 = 120;
const RATE: u64 = 400;

/// Many segments, none of which is an hour old however often a clock says so.
const KEPT_SEGMENTS: &str = "journal: { segment_size: 32KiB, max_size: 64MiB, keep: 1h }\n";

/// The bridge's wall clock.
pub(super) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    pub(super) fn of(bridge: &mut Bridge) -> WallClock {
        let clock = WallClock { file: bridge.path("clock") };
        clock.set("+0");
        bridge.set_environment("LD_PRELOAD", &library().display().to_string());
        bridge.set_environment("FAKETIME_TIMESTAMP_FILE", &clock.file.display().to_string());
        bridge.set_environment("FAKETIME_NO_CACHE", "1");
        bridge.set_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// In one step: the bridge may read it at any time.
    pub(super) fn set(&self, time: &str) {
        let unfinished = self.file.with_extension("new");
        std::fs::write(&unfinished, format!("{time}\n")).unwrap();
        std::fs::rename(unfinished, &self.file).unwrap();
    }
}

/// Where distributions put it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    folders
        .chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from))
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|file| file.is_file())
        .expect("libfaketime is not installed: the reliability tests need it (package faketime)")
}

/// Publishes while the clock jumps, each time with the connection to the broker cut right after; returns the jumps.
fn jumps(seed: u64, qos: u8) -> u64 {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let to_broker = Proxy::to(broker.port());
    let mut bridge = Bridge::new(to_broker.port(), &format!("{KEPT_SEGMENTS}{}", readings(qos)));
    let clock = WallClock::of(&mut bridge);
    bridge.start();
    Publisher::new(broker.port()).send("sensors/site0/device0/telemetry", "no JSON at all");
    let letters = "rowbridge_dead_letters";
    bridge.wait_alive("a dead letter", |bridge| (count(&bridge.rows(), letters) == 1).then_some(()));
    let mut published = 0;
    for turn in 0..JUMPS.len() {
        let load = Load::new(broker.port(), qos, BETWEEN).numbered_from(published).per_second(RATE).start();
        published += BETWEEN;
        load.wait_until(BETWEEN / 4);
        clock.set(JUMPS[(turn + seed as usize) % JUMPS.len()]);
        // A third of the jumps meets a bridge that is starting, as a device without a battery does.
        if (turn as u64 + seed).is_multiple_of(3) {
            bridge.kill();
            bridge.spawn();
        } else {
            to_broker.cut();
        }
        load.finish();
        bridge.wait_alive("it is connected again and messages flow", |bridge| {
            (bridge.status()["mqtt"]["connected"] == true && bridge.journaled() > published).then_some(())
        });
    }
    clock.set("+0");
    bridge.wait_ids("readings", published);
    bridge.wait_drained("local");
    let oldest = bridge.status()["journal"]["oldest_seq"].clone();
    assert_eq!(oldest, 1, "a segment went before it was kept for an hour");
    assert_eq!(count(&bridge.rows(), letters), 1, "the dead letter is not a month old");
    assert_eq!(bridge.metrics().value("rowbridge_messages_lost_total", &[]).unwrap_or(0.0), 0.0);
    assert!(bridge.stop().success());
    assert!(bridge.command(&["journal", "verify"]).status.success());
    let file = bridge.rows();
    let tally = Tally::of_sqlite(&file, "readings", 0..published);
    if qos == 2 {
        tally.assert_each_once("readings");
        assert_in_order(&file);
    } else {
        tally.assert_none_lost("readings");
    }
    let years: i64 = value(&file, "SELECT count(DISTINCT strftime('%Y', received)) FROM readings");
    assert!(years as usize >= JUMPS.len(), "the rows tell of {years} years only: the clock did not jump");
    JUMPS.len() as u64
}

/// Per device, that is per topic.
fn assert_in_order(file: &Path) {
    let mut newest: HashMap<i64, i64> = HashMap::new();
    for id in column::<i64>(file, "SELECT id FROM readings ORDER BY rowid") {
        let before = newest.insert(id % 150, id);
        assert!(before.is_none_or(|before| before < id), "{id} came after {before:?} on one topic");
    }
}

#[test]
fn a_wall_clock_that_jumps_by_years_loses_nothing_and_deletes_nothing_early() {
    let mut campaign = Campaign::begin("clock", 1);
    let mut jumped = 0;
    while let Some(seed) = campaign.next_seed() {
        let qos = if seed.is_multiple_of(3) { 1 } else { 2 };
        println!("seed {seed}: QoS {qos} (alone: ROWBRIDGE_PROVE_CLOCK=1 ROWBRIDGE_PROVE_SEED={seed})");
        jumped += jumps(seed, qos);
    }
    campaign.proved(&[("jumps", jumped)]);
}
