//! `retained: changed`: a retained message is stored once, however often the broker sends it.

use crate::support::bridge::Bridge;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::{Connection, Outgoing, Version};
use crate::support::oracle::column;
use crate::support::postgres::Postgres;
use crate::support::publisher::Publisher;

const CLIENT: &str = "keeps";

fn body(url: &str) -> String {
    format!(
        "databases: {{ local: {{ url: '{url}', retry: {{ max: 1s }} }} }}
rules:
  - name: states
    topic: state/+
    qos: 1
    retained: changed
    table: states
    create: true
    columns: {{ topic: topic, v: {{ from: payload.v, type: bigint }} }}
"
    )
}

fn start(broker: &Mosquitto, url: &str) -> Bridge {
    Bridge::with_mqtt(broker.port(), &format!("client_id: {CLIENT}"), &body(url))
}

/// The broker forgets the session, and so sends what it retains again.
fn discard_session(broker: &Mosquitto) {
    drop(Connection::open(broker.port(), Version::V3, CLIENT, true).unwrap());
}

fn retain(broker: &Mosquitto, topic: &str, v: u64) {
    let message = Outgoing::new(topic, format!("{{\"v\":{v}}}")).retained();
    Publisher::new(broker.port()).publish(&message);
}

fn wait_outcomes(bridge: &mut Bridge, outcome: &str, count: u64) {
    bridge.wait_alive(&format!("{count} {outcome}"), |bridge| {
        (bridge.status()["rules"][0][outcome] == count).then_some(())
    });
}

#[test]
fn a_retained_message_is_stored_once_until_it_changes_while_the_bridge_is_there_or_away() {
    let server = Postgres::shared();
    let name = server.create_database();
    for url in ["sqlite:rows.db".to_owned(), server.url(&name)] {
        let broker = Mosquitto::start();
        for (topic, v) in [("state/a", 1), ("state/b", 1), ("state/c", 1)] {
            retain(&broker, topic, v);
        }
        let mut bridge = start(&broker, &url);
        bridge.start();
        wait_outcomes(&mut bridge, "written", 3);
        // Live, though it is retained from now on.
        retain(&broker, "state/a", 2);
        wait_outcomes(&mut bridge, "written", 4);
        bridge.kill();
        discard_session(&broker);
        retain(&broker, "state/b", 5);
        bridge.start();
        wait_outcomes(&mut bridge, "filtered", 2);
        wait_outcomes(&mut bridge, "written", 1);
        // The same value, live, is stored as any live message is.
        retain(&broker, "state/c", 1);
        wait_outcomes(&mut bridge, "written", 2);
        assert!(bridge.stop().success());
        discard_session(&broker);
        bridge.start();
        wait_outcomes(&mut bridge, "filtered", 3);
        let ask = "SELECT topic || ' ' || v FROM states ORDER BY 1";
        let rows: Vec<String> = match url.starts_with("sqlite") {
            true => column(&bridge.rows(), ask),
            false => server.psql(&name, ask).lines().map(str::to_owned).collect(),
        };
        assert_eq!(rows, ["state/a 1", "state/a 2", "state/b 1", "state/b 5", "state/c 1", "state/c 1"], "{url}");
    }
}

/// Its hash without its row would keep it out for ever.
/// The file of a bridge, with a table that refuses 3.
fn refusing_three(bridge: &Bridge) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(bridge.rows()).unwrap();
    let table = "CREATE TABLE states (topic TEXT, v BIGINT);
                 CREATE TRIGGER no_three BEFORE INSERT ON states WHEN NEW.v = 3 BEGIN SELECT RAISE(ABORT, 'no'); END;";
    database.execute_batch(table).unwrap();
    database
}

#[test]
fn a_message_that_the_database_refused_is_not_taken_for_stored() {
    let broker = Mosquitto::start();
    retain(&broker, "state/a", 3);
    retain(&broker, "state/b", 4);
    let mut bridge = start(&broker, "sqlite:rows.db");
    let database = refusing_three(&bridge);
    bridge.start();
    wait_outcomes(&mut bridge, "dead_lettered", 1);
    wait_outcomes(&mut bridge, "written", 1);
    assert!(bridge.stop().success());
    database.execute_batch("DROP TRIGGER no_three").unwrap();
    discard_session(&broker);
    bridge.start();
    wait_outcomes(&mut bridge, "written", 1);
    wait_outcomes(&mut bridge, "filtered", 1);
    assert_eq!(column::<String>(&bridge.rows(), "SELECT topic FROM states ORDER BY 1"), ["state/a", "state/b"]);
}

#[test]
fn a_dead_letter_that_is_tried_again_is_the_last_message_that_was_stored() {
    let broker = Mosquitto::start();
    retain(&broker, "state/a", 3);
    let mut bridge = start(&broker, "sqlite:rows.db");
    let database = refusing_three(&bridge);
    bridge.start();
    wait_outcomes(&mut bridge, "dead_lettered", 1);
    assert!(bridge.stop().success());
    database.execute_batch("DROP TRIGGER no_three").unwrap();
    assert!(bridge.command(&["dead-letters", "retry", "--rule", "states"]).status.success());
    discard_session(&broker);
    bridge.start();
    wait_outcomes(&mut bridge, "filtered", 1);
    assert_eq!(column::<i64>(&bridge.rows(), "SELECT v FROM states"), [3]);
}

#[cfg(feature = "fault-injection")]
#[test]
fn killed_around_the_commit_it_stores_each_message_once() {
    let points = [
        "sqlite.offset.moved",
        "sqlite.rows.written",
        "sqlite.letters.written",
        "sqlite.committed",
        "delivery.committed",
    ];
    for point in points {
        let broker = Mosquitto::start();
        for topic in 0..20 {
            retain(&broker, &format!("state/{topic}"), topic);
        }
        let mut bridge = start(&broker, "sqlite:rows.db");
        bridge.set_environment("ROWBRIDGE_CRASH_AT", &format!("{point}:1:0"));
        bridge.spawn();
        bridge.wait_ended();
        bridge.unset_environment("ROWBRIDGE_CRASH_AT");
        discard_session(&broker);
        bridge.start();
        // What the journal has, if anything, and what comes once more.
        bridge.wait_alive("all of it", |bridge| {
            let is_delivered = bridge.status()["databases"]["local"]["pending"] == 0;
            (bridge.journaled() >= 20 && is_delivered).then_some(())
        });
        let rows: Vec<i64> = column(&bridge.rows(), "SELECT v FROM states ORDER BY 1");
        assert_eq!(rows, (0..20).collect::<Vec<i64>>(), "{point}");
    }
}
