//! `rowbridge explain` against real databases: what it says is what the bridge does, and nothing is changed by it.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::free_port;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::value;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const RULES: &str = "
rules:
  - name: telemetry
    topic: sensors/{site}/{device}/telemetry
    table: telemetry
    create: true
    columns:
      time:   received_at
      site:   topic.site
      device: topic.device
      temp:   { from: payload.temp, type: real }
      price:  { from: payload.price, type: 'decimal(12,2)' }
      doc:    { from: payload.doc, type: json }
  - name: other
    topic: sensors/{site}/telemetry
    retained: skip
    table: telemetry
    create: true
    columns: { site: topic.site }
";

const TOPIC: &str = "sensors/a/d1/telemetry";
const PAYLOAD: &str = r#"{"temp":21.5,"price":10.10,"doc":{"a":[1]}}"#;

fn sqlite() -> String {
    format!("databases:\n  local: {{ url: 'sqlite:rows.db' }}\n{RULES}")
}

#[track_caller]
fn explained(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_message_that_is_larger_than_a_packet_may_be_is_a_dead_letter() {
    let bridge = Bridge::new(free_port(), &sqlite());
    std::fs::write(bridge.path("large.json"), format!("{{\"temp\":1,\"doc\":\"{}\"}}", "x".repeat(1 << 20))).unwrap();
    let ask = ["explain", TOPIC, "@large.json", "--json", "--offline"];
    let rule = explained(&bridge.command(&ask))["rules"][0].clone();
    assert_eq!((&rule["outcome"], &rule["error"]["reason"]), (&json!("dead_lettered"), &json!("size")), "{rule}");
    assert_eq!(rule["rows"], json!([]));
    let larger = ["--set", "mqtt.max_packet_size=2MiB"];
    let rule = explained(&bridge.command(&[&ask[..], &larger].concat()))["rules"][0].clone();
    assert_eq!(rule["outcome"], "written", "{rule}");
}

#[test]
fn what_it_shows_is_what_the_bridge_writes() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &sqlite());
    let ask = ["explain", TOPIC, PAYLOAD, "--json", "--received-at", "2026-11-21T08:26:00.123Z"];
    for offline in [&["--offline"][..], &[]] {
        let told = explained(&bridge.command(&[&ask[..], offline].concat()));
        let rule = &told["rules"][0];
        assert_eq!(told["topic"], TOPIC);
        assert_eq!(rule["rule"], "telemetry");
        assert_eq!((&rule["matched"], &rule["outcome"]), (&json!(true), &json!("written")), "{told}");
        assert_eq!(rule["captures"], json!({ "site": "a", "device": "d1" }));
        assert_eq!(rule["error"], Value::Null);
        let row = &rule["rows"][0];
        assert_eq!((&row["database"], &row["table"]), (&json!("local"), &json!("telemetry")));
        let columns = &row["columns"];
        assert_eq!((&columns["temp"], &columns["doc"]), (&json!(21.5), &json!({ "a": [1] })));
        assert_eq!(columns["time"], "2026-11-21T08:26:00.123Z");
        assert_eq!(row["types"]["temp"]["from"], "payload.temp");
        let other = &told["rules"][1];
        assert_eq!(other["matched"], false);
        assert!(other["why"].as_str().unwrap().contains("level 3 is `d1`"), "{other}");
    }
    let told = explained(&bridge.command(&ask));
    let insert = told["rules"][0]["sql"][0].as_str().unwrap().to_owned();
    assert!(!bridge.rows().exists(), "nothing is made");
    bridge.start();
    Publisher::new(broker.port()).send(TOPIC, PAYLOAD);
    bridge.wait_rows("telemetry", 1);
    assert!(bridge.stop().success());
    let database = rusqlite::Connection::open(bridge.rows()).unwrap();
    database.execute_batch(&insert).unwrap();
    let same = "SELECT count(*) FROM (SELECT DISTINCT site, device, temp, price, doc, typeof(price) FROM telemetry)";
    assert_eq!((value::<i64>(&bridge.rows(), same)), 1, "{insert}");
}

#[test]
fn what_does_not_fit_is_told_as_its_dead_letter_says_it() {
    let bridge = Bridge::new(free_port(), &sqlite());
    let told = explained(&bridge.command(&["explain", TOPIC, r#"{"temp":"warm"}"#, "--json", "--offline"]));
    let rule = &told["rules"][0];
    assert_eq!((&rule["outcome"], &rule["rows"], &rule["sql"]), (&json!("dead_lettered"), &json!([]), &json!([])));
    assert_eq!((&rule["error"]["reason"], &rule["error"]["column"]), (&json!("value"), &json!("temp")));
    assert!(!rule["error"]["message"].as_str().unwrap().contains("warm"), "{told}");
    let twice = r#"{"temp":"warm","price":"dear","doc":{}}"#;
    let told = explained(&bridge.command(&["explain", TOPIC, twice, "--json", "--offline"]));
    let rule = &told["rules"][0];
    assert_eq!(
        (&rule["error"]["column"], &rule["other_errors"][0]["column"]),
        (&json!("temp"), &json!("price")),
        "{told}"
    );
    assert_eq!((&rule["other_values"]["site"], &rule["other_values"]["doc"]), (&json!("a"), &json!({})), "{told}");
    // What mapping takes and SQLite's own encoder does not.
    let many_digits = r#"{"temp":1,"price":"12345678901234567890123.5"}"#;
    let told = explained(&bridge.command(&["explain", TOPIC, many_digits, "--json", "--offline"]));
    assert_eq!(told["rules"][0]["error"]["column"], "price", "{told}");
    let told = explained(&bridge.command(&["explain", "sensors/a/telemetry", "{", "--retain", "--json", "--offline"]));
    assert_eq!(told["rules"][1]["outcome"], "filtered", "{told}");
    let text = bridge.command(&["explain", TOPIC, "nonsense", "--offline"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("DEAD LETTER, parse:"), "{text}");
    let refused = bridge.command(&["explain", "sensors/#", "--offline"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn what_adjustments_did_is_shown_beside_the_value() {
    let rules = "
databases:
  local: { url: 'sqlite:rows.db' }
rules:
  - topic: meter/{device}
    table: meter
    create: true
    columns:
      device: topic.device
      temp:   { from: payload.t, type: double, scale: 0.1, shift: -40 }
      state:  { from: payload.s, type: int, map: { 'on': 1, 'off': 0, '*': null } }
      raw:    { from: payload.raw, type: text, decode: hex }
      plain:  { from: payload.plain, type: double, scale: 1 }
      level:  { from: payload.level, type: double, on_error: null }
      gone:   { from: payload.gone, type: double, scale: 2 }
";
    let bridge = Bridge::new(free_port(), rules);
    let payload = r#"{"t":655,"s":"on","raw":"6869","plain":7,"level":"dry"}"#;
    for offline in [&["--offline"][..], &[]] {
        let told = explained(&bridge.command(&[&["explain", "meter/d1", payload, "--json"], offline].concat()));
        let row = &told["rules"][0]["rows"][0];
        let expected =
            json!({ "device": "d1", "temp": 25.5, "state": 1, "raw": "hi", "plain": 7, "level": null, "gone": null });
        for (name, value) in expected.as_object().unwrap() {
            let is_same = row["columns"][name] == *value || row["columns"][name].as_f64() == value.as_f64();
            assert!(is_same, "{name}: {told}");
        }
        let types = &row["types"];
        for (name, given, by) in [
            ("temp", json!(655), json!(["scale", "shift"])),
            ("state", json!("on"), json!(["map"])),
            ("raw", json!("6869"), json!(["decode"])),
            ("level", json!("dry"), json!([])),
        ] {
            assert_eq!((&types[name]["given"], &types[name]["adjusted_by"]), (&given, &by), "{name}: {told}");
        }
        let why = types["level"]["nulled"].as_str().unwrap();
        assert!(why.contains("level") && !why.contains("dry"), "{why}");
        for name in ["device", "gone"] {
            assert!(types[name].get("given").is_none() && types[name].get("nulled").is_none(), "{name}: {told}");
        }
        assert!(types["temp"].get("nulled").is_none());
    }
    let text = bridge.command(&["explain", "meter/d1", payload, "--offline"]);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "from payload.t, which is 655, by scale, shift\n",
        "from payload.s, which is \"on\", by map\n",
        "from payload.level, nulled: \"dry\" does not fit (on_error: null): ",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert!(text.contains("from topic.device\n"), "{text}");
}

#[test]
fn live_tables_rule_and_postgres_takes_the_statement() {
    let postgres = Postgres::start();
    let database = postgres.create_database();
    let number = |sql: &str| postgres.psql(&database, sql).trim().to_owned();
    let url = postgres.url(&database);
    let body = format!("databases:\n  cloud: {{ url: '{url}' }}\n{}", RULES.replace("    create: true\n", ""));
    let bridge = Bridge::new(free_port(), &body);
    let ask = ["explain", TOPIC, PAYLOAD, "--json"];
    let told = explained(&bridge.command(&ask));
    let error = &told["rules"][0]["error"];
    assert_eq!((&told["rules"][0]["outcome"], &error["reason"]), (&json!("dead_lettered"), &json!("table")), "{told}");
    postgres.psql(
        &database,
        "CREATE TABLE telemetry (time timestamptz, site text, device varchar(2), temp numeric(5,1), price numeric, \
         doc jsonb, tags text[])",
    );
    let told = explained(&bridge.command(&ask));
    let rule = &told["rules"][0];
    assert_eq!(rule["outcome"], "written", "{told}");
    assert_eq!(rule["rows"][0]["types"]["temp"]["type"], "numeric(5,1)");
    // Exact: a float would be 10.1.
    let text = String::from_utf8(bridge.command(&ask).stdout).unwrap();
    assert!(text.contains("\"price\":10.10"), "{text}");
    postgres.psql(&database, rule["sql"][0].as_str().unwrap());
    assert_eq!(number("SELECT count(*) FROM telemetry WHERE temp = 21.5 AND price = 10.1"), "1");
    assert_eq!(number("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'rowbridge%'"), "0", "nothing is made");
    let told = explained(&bridge.command(&["explain", "sensors/a/long/telemetry", PAYLOAD, "--json"]));
    assert_eq!(told["rules"][0]["error"]["column"], "device", "{told}");
    postgres.stop();
    let told = bridge.command(&["explain", TOPIC, PAYLOAD]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.contains("types are assumed"), "{text}");
}

#[test]
fn what_leaves_no_row_is_named() {
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - { name: list, topic: list, table: t, for_each: payload.a, \
                columns: { v: item } }\n  - { name: where, topic: where, table: t, where: '.v > 1', columns: { v: payload.v } }\n  - \
                { name: both, topic: both, table: t, where: '.v > 1', for_each: payload.a, columns: { v: item } }\n  - \
                { name: lines, topic: lines, table: t, format: csv, csv: { header: columns }, columns: { v: payload.v } }\n";
    let bridge = Bridge::bare(body);
    for (topic, payload, why) in [
        ("list", r#"{"a":[]}"#, "there is no element that would be a row (for_each)"),
        ("where", r#"{"v":1}"#, "it is not what the rule wants (where)"),
        ("both", r#"{"v":2,"a":[]}"#, "nothing of it is left that would be a row (where, for_each)"),
        ("lines", "v\n", "its payload holds nothing that would be a row"),
    ] {
        let output = bridge.command(&["explain", topic, payload, "--offline"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(why), "{topic}: {told}{}", String::from_utf8_lossy(&output.stderr));
    }
}
