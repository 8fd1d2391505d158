//! The database is replaced by an older copy of itself, as when an asynchronous replica is promoted: what it lacks
//! comes again, once.

use std::path::Path;
use std::process::Command;

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, sqlite};
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

/// A consistent copy, as a backup tool makes it.
fn back_up(file: &Path, to: &Path) {
    sqlite(file).execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

/// Puts the copy in the place of the file, without the write-ahead log that belonged to the file.
fn replace(file: &Path, by: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        // There may be none.
        let _ = std::fs::remove_file(name);
    }
    std::fs::rename(by, file).unwrap();
}

#[test]
fn an_older_sqlite_file_put_back_while_the_bridge_is_stopped_is_filled_up_again() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 300).run();
    bridge.wait_rows("readings", 300);
    back_up(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 300).numbered_from(300).run();
    bridge.wait_rows("readings", 600);
    assert!(bridge.stop().success());

    replace(&bridge.rows(), &bridge.path("older.db"));
    bridge.start();
    bridge.wait_rows("readings", 600);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..600).assert_each_once("readings");
}

#[test]
fn an_older_sqlite_file_put_back_while_the_bridge_runs_is_filled_up_again() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 300).run();
    bridge.wait_rows("readings", 300);
    back_up(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 300).numbered_from(300).run();
    bridge.wait_rows("readings", 600);

    replace(&bridge.rows(), &bridge.path("older.db"));
    Load::new(broker.port(), 1, 100).numbered_from(600).run();
    bridge.wait_rows("readings", 700);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..700).assert_each_once("readings");
}

#[test]
fn a_sqlite_file_that_was_deleted_is_made_again_from_what_the_journal_keeps() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 200).run();
    bridge.wait_rows("readings", 200);
    assert!(bridge.stop().success());
    std::fs::remove_file(bridge.rows()).unwrap();
    bridge.start();
    bridge.wait_rows("readings", 200);
    bridge.wait_drained("local");
    Tally::of_sqlite(&bridge.rows(), "readings", 0..200).assert_each_once("readings");
}

/// Copies a stopped server's data with owners and modes, as a file-system snapshot would.
fn snapshot(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

#[test]
fn an_older_postgres_that_takes_over_while_the_bridge_runs_is_filled_up_again() {
    let broker = Mosquitto::start();
    let postgres = Postgres::start();
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE TABLE readings (id bigint)");
    let body = format!(
        "databases: {{ cloud: {{ url: '{}', retry: {{ max: 1s }} }} }}\n\
         rules:\n  - {{ topic: 'r/#', table: readings, columns: {{ id: payload.id }} }}\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let rows = |expected: u64| {
        let count = postgres.try_psql(&database, "SELECT count(*) FROM readings");
        (String::from_utf8_lossy(&count.stdout).trim() == expected.to_string()).then_some(())
    };
    let load = |from| {
        Load::new(broker.port(), 1, 300)
            .numbered_from(from)
            .made_by(|id| (format!("r/{id}"), format!("{{\"id\":{id}}}").into_bytes()))
    };
    load(0).run();
    bridge.wait_alive("the first rows", |_| rows(300));
    postgres.stop();
    let older = postgres.data_dir().with_extension("older");
    snapshot(&postgres.data_dir(), &older);
    postgres.start_again();
    load(300).run();
    bridge.wait_alive("more rows", |_| rows(600));

    postgres.stop();
    std::fs::remove_dir_all(postgres.data_dir()).unwrap();
    std::fs::rename(&older, postgres.data_dir()).unwrap();
    postgres.start_again();
    load(600).run();
    bridge.wait_alive("all rows", |_| rows(900));
    bridge.wait_drained("cloud");
    let ids = postgres.psql(&database, "SELECT id FROM readings");
    Tally::of(ids.lines().map(|line| line.parse().unwrap()), 0..900).assert_each_once("Postgres");
}
