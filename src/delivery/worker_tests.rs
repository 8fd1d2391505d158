//! The loop against a real SQLite file and a real journal, with a sink between that fails on demand.

#[path = "worker_sink_tests.rs"]
mod sink;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use self::sink::{Fault, FaultySink};
use super::*;
use crate::config::{self, Config, LoadRequest};
use crate::delivery::{DatabaseState, SharedState, Tally, totals};
use crate::journal::{Intake, Journal, RealFs};
use crate::message::{Message, Properties, Qos};
use crate::shutdown::{self, ShutdownTrigger};
use crate::sink::SqliteSink;

/// A bridge without a broker: the test is the session.
struct Bench {
    directory: TempDir,
    intake: Intake<RealFs>,
    handle: JournalHandle<RealFs>,
    writer: Option<JoinHandle<()>>,
    worker: Option<JoinHandle<()>>,
    stop: ShutdownTrigger,
    state: Arc<SharedState>,
    metrics: Arc<Metrics>,
    joined: Arc<AtomicUsize>,
}

const RULE: &str = "
    topic: t/{name}
    table: t
    create: true
    columns: { n: { from: payload.n, type: bigint, required: true }, name: topic.name }
";

fn load(directory: &Path, rule_options: &str) -> Config {
    let text = format!(
        "mqtt: {{ url: 'mqtt://localhost:1' }}\nbridge: b\ndata_dir: {0}\n\
         databases: {{ local: {{ url: 'sqlite:{0}/rows.db', retry: {{ min: 1ms, max: 2ms }}, \
         batch: {{ max_wait: 0ms, max_rows: 10 }} }} }}\nrules:\n  -{RULE}{rule_options}\n",
        directory.display()
    );
    let file = directory.join("bridge.yaml");
    std::fs::write(&file, text).unwrap();
    config::load(&LoadRequest::from_process(Some(file), Vec::new())).unwrap_or_else(|report| panic!("{report}"))
}

impl Bench {
    /// Starts with messages that were journaled before the worker runs, so that they come in whole batches.
    fn start(payloads: &[&str], faults: &[Fault], rule_options: &str, prepare_sql: &str) -> Bench {
        let directory = TempDir::new().unwrap();
        let config = load(directory.path(), rule_options);
        rusqlite::Connection::open(directory.path().join("rows.db")).unwrap().execute_batch(prepare_sql).unwrap();
        let metrics = Arc::new(Metrics::new());
        let journal = Journal::open(RealFs, &config.data_dir, &config.journal, 1, Arc::clone(&metrics)).unwrap();
        let (handle, intake, writer) = journal.spawn();
        let (stop, shutdown) = shutdown::channel();
        let state = Arc::new(SharedState::default());
        let mut bench = Bench {
            directory,
            intake,
            handle,
            writer: Some(writer),
            worker: None,
            stop,
            state: Arc::clone(&state),
            metrics: Arc::clone(&metrics),
            joined: Arc::default(),
        };
        bench.push(payloads);
        let set = RuleSet::new(1, &config, HashMap::new(), Vec::new());
        let (_, rules) = watch::channel(Arc::new(set));
        let setup = Setup {
            sink: FaultySink {
                inner: SqliteSink::new(&config.databases[0]),
                script: Arc::new(Mutex::new(faults.iter().copied().collect())),
                read_before: None,
                joined: Arc::clone(&bench.joined),
            },
            bridge: "b".into(),
            database: config.databases[0].clone(),
            index: 0,
            rules,
            data_dir: config.data_dir.clone(),
            journal: bench.handle.clone(),
            state,
            metrics,
            answers: None,
            shutdown,
        };
        bench.worker = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Worker::new(setup).run());
        }));
        bench
    }

    fn push(&mut self, payloads: &[&str]) {
        let mut last = 0;
        for payload in payloads {
            let message = Message {
                topic: "t/x",
                payload: payload.as_bytes(),
                qos: Qos::AtLeastOnce,
                retain: false,
                dup: false,
                properties: Properties::NONE,
                received_at: clock::now(),
                fault: None,
                seq: Seq(0),
            };
            last = self.intake.push_message(&message, None);
        }
        self.intake.submit();
        wait_until("the messages are durable", || self.intake.durable() >= last);
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&DatabaseState) -> bool) {
        wait_until(what, || condition(&self.state.snapshot()));
    }

    fn wait_delivered(&self) {
        let next = self.handle.status().next_seq;
        self.wait_for("everything is delivered", |state| state.next_seq == Some(next));
    }

    fn numbers(&self) -> Vec<i64> {
        self.column("SELECT n FROM t ORDER BY n")
    }

    fn column(&self, sql: &str) -> Vec<i64> {
        let connection = rusqlite::Connection::open(self.directory.path().join("rows.db")).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn tally(&self) -> Tally {
        totals(&self.metrics, &"local".into(), &"rule-1".into())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.fire();
        self.worker.take().map(JoinHandle::join);
        self.handle.stop();
        self.writer.take().map(JoinHandle::join);
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn payloads(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn as_strs(payloads: &[String]) -> Vec<&str> {
    payloads.iter().map(String::as_str).collect()
}

#[test]
fn every_message_is_written_once_whatever_breaks_around_the_commit() {
    use Fault::{CutAfter, CutAndLate, CutBefore, None as Fine};
    let payloads = payloads(0..95);
    for faults in [
        vec![],
        vec![CutBefore, CutBefore],
        vec![CutAfter],
        vec![CutAfter, CutAfter, CutBefore, CutAfter],
        vec![Fine, CutAfter, Fine, CutBefore, CutAfter],
        vec![CutAndLate],
        vec![CutBefore, CutAndLate, Fine, CutAndLate, CutAfter],
    ] {
        let bench = Bench::start(&as_strs(&payloads), &faults, "", "");
        bench.wait_delivered();
        assert_eq!(bench.numbers(), (0..95).collect::<Vec<_>>(), "{faults:?}");
        // A commit whose answer was lost counts as well, also one that was still on its way.
        wait_until("all are counted", || bench.tally().written >= 95);
        assert_eq!((bench.tally().written, bench.tally().rows), (95, 95), "{faults:?}");
        assert!(bench.joined.load(Ordering::Relaxed) > 0, "several batches went together, {faults:?}");
    }
}

#[test]
fn refused_values_and_refused_rows_become_dead_letters_and_the_rest_is_written() {
    let sql = "CREATE TABLE t (n INTEGER CHECK (n <> 13), name TEXT)";
    let mut payloads = payloads(0..40);
    payloads[7] = "{\"n\":\"seven\"}".to_owned();
    let bench = Bench::start(&as_strs(&payloads), &[], "", sql);
    bench.wait_delivered();
    assert_eq!(bench.numbers(), (0..40).filter(|n| ![7, 13].contains(n)).collect::<Vec<_>>());
    let letters = bench.column("SELECT seq FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(letters, [8, 14], "sequence numbers count from 1");
    let attempts = bench.column("SELECT attempts FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(attempts, [0, 1]);
    let named = "SELECT 1 FROM rowbridge_dead_letters WHERE error LIKE 'column `n` (INTEGER): %' AND error NOT LIKE '%column%column%'";
    assert_eq!(bench.column(named), [1], "the error begins with the column, named once");
    wait_until("the tally is closed", || bench.tally().written == 38);
    let tally = bench.tally();
    assert_eq!((tally.written, tally.rows, tally.dead_lettered, tally.dropped), (38, 38, 2, 0));
}

#[test]
fn on_error_drop_counts_and_keeps_nothing() {
    let sql = "CREATE TABLE t (n INTEGER CHECK (n <> 13), name TEXT)";
    let payloads = payloads(0..20);
    let bench = Bench::start(&as_strs(&payloads), &[], "    on_error: drop\n", sql);
    bench.wait_delivered();
    wait_until("the tally is closed", || bench.tally().dropped == 1);
    assert_eq!(bench.tally().written, 19);
    assert!(bench.column("SELECT seq FROM rowbridge_dead_letters").is_empty());
}

#[test]
fn on_error_halt_brings_in_what_came_before_and_holds_until_mended() {
    for (sql, bad) in [
        ("CREATE TABLE t (n INTEGER CHECK (n <> 13), name TEXT)", "{\"n\":13}"),
        ("CREATE TABLE t (n INTEGER, name TEXT)", "{\"n\":\"thirteen\"}"),
    ] {
        let mut payloads = payloads(0..20);
        payloads[13] = bad.to_owned();
        let bench = Bench::start(&as_strs(&payloads), &[], "    on_error: halt\n", sql);
        bench.wait_for("the database is held", |state| state.held.is_some());
        assert_eq!(bench.numbers(), (0..13).collect::<Vec<_>>());
        assert_eq!(bench.state.snapshot().next_seq, Some(Seq(14)));
        let held = bench.state.snapshot().held.unwrap();
        assert!(held.reason.contains("message 14"), "{}", held.reason);
        assert!(bench.state.snapshot().oldest_pending.is_some(), "message 14 is waiting");
        // It is looked at again and again, and stays held all the while.
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(bench.state.snapshot().held.map(|held| held.since), Some(held.since));
        }
    }
}

#[test]
fn a_held_database_goes_on_once_it_is_mended() {
    let payloads = payloads(0..5);
    let bench = Bench::start(&as_strs(&payloads), &[Fault::Table, Fault::Table], "", "");
    bench.wait_delivered();
    bench.wait_for("it is no longer held", |state| state.held.is_none() && state.connected);
    assert_eq!(bench.numbers(), [0, 1, 2, 3, 4]);
}

#[test]
fn messages_that_exclude_each_other_are_written_one_by_one() {
    let payloads = payloads(0..20);
    let bench = Bench::start(&as_strs(&payloads), &[Fault::Whole; 12], "", "");
    bench.wait_delivered();
    assert_eq!(bench.numbers(), (0..20).collect::<Vec<_>>());
    assert!(bench.column("SELECT seq FROM rowbridge_dead_letters").is_empty());
}

#[test]
fn a_missing_column_is_held_with_the_sql_that_mends_it() {
    let bench = Bench::start(&["{\"n\":1}"], &[], "", "CREATE TABLE t (name TEXT)");
    bench.wait_for("the database is held", |state| state.held.is_some());
    let held = bench.state.snapshot().held.unwrap();
    let mend = held.mend.unwrap();
    assert!(mend.contains("ALTER TABLE") && mend.contains("\"n\""), "{mend}");
    let connection = rusqlite::Connection::open(bench.directory.path().join("rows.db")).unwrap();
    connection.execute_batch("ALTER TABLE t ADD COLUMN n INTEGER").unwrap();
    bench.wait_delivered();
    assert_eq!(bench.numbers(), [1]);
}

#[test]
fn another_instance_that_moved_the_offset_is_noticed_and_nothing_comes_twice() {
    let payloads = payloads(0..30);
    let mut bench = Bench::start(&as_strs(&payloads), &[], "", "");
    bench.wait_delivered();
    let connection = rusqlite::Connection::open(bench.directory.path().join("rows.db")).unwrap();
    // The other one had written up to here already, with the rows.
    connection
        .execute_batch("BEGIN; DELETE FROM t WHERE n >= 10; UPDATE rowbridge_offsets SET next_seq = 11; COMMIT")
        .unwrap();
    bench.push(&["{\"n\":100}"]);
    bench.wait_delivered();
    let expected: Vec<i64> = (0..30).chain([100]).collect();
    assert_eq!(bench.numbers(), expected);
}
