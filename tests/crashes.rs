//! kill -9 at any instant: nothing lost, and at QoS 2 nothing twice.

use std::time::Duration;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::publisher::Load;
use crate::support::sized;

/// Messages per second while the bridge is killed: enough that something is in flight at every instant.
const RATE: u64 = 1_000;

/// Segments of a few hundred messages that go as soon as they are delivered: rotation and trimming all the time.
const SMALL_SEGMENTS: &str = "journal: { segment_size: 32KiB, max_size: 8MiB, keep: 0s }\n";

/// Kills the bridge at random instants while `count` readings are published, and returns what the rows say.
fn killed_at_random_instants(qos: u8, journal: &str) -> Tally {
    let kills = sized(6, 30);
    let count = kills * 500;
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("{journal}{}", readings(qos)));
    bridge.start();
    let load = Load::new(broker.port(), qos, count).per_second(RATE).start();
    for kill in 1..=kills {
        // Sometimes before it is ready again, sometimes in full flow.
        let instant = Duration::from_millis(20 + u64::from(random_byte()) * 3);
        std::thread::sleep(instant);
        bridge.kill();
        println!("kill {kill} of {kills} after {instant:?}, {} published", load.acknowledged());
        bridge.spawn();
    }
    load.finish();
    bridge.wait_ready();
    bridge.wait_ids("readings", count);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count)
}

fn random_byte() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap();
    byte[0]
}

#[test]
fn kill_minus_nine_at_random_instants_loses_nothing_and_repeats_nothing_at_qos_2() {
    killed_at_random_instants(2, "").assert_each_once("readings");
}

#[test]
fn kill_minus_nine_at_random_instants_loses_nothing_at_qos_1() {
    let tally = killed_at_random_instants(1, "");
    tally.assert_none_lost("readings");
    println!("{} messages came twice, as QoS 1 permits", tally.repeated());
}

#[test]
fn kill_minus_nine_while_segments_come_and_go_loses_nothing_and_repeats_nothing_at_qos_2() {
    killed_at_random_instants(2, SMALL_SEGMENTS).assert_each_once("readings");
}

#[test]
fn a_bridge_killed_while_it_starts_loses_nothing() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(2));
    bridge.start();
    bridge.kill();
    let count = 200;
    Load::new(broker.port(), 2, count).run();
    for delay_ms in [1, 3, 6, 10, 15, 25, 40, 60, 90] {
        bridge.spawn();
        std::thread::sleep(Duration::from_millis(delay_ms));
        bridge.kill();
    }
    bridge.start();
    bridge.wait_rows("readings", count);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_each_once("readings");
}
