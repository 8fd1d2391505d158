//! Fields that no column takes: none is lost, and none stops the messages behind it.

use serde_json::Value;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// The same rules in SQLite (`local`) and Postgres (`far`).
fn both(url: &str, rule: &str) -> String {
    let rules: String = ["local", "far"].map(|name| format!("  - name: {name}\n    database: {name}\n{rule}")).concat();
    format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{rules}")
}

/// Sends the payloads while the bridge is away, so that it reads them as one batch.
fn send_as_one_batch(bridge: &mut Bridge, publisher: &mut Publisher, payloads: &[&str]) {
    bridge.kill();
    payloads.iter().for_each(|payload| publisher.send("m/d1/x", *payload));
    bridge.start();
}

fn wait_drained(bridge: &mut Bridge, messages: u64, databases: &[&str]) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    databases.iter().for_each(|database| bridge.wait_drained(database));
}

fn letters(bridge: &Bridge) -> Vec<String> {
    let letters = "SELECT reason || ' ' || error FROM rowbridge_dead_letters ORDER BY seq";
    column(&bridge.rows(), letters)
}

const FED: &str =
    "no_column field `device` cannot become a column: the rule fills the column of this name from another source";

/// The mapper wanted a column that is there, again and again: no row, no dead letter, no log, and nothing behind it.
#[test]
fn a_field_with_the_name_of_a_column_that_has_another_source_costs_its_message_alone() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = "    topic: m/{device}/x\n    table: meas\n    create: true\n    columns: { device: topic.device, temp: { from: \
                payload.temp, type: double } }\n    unmapped: add\n";
    let mut bridge = Bridge::new(broker.port(), &both(&postgres.url(&database), rule));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in [r#"{"temp":2.5,"device":"self"}"#, r#"{"temp":3.5,"hum":4}"#] {
        publisher.send("m/d1/x", payload);
    }
    wait_drained(&mut bridge, 2, &["local", "far"]);
    let rows: Vec<String> = column(&bridge.rows(), "SELECT device || '|' || temp || '|' || hum FROM meas");
    assert_eq!(
        (rows.join(" ").as_str(), postgres.psql(&database, "SELECT * FROM meas").as_str()),
        ("d1|3.5|4", "d1|3.5|4")
    );
    assert!(letters(&bridge)[0].starts_with(FED), "{:?}", letters(&bridge));
    let far = postgres.psql(&database, "SELECT reason || ' ' || error FROM rowbridge_dead_letters");
    assert!(far.starts_with(FED), "{far}");
    let explained = bridge.command(&["explain", "m/d1/x", r#"{"temp":2.5,"device":"self"}"#]).stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert_eq!(explained.matches("fills the column of this name from another source").count(), 2, "{explained}");
    // SQLite's names are the same in every case, Postgres' are not.
    for payload in [r#"{"temp":1,"Device":"self"}"#, r#"{"temp":4.5,"hum":5}"#] {
        publisher.send("m/d1/x", payload);
    }
    wait_drained(&mut bridge, 4, &["local", "far"]);
    assert_eq!(column::<f64>(&bridge.rows(), "SELECT temp FROM meas ORDER BY temp"), [3.5, 4.5]);
    assert!(letters(&bridge)[1].contains("field `Device` cannot become a column"), "{:?}", letters(&bridge));
    let rows = postgres.psql(&database, "SELECT device, \"Device\", temp FROM meas ORDER BY temp");
    assert_eq!(rows, "d1|self|1\nd1||3.5\nd1||4.5");
}

#[test]
fn a_field_that_sqlite_cannot_add_costs_its_message_and_none_of_the_same_batch() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - topic: m/{d}/x\n    table: grown\n    create: true\n    \
                columns: { n: { from: payload.n, type: text } }\n    unmapped: add\n";
    let mut bridge = Bridge::new(broker.port(), body);
    bridge.start();
    let payloads = [
        r#"{"n":"1","rowid":1}"#,
        r#"{"n":"2","oid":1}"#,
        r#"{"n":"3","_rowid_":1}"#,
        r#"{"n":"4","good":"x"}"#,
        r#"{"n":"5","RowId":1,"fine":1}"#,
    ];
    send_as_one_batch(&mut bridge, &mut Publisher::new(broker.port()), &payloads);
    wait_drained(&mut bridge, 5, &["local"]);
    assert_eq!(column::<String>(&bridge.rows(), "SELECT n || good FROM grown"), ["4x"]);
    let letters = letters(&bridge);
    let is_helpful = |letter: &String| letter.contains("name the field in `columns`") && !letter.contains("ALTER");
    assert!(letters.len() == 4 && letters.iter().all(is_helpful), "{letters:?}");
}

#[test]
fn fields_that_differ_in_case_go_to_one_column_in_one_batch_as_in_several() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE TABLE grown (n text)");
    let body = format!(
        "databases:\n  far: {{ url: '{}' }}\nrules:\n  - topic: m/{{d}}/x\n    table: grown\n    columns: auto\n    \
         unmapped: add\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let payloads = [r#"{"n":"1","x1":1}"#, r#"{"n":"2","X1":2}"#, r#"{"n":"3","Y":3,"y":4}"#];
    send_as_one_batch(&mut bridge, &mut publisher, &payloads);
    publisher.send("m/d1/x", r#"{"n":"4","X1":5}"#);
    wait_drained(&mut bridge, 4, &["far"]);
    let rows = postgres.psql(&database, "SELECT to_jsonb(t) FROM grown t ORDER BY n");
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let of = |name: &str| rows.iter().map(|row| row[name].as_i64().unwrap_or(0)).collect::<Vec<_>>();
    assert_eq!((of("x1"), of("Y"), of("y")), (vec![1, 2, 0, 5], vec![0, 0, 3, 0], vec![0, 0, 4, 0]));
    assert!(rows[0].get("X1").is_none(), "{rows:?}");
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

/// Whatever keeps a wanted column from being there.
#[test]
fn a_database_that_takes_each_new_column_away_again_stops_no_message_but_those_with_such_fields() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE grown (n text);
         CREATE FUNCTION take_away() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'grown'::regclass AND attname = 'new' AND NOT attisdropped) THEN
                 ALTER TABLE grown DROP COLUMN new;
             END IF; END $$;
         CREATE EVENT TRIGGER take_away ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION take_away();",
    );
    let body = format!(
        "databases:\n  far: {{ url: '{}' }}\nrules:\n  - topic: m/{{d}}/x\n    table: grown\n    columns: auto\n    \
         unmapped: add\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in [r#"{"n":"1","new":1}"#, r#"{"n":"2"}"#, r#"{"n":"3","new":1}"#] {
        publisher.send("m/d1/x", payload);
    }
    wait_drained(&mut bridge, 3, &["far"]);
    assert_eq!(postgres.psql(&database, "SELECT n FROM grown"), "2");
    let letters = postgres.psql(&database, "SELECT reason || ' ' || error FROM rowbridge_dead_letters");
    let is_it = |letter: &str| letter.starts_with("no_column table ") && letter.contains("still lacks columns");
    assert!(letters.lines().count() == 2 && letters.lines().all(is_it), "{letters}");
}
