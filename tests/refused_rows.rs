//! A trigger can refuse one row with any code. That row is a dead letter; where no row passes, nobody is to blame.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{Tally, column, sqlite};
use crate::support::postgres::Postgres;
use crate::support::publisher::Load;

/// Messages to each table, and the one that is refused.
pub(crate) const COUNT: u64 = 300;
const REFUSED: u64 = 150;

/// Codes that say nothing of rows, those that look as if they would go away by themselves, and those that blame the row.
const CODES: [&str; 25] = [
    "P0001", "P0002", "P0003", "P0004", "21000", "20000", "U0001", "ZZ999", "0A000", "22021", "22P05", "2200H",
    "42501", "42P01", "XX000", "25006", "28000", "3D000", "55000", "40001", "57014", "57P01", "08006", "53100",
    "55P03",
];

/// A bridge into one database with a rule and a table for each name; the topic is `w/NAME`, the columns `id` and `v`.
fn bridge(port: u16, url: &str, names: &[&str]) -> Bridge {
    let mut text = format!("databases:\n  target: {{ url: '{url}', retry: {{ min: 20ms, max: 200ms }} }}\nrules:\n");
    for name in names {
        text += &format!(
            "  - {{ name: {name}, topic: w/{name}, table: t_{}, columns: {{ id: payload.id, v: payload.v }} }}\n",
            name.to_lowercase()
        );
    }
    Bridge::new(port, &text)
}

/// `COUNT` messages to each of these topics, one after the other; the ids of each count from 0.
pub(crate) fn publish(port: u16, names: &'static [&'static str]) {
    let count = names.len() as u64;
    Load::new(port, 1, COUNT * count)
        .made_by(move |number| {
            let (name, id) = (names[(number % count) as usize], number / count);
            (format!("w/{name}"), format!("{{\"id\":{id},\"v\":\"secret-{id}\"}}").into_bytes())
        })
        .run();
}

/// `message`, but for what a dead letter adds in front of it and behind.
#[track_caller]
fn assert_letter(letter: &str, name: &str) {
    assert!(letter.contains("constraint") || ["22021", "22P05"].contains(&name), "{name}: {letter}");
    assert!(letter.contains("the trigger says no") && letter.contains("ask the operator"), "{name}: {letter}");
    assert!(letter.contains(name) && !letter.contains("secret"), "{name}: {letter}");
}

#[test]
fn a_trigger_s_refusal_of_one_row_is_that_row_s_dead_letter_whatever_its_code_on_postgres() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    for code in CODES {
        let table = format!("t_{}", code.to_lowercase());
        postgres.psql(
            &database,
            &format!(
                "CREATE TABLE {table} (id int, v text);
                 CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF NEW.id = {REFUSED} THEN
                     RAISE EXCEPTION 'the trigger says no' USING ERRCODE = '{code}', DETAIL = NEW.v,
                       HINT = 'ask the operator';
                   END IF; RETURN NEW; END $$;
                 CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
            ),
        );
    }
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &CODES);
    bridge.start();
    publish(broker.port(), &CODES);
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= COUNT * CODES.len() as u64).then_some(()));
    bridge.wait_drained("target");
    for code in CODES {
        let ids = postgres.psql(&database, &format!("SELECT id FROM t_{}", code.to_lowercase()));
        let ids = ids.lines().map(|id| id.parse().unwrap()).chain([REFUSED.cast_signed()]);
        Tally::of(ids, 0..COUNT).assert_each_once(code);
        let query = format!("SELECT reason || ' ' || error FROM rowbridge_dead_letters WHERE rule = '{code}'");
        let letters = postgres.psql(&database, &query);
        assert_eq!(letters.lines().count(), 1, "{code}: {letters}");
        assert_letter(&letters, code);
    }
}

#[test]
fn a_trigger_s_refusal_of_one_row_is_that_row_s_dead_letter_on_sqlite() {
    const WAYS: [&str; 3] = ["ABORT", "FAIL", "ROLLBACK"];
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = bridge(broker.port(), "sqlite:rows.db", &WAYS);
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    for way in WAYS {
        let sql = format!(
            "CREATE TABLE t_{0} (id INTEGER, v TEXT); CREATE TRIGGER refuse_{0} BEFORE INSERT ON t_{0}
             WHEN NEW.id = {REFUSED} BEGIN SELECT RAISE({way}, 'the trigger says no'); END",
            way.to_lowercase()
        );
        connection.execute_batch(&sql).unwrap();
    }
    bridge.start();
    publish(broker.port(), &WAYS);
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= COUNT * WAYS.len() as u64).then_some(()));
    bridge.wait_drained("target");
    for way in WAYS {
        let ids = column::<i64>(&bridge.rows(), &format!("SELECT id FROM t_{}", way.to_lowercase()));
        Tally::of(ids.into_iter().chain([REFUSED.cast_signed()]), 0..COUNT).assert_each_once(way);
        let query = format!("SELECT reason || ' ' || error FROM rowbridge_dead_letters WHERE rule = '{way}'");
        let letters = column::<String>(&bridge.rows(), &query);
        assert_eq!(letters.len(), 1, "{way}: {letters:?}");
        assert!(letters[0].starts_with("constraint ") && letters[0].contains("the trigger says no"), "{letters:?}");
    }
}

/// The text of `held` once it is not null.
#[track_caller]
fn held(bridge: &mut Bridge) -> String {
    bridge.wait_alive("the database is held", |bridge| {
        let held = &bridge.status()["databases"]["target"]["held"];
        (!held.is_null()).then(|| held.to_string())
    })
}

#[test]
fn a_sequence_at_its_end_holds_and_makes_no_dead_letter_of_anybody() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    postgres
        .psql(&database, "CREATE TABLE t_a (n smallint GENERATED ALWAYS AS IDENTITY (MAXVALUE 100), id int, v text)");
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["a"]);
    bridge.start();
    publish(broker.port(), &["a"]);
    let held = held(&mut bridge);
    assert!(held.contains("2200H") && held.contains("ALTER SEQUENCE"), "{held}");
    assert!(held.contains("it stands at message") && held.contains("rule a") && held.contains("topic w/a"), "{held}");
    assert_eq!(
        bridge.status()["databases"]["target"]["last_error"].as_str().map(|text| text.contains("w/a")),
        Some(true)
    );
    assert!(bridge.log().contains("it stands at message"), "the log names it as well");
    // Not through ALTER TABLE: that takes two locks, in the other order than the bridge's INSERT.
    postgres.psql(&database, "ALTER SEQUENCE t_a_n_seq MAXVALUE 30000");
    bridge.wait_drained("target");
    let ids = postgres.psql(&database, "SELECT id FROM t_a ORDER BY n");
    let ids: Vec<i64> = ids.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, (0..COUNT.cast_signed()).collect::<Vec<_>>(), "all of them, in order");
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

#[test]
fn an_autoincrement_at_its_end_holds_and_is_no_full_disk() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let mut bridge = bridge(broker.port(), "sqlite:rows.db", &["a"]);
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    let sql = "CREATE TABLE t_a (n INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER, v TEXT);
               INSERT INTO t_a (n, id) VALUES (9223372036854775806, -1); DELETE FROM t_a";
    connection.execute_batch(sql).unwrap();
    bridge.start();
    publish(broker.port(), &["a"]);
    let held = held(&mut bridge);
    assert!(held.contains("AUTOINCREMENT") && held.contains("rule a"), "{held}");
    let mend = "UPDATE t_a SET n = -1 WHERE n = 9223372036854775807; UPDATE sqlite_sequence SET seq = 0";
    sqlite(&bridge.rows()).execute_batch(mend).unwrap();
    bridge.wait_drained("target");
    Tally::of_sqlite(&bridge.rows(), "t_a", 0..COUNT).assert_each_once("t_a");
    assert!(column::<i64>(&bridge.rows(), "SELECT id FROM rowbridge_dead_letters").is_empty());
}

#[test]
fn a_row_that_is_refused_without_company_is_blamed_once_another_goes_in() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE t_a (id int, v text);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id < 3 THEN RAISE no_data_found; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON t_a FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["a"]);
    // One message to a batch: its company is made for the purpose.
    bridge.edit("retry: {", "batch: { max_rows: 1 }, retry: {");
    bridge.start();
    let mut publisher = crate::support::publisher::Publisher::new(broker.port());
    (0..3).for_each(|id| publisher.send("w/a", format!("{{\"id\":{id}}}")));
    held(&mut bridge);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
    (3..6).for_each(|id| publisher.send("w/a", format!("{{\"id\":{id}}}")));
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= 6).then_some(()));
    bridge.wait_drained("target");
    assert_eq!(postgres.psql(&database, "SELECT id FROM t_a ORDER BY id"), "3\n4\n5");
    assert_eq!(
        postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters WHERE reason = 'constraint'"),
        "3"
    );
}

#[test]
fn a_partition_that_nobody_made_holds_and_one_of_another_year_is_a_row_s_fault() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE t_a (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE t_a_0 PARTITION OF t_a FOR VALUES FROM (0) TO (100);
         CREATE TABLE t_b (id int, v text) PARTITION BY LIST (id);
         CREATE TABLE t_b_150 PARTITION OF t_b FOR VALUES IN (0, 1, 2)",
    );
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["a", "b"]);
    bridge.start();
    bridge.wait_alive("the database is ready", |bridge| {
        (bridge.status()["databases"]["target"]["connected"] == true).then_some(())
    });
    let mut publisher = crate::support::publisher::Publisher::new(broker.port());
    [0, 1970, 1, 2].iter().for_each(|id| publisher.send("w/b", format!("{{\"id\":{id}}}")));
    bridge.wait_alive("the one is a dead letter", |_| {
        (postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters") == "1").then_some(())
    });
    publish(broker.port(), &["a"]);
    let held = held(&mut bridge);
    assert!(held.contains("23514"), "{held}");
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM t_a"), "100", "what came before it is in");
    postgres.psql(&database, "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (100) TO (1000)");
    bridge.wait_drained("target");
    let ids = postgres.psql(&database, "SELECT id FROM t_a");
    Tally::of(ids.lines().map(|id| id.parse().unwrap()), 0..COUNT).assert_each_once("t_a");
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "1");
}

/// One such value held the database until another row of the table went in, or until the rule was parked.
#[test]
fn a_value_that_the_server_cannot_read_is_a_dead_letter_without_company() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE t_name (id int, v name); CREATE TABLE t_type (id int, v regtype);
         CREATE TABLE t_collation (id int, v regcollation); CREATE TABLE t_said (id int, v regclass)",
    );
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["name", "type", "collation"]);
    let rule = "rules:\n  - { name: said, topic: w/said, statement: 'INSERT INTO t_said VALUES (:id, :v::regclass)', \
                columns: { id: payload.id, v: payload.v } }\n";
    bridge.edit("rules:\n", rule);
    bridge.start();
    bridge.wait_drained("target");
    let mut publisher = crate::support::publisher::Publisher::new(broker.port());
    let long = "é".repeat(32);
    let cases = [("name", &*long), ("type", "foo_t"), ("collation", "foo_c"), ("said", "gone")];
    for (name, v) in cases {
        publisher.send(&format!("w/{name}"), format!("{{\"id\":1,\"v\":\"{v}\"}}"));
        bridge.wait_alive("it is a dead letter", |_| {
            let query = format!("SELECT reason FROM rowbridge_dead_letters WHERE rule = '{name}'");
            (postgres.psql(&database, &query) == "value").then_some(())
        });
        assert!(bridge.status()["databases"]["target"]["held"].is_null(), "{name}");
    }
    for (name, v) in [("name", &long[2..]), ("type", "integer"), ("collation", "\\\"C\\\""), ("said", "t_said")] {
        publisher.send(&format!("w/{name}"), format!("{{\"id\":2,\"v\":\"{v}\"}}"));
    }
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= 8).then_some(()));
    bridge.wait_drained("target");
    for (name, _) in cases {
        assert_eq!(postgres.psql(&database, &format!("SELECT id FROM t_{name}")), "2", "{name}");
    }
}

/// The text of a bind was read as the type's binary form, so every row seemed to have a bad value.
#[test]
fn a_statement_without_its_right_holds_the_database_though_it_has_a_value_that_the_server_reads() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE t_said (id int, v macaddr); CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE no_data_found; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON t_said FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &[]);
    let rule = "rules:\n  - { name: said, topic: w/said, statement: 'INSERT INTO t_said VALUES (:id, :v)', \
                columns: { id: payload.id, v: payload.v } }\n";
    bridge.edit("rules:\n", rule);
    bridge.start();
    let mut publisher = crate::support::publisher::Publisher::new(broker.port());
    publisher.send("w/said", r#"{"id":1,"v":"08:00:2b:01:02:03"}"#);
    let held = held(&mut bridge);
    assert!(held.contains("P0002"), "{held}");
    postgres.psql(&database, "DROP TRIGGER refuse ON t_said");
    bridge.wait_drained("target");
    assert_eq!(postgres.psql(&database, "SELECT v FROM t_said"), "08:00:2b:01:02:03");
}
