//! The log of a SQLite file, its index, or both are removed under the bridge, which has several connections to the file, while
//! another program writes to it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, column, value};
use crate::support::process::program;
use crate::support::publisher::{Load, Publisher};
use crate::support::subscriber::Subscriber;

const ROWS: u64 = 2000;
const TABLES: [&str; 2] = ["a", "b"];

const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - { name: a, topic: s/a, table: a, create: true, columns: { id: { from: payload.id, type: bigint } } }
  - { name: b, topic: s/b, table: b, create: true, columns: { id: { from: payload.id, type: bigint } } }
";
const QUERIES: &str =
    "queries:\n  - { name: machbase, convention: machbase, allow_sql: read_only, database: local, timeout: 5s }\n";
const PUBLISH: &str = "publish:\n  - { name: pa, database: local, table: a, topic: out/a }\n  \
                       - { name: pb, database: local, table: b, topic: out/b }\n";

/// A program that opens the file for each of its rows, and remembers which of them were committed.
struct OtherProgram {
    is_over: Arc<AtomicBool>,
    /// Held for each row.
    turn: Arc<Mutex<()>>,
    thread: thread::JoinHandle<Vec<i64>>,
}

impl OtherProgram {
    fn start(file: &Path) -> OtherProgram {
        let (is_over, turn) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
        let thread = thread::spawn({
            let (is_over, turn, file) = (Arc::clone(&is_over), Arc::clone(&turn), file.to_owned());
            move || {
                let mut committed = Vec::new();
                for id in 1.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let _turn = turn.lock().unwrap();
                    let insert = format!("INSERT INTO other VALUES ({id})");
                    let mut command = Command::new(program("sqlite3"));
                    let done = command.args(["-cmd", ".timeout 10000"]).arg(&file).arg(insert).output().unwrap();
                    if done.status.success() {
                        committed.push(id);
                    }
                }
                committed
            }
        });
        OtherProgram { is_over, turn, thread }
    }

    fn finish(self) -> Vec<i64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Asks again and again, with nothing to do in between but to keep the connection.
fn ask(broker: &Mosquitto, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let question = r#"{"q":"select count(*) from a"}"#;
        let mut command = Command::new(program("mosquitto_pub"));
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &broker.port().to_string(),
            "-q",
            "1",
            "-t",
            "db/query",
            "-m",
            question,
        ]);
        assert!(command.status().unwrap().success());
        thread::sleep(Duration::from_millis(20));
    }
}

fn no_row_is_lost(extra: &str, removed: &[&str]) {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &format!("{RULES}{extra}"));
    let file = bridge.rows();
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE other (id); CREATE TABLE a (id BIGINT CHECK (id >= 0)); CREATE TABLE b (id BIGINT)")
        .unwrap();
    let answers = Subscriber::with(broker.port(), "db/reply", &["-V", "5", "-F", "%p"]);
    bridge.start();
    // The search for a refused row has a commit hook of its own.
    Publisher::new(broker.port()).send("s/a", r#"{"id":-1}"#);
    bridge.wait_alive("the row is refused", |bridge| {
        let letters = "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = 'constraint'";
        (bridge.journaled() > 0 && value::<i64>(&bridge.rows(), letters) == 1).then_some(())
    });
    let other = OtherProgram::start(&file);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        if extra == QUERIES {
            scope.spawn(|| ask(&broker, &is_over));
        }
        let make =
            |id: u64| (format!("s/{}", TABLES[(id % 2) as usize]), format!("{{\"id\":{}}}", id / 2).into_bytes());
        let load = Load::new(broker.port(), 1, 2 * ROWS).per_second(600).made_by(make).start();
        bridge.wait_rows("a", ROWS / 4);
        {
            // What the other program had only in a log that was removed with its index goes with them.
            let _turn = other.turn.lock().unwrap();
            let mut command = Command::new(program("sqlite3"));
            command.args(["-cmd", ".timeout 10000"]).arg(&file).arg("PRAGMA wal_checkpoint(FULL)");
            let checkpoint = command.output().unwrap();
            assert!(checkpoint.status.success());
            for suffix in removed {
                std::fs::remove_file(bridge.path(&format!("rows.db{suffix}"))).unwrap();
            }
        }
        load.finish();
        is_over.store(true, Ordering::Relaxed);
    });
    bridge.wait_rows("a", ROWS);
    bridge.wait_rows("b", ROWS);
    bridge.wait_drained("local");
    let committed = other.finish();
    let place = format!("{removed:?} with {extra}");
    let same = |when: &str| {
        for table in TABLES {
            Tally::of_sqlite(&file, table, 0..ROWS).assert_each_once(&format!("{when}: {place}, table {table}"));
        }
        let found = column::<i64>(&file, "SELECT id FROM other ORDER BY id");
        let lost: Vec<_> = committed.iter().filter(|id| !found.contains(id)).collect();
        assert!(lost.is_empty(), "{when}: {place}: rows of the other program are lost: {lost:?}");
        assert!(found.is_sorted_by(|one, next| one < next), "{when}: {place}: rows of the other program are repeated");
        assert_eq!(value::<String>(&file, "PRAGMA integrity_check"), "ok", "{when}: {place}");
    };
    same("running");
    assert!(bridge.log().contains("while it was open"), "{place}: it was noticed");
    if extra == QUERIES {
        let last = answers.lines().pop().unwrap();
        assert!(last.contains("\"success\":true"), "{place}: {last}");
    } else {
        let left = "SELECT count(*) FROM rowbridge_changes";
        bridge.wait_alive("all is published", |bridge| (value::<i64>(&bridge.rows(), left) == 0).then_some(()));
    }
    assert!(bridge.stop().success());
    same("stopped");
}

#[test]
fn a_log_or_index_removed_under_a_bridge_with_queries_costs_no_row_of_anybody() {
    for removed in [&["-shm"][..], &["-wal"], &["-wal", "-shm"]] {
        no_row_is_lost(QUERIES, removed);
    }
}

#[test]
fn a_log_or_index_removed_under_a_bridge_that_publishes_costs_no_row_of_anybody() {
    for removed in [&["-shm"][..], &["-wal"], &["-wal", "-shm"]] {
        no_row_is_lost(PUBLISH, removed);
    }
}
