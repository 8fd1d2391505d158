//! `mode: ignore` and `upsert`, and types that the server casts, through the whole bridge.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{column, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const RULES: &str = "
databases:
  local: { url: 'sqlite:rows.db' }
  cloud: { url: 'POSTGRES' }
rules:
  - name: latest
    topic: state/{device}
    database: local
    table: latest
    create: true
    mode: upsert
    key: [device, port]
    columns: &columns
      device: topic.device
      port: { from: payload.port, type: int }
      n: { from: payload.n, type: bigint }
  - name: first
    topic: state/{device}
    database: local
    table: first
    create: true
    mode: ignore
    key: device
    columns: *columns
  - name: typed
    topic: state/{device}
    database: cloud
    table: typed
    mode: upsert
    columns: { device: topic.device, n: payload.n, card: payload.card }
";

#[test]
fn the_last_message_of_a_key_is_what_the_tables_hold() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    server.psql(&name, "CREATE TABLE typed (device text PRIMARY KEY, n bigint, card macaddr)");
    let mut bridge = Bridge::new(broker.port(), &RULES.replace("POSTGRES", &server.url(&name)));
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    const CARD: &str = "08:00:2b:01:02:0";
    for n in 0..60 {
        let (device, port, last) = (n % 3, n % 2, n % 6);
        publisher.send(&format!("state/d{device}"), format!(r#"{{"n":{n},"port":{port},"card":"{CARD}{last}"}}"#));
    }
    // Neither has a part of a key, and a card that is none.
    publisher.send("state/d0", r#"{"n":98,"card":"08:00:2b:01:02:09"}"#);
    publisher.send("state/d1", r#"{"n":99,"port":null,"card":"none"}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 62).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    let file = bridge.rows();
    let latest: Vec<i64> = column(&file, "SELECT n FROM latest ORDER BY device, port");
    assert_eq!(latest, [54, 57, 58, 55, 56, 59]);
    assert_eq!(column::<i64>(&file, "SELECT n FROM first ORDER BY device"), [0, 1, 2]);
    let letters =
        "SELECT group_concat(rule || ' ' || reason, ',') FROM (SELECT * FROM rowbridge_dead_letters ORDER BY id)";
    assert_eq!(value::<String>(&file, letters), "latest required,latest required");
    let typed = "SELECT string_agg(device || ' ' || n || ' ' || card, ',' ORDER BY device) FROM typed";
    assert_eq!(server.psql(&name, typed), format!("d0 98 {CARD}9,d1 58 {CARD}4,d2 59 {CARD}5"));
    let letters = "SELECT rule, reason, error NOT LIKE '%none%' FROM rowbridge_dead_letters";
    assert_eq!(server.psql(&name, letters), "typed|value|t");
    let status = bridge.status();
    let swallowed = |rule: usize| status["rules"][rule]["rows_swallowed"].as_u64().unwrap_or(0);
    assert_eq!([0, 1, 2].map(swallowed), [0; 3], "{status}");
}

#[test]
fn a_key_without_a_unique_index_holds_with_the_sql_that_mends_it() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    server.psql(&name, "CREATE TABLE typed (device text, n bigint, card macaddr)");
    let rules = RULES
        .replace("POSTGRES", &server.url(&name))
        .replace("    mode: upsert\n    columns: {", "    mode: upsert\n    key: [device]\n    columns: {");
    let mut bridge = Bridge::new(broker.port(), &rules);
    bridge.start();
    let mend = r#"CREATE UNIQUE INDEX \"typed_device_key\" ON \"public\".\"typed\" (\"device\")"#;
    bridge.wait_alive("the hold is told", |bridge| {
        let log = bridge.log();
        (log.contains(mend) || log.contains(&mend.replace('\\', ""))).then_some(())
    });
    // The SQL that was shown frees the database.
    server.psql(&name, &mend.replace('\\', ""));
    Publisher::new(broker.port()).send("state/d0", r#"{"n":1,"port":1,"card":"08:00:2b:01:02:03"}"#);
    bridge.wait_alive("the row is there", |_| (server.psql(&name, "SELECT count(*) FROM typed") == "1").then_some(()));
}

/// What a unique index other than the key's refuses stays refused, whatever comes later in the batch; and of a message with
/// rows in several tables no row takes the place of a later message's.
#[test]
fn a_row_that_another_unique_index_refuses_is_a_dead_letter_in_every_mode() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    server.psql(
        &name,
        "CREATE TABLE first (k int PRIMARY KEY, u int UNIQUE, v int); CREATE TABLE last (LIKE first INCLUDING ALL)",
    );
    let rule = |table: &str, mode: &str| {
        format!(
            "  - {{ name: {table}, topic: dev, table: {table}, mode: {mode}, columns: {{ k: payload.k, u: payload.u, v: \
             payload.v }} }}\n"
        )
    };
    let body = format!(
        "databases: {{ cloud: {{ url: '{}', batch: {{ max_wait: 1s }} }} }}\nrules:\n{}{}",
        server.url(&name),
        rule("first", "ignore"),
        rule("last", "upsert")
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in [
        r#"{"k":9,"u":9,"v":0}"#,
        r#"{"k":1,"u":1,"v":1}"#,
        r#"{"k":2,"u":1,"v":2}"#,
        r#"{"k":2,"u":2,"v":3}"#,
        r#"{"k":3,"u":9,"v":4}"#,
        r#"{"k":9,"u":8,"v":5}"#,
    ] {
        publisher.send("dev", payload);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 6).then_some(()));
    bridge.wait_drained("cloud");
    let rows = |table: &str| {
        server.psql(&name, &format!("SELECT string_agg(concat(k, ' ', u, ' ', v), ', ' ORDER BY k) FROM {table}"))
    };
    // An ignored row changes nothing. Of equal keys in one statement the last counts, and the others are not looked at.
    assert_eq!(rows("first"), "1 1 1, 2 2 3, 9 9 0");
    let letters =
        "SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY seq) FROM rowbridge_dead_letters WHERE rule =";
    let refused = [r#"{"k":2,"u":1,"v":2}"#, r#"{"k":3,"u":9,"v":4}"#];
    assert_eq!(server.psql(&name, &format!("{letters} 'first'")), refused.join(" "));
    let status = bridge.status();
    let of = |rule: usize, key: &str| status["rules"][rule][key].as_u64().unwrap();
    assert_eq!((of(0, "written"), of(0, "dead_lettered")), (4, 2), "{status}");
    assert_eq!(of(1, "written") + of(1, "dead_lettered"), 6, "{status}");
    let last = rows("last");
    assert!(last.contains("1 1 1") && last.contains("2 2 3") && last.contains("9 8 5"), "{last}");
}

/// A message changes the columns that it names or the rule does: with `columns: auto` and `unmapped: add` no others.
#[test]
fn what_neither_the_rule_nor_the_message_names_keeps_its_value() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let name = server.create_database();
    let tables = "CREATE TABLE grown (k text PRIMARY KEY, note text, a bigint);
                  CREATE TABLE whole (k text PRIMARY KEY, note text, a bigint);
                  INSERT INTO grown VALUES ('1', 'keep', 7); INSERT INTO whole VALUES ('1', 'keep', 7);";
    server.psql(&name, tables);
    let rules = |database: &str| {
        format!(
            "  - {{ topic: up, database: {database}, table: grown, mode: upsert, unmapped: add, columns: {{ k: payload.k }} \
             }}\n  - {{ topic: up, database: {database}, table: whole, mode: upsert, columns: auto }}\n"
        )
    };
    let body = format!(
        "databases:\n  local: {{ url: 'sqlite:rows.db' }}\n  cloud: {{ url: '{}' }}\nrules:\n{}{}",
        server.url(&name),
        rules("local"),
        rules("cloud")
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(tables).unwrap();
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in
        [r#"{"k":"1"}"#, r#"{"k":"1","a":8}"#, r#"{"k":"2","a":1}"#, r#"{"k":"2","note":"n"}"#, r#"{"k":"1","a":null}"#]
    {
        publisher.send("up", payload);
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 5).then_some(()));
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    for table in ["grown", "whole"] {
        let rows = format!("SELECT k || ' ' || note || ' ' || coalesce(a, -1) FROM {table} ORDER BY k");
        assert_eq!(column::<String>(&bridge.rows(), &rows), ["1 keep -1", "2 n 1"], "{table}");
        assert_eq!(server.psql(&name, &rows), "1 keep -1\n2 n 1", "{table}");
    }
}

#[test]
fn rules_that_spell_one_table_differently_keep_the_order_of_the_journal() {
    let broker = Mosquitto::start();
    let mut body = "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n".to_owned();
    for (topic, table) in [("a", "state"), ("b", "State"), ("c", "main.STATE")] {
        body += &format!(
            "  - {{ topic: {topic}, table: {table}, mode: upsert, key: [id], columns: {{ id: payload.id, v: payload.v }} }}\n"
        );
    }
    let mut bridge = Bridge::new(broker.port(), &body);
    let other = rusqlite::Connection::open(bridge.rows()).unwrap();
    other.execute_batch("CREATE TABLE state (id INTEGER PRIMARY KEY, v INTEGER)").unwrap();
    bridge.start();
    // While the file is locked, all of them gather for one transaction.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut publisher = Publisher::new(broker.port());
    for v in 0..60 {
        publisher.send(["c", "b", "a"][v % 3], format!(r#"{{"id":1,"v":{v}}}"#));
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 60).then_some(()));
    other.execute_batch("COMMIT").unwrap();
    bridge.wait_drained("local");
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT v FROM state"), 59);
}
