//! Several bridges share one load: `$share/GROUP/…`, one Postgres. Each has a journal, a session and an offset row of its own.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;
use crate::support::{sized, wait_for};

const RULES: &str = "
databases:
  cloud: { url: 'POSTGRES' }
rules:
  - name: readings
    topic: $share/fleet/sensors/{site}/{device}/telemetry
    qos: 2
    table: readings
    create: true
    columns:
      id: { from: payload.id, type: bigint }
      device: topic.device
      taken_by: bridge
";

#[test]
fn three_bridges_of_a_group_store_each_message_once_though_one_is_killed_and_replaced() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let broker = Mosquitto::with("max_queued_messages 100000\n");
    let rules = RULES.replace("POSTGRES", &postgres.url(&database));
    let mut bridges: Vec<Bridge> = (0..3).map(|_| Bridge::new(broker.port(), &rules)).collect();
    // At once, so that they race for the tables.
    bridges.iter_mut().for_each(Bridge::spawn);
    bridges.iter_mut().for_each(Bridge::wait_ready);

    let count = sized(1_500, 60_000);
    let load = Load::new(broker.port(), 2, count).start();
    load.wait_until(count / 4);
    bridges[1].kill();
    // The broker keeps its share for its session, and the others go on with theirs.
    load.wait_until(count / 2);
    // The replacement has the journal of the one that was killed, and so its session and its place in the database.
    bridges[1].start();
    load.finish();

    let stored = |what: &str| postgres.psql(&database, &format!("SELECT {what} FROM readings")).trim().to_owned();
    wait_for("all messages are stored", || (stored("count(DISTINCT id)") == count.to_string()).then_some(()));
    bridges.iter_mut().for_each(|bridge| bridge.wait_drained("cloud"));
    assert_eq!(stored("count(*)"), count.to_string(), "each once");
    assert_eq!(stored("min(id)"), "0");
    assert_eq!(stored("max(id)"), (count - 1).to_string());
    assert_eq!(stored("count(DISTINCT taken_by)"), "3", "each had a share");
    let journaled: u64 = bridges.iter().map(Bridge::journaled).sum();
    assert_eq!(journaled, count, "and no journal holds one twice");
    let offsets = postgres.psql(&database, "SELECT count(*), sum(next_seq - 1) FROM rowbridge_offsets");
    assert_eq!(offsets.trim(), format!("3|{count}"));
}
