//! `rowbridge schema`: the SQL makes what the bridge runs on, and the schema is JSON.

use std::process::Output;

use serde_json::Value;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// No rule creates its table.
const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
  cloud: { url: 'POSTGRES', schema: bridge }
rules:
  - &rule
    name: to-sqlite
    topic: sensors/{site}
    database: local
    table: readings
    columns:
      time: received_at
      site: topic.site
      temp: { from: payload.temp, type: real }
      amount: { from: payload.amount, type: 'decimal(30,12)' }
      tags: { from: payload.tags, type: 'text[]' }
      note: payload.note
  - <<: *rule
    name: to-postgres
    database: cloud
  - name: \"more\\nrules\"
    topic: sensors/{site}
    database: cloud
    table: plant.raw
    columns: { body: payload, seq: journal.seq }
";

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_sql_makes_the_tables_that_the_bridge_runs_on() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &RULES.replace("POSTGRES", &postgres.url(&database)));
    let all = printed(&bridge.command(&["schema", "sql"]));
    let [local, cloud] =
        ["local", "cloud"].map(|name| printed(&bridge.command(&["schema", "sql", "--database", name])));
    assert_eq!(all, format!("{local}\n{cloud}"));
    assert!(local.contains("-- Column note of rule to-sqlite: its type cannot be told"), "{local}");
    assert!(cloud.contains("-- Table plant.raw, of rule more rules.\n"), "{cloud}");
    // Nothing was made so far.
    assert!(!bridge.rows().exists());
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(&local).unwrap();
    postgres.psql(&database, &cloud);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/north", r#"{"temp":21.5,"amount":"1.000000000001","tags":["a"],"note":7}"#);
    bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() >= 1).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    let ours: String =
        oracle::value(&bridge.rows(), "SELECT site || ' ' || temp || ' ' || amount || ' ' || note FROM readings");
    assert_eq!(ours, "north 21.5 1.000000000001 7");
    let theirs = postgres.psql(&database, "SELECT site, temp, amount, tags, note FROM bridge.readings");
    assert_eq!(theirs.trim(), "north|21.5|1.000000000001|{a}|7");
    assert_eq!(postgres.psql(&database, "SELECT body->>'temp', seq FROM plant.raw").trim(), "21.5|1");
    assert_eq!(oracle::count(&bridge.rows(), "rowbridge_dead_letters"), 0);
    let parts = oracle::count(&bridge.rows(), "rowbridge_schema_version");
    // Those in a folder beside them are for databases with a publication.
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    let files = files.filter(|file| file.as_ref().unwrap().path().is_file()).count();
    assert_eq!(parts, files as u64, "every migration is noted once");
    assert!(bridge.stop().success());
}

#[test]
fn what_cannot_be_told_is_said_and_an_unknown_database_is_refused() {
    let rules = "databases: { local: { url: 'sqlite:rows.db' } }\nrules: [{ topic: a, table: t, columns: auto }]\n";
    let bridge = Bridge::bare(rules);
    let sql = printed(&bridge.command(&["schema", "sql"]));
    assert!(sql.contains("-- Table t, of rule rule-1.\n-- With `columns: auto`"), "{sql}");
    assert!(!sql.contains("CREATE TABLE IF NOT EXISTS \"t\""), "{sql}");
    let secret = "databases: { d: { url: 'postgres://u@h/d', password_file: missing } }\nmqtt: { password: '${UNSET_ONE}' }\n\
                  rules: [{ topic: a, table: t, columns: { x: qos } }]\n";
    assert!(printed(&Bridge::bare(secret).command(&["schema", "sql"])).contains("\"x\" integer"));
    let refused = bridge.command(&["schema", "sql", "--database", "cloud"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no database cloud; choose one of: local"));
}

#[test]
fn the_schema_of_the_configuration_is_json_and_needs_no_configuration() {
    let output = Bridge::bare("this is no configuration").command(&["schema", "config"]);
    let schema: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["journal"]["properties"]["max_size"]["default"], "1GiB");
}
