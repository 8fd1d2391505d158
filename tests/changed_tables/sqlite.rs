//! The same in a SQLite file.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{sqlite, value};
use crate::support::publisher::Publisher;

/// A bridge that writes the messages of `m/#` into table `t`, which `sql` makes.
fn stage(sql: &str) -> (Bridge, Publisher, Mosquitto) {
    let broker = Mosquitto::start();
    let body =
        "databases: { local: { url: 'sqlite:rows.db' } }\nrules:\n  - { topic: 'm/#', table: t, columns: auto }\n";
    let mut bridge = Bridge::new(broker.port(), body);
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(sql).unwrap();
    bridge.start();
    let publisher = Publisher::new(broker.port());
    (bridge, publisher, broker)
}

#[track_caller]
fn deliver(bridge: &mut Bridge, publisher: &mut Publisher, payload: &str) {
    let journaled = bridge.journaled();
    publisher.send("m/x", payload);
    bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() > journaled).then_some(()));
    bridge.wait_drained("local");
}

fn alter(bridge: &Bridge, sql: &str) {
    sqlite(&bridge.rows()).execute_batch(sql).unwrap();
}

#[test]
fn another_table_under_the_same_name_gets_values_of_its_own_types() {
    let (mut bridge, mut publisher, _broker) = stage("CREATE TABLE t (id INTEGER, at TIMESTAMP, b TEXT)");
    let message = |id: u32| format!(r#"{{"id":{id},"at":"2026-11-21T08:26:00Z","b":"007"}}"#);
    deliver(&mut bridge, &mut publisher, &message(1));
    let shown = |bridge: &Bridge, id: u32| {
        let row = format!("SELECT at || ' ' || typeof(b) || ' ' || CAST(b AS TEXT) FROM t WHERE id = {id}");
        value::<String>(&bridge.rows(), &row)
    };
    assert_eq!(shown(&bridge, 1), "2026-11-21T08:26:00.000Z text 007");
    for (id, swap, expected) in [
        (2, "DROP TABLE t; CREATE TABLE t (at TEXT, b INTEGER, id INTEGER)", "2026-11-21T08:26:00Z integer 7"),
        (
            3,
            "ALTER TABLE t RENAME TO old; CREATE TABLE t (id INTEGER, at JSON_TEXT, b BLOB)",
            "\"2026-11-21T08:26:00Z\" blob 007",
        ),
        (4, "DROP TABLE t; ALTER TABLE old RENAME TO t", "2026-11-21T08:26:00Z integer 7"),
        (
            5,
            "ALTER TABLE t RENAME COLUMN at TO x; ALTER TABLE t ADD COLUMN at TIMESTAMP",
            "2026-11-21T08:26:00.000Z integer 7",
        ),
    ] {
        alter(&bridge, &format!("BEGIN; {swap}; COMMIT"));
        deliver(&mut bridge, &mut publisher, &message(id));
        assert_eq!(shown(&bridge, id), expected, "{swap}");
    }
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_dead_letters"), 0);
}

#[test]
fn an_added_column_is_filled_and_what_a_table_has_come_to_take_is_no_dead_letter() {
    let (mut bridge, mut publisher, _broker) = stage("CREATE TABLE t (id INTEGER, n INTEGER NOT NULL)");
    deliver(&mut bridge, &mut publisher, r#"{"id":1,"n":1,"temp":20.5}"#);
    alter(&bridge, "ALTER TABLE t ADD COLUMN temp REAL");
    deliver(&mut bridge, &mut publisher, r#"{"id":2,"n":1,"temp":21.5}"#);
    deliver(&mut bridge, &mut publisher, r#"{"id":3,"n":"x","temp":22.5}"#);
    deliver(&mut bridge, &mut publisher, r#"{"id":4,"temp":23.5}"#);
    alter(&bridge, "DROP TABLE t; CREATE TABLE t (id INTEGER, n TEXT, temp REAL)");
    deliver(&mut bridge, &mut publisher, r#"{"id":5,"n":"x","temp":24.5}"#);
    deliver(&mut bridge, &mut publisher, r#"{"id":6,"temp":25.5}"#);
    let rows = "SELECT group_concat(id || ' ' || coalesce(n, '-') || ' ' || temp, ';') FROM t";
    assert_eq!(value::<String>(&bridge.rows(), rows), "5 x 24.5;6 - 25.5");
    let letters = "SELECT group_concat(reason) FROM rowbridge_dead_letters";
    assert_eq!(value::<String>(&bridge.rows(), letters), "value,required");
}

/// A table of other types takes the name again and again, while messages come as fast as they can.
#[test]
fn under_load_every_row_has_the_type_of_the_table_that_it_is_in() {
    const SWAPS: u32 = 60;
    let (mut bridge, mut publisher, broker) = stage("CREATE TABLE t (id INTEGER, at TIMESTAMP)");
    let port = broker.port();
    let load = std::thread::spawn(move || {
        let mut publisher = Publisher::new(port);
        for id in 1..=1_500 {
            publisher.send("m/x", format!(r#"{{"id":{id},"at":"2026-11-21T08:26:00Z"}}"#));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    // Each swap waits for rows of the last one.
    let types = ["TEXT", "JSON_TEXT", "TIMESTAMP"];
    for swap in 0..SWAPS {
        bridge.wait_alive("rows come", |bridge| {
            let is_over = bridge.journaled() >= 1_500;
            (is_over || value::<i64>(&bridge.rows(), "SELECT count(*) FROM t") > 0).then_some(())
        });
        let sql_type = types[swap as usize % types.len()];
        alter(
            &bridge,
            &format!("BEGIN; ALTER TABLE t RENAME TO t{swap}; CREATE TABLE t (id INTEGER, at {sql_type}); COMMIT"),
        );
    }
    load.join().unwrap();
    deliver(&mut bridge, &mut publisher, r#"{"id":0,"at":"2026-11-21T08:26:00Z"}"#);
    let connection = sqlite(&bridge.rows());
    let tables = (0..SWAPS).map(|swap| format!("t{swap}")).chain(["t".to_owned()]);
    let mut ids = 0;
    for (index, table) in tables.enumerate() {
        let sql_type = if index == 0 { "TIMESTAMP" } else { types[(index - 1) % types.len()] };
        let expected = match sql_type {
            "TIMESTAMP" => "at = '2026-11-21T08:26:00.000Z'",
            "TEXT" => "at = '2026-11-21T08:26:00Z'",
            _ => "at = '\"2026-11-21T08:26:00Z\"'",
        };
        let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(
            ask(&format!("SELECT count(*) FROM {table} WHERE NOT ({expected}) OR at IS NULL")),
            0,
            "{table} {sql_type}"
        );
        ids += ask(&format!("SELECT count(DISTINCT id) FROM {table}"));
    }
    assert_eq!(ids, 1_501);
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_dead_letters"), 0);
}
