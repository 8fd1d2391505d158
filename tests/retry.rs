//! `rowbridge dead-letters retry`: each letter becomes its row once, whatever dies where, or stays a letter.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::parking::Target;
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

/// A bridge with the rules `fixed` and `late`, each for the topic and table of its name; the table `fixed` is there.
struct Stage {
    broker: Mosquitto,
    target: Target,
    bridge: Bridge,
}

/// What is refused as long as the rule says `payload.n`.
fn nested(topic: &'static str) -> impl Fn(u64) -> (String, Vec<u8>) + Send + Sync + 'static {
    move |n| (topic.to_owned(), format!("{{\"n\":{{\"v\":{n}}}}}").into_bytes())
}

impl Stage {
    fn new(engine: &str, database_keys: &str) -> Stage {
        let broker = Mosquitto::with(DEEP_QUEUE);
        let postgres = (engine == "postgres").then(|| {
            let server = Postgres::shared();
            let database = server.create_database();
            (server, database)
        });
        let url = match &postgres {
            Some((server, database)) => server.url(database),
            None => "sqlite:rows.db".to_owned(),
        };
        let keys = format!("park_after: 100ms, retry: {{ min: 20ms, max: 100ms }}{database_keys}");
        let bridge = Bridge::new(
            broker.port(),
            &format!(
                "databases:
  target: {{ url: '{url}', {keys} }}
rules:
  - {{ name: fixed, topic: fixed, table: fixed, columns: {{ seq: journal.seq, n: payload.n }} }}
  - {{ name: late, topic: late, table: late, columns: {{ seq: journal.seq, n: payload.n.v }} }}
"
            ),
        );
        let target = match postgres {
            Some((server, database)) => Target::Postgres { server, database },
            None => {
                rusqlite::Connection::open(bridge.rows()).unwrap();
                Target::Sqlite { file: bridge.rows() }
            }
        };
        let stage = Stage { broker, target, bridge };
        stage.make("fixed");
        stage
    }

    fn make(&self, table: &str) {
        let integer = if matches!(self.target, Target::Sqlite { .. }) { "INTEGER" } else { "bigint" };
        self.target.run(&format!("CREATE TABLE {table} (seq {integer}, n {integer})"));
    }

    fn publish(&self, count: u64, make: impl Fn(u64) -> (String, Vec<u8>) + Send + Sync + 'static) {
        Load::new(self.broker.port(), 1, count).made_by(make).run();
    }

    #[track_caller]
    fn wait_letters(&mut self, reason: &str, count: i64) {
        // Until then the table may not be there.
        self.bridge.wait_drained("target");
        let query = format!("SELECT count(*) FROM rowbridge_dead_letters WHERE reason = '{reason}'");
        self.bridge.wait_alive("the letters are there", |_| (self.target.number(&query) == count).then_some(()));
    }

    fn mend_rule(&self) {
        self.bridge.edit("seq: journal.seq, n: payload.n }", "seq: journal.seq, n: payload.n.v }");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bridge.command(&[&["dead-letters"], arguments].concat())
    }

    fn retry(&self) -> Command {
        let mut command = self.bridge.prepare(&["dead-letters", "retry", "--rule", "fixed"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// In the order in which the rows were written.
    fn written(&self, table: &str) -> Vec<i64> {
        let order = if matches!(self.target, Target::Sqlite { .. }) { "rowid" } else { "ctid" };
        self.target.numbers(&format!("SELECT n FROM {table} ORDER BY {order}"))
    }
}

#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in:\n{text}"));
}

#[test]
fn letters_go_in_under_the_rules_of_today_in_order_and_what_is_refused_again_stays() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(30, nested("fixed"));
        stage.publish(1, |_| ("fixed".to_owned(), b"no JSON".to_vec()));
        stage.publish(1, nested("late"));
        stage.wait_letters("table", 1);
        stage.wait_letters("value", 30);
        let letters = |stage: &Stage| stage.target.number("SELECT count(*) FROM rowbridge_dead_letters");
        assert_says(&stage.run(&["retry"]), 2, &["say which"]);
        assert_says(&stage.run(&["retry", "--rule", "fixe"]), 2, &["did you mean `fixed`?"]);
        assert_says(&stage.run(&["retry", "--rule", "fixed", "--since", "1h"]), 1, &["0 messages", "31 refused again"]);
        assert_eq!(letters(&stage), 32, "{engine}");

        stage.mend_rule();
        let first = stage.target.number("SELECT min(id) FROM rowbridge_dead_letters").to_string();
        assert_says(&stage.run(&["retry", &first]), 0, &["1 message written as 1 row"]);
        let all = stage.run(&["retry", "--all"]);
        assert_says(&all, 1, &["29 messages written as 29 rows, 1 refused again", "1 parked message", "not JSON"]);
        assert_eq!(stage.written("fixed"), (0..30).collect::<Vec<_>>(), "{engine}");
        assert_eq!(letters(&stage), 2, "{engine}");
        let attempts = "SELECT attempts FROM rowbridge_dead_letters WHERE reason = 'parse'";
        assert_eq!(stage.target.number(attempts), 2, "{engine}");
        assert_eq!(stage.target.number("SELECT min(seq) FROM fixed"), 1, "{engine}: the message's own position");

        // The bridge knows nothing of it and goes on.
        stage.publish(1, |_| ("fixed".to_owned(), b"{\"n\":100}".to_vec()));
        stage.bridge.wait_alive("the row is there", |_| {
            (stage.target.number("SELECT count(*) FROM fixed") == 31).then_some(())
        });
        assert!(stage.bridge.stop().success());
        assert_says(&stage.run(&["retry", "--reason", "parse"]), 1, &["1 refused again"]);
        assert_eq!(stage.target.number(attempts), 3, "{engine}: without the bridge");
        stage.bridge.edit("name: fixed,", "name: other,");
        assert_says(&stage.run(&["retry", "--all"]), 1, &["the rule fixed is not in the configuration any more"]);
        stage.target.run("UPDATE rowbridge_dead_letters SET envelope = NULL WHERE reason = 'parse'");
        assert_says(&stage.run(&["retry", "--reason", "parse"]), 1, &["not all of the message is there"]);
        assert_eq!(letters(&stage), 2, "{engine}");
    }
}

#[test]
fn a_row_that_the_table_refuses_stays_a_letter_and_a_missing_table_leaves_all_as_they_were() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(20, nested("fixed"));
        stage.wait_letters("value", 20);
        assert!(stage.bridge.stop().success());
        stage.mend_rule();
        stage.target.run("DROP TABLE fixed");
        assert_says(
            &stage.run(&["retry", "--all"]),
            1,
            &["there is no table fixed", "CREATE TABLE", "20 dead letters of rule fixed stay"],
        );
        let untouched = "SELECT count(*) FROM rowbridge_dead_letters WHERE attempts = 0 AND reason = 'value'";
        assert_eq!(stage.target.number(untouched), 20, "{engine}");
        stage.target.run("CREATE TABLE fixed (seq bigint, n bigint CHECK (n <> 7))");
        assert_says(&stage.run(&["retry", "--all"]), 1, &["19 messages written as 19 rows, 1 refused again"]);
        let kept = "SELECT count(*) FROM rowbridge_dead_letters WHERE attempts = 1 AND reason = 'constraint'";
        assert_eq!(stage.target.number(kept), 1, "{engine}");
        assert_eq!(stage.written("fixed"), (0..20).filter(|n| *n != 7).collect::<Vec<_>>(), "{engine}");
    }
}

#[test]
fn a_field_without_a_column_stays_a_letter_until_the_column_is_there() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(2, |n| ("fixed".to_owned(), format!("{{\"n\":{{\"v\":{n}}},\"extra\":7}}").into_bytes()));
        stage.wait_letters("value", 2);
        stage.bridge.edit("seq: journal.seq, n: payload.n }", "seq: journal.seq, n: payload.n.v }, unmapped: add");
        assert_says(
            &stage.run(&["retry", "--all"]),
            1,
            &["2 refused again", "a retry adds no columns", "run: ALTER TABLE"],
        );
        stage.target.run("ALTER TABLE fixed ADD COLUMN extra integer");
        assert_says(&stage.run(&["retry", "--all"]), 0, &["2 messages written as 2 rows"]);
        assert_eq!(stage.target.number("SELECT count(*) FROM fixed WHERE extra = 7"), 2, "{engine}");
    }
}

/// While the bridge writes parked messages of another rule, and a second retry comes on at the same letters.
#[test]
fn a_retry_killed_at_any_instant_loses_nothing_and_repeats_nothing() {
    const COUNT: u64 = 2_000;
    let sum =
        "SELECT (SELECT count(*) FROM fixed) + (SELECT count(*) FROM rowbridge_dead_letters WHERE rule = 'fixed')";
    for engine in ENGINES {
        // Small transactions, so that a kill finds some of them done.
        let mut stage = Stage::new(engine, ", batch: { max_bytes: 4KiB, max_rows: 20 }");
        stage.bridge.start();
        stage.publish(COUNT, nested("fixed"));
        stage.publish(COUNT, nested("late"));
        stage.wait_letters("value", COUNT.cast_signed());
        stage.wait_letters("table", COUNT.cast_signed());
        stage.mend_rule();
        stage.make("late");
        let mut seen = BTreeSet::new();
        let mut kills = 0;
        loop {
            let mut runs = [stage.retry().spawn().unwrap(), stage.retry().spawn().unwrap()];
            std::thread::sleep(Duration::from_millis(10 + u64::from(getrandom::u32().unwrap() % 90)));
            for run in &mut runs {
                run.kill().unwrap();
                run.wait().unwrap();
            }
            kills += 1;
            assert_eq!(stage.target.number(sum), COUNT.cast_signed(), "{engine}: each is a row or a letter");
            let written = stage.target.number("SELECT count(*) FROM fixed");
            seen.insert(written);
            if written == COUNT.cast_signed() || kills == 40 {
                break;
            }
        }
        println!("{engine}: {kills} kills, found with {seen:?} rows");
        assert_says(&stage.run(&["retry", "--rule", "fixed"]), 0, &[]);
        stage.bridge.wait_alive("all parked messages are in", |_| {
            (stage.target.number("SELECT count(*) FROM rowbridge_dead_letters") == 0).then_some(())
        });
        for table in ["fixed", "late"] {
            Tally::of(stage.target.numbers(&format!("SELECT n FROM {table}")), 0..COUNT).assert_each_once(table);
        }
        // One transaction at a time went in, in order.
        let late: Vec<i64> = (0..COUNT.cast_signed()).collect();
        assert_eq!(stage.written("late"), late, "{engine}");
    }
}

/// The instants of the transaction itself.
#[cfg(feature = "fault-injection")]
#[test]
fn a_retry_that_dies_within_its_transaction_has_written_all_of_it_or_nothing() {
    let points = |engine| match engine {
        "sqlite" => vec![
            "sqlite.begun",
            "sqlite.offset.moved",
            "sqlite.rows.written",
            "sqlite.letters.written",
            "sqlite.committed",
        ],
        _ => vec!["postgres.begun", "postgres.committed"],
    };
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "");
        stage.bridge.start();
        stage.publish(50, nested("fixed"));
        stage.wait_letters("value", 50);
        stage.mend_rule();
        for point in points(engine) {
            let died = stage.retry().env("ROWBRIDGE_CRASH_AT", point).status().unwrap();
            assert_eq!(died.code(), None, "{point}: it died by a signal");
            let rows = if point.ends_with(".committed") { 50 } else { 0 };
            let found = || {
                let count = |table| stage.target.number(&format!("SELECT count(*) FROM {table}"));
                (count("fixed"), count("rowbridge_dead_letters"))
            };
            assert_eq!(found(), (rows, 50 - rows), "{point}");
        }
        assert_says(&stage.run(&["retry", "--all"]), 0, &["nothing to retry"]);
        Tally::of(stage.target.numbers("SELECT n FROM fixed"), 0..50).assert_each_once("fixed");
    }
}
