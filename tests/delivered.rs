//! `journal.durability: delivered`: no disk, and acknowledgements that wait for the databases.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, sqlite, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher, reading};

const DELIVERED: &str = "journal: { durability: delivered }\n";

fn send(broker: &Mosquitto, ids: std::ops::Range<u64>) {
    let mut publisher = Publisher::new(broker.port());
    ids.for_each(|id| publisher.send(&reading(id).0, reading(id).1));
}

#[test]
fn what_the_database_has_not_committed_stays_with_the_broker_whatever_kills_the_bridge() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let body = readings(1)
        .replace("databases:\n", "databases:\n  other: { url: 'sqlite:other.db' }\n")
        .replace("    table: readings\n", "    table: readings\n    database: local\n");
    let other = body[body.find("  - name").unwrap()..].replace("database: local", "database: other");
    let body = format!("{DELIVERED}{body}{}", other.replace("name: readings", "name: o"));
    let mut bridge = Bridge::with_mqtt(broker.port(), "receive_maximum: 20", &body);
    bridge.start();
    send(&broker, 0..10);
    bridge.wait_rows("readings", 10);
    bridge.wait_drained("other");
    // One of two databases does not take anything: nothing is acknowledged, so the broker ends with a full window.
    let lock = sqlite(&bridge.path("other.db"));
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    send(&broker, 10..60);
    bridge.wait_alive("the broker's window is full", |bridge| (bridge.journaled() >= 30).then_some(()));
    bridge.wait_ids("readings", 30);
    assert!(bridge.journaled() < 60, "what no database has is acknowledged");
    bridge.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    bridge.start();
    bridge.wait_ids("readings", 60);
    bridge.wait_drained("local");
    bridge.wait_drained("other");
    for file in ["rows.db", "other.db"] {
        Tally::of_sqlite(&bridge.path(file), "readings", 0..60).assert_none_lost(file);
        assert_eq!(value::<i64>(&bridge.path(file), "SELECT count(*) FROM rowbridge_offsets"), 1, "{file}");
    }
    // No byte of a message was written to the disk.
    assert!(!bridge.path("data/journal/id").exists());
    assert_eq!(bridge.log().matches("journal.durability is delivered").count(), 2, "{}", bridge.log());
}

#[test]
fn after_an_orderly_stop_nothing_comes_twice() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("{DELIVERED}{}", readings(1)));
    bridge.start();
    let load = Load::new(broker.port(), 1, 1_000).per_second(1_000).start();
    for at in [200, 500, 800] {
        load.wait_until(at);
        assert!(bridge.stop().success());
        bridge.start();
    }
    load.finish();
    bridge.wait_ids("readings", 1_000);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..1_000).assert_each_once("readings");
}

/// With a wait for company after each of them, the 50 windows would take longer than the test waits.
#[test]
fn a_full_window_is_not_kept_waiting_for_company() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let body = readings(1).replace("rows.db'", "rows.db', batch: { max_wait: 2s }");
    for version in ["3.1.1", "5"] {
        let keys = format!("version: {version}, receive_maximum: 20");
        let mut bridge = Bridge::with_mqtt(broker.port(), &keys, &format!("{DELIVERED}{body}"));
        bridge.start();
        Load::new(broker.port(), 1, 1_000).run();
        bridge.wait_ids("readings", 1_000);
        bridge.stop();
    }
}

/// Its own messages are still to be delivered, those it has delivered are not.
#[test]
fn a_younger_process_that_takes_the_offset_over_makes_nothing_come_twice() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("{DELIVERED}{}", readings(1)));
    bridge.start();
    send(&broker, 0..50);
    bridge.wait_rows("readings", 50);
    bridge.wait_drained("local");
    // As a process does that starts while this one still runs.
    let taken = "UPDATE rowbridge_offsets SET journal_id = '6d656d6f727900000000000000000000', next_seq = 1";
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(taken).unwrap();
    send(&broker, 50..100);
    bridge.wait_ids("readings", 100);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..100).assert_each_once("readings");
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_offsets"), 2);
}

/// As in a container with a read-only root and no volume.
#[test]
fn a_bridge_runs_where_nothing_can_be_written() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let server = Postgres::shared();
    let name = server.create_database();
    let body = readings(1).replace("sqlite:rows.db", &server.url(&name));
    let mut bridge = Bridge::new(broker.port(), &format!("{DELIVERED}{body}"));
    let folder = bridge.path("").display().to_string();
    let script = format!(
        "mount --bind '{folder}' '{folder}' && mount -o remount,ro,bind '{folder}' && cd '{folder}' && exec \"$0\" \"$@\""
    );
    bridge.start_by(["unshare", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec());
    bridge.start();
    assert!(bridge.log().contains("data_dir cannot be written"), "{}", bridge.log());
    send(&broker, 0..100);
    bridge.wait_drained("local");
    bridge.kill();
    send(&broker, 100..200);
    bridge.start();
    bridge.wait_alive("all rows", |_| {
        (server.psql(&name, "SELECT count(DISTINCT id) FROM readings") == "200").then_some(())
    });
    assert_eq!(server.psql(&name, "SELECT count(*) FROM rowbridge_offsets"), "1");
    assert!(!bridge.path("data").exists());
    for command in ["status", "verify"] {
        let output = bridge.command(&["journal", command]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("this journal is in memory"), "{command}: {text}");
    }
}

#[test]
fn a_journal_that_was_left_on_the_disk_is_not_forgotten() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &format!("journal: {{ durability: commit }}\n{}", readings(1)));
    bridge.start();
    send(&broker, 0..5);
    bridge.wait_rows("readings", 5);
    assert!(bridge.stop().success());
    bridge.edit("durability: commit", "durability: delivered");
    let ended = bridge.command(&["run"]);
    let text = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("holds a journal on disk") && text.contains("durability: commit"), "{text}");
    let check = bridge.command(&["check", "--offline"]);
    assert_eq!(check.status.code(), Some(0), "only what is looked at online is a problem: {check:?}");
    let check = bridge.command(&["check"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(2), "{text}");
    assert!(text.contains("holds a journal on disk"), "{text}");
    std::fs::remove_dir_all(bridge.path("data/journal")).unwrap();
    bridge.start();
    send(&broker, 5..10);
    bridge.wait_rows("readings", 10);
}
