//! Databases that messages name.

use std::path::Path;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::mqtt::Outgoing;
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const MESSAGES: u64 = 300;

/// Letters as `topic reason`.
fn letters(file: &Path) -> Vec<String> {
    column(file, "SELECT topic || ' ' || reason FROM rowbridge_dead_letters ORDER BY seq")
}

/// `database rule: matched = written + dead_lettered`, of every rule in every database.
fn accounts(bridge: &Bridge) -> Vec<String> {
    let status = bridge.status();
    let rules = status["rules"].as_array().unwrap().clone();
    let account = |rule: &serde_json::Value| {
        let [matched, written, dead] = ["matched", "written", "dead_lettered"].map(|key| rule[key].as_u64().unwrap());
        format!(
            "{} {}: {matched} = {written} + {dead}",
            rule["database"].as_str().unwrap(),
            rule["rule"].as_str().unwrap()
        )
    };
    rules.iter().map(account).collect()
}

#[test]
fn each_message_is_written_to_the_database_that_it_names_and_to_no_other() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let url = postgres.url(&database);
    let body = format!(
        "databases:\n  north: {{ url: 'sqlite:rows.db' }}\n  south: {{ url: 'sqlite:south.db' }}\n  far: {{ url: '{url}' }}\n\
         unmatched: dead_letter\nrules:\n  - name: meters\n    topic: '{{db}}/meter/{{id}}'\n    \
         database: '{{topic.db}}'\n    table: '{{topic.id}}_t'\n    tables: ['m*_t']\n    \
         table_aliases: {{ old_t: far.m1_t }}\n    create: true\n    columns: {{ id: {{ from: payload.id, type: bigint }} }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for id in 0..MESSAGES {
        let name = ["north", "south", "far"][(id % 3) as usize];
        publisher.send(&format!("{name}/meter/m{}", id % 2), format!("{{\"id\":{id}}}"));
    }
    publisher.send("north/meter/old", r#"{"id":1001}"#);
    publisher.send("west/meter/m0", r#"{"id":1002}"#);
    publisher.send("south/meter/m0", "{");
    publisher.send("south/meter/x", r#"{"id":1003}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= MESSAGES + 4).then_some(()));
    for name in ["north", "south", "far"] {
        bridge.wait_drained(name);
    }
    let south = bridge.rows().with_file_name("south.db");
    let of = |place: i64, table: i64| {
        (0..MESSAGES as i64).filter(|id| (id % 3, id % 2) == (place, table)).collect::<Vec<_>>()
    };
    for table in [0, 1] {
        let sql = format!("SELECT id FROM m{table}_t ORDER BY id");
        assert_eq!(column::<i64>(&bridge.rows(), &sql), of(0, table), "north m{table}_t");
        assert_eq!(column::<i64>(&south, &sql), of(1, table), "south m{table}_t");
        let mut expected = of(2, table);
        expected.extend((table == 1).then_some(1001));
        let expected: Vec<String> = expected.iter().map(i64::to_string).collect();
        assert_eq!(postgres.psql(&database, &sql), expected.join("\n"), "far m{table}_t");
    }
    assert_eq!(letters(&bridge.rows()), ["west/meter/m0 no_database"]);
    assert_eq!(letters(&south), ["south/meter/m0 parse", "south/meter/x no_table"]);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
    assert_eq!(
        accounts(&bridge),
        ["north meters: 101 = 100 + 1", "south meters: 102 = 100 + 2", "far meters: 101 = 101 + 0"]
    );
    assert_eq!(bridge.status()["unmatched"], 0);
    // A retry writes where the letter lies, or not at all.
    bridge.edit("  north: {", "  west: { url: 'sqlite:west.db' }\n  north: {");
    let output = bridge.command(&["dead-letters", "retry", "--database", "north", "--all"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("1 refused again") && text.contains("publish the message again"), "{text}");
    assert_eq!(letters(&bridge.rows()), ["west/meter/m0 no_database"]);
}

#[test]
fn explain_shows_a_rule_once_with_the_database_that_the_message_names() {
    let bridge = Bridge::bare(
        "databases:\n  north: { url: 'sqlite:rows.db' }\n  far: { url: 'postgres://127.0.0.1:1/t' }\nrules:\n  - name: meters\n    \
         topic: '{db}/meter'\n    database: '{topic.db}'\n    table: t\n    tables: t\n    columns: { id: payload.id }\n",
    );
    let explained = |topic: &str| {
        let output = bridge.command(&["explain", topic, r#"{"id":1}"#, "--offline", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let rules = shown["rules"].as_array().unwrap().clone();
        assert_eq!(rules.len(), 1, "{shown}");
        rules[0].clone()
    };
    for name in ["north", "far"] {
        let rule = explained(&format!("{name}/meter"));
        assert_eq!((&rule["outcome"], &rule["rows"][0]["database"]), (&"written".into(), &name.into()), "{rule}");
    }
    let rule = explained("west/meter");
    assert_eq!(
        (&rule["outcome"], &rule["error"]["reason"]),
        (&"dead_lettered".into(), &"no_database".into()),
        "{rule}"
    );
    assert_eq!(explained("a/b/c")["matched"], false);
}

#[test]
fn joinbase_names_the_database_by_topic_or_property_where_there_are_several() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE TABLE sensors (id bigint, name text)");
    let url = postgres.url(&database);
    let body = format!(
        "databases:\n  abc: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n  - name: joinbase\n    \
         topic: ['/+/+', 'edge/#', 'other']\n    convention: joinbase\n    table_aliases: {{ edge/1: far.sensors }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    let table = "CREATE TABLE sensors (id BIGINT, name TEXT)";
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(table).unwrap();
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("/abc/sensors", r#"[{"id":1,"name":"topic"},{"id":2,"name":"topic"}]"#);
    publisher.send("/far/sensors", r#"{"id":3,"name":"topic"}"#);
    // As it is called on its server.
    publisher.send(&format!("/{database}/sensors"), "4,csv\n");
    publisher
        .publish(&Outgoing::new("/abc/sensors", r#"{"id":5,"name":"property"}"#).property("joinbase.database", "far"));
    publisher.publish(
        &Outgoing::new("other", r#"{"id":6,"name":"property"}"#)
            .property("JoinBase.database", "abc")
            .property("JoinBase.table", "sensors"),
    );
    publisher.send("edge/1", r#"{"id":7,"name":"alias"}"#);
    // Properties win, for the database as for the table.
    publisher.publish(
        &Outgoing::new("edge/1", r#"{"id":10,"name":"property"}"#)
            .property("JoinBase.database", "abc")
            .property("JoinBase.table", "sensors"),
    );
    // A property that names the table alone leaves the database to the alias.
    publisher.publish(&Outgoing::new("edge/1", r#"{"id":11,"name":"table"}"#).property("JoinBase.table", "sensors"));
    publisher.send("/nowhere/sensors", r#"{"id":8}"#);
    publisher.send("edge/2", r#"{"id":9}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 10).then_some(()));
    for name in ["abc", "far"] {
        bridge.wait_drained(name);
    }
    let rows = "SELECT id || ' ' || name FROM sensors ORDER BY id";
    assert_eq!(column::<String>(&bridge.rows(), rows), ["1 topic", "2 topic", "6 property", "10 property"]);
    assert_eq!(postgres.psql(&database, rows), "3 topic\n4 csv\n5 property\n7 alias\n11 table");
    assert_eq!(letters(&bridge.rows()), ["/nowhere/sensors no_database", "edge/2 no_database"]);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
    assert_eq!(accounts(&bridge), ["abc joinbase: 5 = 3 + 2", "far joinbase: 5 = 5 + 0"]);
}

/// A message at fault concerns no payload: it is kept once.
#[test]
fn a_message_that_is_too_large_is_one_dead_letter_in_the_first_database() {
    let broker = Mosquitto::start();
    let body = "databases:\n  a: { url: 'sqlite:rows.db' }\n  b: { url: 'sqlite:b.db' }\nrules:\n  - topic: '{db}/x'\n    \
                database: '{topic.db}'\n    table: t\n    tables: t\n    create: true\n    format: text\n    columns: { p: payload }\n";
    let mut bridge = Bridge::with_mqtt(broker.port(), "max_packet_size: 2KiB", body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("b/x", "x".repeat(4000));
    publisher.send("b/x", "small");
    bridge.wait_alive("both are journaled", |bridge| (bridge.journaled() >= 2).then_some(()));
    for name in ["a", "b"] {
        bridge.wait_drained(name);
    }
    assert_eq!(letters(&bridge.rows()), ["b/x size"]);
    let b = bridge.rows().with_file_name("b.db");
    assert_eq!(letters(&b), Vec::<String>::new());
    assert_eq!(column::<String>(&b, "SELECT p FROM t"), ["small"]);
}
