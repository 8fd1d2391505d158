//! Rows that appear in a table are published: the real binary, Mosquitto, Postgres and SQLite.

#[cfg(feature = "fault-injection")]
mod campaign;
#[cfg(feature = "fault-injection")]
mod crashes;
mod sessions;
mod tables;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::free_port;
use crate::support::mosquitto::Mosquitto;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::Postgres;
use crate::support::subscriber::Subscriber;

/// A database that others write into.
pub(crate) enum Source {
    Sqlite(std::path::PathBuf),
    Postgres(Arc<Postgres>, String),
}

impl Source {
    fn postgres() -> Source {
        let server = Postgres::shared();
        let database = server.create_database();
        Source::Postgres(server, database)
    }

    /// A database on a server where no other test's transactions are open.
    fn postgres_alone() -> Source {
        let server = Arc::new(Postgres::start());
        let database = server.create_database();
        Source::Postgres(server, database)
    }

    fn sqlite(folder: &std::path::Path) -> Source {
        Source::Sqlite(folder.join("source.db"))
    }

    fn is_sqlite(&self) -> bool {
        matches!(self, Source::Sqlite(_))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Source::Sqlite(path) => format!("sqlite:{}", path.display()),
            Source::Postgres(server, database) => server.url(database),
        }
    }

    /// Statements in a session of their own.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) -> String {
        match self {
            Source::Sqlite(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                // SQLite serves those who wait in no order: of four, one may wait long.
                connection.busy_timeout(std::time::Duration::from_secs(600)).unwrap();
                connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                String::new()
            }
            Source::Postgres(server, database) => server.psql(database, sql),
        }
    }

    /// The only value of a query.
    pub(crate) fn number(&self, query: &str) -> i64 {
        match self {
            Source::Sqlite(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
                connection.query_row(query, [], |row| row.get(0)).unwrap()
            }
            Source::Postgres(..) => self.run(query).trim().parse().unwrap(),
        }
    }

    fn triggers(&self) -> i64 {
        match self {
            Source::Sqlite(_) => {
                self.number("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'rowbridge%'")
            }
            Source::Postgres(..) => self.number("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'rowbridge%'"),
        }
    }
}

/// A bridge that publishes, and does nothing else.
pub(crate) fn publisher(broker: &Mosquitto, source: &Source, entry: &str) -> Bridge {
    publisher_at(broker.port(), source, entry)
}

fn publisher_at(port: u16, source: &Source, entry: &str) -> Bridge {
    Bridge::with_mqtt(
        port,
        "retry: { min: 20ms, max: 200ms }",
        &format!(
            "databases:\n  cloud: {{ url: '{}', retry: {{ min: 20ms, max: 200ms }} }}\npublish:\n{entry}",
            source.url()
        ),
    )
}

/// Until the triggers are there.
pub(crate) fn wait_capturing(bridge: &mut Bridge, source: &Source, triggers: i64) {
    bridge.wait_alive("the triggers are made", |_| (source.triggers() == triggers).then_some(()));
}

fn both(test: impl Fn(Source)) {
    let folder = tempfile::TempDir::new().unwrap();
    test(Source::sqlite(folder.path()));
    test(Source::postgres());
}

/// As [`both`], where it matters which transactions are open on the server.
fn both_alone(test: impl Fn(Source)) {
    let folder = tempfile::TempDir::new().unwrap();
    test(Source::sqlite(folder.path()));
    test(Source::postgres_alone());
}

fn payload(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

const WALK: &str = "  - name: meters
    table: meters
    topic: \"test/{table}/{row.t1}\"
    time: ms
";

#[test]
fn the_session_that_takes_messages_connects_first() {
    let only_one = free_port();
    let _broker = Mosquitto::with(&format!("listener {only_one} 127.0.0.1\nmax_connections 1\n"));
    let folder = tempfile::TempDir::new().unwrap();
    let source = Source::sqlite(folder.path());
    source.run("CREATE TABLE meters (ts timestamp, f1 integer, t1 text)");
    let mut bridge = publisher_at(only_one, &source, WALK);
    bridge.start();
    bridge.wait_alive("the second connection is refused", |bridge| {
        let status = bridge.status();
        assert_eq!(status["mqtt"]["connected"], true, "{status}");
        status["mqtt"]["outbound"]["last_error"].as_str().map(|_| ())
    });
    assert!(bridge.stop().success());
}

#[test]
fn the_walk_of_tdengine() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE meters (ts timestamp, f1 integer, t1 text)");
        source.run("INSERT INTO meters VALUES ('2026-01-01T00:00:00', 0, 'before')");
        let subscriber = Subscriber::start(broker.port(), "test/#", "%t %p");
        let mut bridge = publisher(&broker, &source, WALK);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:00.500', 1, 'a'), ('2026-11-28T22:10:01', 2, 'b')");
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:02', 3, NULL)");
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:02', 4, 'a#b')");
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:03', 5, 'c')");
        let lines = subscriber.wait_for(3);
        let expected = |topic: &str, ts: u64, f1: u64, offset: u64| {
            let place = json!({ "database": "cloud", "topic": "meters", "table": "meters", "offset": offset });
            (format!("test/meters/{topic}"), json!({ "data": { "ts": ts, "f1": f1, "t1": topic }, "offset": place }))
        };
        let found: Vec<(String, Value)> = lines
            .iter()
            .map(|line| line.split_once(' ').map(|(topic, json)| (topic.to_owned(), payload(json))).unwrap())
            .collect();
        let second = 1_795_903_800_000;
        let all = [
            expected("a", second + 500, 1, 1),
            expected("b", second + 1_000, 2, 2),
            expected("c", second + 3_000, 5, 3),
        ];
        assert_eq!(found, all);
        bridge.wait_alive("all is finished", |bridge| {
            let state = &bridge.status()["publish"][0];
            (state["published"] == 3 && state["skipped"] == 2 && state["error"].is_null()).then_some(())
        });
        assert_eq!(source.number("SELECT count(*) FROM rowbridge_changes"), 0);
        let metrics = bridge.metrics();
        assert_eq!(metrics.value("rowbridge_published_total", &[("name", "meters")]), Some(3.0));
        assert!(bridge.stop().success());
        // What is written while nobody publishes comes at the next start, and the offsets go on.
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:04', 6, 'd')");
        bridge.start();
        let lines = subscriber.wait_for(4);
        assert_eq!(payload(lines[3].split_once(' ').unwrap().1)["offset"]["offset"], 4, "{lines:?}");
    });
}

#[test]
fn updates_and_deletes_come_with_what_was_there_before() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v integer, secret text)");
        let subscriber = Subscriber::start(broker.port(), "out/#", "%t %p");
        let entry = "  - table: t\n    events: [insert, update, delete]\n    topic: \"out/{event}/{row.id}\"\n    \
                     columns: [id, v]\n    where: '(.row // .old).v != 13'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 3);
        source.run("INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'y'), (3, 13, 'z')");
        source.run("UPDATE t SET v = v + 1 WHERE id <= 2");
        source.run("DELETE FROM t WHERE id = 1");
        let lines = subscriber.wait_for(5);
        let place = |offset: u64| json!({ "database": "cloud", "topic": "t", "table": "t", "offset": offset });
        let row = |id: u64, v: u64| json!({ "id": id, "v": v });
        let expected = [
            ("out/insert/1", json!({ "data": row(1, 10), "event": "insert", "offset": place(1) })),
            ("out/insert/2", json!({ "data": row(2, 20), "event": "insert", "offset": place(2) })),
            ("out/update/1", json!({ "data": row(1, 11), "event": "update", "old": row(1, 10), "offset": place(3) })),
            ("out/update/2", json!({ "data": row(2, 21), "event": "update", "old": row(2, 20), "offset": place(4) })),
            ("out/delete/1", json!({ "data": null, "event": "delete", "old": row(1, 11), "offset": place(5) })),
        ];
        for (line, (topic, message)) in lines.iter().zip(expected) {
            let (found, json) = line.split_once(' ').unwrap();
            assert_eq!((found, payload(json)), (topic, message), "{}", source.url());
        }
    });
}

#[test]
fn a_reader_that_keeps_the_highest_offset_gets_each_row_once_though_the_broker_refused_some_for_a_while() {
    both(|source| {
        let broker = Mosquitto::with_files(
            "acl_file FOLDER/acl\n",
            &[("acl", "topic readwrite #\ntopic deny closed/#\n".to_owned())],
        );
        source.run("CREATE TABLE t (id integer, place text)");
        let subscriber = Subscriber::start(broker.port(), "#", "%p");
        let entry = "  - table: t\n    topic: '{row.place}/x'\n    format: '[.offset, .row.id]'\n";
        let mut bridge = publisher(&broker, &source, entry);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO t VALUES (1, 'open'), (2, 'closed'), (3, 'open'), (4, 'closed'), (5, 'open')");
        bridge.wait_alive("the refusal is told", |bridge| {
            let error = bridge.status()["publish"][0]["error"].as_str()?.to_owned();
            (error.contains("refuses") && error.contains("access rules")).then_some(())
        });
        // What the broker took is finished. The others wait, for offsets behind those that were sent.
        assert_eq!(source.number("SELECT count(*) FROM rowbridge_changes"), 2);
        assert!(source.number("SELECT next_offset FROM rowbridge_publications") >= 6);
        std::fs::write(broker.path("acl"), "topic readwrite #\n").unwrap();
        broker.read_again();
        bridge.wait_alive("all is finished", |bridge| {
            let state = &bridge.status()["publish"][0];
            (state["error"].is_null() && source.number("SELECT count(*) FROM rowbridge_changes") == 0).then_some(())
        });
        let (mut highest, mut rows) = (0, Vec::new());
        for line in subscriber.wait_for(5) {
            let (offset, id): (u64, u64) = serde_json::from_str(&line).unwrap();
            if offset > highest {
                highest = offset;
                rows.push(id);
            }
        }
        // Of the two that were refused, the broker may have refused one once more than the other.
        rows[3..].sort_unstable();
        assert_eq!(rows, [1, 3, 5, 2, 4], "{:?}", subscriber.lines());
        assert_eq!(bridge.status()["publish"][0]["published"], 5);
    });
}

#[test]
fn commands_show_and_remove_what_is_published() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE meters (ts timestamp, f1 integer, t1 text)");
        let mut bridge = publisher(&broker, &source, WALK);
        let text = |output: &std::process::Output| {
            String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
        };
        let checked = text(&bridge.command(&["check"]));
        assert!(source.is_sqlite() || checked.contains("first start makes them"), "{checked}");
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        source.run("INSERT INTO meters VALUES ('2026-11-28T22:10:00', 1, 'a')");
        bridge.wait_alive("it is published", |bridge| (bridge.status()["publish"][0]["published"] == 1).then_some(()));
        let checked = text(&bridge.command(&["check"]));
        assert!(checked.contains("publish meters: rows of table meters can be published"), "{checked}");
        let output = bridge.command(&["publish", "status", "--json"]);
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        assert_eq!(shown[0]["name"], "meters");
        assert_eq!(
            (&shown[0]["published"], &shown[0]["pending"], &shown[0]["next_offset"]),
            (&json!(1), &json!(0), &json!(2))
        );
        let said = text(&bridge.command(&["publish", "remove", "metres"]));
        assert!(said.contains("did you mean `meters`?"), "{said}");
        assert!(bridge.stop().success());
        let said = text(&bridge.command(&["publish", "remove", "meters"]));
        assert!(said.contains("meters is removed from database cloud"), "{said}");
        assert_eq!(source.triggers(), 0);
        assert_eq!(source.number("SELECT count(*) FROM rowbridge_publications"), 0);
        // Writers do not miss the triggers, nor Rowbridge's tables.
        source.run("DROP TABLE rowbridge_changes; INSERT INTO meters VALUES ('2026-11-28T22:10:00', 2, 'a')");
    });
}

#[test]
fn publications_that_are_not_in_the_file_any_more_are_told_once_after_the_start() {
    both(|source| {
        let broker = Mosquitto::start();
        source.run("CREATE TABLE meters (ts timestamp, f1 integer, t1 text)");
        let mut bridge = publisher(&broker, &source, WALK);
        bridge.start();
        wait_capturing(&mut bridge, &source, 1);
        assert!(bridge.stop().success());
        bridge.edit("name: meters", "name: others");
        bridge.start();
        bridge.wait_alive("it is told", |bridge| {
            let log = bridge.log();
            let line = log.lines().find(|line| line.contains("a publication that is not in the configuration"))?;
            assert!(line.contains("rowbridge publish remove meters") && line.contains("cloud"), "{line}");
            Some(())
        });
        assert!(!bridge.log().contains("publish remove others"), "{}", bridge.log());
    });
}

#[test]
fn through_a_pooler_rows_are_found_by_looking() {
    let source = Source::postgres();
    let Source::Postgres(server, database) = &source else { unreachable!() };
    let bouncer = PgBouncer::start(server, 2);
    let broker = Mosquitto::start();
    source.run("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)");
    let subscriber = Subscriber::start(broker.port(), "t", "%p");
    let entry = "  - table: t\n    topic: t\n    start: existing\n    format: row\n";
    let mut bridge = publisher(&broker, &source, entry);
    bridge.edit(&source.url(), &bouncer.url(database));
    bridge.start();
    subscriber.wait_for(5);
    source.run("INSERT INTO t SELECT generate_series(6, 10)");
    let expected: Vec<String> = (1..=10).map(|id| format!("{{\"id\":{id}}}")).collect();
    assert_eq!(subscriber.wait_for(10), expected);
}
