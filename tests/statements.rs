//! Rules with a `statement`, on both engines: every row once, in the order of the journal, and the right one to blame.

use std::time::Duration;

use crate::parking::Target;
use crate::support::bridge::Bridge;
use crate::support::fault::{Fault, Trap, Way};
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::publisher::Publisher;

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

/// A bridge with these rules into one database, which is made by `sql`, and a publisher.
struct Stage {
    _broker: Mosquitto,
    target: Target,
    bridge: Bridge,
    publisher: Publisher,
    sent: u64,
}

impl Stage {
    fn new(engine: &str, sql: &str, rules: &str) -> Stage {
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
        let database = format!("{{ url: '{url}', park_after: 300ms, retry: {{ min: 20ms, max: 100ms }} }}");
        let mut bridge = Bridge::new(broker.port(), &format!("databases:\n  target: {database}\nrules:\n{rules}"));
        let target = match postgres {
            Some((server, database)) => Target::Postgres { server, database },
            None => {
                rusqlite::Connection::open(bridge.rows()).unwrap();
                Target::Sqlite { file: bridge.rows() }
            }
        };
        target.run(sql);
        bridge.start();
        Stage { publisher: Publisher::new(broker.port()), _broker: broker, target, bridge, sent: 0 }
    }

    fn send(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publisher.send(topic, payload);
        self.sent += 1;
    }

    /// Everything that was sent is a row or a dead letter.
    #[track_caller]
    fn settle(&mut self) {
        let sent = self.sent;
        self.bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= sent).then_some(()));
        self.bridge.wait_drained("target");
    }

    #[track_caller]
    fn wait_parked(&mut self, messages: u64) {
        self.bridge.wait_alive("the messages of the statement are parked", |bridge| {
            let target = &bridge.status()["databases"]["target"];
            (target["parked"][0]["messages"] == messages && target["pending"] == 0).then_some(())
        });
    }

    #[track_caller]
    fn wait_unparked(&mut self) {
        self.bridge.wait_alive("nothing is parked any more", |bridge| {
            let target = &bridge.status()["databases"]["target"];
            (target["parked"].as_array().is_some_and(Vec::is_empty) && target["pending"] == 0).then_some(())
        });
    }

    /// How many dead letters there are of this reason whose error holds these words.
    fn letters(&self, reason: &str, words: &str) -> i64 {
        self.target.number(&format!(
            "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = '{reason}' AND error LIKE '%{words}%'"
        ))
    }
}

const READINGS: &str = "
CREATE TABLE devices (id bigint PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO devices VALUES (10, 'd0'), (11, 'd1'), (12, 'd2');
CREATE TABLE readings (device bigint NOT NULL, n bigint NOT NULL UNIQUE, temp double precision CHECK (temp < 100));";

const BY_NAME: &str = "
  - name: by-name
    topic: m/{device}
    statement: >-
      INSERT INTO readings (device, n, temp)
      SELECT id, :n, :temp FROM devices WHERE name = :device
    columns: { device: topic.device, n: { from: payload.n, type: bigint }, temp: { from: payload.temp, type: double } }
";

#[test]
fn a_statement_runs_once_for_each_row_and_a_refused_row_costs_its_own_message_alone() {
    for engine in ENGINES {
        let mut stage = Stage::new(engine, READINGS, BY_NAME);
        for n in 0..300 {
            // Two that the table refuses, and one that is no number at all.
            let payload = match n {
                77 => r#"{"n":3,"temp":1.5}"#.to_owned(),
                150 => r#"{"n":150,"temp":100}"#.to_owned(),
                200 => r#"{"n":200,"temp":"warm"}"#.to_owned(),
                _ => format!(r#"{{"n":{n},"temp":{n}e-1}}"#),
            };
            stage.send(&format!("m/d{}", n % 3), payload);
        }
        stage.settle();
        let found = stage.target.numbers("SELECT n FROM readings ORDER BY n");
        let expected: Vec<i64> = (0..300).filter(|n| ![77, 150, 200].contains(n)).collect();
        assert_eq!(found, expected, "{engine}");
        let wrong = "SELECT count(*) FROM readings WHERE device <> 10 + n % 3 OR temp <> n / 10.0";
        assert_eq!(stage.target.number(wrong), 0, "{engine}");
        assert_eq!(stage.letters("constraint", ""), 2, "{engine}");
        assert_eq!(stage.letters("value", "temp"), 1, "{engine}");
        let status = stage.bridge.status();
        let rule = &status["rules"][0];
        assert_eq!((&rule["written"], &rule["dead_lettered"]), (&297.into(), &3.into()), "{status}");
        let whose = "SELECT seq FROM rowbridge_dead_letters ORDER BY seq";
        assert_eq!(stage.target.numbers(whose), [78, 151, 201], "{engine}");
    }
}

/// What comes out depends on the order of all messages, of both rules, and on each being applied once.
#[test]
fn statements_of_all_rules_run_in_the_order_of_the_journal() {
    const RULES: &str = "
  - name: three
    topic: three
    statement: UPDATE state SET n = (n * 3 + :n) % 1000003
    columns: { n: { from: payload.n, type: bigint } }
  - name: five
    topic: five
    statement: UPDATE state SET n = (n * 5 + :n) % 1000003
    columns: { n: { from: payload.n, type: bigint } }
";
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "CREATE TABLE state (n bigint); INSERT INTO state VALUES (0)", RULES);
        let mut expected = 0;
        for n in 0..400 {
            let (topic, factor) = if n * n % 7 < 3 { ("three", 3) } else { ("five", 5) };
            expected = (expected * factor + n) % 1_000_003;
            stage.send(topic, format!(r#"{{"n":{n}}}"#));
        }
        stage.settle();
        assert_eq!(stage.target.number("SELECT n FROM state"), expected, "{engine}");
    }
}

#[test]
fn a_statement_without_its_table_is_parked_by_itself_and_goes_on_once_it_is_there() {
    const RULES: &str = "
  - { name: good, topic: good, table: good, columns: { n: payload.n } }
  - name: bad
    topic: bad
    statement: INSERT INTO gone (n) VALUES (:n)
    columns: { n: { from: payload.n, type: bigint } }
";
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "CREATE TABLE good (n bigint)", RULES);
        for n in 0..20 {
            stage.send("good", format!(r#"{{"n":{n}}}"#));
            stage.send("bad", format!(r#"{{"n":{n}}}"#));
        }
        stage.wait_parked(20);
        assert_eq!(stage.target.number("SELECT count(*) FROM good"), 20, "{engine}: the other rule goes on");
        let parked = stage.bridge.status()["databases"]["target"]["parked"][0].clone();
        assert_eq!((&parked["rule"], &parked["table"]), (&"bad".into(), &"statement of rule bad".into()), "{parked}");
        assert!(parked["reason"].as_str().unwrap().contains("gone"), "{parked}");
        stage.target.run("CREATE TABLE gone (n bigint)");
        stage.wait_unparked();
        stage.send("bad", r#"{"n":20}"#);
        stage.settle();
        assert_eq!(stage.target.numbers("SELECT n FROM gone ORDER BY n"), Vec::from_iter(0..=20), "{engine}");

        // Gone while the bridge runs.
        stage.target.run("DROP TABLE gone");
        for n in 21..30 {
            stage.send("bad", format!(r#"{{"n":{n}}}"#));
        }
        stage.wait_parked(9);
        stage.send("good", r#"{"n":20}"#);
        stage.settle();
        assert_eq!(stage.target.number("SELECT count(*) FROM good"), 21, "{engine}: the other rule goes on");
        stage.target.run("CREATE TABLE gone (n bigint)");
        stage.wait_unparked();
        assert_eq!(stage.target.numbers("SELECT n FROM gone ORDER BY n"), Vec::from_iter(21..30), "{engine}");
        assert_eq!(stage.target.number("SELECT count(*) FROM rowbridge_dead_letters"), 0, "{engine}");
    }
}

#[test]
fn a_table_that_is_altered_meanwhile_takes_the_rows_that_follow() {
    const RULES: &str = "
  - name: r
    topic: m
    statement: INSERT INTO t (n, note) VALUES (:n, :note)
    columns: { n: { from: payload.n, type: bigint }, note: { from: payload.note, type: text } }
";
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "CREATE TABLE t (n bigint, note text)", RULES);
        stage.send("m", r#"{"n":1,"note":"a"}"#);
        stage.settle();
        stage.target.run("ALTER TABLE t ADD COLUMN more text DEFAULT 'x'");
        stage.send("m", r#"{"n":2,"note":"b"}"#);
        stage.settle();
        stage.target.run("ALTER TABLE t RENAME COLUMN note TO remark");
        for n in 3..10 {
            stage.send("m", format!(r#"{{"n":{n},"note":"c"}}"#));
        }
        stage.wait_parked(7);
        stage.target.run("ALTER TABLE t RENAME COLUMN remark TO note");
        stage.wait_unparked();
        assert_eq!(stage.target.numbers("SELECT n FROM t ORDER BY n"), Vec::from_iter(1..10), "{engine}");
    }
}

#[test]
fn a_message_of_many_rows_is_one_unit_under_a_statement_too() {
    const RULES: &str = "
  - name: many
    topic: many
    for_each: payload.list
    statement: INSERT INTO t (n) VALUES (:n) RETURNING n
    columns: { n: { from: item, type: bigint } }
";
    for engine in ENGINES {
        let mut stage = Stage::new(engine, "CREATE TABLE t (n bigint UNIQUE)", RULES);
        let list = |range: std::ops::Range<u64>| {
            let numbers: Vec<String> = range.map(|n| n.to_string()).collect();
            format!(r#"{{"list":[{}]}}"#, numbers.join(","))
        };
        stage.send("many", list(0..8_000));
        // None of its rows goes in: the last one is there already.
        stage.send("many", list(10_000..10_100).replace("10099", "7"));
        stage.send("many", list(8_000..9_000));
        stage.settle();
        assert_eq!(stage.target.numbers("SELECT n FROM t ORDER BY n"), Vec::from_iter(0..9_000), "{engine}");
        assert_eq!(stage.letters("constraint", ""), 1, "{engine}");
    }
}

#[test]
fn check_finds_a_statement_that_the_database_does_not_take_and_explain_shows_it_with_its_values() {
    for engine in ENGINES {
        let stage = Stage::new(engine, READINGS, BY_NAME);
        let said = |arguments: &[&str]| {
            let output = stage.bridge.command(arguments);
            let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
            (output.status.code(), text)
        };
        let (code, checked) = said(&["check"]);
        assert!(code == Some(0) && checked.contains("statement of rule by-name: the database takes it"), "{checked}");
        for offline in [&[][..], &["--offline"]] {
            let (_, explained) = said(&[&["explain", "m/d1", r#"{"n":7,"temp":1.5}"#], offline].concat());
            for words in ["SELECT id, 7, ", "FROM devices WHERE name = 'd1';"] {
                assert!(explained.contains(words), "{engine}: {words} in {explained}");
            }
        }
        let (_, sql) = said(&["schema", "sql"]);
        assert!(sql.contains("-- Rule by-name has a statement of its own"), "{sql}");
        stage.target.run("DROP TABLE readings");
        let (code, checked) = said(&["check"]);
        assert_eq!(code, Some(2), "{engine}: {checked}");
        for words in ["statement of rule by-name", "bridge.yaml:8:5", "readings"] {
            assert!(checked.contains(words), "{engine}: {words} in {checked}");
        }
        let (_, explained) = said(&["explain", "m/d1", r#"{"n":7,"temp":1.5}"#]);
        assert!(explained.contains("readings"), "{engine}: {explained}");
    }
}

/// A Postgres database with what `sql` makes, and a bridge with the rules.
fn on_postgres(sql: &str, rules: &str) -> Stage {
    Stage::new("postgres", sql, rules)
}

/// Each answer of the server comes late, those that came together as one: a round trip for each row would take minutes.
#[test]
fn a_far_database_is_not_waited_for_between_two_rows() {
    let server = Postgres::shared();
    let database = server.create_database();
    server.psql(&database, "CREATE TABLE t (n bigint UNIQUE)");
    let proxy = Proxy::to(server.port());
    proxy.arm(Trap { way: Way::Down, after: 0, fault: Fault::Slow(Duration::from_millis(50)) });
    let url = server.url(&database).replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let broker = Mosquitto::with(DEEP_QUEUE);
    let body = format!(
        "databases:\n  target: {{ url: '{url}' }}\nrules:\n  - name: many\n    topic: many\n    for_each: payload\n    \
         statement: INSERT INTO t (n) VALUES (:n)\n    columns: {{ n: item }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let numbers: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    Publisher::new(broker.port()).send("many", format!("[{}]", numbers.join(",")));
    bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() >= 1).then_some(()));
    bridge.wait_drained("target");
    assert_eq!(server.psql(&database, "SELECT count(*) FROM t"), "5000");
}

/// The child's statement is refused for its parent, whose own comes behind it: the order of statements stays that of the journal.
#[test]
fn a_statement_that_is_refused_does_not_go_in_behind_a_later_one() {
    const RULES: &str = "
  - { name: child, topic: child, statement: 'INSERT INTO child VALUES (:n, 1)', columns: { n: payload.n } }
  - { name: parent, topic: parent, statement: 'INSERT INTO parent VALUES (:n)', columns: { n: payload.n } }
";
    const TABLES: &str = "CREATE TABLE parent (n int PRIMARY KEY); CREATE TABLE child (n int, p int REFERENCES parent)";
    let mut stage = on_postgres(TABLES, RULES);
    stage.send("child", r#"{"n":1}"#);
    stage.send("parent", r#"{"n":1}"#);
    stage.send("child", r#"{"n":2}"#);
    stage.settle();
    assert_eq!(stage.target.numbers("SELECT n FROM child"), [2]);
    assert_eq!(stage.letters("constraint", "foreign key"), 1);
}

fn text(stage: &Stage, sql: &str) -> String {
    let Target::Postgres { server, database } = &stage.target else { panic!("a Postgres database") };
    server.psql(database, sql)
}

const KINDS: &str = "
CREATE TYPE mood AS ENUM ('calm', 'angry');
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE kinds (id bigint PRIMARY KEY, m mood, p percent, card macaddr, doc jsonb, at timestamptz, amount numeric(30,12),
                    tags text[], span int4range);
CREATE PROCEDURE keep(id bigint, m mood, p percent, card macaddr, doc jsonb, at timestamptz, amount numeric, tags text[],
                      span int4range)
LANGUAGE sql AS 'INSERT INTO kinds VALUES (id, m, p, card, doc, at, amount, tags, span)';";

#[test]
fn binds_have_the_types_that_the_server_gives_them_and_values_are_exact() {
    const COLUMNS: &str = "{ id: payload.id, m: payload.m, p: payload.p, card: payload.card, doc: payload.doc, \
                           at: { from: payload.at, time: us }, amount: payload.amount, tags: payload.tags, span: payload.span }";
    for statement in [
        "INSERT INTO kinds (id, m, p, card, doc, at, amount, tags, span) VALUES (:id, :m, :p, :card, :doc, :at, :amount, :tags, :span)",
        "CALL keep(:id, :m, :p, :card, :doc, :at, :amount, :tags, :span)",
    ] {
        let rules = format!("\n  - {{ name: r, topic: m, statement: '{statement}', columns: {COLUMNS} }}\n");
        let mut stage = on_postgres(KINDS, &rules);
        let payload = |id: u32, mood: &str, percent: &str, card: &str| {
            format!(
                r#"{{"id":{id},"m":"{mood}","p":{percent},"card":"{card}","doc":{{"b":[1.50,"x"]}},"at":1795939200000001,
                    "amount":123456789012345678.123456789012,"tags":["a","b c"],"span":"[3,7)"}}"#
            )
        };
        stage.send("m", payload(1, "angry", "7", "08:00:2b:01:02:03"));
        stage.send("m", payload(2, "bored", "7", "08:00:2b:01:02:03"));
        stage.send("m", payload(3, "calm", "101", "08:00:2b:01:02:03"));
        stage.send("m", payload(4, "calm", "100", "no-card"));
        stage.send("m", r#"{"id":5}"#);
        stage.settle();
        let found = text(&stage, "SELECT kinds::text FROM kinds ORDER BY id");
        let first = found.lines().next().unwrap_or_default();
        assert!(first.starts_with(r#"(1,angry,7,08:00:2b:01:02:03,"{""b"": [1.50, ""x""]}","#), "{statement}: {found}");
        assert!(first.ends_with(r#",123456789012345678.123456789012,"{a,""b c""}","[3,7)")"#), "{statement}: {found}");
        let at = "SELECT extract(epoch FROM at)::numeric(20,6) FROM kinds WHERE id = 1";
        assert_eq!(text(&stage, at), "1795939200.000001", "{statement}");
        assert_eq!(found.lines().skip(1).collect::<Vec<_>>(), ["(5,,,,,,,,)"], "{statement}");
        let letters = "SELECT string_agg(seq || ' ' || reason, ',' ORDER BY seq) FROM rowbridge_dead_letters";
        assert_eq!(text(&stage, letters), "2 value,3 constraint,4 value", "{statement}");
        // No value is told.
        assert_eq!(stage.letters("value", "bored") + stage.letters("value", "no-card"), 0, "{statement}");
    }
}

/// 21.7 fits a double, and no integer: the rounding that an INSERT would do is not Rowbridge's.
#[test]
fn a_bind_whose_column_gets_another_type_takes_that_from_the_next_row_on() {
    const RULES: &str =
        "\n  - { name: r, topic: m, statement: 'INSERT INTO t (v) VALUES (:v)', columns: { v: payload.v } }\n";
    let mut stage = on_postgres("CREATE TABLE t (v double precision)", RULES);
    stage.send("m", r#"{"v":21.7}"#);
    stage.settle();
    stage.target.run("DELETE FROM t; ALTER TABLE t ALTER COLUMN v TYPE bigint");
    stage.send("m", r#"{"v":21.7}"#);
    stage.send("m", r#"{"v":9007199254740993}"#);
    stage.settle();
    assert_eq!(text(&stage, "SELECT v FROM t"), "9007199254740993");
    assert_eq!(stage.letters("value", "v"), 1);
    stage.target.run("ALTER TABLE t ALTER COLUMN v TYPE text");
    stage.send("m", r#"{"v":21.70}"#);
    stage.settle();
    assert_eq!(text(&stage, "SELECT v FROM t WHERE v LIKE '21%'"), "21.70");
}

#[test]
fn a_bind_whose_type_the_server_cannot_tell_is_told_with_the_cast_that_mends_it() {
    const RULES: &str = "\n  - name: r\n    topic: m\n    statement: SELECT jsonb_build_object('v', :v)\n    columns: { v: payload.v }\n";
    let mut stage = on_postgres("CREATE TABLE t (v bigint)", RULES);
    stage.send("m", r#"{"v":1}"#);
    stage.wait_parked(1);
    let parked = stage.bridge.status()["databases"]["target"]["parked"][0].clone();
    assert!(parked["mend"].as_str().unwrap().contains("put a cast behind the bind"), "{parked}");
}
