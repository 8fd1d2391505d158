//! What happens to the table itself.

use serde_json::{Value, json};

use super::{Source, both, both_alone, payload, publisher, wait_capturing};
use crate::support::bridge::Bridge;
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
    both_alone(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer)");
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry = "  - table: t\n    topic: t\n    max_pending: 500\n    format: '[.offset, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        bridge.kill();
        insert_to_24_000(&source, 1);
        let left = source.number("SELECT count(*) FROM rowbridge_changes").unsigned_abs();
        assert!(LEFT.contains(&left), "{left} are left, {}", source.url());
        bridge.start();
        // More may be dropped at the start. No offset is given to a second row.
        let found = crate::support::wait_for("the last row is published", || {
            let lines = subscriber.lines();
            let found: Vec<(u64, u64)> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            (found.last()?.1 == 24_000).then_some(found)
        });
        assert!(found.len() as u64 <= left, "{}", found.len());
        let first = 24_001 - found.len() as u64;
        assert!(found.iter().map(|(_, id)| *id).eq(first..=24_000), "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0) && found[0].0 > 100_000, "{found:?}");
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

#[test]
fn rows_of_the_start_that_wait_do_not_keep_the_triggers_from_dropping_what_is_too_much() {
    both_alone(|source| {
        let mut broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
        let entry = "  - table: t\n    topic: t\n    start: existing\n    meta_topic: m\n    max_pending: 500\n    \
                     format: '[.offset, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        // Another start, whose rows find no broker.
        bridge.wait_alive("all is finished", |_| {
            (source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(())
        });
        assert!(bridge.stop().success());
        assert!(bridge.command(&["publish", "remove", "t"]).status.success());
        broker.stop();
        bridge.spawn();
        bridge.wait_alive("the rows of the start wait", |_| {
            (source.number("SELECT count(*) FROM rowbridge_changes") == 3).then_some(())
        });
        bridge.kill();
        insert_to_24_000(&source, 3);
        let left = source.number("SELECT count(*) FROM rowbridge_changes").unsigned_abs();
        assert!(LEFT.contains(&left), "{left} are left, {}", source.url());
        // As many as may wait: neither they nor the bridge drop any.
        assert_eq!(source.number("SELECT count(*) FROM rowbridge_changes WHERE xact = 0"), 0);
    });
}

/// Rows of a transaction.
const INSERTED: usize = 400;

/// What may be left of 24,000 with `max_pending: 500`. The triggers look by chance, on average once in 1,024 rows: that none of
/// twenty transactions looks happens once in 20,000 times.
const LEFT: std::ops::Range<u64> = 500..9_000;

/// Rows with the numbers from `first` to 24,000 or a little more, [`INSERTED`] in a transaction.
fn insert_to_24_000(source: &Source, first: u64) {
    let transactions: Vec<String> = (first..=24_000)
        .step_by(INSERTED)
        .map(|first| {
            let rows: Vec<String> = (first..first + INSERTED as u64).map(|id| format!("({id})")).collect();
            format!("BEGIN; INSERT INTO t (id) VALUES {}; COMMIT;", rows.join(", "))
        })
        .collect();
    // An argument of psql has a bound.
    transactions.chunks(20).for_each(|some| drop(source.run(&some.concat())));
}

#[test]
fn changes_dropped_while_the_rows_of_the_start_are_copied_do_not_make_the_copy_fail() {
    let (broker, source) = (Mosquitto::start(), Source::postgres_alone());
    // The copy of the first row takes a while.
    source.run(
        "CREATE TYPE slow AS ENUM ('x'); CREATE FUNCTION wait(slow) RETURNS json LANGUAGE sql AS 'SELECT to_json(pg_sleep(5)::text)'; \
         CREATE CAST (slow AS json) WITH FUNCTION wait(slow); CREATE TABLE t (id integer PRIMARY KEY, s slow); \
         INSERT INTO t VALUES (0, 'x')",
    );
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let entry = "  - table: t\n    topic: t\n    start: existing\n    max_pending: 100\n    format: .row.id\n";
    let mut bridge = publisher(&broker, &source, entry);
    bridge.spawn();
    wait_capturing(&mut bridge, &source, 1);
    insert_to_24_000(&source, 1);
    let lines = crate::support::wait_for("the last row is published", || {
        let lines = subscriber.lines();
        (lines.last()? == "24000").then_some(lines)
    });
    assert!(!bridge.log().contains("40001"), "{lines:?} {}", bridge.log());
}

#[test]
fn a_renamed_table_is_captured_no_longer_and_the_one_that_took_its_name_is() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY)");
        let rows = Subscriber::start(broker.port(), "rows", "%p");
        let entry = "  - name: p\n    table: t\n    topic: rows\n    format: .row.id\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO t VALUES (1)");
        rows.wait_for(1);
        source.run("BEGIN; ALTER TABLE t RENAME TO gone; CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (2); COMMIT;");
        rows.wait_for(2);
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO gone VALUES (100); INSERT INTO t VALUES (3)");
        assert_eq!(rows.wait_for(3), ["1", "2", "3"], "{}", source.url());
        // Without one that takes the name.
        source.run("ALTER TABLE t RENAME TO gone_too");
        wait_capturing(&mut bridge, &source, 0);
        source.run("INSERT INTO gone_too VALUES (101)");
        // The entry names another table.
        source.run("CREATE TABLE u (id integer PRIMARY KEY)");
        source.run("ALTER TABLE gone_too RENAME TO t");
        wait_capturing(&mut bridge, &source, 1);
        assert!(bridge.stop().success());
        bridge.edit("table: t", "table: u");
        bridge.start();
        bridge.wait_alive("only the other table is captured", |_| {
            (triggers_on(&source, "u") == 1 && triggers_on(&source, "t") == 0).then_some(())
        });
        source.run("INSERT INTO t VALUES (200); INSERT INTO u VALUES (7)");
        let lines = crate::support::wait_for("the other table's row is published", || {
            let lines = rows.lines();
            lines.iter().any(|line| line == "7").then_some(lines)
        });
        assert!(!lines.iter().any(|line| line == "200" || line == "100"), "{lines:?}, {}", source.url());
    });
}

fn triggers_on(source: &Source, table: &str) -> i64 {
    source.number(&match source {
        Source::Sqlite(_) => {
            format!("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '{table}' AND name LIKE 'rowbridge%'")
        }
        Source::Postgres(..) => {
            format!("SELECT count(*) FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgname LIKE 'rowbridge%'")
        }
    })
}

#[test]
fn a_transaction_that_stays_open_is_named() {
    let (broker, source) = (Mosquitto::start(), Source::postgres());
    source.run("CREATE TABLE t (id integer)");
    let rows = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: .row.id\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Source::Postgres(server, database) = &source else { unreachable!() };
            server.try_psql(database, "BEGIN; SELECT txid_current(); SELECT pg_sleep(600); -- holds up");
        });
        let holder = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE query LIKE '%holds up' AND pid <> pg_backend_pid() \
                      AND backend_xid IS NOT NULL AND datname = current_database()";
        let pid =
            crate::support::wait_for("the transaction is open", || Some(source.number(holder)).filter(|pid| *pid > 0));
        source.run("INSERT INTO t VALUES (1)");
        // As if that had been a while ago.
        source.run("UPDATE rowbridge_changes SET number = number - 100000000");
        let named = format!("process {pid}, user postgres, database ");
        bridge.wait_alive("the status names it", |bridge| {
            let error = bridge.status()["publish"][0]["error"].as_str()?.to_owned();
            (error.contains(&named) && error.contains("open since")).then_some(())
        });
        let shown = bridge.command(&["publish", "status"]);
        assert!(String::from_utf8_lossy(&shown.stdout).contains(&named), "{shown:?}");
        source.run(&format!("SELECT pg_terminate_backend({pid})"));
    });
    rows.wait_for(1);
    bridge.wait_alive("all is well", |bridge| bridge.status()["publish"][0]["error"].is_null().then_some(()));
}

#[test]
fn what_is_no_table_is_named_by_the_running_bridge_and_by_check() {
    both(|source| {
        let broker = Mosquitto::start();
        let (other, kind) = match source.is_sqlite() {
            true => {
                ("CREATE VIRTUAL TABLE f USING fts5(a)", "it is a virtual table, and SQLite has no triggers on one")
            }
            false => ("CREATE MATERIALIZED VIEW f AS SELECT id FROM t", "it is a materialized view"),
        };
        source.run(&format!("CREATE TABLE t (id integer); CREATE VIEW v AS SELECT id FROM t; {other}"));
        let mut bridge = publisher(&broker, &source, "  - { table: v, topic: v }\n  - { table: f, topic: f }\n");
        bridge.start();
        bridge.wait_alive("the status says what they are", |bridge| {
            let status = bridge.status();
            let has = |index: usize, words| status["publish"][index]["error"].as_str()?.contains(words).then_some(());
            has(0, "it is a view: publish the table behind it").and_then(|()| has(1, kind))
        });
        let output = bridge.command(&["check"]);
        let checked = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{checked}");
        assert!(checked.contains("publish v: no rows of v can be published, because it is a view"), "{checked}");
        assert!(checked.contains(&format!("publish f: no rows of f can be published, because {kind}")), "{checked}");
        source.run("DROP VIEW v; CREATE TABLE v (id integer)");
        wait_capturing(&mut bridge, &source, 1);
        bridge.wait_alive("all is well", |bridge| bridge.status()["publish"][0]["error"].is_null().then_some(()));
    });
}

#[test]
fn changes_of_an_older_copy_of_the_database_come_again_under_their_offsets() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer)");
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: '[.offset, .row.id]'\n");
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run(
            "BEGIN; INSERT INTO t VALUES (1), (2), (3); CREATE TABLE saved AS SELECT * FROM rowbridge_changes; COMMIT",
        );
        subscriber.wait_for(3);
        let is_finished = |_: &Bridge| (source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(());
        bridge.wait_alive("they are finished", is_finished);
        // As a standby that was promoted without the last transactions.
        source.run(
            "BEGIN; INSERT INTO rowbridge_changes SELECT * FROM saved; \
             UPDATE rowbridge_publications SET next_offset = 1; COMMIT",
        );
        subscriber.wait_for(6);
        bridge.wait_alive("they are finished again", is_finished);
        source.run("INSERT INTO t VALUES (4)");
        let lines = subscriber.wait_for(7);
        assert_eq!(lines, ["[1,1]", "[2,2]", "[3,3]", "[1,1]", "[2,2]", "[3,3]", "[4,4]"]);
        let Source::Postgres(server, database) = &source else { return };

        // As another server, whose transactions have lower numbers.
        bridge.wait_alive("the last is finished", is_finished);
        source.run("INSERT INTO rowbridge_changes SELECT * FROM saved");
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        server.psql(database, others);
        assert_eq!(subscriber.wait_for(10)[7..], ["[5,1]", "[6,2]", "[7,3]"]);
    });
}

#[test]
fn a_table_with_columns_that_are_called_like_variables_of_the_triggers_is_captured() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run(
            "CREATE TABLE t (id integer PRIMARY KEY, publication_id integer, last_number integer, forms text, written integer, \
             most integer, dropped integer, n integer, o integer, a integer, b integer, place integer, line text)",
        );
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry =
            "  - table: t\n    topic: t\n    events: [insert, update, delete]\n    format: '[.event, .row.forms]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 3);
        source.run("INSERT INTO t (id, publication_id, forms) VALUES (1, 7, 'x')");
        source.run("UPDATE t SET forms = 'y'");
        source.run("DELETE FROM t");
        let events: Vec<Value> = subscriber.wait_for(3).iter().map(|line| payload(line)[0].clone()).collect();
        assert_eq!(events, ["insert", "update", "delete"]);
    });
}

#[test]
fn other_events_publish_no_row_again() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v integer)");
        let subscriber = Subscriber::start(broker.port(), "t", "%p");
        let entry = "  - table: t\n    topic: t\n    events: [insert]\n    format: '[.event, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO t VALUES (1, 1), (2, 2)");
        subscriber.wait_for(2);
        assert!(bridge.stop().success());
        bridge.edit("events: [insert]", "events: [update, delete]");
        bridge.start();
        wait_capturing(&mut bridge, &source, 2);
        source.run("UPDATE t SET v = 3 WHERE id = 2");
        assert_eq!(subscriber.wait_for(3), [r#"["insert",1]"#, r#"["insert",2]"#, r#"["update",2]"#]);
    });
}

/// The OIDs of a restored database are others.
#[test]
fn a_table_of_a_restored_database_is_the_known_one() {
    let source = Source::postgres();
    let broker = Mosquitto::start();
    source.run("CREATE TABLE t (id integer PRIMARY KEY)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let mut bridge = publisher(&broker, &source, "  - table: t\n    topic: t\n    format: '[.offset, .row.id]'\n");
    bridge.start();
    wait_capturing(&mut bridge, &source, 1);
    source.run("INSERT INTO t VALUES (1), (2)");
    subscriber.wait_for(2);
    let is_finished = |_: &Bridge| (source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(());
    bridge.wait_alive("they are finished", is_finished);
    assert!(bridge.stop().success());
    source.run("UPDATE rowbridge_publications SET table_id = 1; INSERT INTO t VALUES (3)");
    bridge.start();
    source.run("INSERT INTO t VALUES (4)");
    assert_eq!(subscriber.wait_for(4), ["[1,1]", "[2,2]", "[3,3]", "[4,4]"]);
    bridge.wait_alive("the table is known again", |_| {
        (source.number("SELECT count(*) FROM rowbridge_publications WHERE table_id = 't'::regclass::oid") == 1)
            .then_some(())
    });
}
