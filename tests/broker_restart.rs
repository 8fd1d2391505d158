//! The broker goes away and comes back, with and without its memory.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto, PERSISTENT};
use crate::support::oracle::Tally;
use crate::support::publisher::{Load, Publisher, reading};
use crate::support::{PATIENCE, wait_within};

#[test]
fn a_broker_with_persistence_is_restarted_and_nothing_is_lost() {
    let mut broker = Mosquitto::with(&format!("{DEEP_QUEUE}{PERSISTENT}"));
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let count = 3_000;
    let load = Load::new(broker.port(), 1, count).per_second(1_500).start();
    for restart in 1..=3 {
        load.wait_until(restart * 700);
        broker.stop();
        broker.restart();
    }
    load.finish();
    bridge.wait_ids("readings", count);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..count).assert_none_lost("readings");
    let status = bridge.status();
    assert_eq!(status["mqtt"]["sessions_lost"], 0, "{status}");
    assert_eq!(status["mqtt"]["session_present"], true, "{status}");
}

#[test]
fn a_broker_that_forgets_the_session_is_reported_and_the_stream_goes_on() {
    let mut broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let status = bridge.status();
    assert_eq!(status["mqtt"]["sessions_lost"], 0, "a first session is not a lost one: {status}");
    Load::new(broker.port(), 1, 100).run();
    bridge.wait_rows("readings", 100);

    broker.kill();
    wait_within(PATIENCE, "the lost connection shows", || {
        (bridge.status()["mqtt"]["connected"] == false).then_some(())
    });
    broker.restart();
    bridge.wait_alive("the lost session is counted", |bridge| {
        (bridge.status()["mqtt"]["sessions_lost"] == 1).then_some(())
    });
    bridge.wait_ready();
    assert!(bridge.metrics().value("rowbridge_session_lost_total", &[]) == Some(1.0));
    let log = bridge.log();
    let told = log.lines().any(|line| line.contains("ERROR") && line.to_lowercase().contains("session"));
    assert!(told, "the log tells of the lost session at ERROR:\n{log}");

    Load::new(broker.port(), 1, 100).numbered_from(100).run();
    bridge.wait_rows("readings", 200);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..200).assert_each_once("readings");
}

#[test]
fn a_session_that_was_lost_while_the_bridge_was_stopped_is_reported_at_the_next_start() {
    let mut broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    assert!(bridge.stop().success());
    broker.kill();
    broker.restart();
    bridge.start();
    bridge.wait_alive("the lost session is counted", |bridge| {
        (bridge.status()["mqtt"]["sessions_lost"] == 1).then_some(())
    });
    Load::new(broker.port(), 1, 50).run();
    bridge.wait_rows("readings", 50);
}

#[test]
fn a_bridge_that_starts_before_its_broker_waits_for_it() {
    let mut broker = Mosquitto::start();
    broker.stop();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.spawn();
    bridge.wait_alive("it lives", |bridge| bridge.get("/healthz").filter(|answer| answer.status == 200));
    assert_ne!(bridge.get("/readyz").unwrap().status, 200, "without a broker no message is taken");
    broker.restart();
    bridge.wait_ready();
    let mut publisher = Publisher::new(broker.port());
    let (topic, payload) = reading(0);
    publisher.send(&topic, payload);
    bridge.wait_rows("readings", 1);
}

#[test]
fn messages_published_while_the_bridge_was_away_arrive_in_order() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(2));
    bridge.start();
    assert!(bridge.stop().success());
    Load::new(broker.port(), 2, 500).made_by(|id| ("sensors/a/b/telemetry".into(), reading(id).1)).run();
    bridge.start();
    bridge.wait_rows("readings", 500);
    let ids: Vec<i64> = crate::support::oracle::column(&bridge.rows(), "SELECT id FROM readings ORDER BY rowid");
    assert_eq!(ids, (0..500).collect::<Vec<i64>>());
}
