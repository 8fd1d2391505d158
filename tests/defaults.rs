//! Columns that have a default in the database: what a message has for them is stored, what it lacks the database fills.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher};

/// The same rule into both databases. Rows wait for each other, so that a batch holds rows of different columns.
fn body(postgres: &str, columns: &str) -> String {
    let rule = |name: &str, database: &str| {
        format!("  - {{ name: {name}, topic: 'd/+', database: {database}, table: t, columns: {columns} }}\n")
    };
    format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db', batch: {{ max_wait: 500ms }} }}\n  cloud: {{ url: '{postgres}', \
         batch: {{ max_wait: 500ms }} }}\nrules:\n{}{}",
        rule("to-sqlite", "local"),
        rule("to-postgres", "cloud")
    )
}

struct Scene {
    broker: Mosquitto,
    postgres: std::sync::Arc<Postgres>,
    database: String,
    bridge: Bridge,
}

impl Scene {
    /// A table `t` in both databases.
    fn start(columns: &str, sqlite_table: &str, postgres_table: &str) -> Scene {
        let postgres = Postgres::shared();
        let database = postgres.create_database();
        postgres.psql(&database, postgres_table);
        let broker = Mosquitto::with(DEEP_QUEUE);
        let mut bridge = Bridge::new(broker.port(), &body(&postgres.url(&database), columns));
        rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(sqlite_table).unwrap();
        bridge.start();
        Scene { broker, postgres, database, bridge }
    }

    fn publish(&mut self, payloads: &[&str]) {
        let mut publisher = Publisher::new(self.broker.port());
        payloads.iter().for_each(|payload| publisher.send("d/1", *payload));
        self.settle(payloads.len() as u64);
    }

    fn settle(&mut self, messages: u64) {
        self.bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
        self.bridge.wait_drained("local");
        self.bridge.wait_drained("cloud");
    }

    /// Both databases answer the same to this query of one text column.
    #[track_caller]
    fn assert_both(&self, query: &str, expected: &[&str]) {
        assert_eq!(column::<String>(&self.bridge.rows(), query), expected, "SQLite: {query}");
        let found = self.postgres.psql(&self.database, query);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "Postgres: {query}");
    }
}

const SQLITE_TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, ts TIMESTAMP DEFAULT CURRENT_TIMESTAMP, \
     b TEXT NOT NULL DEFAULT 'dd', n BIGINT DEFAULT 7, v DOUBLE)";
const POSTGRES_TABLE: &str = "CREATE TABLE t (id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), \
     b text NOT NULL DEFAULT 'dd', n bigint DEFAULT 7, v double precision, \
     made bigint GENERATED ALWAYS AS IDENTITY, twice double precision GENERATED ALWAYS AS (v * 2) STORED)";

/// What is there of each row; `now` for a time that the database filled in.
const ROWS: &str = "SELECT coalesce(CAST(v AS TEXT), '-') || ' ' || b || ' ' || coalesce(CAST(n AS TEXT), '-') || ' ' || \
     CASE WHEN ts IS NULL THEN '-' WHEN CAST(ts AS TEXT) LIKE '2001%' THEN '2001' ELSE 'now' END FROM t ORDER BY ";

const PAYLOADS: [&str; 7] = [
    r#"{"v":1.5,"b":"x","n":1,"ts":"2001-02-03T04:05:06Z"}"#,
    r#"{"v":2.5}"#,
    r#"{"v":3.5,"b":"y"}"#,
    r#"{"v":4.5,"n":null,"ts":null}"#,
    r#"{"v":5.5,"ts":"2001-02-03T04:05:06Z"}"#,
    r#"{"v":6.5}"#,
    r#"{"v":7.5,"b":null}"#,
];
const EXPECTED: [&str; 6] =
    ["1.5 x 1 2001", "2.5 dd 7 now", "3.5 y 7 now", "4.5 dd - -", "5.5 dd 7 2001", "6.5 dd 7 now"];

#[test]
fn auto_stores_what_a_message_has_and_the_database_fills_in_the_rest() {
    let mut scene = Scene::start("auto", SQLITE_TABLE, POSTGRES_TABLE);
    scene.publish(&PAYLOADS);
    scene.assert_both(&format!("{ROWS} v"), &EXPECTED);
    let letters = "SELECT reason || ' ' || CAST(seq AS TEXT) FROM rowbridge_dead_letters ORDER BY seq";
    scene.assert_both(letters, &["required 7"]);
    let payload = r#"{"id":1000,"v":8.5}"#;
    Publisher::new(scene.broker.port()).send("d/1", payload);
    scene.settle(8);
    scene.assert_both("SELECT CAST(id AS TEXT) FROM t WHERE v = 8.5", &["1000"]);
}

#[test]
fn a_named_column_that_the_message_lacks_gets_the_databases_default() {
    let columns = "{ b: payload.b, n: payload.n, v: payload.v, ts: payload.ts }";
    let mut scene = Scene::start(columns, SQLITE_TABLE, POSTGRES_TABLE);
    scene.publish(&PAYLOADS);
    scene.assert_both(&format!("{ROWS} v"), &EXPECTED);
    scene.assert_both("SELECT reason FROM rowbridge_dead_letters", &["required"]);
    let status = scene.bridge.status();
    for rule in 0..2 {
        let rule = &status["rules"][rule];
        assert_eq!((&rule["matched"], &rule["written"], &rule["dead_lettered"]), (&7.into(), &6.into(), &1.into()));
    }
}

#[test]
fn rows_that_the_database_refuses_are_found_among_rows_of_different_columns() {
    let table = "CREATE TABLE t (k BIGINT PRIMARY KEY, b TEXT DEFAULT 'dd', n BIGINT DEFAULT 7 CHECK (n <> 13), \
                 v BIGINT CHECK (v <> 13))";
    let mut scene = Scene::start("auto", table, table);
    scene.publish(&[
        r#"{"k":1,"v":1}"#,
        r#"{"k":2,"v":1,"b":"x"}"#,
        // Refused, each in a statement of its own.
        r#"{"k":3,"v":13}"#,
        r#"{"k":4,"n":13}"#,
        r#"{"k":5,"n":1,"b":"y","v":13}"#,
        // Equal keys in different statements: the first one stays.
        r#"{"k":6,"v":6}"#,
        r#"{"k":6,"n":1,"b":"z"}"#,
        r#"{"k":7}"#,
    ]);
    let rows = "SELECT CAST(k AS TEXT) || ' ' || b || ' ' || CAST(n AS TEXT) || ' ' || coalesce(CAST(v AS TEXT), '-') \
                FROM t ORDER BY k";
    scene.assert_both(rows, &["1 dd 7 1", "2 x 7 1", "6 dd 7 6", "7 dd 7 -"]);
    let letters = "SELECT reason || ' ' || CAST(seq AS TEXT) FROM rowbridge_dead_letters ORDER BY seq";
    scene.assert_both(letters, &["constraint 3", "constraint 4", "constraint 5", "constraint 7"]);
}

/// Nine optional fields: every one of their 512 combinations, twice.
#[test]
fn every_combination_of_fields_is_stored() {
    let optional: String = (0..9).map(|index| format!(", c{index} BIGINT NOT NULL DEFAULT -1")).collect();
    let table = format!("CREATE TABLE t (id BIGINT{optional})");
    let mut scene = Scene::start("auto", &table, &table);
    let messages = 1024;
    let payload = |id: u64| {
        let fields: String =
            (0..9).filter(|index| id & (1 << index) != 0).map(|index| format!(",\"c{index}\":{id}")).collect();
        ("d/1".to_owned(), format!("{{\"id\":{id}{fields}}}").into_bytes())
    };
    Load::new(scene.broker.port(), 1, messages).made_by(payload).run();
    scene.settle(messages);
    let expected: Vec<String> = (0..messages)
        .map(|id| {
            let field = |index: i32| if id & (1 << index) != 0 { id.to_string() } else { "-1".to_owned() };
            format!("{id} {}", (0..9).map(field).collect::<Vec<_>>().join(" "))
        })
        .collect();
    let fields: String = (0..9).map(|index| format!(" || ' ' || CAST(c{index} AS TEXT)")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    scene.assert_both(&format!("SELECT CAST(id AS TEXT){fields} FROM t ORDER BY id"), &expected);
}
