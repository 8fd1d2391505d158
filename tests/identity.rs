//! Under which names a bridge goes on when the host's name, or the configuration, changes around a data directory.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Tally, value};
use crate::support::postgres::Postgres;
use crate::support::publisher::{Load, Publisher, reading};
use crate::support::wait_for;

/// A bridge whose configuration names neither client id nor bridge.
fn nameless(port: u16, body: &str) -> Bridge {
    let bridge = Bridge::with_mqtt(port, "client_id: by-default", body);
    bridge.edit("client_id: by-default, ", "");
    bridge
}

/// Has it started on a machine of that name, as a container that was made anew.
fn on_host(bridge: &mut Bridge, name: &str) {
    let script = format!("hostname {name} && exec \"$0\" \"$@\"");
    bridge.start_by(["unshare", "--uts", "sh", "-c", &script].map(str::to_owned).to_vec());
}

fn bridges(bridge: &Bridge) -> String {
    value(&bridge.rows(), "SELECT group_concat(bridge) FROM rowbridge_offsets")
}

fn send(broker: &Mosquitto, ids: std::ops::Range<u64>) {
    let mut publisher = Publisher::new(broker.port());
    ids.for_each(|id| publisher.send(&reading(id).0, reading(id).1));
}

#[test]
fn a_new_host_name_changes_neither_session_nor_offset() {
    for is_upgrade in [false, true] {
        let broker = Mosquitto::start();
        let mut bridge = nameless(broker.port(), &readings(1));
        on_host(&mut bridge, "first");
        bridge.start();
        assert_eq!(bridge.status()["bridge"], "rowbridge-first");
        send(&broker, 0..10);
        bridge.wait_rows("readings", 10);
        assert!(bridge.stop().success());
        if is_upgrade {
            // As a version left it that did not remember its names.
            std::fs::remove_file(bridge.path("data/identity.json")).unwrap();
        }
        // For the session that the broker keeps under the old client id.
        send(&broker, 10..20);
        on_host(&mut bridge, "second");
        bridge.start();
        assert_eq!(bridge.status()["bridge"], "rowbridge-first");
        assert_eq!(bridge.status()["mqtt"]["session_present"], true);
        send(&broker, 20..30);
        bridge.wait_ids("readings", 30);
        bridge.wait_drained("local");
        Tally::of_sqlite(&bridge.rows(), "readings", 0..30).assert_each_once("readings");
        assert_eq!(bridges(&bridge), "rowbridge-first");
        let log = bridge.log();
        let told =
            log.lines().find(|line| line.contains("the host name has changed")).unwrap_or_else(|| panic!("{log}"));
        assert!(
            told.contains("WARN") && told.contains("rowbridge-first") && told.contains("rowbridge-second"),
            "{told}"
        );
        assert!(told.contains("mqtt.client_id"), "{told}");
    }
}

#[test]
fn commands_use_the_remembered_names_too() {
    let broker = Mosquitto::start();
    let mut bridge = nameless(broker.port(), &readings(1));
    on_host(&mut bridge, "first");
    bridge.start();
    Publisher::new(broker.port()).send("sensors/a/d1/telemetry", "no json");
    bridge.wait_rows("rowbridge_dead_letters", 1);
    assert!(bridge.stop().success());
    // These run on this machine, which is not called `first`.
    let letters = bridge.command(&["dead-letters", "list"]);
    assert!(String::from_utf8_lossy(&letters.stdout).contains("parse"), "{letters:?}");
    let check = bridge.command(&["check", "--offline"]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    let remembered = format!("bridge    rowbridge-first (remembered in {}", bridge.path("data").display());
    assert!(text.contains(&remembered), "{text}");
}

/// The statements that the database is held with.
fn mend(bridge: &mut Bridge, database: &str) -> String {
    let held = bridge.wait_alive("the database is held", |bridge| {
        let held = bridge.status()["databases"][database]["held"].clone();
        (!held.is_null()).then_some(held)
    });
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("`old`") && reason.contains("`new`") && reason.contains("twice"), "{reason}");
    let mend = held["mend"].as_str().unwrap();
    assert!(mend.contains("set `bridge: old`"), "{mend}");
    mend[mend.find("UPDATE").unwrap()..].to_owned()
}

#[test]
fn a_journal_that_a_database_knows_under_another_name_is_not_delivered_twice() {
    let broker = Mosquitto::start();
    let server = Postgres::shared();
    let cloud = server.create_database();
    let body = readings(1).replace(
        "databases:\n",
        &format!("bridge: old\ndatabases:\n  cloud: {{ url: '{}', retry: {{ max: 1s }} }}\n", server.url(&cloud)),
    );
    let rule = body[body.find("rules:\n").unwrap() + 7..].to_owned();
    let body = format!(
        "{}{}",
        body.replace("    table: readings\n", "    table: readings\n    database: local\n"),
        rule.replace("    table: readings\n", "    table: readings\n    database: cloud\n")
            .replace("name: readings", "name: far")
    );
    let mut bridge = Bridge::new(broker.port(), &body);
    bridge.start();
    send(&broker, 0..10);
    bridge.wait_drained("local");
    bridge.wait_drained("cloud");
    assert!(bridge.stop().success());
    bridge.edit("bridge: old", "bridge: new");
    bridge.start();
    send(&broker, 10..20);
    for database in ["local", "cloud"] {
        let sql = mend(&mut bridge, database);
        let error =
            bridge.log().lines().any(|line| line.contains("ERROR") && line.contains("held") && line.contains(database));
        assert!(error, "{}", bridge.log());
        match database {
            "local" => rusqlite::Connection::open(bridge.rows()).unwrap().execute_batch(&sql).unwrap(),
            _ => drop(server.psql(&cloud, &sql)),
        }
        bridge.wait_drained(database);
    }
    Tally::of_sqlite(&bridge.rows(), "readings", 0..20).assert_each_once("readings");
    assert_eq!(server.psql(&cloud, "SELECT count(*), count(DISTINCT id) FROM readings"), "20|20");
    assert_eq!(server.psql(&cloud, "SELECT bridge FROM rowbridge_offsets"), "new");
    assert!(bridge.log().lines().any(|line| line.contains("WARN") && line.contains("`bridge` was changed")));
}

#[test]
fn the_old_name_given_back_lifts_the_hold() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::new(broker.port(), &format!("bridge: old\n{}", readings(1)));
    bridge.start();
    send(&broker, 0..10);
    bridge.wait_drained("local");
    assert!(bridge.stop().success());
    bridge.edit("bridge: old", "bridge: new");
    bridge.start();
    mend(&mut bridge, "local");
    assert!(bridge.stop().success());
    bridge.edit("bridge: new", "bridge: old");
    bridge.start();
    send(&broker, 10..20);
    bridge.wait_rows("readings", 20);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..20).assert_each_once("readings");
}

#[test]
fn another_client_id_in_the_configuration_is_a_new_session_and_no_second_delivery() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::with_mqtt(broker.port(), "client_id: one", &readings(1));
    bridge.start();
    Load::new(broker.port(), 1, 10).run();
    bridge.wait_rows("readings", 10);
    assert!(bridge.stop().success());
    bridge.edit("client_id: one", "client_id: two");
    bridge.start();
    wait_for("the broker knows the new client", || broker.log().contains("as two").then_some(()));
    send(&broker, 10..20);
    bridge.wait_ids("readings", 20);
    Tally::of_sqlite(&bridge.rows(), "readings", 0..20).assert_each_once("readings");
    assert_eq!(bridges(&bridge), "one", "the bridge keeps its name");
    let log = bridge.log();
    assert!(
        log.contains("mqtt.client_id was changed") && log.contains("keeps the name of its data directory"),
        "{log}"
    );
}
