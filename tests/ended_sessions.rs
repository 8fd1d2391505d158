//! A row can end the session that writes it: its trigger ends its own backend, or an extension crashes the server at its
//! value. It must hold neither its table nor the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::refused_rows::{COUNT, publish};
use crate::support::bridge::Bridge;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::Tally;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

/// The rows that end their sessions.
const LETHAL: [i64; 2] = [150, 151];

const END_OWN: &str = "PERFORM pg_terminate_backend(pg_backend_pid())";

/// What an extension does at a value that it cannot stand: the backend dies, and the server ends all other sessions.
const CRASH: &str = "EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -SEGV ' || pg_backend_pid())";

/// A table with a trigger that does `what` to rows with `condition`.
fn table(name: &str, what: &str, condition: &str, timing: &str) -> String {
    format!(
        "CREATE TABLE {name} (id int, v text);
         CREATE FUNCTION end_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF {condition} THEN {what}; END IF; RETURN NEW; END $$;
         CREATE {timing} ON {name} {deferred} FOR EACH ROW EXECUTE FUNCTION end_{name}();",
        deferred = if timing.contains("CONSTRAINT") { "DEFERRABLE INITIALLY DEFERRED" } else { "" },
    )
}

/// A bridge with a rule for each name: the topic is `w/NAME`, the table `NAME`.
fn bridge(port: u16, url: &str, names: &[&str], options: &str) -> Bridge {
    bridge_waiting(port, url, names, &format!("retry: {{ min: 20ms, max: 200ms }}{options}"))
}

fn bridge_waiting(port: u16, url: &str, names: &[&str], options: &str) -> Bridge {
    let mut text = format!("databases:\n  target: {{ url: '{url}', {options} }}\nrules:\n");
    for name in names {
        text += &format!("  - {{ name: {name}, topic: w/{name}, table: {name}, columns: {{ id: payload.id }} }}\n");
    }
    Bridge::new(port, &text)
}

fn ids(postgres: &Postgres, database: &str, table: &str) -> Vec<i64> {
    let ids = postgres.psql(database, &format!("SELECT id FROM {table} ORDER BY ctid"));
    ids.lines().map(|id| id.parse().unwrap()).collect()
}

/// The rows of `table` but the lethal ones are there, once and in order, and those are dead letters with this code.
#[track_caller]
fn assert_only_the_lethal_are_letters(postgres: &Postgres, database: &str, table: &str, code: &str) {
    let found = ids(postgres, database, table);
    Tally::of(found.iter().copied().chain(LETHAL), 0..COUNT).assert_each_once(table);
    let query = format!("SELECT reason || ' ' || error FROM rowbridge_dead_letters WHERE rule = '{table}'");
    let letters = postgres.psql(database, &query);
    assert_eq!(letters.lines().count(), LETHAL.len(), "{letters}");
    for letter in letters.lines() {
        let is_told = letter.starts_with("constraint the server ends the session whenever this row is written");
        assert!(is_told && letter.contains(code), "{letter}");
    }
}

#[test]
fn a_row_that_ends_its_session_is_a_dead_letter() {
    const NAMES: [&str; 3] = ["at_once", "at_commit", "good"];
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let condition = format!("NEW.id IN ({}, {})", LETHAL[0], LETHAL[1]);
    postgres.psql(
        &database,
        &[
            table("at_once", END_OWN, &condition, "TRIGGER t BEFORE INSERT"),
            table("at_commit", END_OWN, &condition, "CONSTRAINT TRIGGER t AFTER INSERT"),
            table("good", "NULL", "false", "TRIGGER t BEFORE INSERT"),
        ]
        .concat(),
    );
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &NAMES, "");
    bridge.start();
    publish(broker.port(), &NAMES);
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= COUNT * 3).then_some(()));
    bridge.wait_drained("target");
    for table in ["at_once", "at_commit"] {
        assert_only_the_lethal_are_letters(&postgres, &database, table, "57P01");
    }
    assert_eq!(ids(&postgres, &database, "good"), (0..COUNT.cast_signed()).collect::<Vec<_>>());
}

#[test]
fn a_row_that_crashes_the_server_is_a_dead_letter() {
    const NAMES: [&str; 1] = ["fragile"];
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::start());
    let database = postgres.create_database();
    let condition = format!("NEW.id IN ({}, {})", LETHAL[0], LETHAL[1]);
    postgres.psql(&database, &table("fragile", CRASH, &condition, "TRIGGER t BEFORE INSERT"));
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &NAMES, "");
    bridge.start();
    publish(broker.port(), &NAMES);
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= COUNT).then_some(()));
    bridge.wait_drained("target");
    assert_only_the_lethal_are_letters(&postgres, &database, "fragile", "");
    // Whoever sees the server crash again and again finds the reason.
    let told = bridge.log().matches("the bridge looks for the row that causes it").count();
    // Once for all rows of a batch.
    assert!((1..=LETHAL.len()).contains(&told), "{}", bridge.log());
}

#[test]
fn a_table_of_which_every_row_ends_the_session_parks_its_rule_alone() {
    const NAMES: [&str; 2] = ["bad", "good"];
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let tables = [
        table("bad", END_OWN, "true", "TRIGGER t BEFORE INSERT"),
        table("good", "NULL", "false", "TRIGGER t BEFORE INSERT"),
    ];
    postgres.psql(&database, &tables.concat());
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &NAMES, ", park_after: 300ms");
    bridge.start();
    publish(broker.port(), &NAMES);
    let all: Vec<i64> = (0..COUNT.cast_signed()).collect();
    bridge.wait_alive("the messages of the bad table are parked", |bridge| {
        let target = &bridge.status()["databases"]["target"];
        (target["parked"][0]["messages"] == COUNT && target["pending"] == 0).then_some(())
    });
    let reason = bridge.status()["databases"]["target"]["parked"][0]["reason"].to_string();
    assert!(reason.contains("57P01") && reason.contains("bad"), "{reason}");
    assert_eq!(ids(&postgres, &database, "good"), all);
    postgres.psql(&database, "DROP TRIGGER t ON bad");
    bridge.wait_alive("nothing is parked any more", |bridge| {
        bridge.status()["databases"]["target"]["parked"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    assert_eq!(ids(&postgres, &database, "bad"), all);
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

struct Set<'b>(&'b AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Replays are far apart, and batches of the other table go in between.
#[test]
fn a_row_that_ends_its_session_is_found_among_parked_messages_too() {
    const NAMES: [&str; 2] = ["bad", "good"];
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let tables = [
        table("bad", "RAISE no_data_found", "true", "TRIGGER t BEFORE INSERT"),
        table("good", "NULL", "false", "TRIGGER t BEFORE INSERT"),
    ];
    postgres.psql(&database, &tables.concat());
    // A parked table is looked at as seldom as that.
    let options = "retry: { min: 20ms, max: 1s }, park_after: 3s";
    let mut bridge = bridge_waiting(broker.port(), &postgres.url(&database), &NAMES, options);
    bridge.start();
    publish(broker.port(), &NAMES);
    bridge.wait_alive("the messages of the bad table are parked", |bridge| {
        let target = &bridge.status()["databases"]["target"];
        (target["parked"][0]["messages"] == COUNT && target["pending"] == 0).then_some(())
    });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also if what follows fails.
        let _end = Set(&is_over);
        scope.spawn(|| {
            let mut publisher = Publisher::new(broker.port());
            for id in COUNT.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                publisher.send("w/good", format!("{{\"id\":{id}}}"));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        postgres.psql(
            &database,
            &format!(
                "CREATE OR REPLACE FUNCTION end_bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.id IN ({}, {}) THEN {END_OWN}; END IF; RETURN NEW; END $$",
                LETHAL[0], LETHAL[1]
            ),
        );
        bridge.wait_alive("nothing is parked any more", |bridge| {
            let status = bridge.status();
            status["databases"]["target"]["parked"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
    });
    bridge.wait_drained("target");
    assert_only_the_lethal_are_letters(&postgres, &database, "bad", "57P01");
    let tally = &bridge.status()["rules"][0];
    assert_eq!((&tally["matched"], &tally["written"]), (&COUNT.into(), &(COUNT - 2).into()), "{tally}");
}

/// No row is at fault then, and fewer at a time go in.
#[test]
fn a_session_that_ends_at_many_rows_gets_fewer_of_them() {
    const ROWS: u64 = 40;
    let (broker, postgres) = (Mosquitto::start(), Postgres::shared());
    let database = postgres.create_database();
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["many"], "");
    bridge.start();
    let mut publisher = Publisher::new(broker.port());
    for id in 0..ROWS {
        publisher.send("w/many", format!("{{\"id\":{id}}}"));
    }
    // Without the table they wait, and are one batch.
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= ROWS).then_some(()));
    postgres.psql(
        &database,
        &format!(
            "BEGIN;
             CREATE TABLE many (id int);
             CREATE FUNCTION end_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF (SELECT count(*) FROM written) > 8 THEN {END_OWN}; END IF; RETURN NULL; END $$;
             CREATE TRIGGER t AFTER INSERT ON many REFERENCING NEW TABLE AS written
                 FOR EACH STATEMENT EXECUTE FUNCTION end_many();
             COMMIT"
        ),
    );
    bridge.wait_drained("target");
    assert_eq!(ids(&postgres, &database, "many"), (0..ROWS.cast_signed()).collect::<Vec<_>>());
    assert!(bridge.log().contains("the session ends whenever these rows are written"), "{}", bridge.log());
    assert_eq!(postgres.psql(&database, "SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

/// Its batch ended before the message of the bad table, so the later rows that go in never stood beside it.
#[test]
fn a_row_with_a_code_that_passes_is_blamed_though_a_bad_table_follows() {
    let (broker, postgres) = (Mosquitto::with(DEEP_QUEUE), Postgres::shared());
    let database = postgres.create_database();
    let raise = "RAISE 'not now' USING ERRCODE = '08006'";
    let tables = [
        table("a", raise, "NEW.id = 0", "TRIGGER t BEFORE INSERT"),
        table("bad", "RAISE no_data_found", "true", "TRIGGER t BEFORE INSERT"),
    ];
    postgres.psql(&database, &tables.concat());
    let mut bridge = bridge(broker.port(), &postgres.url(&database), &["a", "bad"], ", park_after: 300ms");
    bridge.start();
    bridge.wait_drained("target");
    let mut publisher = Publisher::new(broker.port());
    for (topic, id) in [("w/a", 0), ("w/bad", 1), ("w/bad", 2), ("w/a", 3), ("w/a", 4)] {
        publisher.send(topic, format!("{{\"id\":{id}}}"));
    }
    bridge.wait_alive("all is journaled", |bridge| (bridge.journaled() >= 5).then_some(()));
    bridge.wait_alive("all but the parked is in", |bridge| {
        let target = &bridge.status()["databases"]["target"];
        (target["parked"][0]["messages"] == 2 && target["pending"] == 0).then_some(())
    });
    assert_eq!(ids(&postgres, &database, "a"), [3, 4]);
    let letters = postgres.psql(&database, "SELECT rule, error FROM rowbridge_dead_letters WHERE reason <> 'table'");
    assert!(letters.lines().count() == 1 && letters.starts_with("a|") && letters.contains("08006"), "{letters}");
}
