//! The shapes that scripts and dashboards rely on, field by field and name by name.

use serde_json::Value;

use crate::support::bridge::{Bridge, readings};
use crate::support::http::ask;
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::{Load, Publisher};

/// The messages that the bridge of [`busy`] is sent: Mosquitto sends each of the two that both filters match twice.
const SENT: u64 = 103;

/// 99 readings and two that are dead letters; of these 101, a second rule takes two as well and drops one.
fn busy() -> (Mosquitto, Bridge) {
    let broker = Mosquitto::start();
    let second = "  - name: second\n    topic: sensors/site9/#\n    table: second\n    create: true\n    on_error: drop\n    \
                  columns: { id: { from: payload.id, type: bigint } }\n";
    let mut bridge = Bridge::new(broker.port(), &format!("bridge: gw-status\n{}{second}", readings(1)));
    bridge.start();
    Load::new(broker.port(), 1, 98).run();
    let mut publisher = Publisher::new(broker.port());
    publisher.send("sensors/site9/d/telemetry", r#"{"id":1,"temp":2}"#);
    publisher.send("sensors/site9/d/telemetry", "not JSON");
    publisher.send("sensors/site8/d/telemetry", "not JSON either");
    bridge.wait_alive("all are journaled", |bridge| (bridge.journaled() >= SENT).then_some(()));
    bridge.wait_drained("local");
    (broker, bridge)
}

/// That `value` has all these fields, each of the kind named.
#[track_caller]
fn assert_fields(place: &str, value: &Value, fields: &[(&str, &str)]) {
    for &(field, kind) in fields {
        let found = value.get(field).unwrap_or_else(|| panic!("{place} has no {field}: {value}"));
        let fits = match kind {
            "text" => found.is_string(),
            "whole" => found.is_u64(),
            "number" => found.is_number(),
            "bool" => found.is_boolean(),
            "list" => found.is_array(),
            "object" => found.is_object(),
            "null" => found.is_null(),
            _ => unreachable!("{kind}"),
        };
        assert!(fits, "{place}.{field} should be {kind}: {found}");
    }
}

#[test]
fn status_has_the_shape_of_the_contract_and_its_accounts_close() {
    let (_broker, bridge) = busy();
    let status = bridge.status();
    assert_fields(
        "status",
        &status,
        &[
            ("bridge", "text"),
            ("version", "text"),
            ("uptime_seconds", "number"),
            ("mqtt", "object"),
            ("journal", "object"),
            ("databases", "object"),
            ("rules", "list"),
            ("unmatched", "whole"),
        ],
    );
    assert_eq!(status["bridge"], "gw-status");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let mqtt =
        [("connected", "bool"), ("session_present", "bool"), ("sessions_lost", "whole"), ("subscriptions", "list")];
    assert_fields("mqtt", &status["mqtt"], &mqtt);
    // The second filter is covered by none: site9/# and {site}/{device}/telemetry cross.
    for subscription in status["mqtt"]["subscriptions"].as_array().unwrap() {
        let fields = [("filter", "text"), ("qos_asked", "whole"), ("qos_granted", "whole"), ("error", "null")];
        assert_fields("subscription", subscription, &fields);
        assert_eq!((&subscription["qos_asked"], &subscription["qos_granted"]), (&1.into(), &1.into()));
    }
    let journal = &status["journal"];
    assert_fields(
        "journal",
        journal,
        &[
            ("id", "text"),
            ("oldest_seq", "whole"),
            ("next_seq", "whole"),
            ("bytes", "whole"),
            ("max_bytes", "whole"),
            ("paused", "bool"),
        ],
    );
    let local = &status["databases"]["local"];
    assert_fields(
        "databases.local",
        local,
        &[
            ("connected", "bool"),
            ("next_seq", "whole"),
            ("pending", "whole"),
            ("oldest_pending_seconds", "number"),
            ("held", "null"),
            ("last_error", "null"),
        ],
    );
    let whole = |value: &Value| value.as_u64().unwrap();
    assert_eq!(whole(&journal["next_seq"]), whole(&local["next_seq"]) + whole(&local["pending"]), "{status}");
    let rules = status["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2);
    for rule in rules {
        assert_fields("rule", rule, &[("rule", "text"), ("database", "text"), ("rows", "whole")]);
        let sum: u64 =
            ["written", "filtered", "dead_lettered", "dropped"].map(|outcome| whole(&rule[outcome])).iter().sum();
        assert_eq!(whole(&rule["matched"]), sum, "{rule}");
    }
    assert_eq!((whole(&rules[0]["matched"]), whole(&rules[0]["dead_lettered"])), (101, 2), "{status}");
    assert_eq!((whole(&rules[1]["matched"]), whole(&rules[1]["dropped"])), (2, 1), "{status}");
}

#[test]
fn metrics_have_the_names_of_the_contract_and_agree_with_status() {
    let (_broker, bridge) = busy();
    let metrics = bridge.metrics();
    let local = ("database", "local");
    let first = [local, ("rule", "readings")];
    assert_eq!(metrics.value("rowbridge_messages_received_total", &[("qos", "1")]), Some(SENT as f64));
    assert_eq!(metrics.value("rowbridge_messages_journaled_total", &[]), Some(SENT as f64));
    assert_eq!(metrics.value("rowbridge_rows_written_total", &first), Some(99.0));
    assert_eq!(metrics.value("rowbridge_rows_written_total", &[local, ("rule", "second")]), Some(1.0));
    for (outcome, count) in [("written", 99.0), ("filtered", 0.0), ("dead_lettered", 2.0), ("dropped", 0.0)] {
        let value = metrics.value("rowbridge_messages_total", &[local, ("rule", "readings"), ("outcome", outcome)]);
        assert_eq!(value.unwrap_or_default(), count, "{outcome}");
    }
    assert_eq!(metrics.sum("rowbridge_messages_total"), 103.0, "a message that two rules take counts in each");
    assert_eq!(metrics.value("rowbridge_messages_unmatched_total", &[]), Some(0.0));
    assert_eq!(metrics.value("rowbridge_pending_messages", &[local]), Some(0.0));
    assert_eq!(metrics.value("rowbridge_oldest_pending_seconds", &[local]), Some(0.0));
    assert!(metrics.value("rowbridge_journal_bytes", &[]).unwrap() > 0.0);
    assert_eq!(metrics.value("rowbridge_journal_max_bytes", &[]), Some(1024.0 * 1024.0 * 1024.0));
    assert!(metrics.value("rowbridge_commit_seconds_count", &[local]).unwrap() > 0.0);
    assert_eq!(metrics.value("rowbridge_batch_rows_sum", &[local]), Some(100.0));
    assert!(metrics.value("rowbridge_commit_seconds_bucket", &[local, ("le", "+Inf")]).unwrap() > 0.0);
    assert_eq!(metrics.value("rowbridge_retries_total", &[local]).unwrap_or_default(), 0.0);
    assert_eq!(metrics.value("rowbridge_connected", &[("peer", "mqtt")]), Some(1.0));
    assert_eq!(metrics.value("rowbridge_connected", &[("peer", "local")]), Some(1.0));
    assert!(metrics.value("rowbridge_last_commit_timestamp_seconds", &[local]).unwrap() > 1.6e9);
    let filter = ("filter", "sensors/+/+/telemetry");
    assert_eq!(metrics.value("rowbridge_subscription_granted_qos", &[filter]), Some(1.0));
    assert_eq!(metrics.value("rowbridge_session_lost_total", &[]), Some(0.0));
    assert_eq!(metrics.value("rowbridge_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(metrics.value("rowbridge_held", &[local]), Some(0.0));
    assert_eq!(metrics.value("rowbridge_journal_paused", &[]), Some(0.0));
    for (name, least) in [
        ("process_cpu_seconds_total", 0.001),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 10.0),
        ("process_max_fds", 100.0),
        ("process_start_time_seconds", 1.6e9),
    ] {
        assert!(metrics.value(name, &[]).is_some_and(|value| value > least), "{name}");
    }
    let plain = bridge.get("/metrics").unwrap();
    assert!(plain.headers.contains("content-type: text/plain; version=0.0.4"), "{}", plain.headers);
    assert!(plain.body.contains("# TYPE rowbridge_messages_journaled_total counter\n"), "{}", plain.body);
    let documents = include_str!("../docs/operations.md");
    for line in plain.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(documents.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    let accept =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n";
    let open = ask(bridge.http_port(), accept).unwrap();
    assert!(open.headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.headers);
    assert!(open.body.contains("# TYPE rowbridge_messages_journaled counter\n") && open.body.ends_with("# EOF\n"));
}

#[test]
fn the_accounts_still_close_after_a_restart() {
    let (_broker, mut bridge) = busy();
    let before = bridge.status();
    assert!(bridge.stop().success());
    bridge.start();
    bridge.wait_drained("local");
    let after = bridge.status();
    assert_eq!(after["journal"]["next_seq"], before["journal"]["next_seq"]);
    assert_eq!(after["journal"]["id"], before["journal"]["id"]);
    assert_eq!(after["databases"]["local"]["next_seq"], before["databases"]["local"]["next_seq"]);
    assert_eq!(after["mqtt"]["session_present"], true, "{after}");
}

#[test]
fn the_other_endpoints_answer() {
    let (_broker, bridge) = busy();
    assert_eq!(bridge.get("/healthz").unwrap().status, 200);
    let ready = bridge.get("/readyz").unwrap();
    assert_eq!(ready.status, 200);
    assert!(serde_json::from_str::<Value>(&ready.body).unwrap().is_object(), "{}", ready.body);
    assert_eq!(bridge.get("/nothing-here").unwrap().status, 404);
    assert!(bridge.get("/status").unwrap().headers.contains("content-type: application/json"));
}

/// The logs of a whole life, with a password in the configuration.
#[test]
fn no_secret_reaches_the_log_or_an_endpoint() {
    let broker = Mosquitto::start();
    let mut bridge = Bridge::with_mqtt(
        broker.port(),
        "username: gateway, password: broker-secret-word",
        &format!("log: {{ level: trace, format: json }}\n{}", readings(1)),
    );
    bridge.edit(
        "databases:\n",
        "databases:\n  cloud: { url: 'postgres://bridge:url-secret-word@127.0.0.1:1/telemetry' }\n",
    );
    bridge.edit("    table: readings\n", "    table: readings\n    database: local\n");
    bridge.start();
    Load::new(broker.port(), 1, 10).run();
    bridge.wait_rows("readings", 10);
    bridge.wait_alive("Postgres is tried in vain", |bridge| {
        (!bridge.status()["databases"]["cloud"]["last_error"].is_null()).then_some(())
    });
    let shown = ["/status", "/metrics", "/readyz"].map(|path| bridge.get(path).unwrap().body).concat();
    let text = format!("{}{shown}", bridge.log());
    assert!(!text.contains("secret-word"), "a secret is shown");
    assert!(!text.contains(r#""temp\":"#), "a payload is shown");
    for line in bridge.log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not a line of JSON: {line}");
    }
}
