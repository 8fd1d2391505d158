//! The files of a SQLite database are truncated, overwritten or removed while the bridge writes to them, read for long, or
//! were another program's before.

use std::path::Path;
use std::process::Command;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, sqlite, value};
use crate::support::publisher::{Load, Publisher};

const ROWS: u64 = 3000;

/// Runs `command` in the bridge's folder after a thousand of the rows, while the others come.
fn meddle(bridge: &mut Bridge, broker: &Mosquitto, command: &str) {
    let load = Load::new(broker.port(), 1, ROWS).per_second(1500).start();
    bridge.wait_rows("readings", 1000);
    let folder = bridge.path("");
    let done = Command::new("sh").args(["-c", command]).current_dir(folder).status().unwrap();
    assert!(done.success(), "{command}");
    load.finish();
}

fn warnings(bridge: &Bridge, words: &str) -> usize {
    bridge.log().lines().filter(|line| line.contains("WARN") && line.contains(words)).count()
}

fn integrity(file: &Path) -> String {
    value(file, "PRAGMA integrity_check")
}

#[test]
fn a_file_that_is_emptied_under_the_bridge_gets_every_message_again_once() {
    for command in [": > rows.db", "cp /dev/null rows.db", "truncate -s 0 rows.db"] {
        let broker = Mosquitto::start();
        let mut bridge = Bridge::new(broker.port(), &readings(1));
        bridge.start();
        meddle(&mut bridge, &broker, command);
        bridge.wait_rows("readings", ROWS);
        bridge.wait_drained("local");
        Tally::of_sqlite(&bridge.rows(), "readings", 0..ROWS).assert_each_once(command);
        assert_eq!(integrity(&bridge.rows()), "ok", "{command}");
        assert_eq!(warnings(&bridge, "was truncated or overwritten"), 2, "what happened, and what became of the log");
        assert!(bridge.stop().success());
        assert_eq!(integrity(&bridge.rows()), "ok", "{command}");
    }
}

#[test]
fn an_older_copy_put_into_the_file_under_the_bridge_gets_what_it_lacks_once() {
    for back_up in ["VACUUM INTO 'older.db'", ".backup older.db"] {
        let broker = Mosquitto::start();
        let mut bridge = Bridge::new(broker.port(), &readings(1));
        bridge.start();
        meddle(&mut bridge, &broker, &format!("sqlite3 rows.db \"{back_up}\" && sleep 0.3 && cp older.db rows.db"));
        bridge.wait_rows("readings", ROWS);
        bridge.wait_drained("local");
        Tally::of_sqlite(&bridge.rows(), "readings", 0..ROWS).assert_each_once(back_up);
        assert_eq!(integrity(&bridge.rows()), "ok", "{back_up}");
        assert_eq!(warnings(&bridge, "was truncated or overwritten"), 2, "{back_up}");
    }
}

#[test]
fn a_log_or_index_removed_under_the_bridge_costs_no_row() {
    for (command, words) in [
        ("rm rows.db-wal", "lost its write-ahead log"),
        ("rm rows.db-shm", "lost the index of its write-ahead log"),
        ("rm rows.db-wal rows.db-shm", "lost"),
    ] {
        let broker = Mosquitto::start();
        let mut bridge = Bridge::new(broker.port(), &readings(1));
        bridge.start();
        meddle(&mut bridge, &broker, command);
        bridge.wait_rows("readings", ROWS);
        bridge.wait_drained("local");
        Tally::of_sqlite(&bridge.rows(), "readings", 0..ROWS).assert_each_once(command);
        assert_eq!(warnings(&bridge, words), 1, "{command}");
        assert!(bridge.stop().success());
        Tally::of_sqlite(&bridge.rows(), "readings", 0..ROWS).assert_each_once(command);
        assert_eq!(integrity(&bridge.rows()), "ok", "{command}");
    }
}

#[test]
fn a_reader_that_lets_the_log_grow_is_told_of_with_its_size() {
    const PAYLOAD: usize = 500_000;
    let broker = Mosquitto::start();
    let rule = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - { name: blobs, topic: blobs, table: blobs, create: true, format: bytes, columns: { b: { from: payload, type: bytes } } }
";
    let mut bridge = Bridge::new(broker.port(), rule);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("blobs", vec![7; PAYLOAD]);
    bridge.wait_rows("blobs", 1);
    let reader = sqlite(&bridge.rows());
    reader.execute_batch("BEGIN; SELECT count(*) FROM blobs").unwrap();
    for _ in 0..150 {
        publisher.send("blobs", vec![7; PAYLOAD]);
    }
    bridge.wait_rows("blobs", 151);
    let bytes = bridge.path("rows.db-wal").metadata().unwrap().len();
    assert_eq!(bridge.metrics().value("rowbridge_sqlite_wal_bytes", &[("database", "local")]), Some(bytes as f64));
    let told: Vec<String> =
        bridge.log().lines().filter(|line| line.contains("(-wal) grows")).map(str::to_owned).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for word in ["WARN", "rows.db", "end its long transaction", "local"] {
        assert!(told[0].contains(word), "{word}: {}", told[0]);
    }
    // Told at 64 MiB; a single commit may add a batch of 8 MiB and what waited meanwhile.
    let mib = told[0].split("mib=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    assert!(mib.is_some_and(|mib| (64..90).contains(&mib)), "{}", told[0]);
    reader.execute_batch("COMMIT").unwrap();
    // One commit copies the log, another begins it anew.
    bridge.wait_alive("the log is cut", |bridge| {
        publisher.send("blobs", vec![7; PAYLOAD]);
        (bridge.path("rows.db-wal").metadata().unwrap().len() <= 16 << 20).then_some(())
    });
}

#[test]
fn a_file_that_was_not_in_wal_mode_is_told_once_that_it_is_now() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    sqlite_with_table(&bridge.rows());
    for _ in 0..2 {
        bridge.start();
        assert!(bridge.stop().success());
    }
    assert_eq!(warnings(&bridge, "is switched from its journal mode to WAL"), 1);
    assert!(bridge.log().contains("former=\"delete\""));
    assert_eq!(value::<String>(&bridge.rows(), "PRAGMA journal_mode"), "wal");

    // One of its own making is nobody else's.
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    assert!(bridge.stop().success());
    assert_eq!(warnings(&bridge, "journal mode"), 0);
}

fn sqlite_with_table(file: &Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
}

#[test]
fn rows_that_a_sqlite_table_ignores_are_counted_and_told() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    rusqlite::Connection::open(bridge.rows())
        .unwrap()
        .execute_batch(
            "CREATE TABLE readings (id BIGINT, site TEXT, device TEXT, temp DOUBLE, received TIMESTAMP);
             CREATE TRIGGER odd BEFORE INSERT ON readings WHEN new.id % 2 = 0 BEGIN SELECT RAISE(IGNORE); END",
        )
        .unwrap();
    bridge.start();
    Load::new(broker.port(), 1, 100).run();
    bridge.wait_rows("readings", 50);
    bridge.wait_drained("local");
    let rule = &bridge.status()["rules"][0];
    assert_eq!((&rule["matched"], &rule["written"]), (&100.into(), &100.into()));
    assert_eq!((&rule["rows"], &rule["rows_swallowed"]), (&50.into(), &50.into()));
    assert_eq!(bridge.metrics().value("rowbridge_rows_swallowed_total", &[("rule", "readings")]), Some(50.0));
    assert_eq!(warnings(&bridge, "the table did not take rows"), 1);
}
