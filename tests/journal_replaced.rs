//! The journal and the database no longer tell the same story: a journal restored from an older copy, a journal wiped,
//! a database older than anything the journal still keeps. New messages are never skipped, and what is lost is told.

use std::path::Path;
use std::process::Command;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, column, sqlite, value};
use crate::support::publisher::Load;

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Publishes the numbers of the range and waits until they are in the table.
#[track_caller]
fn publish(broker: &Mosquitto, bridge: &mut Bridge, first: u64, count: u64) {
    Load::new(broker.port(), 1, count).numbered_from(first).run();
    bridge.wait_ids(&format!("readings WHERE id >= {first}"), count);
    bridge.wait_drained("local");
}

#[test]
fn messages_numbered_again_by_an_older_copy_of_the_journal_are_not_skipped() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    publish(&broker, &mut bridge, 0, 100);
    assert!(bridge.stop().success());
    copy(&bridge.path("data"), &bridge.path("older"));
    bridge.start();
    publish(&broker, &mut bridge, 100, 200);
    assert!(bridge.stop().success());

    std::fs::remove_dir_all(bridge.path("data")).unwrap();
    std::fs::rename(bridge.path("older"), bridge.path("data")).unwrap();
    bridge.start();
    publish(&broker, &mut bridge, 300, 50);
    publish(&broker, &mut bridge, 350, 300);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..650).assert_each_once("readings");
    assert!(bridge.log().lines().any(|line| line.contains("ERROR")), "it is told:\n{}", bridge.log());
    // And it stays so.
    bridge.kill();
    bridge.start();
    publish(&broker, &mut bridge, 650, 100);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..750).assert_each_once("readings");
}

#[test]
fn numbers_given_out_again_while_the_database_was_away_are_not_skipped_either() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(1).replace("sqlite:", "sqlite:there/"));
    let there = bridge.path("there");
    std::fs::create_dir(&there).unwrap();
    let rows = there.join("rows.db");
    bridge.start();
    Load::new(broker.port(), 1, 100).run();
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    copy(&bridge.path("data"), &bridge.path("older"));
    bridge.start();
    Load::new(broker.port(), 1, 200).numbered_from(100).run();
    bridge.wait_drained("local");
    assert!(bridge.stop().success());

    // The journal ends at 100 again, and grows past 300 over a restart, while nobody can ask the database.
    std::fs::remove_dir_all(bridge.path("data")).unwrap();
    std::fs::rename(bridge.path("older"), bridge.path("data")).unwrap();
    std::fs::rename(&there, bridge.path("away")).unwrap();
    for first in [300, 450, 600] {
        bridge.start();
        Load::new(broker.port(), 1, 150).numbered_from(first).run();
        bridge.wait_alive("they are journaled", |bridge| (bridge.journaled() >= 150).then_some(()));
        // Not killed: what had not been acknowledged yet would come again, as QoS 1 permits.
        assert!(bridge.stop().success());
    }
    std::fs::rename(bridge.path("away"), &there).unwrap();
    bridge.start();
    bridge.wait_drained("local");
    Tally::of_sqlite(&rows, "readings", 0..750).assert_each_once("readings");
}

#[test]
fn a_wiped_journal_begins_anew_beside_the_old_offset() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    publish(&broker, &mut bridge, 0, 200);
    assert!(bridge.stop().success());
    std::fs::remove_dir_all(bridge.path("data")).unwrap();
    bridge.start();
    publish(&broker, &mut bridge, 200, 100);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..300).assert_each_once("readings");
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_offsets"), 2);
}

#[test]
fn a_database_older_than_what_the_journal_keeps_is_told_which_range_is_lost() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let journal = "journal: { segment_size: 32KiB, max_size: 8MiB, keep: 0s }\n";
    let mut bridge = Bridge::new(broker.port(), &format!("{journal}{}", readings(1)));
    bridge.start();
    publish(&broker, &mut bridge, 0, 100);
    sqlite(&bridge.rows()).execute("VACUUM INTO ?1", [bridge.path("older.db").to_str().unwrap()]).unwrap();
    publish(&broker, &mut bridge, 100, 3_000);
    bridge.wait_alive("delivered segments are trimmed", |bridge| {
        (bridge.status()["journal"]["oldest_seq"].as_u64()? > 1_000).then_some(())
    });
    assert!(bridge.stop().success());
    for name in ["rows.db-wal", "rows.db-shm"] {
        // There are none after a stop in order.
        let _ = std::fs::remove_file(bridge.path(name));
    }
    std::fs::rename(bridge.path("older.db"), bridge.rows()).unwrap();

    bridge.start();
    publish(&broker, &mut bridge, 3_100, 100);
    let found: Vec<i64> = column(&bridge.rows(), "SELECT id FROM readings WHERE id >= 100 ORDER BY id");
    let told: Vec<String> =
        column(&bridge.rows(), "SELECT error FROM rowbridge_dead_letters WHERE reason = 'lost_range'");
    let [told] = &told[..] else { panic!("one lost range, not {told:?}") };
    // The message of number n is the (n + 1)th of the journal.
    assert!(
        told.contains(&format!("messages 101 to {} are lost", found[0])),
        "{told}; {} is the first again",
        found[0]
    );
    Tally::of(found.iter().copied(), found[0].cast_unsigned()..3_200).assert_each_once("what the journal kept");
    assert!(bridge.log().lines().any(|line| line.contains("ERROR")), "it is told:\n{}", bridge.log());
}
