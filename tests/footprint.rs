//! What the bridge costs when there is nothing to do. Printed, not judged: machines differ.

use std::time::Duration;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;

#[test]
fn memory_when_idle_and_the_time_to_start_are_printed() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    let first = bridge.start_timed();
    bridge.wait_drained("local");
    std::thread::sleep(Duration::from_millis(500));
    let resident = bridge.resident_bytes();
    assert!(bridge.stop().success());
    let second = bridge.start_timed();
    println!("first start {first:?}, second start {second:?}, resident when idle {} KiB", resident / 1024);
    assert!(resident > 0);
}
