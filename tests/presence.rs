//! `mqtt.status_topic`: what those who watch the bridge are told, and that a broker that does not take it costs nothing.

use crate::support::bridge::{Bridge, readings};
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::Load;
use crate::support::subscriber::Subscriber;
use crate::support::{free_port, wait_for};

const TOPIC: &str = "status_topic: 'bridges/{bridge}/status'";

fn bridge(port: u16, keys: &str) -> Bridge {
    Bridge::with_mqtt(port, &format!("{TOPIC}{keys}"), &format!("bridge: gw1\n{}", readings(1)))
}

/// What a client that comes now is told.
fn retained(port: u16) -> Vec<String> {
    Subscriber::start(port, "bridges/gw1/status", "%r %p").wait_for(1)
}

#[test]
fn watchers_see_online_and_offline_at_a_stop_and_after_a_crash() {
    for keys in ["", ", version: 3.1.1"] {
        let broker = Mosquitto::start();
        let watcher = Subscriber::start(broker.port(), "bridges/#", "%t %q %p");
        let mut bridge = bridge(broker.port(), keys);
        bridge.start();
        assert_eq!(watcher.wait_for(1), ["bridges/gw1/status 1 online"]);
        assert_eq!(retained(broker.port()), ["1 online"]);
        assert!(bridge.stop().success());
        assert_eq!(watcher.wait_for(2)[1], "bridges/gw1/status 1 offline");
        assert_eq!(retained(broker.port()), ["1 offline"]);
        bridge.start();
        assert_eq!(watcher.wait_for(3)[2], "bridges/gw1/status 1 online");
        bridge.kill();
        assert_eq!(watcher.wait_for(4)[3], "bridges/gw1/status 1 offline", "the will, after SIGKILL");
        assert_eq!(retained(broker.port()), ["1 offline"]);
    }
}

#[test]
fn a_broker_that_restarts_is_told_again() {
    let mut broker = Mosquitto::start();
    let mut bridge = bridge(broker.port(), "");
    bridge.start();
    assert_eq!(retained(broker.port()), ["1 online"]);
    broker.kill();
    broker.restart();
    assert_eq!(retained(broker.port()).last().map(|line| line[2..].to_owned()), Some("online".to_owned()));
    assert!(bridge.stop().success());
}

#[test]
fn a_status_topic_that_the_broker_refuses_is_told_and_harms_nothing() {
    let acl = "topic readwrite sensors/#\ntopic deny bridges/#\n".to_owned();
    let few = free_port();
    let denied = Mosquitto::with_files("acl_file FOLDER/acl\n", &[("acl", acl)]);
    let unretained = Mosquitto::with("retain_available false\n");
    let unlimited = Mosquitto::with(&format!("listener {few} 127.0.0.1\nmax_qos 0\n"));
    let of_the_will = "the broker did not accept a connection whose will goes to mqtt.status_topic";
    for (port, load, words) in [
        (denied.port(), denied.port(), "the broker refuses the message to mqtt.status_topic"),
        (unretained.port(), unretained.port(), "the broker may have no retained messages or no QoS 1"),
        (few, unlimited.port(), of_the_will),
    ] {
        let mut bridge = bridge(port, ", retry: { min: 20ms, max: 100ms }");
        bridge.start();
        bridge.wait_alive(words, |bridge| bridge.log().contains(words).then_some(()));
        Load::new(load, 1, 20).run();
        bridge.wait_alive("the messages come", |bridge| (bridge.journaled() >= 20).then_some(()));
        bridge.wait_drained("local");
        assert_eq!(bridge.status()["mqtt"]["connected"], true);
        assert!(bridge.stop().success());
    }
}

#[test]
fn check_shows_it_and_does_not_pass_for_the_bridge() {
    let broker = Mosquitto::start();
    let bridge = bridge(broker.port(), "");
    let output = bridge.command(&["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  status    bridges/gw1/status: online, offline"), "{text}");
    let watcher = Subscriber::start(broker.port(), "#", "%t %p");
    wait_for("the log has the check's end", || broker.log().contains("rowbridge-check").then_some(()));
    assert_eq!(watcher.lines(), Vec::<String>::new());
}
