//! What each column type does with digits that it has no place for, by the whole bridge: cut off where the documentation
//! says so, refused everywhere else, and the database changes nothing of its own accord.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::sqlite;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// A column, a JSON value for it, and how the database shows what it stored; `None` where the message is refused.
type Case = (&'static str, &'static str, Option<&'static str>);

const POSTGRES_TABLE: &str = "CREATE TABLE fine (id int, tz0 timestamptz(0), tz timestamptz, ts3 timestamp(3), t0 time(0), \
     d date, year interval year, day interval day, minute interval day to minute, sec interval second(1), \
     r real, f double precision, n numeric(10,2), i int, v varchar(3), c char(5), tz0s timestamptz(0)[])";

const POSTGRES: &[Case] = &[
    ("tz0", r#""1999-12-31T23:59:59.9999999Z""#, Some("1999-12-31 23:59:59+00")),
    ("tz0", r#""1969-12-31T23:59:59.5Z""#, Some("1969-12-31 23:59:59+00")),
    ("tz", r#""2026-11-21T08:26:00.1234569Z""#, Some("2026-11-21 08:26:00.123456+00")),
    ("ts3", r#""2026-11-21 08:26:00.9999""#, Some("2026-11-21 08:26:00.999")),
    ("t0", r#""23:59:59.9""#, Some("23:59:59")),
    ("t0", r#""2026-11-21T08:26:00Z""#, None),
    ("d", r#""2026-11-21""#, Some("2026-11-21")),
    ("d", r#""2026-11-21T00:00:00Z""#, Some("2026-11-21")),
    ("d", r#""2026-11-21T08:26:00Z""#, None),
    ("year", r#""P2Y""#, Some("P2Y")),
    ("year", r#""P2Y1M""#, None),
    ("day", r#""P1M2D""#, Some("P1M2D")),
    ("day", r#""PT36H""#, None),
    ("minute", "90", None),
    ("minute", "120", Some("PT2M")),
    ("sec", "1.96", Some("PT1.9S")),
    ("sec", "-1.96", Some("PT-1.9S")),
    ("r", "0.1", Some("0.1")),
    ("r", "16777217", None),
    ("r", "16777217.5", None),
    ("f", "9007199254740993.0", None),
    ("n", "1.005", None),
    ("n", "1.0050e1", Some("10.05")),
    ("n", "1.500", Some("1.50")),
    ("i", "1.5", None),
    ("i", "2.0", Some("2")),
    ("v", r#""ab ""#, Some("ab ")),
    ("v", r#""abc ""#, None),
    ("c", r#""ab""#, Some("ab   ")),
    ("tz0s", r#"["1999-12-31T23:59:59.9Z"]"#, Some("{\"1999-12-31 23:59:59+00\"}")),
];

const SQLITE_TABLE: &str =
    "CREATE TABLE fine (id INTEGER, ts TIMESTAMP, t TIME, d DATE, iv INTERVAL, r REAL, n DECIMAL, \
     n2 DECIMAL_TEXT(10,2), i INTEGER, x);
     CREATE VIRTUAL TABLE boxes USING rtree(id, lower, upper);
     CREATE VIRTUAL TABLE grid USING rtree_i32(id, low, high)";

const SQLITE: &[Case] = &[
    ("ts", r#""1999-12-31T23:59:59.9999Z""#, Some("1999-12-31T23:59:59.999Z")),
    ("t", r#""23:59:59.9999999""#, Some("23:59:59.999999")),
    ("t", r#""2026-11-21T08:26:00Z""#, None),
    ("d", r#""2026-11-21T00:00:00Z""#, Some("2026-11-21")),
    ("d", r#""2026-11-21T08:26:00Z""#, None),
    ("iv", "-1.0000019", Some("PT-1.000001S")),
    ("r", "0.1", Some("0.1")),
    ("r", "9007199254740993", None),
    ("r", "9007199254740993.0", None),
    ("r", "18446744073709551615", None),
    ("n", "0.12345678901234567890", None),
    ("n2", "1.005", None),
    ("i", "1.5", None),
    ("x", "0.12345678901234567890", Some("0.12345678901234567890")),
];

fn rule(name: &str, database: &str, table: &str, columns: &[&str]) -> String {
    let columns: String = columns.iter().map(|column| format!("      {column}: payload.{column}\n")).collect();
    format!(
        "  - name: {name}\n    topic: {name}\n    database: {database}\n    table: {table}\n    columns:\n      id: payload.id\n{columns}"
    )
}

fn columns_of(cases: &[Case]) -> Vec<&'static str> {
    let mut columns: Vec<_> = cases.iter().map(|case| case.0).collect();
    columns.dedup();
    columns
}

/// Publishes the cases in turn; the number of each is its `id`.
fn publish(broker: &Mosquitto, topic: &str, cases: &[Case]) {
    let mut publisher = Publisher::new(broker.port());
    for (id, (column, json, _)) in cases.iter().enumerate() {
        publisher.send(topic, format!(r#"{{"id":{id},"{column}":{json}}}"#));
    }
}

fn expected_of(cases: &[Case]) -> Vec<String> {
    let shown = |(id, case): (usize, &Case)| match case.2 {
        Some(stored) => format!("{id} {stored}"),
        None => format!("{id} refused: column {}", case.0),
    };
    cases.iter().enumerate().map(shown).collect()
}

#[test]
fn postgres_stores_what_the_documentation_says_and_refuses_the_rest() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, POSTGRES_TABLE);
    let broker = Mosquitto::start();
    let rules = rule("fine", "cloud", "fine", &columns_of(POSTGRES));
    let url = postgres.url(&database);
    let mut bridge = Bridge::new(broker.port(), &format!("databases:\n  cloud: {{ url: '{url}' }}\nrules:\n{rules}"));
    bridge.start();
    publish(&broker, "fine", POSTGRES);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= POSTGRES.len() as u64).then_some(()));
    bridge.wait_drained("cloud");
    let shown = |(id, (column, ..)): (usize, &Case)| {
        let stored = postgres.psql(
            &database,
            &format!(
                "SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; \
                 SELECT '[' || format('%s', {column}) || ']' FROM fine WHERE id = {id} \
                 UNION ALL SELECT reason || ':' || error FROM rowbridge_dead_letters WHERE seq = {id} + 1"
            ),
        );
        shown(id, &stored)
    };
    let found: Vec<String> = POSTGRES.iter().enumerate().map(shown).collect();
    assert_eq!(found, expected_of(POSTGRES));
}

#[test]
fn sqlite_stores_what_the_documentation_says_and_refuses_the_rest() {
    let broker = Mosquitto::start();
    let rules = rule("fine", "local", "fine", &columns_of(SQLITE))
        + &rule("boxes", "local", "boxes", &["lower", "upper"])
        + &rule("grid", "local", "grid", &["low", "high"]);
    let body = format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\nrules:\n{rules}");
    let mut bridge = Bridge::new(broker.port(), &body);
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(SQLITE_TABLE).unwrap();
    bridge.start();
    publish(&broker, "fine", SQLITE);
    let mut publisher = Publisher::new(broker.port());
    publisher.send("boxes", r#"{"id":1,"lower":21.53,"upper":21.53}"#);
    publisher.send("boxes", r#"{"id":2,"lower":1}"#);
    publisher.send("boxes", r#"{"id":3,"lower":1,"upper":1e39}"#);
    publisher.send("grid", r#"{"id":1,"low":-2147483648,"high":2147483647}"#);
    publisher.send("grid", r#"{"id":2,"low":0,"high":5000000000}"#);
    publisher.send("grid", r#"{"id":3,"low":0,"high":1.5}"#);
    let count = SQLITE.len() as u64 + 6;
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= count).then_some(()));
    bridge.wait_drained("local");
    let connection = sqlite(&bridge.rows());
    let shown = |(id, (column, ..)): (usize, &Case)| {
        let sql = format!(
            "SELECT '[' || {column} || ']' FROM fine WHERE id = {id} \
             UNION ALL SELECT reason || ':' || error FROM rowbridge_dead_letters WHERE seq = {id} + 1"
        );
        let stored: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        shown(id, &stored)
    };
    let found: Vec<String> = SQLITE.iter().enumerate().map(shown).collect();
    assert_eq!(found, expected_of(SQLITE));
    let bounds: (f64, f64) =
        connection.query_row("SELECT lower, upper FROM boxes", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(bounds, (21.529_998_779_296_875, 21.530_000_686_645_508));
    let whole: (i64, i64) =
        connection.query_row("SELECT low, high FROM grid", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(whole, (i32::MIN.into(), i32::MAX.into()));
    let mut statement = connection
        .prepare("SELECT rule || ' ' || reason FROM rowbridge_dead_letters WHERE rule <> 'fine' ORDER BY seq")
        .unwrap();
    let letters: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(letters, ["boxes required", "boxes value", "grid value", "grid value"]);
}

/// A stored value in brackets, or a dead letter's reason and error up to the column that it names.
fn shown(id: usize, found: &str) -> String {
    let found = found.lines().last().unwrap_or("neither a row nor a dead letter");
    match found.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(stored) => format!("{id} {stored}"),
        None => {
            let named = found.strip_prefix("value:").and_then(|error| error.split_once("column "));
            let name = named.and_then(|(_, rest)| rest.split([' ', ':']).next());
            format!("{id} refused: column {}", name.unwrap_or(found).trim_matches('`'))
        }
    }
}
