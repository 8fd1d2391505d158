//! A machine that sleeps: the bridge is stopped for seconds or minutes and finds the connections gone and the clock moved.
//!
//! `ROWBRIDGE_PROVE_SUSPEND` is for how many seconds; `ROWBRIDGE_PROVE_SLEEP` how many times, from a fresh start each.

use std::time::Duration;

use rowbridge::campaign::Campaign;
use rustix::process::Signal;

use super::clock::WallClock;
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

const CLOUD: &str = "
databases:
  cloud: { url: 'URL', retry: { min: 50ms, max: 500ms } }
rules:
  - name: readings
    topic: sensors/{site}/{device}/telemetry
    qos: QOS
    table: readings
    create: true
    columns:
      id: { from: payload.id, type: bigint }
";

/// The machine sleeps for so many seconds: the broker drops the connection, Postgres ends the idle session, messages go
/// on being published, and the clock is set on waking.
fn sleep_and_wake(seconds: u64, qos: u8) {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rules = CLOUD.replace("URL", &postgres.url(&database)).replace("QOS", &qos.to_string());
    let mut bridge = Bridge::with_mqtt(broker.port(), "keep_alive: 2s", &rules);
    let clock = WallClock::of(&mut bridge);
    bridge.start();
    let total = 200 + seconds * 20;
    let load = Load::new(broker.port(), qos, total).per_second(100).start();
    bridge.wait_alive("messages flow", |bridge| (bridge.journaled() >= 50).then_some(()));
    bridge.signal(Signal::STOP);
    let sessions = format!("FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()");
    let ended = postgres.psql(&database, &format!("SELECT count(pg_terminate_backend(pid)) {sessions}"));
    assert_ne!(ended.trim(), "0", "there was no session to end");
    std::thread::sleep(Duration::from_secs(seconds));
    clock.set("+600");
    bridge.signal(Signal::CONT);
    assert!(broker.log().contains("exceeded timeout"), "the broker did not drop the sleeper: sleep longer");
    load.finish();
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= total).then_some(()));
    bridge.wait_drained("cloud");
    assert_eq!(bridge.metrics().value("rowbridge_messages_lost_total", &[]).unwrap_or(0.0), 0.0);
    let ids = postgres.psql(&database, "SELECT id FROM readings");
    let tally = Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..total);
    match qos {
        2 => tally.assert_each_once("Postgres"),
        _ => tally.assert_none_lost("Postgres"),
    }
    assert!(bridge.stop().success());
}

/// Mosquitto gives up after one and a half keep-alives, and looks every five seconds.
fn sleep_seconds() -> u64 {
    let text = std::env::var("ROWBRIDGE_PROVE_SUSPEND").unwrap_or_else(|_| "9".to_owned());
    text.parse().unwrap_or_else(|_| panic!("ROWBRIDGE_PROVE_SUSPEND={text} is not a number of seconds"))
}

#[test]
fn a_machine_that_slept_goes_on_by_itself_and_loses_nothing() {
    let mut campaign = Campaign::begin("sleep", 1);
    let seconds = sleep_seconds();
    while let Some(seed) = campaign.next_seed() {
        let qos = if seed.is_multiple_of(3) { 1 } else { 2 };
        println!("seed {seed}: {seconds} s, QoS {qos}");
        sleep_and_wake(seconds, qos);
    }
    campaign.proved(&[("seconds_asleep_each", seconds)]);
}
