//! Tables that are made of the first payload, and grow with what comes later.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::{column, count, sqlite, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher};

/// The same rules in SQLite (`local`) and Postgres (`far`).
fn both(url: &str, rule: &str) -> String {
    let rules: String = ["local", "far"].map(|name| format!("  - name: {name}\n    database: {name}\n{rule}")).concat();
    format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  far: {{ url: '{url}' }}\nrules:\n{rules}")
}

fn settle(bridge: &mut Bridge, messages: u64) {
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= messages).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("far");
}

/// Names and declared types of a SQLite table's columns.
fn sqlite_columns(bridge: &Bridge, table: &str) -> Vec<String> {
    column(&bridge.rows(), &format!("SELECT name || ' ' || type FROM pragma_table_info('{table}')"))
}

/// The rows of a SQLite table by their id, without nulls.
fn sqlite_rows(bridge: &Bridge, table: &str) -> BTreeMap<i64, Value> {
    let connection = sqlite(&bridge.rows());
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut fields = Map::new();
        for (at, name) in names.iter().enumerate() {
            let value = match row.get(at)? {
                rusqlite::types::Value::Null => continue,
                rusqlite::types::Value::Integer(number) => json!(number),
                rusqlite::types::Value::Real(number) => json!(number),
                rusqlite::types::Value::Text(text) => json!(text),
                rusqlite::types::Value::Blob(bytes) => json!(bytes),
            };
            fields.insert(name.clone(), value);
        }
        Ok(Value::Object(fields))
    });
    by_id(rows.unwrap().map(Result::unwrap))
}

/// The same of Postgres.
fn postgres_rows(postgres: &Postgres, database: &str, query: &str) -> BTreeMap<i64, Value> {
    let text = postgres.psql(database, &format!("SELECT jsonb_strip_nulls(to_jsonb(t))::text FROM ({query}) AS t"));
    by_id(text.lines().map(|line| serde_json::from_str(line).unwrap()))
}

/// A message that came twice must have the same row twice.
fn by_id(rows: impl Iterator<Item = Value>) -> BTreeMap<i64, Value> {
    let mut by_id = BTreeMap::new();
    for row in rows {
        if let Some(before) = by_id.insert(row["id"].as_i64().unwrap(), row.clone()) {
            assert_eq!(before, row);
        }
    }
    by_id
}

#[test]
fn the_first_payload_makes_the_table_in_both_databases() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = "    topic: [made, 'made/{site}']\n    table: made\n    create: true\n    columns: auto\n";
    let mut bridge = Bridge::new(broker.port(), &both(&postgres.url(&database), rule));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    let first = r#"{"id":9223372036854775807,"temp":21.50,"on":true,"name":"é","o":{"a":[1]},"nothing":null,"odd \"key\".1":"q"}"#;
    let explained = bridge.command(&["explain", "made", first]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("the first payload makes it") && explained.contains("numeric"), "{explained}");
    for payload in ["[1,2]", first, r#"{"id":2,"temp":22,"nothing":5,"on":null}"#, r#"{"id":2.5}"#] {
        publisher.send("made", payload);
    }
    settle(&mut bridge, 4);
    assert_eq!(
        sqlite_columns(&bridge, "made"),
        ["id BIGINT", "temp DECIMAL", "on BOOLEAN", "name TEXT", "o JSON_TEXT", "odd \"key\".1 TEXT"]
    );
    let types = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) FROM \
                 information_schema.columns WHERE table_name = 'made'";
    assert_eq!(
        postgres.psql(&database, types),
        "id bigint, temp numeric, on boolean, name text, o jsonb, odd \"key\".1 text"
    );
    let rows = postgres.psql(&database, "SELECT * FROM made ORDER BY id");
    assert_eq!(rows, "2|22||||\n9223372036854775807|21.50|t|é|{\"a\": [1]}|q");
    assert_eq!(value::<f64>(&bridge.rows(), "SELECT temp FROM made WHERE id > 2"), 21.5);
    assert_eq!(value::<String>(&bridge.rows(), "SELECT o FROM made WHERE id > 2"), r#"{"a":[1]}"#);
    let letters = "SELECT string_agg(reason, ' ' ORDER BY seq) FROM rowbridge_dead_letters";
    assert_eq!(postgres.psql(&database, letters), "no_column value");
    let reasons: Vec<String> = column(&bridge.rows(), "SELECT reason FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(reasons, ["no_column", "value"]);
    // The next start finds the tables.
    bridge.kill();
    bridge.start();
    publisher.send("made", r#"{"id":3}"#);
    settle(&mut bridge, 5);
    assert_eq!((count(&bridge.rows(), "made"), postgres.psql(&database, "SELECT count(*) FROM made")), (3, "3".into()));
}

#[test]
fn a_table_that_somebody_else_makes_meanwhile_is_taken_as_it_is() {
    let broker = Mosquitto::start();
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - topic: made\n    table: made\n    create: true\n    \
                columns: auto\n";
    let mut bridge = Bridge::new(broker.port(), body);
    bridge.start();
    let connection = rusqlite::Connection::open(bridge.rows()).unwrap();
    connection.execute_batch("CREATE TABLE made (first INTEGER, second TEXT)").unwrap();
    let mut publisher = Publisher::new(broker.port());
    // An array tells no columns; the table has them by now, or is found a moment later.
    bridge.wait_alive("a row", |bridge| {
        publisher.send("made", "[1,\"x\"]");
        (count(&bridge.rows(), "made") > 0).then_some(())
    });
    assert_eq!(value::<String>(&bridge.rows(), "SELECT second FROM made"), "x");
}

/// Ids' fields, by a generator that is its own witness: a field has one kind for ever.
fn fields_of(id: u64) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id));
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..3 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Later messages bring fields that earlier ones did not have.
        let field = (state >> 33) % (2 + id / 8);
        let value = match field % 4 {
            0 => json!(state >> 2),
            1 => json!(((state >> 40) * 2 + 1) as f64 / 4.0),
            2 => json!(format!("text {state}")),
            _ => json!({ "n": state >> 40 }),
        };
        fields.insert(format!("Field {field}"), value);
    }
    fields
}

/// What SQLite holds of it.
fn in_sqlite(fields: Map<String, Value>) -> Value {
    let held = |value: Value| if value.is_object() { json!(value.to_string()) } else { value };
    Value::Object(fields.into_iter().map(|(name, value)| (name, held(value))).collect())
}

#[test]
fn fields_that_appear_under_load_become_columns_over_kills_too() {
    const MESSAGES: u64 = 700;
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = "    topic: load\n    table: grown\n    create: true\n    columns: auto\n    unmapped: add\n";
    let mut bridge = Bridge::new(broker.port(), &both(&postgres.url(&database), rule));
    bridge.start();
    let make = |id| ("load".to_owned(), Value::Object(fields_of(id)).to_string().into_bytes());
    let load = Load::new(broker.port(), 1, MESSAGES).made_by(make).start();
    for part in 1..=2 {
        load.wait_until(part * MESSAGES / 3);
        bridge.kill();
        bridge.start();
    }
    load.finish();
    settle(&mut bridge, MESSAGES);
    let expected: BTreeMap<i64, Value> = (0..MESSAGES).map(|id| (id as i64, Value::Object(fields_of(id)))).collect();
    assert_eq!(postgres_rows(&postgres, &database, "SELECT * FROM grown"), expected);
    let expected: BTreeMap<i64, Value> = (0..MESSAGES).map(|id| (id as i64, in_sqlite(fields_of(id)))).collect();
    assert_eq!(sqlite_rows(&bridge, "grown"), expected);
    assert_eq!(count(&bridge.rows(), "rowbridge_dead_letters"), 0);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
    assert!(sqlite_columns(&bridge, "grown").len() > 60);
}

#[test]
fn two_bridges_grow_one_table_at_once() {
    const MESSAGES: u64 = 400;
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let body = |name: &str| {
        format!(
            "bridge: {name}\ndatabases:\n  far: {{ url: '{}' }}\nrules:\n  - topic: load\n    table: grown\n    create: true\n    \
             columns: {{ by: bridge, id: {{ from: payload.id, type: bigint }} }}\n    unmapped: add\n",
            postgres.url(&database)
        )
    };
    let mut bridges = ["one", "two"].map(|name| Bridge::new(broker.port(), &body(name)));
    bridges.iter_mut().for_each(Bridge::start);
    let explained = bridges[0].command(&["explain", "load", r#"{"id":1,"Field 0":2}"#]).stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert!(explained.contains("the table gets new columns first: Field 0 bigint"), "{explained}");
    assert!(explained.contains("from payload[\"Field 0\"]"), "{explained}");
    let make = |id| ("load".to_owned(), Value::Object(fields_of(id)).to_string().into_bytes());
    Load::new(broker.port(), 1, MESSAGES).made_by(make).run();
    for (bridge, name) in bridges.iter_mut().zip(["one", "two"]) {
        bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= MESSAGES).then_some(()));
        bridge.wait_drained("far");
        let rows = postgres_rows(&postgres, &database, &format!("SELECT * FROM grown WHERE by = '{name}'"));
        let expected = |id: u64| {
            let mut fields = fields_of(id);
            fields.insert("by".into(), json!(name));
            (id as i64, Value::Object(fields))
        };
        assert_eq!(rows, (0..MESSAGES).map(expected).collect());
    }
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

/// Nothing is lost or doubled by a death between the ALTER's commit and the row's.
#[test]
fn a_bridge_that_is_killed_between_a_column_and_its_first_row_writes_the_row_once() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(
        &database,
        "CREATE TABLE grown (id bigint); CREATE TABLE gate (); INSERT INTO gate DEFAULT VALUES;
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             WHILE EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END $$;
         CREATE TRIGGER wait BEFORE INSERT ON grown FOR EACH ROW EXECUTE FUNCTION wait();",
    );
    let body = format!(
        "databases:\n  far: {{ url: '{}' }}\nrules:\n  - topic: load\n    table: grown\n    columns: auto\n    unmapped: add\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    Publisher::new(broker.port()).send("load", r#"{"id":1,"new":"x"}"#);
    let is_there = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'grown' AND column_name = 'new'";
    bridge.wait_alive("the column is there", |_| (postgres.psql(&database, is_there) == "1").then_some(()));
    bridge.kill();
    postgres.psql(&database, "DELETE FROM gate");
    bridge.start();
    bridge.wait_drained("far");
    assert_eq!(postgres.psql(&database, "SELECT * FROM grown"), "1|x");
}

#[test]
fn without_the_right_to_alter_only_messages_with_new_fields_are_dead_letters() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let role = format!("grower_{database}");
    postgres.psql(
        &database,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}; CREATE TABLE grown (id bigint);
             GRANT INSERT ON grown TO {role}"
        ),
    );
    let url = postgres.url(&database).replace("postgres@", &format!("{role}@"));
    let body = format!(
        "databases:\n  far: {{ url: '{url}' }}\nrules:\n  - topic: load\n    table: grown\n    columns: auto\n    unmapped: add\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    bridge.wait_drained("far");
    let checked = String::from_utf8(bridge.command(&["check"]).stdout).unwrap();
    assert!(checked.contains(&format!("the role {role} may not add columns to grown")), "{checked}");
    let mut publisher = Publisher::new(broker.port());
    for payload in [r#"{"id":1}"#, r#"{"id":2,"new":1}"#, r#"{"id":3}"#] {
        publisher.send("load", payload);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 3).then_some(()));
    bridge.wait_drained("far");
    assert_eq!(postgres.psql(&database, "SELECT id FROM grown ORDER BY id"), "1\n3");
    let letter = postgres.psql(&database, "SELECT reason || ' ' || error FROM rowbridge_dead_letters");
    assert!(letter.starts_with("no_column field `new` gets no column: "), "{letter}");
    assert!(letter.contains("owner") && letter.contains("ALTER TABLE \"public\".\"grown\" ADD COLUMN"), "{letter}");
    postgres.psql(&database, &format!("ALTER TABLE grown OWNER TO {role}"));
    // It is tried again after a while.
    let is_there = "SELECT count(*) FROM grown WHERE id = 4";
    bridge.wait_alive("the column is added", |_| {
        publisher.send("load", r#"{"id":4,"other":1}"#);
        (postgres.psql(&database, is_there) != "0").then_some(())
    });
}

#[test]
fn a_table_that_others_use_holds_the_database_until_they_are_done() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE TABLE grown (id bigint)");
    let body = format!(
        "databases:\n  far: {{ url: '{}' }}\nrules:\n  - topic: load\n    table: grown\n    columns: auto\n    unmapped: add\n",
        postgres.url(&database)
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let dump = "BEGIN; LOCK TABLE grown IN ACCESS SHARE MODE; SELECT pg_sleep(60)";
    std::thread::scope(|scope| {
        scope.spawn(|| postgres.try_psql(&database, dump));
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'grown'::regclass AND mode = 'AccessShareLock'";
        bridge.wait_alive("the table is in use", |_| (postgres.psql(&database, locked) == "1").then_some(()));
        Publisher::new(broker.port()).send("load", r#"{"id":1,"new":true}"#);
        bridge.wait_alive("the database is held", |bridge| {
            let held = bridge.status()["databases"]["far"]["held"].clone();
            held["reason"].as_str().or(held.as_str()).filter(|why| why.contains("in_use")).map(|_| ())
        });
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> \
                   pg_backend_pid() AND datname = current_database()";
        postgres.psql(&database, end);
    });
    bridge.wait_drained("far");
    assert_eq!(postgres.psql(&database, "SELECT * FROM grown"), "1|t");
}

/// Each message names its table, which its first payload makes.
#[test]
fn tables_that_messages_name_are_made_of_their_first_payloads() {
    let broker = Mosquitto::with(DEEP_QUEUE);
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let rule = "    topic: plant/{site}\n    table: '{topic.site}_t'\n    tables: '*_t'\n    create: true\n    columns: auto\n    \
                unmapped: add\n";
    let mut bridge = Bridge::new(broker.port(), &both(&postgres.url(&database), rule));
    bridge.start();
    let make = |id: u64| (format!("plant/s{}", id % 20), format!("{{\"id\":{id},\"f{}\":true}}", id / 60).into_bytes());
    Load::new(broker.port(), 1, 300).made_by(make).run();
    settle(&mut bridge, 300);
    for site in 0..20 {
        let table = format!("s{site}_t");
        let expected = "id BIGINT, f0 BOOLEAN, f1 BOOLEAN, f2 BOOLEAN, f3 BOOLEAN, f4 BOOLEAN";
        assert_eq!(sqlite_columns(&bridge, &table).join(", "), expected);
        let ids: Vec<i64> = (site..300).step_by(20).collect();
        assert_eq!(column::<i64>(&bridge.rows(), &format!("SELECT id FROM {table} ORDER BY id")), ids);
        let held = postgres_rows(&postgres, &database, &format!("SELECT * FROM {table}"));
        let expected = |id: &i64| (*id, json!({ "id": id, (format!("f{}", id / 60)): true }));
        assert_eq!(held, ids.iter().map(expected).collect());
    }
}

/// As any bad table: it holds the database for a moment, then only its rule waits, and what waited goes in by itself.
#[test]
fn a_table_that_cannot_be_made_parks_its_rule_until_it_can() {
    let broker = Mosquitto::start();
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let role = format!("maker_{database}");
    let grant = format!("GRANT CREATE ON SCHEMA public TO {role}");
    postgres.psql(
        &database,
        &format!("CREATE ROLE {role} LOGIN; {grant}; CREATE TABLE other (id bigint); GRANT INSERT ON other TO {role}"),
    );
    let url = postgres.url(&database).replace("postgres@", &format!("{role}@"));
    let body = format!(
        "databases:\n  far: {{ url: '{url}', park_after: 1s, retry: {{ max: 1s }} }}\nrules:\n  - topic: made\n    table: made\n    \
         create: true\n    columns: auto\n  - topic: other\n    table: other\n    columns: auto\n"
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    // Its own tables are there by now.
    bridge.wait_drained("far");
    postgres.psql(&database, &format!("REVOKE CREATE ON SCHEMA public FROM {role}, PUBLIC"));
    let mut publisher = Publisher::new(broker.port());
    for (topic, id) in [("made", 1), ("other", 2), ("made", 3)] {
        publisher.send(topic, format!("{{\"id\":{id}}}"));
    }
    bridge.wait_alive("the others go on", |_| {
        (postgres.psql(&database, "SELECT count(*) FROM other") == "1").then_some(())
    });
    bridge.wait_alive("the rule is parked", |bridge| {
        let parked = bridge.status()["databases"]["far"]["parked"].clone();
        (parked[0]["table"] == "made").then_some(())
    });
    postgres.psql(&database, &grant);
    let made = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM made";
    bridge.wait_alive("what waited goes in", |_| {
        let output = postgres.try_psql(&database, made);
        (output.stdout == b"1 3\n").then_some(())
    });
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}
