//! A message that does not fit is kept with its bytes and the reason, and the rest goes on.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, sqlite, value};
use crate::support::publisher::{Load, Publisher, reading};

const BAD: u64 = 250;
const COUNT: u64 = 500;

/// 500 readings, of which one has this payload.
fn with_one_bad(port: u16, payload: &'static str) -> Load {
    Load::new(port, 1, COUNT)
        .made_by(move |id| if id == BAD { (reading(id).0, payload.as_bytes().to_vec()) } else { reading(id) })
}

/// 499 rows and one dead letter of that reason, with everything that was known of the message.
#[track_caller]
fn assert_one_dead_letter(bridge: &Bridge, reason: &str, payload: &str) {
    let file = bridge.rows();
    let found = crate::support::oracle::column::<i64>(&file, "SELECT id FROM readings");
    Tally::of(found.into_iter().chain([BAD.cast_signed()]), 0..COUNT).assert_each_once("readings and the bad one");
    let letters: i64 = value(&file, "SELECT count(*) FROM rowbridge_dead_letters");
    assert_eq!(letters, 1);
    let query = "SELECT rule, seq, topic, qos, retain, payload, reason, error, attempts FROM rowbridge_dead_letters";
    sqlite(&file)
        .query_row(query, [], |row| {
            assert_eq!(row.get::<_, String>(0)?, "readings");
            assert_eq!(row.get::<_, i64>(1)?, BAD.cast_signed() + 1);
            assert_eq!(row.get::<_, String>(2)?, reading(BAD).0);
            assert_eq!(row.get::<_, i64>(3)?, 1);
            assert!(!row.get::<_, bool>(4)?);
            assert_eq!(row.get::<_, Vec<u8>>(5)?, payload.as_bytes());
            assert_eq!(row.get::<_, String>(6)?, reason);
            assert!(!row.get::<_, String>(7)?.is_empty());
            assert!(row.get::<_, i64>(8)? >= 0);
            Ok(())
        })
        .unwrap();
    let offset: i64 = value(&file, "SELECT next_seq FROM rowbridge_offsets");
    assert_eq!(offset, COUNT.cast_signed() + 1, "the offset lies behind all of them");
    let rule = &bridge.status()["rules"][0];
    assert_eq!((&rule["matched"], &rule["written"]), (&COUNT.into(), &(COUNT - 1).into()), "{rule}");
    assert_eq!(rule["dead_lettered"], 1, "{rule}");
}

#[test]
fn one_value_in_500_that_does_not_fit_its_column_becomes_a_dead_letter() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.start();
    let bad = r#"{"id":250,"temp":"lukewarm"}"#;
    with_one_bad(broker.port(), bad).run();
    bridge.wait_rows("readings", COUNT - 1);
    bridge.wait_drained("local");
    assert_one_dead_letter(&bridge, "value", bad);
}

#[test]
fn one_row_in_500_that_the_database_refuses_becomes_a_dead_letter() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    rusqlite::Connection::open(bridge.rows())
        .unwrap()
        .execute_batch(
            "CREATE TABLE readings (id INTEGER, site TEXT, device TEXT, temp REAL CHECK (temp < 1000), received TEXT)",
        )
        .unwrap();
    bridge.start();
    let bad = r#"{"id":250,"temp":1000.5}"#;
    with_one_bad(broker.port(), bad).run();
    bridge.wait_rows("readings", COUNT - 1);
    bridge.wait_drained("local");
    assert_one_dead_letter(&bridge, "constraint", bad);
}

#[test]
fn every_kind_of_bad_message_has_its_reason() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.edit(
        "temp: { from: payload.temp, type: double }",
        "temp: { from: payload.temp, type: double, required: true }",
    );
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for payload in ["", "{", "nonsense", r#"{"id":1}"#, r#"{"id":1.5,"temp":1}"#, r#"{"id":2,"temp":null}"#] {
        publisher.send("sensors/a/b/telemetry", payload);
    }
    publisher.send("sensors/a/b/telemetry", r#"{"id":3,"temp":"21.5"}"#);
    bridge.wait_rows("readings", 1);
    bridge.wait_drained("local");
    let reasons: Vec<String> =
        crate::support::oracle::column(&bridge.rows(), "SELECT reason FROM rowbridge_dead_letters ORDER BY seq");
    assert_eq!(reasons, ["parse", "parse", "parse", "required", "value", "required"]);
}

#[test]
fn on_error_drop_counts_the_message_and_keeps_nothing() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.edit("    create: true\n", "    create: true\n    on_error: drop\n");
    bridge.start();
    with_one_bad(broker.port(), "not JSON").run();
    bridge.wait_rows("readings", COUNT - 1);
    bridge.wait_drained("local");
    let rule = bridge.status()["rules"][0].clone();
    assert_eq!((&rule["dropped"], &rule["dead_lettered"]), (&1.into(), &0.into()), "{rule}");
    assert_eq!(value::<i64>(&bridge.rows(), "SELECT count(*) FROM rowbridge_dead_letters"), 0);
}

#[test]
fn on_error_halt_holds_the_database_and_nothing_is_lost() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &readings(1));
    bridge.edit("    create: true\n", "    create: true\n    on_error: halt\n");
    bridge.start();
    with_one_bad(broker.port(), "not JSON").run();
    bridge.wait_alive("the database is held", |bridge| {
        (!bridge.status()["databases"]["local"]["held"].is_null()).then_some(())
    });
    bridge.wait_rows("readings", BAD);
    assert_eq!(crate::support::oracle::count(&bridge.rows(), "readings"), BAD, "nothing behind the bad one is written");
    // A person decides that the message may go.
    bridge.edit("on_error: halt", "on_error: dead_letter");
    assert!(bridge.stop().success());
    bridge.start();
    bridge.wait_rows("readings", COUNT - 1);
    bridge.wait_drained("local");
    assert_one_dead_letter_after_restart(&bridge);
}

#[track_caller]
fn assert_one_dead_letter_after_restart(bridge: &Bridge) {
    let payload: Vec<u8> = value(&bridge.rows(), "SELECT payload FROM rowbridge_dead_letters");
    assert_eq!(payload, b"not JSON");
    let found = crate::support::oracle::column::<i64>(&bridge.rows(), "SELECT id FROM readings");
    Tally::of(found.into_iter().chain([BAD.cast_signed()]), 0..COUNT).assert_each_once("readings and the bad one");
}

#[test]
fn commands_show_what_is_there_beside_a_database_that_is_away() {
    let broker = Mosquitto::start();
    let body = "databases:\n  local: { url: 'sqlite:rows.db' }\n  cloud: { url: 'postgres://u@127.0.0.1:1/d' }\nrules:\n  - { topic: \
                'a/#', database: local, table: t, create: true, columns: { v: { from: payload.v, type: text } } }\n\
                publish: [{ name: out, database: local, table: t, topic: 'out/{table}' }]\n";
    let mut bridge = Bridge::new(broker.port(), body);
    bridge.start();
    Publisher::new(broker.port()).send("a/1", "no number");
    bridge.wait_alive("it is journaled", |bridge| (bridge.journaled() == 1).then_some(()));
    bridge.wait_drained("local");
    for (arguments, shown) in [(&["dead-letters", "list"], "a/1"), (&["publish", "status"], "out  database local")] {
        let ended = bridge.command(arguments);
        let texts = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(ended.status.code(), Some(1), "{texts:?}");
        assert!(texts[0].contains(shown) && texts[1].contains("127.0.0.1:1"), "{texts:?}");
        assert!(texts[1].contains("database cloud"), "which it is: {texts:?}");
        assert!(!texts[1].contains("tries again"), "a command does not: {texts:?}");
    }
    bridge.edit("columns: { v: { from: payload.v, type: text } }", "format: text, columns: { v: payload }");
    for (arguments, shown) in [
        (&["dead-letters", "retry", "--rule", "rule-1"][..], "1 message written as 1 row"),
        (&["dead-letters", "retry", "--rule", "rule-1"], ""),
        (&["dead-letters", "delete", "--rule", "rule-1", "--yes"], ""),
    ] {
        let ended = bridge.command(arguments);
        let texts = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(ended.status.code(), Some(1), "not all was looked at: {texts:?}");
        assert!(texts[0].contains(shown) && !texts[0].contains("nothing to"), "{texts:?}");
        assert!(texts[1].contains("database cloud"), "{texts:?}");
    }
}
