//! A table that does not fit holds its database, loudly, until a person mends it; then delivery goes on by itself.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, sqlite, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

const COUNT: u64 = 200;

/// Waits until `database` is held, and returns the reason that `/status` shows.
#[track_caller]
fn held(bridge: &mut Bridge, database: &str) -> String {
    let held = bridge.wait_alive("the database is held", |bridge| {
        let held = &bridge.status()["databases"][database]["held"];
        (!held.is_null()).then(|| held.to_string())
    });
    bridge.wait_alive("the log tells why", |bridge| bridge.log().contains("ERROR").then_some(()));
    held
}

/// Without `create: true`, on a file that the test has prepared.
fn without_create(port: u16, table: &str) -> Bridge {
    let bridge = Bridge::new(port, &readings(1).replace("    create: true\n", ""));
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(table).unwrap();
    bridge
}

const COMPLETE: &str = "CREATE TABLE readings (id BIGINT, site TEXT, device TEXT, temp DOUBLE, received TEXT)";

#[test]
fn a_missing_table_holds_the_database_until_it_is_made() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = without_create(broker.port(), "");
    bridge.start();
    Load::new(broker.port(), 1, COUNT).run();
    let reason = held(&mut bridge, "local");
    assert!(reason.contains("readings") && reason.contains("CREATE TABLE"), "{reason}");
    assert!(bridge.log().contains("CREATE TABLE"), "the log shows what would mend it");
    bridge.wait_alive("all are journaled all the same", |bridge| (bridge.journaled() >= COUNT).then_some(()));
    sqlite(&bridge.rows()).execute_batch(COMPLETE).unwrap();
    bridge.wait_rows("readings", COUNT);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..COUNT).assert_each_once("readings");
    assert!(bridge.status()["databases"]["local"]["held"].is_null());
}

/// The SQL shown is good as it stands.
#[test]
fn the_sql_that_status_shows_for_a_missing_table_mends_it() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = without_create(broker.port(), "");
    bridge.start();
    held(&mut bridge, "local");
    let held = bridge.status()["databases"]["local"]["held"].clone();
    let text = held["mend"].as_str().or_else(|| held["sql"].as_str()).or_else(|| held.as_str()).unwrap().to_owned();
    let begin = text.find("CREATE TABLE").unwrap();
    let end = text.rfind(')').unwrap();
    sqlite(&bridge.rows()).execute_batch(&text[begin..=end]).unwrap_or_else(|error| panic!("{text}: {error}"));
    Load::new(broker.port(), 1, COUNT).run();
    bridge.wait_rows("readings", COUNT);
}

#[test]
fn a_table_that_lacks_a_column_holds_the_database_until_it_is_added() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge =
        without_create(broker.port(), "CREATE TABLE readings (id BIGINT, site TEXT, device TEXT, received TEXT)");
    bridge.start();
    Load::new(broker.port(), 1, COUNT).run();
    let reason = held(&mut bridge, "local");
    assert!(reason.contains("temp") && reason.contains("ALTER TABLE"), "{reason}");
    sqlite(&bridge.rows()).execute_batch("ALTER TABLE readings ADD COLUMN temp DOUBLE").unwrap();
    bridge.wait_rows("readings", COUNT);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..COUNT).assert_each_once("readings");
}

#[test]
fn a_table_dropped_while_the_bridge_runs_holds_it_and_loses_nothing() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = without_create(broker.port(), COMPLETE);
    bridge.start();
    Load::new(broker.port(), 1, 50).run();
    bridge.wait_rows("readings", 50);
    sqlite(&bridge.rows()).execute_batch("ALTER TABLE readings RENAME TO readings_before").unwrap();
    Load::new(broker.port(), 1, COUNT).numbered_from(50).run();
    held(&mut bridge, "local");
    sqlite(&bridge.rows()).execute_batch("ALTER TABLE readings_before RENAME TO readings").unwrap();
    bridge.wait_rows("readings", 50 + COUNT);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..50 + COUNT).assert_each_once("readings");
}

#[test]
fn create_makes_the_table_with_the_types_that_the_sources_have() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.edit(
        "      received: received_at\n",
        "      received: received_at\n      q: qos\n      r: retain\n      all: payload\n",
    );
    bridge.start();
    Load::new(broker.port(), 1, 1).run();
    bridge.wait_rows("readings", 1);
    let sql: String = value(&bridge.rows(), "SELECT sql FROM sqlite_schema WHERE name = 'readings'");
    println!("{sql}");
    let row = "SELECT id || '|' || site || '|' || device || '|' || temp || '|' || q || '|' || r || '|' || \"all\" FROM readings";
    let row: String = value(&bridge.rows(), row);
    assert_eq!(row, r#"0|site0|device0|0.25|1|0|{"id":0,"temp":0.25}"#);
    let received: String = value(&bridge.rows(), "SELECT received FROM readings");
    assert!(received.ends_with('Z') && received.parse::<jiff::Timestamp>().is_ok(), "{received}");
}

#[test]
fn a_held_postgres_does_not_hold_sqlite_and_mended_it_goes_on() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let broker = Mosquitto::with(DEEP_QUEUE);
    let cloud = format!(
        "
databases:
  local: {{ url: 'sqlite:rows.db' }}
  cloud: {{ url: '{}' }}
rules:
  - {{ name: a, topic: 'sensors/#', database: local, table: readings, create: true, columns: {{ id: {{ from: payload.id, type: bigint }} }} }}
  - {{ name: b, topic: 'sensors/#', database: cloud, table: readings, columns: {{ id: payload.id, temp: {{ from: payload.temp, type: double }} }} }}
",
        postgres.url(&database)
    );
    postgres.psql(&database, "CREATE TABLE readings (id bigint)");
    let mut bridge = Bridge::new(broker.port(), &cloud);
    bridge.start();
    Load::new(broker.port(), 1, COUNT).run();
    let reason = held(&mut bridge, "cloud");
    assert!(reason.contains("temp") && reason.contains("ALTER TABLE"), "{reason}");
    bridge.wait_rows("readings", COUNT);
    postgres.psql(&database, "ALTER TABLE readings ADD temp double precision");
    bridge.wait_drained("cloud");
    let ids = postgres.psql(&database, "SELECT id FROM readings");
    Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..COUNT).assert_each_once("Postgres");

    // A right that is taken away, while it runs.
    postgres.psql(&database, "ALTER TABLE readings RENAME temp TO temperature");
    Load::new(broker.port(), 1, COUNT).numbered_from(COUNT).run();
    held(&mut bridge, "cloud");
    postgres.psql(&database, "ALTER TABLE readings RENAME temperature TO temp");
    bridge.wait_drained("cloud");
    let ids = postgres.psql(&database, "SELECT id FROM readings");
    Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..2 * COUNT).assert_each_once("Postgres");
}
