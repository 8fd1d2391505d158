//! Databases and tables that are not the usual ones, with the real binary.

use std::sync::Arc;

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// A bridge that takes `t/+` into `table` of that database.
fn bridge(broker: &Mosquitto, postgres: &Postgres, database: &str, rule: &str) -> Bridge {
    let url = postgres.url(database);
    let rules = format!("databases:\n  cloud: {{ url: '{url}' }}\nrules:\n  - {{ name: all, topic: 't/#', {rule} }}\n");
    Bridge::new(broker.port(), &rules)
}

fn fresh() -> (Mosquitto, Arc<Postgres>, String) {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    (Mosquitto::start(), postgres, database)
}

/// A database that has 256 characters.
fn latin1(postgres: &Postgres, name: &str) -> String {
    let database = format!("{name}_latin1");
    let encoding = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    postgres.psql("postgres", &format!("CREATE DATABASE {database} {encoding}"));
    database
}

#[test]
fn a_topic_with_a_character_that_the_database_lacks_holds_nothing_up() {
    let (broker, postgres, name) = fresh();
    let database = latin1(&postgres, &name);
    postgres.psql(&database, "CREATE TABLE readings (topic text, v text)");
    let mut bridge = bridge(&broker, &postgres, &database, "table: readings, columns: { topic: topic, v: payload.v }");
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("t/Škoda🌡", r#"{"v":"a"}"#);
    publisher.send("t/é", r#"{"v":"é"}"#);
    publisher.send("t/é", r#"{"v":"🌡"}"#);
    publisher.send("t/Škoda🌡", "no JSON");
    publisher.send("t/last", r#"{"v":"b"}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 5).then_some(()));
    bridge.wait_drained("cloud");
    let rows = postgres.psql(&database, "SET client_encoding = 'UTF8'; SELECT topic, v FROM readings ORDER BY 1");
    assert_eq!(rows, "t/last|b\nt/é|é");
    let listed = bridge.command(&["dead-letters", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.matches("t/Škoda🌡").count(), 2, "{listed}");
    assert_eq!(listed.lines().filter(|line| line.contains("value")).count(), 2, "{listed}");
    assert!(bridge.log().contains("encoding is not UTF8"), "a WARN at connect");
}

/// The database was held for ever, without a table that could be parked.
#[test]
fn a_table_or_column_name_with_a_character_that_the_database_lacks_is_its_message_s_dead_letter() {
    let (broker, postgres, name) = fresh();
    let database = latin1(&postgres, &name);
    // psql sends what it is given as the database's encoding.
    let made = r#"CREATE TABLE U&"\00E9" (v int); CREATE TABLE w (v int); CREATE TABLE grown (v int)"#;
    postgres.psql(&database, made);
    let url = postgres.url(&database);
    let rules = format!(
        "databases:\n  cloud: {{ url: '{url}' }}\nrules:
  - {{ name: named, topic: 'n/{{n}}', table: '{{topic.n}}', tables: '*', table_aliases: {{ alias: 日 }}, columns: {{ v: payload.v }} }}
  - {{ name: made, topic: 'm/{{n}}', table: '{{topic.n}}', tables: '*', create: true, columns: auto }}
  - {{ name: grown, topic: g/+, table: grown, columns: auto, unmapped: add }}
  - {{ name: first, topic: f/+, table: first, columns: auto, create: true }}
"
    );
    let mut bridge = Bridge::new(broker.port(), &rules);
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    // Those that give no row come first: a table that another message makes takes them.
    let lacking = [
        ("n/日", r#"{"v":1}"#),
        ("n/alias", r#"{"v":1}"#),
        ("m/日", r#"{"v":1}"#),
        ("m/made", r#"{"日":1}"#),
        ("g/x", r#"{"v":1,"日":2}"#),
        ("f/x", r#"{"v":1,"日":2}"#),
    ];
    lacking.into_iter().for_each(|(topic, payload)| publisher.send(topic, payload));
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 6).then_some(()));
    bridge.wait_drained("cloud");
    for topic in ["n/é", "n/w", "m/made", "g/x", "f/x"] {
        publisher.send(topic, if topic.starts_with('n') { r#"{"v":1}"# } else { r#"{"v":1,"é":2}"# });
    }
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 11).then_some(()));
    bridge.wait_drained("cloud");
    let all = r#"SELECT (SELECT v FROM U&"\00E9"), (SELECT v FROM w), (SELECT U&"\00E9" FROM made),
                 (SELECT U&"\00E9" FROM grown), (SELECT U&"\00E9" FROM first)"#;
    assert_eq!(postgres.psql(&database, all), "1|1|2|2|2");
    let letters = "SELECT rule || ' ' || reason, count(*) FROM rowbridge_dead_letters GROUP BY 1 ORDER BY 1";
    let expected =
        ["first no_column|1", "grown no_column|1", "made no_column|1", "made no_table|1", "named no_table|2"];
    assert_eq!(postgres.psql(&database, letters).lines().collect::<Vec<_>>(), expected);
    let log = bridge.log();
    assert!(!log.contains("25P02") && !log.contains("database held"), "{log}");
}

#[test]
fn rows_that_a_trigger_ignores_are_shown_counted_and_logged() {
    let (broker, postgres, database) = fresh();
    postgres.psql(
        &database,
        "CREATE TABLE readings (v int);
         CREATE FUNCTION odd_only() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.v % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER odd_only BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION odd_only()",
    );
    let mut bridge = bridge(&broker, &postgres, &database, "table: readings, columns: { v: payload.v }");
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    (1..=10).for_each(|v| publisher.send("t/a", format!(r#"{{"v":{v}}}"#)));
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 10).then_some(()));
    bridge.wait_drained("cloud");
    let status = bridge.status();
    let rule = &status["rules"][0];
    assert_eq!((&rule["written"], &rule["rows"], &rule["rows_swallowed"]), (&10.into(), &5.into(), &5.into()));
    assert_eq!(status["databases"]["cloud"]["rows_swallowed"], 5);
    let labels = [("database", "cloud"), ("rule", "all")];
    assert_eq!(bridge.metrics().value("rowbridge_rows_swallowed_total", &labels), Some(5.0));
    assert_eq!(bridge.metrics().value("rowbridge_rows_written_total", &labels), Some(5.0));
    let told = bridge.log().matches("the table did not take rows").count();
    assert_eq!(told, 1, "at once, and then once a minute");
    let shown = String::from_utf8(bridge.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("5 swallowed"), "{shown}");
}

#[test]
fn a_rewrite_rule_of_the_table_puts_rows_where_an_insert_would() {
    let (broker, postgres, database) = fresh();
    postgres.psql(
        &database,
        "CREATE TABLE readings (v int); CREATE TABLE hot (v int);
         CREATE RULE hot AS ON INSERT TO readings WHERE NEW.v > 5 DO INSTEAD INSERT INTO hot VALUES (NEW.v)",
    );
    let mut bridge = bridge(&broker, &postgres, &database, "table: readings, columns: { v: payload.v }");
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    (1..=8).for_each(|v| publisher.send("t/a", format!(r#"{{"v":{v}}}"#)));
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 8).then_some(()));
    bridge.wait_drained("cloud");
    // A rule made while it runs acts at once.
    postgres.psql(&database, "CREATE RULE none AS ON INSERT TO hot DO INSTEAD NOTHING");
    publisher.send("t/a", r#"{"v":9}"#);
    bridge.wait_alive("the ninth is journaled", |bridge| (bridge.journaled() >= 9).then_some(()));
    bridge.wait_drained("cloud");
    postgres.psql(
        &database,
        "CREATE TABLE log (v int); CREATE RULE log AS ON INSERT TO readings DO ALSO INSERT INTO log VALUES (NEW.v)",
    );
    publisher.send("t/a", r#"{"v":1}"#);
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= 10).then_some(()));
    bridge.wait_drained("cloud");
    let sums = "SELECT (SELECT sum(v) FROM readings), (SELECT sum(v) FROM hot), (SELECT sum(v) FROM log)";
    assert_eq!(postgres.psql(&database, sums), "16|21|1");
}

#[test]
fn a_table_named_in_another_case_is_told_and_a_held_database_is_not_called_unconnected() {
    let (broker, postgres, database) = fresh();
    postgres.psql(&database, "CREATE TABLE telemetry (v int)");
    let mut bridge = bridge(&broker, &postgres, &database, "table: Telemetry, columns: { v: payload.v }");
    bridge.start();
    let held = bridge.wait_alive("the database is held", |bridge| {
        let held = bridge.status()["databases"]["cloud"]["held"].clone();
        (!held.is_null()).then_some(held)
    });
    assert!(held["reason"].as_str().unwrap().contains("write `table: telemetry`"), "{held}");
    assert!(held["mend"].as_str().unwrap().starts_with("-- there is telemetry"), "{held}");
    let ready = bridge.get("/readyz").unwrap();
    assert!(ready.body.contains("is held") && !ready.body.contains("not connected"), "{}", ready.body);
    assert_eq!(bridge.status()["databases"]["cloud"]["connected"], true);
    let shown = String::from_utf8(bridge.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("HELD") && !shown.contains("NOT connected"), "{shown}");
    postgres.psql(&database, "ALTER TABLE telemetry RENAME TO \"Telemetry\"");
    bridge.wait_alive("it goes on by itself", |bridge| {
        bridge.status()["databases"]["cloud"]["held"].is_null().then_some(())
    });
}

/// `t(n, m macaddr, v)` with `[2,"08:00:2b:01:02:03","b"]`: v got the address.
#[test]
fn an_array_never_shifts_past_a_column_that_the_server_casts_or_that_is_not_written() {
    let (broker, postgres, database) = fresh();
    postgres.psql(&database, "CREATE TABLE readings (n int, m macaddr, c \"char\", v text)");
    let mut bridge = bridge(&broker, &postgres, &database, "table: readings, columns: auto");
    bridge.start();
    Publisher::new(broker.port()).send("t/a", r#"[2,"08:00:2b:01:02:03","x","b"]"#);
    let reason = bridge.wait_alive("the database is held", |bridge| {
        bridge.status()["databases"]["cloud"]["held"]["reason"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("column `c`") && reason.contains("char") && reason.contains("view"), "{reason}");
    assert!(!reason.contains("column `m`"), "{reason}");
    postgres.psql(&database, "ALTER TABLE readings ALTER c TYPE text");
    // The database is held as soon as the rule is compiled, before the message has come.
    let rows = || postgres.psql(&database, "SELECT * FROM readings");
    bridge.wait_alive("the row is there", |_| (!rows().is_empty()).then_some(()));
    assert_eq!(rows(), "2|08:00:2b:01:02:03|x|b");
}

#[test]
fn a_missing_right_on_a_sequence_is_shown_with_the_grant_that_mends_it() {
    let (broker, postgres, database) = fresh();
    postgres.psql(&database, "CREATE TABLE readings (v int, id serial)");
    postgres.psql(
        &database,
        "DO $$ BEGIN CREATE ROLE bridge_of_sequences LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         GRANT CREATE, USAGE ON SCHEMA public TO bridge_of_sequences; GRANT INSERT ON readings TO bridge_of_sequences",
    );
    let url = postgres.url(&database).replace("postgres@", "bridge_of_sequences@");
    let rules = format!(
        "databases:\n  cloud: {{ url: '{url}' }}\nrules:\n  - {{ topic: 't/#', table: readings, columns: {{ v: payload.v }} }}\n"
    );
    let mut bridge = Bridge::new(broker.port(), &rules);
    bridge.start();
    Publisher::new(broker.port()).send("t/a", r#"{"v":1}"#);
    let mend = bridge.wait_alive("the database is held", |bridge| {
        bridge.status()["databases"]["cloud"]["held"]["mend"].as_str().map(str::to_owned)
    });
    assert_eq!(mend, "GRANT USAGE ON SEQUENCE public.readings_id_seq TO bridge_of_sequences;");
    postgres.psql(&database, &mend);
    bridge.wait_drained("cloud");
    assert_eq!(postgres.psql(&database, "SELECT v, id > 0 FROM readings"), "1|t");
}
