//! What happens to the table itself.

use serde_json::{Value, json};

use super::{Source, both, payload, publisher, wait_capturing};
use crate::support::mosquitto::Mosquitto;
use crate::support::subscriber::Subscriber;

/// The events told on the meta topic.
fn told(subscriber: &Subscriber, count: usize) -> Vec<Value> {
    subscriber.wait_for(count).iter().map(|line| payload(line)["meta"].clone()).collect()
}

#[test]
fn a_table_that_is_altered_dropped_and_made_again_goes_on_and_is_told() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY)");
        let rows = Subscriber::start(broker.port(), "rows", "%p");
        let meta = Subscriber::start(broker.port(), "meta", "%p");
        let entry = "  - table: t\n    topic: rows\n    meta_topic: meta\n    format: '{row: .row, o: .offset}'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO t VALUES (1)");
        rows.wait_for(1);
        source.run("ALTER TABLE t ADD COLUMN note text");
        told(&meta, 2);
        source.run("INSERT INTO t VALUES (2, 'x')");
        rows.wait_for(2);
        source.run("DROP TABLE t");
        told(&meta, 3);
        source.run("CREATE TABLE t (id integer PRIMARY KEY, other integer); INSERT INTO t VALUES (3, 4)");
        let lines = rows.wait_for(3);
        let found: Vec<Value> = lines.iter().map(|line| payload(line)["row"].clone()).collect();
        assert_eq!(found, [json!({"id": 1}), json!({"id": 2, "note": "x"}), json!({"id": 3, "other": 4})]);
        wait_capturing(&mut bridge, &source, 1);
        let metas = told(&meta, 4);
        let events: Vec<&str> = metas.iter().map(|meta| meta["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["create", "alter", "drop", "create"]);
        assert_eq!((&metas[1]["database"], &metas[1]["table"]), (&json!("cloud"), &json!("t")));
        let names = |meta: &Value| {
            let columns = meta["columns"].as_array().unwrap().iter();
            columns.map(|column| column["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&metas[1]), names(&metas[3])),
            (vec!["id".into(), "note".into()], vec!["id".into(), "other".into()])
        );
        assert_eq!(metas[1]["columns"][1]["type"].as_str().map(str::to_lowercase), Some("text".to_owned()));
        // Every message has an offset of its own, meta or row.
        let mut offsets: Vec<u64> = lines.iter().map(|line| payload(line)["o"].as_u64().unwrap()).collect();
        offsets.extend(meta.lines().iter().map(|line| payload(line)["offset"]["offset"].as_u64().unwrap()));
        offsets.sort_unstable();
        assert_eq!(offsets, [1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn rows_that_are_there_come_first_when_asked_for() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v text)");
        let insert = match source {
            Source::Sqlite(_) => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t SELECT 3001 - i, 'old' FROM n"
            }
            Source::Postgres(..) => "INSERT INTO t SELECT 3001 - i, 'old' FROM generate_series(1, 3000) i",
        };
        source.run(insert);
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry = "  - table: t\n    topic: t\n    start: existing\n    format: '[.offset, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        std::thread::scope(|scope| {
            // Others write all the while.
            scope.spawn(|| {
                for first in (3_001..3_401).step_by(20) {
                    let insert = |id| format!("BEGIN; INSERT INTO t VALUES ({id}, 'new'); COMMIT;");
                    source.run(&(first..first + 20).map(insert).collect::<String>());
                }
            });
            bridge.start();
        });
        let lines = subscriber.wait_for(3_400);
        let found: Vec<(u64, u64)> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected: Vec<(u64, u64)> = (1..=3_400).map(|id| (id, id)).collect();
        assert_eq!(found, expected, "{}", source.url());
    });
}

#[test]
fn values_of_every_type_have_one_form_whatever_the_session_says() {
    let source = Source::postgres();
    let broker = Mosquitto::start();
    source.run(
        "CREATE DOMAIN key AS bytea; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (big bigint, num numeric(30, 10), \
         f double precision, data bytea, k key, datas bytea[], tz timestamptz, ts timestamp, d date, u uuid, j jsonb, m mood, \
         i interval, b boolean, tzs timestamptz[], n text)",
    );
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: row\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    source.run(
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'postgres_verbose'; \
         SET extra_float_digits = -10; SET bytea_output = 'escape'; \
         INSERT INTO t VALUES (9007199254740993, 12345678901234567890.0123456789, 0.1, '\\x00ff', '\\x01', \
         ARRAY['\\x02'::bytea, NULL], '2026-11-28T17:10:00.123456-05', '2026-11-28T22:10:00', '2026-11-28', \
         '0190c0de-0000-7000-8000-000000000001', '{\"a\": 1.0}', 'ok', '1 day 2 hours', true, \
         ARRAY['2026-11-28T17:10:00-05'::timestamptz], '\\x00')",
    );
    let expected = r#"{"big":9007199254740993,"num":12345678901234567890.0123456789,"f":0.1,"data":"AP8=","k":"AQ==","datas":["Ag==",null],"tz":"2026-11-28T22:10:00.123456Z","ts":"2026-11-28T22:10:00","d":"2026-11-28","u":"0190c0de-0000-7000-8000-000000000001","j":{"a": 1.0},"m":"ok","i":"P1DT2H","b":true,"tzs":["2026-11-28T22:10:00Z"],"n":"\\x00"}"#;
    assert_eq!(subscriber.wait_for(1), [expected]);
}

#[test]
fn a_publication_that_nobody_serves_keeps_no_more_than_may_wait() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer)");
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry = "  - table: t\n    topic: t\n    max_pending: 500\n    format: '[.offset, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        bridge.kill();
        // Statements of 50 rows, in transactions of their own.
        let insert = |first: u64| {
            let rows: Vec<String> = (first..first + 50).map(|id| format!("({id})")).collect();
            format!("BEGIN; INSERT INTO t VALUES {}; COMMIT;", rows.join(", "))
        };
        source.run(&(1..=6_000).step_by(50).map(insert).collect::<String>());
        let left = source.number("SELECT count(*) FROM rowbridge_changes").unsigned_abs();
        assert!((500..2_100).contains(&left), "{left} are left, {}", source.url());
        bridge.start();
        // More may be dropped at the start; what is published has the offset that it would have had.
        let found = crate::support::wait_for("the last row is published", || {
            let lines = subscriber.lines();
            let found: Vec<(u64, u64)> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            (found.last()?.1 == 6_000).then_some(found)
        });
        assert!(found.len() as u64 <= left, "{}", found.len());
        let first = 6_001 - found.len() as u64;
        assert!(found.iter().copied().eq((first..=6_000).map(|id| (id, id))), "{found:?}");
        assert!(bridge.log().contains("more changes wait to be published than max_pending"), "{}", bridge.log());
    });
}

#[test]
fn rows_that_the_bridge_stores_are_published_too_and_a_plain_role_may_write() {
    both(|source| {
        let broker = Mosquitto::start();
        let subscriber = Subscriber::start(broker.port(), "out/#", "%t %p");
        let rule = "rules:\n  - { topic: 'in/{site}', table: t, create: true, columns: { v: { from: payload.v, type: bigint }, \
                    site: topic.site } }\n";
        let entry = format!("  - table: t\n    topic: 'out/{{row.site}}'\n    format: row\n{rule}");
        let mut bridge = publisher(&broker, &source, &entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        let mut publisher = crate::support::publisher::Publisher::new(broker.port());
        for v in 1..=3 {
            publisher.send("in/a", format!("{{\"v\":{v}}}"));
        }
        let expected: Vec<String> = (1..=3).map(|v| format!("out/a {{\"v\":{v},\"site\":\"a\"}}")).collect();
        assert_eq!(subscriber.wait_for(3), expected);
        if !source.is_sqlite() {
            source.run("DROP ROLE IF EXISTS rowbridge_writer; CREATE ROLE rowbridge_writer; GRANT INSERT ON t TO rowbridge_writer");
            source.run("SET ROLE rowbridge_writer; INSERT INTO t VALUES (4, 'b')");
            assert_eq!(subscriber.wait_for(4)[3], "out/b {\"v\":4,\"site\":\"b\"}");
            source.run("REVOKE ALL ON t FROM rowbridge_writer; DROP ROLE rowbridge_writer");
        }
    });
}
