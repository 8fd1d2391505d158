//! Messages that a broker counts as sent and holds back come all the same.

use rustix::process::Signal;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Tally;
use crate::support::publisher::{Load, reading};

/// Enough identifiers in a row that the broker is known to count.
const BEFORE: u64 = 2_500;
/// Mosquitto's defaults: a thousand in flight to us and a thousand queued.
const MEANWHILE: u64 = 1_990;
/// What is held back behind the last packet shows when another one comes.
const AFTERWARDS: u64 = 10;
/// So large that the socket's buffers hold few of them.
const PADDING_BYTES: usize = 20_000;

#[test]
fn what_mosquitto_drops_before_the_socket_comes_with_a_new_connection() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, BEFORE).per_second(2_000).run();
    bridge.wait_ids("readings", BEFORE);
    bridge.signal(Signal::STOP);
    let large = |id| {
        let (topic, mut payload) = reading(id);
        payload.pop();
        payload.extend(format!(",\"padding\":\"{}\"}}", "x".repeat(PADDING_BYTES)).into_bytes());
        (topic, payload)
    };
    Load::new(broker.port(), 1, MEANWHILE).numbered_from(BEFORE).made_by(large).run();
    bridge.signal(Signal::CONT);
    let all = BEFORE + MEANWHILE + AFTERWARDS;
    Load::new(broker.port(), 1, AFTERWARDS).numbered_from(BEFORE + MEANWHILE).per_second(2).run();
    bridge.wait_ids("readings", all);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..all).assert_none_lost("readings");
    // Whether this version of Mosquitto drops anything is its affair; if it did, it was noticed.
    let dropped = broker.log().contains("Outgoing messages are being dropped");
    assert_eq!(dropped, bridge.log().contains("left out packet identifiers"), "{}", bridge.log());
}
